"""Sound: frames, levels, and which frames are voiced."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.audio.pcm import Reframer, Sound, frame_bytes, peak, rms
from esl_agent.audio.vad import VadSettings, VoiceDetector
from esl_agent.testing.caller import recording
from esl_agent.testing.line import telephone, trim

RATES = [8000, 12000, 16000, 24000, 32000, 48000]


@given(data=st.binary(max_size=5000), cuts=st.lists(st.integers(0, 5000), max_size=20), rate=st.sampled_from(RATES))
def test_however_the_sound_is_cut_on_the_way_the_frames_are_the_same(data, cuts, rate):
    places = sorted(min(cut, len(data)) for cut in cuts)
    reframer = Reframer(rate)
    frames = []
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        frames += reframer.feed(data[start:end])
    size = frame_bytes(rate)
    whole = len(data) // size * size
    assert b"".join(frames) == data[:whole]
    assert all(len(frame) == size for frame in frames)


@pytest.mark.parametrize(("rate", "size"), [(8000, 320), (16000, 640)])
def test_a_frame_is_twenty_milliseconds(rate, size):
    assert frame_bytes(rate) == size
    assert Sound(bytes(size), rate).seconds == pytest.approx(0.02)


def test_levels_of_silence_of_nothing_and_of_full_scale():
    assert (rms(b""), peak(b"")) == (0, 0)
    assert (rms(bytes(320)), peak(bytes(320))) == (0, 0)
    assert peak(struct.pack("<hh", -32768, 5)) == 32768
    assert rms(struct.pack("<hh", 1000, -1000)) == 1000


@pytest.mark.parametrize("rate", RATES)
def test_silence_and_the_noise_of_a_line_are_not_voice(rate):
    detector = VoiceDetector(VadSettings(), rate)
    hiss = struct.pack(f"<{rate // 50}h", *[(i * 7919) % 21 - 10 for i in range(rate // 50)])
    assert not any(detector.is_voiced(frame) for frame in [bytes(frame_bytes(rate)), hiss] * 20)


def vowel(rate, seconds, loudness=1.0):
    """A voice of 140 Hz, as PCM."""
    pitches = [(140 * n, loudness * 6000 / n) for n in range(1, 12)]
    samples = [sum(a * math.sin(2 * math.pi * f * i / rate) for f, a in pitches) for i in range(round(rate * seconds))]
    return np.clip(samples, -32768, 32767).astype("<i2").tobytes()


def white(rate, seconds, level):
    """White noise of RMS ``level``, as PCM."""
    samples = np.random.default_rng(1).normal(0, level, round(rate * seconds))
    return np.clip(samples, -32768, 32767).astype("<i2").tobytes()


def voiced(detector, rate, pcm):
    return [detector.is_voiced(frame) for frame in Reframer(rate).feed(pcm)]


@pytest.mark.parametrize("rate", RATES)
def test_a_loud_vowel_is_voice(rate):
    detector = VoiceDetector(VadSettings(), rate)
    assert not any(voiced(detector, rate, white(rate, 0.4, 10)))
    assert np.mean(voiced(detector, rate, vowel(rate, 1.0))) > 0.5


@pytest.mark.parametrize("rate", RATES)
def test_a_caller_who_speaks_from_the_first_frame_is_heard_after_his_first_dip(rate):
    detector = VoiceDetector(VadSettings(), rate)
    voiced(detector, rate, vowel(rate, 0.1) + white(rate, 0.06, 20))
    assert np.mean(voiced(detector, rate, vowel(rate, 1.0))[8:]) > 0.5


@pytest.mark.parametrize("level", [100, 1000, 3000])
def test_however_loud_the_line_hisses_from_the_start_it_is_not_voice(level):
    detector = VoiceDetector(VadSettings(), 8000)
    assert sum(voiced(detector, 8000, white(8000, 20, level))) < 10


def test_a_voice_of_three_times_the_noise_is_heard():
    detector = VoiceDetector(VadSettings(), 8000)
    voiced(detector, 8000, white(8000, 2, 700))
    both = np.frombuffer(vowel(8000, 1.0, 0.6), "<i2") // 2 + np.frombuffer(white(8000, 1.0, 700), "<i2")
    assert np.mean(voiced(detector, 8000, both.astype("<i2").tobytes())) > 0.7


@pytest.mark.parametrize("wide", [12000, 24000, 48000])
def test_a_wide_band_line_is_listened_to_like_one_at_8_khz(wide):
    """webrtcvad decides at 8 kHz; the frames are the same but for some at the edges of words, which come 2 ms later."""
    said = b"".join(
        white(8000, 0.6, 30) + telephone(trim(recording(name)), 8000).pcm
        for name in ("something-terribly-wrong", "number-not-answering")
    )
    heard = []
    for rate in (8000, wide):
        sound = soxr.resample(np.frombuffer(said, "<i2"), 8000, rate).tobytes()
        heard.append(voiced(VoiceDetector(VadSettings(), rate), rate, sound))
    assert sum(heard[0]) > 100
    assert sum(one != other for one, other in zip(*heard, strict=True)) <= 3


@pytest.mark.parametrize("rate", [11025, 22050, 44100, 96000])
def test_a_rate_at_which_voices_cannot_be_detected_is_said_at_once(rate):
    with pytest.raises(ValueError, match=str(rate)):
        VoiceDetector(VadSettings(), rate)
