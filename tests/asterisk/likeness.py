"""Whether a recording contains another: what was heard at a telephone is what was played to it."""

from __future__ import annotations

import numpy as np

from esl_agent.audio.pcm import Sound
from esl_agent.testing.line import resample


def likeness(heard: Sound, played: Sound) -> tuple[float, float]:
    """(how alike, 0 to 1; at which second of ``heard``): the normalised correlation at its best place. What ``heard``
    lacks at its end counts as silence."""
    long = np.frombuffer(resample(heard, 8000).pcm + bytes(3200), "<i2").astype(np.float64)
    short = np.frombuffer(resample(played, 8000).pcm, "<i2").astype(np.float64)
    if len(long) < len(short) or not short.any():
        return 0.0, 0.0
    size = 1 << (len(long) + len(short)).bit_length()
    products = np.fft.irfft(np.fft.rfft(long, size) * np.conj(np.fft.rfft(short, size)), size)
    places = len(long) - len(short) + 1
    energy = np.concatenate([[0.0], np.cumsum(long * long)])
    power = energy[len(short) :][:places] - energy[:places]
    scores = products[:places] / np.sqrt(np.maximum(power, 1.0) * float(short @ short))
    best = int(np.argmax(scores))
    return float(scores[best]), best / 8000
