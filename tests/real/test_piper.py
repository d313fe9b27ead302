"""The piper voice against piper's own HTTP server, with voices that say each phoneme as a tone of its own."""

from __future__ import annotations

import io
import json
import urllib.request
import wave
from typing import Any

import gevent
import numpy as np
import pytest

from esl_agent.errors import ProviderError
from tests.real.servers import Running, engine

pytestmark = pytest.mark.system
PATIENCE = 10.0
HELLO = "Hello world, how are you?"


def voice(server: Running, **options: Any) -> Any:
    return engine("tts", "piper", url=server.url, **options)


def sound(pieces: Any) -> np.ndarray[Any, np.dtype[np.int16]]:
    return np.frombuffer(b"".join(pieces), "<i2")


def whole(server: Running, **body: Any) -> np.ndarray[Any, np.dtype[np.int16]]:
    """What the server's own WAV has, by the standard library."""
    request = urllib.request.Request(
        f"{server.url}/synthesize", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer, wave.open(io.BytesIO(answer.read())) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def highest(pcm: np.ndarray[Any, np.dtype[np.int16]], rate: int) -> float:
    """Hz of the highest tone that is loud."""
    loudness = np.abs(np.fft.rfft(pcm.astype(float)))
    return float(np.nonzero(loudness > 0.25 * loudness.max())[0].max()) * rate / len(pcm)


def test_speech_is_what_the_server_made_sample_for_sample(piper: Running) -> None:
    pcm = sound(voice(piper).speak(HELLO))
    assert np.array_equal(pcm, whole(piper, text=HELLO))
    assert 1.0 < len(pcm) / 22050 < 5.0


def test_a_voice_at_another_rate_is_resampled_to_ours(piper: Running) -> None:
    low, high = whole(piper, text=HELLO, voice="low"), sound(voice(piper, voice="low", rate=24000).speak(HELLO))
    assert len(high) / 24000 == pytest.approx(len(low) / 16000, abs=0.01)
    assert highest(high, 24000) == pytest.approx(highest(low, 16000), abs=20)


def test_options_reach_the_server(piper: Running) -> None:
    plain = sound(voice(piper).speak(HELLO))
    slow = sound(voice(piper, length_scale=1.5).speak(HELLO))
    assert len(slow) == pytest.approx(1.5 * len(plain), rel=0.01)
    named = sound(voice(piper, voice="pair", speaker="speaker1").speak(HELLO))
    numbered = sound(voice(piper, voice="pair", speaker_id=1).speak(HELLO))
    first = sound(voice(piper, voice="pair", speaker_id=0).speak(HELLO))
    assert np.array_equal(named, numbered)
    assert highest(named, 22050) == pytest.approx(highest(first, 22050) + 1000, abs=50)


@pytest.mark.parametrize(
    "text",
    [
        'She said "no" \\ and \'yes\'; then {"text": "x"} <b>&amp;</b>',
        "Grüße aus Köln, 5 ☎ a month, naïve café",
        "Мало слов",
        "hello\x00\x1b[2J\r\nworld",
        "[[ h@l'oU ]] raw phonemes",
        "\ud800 half a character",
    ],
)
def test_text_of_any_kind_is_spoken(piper: Running, text: str) -> None:
    pcm = sound(voice(piper).speak(text))
    assert np.abs(pcm.astype(int)).max() > 3000


def test_text_without_a_word_makes_no_sound_though_the_server_would_fail(piper: Running) -> None:
    for text in ("", "...", "?!", "☎"):
        assert list(voice(piper).speak(text)) == []


def test_two_clauses_at_a_time_are_both_spoken(piper: Running) -> None:
    speaker = voice(piper)
    texts = (HELLO, "One two three four five.")
    clauses = [gevent.spawn(lambda text=text: sound(speaker.speak(text))) for text in texts * 2]
    gevent.joinall(clauses, PATIENCE)
    for text, clause in zip(texts * 2, clauses, strict=True):
        assert np.array_equal(clause.value, whole(piper, text=text))


def test_a_failing_synthesis_is_the_services_fault(piper: Running) -> None:
    """A speaker that the voice does not have: the model's own error, as a page of HTML."""
    with pytest.raises(ProviderError, match="500") as caught:
        list(voice(piper, speaker_id=0, voice="broken").speak(HELLO))
    assert (caught.value.stage, caught.value.blame) == ("tts", "service")


def test_a_server_that_is_not_there_is_told(piper: Running, free_port: int) -> None:
    with pytest.raises(ProviderError, match="refused") as caught:
        list(engine("tts", "piper", url=f"http://127.0.0.1:{free_port}").speak(HELLO))
    assert (caught.value.blame, caught.value.retryable) == ("service", True)


def test_speech_that_is_given_up_does_not_disturb_the_next(piper: Running) -> None:
    speaker = voice(piper)
    clause = speaker.speak("One two three four five six seven eight nine ten. " * 20)
    next(clause)
    clause.close()
    assert np.array_equal(sound(speaker.speak(HELLO)), whole(piper, text=HELLO))
