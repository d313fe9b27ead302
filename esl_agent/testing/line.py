"""What a telephone line does to a recording: 300-3400 Hz and mu-law at 8 kHz, nothing but the rate above. Pure."""

from __future__ import annotations

import audioop

import numpy as np
import soxr

from esl_agent.audio.pcm import Sound, frame_bytes, rms

_TAPS = 129


def resample(sound: Sound, rate: int) -> Sound:
    """``sound`` at ``rate`` samples a second."""
    if sound.rate == rate or not sound.pcm:
        return Sound(sound.pcm, rate)
    samples = soxr.resample(np.frombuffer(sound.pcm, "<i2"), sound.rate, rate, quality="HQ")
    return Sound(samples.astype("<i2").tobytes(), rate)


def telephone(sound: Sound, rate: int) -> Sound:
    """``sound`` as it arrives over a line of ``rate``: 8000 is narrow-band mu-law, anything above stays wide."""
    sound = resample(sound, rate)
    if rate != 8000 or not sound.pcm:
        return sound
    samples = np.convolve(np.frombuffer(sound.pcm, "<i2"), _band_pass(), mode="same")
    pcm = np.clip(samples, -32768, 32767).astype("<i2").tobytes()
    return Sound(audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2), rate)


def trim(sound: Sound, below_peak: float = 40.0) -> Sound:
    """Without the frames at both ends that are more than ``below_peak`` dB quieter than the loudest one."""
    size = frame_bytes(sound.rate)
    frames = [sound.pcm[i : i + size] for i in range(0, len(sound.pcm), size)]
    levels = [rms(frame) for frame in frames]
    floor = max(levels, default=0) / 10 ** (below_peak / 20)
    loud = [i for i, level in enumerate(levels) if level > floor]
    return Sound(b"".join(frames[loud[0] : loud[-1] + 1]), sound.rate) if loud else sound


def louder(sound: Sound, decibels: float) -> Sound:
    """``sound`` louder by ``decibels``, softer if they are negative."""
    return Sound(audioop.mul(sound.pcm, 2, 10 ** (decibels / 20)), sound.rate) if decibels else sound


def cough(rate: int) -> Sound:
    """Something like a cough, made of noise: two bursts that begin hard and die away, with the throat's resonances.

    No recording: a stand-in for one. The resonances and times are of the order of those of a real cough.
    """
    noise = np.random.default_rng(3)
    parts = []
    for seconds, level in ((0.26, 1.0), (0.2, 0.7)):
        time = np.arange(round(rate * seconds)) / rate
        burst = noise.normal(0.0, 1.0, len(time))
        for pitch, width in ((550.0, 250.0), (1400.0, 500.0)):
            span = np.arange(round(rate * 0.02)) / rate
            throat = np.exp(-np.pi * width * span) * np.cos(2 * np.pi * pitch * span)
            burst = burst + 2.0 * np.convolve(burst, throat, mode="full")[: len(time)] / np.sqrt(len(span))
        parts.append(level * burst * np.minimum(time / 0.008, 1.0) * np.exp(-time / 0.09))
        parts.append(np.zeros(round(rate * 0.06)))
    samples = np.concatenate(parts)
    return Sound((samples * (12000 / np.abs(samples).max())).astype("<i2").tobytes(), rate)


def line_noise(rate: int, level: float, seed: int, seconds: float = 4.0) -> bytes:
    """White noise of ``level`` dBFS (RMS), the same for the same seed."""
    deviation = 32768 * 10 ** (level / 20)
    samples = np.random.default_rng(seed).normal(0.0, deviation, int(rate * seconds))
    return np.clip(samples, -32768, 32767).astype("<i2").tobytes()


def _band_pass(low: float = 300 / 8000, high: float = 3400 / 8000) -> np.ndarray:
    """A windowed-sinc band-pass; frequencies as shares of the sampling rate."""
    n = np.arange(_TAPS) - _TAPS // 2
    taps: np.ndarray = (2 * high * np.sinc(2 * high * n) - 2 * low * np.sinc(2 * low * n)) * np.hamming(_TAPS)
    return taps


class LiveRate:
    """Frames of one rate to frames of another with 1-2 ms of delay, where one rate is a multiple of the other.

    (soxr's stream holds 26-66 ms back at these rates, which would count as the agent's latency.)
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        high, low = max(rate_in, rate_out), min(rate_in, rate_out)
        if high % low:
            raise ValueError(f"audio fork: a channel of {rate_in} Hz cannot feed a fork of {rate_out} Hz in this fake")
        self._up = rate_out // low if rate_out > rate_in else 1
        self._down = rate_in // low if rate_in > rate_out else 1
        half = 16 * max(self._up, self._down)
        n = np.arange(-half, half + 1)
        cut = 0.47 * low / high
        self._taps = 2 * cut * np.sinc(2 * cut * n) * np.hamming(2 * half + 1) * self._up
        self._past = np.zeros(2 * half)

    def frame(self, pcm: bytes) -> bytes:
        samples = np.frombuffer(pcm, "<i2").astype(np.float64)
        if self._up > 1:
            spread = np.zeros(len(samples) * self._up)
            spread[:: self._up] = samples
            samples = spread
        joined = np.concatenate([self._past, samples])
        self._past = joined[len(samples) :]
        filtered = np.convolve(joined, self._taps, mode="valid")[:: self._down]
        return np.clip(np.rint(filtered), -32768, 32767).astype("<i2").tobytes()
