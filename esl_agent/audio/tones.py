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
#: A key's two tones (ITU-T Q.23) are known, so less makes sure of them, and a short one is enough.
KEY_LOW, KEY_HIGH = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
KEY_PURE, KEY_OFF = 0.8, 0.025
_LOWEST = 200


def tonal(frames: Sequence[bytes], voiced: Sequence[bool], rate: int) -> list[bool]:
    """Which of the ``voiced`` ones of consecutive ``frames`` belong to a tone."""
    starts = [i for i in range(len(frames) - BLOCK + 1) if all(voiced[i : i + BLOCK])]
    found = [False] * len(frames)
    if not starts:
        return found
    samples = np.frombuffer(b"".join(frames), "<i2").astype(np.float32)
    size = len(frames[0]) // 2
    blocks = np.stack([samples[i * size : (i + BLOCK) * size] for i in starts])
    keys = list(found)
    for start, (share, lines) in zip(starts, _lines(blocks, rate), strict=True):
        place = slice(start, start + BLOCK)
        if share >= PURE:
            found[place] = [True] * BLOCK
        if share >= KEY_PURE and _is_key(lines):
            keys[place] = [True] * BLOCK
    return [a or b for a, b in zip(found, keys, strict=True)] if sum(found) >= ENOUGH else keys


def _is_key(lines: Sequence[float]) -> bool:
    return all(
        any(abs(line - hertz) <= KEY_OFF * hertz for hertz in known)
        for line, known in zip(sorted(lines), (KEY_LOW, KEY_HIGH), strict=True)
    )


def _lines(blocks: npt.NDArray[np.float32], rate: int) -> list[tuple[float, list[float]]]:
    """For each block: the share of its energy above the noise that is under its two strongest lines, and where those
    are (Hz)."""
    steps = np.diff(blocks, axis=1)
    width = steps.shape[1]
    size = 1024 * rate // 8000
    power = np.square(np.abs(np.fft.rfft(steps * np.hanning(width), size, axis=1)))
    power[:, : _LOWEST * size // rate] = 0
    # The median of exponentially distributed powers is ln 2 of their mean.
    power = np.maximum(power - np.median(power, axis=1, keepdims=True) / 0.69, 0)
    lobe = round(2 * size / width)
    found = []
    for row in power:
        whole, held, lines = float(row.sum()) + 1e-9, 0.0, []
        for _ in range(2):
            line = int(row.argmax())
            here = slice(max(0, line - lobe), line + lobe + 1)
            held += float(row[here].sum())
            row[here] = 0
            lines.append(line * rate / size)
        found.append((held / whole, lines))
    return found
