"""Keys, ring-back, busy, beeps: sound that webrtcvad takes for speech and that is none.

All of them are one or two sine waves. Over 60 ms a voice moves and has many harmonics, so its energy does not fit under
two spectral lines. Frames are differentiated first, for a voice's lowest harmonic alone can hold most of its energy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: Frames looked at together: 60 ms part lines 35 Hz apart.
BLOCK = 3
#: A tone when two lines hold this share of the energy that is above the noise.
PURE = 0.95
#: So many tonal frames among those in doubt make a tone. A voice has a few now and then.
ENOUGH = 5
_LOWEST = 200


def tonal(frames: Sequence[bytes], voiced: Sequence[bool], rate: int) -> list[bool]:
    """Which of the ``voiced`` ones of consecutive ``frames`` belong to a tone."""
    starts = [i for i in range(len(frames) - BLOCK + 1) if all(voiced[i : i + BLOCK])]
    found = [False] * len(frames)
    if len(starts) + BLOCK - 1 < ENOUGH:
        return found
    samples = np.frombuffer(b"".join(frames), "<i2").astype(np.float32)
    size = len(frames[0]) // 2
    blocks = np.stack([samples[i * size : (i + BLOCK) * size] for i in starts])
    for start, share in zip(starts, _shares(blocks, rate), strict=True):
        if share >= PURE:
            found[start : start + BLOCK] = [True] * BLOCK
    return found if sum(found) >= ENOUGH else [False] * len(frames)


def _shares(blocks: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float32]:
    """For each block: the share of its energy above the noise that is under its two strongest lines."""
    steps = np.diff(blocks, axis=1)
    width = steps.shape[1]
    size = 1024 * rate // 8000
    power = np.square(np.abs(np.fft.rfft(steps * np.hanning(width), size, axis=1)))
    power[:, : _LOWEST * size // rate] = 0
    # The median of exponentially distributed powers is ln 2 of their mean.
    power = np.maximum(power - np.median(power, axis=1, keepdims=True) / 0.69, 0)
    whole = power.sum(axis=1) + 1e-9
    lobe = round(2 * size / width)
    held = np.zeros(len(blocks))
    for _ in range(2):
        for row, line in enumerate(power.argmax(axis=1)):
            here = slice(max(0, line - lobe), line + lobe + 1)
            held[row] += power[row, here].sum()
            power[row, here] = 0
    share: npt.NDArray[np.float32] = held / whole
    return share
