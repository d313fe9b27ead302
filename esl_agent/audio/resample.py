"""One rate to another. docs/decisions/resampling.md says why there are two ways.

The agent's sound is there before it is played, so ``VoiceResampler`` (soxr) may look ahead. The caller's sound is not:
``LineResampler`` holds 2 ms back, where soxr's stream holds 6 to 60 ms.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import soxr

#: Half the length of the low-pass, in samples of the lower of the two rates: 2 ms at 8 kHz.
HALF_TAPS = 16


class Resampler(Protocol):
    """Turns sound of one rate into another, piece by piece. PCM16 mono both ways."""

    def feed(self, pcm: bytes, last: bool = False) -> bytes:
        """What ``pcm`` makes possible; with ``last`` all that was held back."""


class VoiceResampler:
    """Whole sounds, by soxr at HQ: nothing audible is lost or added. Pieces come out when it sees fit."""

    __slots__ = ("_stream",)

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="int16", quality="HQ")

    def feed(self, pcm: bytes, last: bool = False) -> bytes:
        samples: bytes = self._stream.resample_chunk(np.frombuffer(pcm, "<i2"), last=last).tobytes()
        return samples


class LineResampler:
    """Frames of a call, where one rate is a multiple of the other: a frame in gives a frame out, 2 ms late.

    A windowed-sinc low-pass below the lower rate's half (Hamming, cut at 94 %), computed only where a sample is kept.
    """

    __slots__ = ("_down", "_past", "_taps", "_up")

    def __init__(self, rate_in: int, rate_out: int) -> None:
        high, low = max(rate_in, rate_out), min(rate_in, rate_out)
        if high % low:
            raise ValueError(f"one of {rate_in} and {rate_out} Hz must be a multiple of the other")
        self._up, self._down = rate_out // low, rate_in // low
        half = HALF_TAPS * (high // low)
        n = np.arange(-half, half + 1)
        taps = 0.94 * low / high * np.sinc(0.94 * n * low / high) * np.hamming(2 * half + 1)
        self._taps: npt.NDArray[np.float32] = (taps / taps.sum() * self._up).astype(np.float32)
        self._past: npt.NDArray[np.float32] = np.zeros(2 * half, np.float32)

    def feed(self, pcm: bytes, last: bool = False) -> bytes:
        samples: npt.NDArray[np.float32] = np.frombuffer(pcm, "<i2").astype(np.float32)
        if self._up > 1:
            spread = np.zeros(len(samples) * self._up, np.float32)
            spread[:: self._up] = samples
            samples = spread
        joined = np.concatenate([self._past, samples])
        self._past = joined[len(samples) :]
        if self._down > 1:
            width = len(self._taps)
            windows = np.lib.stride_tricks.as_strided(
                joined,
                ((len(joined) - width) // self._down + 1, width),
                (joined.itemsize * self._down, joined.itemsize),
            )
            filtered = windows @ self._taps
        else:
            filtered = np.convolve(joined, self._taps, mode="valid")
        return np.clip(np.rint(filtered), -32768, 32767).astype("<i2").tobytes()


def line_resampler(rate_in: int, rate_out: int) -> Resampler | None:
    """For the caller's frames; None where nothing is to be done."""
    if rate_in == rate_out:
        return None
    if max(rate_in, rate_out) % min(rate_in, rate_out):
        return VoiceResampler(rate_in, rate_out)
    return LineResampler(rate_in, rate_out)
