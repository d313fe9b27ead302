"""One side, or both, of a recorded call: when it is heard. Pure."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: RMS over 10 ms from which a side counts as heard: -44 dBFS, 21 dB above the pretend line's noise.
AUDIBLE = 200.0
#: The agent is silent when it was not heard for this long: longer than its pauses between words.
SILENCE = 0.3
#: Levels are taken of so many seconds.
STEP = 0.01

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Voice:
    """One side of the recording."""

    samples: Samples
    rate: int
    levels: Samples
    """RMS, 0..32768, of each 10 ms."""

    @property
    def seconds(self) -> float:
        """How long it is heard, pauses left out."""
        return float((self.levels >= AUDIBLE).sum() * STEP)

    @property
    def loudness(self) -> float:
        """dBFS (RMS) while it is heard; -inf if it never is."""
        heard = self.levels[self.levels >= AUDIBLE]
        return float(20 * np.log10(np.sqrt((heard**2).mean()) / 32768)) if len(heard) else float("-inf")

    def until(self, at: float) -> Voice:
        """Only what is before ``at``."""
        return Voice(self.samples[: round(at * self.rate)], self.rate, self.levels[: round(at / STEP)])

    @property
    def peak(self) -> int:
        return int(np.abs(self.samples).max(initial=0))

    def first_heard(self, after: float) -> float | None:
        """When it is first heard from ``after`` on."""
        found = np.nonzero(self.levels[step_at(after) :] >= AUDIBLE)[0]
        return float((step_at(after) + found[0]) * STEP) if len(found) else None

    def silent_from(self, after: float) -> float:
        """From when, after ``after``, it is silent for at least SILENCE; its end if it never is."""
        wanted = round(SILENCE / STEP)
        at = step_at(after)
        while at < len(self.levels):
            heard = np.nonzero(self.levels[at : at + wanted] >= AUDIBLE)[0]
            if not len(heard):
                return max(after, at * STEP)
            at += int(heard[-1]) + 1
        return len(self.levels) * STEP


@dataclass(frozen=True, slots=True)
class Recording:
    caller: Voice
    agent: Voice
    seconds: float


def listen(path: Path) -> Recording:
    """Read ``call.wav``: 16 bit stereo, left the caller, right the agent. ValueError if it is anything else."""
    with wave.open(str(path), "rb") as file:
        if (file.getnchannels(), file.getsampwidth()) != (2, 2):
            raise ValueError(f"{path}: expected 16 bit stereo, got {file.getnchannels()} x {file.getsampwidth() * 8}")
        rate = file.getframerate()
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).astype(np.float64)
    return Recording(voice_of(both[:, 0], rate), voice_of(both[:, 1], rate), len(both) / rate)


def voice_of(samples: Samples, rate: int) -> Voice:
    return Voice(samples, rate, levels_of(samples, rate))


def step_at(seconds: float) -> int:
    """The step that ``seconds`` lies in; a step's own beginning does, however it was computed."""
    return int(seconds / STEP + 1e-6)


def levels_of(samples: Samples, rate: int) -> Samples:
    """RMS of each STEP."""
    size = round(rate * STEP)
    blocks = samples[: len(samples) // size * size].reshape(-1, size)
    levels: Samples = np.sqrt((blocks**2).mean(axis=1))
    return levels
