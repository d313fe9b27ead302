"""The way to a provider's HTTP server: kept connections, and every fault of the wire as one of our errors."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from esl_agent.errors import ProviderError
from esl_agent.providers.http import HttpServer, retry_after
from esl_agent.providers.quotes import told
from esl_agent.providers.sockets import open_socket
from esl_agent.testing.web import FOREVER, Fault, PretendHttp, Reply

KEY = "sk-secret-0123456789"
EVENTS = b'data: {"n":1}\n\ndata: {"n":2}\n\ndata: [DONE]\n\n'


@pytest.fixture
def pretend() -> Iterator[PretendHttp]:
    with PretendHttp() as server:
        server.route("POST", "/events", lambda _: Reply([EVENTS[:9], EVENTS[9:]], content_type="text/event-stream"))
        server.route("POST", "/json", lambda request: Reply.json({"echo": request.json()}))
        yield server


def ours(pretend: PretendHttp, **options: Any) -> HttpServer:
    return HttpServer("llm", pretend.url, headers={"Authorization": f"Bearer {KEY}"}, secrets=(KEY,), **options)


def failure(server: HttpServer, path: str = "json", **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught, server.ask("POST", path, json={}, **options) as answer:
        answer.whole()
    assert KEY not in str(caught.value)
    return caught.value


def test_a_connection_is_kept_after_a_whole_answer_and_after_the_last_event(pretend):
    server = ours(pretend)
    for _ in range(3):
        with server.ask("POST", "events", json={}) as answer:
            assert [event.data for event in answer.events(until="[DONE]")] == ['{"n":1}', '{"n":2}']
        with server.ask("POST", "json", json={"text": "günaydın"}) as answer:
            assert answer.json() == {"echo": {"text": "günaydın"}}
    assert {request.connection for request in pretend.requests} == {1}


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux can")
def test_a_server_that_waits_for_acknowledgements_gets_them(pretend):
    """Our pretend server leaves Nagle's algorithm on: unacknowledged, each of these answers would take 40 ms."""
    server = ours(pretend)
    with gevent.Timeout(1.5):
        for _ in range(60):
            with server.ask("POST", "events", json={}) as answer:
                list(answer.events(until="[DONE]"))


def test_an_answer_that_a_proxy_compressed_unasked_is_understood(pretend):
    packed, headers = gzip.compress(EVENTS), {"Content-Encoding": "gzip"}
    reply = Reply([packed[:15], packed[15:]], content_type="text/event-stream", headers=headers)
    pretend.faults = [Fault(instead=reply)]
    with ours(pretend).ask("POST", "events", json={}, expect="text/event-stream") as answer:
        assert [event.data for event in answer.events(until="[DONE]")] == ['{"n":1}', '{"n":2}']


@pytest.mark.parametrize(("coding", "body"), [("br", b"\x0b\x02\x80{}"), ("gzip", b"\x1f\x8bno"), ("gzip", b"{}")])
def test_what_cannot_be_unpacked_is_no_answer(pretend, coding, body):
    """Above all it is no sound: a caller would hear it as noise."""
    pretend.faults = [Fault(instead=Reply(body, headers={"Content-Encoding": coding}))]
    assert failure(ours(pretend)).blame == "service"


@pytest.mark.parametrize(
    ("status", "page", "headers"),
    [
        (404, "<html>Tunnel abc.ngrok-free.app not found<p>ERR_NGROK_3200", {}),
        (400, "<html>" + " " * 3000 + "ERR_NGROK_8012", {}),
        (404, "", {"ngrok-error-code": "ERR_NGROK_3200"}),
    ],
)
def test_a_tunnel_that_has_lost_its_server_is_no_matter_of_setup(pretend, status, page, headers):
    pretend.faults = [Fault(instead=Reply(page.encode(), status, "text/html", headers))]
    error = failure(ours(pretend))
    assert (error.retryable, error.blame) == (True, "service")


def test_a_password_and_a_token_in_an_address_are_not_told():
    address = "operator:open-sesame@127.0.0.1:9/path?token=abc123def456"
    for asks in (
        lambda: HttpServer("llm", f"http://{address}").ask("POST", json={}),
        lambda: open_socket("llm", f"ws://{address}"),
    ):
        with pytest.raises(ProviderError, match=r"://127\.0\.0\.1:9/path: ") as caught:
            asks()
        assert not any(each in str(caught.value) for each in ("sesame", "abc123"))


def test_an_address_that_has_moved_is_a_matter_of_setup(pretend):
    headers = {"Location": f"https://elsewhere.example/v2?key={KEY}"}
    pretend.faults = [Fault(instead=Reply(b"", 308, "text/html", headers))]
    error = failure(ours(pretend))
    assert (error.retryable, error.blame) == (False, "setup")
    assert "https://elsewhere.example/v2" in str(error)


