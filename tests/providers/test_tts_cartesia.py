"""Cartesia: contexts on a socket that is used again."""

from __future__ import annotations

import json
from typing import Any

import gevent
import pytest

from esl_agent.errors import ConfigError
from esl_agent.providers.base import EngineContext
from esl_agent.providers.tts_cartesia import CartesiaVoice, CartesiaVoiceOptions
from esl_agent.testing.pretend_cartesia import KEY, VOICE, PretendCartesia
from esl_agent.testing.pretend_speech import SocketFault, endless
from tests.providers.contract_tts import DEADLINE, TEXT, SocketVoiceContract


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTESIA_API_KEY", KEY)


class TestCartesia(SocketVoiceContract):
    KEY = KEY

    def pretend(self) -> PretendCartesia:
        return PretendCartesia()

    def at(self, url: str, **options: Any) -> CartesiaVoice:
        return CartesiaVoice(CartesiaVoiceOptions(**{"voice": VOICE, "url": url, **options}), EngineContext("tr-TR"))

    def test_clauses_share_a_socket_and_never_a_context(self) -> None:
        voice = self.make()
        for _ in range(3):
            list(voice.speak(TEXT))
        assert self.server().connections == 1
        assert len({request["context_id"] for request in self.service.requests}) == 3

    def test_only_what_is_configured_is_sent(self) -> None:
        list(self.make().speak(TEXT))
        request = self.service.requests[-1]
        del request["context_id"]
        shape = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 16000}
        assert request == {
            "model_id": "sonic-3", "transcript": TEXT, "voice": {"mode": "id", "id": VOICE}, "language": "tr",
            "output_format": shape, "continue": False, "max_buffer_delay_ms": 0,
        }  # fmt: skip
        list(self.at(self.server().url, language="", speed=1.2, max_buffer_delay=0.3).speak(TEXT))
        request = self.service.requests[-1]
        assert (request["generation_config"], request["max_buffer_delay_ms"]) == ({"speed": 1.2}, 300)
        assert "language" not in request

    @pytest.mark.parametrize(("tag", "sent"), [("nb-NO", "no"), ("de-AT", "de"), ("zh-Hant-TW", "zh"), ("fil", "tl")])
    def test_the_language_is_named_as_the_service_names_it(self, tag: str, sent: str) -> None:
        """Its own list: cartesia 4.2.0, types/supported_language.py."""
        voice = CartesiaVoice(CartesiaVoiceOptions(voice=VOICE, url=self.server().url), EngineContext(tag))
        list(voice.speak(TEXT))
        assert self.service.requests[-1]["language"] == sent

    def test_an_error_that_names_no_context_is_ours(self) -> None:
        said = {"type": "error", "context_id": None, "status_code": 402, "error_code": "quota", "message": "pay"}
        self.service.faults = [SocketFault(say=json.dumps(said), stall=True)]
        with gevent.Timeout(2.0):
            assert self.failure(self.make()).blame == "setup"

    def test_what_is_cut_off_is_cancelled_and_its_socket_not_used_again(self) -> None:
        whole = self.service.cut
        self.service.cut = lambda data: endless(data, gevent.sleep)
        voice = self.make()
        speaking = voice.speak(TEXT)
        next(speaking)
        self.service.cut = whole
        speaking.close()
        self.all_closed()
        assert list(voice.speak(TEXT))
        assert self.server().connections == 2

    def test_a_polite_end_in_the_middle_of_a_clause_is_none(self) -> None:
        self.service.faults.append(SocketFault(after=3, close=(1000, "")))
        error = self.failure(self.make())
        assert (error.retryable, error.blame) == (True, "service")

    def test_a_service_that_has_not_begun_hears_that_it_need_not(self) -> None:
        self.service.faults.append(SocketFault(stall=True))
        heard: list[str] = []
        self.service.faults[0] = _Listening(heard)
        with gevent.Timeout(DEADLINE), pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.05):
            list(self.make().speak(TEXT))
        assert caught.value.seconds == 0.05
        with gevent.Timeout(DEADLINE):
            while not heard:
                gevent.sleep(0.002)
        assert json.loads(heard[0]) == {"context_id": self.service.requests[0]["context_id"], "cancel": True}

    @pytest.mark.parametrize(
        ("status", "code", "retryable", "blame"),
        [
            (429, "concurrency_limited", True, "service"),
            (402, "quota_exceeded", False, "setup"),
            (400, "invalid_request", False, "request"),
            (500, "", True, "service"),
            (None, "", True, "service"),
        ],
    )
    def test_an_error_that_comes_as_a_message_is_judged_by_its_status(self, status, code, retryable, blame) -> None:
        said = {"type": "error", "done": True, "status_code": status, "error_code": code, "title": "t", "message": KEY}
        self.service.faults.append(SocketFault(say=json.dumps(said)))
        error = self.failure(self.make())
        assert (error.retryable, error.blame) == (retryable, blame)

    def test_a_wrong_key_and_a_missing_voice_are_matters_of_setup(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CARTESIA_API_KEY", "sk_car_wrong")
        error = self.failure(self.make())
        assert error.blame == "setup"
        assert "sk_car_wrong" not in str(error)
        with pytest.raises(ConfigError, match="voice"):
            self.at(self.server().url, voice="")


class _Listening(SocketFault):
    """Says nothing, and keeps what it is told."""

    __slots__ = ("heard",)

    def __init__(self, heard: list[str]) -> None:
        object.__setattr__(self, "after", 0)
        object.__setattr__(self, "heard", heard)

    def strike(self, connection: Any) -> None:
        self.heard.extend(connection)  # type: ignore[attr-defined]
