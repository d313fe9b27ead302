"""HTTP tools: the operator's server is asked, nobody else's, and only in time."""

from __future__ import annotations

import gzip
import ipaddress
import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.pywsgi import WSGIHandler, WSGIServer
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.dialogue.actions import ToolCall
from esl_agent.dialogue.events import ToolReturned
from esl_agent.dialogue.tool_settings import HttpHeader, HttpParameter, HttpToolSettings
from esl_agent.errors import ConfigError
from esl_agent.http_tools import MAX_RESULT, HttpTools, Refused, filled_url, is_public, readable, resolved


class _Handler(WSGIHandler):
    def get_environ(self) -> dict[str, Any]:
        return {**super().get_environ(), "REQUEST_URI": self.path}


class Desk:
    """A server that tells what it was asked, and misbehaves at will."""

    def __init__(self, **tls: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self.sent = 0
        self.server = WSGIServer(
            ("127.0.0.1", 0), self._answer, log=None, error_log=None, handler_class=_Handler, **tls
        )
        self.server.start()
        self.port = self.server.server_port

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        path = environ["REQUEST_URI"]
        body = environ["wsgi.input"].read()
        self.asked.append(
            {
                "method": environ["REQUEST_METHOD"],
                "path": path,
                "host": environ["HTTP_HOST"],
                "key": environ.get("HTTP_AUTHORIZATION", ""),
                "body": json.loads(body) if body else None,
            }
        )
        if path.startswith("/redirect"):
            start("302 Found", [("Location", f"http://127.0.0.1:{self.port}/elsewhere")])
            if path.startswith("/redirect/huge"):
                for _ in range(400):
                    self.sent += 100_000
                    yield b"x" * 100_000
            return
        if path.startswith("/bomb"):
            start("200 OK", [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")])
            yield gzip.compress(bytes(10_000_000))
            return
        if path.startswith("/missing"):
            start("404 Not Found", [("Content-Type", "application/json")])
            yield b'{"error": "no such order"}'
            return
        start("200 OK", [("Content-Type", "text/plain" if path.startswith("/text") else "application/json")])
        if path.startswith("/drip"):
            for _ in range(100):
                yield b" "
                gevent.sleep(0.02)
        if path.startswith("/huge"):
            for _ in range(100):
                yield b"x" * 10000
        if path.startswith("/text"):
            yield b"your  order\r\n\x1b[1mis on\x00 its way"
        else:
            yield b'{ "status": "sent",\n "days": 3 }'


@pytest.fixture
def desk() -> Iterator[Desk]:
    found = Desk()
    yield found
    found.server.stop()


def tools(desk: Desk, path: str = "/orders/{number}", resolve: Any = None, **settings: Any) -> HttpTools:
    given = {
        "description": "x",
        "url": f"http://crm.example.com:{desk.port}{path}",
        "parameters": {"number": HttpParameter(), "urgent": HttpParameter(type="boolean", required=False)},
        "allow_private": True,
        "timeout": 2.0,
        **settings,
    }
    return HttpTools(
        {"order": HttpToolSettings(**given)}, {"KEY": "s3cret"}, resolve or (lambda host, port: ["127.0.0.1"])
    )


def ask(found: HttpTools, **arguments: Any) -> ToolReturned:
    return found.run(3, ToolCall("c1", "order", arguments))


def test_the_model_reads_the_answer_on_one_line(desk):
    assert ask(tools(desk), number="7") == ToolReturned(3, "c1", '{"status":"sent","days":3}')
    assert desk.asked[0]["path"] == "/orders/7"
    assert desk.asked[0]["host"] == f"crm.example.com:{desk.port}"


def test_a_value_stays_within_its_place_in_the_url(desk):
    ask(tools(desk, "/orders/{number}?n={number}"), number="7/../x?y=1&z#ä %2e")
    quoted = "7%2F..%2Fx%3Fy%3D1%26z%23%C3%A4%20%252e"
    assert desk.asked[0]["path"] == f"/orders/{quoted}?n={quoted}"


@pytest.mark.parametrize("value", [".", ".."])
def test_a_value_that_would_climb_out_of_its_path_is_refused(desk, value):
    assert ask(tools(desk, "/a/{number}/b"), number=value).failed
    assert desk.asked == []


def test_a_post_sends_what_the_url_does_not_use(desk):
    ask(tools(desk, method="POST"), number="7", urgent=True)
    assert desk.asked[0]["body"] == {"urgent": True}


def test_a_body_of_the_operators_keeps_the_types_of_values(desk):
    body = {"order": {"id": "no. {number}", "rush": "{urgent}"}, "tags": ["phone", "{number}"], "v": 1}
    ask(tools(desk, "/orders", method="POST", body=body), number='7"}', urgent=False)
    assert desk.asked[0]["body"] == {"order": {"id": 'no. 7"}', "rush": False}, "tags": ["phone", '7"}'], "v": 1}


def test_a_header_brings_its_secret_and_the_log_does_not(desk, caplog):
    headers = {"Authorization": HttpHeader(value_env="KEY", prefix="Bearer ")}
    ask(tools(desk, "/missing", headers=headers))
    assert desk.asked[0]["key"] == "Bearer s3cret"
    assert "HTTP 404" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_header_without_its_secret_is_a_mistake_of_the_settings(desk):
    with pytest.raises(ConfigError, match=r"tools\.http\.order\.headers\.X.*ABSENT"):
        tools(desk, headers={"X": HttpHeader(value_env="ABSENT")})


def test_an_error_of_the_server_is_a_failure_with_its_words(desk):
    found = ask(tools(desk, "/missing"))
    assert (found.failed, found.result) == (True, 'HTTP 404: {"error":"no such order"}')


def test_a_redirect_is_not_followed(desk):
    found = ask(tools(desk, "/redirect"))
    assert found.failed
    assert [each["path"] for each in desk.asked] == ["/redirect"]


def test_a_redirect_with_a_body_without_end_is_cut_off(desk):
    found = ask(tools(desk, "/redirect/huge", max_bytes=20000))
    assert (found.failed, found.result) == (True, "the answer is too long")
    assert desk.sent < 20_000_000


def test_a_compressed_answer_is_not_unpacked(desk, monkeypatch):
    monkeypatch.setattr("urllib3.response.GzipDecoder.decompress", lambda *_: pytest.fail("it was"))
    found = ask(tools(desk, "/bomb"))
    assert (found.failed, found.result) == (True, "the answer is compressed")


def test_an_answer_that_drips_for_ever_ends_in_time(desk):
    found = ask(tools(desk, "/drip", timeout=0.2))
    assert (found.failed, found.result) == (True, "no answer within 0.2 seconds")


def test_an_answer_without_end_is_cut_off(desk):
    found = ask(tools(desk, "/huge", max_bytes=50000))
    assert (found.failed, found.result) == (True, "the answer is too long")


def test_control_characters_of_an_answer_do_not_reach_the_model(desk):
    assert ask(tools(desk, "/text")).result == "your order [1mis on its way"


def test_a_server_that_is_not_there_is_a_failure(desk):
    desk.server.stop()
    assert ask(tools(desk), number="7").result == "the server could not be reached"


def test_a_host_that_cannot_be_found_is_a_failure(desk):
    def fails(host: str, port: int) -> list[str]:
        raise OSError("no such host")

    assert ask(tools(desk, resolve=fails), number="7").failed


@pytest.mark.parametrize("allow_private", [False, True])
def test_a_private_address_is_asked_only_where_the_operator_says_so(desk, allow_private):
    found = ask(tools(desk, allow_private=allow_private), number="7")
    assert found.failed is not allow_private
    assert bool(desk.asked) is allow_private


def test_the_address_that_was_checked_is_the_one_that_is_asked(desk):
    """A name server that answers something else the second time gains nothing."""
    answers = [["127.0.0.1"], ["203.0.113.1"]]
    assert not ask(tools(desk, resolve=lambda host, port: answers.pop(0)), number="7").failed
    assert len(answers) == 1


def test_a_proxy_of_the_environment_is_not_asked(desk, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert not ask(tools(desk), number="7").failed


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200", "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255", "168.63.129.16", "::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1", "::127.0.0.1", "fec0::1",
        "64:ff9b:1::7f00:1", "::ffff:0:127.0.0.1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_everybodys_is_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808"])
def test_an_address_of_the_internet_is_public(address):
    assert is_public(ipaddress.ip_address(address))


@given(st.text(max_size=30), st.text(max_size=30))
def test_whatever_a_model_writes_scheme_host_and_depth_of_a_url_stay(first, second):
    template = "https://crm.example.com/a/{first}{second}/b?q={first}"
    try:
        url = filled_url(template, {"first": first, "second": second})
    except (Refused, UnicodeEncodeError):
        return
    assert url.startswith("https://crm.example.com/a/")
    assert url.count("/") == template.count("/")
    assert url.count("?") == 1
    assert "#" not in url
    assert url.isascii()


def test_a_long_answer_is_cut_and_says_so():
    assert readable(b"x" * 9999, "text/plain") == "x" * MAX_RESULT + " (cut)"
    assert readable(b"\x89PNG", "image/png; x=y") == "(4 bytes of image/png)"
    assert readable(b"", "") == ""


def test_half_a_character_in_an_answer_can_still_be_written_to_a_record():
    assert readable(b'{"name": "\\ud800"}', "application/json") == '{"name":"?"}'


def test_certificates_that_cannot_be_read_are_a_mistake_of_the_settings(desk, tmp_path):
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for file in (empty, tmp_path / "absent.pem"):
        with pytest.raises(ConfigError, match=r"tools\.http\.order\.ca_file"):
            tools(desk, url="https://crm.example.com/", ca_file=str(file))


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost", "[::1]", "[::ffff:7f00:1]"]
)
def test_however_a_private_host_is_written_it_is_refused(desk, host):
    found = ask(tools(desk, url=f"http://{host}:{desk.port}/", allow_private=False, resolve=resolved))
    assert (found.result, desk.asked) == ("the server has a private address, which is not allowed", [])


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
@pytest.mark.parametrize(("certified", "failed"), [("crm.example.com", False), ("other.example.com", True)])
def test_a_certificate_must_be_the_hosts_though_its_address_is_asked(tmp_path: Path, certified: str, failed: bool):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={certified}"]
    files = ["-keyout", str(key), "-out", str(certificate), "-addext", f"subjectAltName=DNS:{certified}"]
    subprocess.run([*made, *files], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    desk = Desk(ssl_context=context)
    try:
        url = f"https://crm.example.com:{desk.port}/orders/{{number}}"
        found = tools(desk, url=url, ca_file=str(certificate))
        certificate.unlink()  # nothing is read while callers wait
        assert ask(found, number="7").failed is failed
        assert ask(tools(desk, url=url), number="7").failed
    finally:
        desk.server.stop()
