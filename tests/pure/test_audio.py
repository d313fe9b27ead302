"""Sound: frames, levels, and which frames are voiced."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.audio.pcm import Reframer, Sound, frame_bytes, peak, rms
from esl_agent.audio.vad import VadSettings, VoiceDetector

RATES = [8000, 16000]


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


@pytest.mark.parametrize("rate", RATES)
def test_a_loud_vowel_is_voice(rate):
    detector = VoiceDetector(VadSettings(), rate)
    pitches = [(140 * n, 6000 / n) for n in range(1, 12)]
    samples = [sum(a * math.sin(2 * math.pi * f * i / rate) for f, a in pitches) for i in range(rate)]
    pcm = struct.pack(f"<{rate}h", *[max(-32768, min(32767, round(sample))) for sample in samples])
    frames = Reframer(rate).feed(pcm)
    assert sum(detector.is_voiced(frame) for frame in frames) > len(frames) / 2
