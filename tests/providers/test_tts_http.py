"""The voices with one HTTP route, through the contract and each with what is special about it."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esl_agent.errors import ConfigError
from esl_agent.providers.base import EngineContext
from esl_agent.providers.tts_coqui import CoquiVoice, CoquiVoiceOptions
from esl_agent.providers.tts_deepgram import DeepgramVoice, DeepgramVoiceOptions
from esl_agent.providers.tts_openai import OpenAiVoice, OpenAiVoiceOptions
from esl_agent.providers.tts_piper import PiperVoice, PiperVoiceOptions
from esl_agent.providers.tts_xtts import XttsVoice, XttsVoiceOptions
from esl_agent.providers.voice_key import voice_key
from esl_agent.testing.pretend_speech import ramp, wav
from esl_agent.testing.pretend_voices import (
    DEEPGRAM_KEY,
    OPENAI_KEY,
    PretendAura,
    PretendCoqui,
    PretendOpenAiSpeech,
    PretendPiper,
    PretendXtts,
)
from esl_agent.testing.web import Reply
from tests.providers.contract_tts import TEXT, HttpVoiceContract

ENGLISH = EngineContext("en")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAI_KEY)
    monkeypatch.setenv("DEEPGRAM_API_KEY", DEEPGRAM_KEY)


class TestOpenAi(HttpVoiceContract):
    KEY = OPENAI_KEY

    def pretend(self) -> PretendOpenAiSpeech:
        return PretendOpenAiSpeech()

    def at(self, url: str, **options: Any) -> OpenAiVoice:
        return OpenAiVoice(OpenAiVoiceOptions(url=f"{url}/v1", api_key_env="OPENAI_API_KEY", **options), ENGLISH)

    def test_only_what_is_configured_is_sent(self) -> None:
        list(self.make().speak("Hello."))
        assert self.service.requests[-1].json() == {
            "model": "gpt-4o-mini-tts", "voice": "coral", "response_format": "pcm", "input": "Hello.",
        }  # fmt: skip
        list(self.at(self.service.url, speed=1.5, instructions="Whisper.").speak("Hello."))
        assert {"speed": 1.5, "instructions": "Whisper."}.items() <= self.service.requests[-1].json().items()

    def test_a_streamed_wav_with_a_size_nobody_knew_is_spoken_whole(self) -> None:
        voice = self.at(self.service.url, format="wav")
        assert b"".join(voice.speak(TEXT)) == ramp(TEXT, 24000)

    def test_a_server_that_sends_wav_in_place_of_samples_is_understood(self) -> None:
        self.service.cut = lambda pcm: [wav(pcm, 24000)]
        assert b"".join(self.make().speak(TEXT)) == ramp(TEXT, 24000)

    def test_another_rate_is_made_by_resampling(self) -> None:
        tone = (9000 * np.sin(np.arange(24000) * 2 * np.pi * 440 / 24000)).astype("<i2").tobytes()
        self.service.cut = lambda _: [tone[at : at + 4801] for at in range(0, len(tone), 4801)]
        voice = self.at(self.service.url, format="wav", rate=16000)
        self.service.cut = lambda data: [wav(tone, 24000, 0)[:7], wav(tone, 24000, 0)[7:]]
        samples = np.frombuffer(b"".join(voice.speak(TEXT)), "<i2")
        wanted = 9000 * np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000)
        assert len(samples) == 16000
        assert np.abs(samples - wanted)[500:-500].max() < 100


class TestKokoro(HttpVoiceContract):
    """The same engine, without a key, at a server of one's own."""

    def pretend(self) -> PretendOpenAiSpeech:
        return PretendOpenAiSpeech(kokoro=True)

    def at(self, url: str) -> OpenAiVoice:
        options = OpenAiVoiceOptions(url=f"{url}/v1", model="kokoro", voice="af_heart", lang_code="a")
        return OpenAiVoice(options, ENGLISH)


class TestDeepgram(HttpVoiceContract):
    KEY = DEEPGRAM_KEY

    def pretend(self) -> PretendAura:
        return PretendAura()

    def at(self, url: str, **options: Any) -> DeepgramVoice:
        return DeepgramVoice(DeepgramVoiceOptions(url=url, **options), ENGLISH)

    def test_only_what_is_configured_is_asked_for(self) -> None:
        list(self.at(self.service.url, rate=8000).speak("Hello."))
        assert self.service.requests[-1].query == {
            "model": ["aura-2-thalia-en"], "encoding": ["linear16"], "sample_rate": ["8000"], "container": ["none"],
        }  # fmt: skip


class TestPiper(HttpVoiceContract):
    def pretend(self) -> PretendPiper:
        return PretendPiper()

    def at(self, url: str, **options: Any) -> PiperVoice:
        return PiperVoice(PiperVoiceOptions(url=url, **options), ENGLISH)

    def test_a_voice_of_low_quality_is_resampled(self) -> None:
        with PretendPiper(rate=16000) as slow:
            pcm = b"".join(self.at(slow.url).speak(TEXT))
        assert abs(len(pcm) / 2 / 22050 - len(TEXT) * 0.04) < 0.01

    def test_a_server_that_is_there_but_has_neither_route_is_a_matter_of_setup(self) -> None:
        error = self.failure(self.at(f"{self.service.url}/elsewhere"))
        assert (error.retryable, error.blame) == (False, "setup")