def test_an_answer_that_is_left_early_closes_its_connection(pretend):
    pretend.faults = [Fault(after_first=FOREVER)]
    with ours(pretend).ask("POST", "events", json={}) as answer:
        next(answer.pieces())
    gevent.sleep(0.01)
    with ours(pretend).ask("POST", "json", json={}) as answer:
        answer.json()
    assert pretend.requests[-1].connection == 2


@pytest.mark.parametrize(
    ("fault", "retryable", "blame"),
    [
        (Fault(close_before=True), True, "service"),
        (Fault(close_before=True, reset=True), True, "service"),
        (Fault(close_after=3), True, "service"),
        (Fault(close_after=3, reset=True), True, "service"),
        (Fault(instead=Reply.json({"error": {"message": f"bad key {KEY}"}}, 401)), False, "setup"),
        (Fault(instead=Reply.json({"error": {"code": "insufficient_quota", "message": "pay"}}, 429)), False, "setup"),
        (Fault(instead=Reply.json({"detail": {"status": "system_busy"}}, 429)), True, "service"),
        (Fault(instead=Reply.json({"error": {"code": "rate_limit"}}, 429, x_should_retry="false")), False, "service"),
        (Fault(instead=Reply.json({"error": {"message": "Your credit balance is too low"}}, 400)), False, "setup"),
        (Fault(instead=Reply.json({"detail": [{"loc": ["body"], "msg": "missing"}]}, 422)), False, "request"),
        (Fault(instead=Reply.json({"error": "no such model"}, 404)), False, "setup"),
        (Fault(instead=Reply(b"<html>bad gateway", 502, "text/html")), True, "service"),
        (Fault(instead=Reply(b"overloaded", 529, "text/plain")), True, "service"),
    ],
)
def test_every_fault_says_whether_to_try_again_and_whom_to_blame(pretend, fault, retryable, blame):
    pretend.faults = [fault]
    error = failure(ours(pretend))
    assert (error.retryable, error.blame) == (retryable, blame)


def test_a_page_in_place_of_json_is_no_answer(pretend):
    pretend.faults = [Fault(instead=Reply(b"<html>a tunnel's warning", 200, "text/html"))]
    assert "text/html" in str(failure(ours(pretend), expect="application/json"))


def test_silence_ends_with_the_read_timeout(pretend):
    pretend.faults = [Fault(before=FOREVER)]
    assert failure(ours(pretend, read_timeout=0.05)).retryable


def test_a_name_that_does_not_exist_and_a_closed_port_are_worth_another_try():
    for url in ("http://no-such-host.invalid", "http://127.0.0.1:9"):
        assert failure(HttpServer("llm", url, connect_timeout=5.0)).retryable


def test_the_service_says_when_to_come_back(pretend):
    pretend.faults = [Fault(instead=Reply.json({}, 429, retry_after="2"))]
    assert failure(ours(pretend)).retry_after == 2.0
    now = time.time()
    assert retry_after({"retry-after-ms": "250", "Retry-After": "9"}, now) == 0.25
    assert retry_after({"Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT"}, 50.0) == 10.0
    assert retry_after({"Retry-After": "soon"}, now) is None
    assert retry_after({"Retry-After": "nan"}, now) is None
    assert retry_after({"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, now) is None
    assert retry_after({"Retry-After": "Mon, 01 Jan 2020 00:00:00 +99999999999999999"}, now) is None


def test_what_a_server_wants_remembered_of_one_call_is_not_told_it_in_another(pretend):
    pretend.route("POST", "/login", lambda _: Reply.json({}, set_cookie="session=callers; Path=/"))
    server = ours(pretend)
    for path in ("login", "json"):
        with server.ask("POST", path, json={}) as answer:
            answer.json()
    assert "cookie" not in {name.lower() for name in pretend.requests[-1].headers}


def test_the_page_that_comes_with_a_redirection_is_not_read_to_its_end(pretend):
    def endless() -> Iterator[bytes]:
        while True:
            gevent.sleep(0.001)
            yield b"x" * 1000

    pretend.faults = [Fault(instead=Reply(endless(), 302, "text/html", {"Location": "/elsewhere"}))]
    with gevent.Timeout(5.0, AssertionError("it reads for ever")):
        assert failure(ours(pretend)).blame == "setup"


def test_errors_are_read_in_every_shape_that_services_use():
    assert told('{"error":{"code":"a","message":"b"}}') == ("a", "b")
    assert told('{"error":"text"}') == ("", "text")
    assert told('{"detail":{"status":"quota_exceeded","message":"m"}}') == ("quota_exceeded", "m")
    assert told('{"err_code":"INVALID_AUTH","err_msg":"no"}') == ("INVALID_AUTH", "no")
    assert told("<html>") == ("", "<html>")
    assert told("[" * 100000)[0] == ""


def test_a_refusal_that_is_wanted_is_an_answer(pretend):
    pretend.faults = [Fault(instead=Reply.json({"detail": "x"}, 422))]
    with ours(pretend).ask("POST", "json", json={}, accept=(422,)) as answer:
        assert (answer.status, answer.json()) == (422, {"detail": "x"})
