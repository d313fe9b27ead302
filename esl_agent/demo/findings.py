"""What the demo's recording shows, measured in its samples, and whether the call was what it should be. Pure."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from esl_agent.demo.story import Story

#: RMS over 10 ms from which a side counts as heard: -44 dBFS, 21 dB above the pretend line's noise.
AUDIBLE = 200.0
#: The agent is silent when it was not heard for this long: longer than its pauses between words.
SILENCE = 0.3
#: A side that is heard for less than this has not taken part.
SOME_VOICE = 2.0
#: An agent that goes on for longer than this after the caller's first sound was not interrupted.
PROMPTLY = 0.5
_STEP = 0.01

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
        return float((self.levels >= AUDIBLE).sum() * _STEP)

    @property
    def loudness(self) -> float:
        """dBFS (RMS) while it is heard; -inf if it never is."""
        heard = self.levels[self.levels >= AUDIBLE]
        return float(20 * np.log10(np.sqrt((heard**2).mean()) / 32768)) if len(heard) else float("-inf")

    @property
    def peak(self) -> int:
        return int(np.abs(self.samples).max(initial=0))

    def first_heard(self, after: float) -> float | None:
        """When it is first heard from ``after`` on."""
        found = np.nonzero(self.levels[int(after / _STEP) :] >= AUDIBLE)[0]
        return float((int(after / _STEP) + found[0]) * _STEP) if len(found) else None

    def silent_from(self, after: float) -> float:
        """From when, after ``after``, it is silent for at least SILENCE; its end if it never is."""
        wanted = round(SILENCE / _STEP)
        at = int(after / _STEP)
        while at < len(self.levels):
            heard = np.nonzero(self.levels[at : at + wanted] >= AUDIBLE)[0]
            if not len(heard):
                return max(after, at * _STEP)
            at += int(heard[-1]) + 1
        return len(self.levels) * _STEP


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
    return Recording(_voice(both[:, 0], rate), _voice(both[:, 1], rate), len(both) / rate)


def _voice(samples: Any, rate: int) -> Voice:
    size = round(rate * _STEP)
    blocks = samples[: len(samples) // size * size].reshape(-1, size)
    return Voice(samples, rate, np.sqrt((blocks**2).mean(axis=1)))


def cut_after(story: Story, recording: Recording) -> list[float]:
    """For each barge-in: how long the agent was still heard after the caller's first sound, in seconds."""
    return [recording.agent.silent_from(said.began) - said.began for _, said in story.barge_ins]


def waits(story: Story, recording: Recording) -> list[float]:
    """For each answered sentence: from the end of the caller's recording to the agent's first sound, in seconds."""
    found = []
    for said in story.caller:
        if said.spoken and (turn := story.answered_by(said)):
            first = recording.agent.first_heard(turn.began)
            if first is not None:
                found.append(first - said.ended)
    return found


def verdicts(story: Story, recording: Recording, wanted_answers: int) -> list[tuple[bool, str]]:
    """Everything the demo promises: (whether it is so, what was found)."""
    answered = [said for said in story.caller if said.understood and story.answered_by(said)]
    cuts = cut_after(story, recording)
    voices = recording.caller, recording.agent
    last = story.agent[-1] if story.agent else None
    said_goodbye = last is not None and not last.interrupted and last.heard == last.text
    hung_up = story.hung_up_by_agent
    sounds = recording.agent.first_heard(last.began) is not None if last else False
    return [
        (
            len(answered) >= wanted_answers,
            f"{len(answered)} of {len(story.caller)} sentences understood and answered",
        ),
        (
            len(cuts) == 1 and cuts[0] <= PROMPTLY,
            f"{len(cuts)} barge-in"
            + "".join(f"; agent silent {cut:.2f} s after the caller's first sound" for cut in cuts),
        ),
        (
            all(voice.seconds >= SOME_VOICE for voice in voices),
            "both are on the recording: "
            + ", ".join(
                f"{who} {voice.seconds:.1f} s at {voice.loudness:.0f} dBFS"
                for who, voice in zip(("caller", "agent"), voices, strict=True)
            ),
        ),
        (
            said_goodbye and sounds and last is not None and hung_up is not None and hung_up >= last.ended - 0.05,
            f'"{last.heard if last else ""}" was heard to its end before the agent hung up'
            if said_goodbye and hung_up is not None
            else "the call did not end with a goodbye that was heard",
        ),
    ]
