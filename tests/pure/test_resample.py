"""Rates: nothing that was not there becomes audible, nothing is late."""

from __future__ import annotations

import numpy as np
import pytest

from esl_agent.audio.g711 import LAWS
from esl_agent.audio.resample import LineResampler, VoiceResampler, line_resampler

PAIRS = [(48000, 16000), (48000, 8000), (16000, 8000), (8000, 16000)]


def through(rate_in: int, rate_out: int, hertz: float) -> np.ndarray:
    """A second of a tone, frame by frame."""
    resampler = LineResampler(rate_in, rate_out)
    pcm = (8000 * np.sin(2 * np.pi * hertz * np.arange(rate_in) / rate_in)).astype("<i2").tobytes()
    size = rate_in // 25
    out = [resampler.feed(pcm[at : at + size]) for at in range(0, len(pcm), size)]
    assert {len(frame) for frame in out} == {rate_out // 25}
    return np.frombuffer(b"".join(out), "<i2").astype(float)[rate_out // 10 :]


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_speech_passes_as_loud_as_it_was(rate_in, rate_out):
    for hertz in (300, 1000, 3000):
        assert through(rate_in, rate_out, hertz).std() == pytest.approx(8000 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize(("rate_in", "rate_out"), [pair for pair in PAIRS if pair[0] > pair[1]])
def test_what_the_lower_rate_cannot_hold_is_gone_and_not_folded_back(rate_in, rate_out):
    for share in (0.62, 0.8, 0.97):
        assert through(rate_in, rate_out, share * rate_out).std() < 8000 / np.sqrt(2) / 500


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_a_callers_frame_is_two_milliseconds_late_and_not_more(rate_in, rate_out):
    resampler = LineResampler(rate_in, rate_out)
    click = np.zeros(rate_in // 50, "<i2")
    click[rate_in // 100] = 20000
    out = np.frombuffer(resampler.feed(click.tobytes()), "<i2")
    assert np.argmax(np.abs(out)) / rate_out - 0.01 == pytest.approx(16 / min(rate_in, rate_out), abs=0.0003)


def test_frames_that_need_nothing_are_left_alone():
    assert line_resampler(8000, 8000) is None
    assert isinstance(line_resampler(48000, 16000), LineResampler)
    assert isinstance(line_resampler(44100, 16000), VoiceResampler)
    with pytest.raises(ValueError, match="multiple"):
        LineResampler(44100, 16000)


@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_g711_there_and_back_is_within_its_own_noise(name):
    law = LAWS[name]
    pcm = (8000 * np.sin(np.arange(1600) / 7)).astype("<i2")
    coded = law.encode(pcm.tobytes())
    assert len(coded) == 1600
    error = np.frombuffer(law.decode(coded), "<i2").astype(float) - pcm
    assert 20 * np.log10(pcm.std() / error.std()) > 35
