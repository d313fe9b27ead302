"""What an operator reads when a service cannot be reached."""

from __future__ import annotations

import http.client
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from esl_agent.providers.plain_words import plainly
from esl_agent.testing.web import FOREVER, Fault, PretendHttp, Reply


@pytest.fixture
def pretend() -> Iterator[PretendHttp]:
    with PretendHttp() as server:
        server.route("GET", "/", lambda request: Reply(b"x" * 100))
        yield server


def failure(url: str, **options: Any) -> str:
    with pytest.raises((requests.RequestException, OSError, http.client.HTTPException)) as caught:
        requests.get(url, timeout=(0.5, 0.05), **options)
    return plainly(caught.value)


def test_a_closed_port_and_a_name_without_an_address():
    assert failure("http://127.0.0.1:9/a/path?with=words") == "nobody listens there: connection refused"
    assert failure("http://no-such-host.invalid/") == "its name has no address"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(before=FOREVER), "no answer in time"),
        (Fault(close_before=True), "the connection broke off"),
        (Fault(close_before=True, reset=True), "the connection broke off"),
        (Fault(close_after=3), "the connection broke off"),
    ],
)
def test_a_server_that_breaks_off_or_says_nothing(pretend: PretendHttp, fault: Fault, words: str) -> None:
    pretend.faults = [fault]
    assert failure(pretend.url) == words


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    with PretendHttp((str(certificate), str(key))) as server:
        assert failure(server.url) == "its certificate is not trusted: self-signed certificate"


def test_what_is_not_known_keeps_its_words() -> None:
    assert plainly(ValueError("odd")) == "ValueError: odd"
    assert plainly(OSError(28, "No space left on device")) == "No space left on device"
    assert "record layer failure" in plainly(ssl.SSLError("record layer failure"))
    looped = ValueError("a")
    looped.__context__ = looped
    assert plainly(looped) == "ValueError: a"
