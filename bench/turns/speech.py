"""Recordings of people (and a few synthesised words), levelled, with the times of their words. Pure but for reading.

A word's time is estimated: the words of a recording share its loud parts by their number of letters. Good to about a
syllable, which is what a streaming recogniser's times are worth too.
"""

from __future__ import annotations

import json
import os
import wave
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soxr

#: Where the recordings are, unless ESL_AGENT_SPEECH or --speech names another directory with a manifest.json.
SPEECH = Path(__file__).resolve().parent.parent / "speech"
#: RMS of the loud parts of all that is said, in dBFS.
LEVEL = -23.0
#: A block of 10 ms is loud within this many dB of the recording's active level; the first one is the onset, the last
#: one the true end.
LOUD = 25.0
BLOCK = 0.01


@dataclass(frozen=True, slots=True)
class Word:
    """``text`` is being said until ``end``; ``middle`` decides on which side of a cut it lies. Seconds."""

    text: str
    middle: float
    end: float


@dataclass(frozen=True, slots=True)
class Speech:
    """Samples (float, full scale 32768), from its onset to its true end, with its words."""

    samples: np.ndarray
    rate: int
    words: tuple[Word, ...]

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def directory() -> Path:
    return Path(os.environ.get("ESL_AGENT_SPEECH", SPEECH))


@cache
def texts() -> dict[str, str]:
    """What is said, by recording. The words of a machine come from here whatever the directory."""
    found = {name: item for name, item in _manifest(SPEECH).items() if item["speaker"].startswith("flite")}
    return {name: item["text"] for name, item in {**found, **_manifest(directory())}.items()}


def _manifest(where: Path) -> dict[str, dict[str, str]]:
    items = json.loads((where / "manifest.json").read_text(encoding="utf-8"))["items"]
    return {Path(item["file"]).stem: item for item in items}


@cache
def said(name: str, rate: int, level: float = LEVEL) -> Speech:
    """The recording ``name`` over a line of ``rate``: 8000 is narrow-band, anything above keeps all there is."""
    path = directory() / f"{name}.wav"
    with wave.open(str(path if path.exists() else SPEECH / path.name)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)
        samples = soxr.resample(samples, file.getframerate(), rate, quality="HQ")
    samples = levelled(band(samples, rate), rate, level)
    loud = np.flatnonzero(_loud(samples, rate))
    size = round(BLOCK * rate)
    samples = samples[loud[0] * size : (loud[-1] + 1) * size]
    return Speech(samples, rate, _words(texts()[name], samples, rate))


def band(samples: np.ndarray, rate: int) -> np.ndarray:
    """300 to 3400 Hz with edges of 60 and 300 Hz, for a narrow-band line; unchanged for any other."""
    if rate != 8000:
        return samples
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / rate)
    spectrum *= np.clip((hertz - 240) / 60, 0, 1) * np.clip((3700 - hertz) / 300, 0, 1)
    return np.fft.irfft(spectrum, len(samples))


def levelled(samples: np.ndarray, rate: int, level: float) -> np.ndarray:
    """Its loud parts brought to ``level`` dBFS."""
    loud = np.repeat(_loud(samples, rate), round(BLOCK * rate))
    active = np.sqrt(np.mean(samples[: len(loud)][loud] ** 2))
    return samples * (32768 * 10 ** (level / 20) / active)


def with_pause(speech: Speech, seconds: float) -> Speech:
    """``speech`` with a pause at the quietest spot of its middle third, between two words."""
    size, rate = round(BLOCK * speech.rate), speech.rate
    energy = _energy(speech.samples, rate)
    low, high = len(energy) // 3, max(len(energy) // 3 + 1, len(energy) * 2 // 3)
    smooth = np.convolve(energy, np.ones(5), mode="same")
    at = (low + int(np.argmin(smooth[low:high]))) * size
    silence = np.zeros(round(seconds * rate))
    fade = np.ones(len(speech.samples))
    edge = round(0.005 * rate)
    fade[at - edge : at] = np.linspace(1, 0, edge)
    fade[at : at + edge] = np.linspace(0, 1, edge)
    samples = speech.samples * fade
    moved = tuple(
        word if word.middle < at / rate else Word(word.text, word.middle + seconds, word.end + seconds)
        for word in speech.words
    )
    return Speech(np.concatenate([samples[:at], silence, samples[at:]]), rate, moved)


def one_after_another(pieces: list[Speech], pauses: list[float]) -> Speech:
    """``pieces`` with ``pauses`` seconds between them."""
    samples: list[np.ndarray] = []
    words: list[Word] = []
    at, rate = 0, pieces[0].rate
    for piece, pause in zip(pieces, [*pauses, 0.0], strict=True):
        start = at / rate
        words += [Word(word.text, word.middle + start, word.end + start) for word in piece.words]
        samples += [piece.samples, np.zeros(round(pause * rate))]
        at += len(samples[-1]) + len(samples[-2])
    return Speech(np.concatenate(samples), rate, tuple(words))


def _energy(samples: np.ndarray, rate: int) -> np.ndarray:
    size = round(BLOCK * rate)
    blocks = len(samples) // size
    return np.asarray(np.mean(samples[: blocks * size].reshape(blocks, size) ** 2, axis=1))


def _loud(samples: np.ndarray, rate: int) -> np.ndarray:
    """Which blocks are within LOUD dB of the level of the louder half."""
    energy = _energy(samples, rate)
    active = np.mean(energy[energy >= np.quantile(energy, 0.5)])
    return np.asarray(energy >= active / 10 ** (LOUD / 10))


def _words(text: str, samples: np.ndarray, rate: int) -> tuple[Word, ...]:
    words = ["".join(c for c in word if c.isalnum() or c in "'-").lower() for word in text.split()]
    words = [word for word in words if word]
    if not words:
        return ()
    loud = np.cumsum(_loud(samples, rate))
    ends = np.cumsum([len(word) + 1 for word in words])
    shares = np.concatenate([[0], ends]) / ends[-1] * loud[-1]
    times = np.searchsorted(loud, shares, side="left") * BLOCK
    return tuple(Word(word, (times[i] + times[i + 1]) / 2, float(times[i + 1])) for i, word in enumerate(words))
