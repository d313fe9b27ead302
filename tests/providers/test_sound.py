"""What services send, as sound: the limits, and what is taken for what."""

from __future__ import annotations

import json
import struct

import pytest

from esl_agent.errors import ProviderError
from esl_agent.providers import mp3
from esl_agent.providers.sound import MAX_BYTES, MAX_SECONDS, Raw, pcm16
from esl_agent.providers.xtts_speakers import is_speaker, speaker_named
from esl_agent.testing.pretend_speech import ramp, wav


def failure(message: str, **more: object) -> ProviderError:
    return ProviderError("tts", message, **more)  # type: ignore[arg-type]


def test_two_minutes_are_enough_for_one_clause():
    second = bytes(16000)
    limit = round(MAX_SECONDS)
    assert len(b"".join(pcm16([second] * limit, Raw("s16", 8000), 8000, failure))) == 16000 * limit
    with pytest.raises(ProviderError, match="120 s") as caught:
        list(pcm16([second] * limit + [b"\x00\x00"], Raw("s16", 8000), 8000, failure))
    assert not caught.value.retryable


def test_what_never_becomes_sound_is_not_read_for_ever():
    head = wav(b"", 8000, 10)
    with pytest.raises(ProviderError, match="bytes of sound"):
        list(pcm16([head, *[bytes(1024 * 1024)] * (MAX_BYTES // 1024 // 1024 + 1)], None, 8000, failure))


def test_samples_that_begin_as_mp3_does_are_samples_unless_the_service_says_otherwise(monkeypatch):
    sound = struct.pack("<2h", -1025, 7) + ramp("hello", 8000)
    assert mp3.is_mp3(sound)
    assert b"".join(pcm16([sound], Raw("s16", 8000), 8000, failure, "audio/pcm")) == sound
    monkeypatch.setattr(mp3, "is_ready", lambda: False)
    with pytest.raises(ProviderError, match="apt install ffmpeg") as caught:
        list(pcm16([sound], Raw("s16", 8000), 8000, failure, "audio/mpeg"))
    assert caught.value.blame == "setup"


def test_samples_that_are_called_mp3_by_mistake_are_spoken():
    sound = ramp("hello", 8000)
    assert b"".join(pcm16([sound], Raw("s16", 8000), 8000, failure, "audio/mpeg")) == sound


@pytest.mark.skipif(not mp3.is_ready(), reason="needs ffmpeg")
def test_an_mp3_of_hours_is_not_decoded_to_its_end():
    from pydub import AudioSegment

    hours = AudioSegment(bytes(16000 * 300), sample_width=2, frame_rate=8000, channels=1)
    data: bytes = hours.export(format="mp3", bitrate="8k").read()
    pcm, rate = mp3.decoded(data, failure)
    assert MAX_SECONDS < len(pcm) / 2 / rate < 2 * MAX_SECONDS
    with pytest.raises(ProviderError, match="120 s"):
        list(pcm16([data], Raw("s16", 8000), 8000, failure, "audio/mpeg"))


@pytest.mark.parametrize("size", [1, 2, 7, 19, 1000])
def test_a_speaker_is_found_however_the_network_cuts_the_list(size):
    speaker = {"speaker_embedding": [1.5, -2e-05], "gpt_cond_latent": [[0.25]]}
    data = json.dumps({"Ana": {"speaker_embedding": [9]}, "Ana Maria": speaker}, indent=1).encode()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    found = speaker_named(pieces, "Ana Maria")
    assert found is not None
    assert is_speaker(found)
    assert json.loads(found) == speaker
    assert speaker_named(pieces, "Maria") is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"speaker_embedding": [1], "gpt_cond_latent": [["x"]]}',
        b'{"speaker_embedding": [1], "gpt_cond_latent": [[1]], "text": "another"}',
        b'{"speaker_embedding": [1], "speaker_embedding": [2], "gpt_cond_latent": [[1]]}',
        b'[{"speaker_embedding": [1], "gpt_cond_latent": [[1]]}]',
    ],
)
def test_only_two_lists_of_numbers_are_a_speaker(data):
    assert not is_speaker(data)
