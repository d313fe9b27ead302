"""One rate to another. docs/decisions/resampling.md says why there are two ways.

The agent's sound is there before it is played, so ``VoiceResampler`` (soxr) may look ahead. The caller's sound is not:
``LineResampler`` holds 2 ms back, where soxr's stream holds 6 to 60 ms.
"""

from __future__ import annotations

from functools import cache
from math import gcd
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soxr

#: Half the length of the low-pass, in samples of the lower of the two rates: 2 ms at 8 kHz.
HALF_TAPS = 16
#: The caller's sound is filtered in so many blocks a second.
BLOCKS = 500

Samples = npt.NDArray[np.float32]


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
    """Frames of a call, where both rates are multiples of 500: a frame in gives a frame out, 2 ms late.

    A windowed-sinc low-pass below the lower rate's half (Hamming, cut at 94 %), computed only where a sample is kept,
    and only from samples that are there. Blocks of 2 ms are filtered by one matrix: ten products of a window with it
    are a frame. What is shorter than a block waits for the next piece.
    """

    __slots__ = ("_block", "_matrix", "_past", "_rest", "_size", "_sound", "_windows")

    def __init__(self, rate_in: int, rate_out: int) -> None:
        if rate_in % BLOCKS or rate_out % BLOCKS:
            raise ValueError(f"{rate_in} and {rate_out} Hz must be multiples of {BLOCKS}")
        self._matrix = _low_pass(rate_in, rate_out)
        self._block = rate_in // BLOCKS
        self._past = len(self._matrix) - self._block
        self._rest = b""
        self._make_room(rate_in // 50, np.zeros(self._past, np.float32))

    def feed(self, pcm: bytes, last: bool = False) -> bytes:
        pcm = self._whole_blocks(self._rest + pcm, last)
        if not pcm:
            return b""
        if len(pcm) != 2 * self._size:
            self._make_room(len(pcm) // 2, self._sound[self._size :])
        sound = self._sound
        sound[: self._past] = sound[self._size :]
        sound[self._past :] = np.frombuffer(pcm, "<i2")
        filtered = self._windows.dot(self._matrix)
        samples: bytes = np.rint(filtered.clip(-32768, 32767)).astype("<i2").tobytes()
        return samples

    def _whole_blocks(self, pcm: bytes, last: bool) -> bytes:
        """What of ``pcm`` can be filtered; ``last``: silence follows it."""
        left = len(pcm) % (2 * self._block)
        if left and last:
            return pcm + bytes(2 * self._block - left)
        self._rest = pcm[len(pcm) - left :]
        return pcm[: len(pcm) - left]

    def _make_room(self, size: int, newest: Samples) -> None:
        """For pieces of ``size`` samples. It is kept from piece to piece: making it takes as long as filtering."""
        self._size = size
        self._sound: Samples = np.concatenate([np.zeros(size, np.float32), newest])
        step = self._sound.itemsize
        self._windows: Samples = np.lib.stride_tricks.as_strided(
            self._sound, (size // self._block, len(self._matrix)), (self._block * step, step)
        )


@cache
def _low_pass(rate_in: int, rate_out: int) -> Samples:
    """By which tap a sample of a window (row) counts in one that comes out (column). The same for all calls."""
    common = gcd(rate_in, rate_out)
    up, down = rate_out // common, rate_in // common
    low, high = min(rate_in, rate_out), rate_in * up
    half = HALF_TAPS * high // low
    n = np.arange(-half, half + 1)
    taps = 0.94 * low / high * np.sinc(0.94 * n * low / high) * np.hamming(2 * half + 1)
    past = -(-2 * half // up)
    window = np.arange(-past, rate_in // BLOCKS)[:, None]
    place = 2 * half + up * window - down * np.arange(rate_out // BLOCKS)
    known = (place >= 0) & (place <= 2 * half)
    return np.where(known, taps[place * known] * up / taps.sum(), 0.0).astype(np.float32)


def line_resampler(rate_in: int, rate_out: int) -> Resampler | None:
    """For the caller's frames; None where nothing is to be done."""
    if rate_in == rate_out:
        return None
    if rate_in % BLOCKS or rate_out % BLOCKS:
        return VoiceResampler(rate_in, rate_out)
    return LineResampler(rate_in, rate_out)
