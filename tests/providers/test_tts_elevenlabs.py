"""ElevenLabs, over HTTP and over its WebSocket."""

from __future__ import annotations

import audioop
import logging
import shutil
from pathlib import Path
from typing import Any

import gevent
import numpy as np
import pytest

from esl_agent.errors import ConfigError
from esl_agent.providers import mp3
from esl_agent.providers.base import EngineContext
from esl_agent.providers.tts_elevenlabs import ElevenLabsVoice, ElevenLabsVoiceOptions
from esl_agent.providers.tts_elevenlabs_ws import ElevenLabsSocketOptions, ElevenLabsSocketVoice
from esl_agent.testing.pretend_elevenlabs import KEY, VOICE, PretendElevenLabs
from esl_agent.testing.pretend_speech import SocketFault, ramp
from esl_agent.testing.web import Fault, Reply
from tests.providers.contract_tts import TEXT, HttpVoiceContract, SocketVoiceContract

ENGLISH = EngineContext("en")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: MP3 is not tried")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELEVENLABS_API_KEY", KEY)
    monkeypatch.delenv("API_KEY", raising=False)


def detail(http: int, **more: Any) -> Fault:
    return Fault(instead=Reply.json({"detail": more}, http))


@pytest.fixture
def tone_mp3() -> Any:
    """(PCM16, rate) -> MP3 of a tone as long."""
    from pydub import AudioSegment

    def made(pcm: bytes, rate: int) -> bytes:
        tone = (9000 * np.sin(np.arange(len(pcm) // 2) * 2 * np.pi * 440 / rate)).astype("<i2").tobytes()
        sound = AudioSegment(tone, sample_width=2, frame_rate=rate, channels=1)
        data: bytes = sound.export(format="mp3", bitrate="128k").read()
        return data

    return made


class TestHttp(HttpVoiceContract):
    KEY = KEY

    def pretend(self) -> PretendElevenLabs:
        return PretendElevenLabs()

    def server(self) -> Any:
        return self.service.http

    def at(self, url: str, **options: Any) -> ElevenLabsVoice:
        return ElevenLabsVoice(ElevenLabsVoiceOptions(**{"voice": VOICE, "url": url, **options}), ENGLISH)

    def asked(self, **options: Any) -> ElevenLabsVoice:
        return self.at(self.server().url, **options)

    def test_only_what_is_configured_is_sent(self) -> None:
        list(self.make().speak("Hello."))
        request = self.server().requests[-1]
        assert request.query == {"output_format": ["pcm_16000"]}
        assert request.json() == {"text": "Hello.", "model_id": "eleven_flash_v2_5", "language_code": "en"}
        voice = self.asked(
            model="eleven_multilingual_v2", stability=0.0, similarity=0.7, speaker_boost=False, speed=1.1, seed=0,
            optimize_streaming_latency=0, enable_logging=False, text_normalization="off", rate=8000,
        )  # fmt: skip
        list(voice.speak("Hello."))
        request = self.server().requests[-1]
        assert request.query == {
            "output_format": ["pcm_8000"], "optimize_streaming_latency": ["0"], "enable_logging": ["false"],
        }  # fmt: skip
        settings = {"stability": 0.0, "similarity_boost": 0.7, "use_speaker_boost": False, "speed": 1.1}
        assert request.json() == {
            "text": "Hello.", "model_id": "eleven_multilingual_v2", "voice_settings": settings, "seed": 0,
            "apply_text_normalization": "off",
        }  # fmt: skip

    def test_norwegian_is_no(self) -> None:
        options = ElevenLabsVoiceOptions(voice=VOICE, url=self.server().url)
        list(ElevenLabsVoice(options, EngineContext("nb-NO")).speak("Hei."))
        assert self.server().requests[-1].json()["language_code"] == "no"

    def test_a_long_clause_is_spoken_in_parts_that_know_their_neighbours(self) -> None:
        text = " ".join(f"This is sentence number {n}, and it is not a short one." for n in range(20))
        pcm = b"".join(self.asked(pause=0.5).speak(text))
        said = self.service.said
        assert " ".join(said) == text
        assert len(said) == 3
        assert all(len(part) <= 450 and part.endswith(".") for part in said)
        assert pcm == bytes(16000).join(ramp(part, 16000) for part in said)
        bodies = [request.json() for request in self.server().requests]
        assert [body.get("previous_text") for body in bodies] == [None, said[0], said[1]]
        assert [body.get("next_text") for body in bodies] == [said[1], said[2], None]

    def test_mu_law_is_spoken_as_well(self) -> None:
        voice = self.asked(format="ulaw_8000", rate=8000)
        assert b"".join(voice.speak(TEXT)) == audioop.ulaw2lin(audioop.lin2ulaw(ramp(TEXT, 8000), 2), 2)

    @pytest.mark.parametrize(
        ("fault", "retryable", "blame"),
        [
            (detail(429, status="rate_limit_exceeded", message="m"), True, "service"),
            (detail(429, code="concurrent_limit_exceeded", status="too_many_concurrent_requests"), True, "service"),
            (detail(429, status="system_busy", message="m"), True, "service"),
            (detail(401, status="quota_exceeded", message="m"), False, "setup"),
            (detail(401, status="invalid_api_key", message="m"), False, "setup"),
            (detail(401, status="detected_unusual_activity", message="m"), False, "setup"),
            (detail(400, status="voice_not_found", message="m"), False, "setup"),
            (detail(404, status="voice_not_found", message="m"), False, "setup"),
            (detail(400, status="max_character_limit_exceeded", message="m"), False, "request"),
            (Fault(instead=Reply.json({"detail": [{"loc": ["body"], "msg": "m"}]}, 422)), False, "request"),
            (detail(403, status="feature_not_available", message="not for you"), False, "setup"),
        ],
    )
    def test_its_refusals_mean_what_its_pages_say(self, fault: Fault, retryable: bool, blame: str) -> None:
        self.server().faults.append(fault)
        error = self.failure(self.make())
        assert (error.retryable, error.blame) == (retryable, blame)
        assert len(self.server().requests) == 1

    def test_a_format_that_the_plan_does_not_have_is_asked_for_in_another_and_only_once(self) -> None:
        self.service.refused_formats = {"pcm_16000", "pcm_24000", "pcm_22050"}
        voice = self.make()
        for _ in range(2):
            pcm = b"".join(voice.speak(TEXT))
            assert abs(len(pcm) / 2 / 16000 - len(TEXT) * 0.04) < 0.01
        formats = [request.query["output_format"][0] for request in self.server().requests]
        assert formats == ["pcm_16000", "pcm_24000", "pcm_22050", "ulaw_8000", "ulaw_8000"]

    def test_a_plan_without_any_format_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mp3, "is_ready", lambda: False)
        self.service.refused_formats = {"pcm_16000", "pcm_24000", "pcm_22050", "ulaw_8000"}
        voice = self.make()
        error = self.failure(voice)
        assert (error.retryable, error.blame) == (False, "setup")
        assert "apt install ffmpeg" in str(error)
        self.service.refused_formats = set()
        assert b"".join(voice.speak(TEXT)) == ramp(TEXT, 16000)

    def test_what_the_plan_does_not_have_is_told_in_the_service_s_words(self) -> None:
        """Its 403 may be about the voice, not the format."""
        voice = self.make()
        self.server().faults = [detail(403, status="voice_access_denied", message="this voice needs a paid plan")] * 9
        assert "this voice needs a paid plan" in str(self.failure(voice))

    def test_mp3_without_ffmpeg_is_told_at_the_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mp3, "is_ready", lambda: False)
        with pytest.raises(ConfigError, match="apt install ffmpeg"):
            self.asked(format="mp3_44100_128")

    @needs_ffmpeg
    def test_mp3_is_spoken_where_it_is_all_there_is(self, tone_mp3: Any) -> None:
        self.service.mp3 = tone_mp3
        ticks = 0

        def tick() -> None:
            nonlocal ticks
            while True:
                gevent.sleep(0.005)
                ticks += 1

        ticking = gevent.spawn(tick)
        pcm = b"".join(self.asked(format="mp3_44100_128").speak(TEXT))
        ticking.kill()
        samples = np.frombuffer(pcm, "<i2")
        assert abs(len(samples) / 16000 - len(TEXT) * 0.04) < 0.15
        spectrum = np.abs(np.fft.rfft(samples[4000:20000]))
        assert np.argmax(spectrum) == 440
        assert ticks > 3  # the hub went on while ffmpeg worked

    @needs_ffmpeg
    def test_mp3_that_nobody_can_decode_is_an_error(self) -> None:
        self.service.mp3 = lambda pcm, rate: b"ID3" + bytes(range(256)) * 4
        error = self.failure(self.asked(format="mp3_44100_128"))
        assert error.retryable

    def test_how_much_the_plan_allows_is_told_once(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)
        voice = self.make()
        for _ in range(2):
            list(voice.speak(TEXT))
        assert caplog.text.count("may have 5 requests at a time") == 1
        caplog.clear()
        list(self.asked(at_once=5).speak(TEXT))
        assert caplog.text == ""

    def test_a_key_in_a_file_is_preferred_to_what_somebody_calls_api_key(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("ELEVENLABS_API_KEY")
        monkeypatch.setenv("API_KEY", "of-something-else")
        (tmp_path / "key").write_text(f"{KEY}\n")
        assert b"".join(self.asked(api_key_file=str(tmp_path / "key")).speak(TEXT))

    def test_the_older_name_of_the_key_works_and_a_voice_is_required(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("ELEVENLABS_API_KEY")
        with pytest.raises(ConfigError, match="ELEVENLABS_API_KEY"):
            self.make()
        monkeypatch.setenv("API_KEY", KEY)
        assert b"".join(self.make().speak(TEXT))
        with pytest.raises(ConfigError, match="VOICE_ID"):
            self.asked(voice="")


class TestSocket(SocketVoiceContract):
    KEY = KEY

    def pretend(self) -> PretendElevenLabs:
        return PretendElevenLabs()

    def at(self, url: str, **options: Any) -> ElevenLabsSocketVoice:
        url = url.replace("ws", "http", 1)
        return ElevenLabsSocketVoice(ElevenLabsSocketOptions(**{"voice": VOICE, "url": url, **options}), ENGLISH)

    def all_closed(self) -> None:
        self.all_but_spare_closed()

    def test_settings_go_with_the_first_message_and_the_end_with_the_text(self) -> None:
        voice = self.at(self.server().url, stability=0.4, inactivity_timeout=60)
        list(voice.speak("Hello."))
        assert self.service.messages == [
            {"text": " ", "voice_settings": {"stability": 0.4}}, {"text": "Hello. ", "flush": True}, {"text": ""},
        ]  # fmt: skip

    def test_the_next_clause_finds_a_socket_open(self) -> None:
        voice = self.make()
        for number in range(3):
            assert b"".join(voice.speak(TEXT)) == ramp(TEXT, 16000)
            gevent.sleep(0.03)
            assert self.server().connections == number + 2
        self.all_but_spare_closed()

    @pytest.mark.parametrize(
        ("reason", "retryable", "blame"),
        [
            ("This request exceeds your quota of 10000.", False, "setup"),
            ('{"error":"quota_exceeded"}', False, "setup"),
            ("Have not received a new text input within the timeout: input_timeout_exceeded", True, "service"),
            ("Could not parse input message", False, "request"),
        ],
    )
    def test_a_close_with_1008_means_what_its_reason_says(self, reason: str, retryable: bool, blame: str) -> None:
        self.service.faults.append(SocketFault(close=(1008, reason)))
        error = self.failure(self.make())
        assert (error.retryable, error.blame) == (retryable, blame)

    def test_an_error_that_comes_as_a_message_is_understood(self) -> None:
        said = '{"message":"Unusual activity detected.","error":"detected_unusual_activity","code":1008}'
        self.service.faults.append(SocketFault(say=said))
        assert self.failure(self.make()).blame == "setup"
        assert self.failure(self.at(self.server().url, voice="nobody")).blame == "setup"
