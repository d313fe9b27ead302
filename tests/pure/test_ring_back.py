"""The tone a caller hears while it rings at somebody else's."""

from __future__ import annotations

import numpy as np
import pytest

from esl_agent.audio.ring_back import RATE, USUAL, ring_back


def tones(written: str) -> list[int]:
    """The frequencies that stand out of its first second, in Hz."""
    sound = ring_back(written)
    assert sound is not None
    power = np.abs(np.fft.rfft(np.frombuffer(sound.pcm, "<i2")[:RATE].astype(float)))
    return [int(line) for line in np.flatnonzero(power > power.max() / 2)]


@pytest.mark.parametrize(
    "written", [USUAL, "tone_stream://%(2000,4000,440,480)", "local_stream://moh", "%(x)", "nonsense"]
)
def test_the_usual_ring_back_is_two_tones_for_two_seconds_in_six(written):
    sound = ring_back(written)
    assert sound is not None
    assert sound.seconds == 6.0
    assert tones(written) == [440, 480]
    samples = np.frombuffer(sound.pcm, "<i2")
    assert not samples[2 * RATE :].any()
    assert samples[: 2 * RATE].any()


def test_germanys_is_one_tone():
    sound = ring_back("%(1000,4000,425)")
    assert sound is not None
    assert sound.seconds == 5.0
    assert tones("%(1000,4000,425)") == [425]


def test_who_wants_silence_gets_it():
    assert ring_back("") is None
    assert ring_back("%(0,0,425)") is None


def test_a_tone_begins_and_ends_without_a_click():
    sound = ring_back(USUAL)
    assert sound is not None
    samples = np.abs(np.frombuffer(sound.pcm, "<i2").astype(int))
    assert max(samples[0], samples[2 * RATE - 1]) < 50
    assert samples.max() < 8000
