"""Recognisers that hear along over a WebSocket: vosk, whisper_live."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from esl_agent.providers.base import EngineContext, Transcript
from esl_agent.providers.stt_vosk import Vosk, VoskOptions
from esl_agent.providers.stt_whisper_live import WhisperLive, WhisperLiveOptions
from esl_agent.testing.pretend_vosk import PretendVosk
from esl_agent.testing.pretend_whisper_live import PretendWhisperLive
from tests.providers.contract_stt import (
    ENGLISH,
    PHRASES,
    SocketsContract,
    frames,
    tone,
    until,
)


class TestVosk(SocketsContract):
    wrong = ({"partial": 7}, {"text": ["a"]}, {"result": []})

    @pytest.fixture(autouse=True)
    def serve(self) -> Iterator[None]:
        with PretendVosk() as self.server:
            yield

    #: It has no thread of its own that reads.
    test_a_sender_ends_with_its_sound_after_the_service_is_gone = None  # type: ignore[assignment]

    def make(self, context: EngineContext = ENGLISH, **options: Any) -> Vosk:
        return Vosk(VoskOptions(url=self.server.url, **options), context)

    def make_at(self, host: str) -> Any:
        return Vosk(VoskOptions(url=f"ws://{host}"), ENGLISH)

    @pytest.mark.parametrize("rate", [8000, 16000])
    def test_the_server_knows_the_rate_before_the_first_sound(self, rate):
        self.recognised(tone(1.0, rate), rate=rate)
        assert self.server.rates == [rate]
        assert self.server.told == [['{"eof" : 1}']]

    def test_stretches_of_speech_are_joined(self):
        with PretendVosk(stretch=0.8) as self.server:
            found = self.recognised(*frames(tone(2.0)))
        assert found[-1] == Transcript("one two one two one", True, pytest.approx(0.9))
        assert found[-2].text == "one two one two one"

    def test_it_may_know_nothing_but_what_is_expected(self):
        self.recognised(tone(1.0), engine=self.make(phrases=True))
        self.recognised(tone(1.0))
        assert [each.get("phrase_list") for each in self.server.configs] == [[*PHRASES, "[unk]"], None]

    def test_the_c_server_gets_no_configuration(self):
        assert self.recognised(tone(0.8, 8000), rate=8000, engine=self.make(send_config=False))[-1].text == "one two"
        assert self.server.configs == []

    def test_of_several_results_the_first_counts(self):
        with PretendVosk(stretch=0.8, alternatives=True) as self.server:
            found = self.recognised(*frames(tone(2.0)), engine=self.make(send_config=False, rate=8000))
        assert found[-1].text == "one two one two one"
        with PretendVosk(alternatives=True) as self.server:
            assert self.recognised(bytes(16000))[-1].text == ""


class TestWhisperLive(SocketsContract):
    rate = 16000
    points = ("open", "sound")
    secret = "wl-0123456789"
    wrong = ({"segments": [{"start": "0", "text": 7}]}, {"segments": [{"start": "0"}]})
    knows_int16 = True

    @pytest.fixture(autouse=True)
    def serve(self, monkeypatch) -> Iterator[None]:
        monkeypatch.setenv("WHISPER_LIVE_API_KEY", self.secret)
        with PretendWhisperLive(self.secret, knows_int16=self.knows_int16) as self.server:
            yield

    def make(self, context: EngineContext = ENGLISH, **options: Any) -> WhisperLive:
        return WhisperLive(WhisperLiveOptions(url=self.server.url, **{"settle": 1.0, **options}), context)

    def make_at(self, host: str) -> Any:
        return WhisperLive(WhisperLiveOptions(url=f"ws://{host}"), ENGLISH)

    def arrived(self) -> list[bytes]:
        """Without the second of silence that follows each."""
        return [each.removesuffix(bytes(32000)) if any(each) else each[:-32000] for each in super().arrived()]

    def test_an_utterance_shorter_than_a_second_is_understood(self):
        assert self.recognised(tone(0.4))[-1].text == "one"

    def test_newer_servers_take_half_the_bytes(self):
        pcm = tone(1.6)
        assert self.recognised(pcm, engine=self.make(samples="int16"))[-1].text == "one two three four"
        assert self.arrived() == [pcm]
        assert [each.get("audio_format") for each in self.server.hellos] == ["int16"]

    def test_a_server_without_a_free_place_may_have_one_later(self):
        with PretendWhisperLive(places=0) as self.server:
            error = self.failed()
        assert (error.retryable, error.blame) == (True, "service")
        assert "9.5 minutes" in str(error)

    def test_a_warning_is_none_of_our_business(self):
        warning = json.dumps({"uid": "x", "status": "WARNING", "message": "no such model, using small"})
        self.server.trouble["open"] = lambda connection: connection.send(warning)
        assert self.recognised(tone(0.8))[-1].text == "one two"

    @pytest.mark.parametrize("said", [{"status": "ERROR", "message": "no"}, {"message": "DISCONNECT"}])
    def test_what_ends_a_connection_is_an_error(self, said):
        self.server.trouble["sound"] = lambda connection: connection.send(json.dumps({"uid": "x", **said}))
        assert self.failed().retryable

    def test_the_end_is_told_so_that_the_place_is_free(self):
        self.recognised(bytes(32000))
        until(lambda: self.server.ended == 1)

    def test_each_connection_is_told_the_language(self):
        for tag in ("tr", "nb-NO"):
            self.recognised(tone(1.0), engine=self.make(EngineContext(tag)))
        self.recognised(tone(1.0), engine=self.make(language="auto"))
        assert [each["language"] for each in self.server.hellos] == ["tr", "no", None]
        assert len({each["uid"] for each in self.server.hellos}) == 3