class TestOldPiper(HttpVoiceContract):
    """Before June 2026 it listened at its root."""

    def pretend(self) -> PretendPiper:
        return PretendPiper(old=True)

    def at(self, url: str) -> PiperVoice:
        return PiperVoice(PiperVoiceOptions(url=url), ENGLISH)

    def ready(self) -> PiperVoice:
        voice = self.make()
        list(voice.speak("Once."))
        return voice

    def test_the_route_that_worked_is_remembered(self) -> None:
        voice = self.make()
        for _ in range(3):
            list(voice.speak(TEXT))
        assert [request.path for request in self.service.requests] == ["/synthesize", "/", "/", "/"]


class TestCoqui(HttpVoiceContract):
    def pretend(self) -> PretendCoqui:
        return PretendCoqui()

    def at(self, url: str) -> CoquiVoice:
        return CoquiVoice(CoquiVoiceOptions(url=url, speaker="p225", language="en"), ENGLISH)


class TestOldCoqui(TestCoqui):
    def pretend(self) -> PretendCoqui:
        return PretendCoqui(old=True)

    def ready(self) -> CoquiVoice:
        voice = self.make()
        list(voice.speak("Once."))
        return voice


class TestXtts(HttpVoiceContract):
    def pretend(self) -> PretendXtts:
        return PretendXtts()

    def at(self, url: str, **options: Any) -> XttsVoice:
        return XttsVoice(XttsVoiceOptions(url=url, **{"speaker": "Gökçe Çelik", **options}), EngineContext("tr-TR"))

    def ready(self) -> XttsVoice:
        voice = self.make()
        list(voice.speak("Once."))
        return voice

    def test_the_speaker_is_asked_for_once(self) -> None:
        voice = self.make()
        for _ in range(3):
            list(voice.speak(TEXT))
        assert [request.path for request in self.service.requests] == ["/studio_speakers", *["/tts_stream"] * 3]
        body = self.service.requests[-1].json()
        assert (body["language"], body["add_wav_header"], "stream_chunk_size" in body) == ("tr", False, False)

    def test_an_unknown_speaker_is_a_matter_of_setup(self) -> None:
        error = self.failure(self.at(self.service.url, speaker="Nobody"))
        assert (error.retryable, error.blame) == (False, "setup")

    def test_a_language_that_the_model_does_not_have_breaks_the_answer_off(self) -> None:
        error = self.failure(self.at(self.service.url, language="nb"))
        assert (error.retryable, error.blame) == (True, "service")

    def test_what_is_no_speaker_is_not_passed_on(self) -> None:
        said = {"Gökçe Çelik": {"speaker_embedding": "x", "gpt_cond_latent": [[1]]}}
        self.service.route("GET", "/studio_speakers", lambda _: Reply.json(said))
        assert "expected a speaker" in str(self.failure(self.make()))

    def test_a_voice_is_cloned_once_from_a_recording(self, tmp_path: Path) -> None:
        recording = tmp_path / "me.wav"
        recording.write_bytes(wav(ramp("hello", 22050), 22050))
        voice = self.at(self.service.url, clone_from=str(recording))
        for _ in range(2):
            assert b"".join(voice.speak(TEXT)) == ramp(TEXT, 24000)
        assert len(self.service.recordings) == 1
        assert voice.voice != self.make().voice
        recording.write_bytes(b"no sound")
        with pytest.raises(ConfigError, match="no WAV file"):
            self.at(self.service.url, clone_from=str(recording))

    def test_a_server_that_sends_its_header_all_the_same_is_understood(self) -> None:
        self.service.cut = lambda pcm: [wav(pcm, 24000, 0)[:45], wav(pcm, 24000, 0)[45:]]
        assert b"".join(self.make().speak(TEXT)) == ramp(TEXT, 24000)


def test_a_voice_that_needs_a_key_is_not_made_without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "DEEPGRAM_API_KEY"):
        monkeypatch.delenv(name)
    for make in (
        lambda: OpenAiVoice(OpenAiVoiceOptions(), ENGLISH),
        lambda: DeepgramVoice(DeepgramVoiceOptions(), ENGLISH),
    ):
        with pytest.raises(ConfigError, match="API_KEY"):
            make()


def test_whatever_changes_the_sound_changes_the_name_it_is_cached_under() -> None:
    options = PiperVoiceOptions()
    key = voice_key("piper", options)
    assert voice_key("piper", dataclasses.replace(options, at_once=7, ca_file="x.pem")) == key
    for field in ("voice", "rate", "speaker", "speaker_id", "length_scale", "noise_scale", "noise_w_scale", "url"):
        changed: Any = 3 if getattr(options, field) is None or field == "rate" else "other"
        assert voice_key("piper", dataclasses.replace(options, **{field: changed})) != key


def test_a_wav_of_floats_is_refused_in_words() -> None:
    fmt = struct.pack("<HHIIHH", 3, 1, 22050, 88200, 4, 32)
    with PretendPiper() as service:
        service.cut = lambda _: []
        service.route("POST", "/synthesize", lambda _: _floats(fmt))
        voice = PiperVoice(PiperVoiceOptions(url=service.url), ENGLISH)
        with pytest.raises(Exception, match="format 3, 32 bits"):
            list(voice.speak(TEXT))


def _floats(fmt: bytes) -> Any:
    return Reply(b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + fmt + b"data\x08\0\0\0" + bytes(8), content_type="audio/wav")
