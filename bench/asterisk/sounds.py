"""Sound whose every 20 ms are found again wherever they turn up, and how long that took. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

RATE = 8000
FRAME = 160
#: Sound is looked for in what was sent within so many seconds before it came.
PAST = 1.5
#: Likeness (normalised correlation) of 20 ms that are the same, after G.711 and two resamplers; others reach 0.4.
ALIKE = 0.7

Samples = npt.NDArray[np.float64]


def noise(seconds: float, seed: int) -> Samples:
    """Noise of 300 to 3400 Hz, as a telephone line passes it on: no two pieces of it are alike."""
    count = int(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(0.0, 1.0, count))
    hertz = np.fft.rfftfreq(count, 1 / RATE)
    spectrum[(hertz < 300) | (hertz > 3400)] = 0
    made = np.fft.irfft(spectrum, count)
    return np.clip(made / made.std() * 2500, -32000, 32000).round()


def pcm(samples: Samples) -> bytes:
    return samples.astype("<i2").tobytes()


class Finder:
    """Where in ``sent`` a piece of sound is. ``times``: when each frame of it left."""

    def __init__(self, sent: Samples, times: Sequence[float]) -> None:
        self._sent = sent[: len(times) * FRAME]
        self._times = np.array(times)
        squares = np.concatenate(([0.0], np.cumsum(self._sent**2)))
        self._norms = np.sqrt(squares[FRAME:] - squares[:-FRAME]) + 1e-9
        self._shift: int | None = None

    def latencies(self, came: Iterable[tuple[float, bytes]]) -> Iterator[float | None]:
        """For each frame (when it came, PCM16 at 8 kHz) how long ago its first sample left; None: it is not found.
        A sample leaves 125 us after the one before it, from its frame's packet on."""
        for number, (when, data) in enumerate(came):
            piece = np.frombuffer(data, "<i2").astype(np.float64)
            at = self._find(piece, when, number * FRAME) if len(piece) == FRAME else None
            if at is None:
                yield None
            else:
                yield float(when - self._times[at // FRAME] - at % FRAME / RATE)

    def _find(self, piece: Samples, when: float, position: int) -> int | None:
        """``position``: where the piece is in what came. Most follow from the one before."""
        size = float(np.linalg.norm(piece))
        if size < 1000.0:
            return None
        if self._shift is not None:
            at = self._best(piece, size, position - self._shift - 4, position - self._shift + 5)
            if at is not None:
                return at
        last = int(np.searchsorted(self._times, when)) * FRAME
        at = self._best(piece, size, last - int(PAST * RATE), last)
        self._shift = None if at is None else position - at
        return at

    def _best(self, piece: Samples, size: float, first: int, last: int) -> int | None:
        first, last = max(0, first), min(last, len(self._norms))
        if first >= last:
            return None
        products = np.correlate(self._sent[first : last + FRAME - 1], piece, "valid")
        likeness = products / (self._norms[first:last] * size)
        best = int(np.argmax(likeness))
        return first + best if likeness[best] >= ALIKE else None


def jitter(packets: Sequence[tuple[float, int]]) -> list[float]:
    """|D| of RFC 3550, 6.4.1: by how much each packet (when, RTP timestamp) came sooner or later after the one before
    than it should have."""
    return [
        abs((came - before) - ((stamp - earlier) & 0xFFFFFFFF) / RATE)
        for (before, earlier), (came, stamp) in pairwise(packets)
    ]


def silent_after(loud: Sequence[float], onset: float, within: float, quiet: float = 0.3) -> float | None:
    """Seconds from ``onset`` to the last loud packet before ``quiet`` seconds without one; None: there were loud ones
    all the time for ``within``. 0: none came any more."""
    last = onset
    for when in loud:
        if when <= onset:
            continue
        if when - last > quiet:
            break
        last = when
    return None if last - onset > within else last - onset
