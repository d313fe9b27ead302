"""Rates: nothing that was not there becomes audible, nothing is late."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from esl_agent.audio.g711 import LAWS
from esl_agent.audio.resample import LineResampler, VoiceResampler, line_resampler

PAIRS = [
    (48000, 16000), (48000, 8000), (24000, 8000), (16000, 8000), (8000, 16000), (8000, 24000),
    (24000, 16000), (16000, 24000), (32000, 24000), (12000, 8000),
]  # fmt: skip


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
    for share in (each for each in (0.62, 0.8, 0.97) if each * rate_out < rate_in / 2):
        assert through(rate_in, rate_out, share * rate_out).std() < 8000 / np.sqrt(2) / 500


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_a_callers_frame_is_two_milliseconds_late_and_not_more(rate_in, rate_out):
    resampler = LineResampler(rate_in, rate_out)
    click = np.zeros(rate_in // 50, "<i2")
    click[rate_in // 100] = 20000
    out = np.frombuffer(resampler.feed(click.tobytes()), "<i2")
    assert np.argmax(np.abs(out)) / rate_out - 0.01 == pytest.approx(16 / min(rate_in, rate_out), abs=0.0003)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_a_shout_over_a_resampled_line_is_cut_and_does_not_wrap_around(rate_in, rate_out):
    square = np.repeat(np.tile([32767, -32768], 10), rate_in // 200).astype("<i2")
    heard = np.frombuffer(LineResampler(rate_in, rate_out).feed(square.tobytes()), "<i2")
    assert (heard.max(), heard.min()) == (32767, -32768)
    turns = np.count_nonzero(np.diff(np.sign(heard[rate_out // 400 :])))
    assert turns <= 22  # 19, and twice where a sample is 0


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_packets_of_any_length_sound_as_one(rate_in, rate_out):
    pcm = np.random.default_rng(1).normal(0, 5000, rate_in // 5).astype("<i2").tobytes()
    whole = LineResampler(rate_in, rate_out).feed(pcm)
    assert len(whole) == rate_out // 5 * 2
    resampler, found = LineResampler(rate_in, rate_out), b""
    lengths = np.random.default_rng(2).integers(0, rate_in // 40, 1000) * 2
    for begin, end in pairwise(np.minimum(np.concatenate([[0], lengths.cumsum()]), len(pcm))):
        found += resampler.feed(pcm[begin:end])
    away = np.abs(np.frombuffer(found, "<i2").astype(int) - np.frombuffer(whole, "<i2"))
    assert away.max() <= 1  # a float may be rounded otherwise


def test_the_end_of_a_sound_comes_out_where_nothing_follows():
    resampler = LineResampler(16000, 8000)
    assert len(resampler.feed(bytes(2 * 100))) == 96
    assert len(resampler.feed(b"", last=True)) == 32


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
