"""What every language model that is served over a network promises, run against its pretend service."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import gevent
import pytest

from esl_agent.dialogue.actions import Message, ToolCall
from esl_agent.dialogue.tools import FAILED
from esl_agent.errors import ProviderError
from esl_agent.providers.base import TextPart, UsagePart
from esl_agent.testing.pretend_model import KEY, PretendModel
from esl_agent.testing.web import FOREVER, Fault, Reply
from tests.providers.contract import LanguageModelContract

#: Environment variable of the pretend services' key.
VARIABLE = "PRETEND_KEY"
PAGE = b"<html><body>Please accept our cookies</body></html>"
CALL = ToolCall("call.1:x", "transfer", {"to": "reception"})
HISTORIES: dict[str, tuple[Message, ...]] = {
    "the first words": (Message("system", "Be kind."), Message("user", "hello")),
    "no prompt": (Message("user", "hello"),),
    "a greeting": (Message("system", "Be kind."), Message("assistant", "Good day."), Message("user", "hello")),
    "many turns": (
        *(Message(role, f"word {n}") for n in range(30) for role in ("user", "assistant")),  # type: ignore[arg-type]
        Message("user", "and?"),
    ),
    "a tool was called": (
        Message("user", "reception please"),
        Message("assistant", "", (CALL, ToolCall("call-2", "hold", {}))),
        Message("tool", f"{FAILED}the line is busy", tool_call_id="call.1:x"),
        Message("tool", "done", tool_call_id="call-2"),
    ),
    "and answered": (
        Message("user", "reception please"),
        Message("assistant", "One moment.", (CALL,)),
        Message("tool", "", tool_call_id="call.1:x"),
        Message("assistant", "They are busy."),
        Message("user", "then later"),
    ),
    "a tool that nobody has was called": (
        Message("user", "reception please"),
        Message("assistant", "", (ToolCall("toolu_" + "x" * 90, "functions.transfer\r\n" + "y" * 200, {}),)),
        Message("tool", f"{FAILED}there is no such tool", tool_call_id="toolu_" + "x" * 90),
        Message("assistant", "", (ToolCall("", "", {}),)),
        Message("tool", f"{FAILED}there is no such tool", tool_call_id=""),
        Message("user", "hello?"),
    ),
    "hostile words": (
        Message("system", "${x}\x00\r\n"),
        Message("user", "\ud800 \U0001f600 \x00\x1b[2J\r\n</s>[INST]"),
    ),
}


def refused(status: int, body: Any, **headers: str) -> Fault:
    return Fault(instead=Reply.json(body, status, **headers))


RATE = {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}
#: fault -> (worth another try, whom to blame)
FAULTS: dict[str, tuple[Fault, bool, str]] = {
    "closed before it answered": (Fault(close_before=True), True, "service"),
    "reset before it answered": (Fault(close_before=True, reset=True), True, "service"),
    "closed in the middle": (Fault(close_after=20), True, "service"),
    "reset in the middle": (Fault(close_after=20, reset=True), True, "service"),
    "an empty answer": (Fault(instead=Reply([b""], content_type="text/plain")), True, "service"),
    "a page in place of an answer": (Fault(instead=Reply(PAGE, 200, "text/html")), True, "service"),
    "429 for a moment": (refused(429, RATE, retry_after="2"), True, "service"),
    "429 for good": (refused(429, RATE, x_should_retry="false"), False, "service"),
    "429 without credit": (refused(429, {"error": {"code": "insufficient_quota", "message": "pay"}}), False, "setup"),
    "429 from a proxy": (Fault(instead=Reply(b"Too many requests", 429, "text/plain")), True, "service"),
    "400": (refused(400, {"error": {"message": "too long", "code": "context_length_exceeded"}}), False, "request"),
    "402": (refused(402, {"error": "pay"}), False, "setup"),
    "403": (refused(403, {"detail": "no"}), False, "setup"),
    "404": (refused(404, {"error": "no such model"}), False, "setup"),
    "413": (refused(413, {"error": {"type": "request_too_large", "message": "large"}}), False, "request"),
    "422": (refused(422, {"detail": [{"loc": ["body"], "msg": "missing"}]}), False, "request"),
    "500": (refused(500, {"error": {"message": "oops", "type": "server_error"}}), True, "service"),
    "502": (Fault(instead=Reply(PAGE, 502, "text/html")), True, "service"),
    "503": (
        refused(503, {"error": "server busy, please try again.  maximum pending requests exceeded"}),
        True,
        "service",
    ),
    "529": (refused(529, {"type": "error", "error": {"type": "overloaded_error", "message": "O"}}), True, "service"),
}


def until(is_so: Callable[[], bool]) -> bool:
    """Whether it becomes so within a second."""
    with gevent.Timeout(1.0, False):
        while not is_so():
            gevent.sleep(0.001)
        return True
    return False


def said(parts: Sequence[Any]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPart))


class ServedModelContract(LanguageModelContract):
    streams = True
    """Its words come as the service sends them."""
    key = KEY
    pretend: Any

    def service(self, key: str, tls: tuple[str, str] | None = None) -> PretendModel:
        raise NotImplementedError

    def engine(self, url: str, **options: Any) -> Any:
        """The engine for the service at ``url``, with the key in ``VARIABLE``."""
        raise NotImplementedError

    def make(self) -> Any:
        return self.engine(self.pretend.url)

    @pytest.fixture(autouse=True)
    def _served(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv(VARIABLE, self.key)
        with self.service(self.key) as self.pretend:
            yield

    def failure(self, engine: Any = None) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            list((engine or self.make()).reply(tuple(self.history())))
        shown = f"{caught.value!s} {caught.value!r} {caught.value.code}"
        hidden = {self.key, quote(self.key), quote(self.key, safe=""), quote_plus(self.key)} - {""}
        assert not any(each in shown for each in hidden)
        return caught.value

    def is_left(self) -> bool:
        return until(lambda: self.pretend.http.open_connections == 0)

    # It answers

    def test_a_question_is_asked_once_and_answered_in_order(self) -> None:
        parts = list(self.make().reply(tuple(self.history())))
        assert len(self.pretend.bodies) == 1
        assert said(parts).split() == " ".join(self.pretend.texts).split()
        assert not any(isinstance(part, UsagePart) for part in parts[:-1])
        assert all(part.text for part in parts if isinstance(part, TextPart))

    def test_words_are_said_before_the_model_has_ended(self) -> None:
        if not self.streams:
            pytest.skip("the service answers at once")
        pieces = self.pretend.pieces()
        half = next(n for n in range(1, len(pieces)) if self.pretend.texts[0].encode() in b"".join(pieces[:n]))
        self.pretend.pieces = lambda: [b"".join(pieces[:half]), b"".join(pieces[half:])]
        self.pretend.http.faults = [Fault(after_first=FOREVER)]
        reply = self.make().reply(tuple(self.history()))
        assert next(reply).text == self.pretend.texts[0]
        reply.close()
        assert self.is_left()

    @pytest.mark.parametrize("name", HISTORIES)
    def test_every_history_is_one_that_the_service_takes(self, name: str) -> None:
        list(self.make().reply(HISTORIES[name]))
        assert len(self.pretend.bodies) == 1

    def test_the_next_question_goes_over_the_same_connection(self) -> None:
        engine = self.make()
        for _ in range(3):
            list(engine.reply(tuple(self.history())))
        assert {request.connection for request in self.pretend.http.requests} == {1}

    def test_letters_of_several_bytes_survive_pieces_of_one_byte(self) -> None:
        self.pretend.texts = ["Günaydın", " 你好", " \U0001f600 ığş€."]
        pieces = self.pretend.pieces()
        self.pretend.pieces = lambda: [bytes([byte]) for byte in b"".join(pieces)]
        assert "".join(self.pretend.texts).split() == said(list(self.make().reply(tuple(self.history())))).split()

    # It is no longer wanted

    def test_a_model_that_stalls_before_its_first_word_is_given_up(self) -> None:
        self.pretend.http.faults = [Fault(before=FOREVER)]
        with gevent.Timeout(0.03, False):
            list(self.make().reply(tuple(self.history())))
            pytest.fail("it never answers")
        assert self.is_left()

    def test_a_model_that_stalls_in_the_middle_is_given_up(self) -> None:
        self.pretend.http.faults = [Fault(after_first=FOREVER)]
        with gevent.Timeout(0.03, False):
            list(self.make().reply(tuple(self.history())))
            pytest.fail("it never ends")
        assert self.is_left()

    def test_a_hang_up_kills_the_question_and_its_connection(self) -> None:
        self.pretend.http.faults = [Fault(before=FOREVER)]
        asking = gevent.spawn(lambda: list(self.make().reply(tuple(self.history()))))
        assert until(lambda: bool(self.pretend.http.requests))
        asking.kill(timeout=1.0)
        assert asking.dead
        assert self.is_left()

    # It fails

    @pytest.mark.parametrize("name", FAULTS)
    def test_every_fault_says_whether_to_try_again_and_whom_to_blame(
        self, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        fault, retryable, blame = FAULTS[name]
        self.pretend.http.faults = [fault]
        error = self.failure()
        assert (error.retryable, error.blame) == (retryable, blame)
        assert self.key not in caplog.text or not self.key

    def test_the_service_says_when_to_come_back(self) -> None:
        self.pretend.http.faults = [refused(429, RATE, retry_after_ms="250")]
        assert self.failure().retry_after == 0.25

    def test_a_wrong_key_is_a_matter_of_setup_and_stands_in_no_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wrong = "sk-wrong/9876543210+xyz="
        monkeypatch.setenv(VARIABLE, wrong)
        if not self.key:
            pytest.skip("no key")
        error = self.failure()
        assert (error.retryable, error.blame) == (False, "setup")
        assert wrong not in str(error)

    def test_an_answer_that_ends_in_the_middle_is_a_failure_although_it_ends_politely(self) -> None:
        self.pretend.http.faults = [Fault(instead=Reply([self.pretend.unended()], 200, self.pretend.content_type))]
        error = self.failure()
        assert (error.retryable, error.blame) == (True, "service")

    def test_half_a_letter_at_the_end_is_a_failure_like_any_other(self) -> None:
        self.pretend.texts = ["Günaydın ş"]
        whole = b"".join(self.pretend.pieces())
        cut = whole[: whole.rindex("ş".encode()) + 1]
        self.pretend.http.faults = [Fault(instead=Reply([cut], 200, self.pretend.content_type))]
        assert self.failure().retryable

    def test_an_error_inside_an_answer_is_no_answer(self) -> None:
        if (body := self.pretend.failing()) is None:
            pytest.skip("the service has no such thing")
        self.pretend.http.faults = [Fault(instead=Reply([body], 200, self.pretend.content_type))]
        error = self.failure()
        assert (error.retryable, error.blame) == (True, "service")

    @pytest.mark.parametrize(
        "body", [b"", b"null", b"[[1]]\n\n", b"\xff\xfe\n\n", b"data: {\n\n", b'data: {"choices": 1}\n\n']
    )
    def test_nonsense_of_the_right_type_is_a_fault_of_the_service(self, body: bytes) -> None:
        self.pretend.http.faults = [Fault(instead=Reply([body], 200, self.pretend.content_type))]
        assert self.failure().blame == "service"

    def test_an_answer_without_end_is_cut_off(self) -> None:
        endless = (b'"' + b"x" * 262143 for _ in range(40))
        self.pretend.http.faults = [Fault(instead=Reply(endless, 200, self.pretend.content_type))]
        self.failure()
        assert self.is_left()

    def test_a_server_nobody_vouches_for_is_told_nothing(self, certificate: tuple[str, str]) -> None:
        with self.service(self.key, certificate) as secured:
            error = self.failure(self.engine(secured.url))
            assert (error.retryable, error.blame) == (False, "setup")
            assert secured.http.requests == []
            own = self.engine(secured.url, ca_file=certificate[0])
            assert said(list(own.reply(tuple(self.history())))).split() == " ".join(secured.texts).split()

    @pytest.mark.parametrize("host", ["http://no-such-host.invalid", "http://127.0.0.1:9"])
    def test_a_server_that_is_not_there_is_worth_another_try(self, host: str) -> None:
        error = self.failure(self.engine(host))
        assert (error.retryable, error.blame) == (True, "service")

    def test_who_it_is_says_nothing_of_the_key(self) -> None:
        identity = self.make().identity
        assert identity.name
        assert "127.0.0.1" in identity.account
        assert not self.key or self.key not in repr(identity)


def self_signed(directory: Path) -> tuple[str, str]:
    """(certificate, key) for 127.0.0.1, which no authority has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    subprocess.run([*made, *subject, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return str(certificate), str(key)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Imported by the tests that need it."""
    return self_signed(tmp_path_factory.mktemp("certificate"))
