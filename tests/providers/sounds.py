"""The shipped recordings as a telephone line delivers them."""

from __future__ import annotations

import audioop
import wave
from pathlib import Path

import numpy as np
import soxr

import esl_agent.testing

RECORDINGS = Path(esl_agent.testing.__file__).parent / "speech"


def telephone(name: str) -> bytes:
    """Recording ``name`` as PCM16 at 8 kHz, 300-3400 Hz, through mu-law, with a little silence around it."""
    with wave.open(str(RECORDINGS / f"{name}.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32)
        narrow = soxr.resample(samples, file.getframerate(), 8000)
    line = np.random.default_rng(7).normal(0.0, 8.0, len(narrow) + 8000)
    line[2400 : 2400 + len(narrow)] += narrow
    spectrum, frequencies = np.fft.rfft(line), np.fft.rfftfreq(len(line), 1 / 8000)
    spectrum *= (frequencies > 250) & (frequencies < 3450)
    pcm = np.clip(np.fft.irfft(spectrum, len(line)), -32768, 32767).astype("<i2").tobytes()
    return audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2)
