"""A pretend caller: a person with a script and recordings. Pure: it hears a frame, says a frame; time is an argument.

    PretendCaller([Say("something-terribly-wrong"), BargeIn("number-not-answering", after=1.6), HangUp()])
    PretendCaller([Say("tt-weasels"), Over("digits-oh", after=2.0), Over("cough", after=1.5), Say("vm-goodbye")])

Between its words it sends the noise of a line, not digital silence. ``spoken`` tells afterwards, to the sample,
when it really spoke.
"""

from __future__ import annotations

import json
import wave
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from esl_agent.audio.pcm import FRAME_SECONDS, Sound, frame_bytes, rms
from esl_agent.audio.tones import tonal
from esl_agent.testing.line import cough, line_noise, louder, resample, telephone, trim

SPEECH = Path(__file__).parent / "speech"
#: RMS from which a heard frame counts as the agent speaking.
AUDIBLE = 200
#: Silences of the agent shorter than this do not end what it is saying, as far as ``BargeIn`` and ``Over`` know.
BREATH = 0.6
#: Between two recordings that are said as one.
JOINT = 0.1
#: So many loud frames without a pause are a tone if most of them are tonal: ringing. Vowels are too short for that.
_RING_FRAMES, _MOST = 25, 20
#: So many loud frames, none of them tonal, are a voice.
_VOICE_FRAMES = 8
#: Sounds that are made, not recorded, with what they are.
SYNTHETIC = {"cough": "[cough, synthetic]"}


@dataclass(frozen=True, slots=True)
class Say:
    """Waits until the agent has spoken and then been silent for ``pause`` seconds, then speaks.

    ``what``: a recording's name in ``speech/``, or several joined by ``+``, a name of SYNTHETIC, a path to a PCM16 mono
    WAV, or a Sound.
    """

    what: str | Path | Sound
    pause: float = 0.6


@dataclass(frozen=True, slots=True)
class BargeIn:
    """Speaks once the agent has been speaking for ``after`` seconds, and wants the floor.

    The seconds count from where the agent began, or went on after a pause, or from the caller's own last sound.
    """

    what: str | Path | Sound
    after: float = 1.0


@dataclass(frozen=True, slots=True)
class Over:
    """Makes itself heard over the agent, as ``BargeIn`` does, and wants nothing: "mm-hm", a cough. No answer is
    waited for. ``gain``: decibels; people murmur what is no reply."""

    what: str | Path | Sound
    after: float = 1.0
    gain: float = -6.0


@dataclass(frozen=True, slots=True)
class SayNow:
    """Speaks without waiting for anything."""

    what: str | Path | Sound


@dataclass(frozen=True, slots=True)
class GetThrough:
    """Waits until it has rung at the other end, and a voice is heard."""


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Press:
    digit: str


@dataclass(frozen=True, slots=True)
class HangUp:
    pass


Step = Say | BargeIn | Over | SayNow | GetThrough | Wait | Press | HangUp
Deed = Press | HangUp
#: Why something is said: in turn, to take the floor, or to leave it to the agent.
Purpose = Literal["turn", "barge_in", "over"]


@dataclass(frozen=True, slots=True)
class Spoken:
    """The caller spoke ``what`` from ``began`` to ``ended``, on the clock given to ``next_frame``."""

    what: str
    began: float
    ended: float
    purpose: Purpose = "turn"


def recording(what: str | Path | Sound) -> Sound:
    """A recording by name, path or itself, as ``Say`` says. FileNotFoundError if there is none of that name."""
    if isinstance(what, Sound):
        return what
    if what == "cough":
        return cough(16000)
    if isinstance(what, str) and "+" in what:
        parts = [trim(recording(part)) for part in what.split("+")]
        rates = {part.rate for part in parts}
        if len(rates) > 1:
            raise ValueError(f"{what}: recordings of {sorted(rates)} Hz cannot be joined")
        return Sound(bytes(round(JOINT * parts[0].rate) * 2).join(part.pcm for part in parts), parts[0].rate)
    path = SPEECH / f"{what}.wav" if isinstance(what, str) and not what.endswith(".wav") else Path(what)
    with wave.open(str(path), "rb") as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            raise ValueError(f"{path}: expected PCM16 mono, got {file.getnchannels()} x {file.getsampwidth() * 8} bit")
        return Sound(file.readframes(file.getnframes()), file.getframerate())


def recorded_text(name: str) -> str:
    """What is said in the shipped recording ``name``, as ``Say`` takes it. KeyError if there is none."""
    if name in SYNTHETIC:
        return SYNTHETIC[name]
    manifest = json.loads((SPEECH / "manifest.json").read_text())
    texts = {item["file"].removesuffix(".wav"): item["text"] for item in manifest["items"]}
    return " ".join(texts[part] for part in name.split("+"))


class PretendCaller:
    """``rate`` must be the channel's codec rate. Gives up and hangs up after ``patience`` seconds in one step.

    ``noise`` is the level between words in dBFS, None for digital silence. ``phone_line`` false leaves the
    recordings clean.
    """

    def __init__(
        self,
        script: Sequence[Step],
        *,
        rate: int = 8000,
        phone_line: bool = True,
        noise: float | None = -65.0,
        seed: int = 1,
        patience: float = 30.0,
    ) -> None:
        self.rate = rate
        self.spoken: list[Spoken] = []
        self.is_connected = True
        """Somebody has answered, or there is early media: before, a telephone sends no keys."""
        self._size = frame_bytes(rate)
        self._steps = list(script)
        self._sounds = {
            i: self._prepare(step.what, phone_line, step.gain if isinstance(step, Over) else 0.0)
            for i, step in enumerate(script)
            if isinstance(step, Say | BargeIn | Over | SayNow)
        }
        self._noise = bytes(self._size) if noise is None else line_noise(rate, noise, seed)
        self._noise_at = 0
        self._at = 0
        self._since: float | None = None
        self._patience = patience
        self._speech = b""
        self._deeds: list[Deed] = []
        self._agent_began: float | None = None
        self._agent_last = 0.0
        self._has_agent_spoken = False
        self._silent_since = 0.0
        """When the caller's own last sound ended."""
        self._loud: deque[bytes] = deque(maxlen=_RING_FRAMES)
        self._has_rung = self._has_got_through = False

    @property
    def is_finished(self) -> bool:
        """Nothing of the script is left, nor anything being said."""
        return self._at >= len(self._steps) and not self._speech

    def next_frame(self, heard: bytes, now: float) -> bytes:
        """What the caller says in the 20 ms from ``now``, while hearing ``heard`` (any rate; empty: silence)."""
        self._listen(heard, now)
        if not self._speech:
            self._decide(now)
        if self._speech:
            frame, self._speech = self._speech[: self._size], self._speech[self._size :]
            if not self._speech:
                self._has_agent_spoken = False
                self._since = self._silent_since = now + FRAME_SECONDS
            return frame + self._quiet(self._size - len(frame))
        return self._quiet(self._size)

    def take_deeds(self) -> list[Deed]:
        """Keys pressed and hang-ups since the last call."""
        deeds, self._deeds = self._deeds, []
        return deeds

    def _prepare(self, what: str | Path | Sound, phone_line: bool, gain: float) -> tuple[str, bytes]:
        sound = louder(trim(recording(what)), gain)
        sound = telephone(sound, self.rate) if phone_line else resample(sound, self.rate)
        return (what.stem if isinstance(what, Path) else what if isinstance(what, str) else "sound"), sound.pcm

    def _listen(self, heard: bytes, now: float) -> None:
        if rms(heard) >= AUDIBLE:
            if self._agent_began is None or now - self._agent_last > BREATH:
                self._agent_began = now
            self._agent_last = now
            self._has_agent_spoken = True
        if self._at < len(self._steps) and isinstance(self._steps[self._at], GetThrough):
            self._tell_ringing(heard)

    def _tell_ringing(self, heard: bytes) -> None:
        if rms(heard) < AUDIBLE:
            self._loud.clear()
            return
        self._loud.append(heard)
        if len(self._loud) >= _VOICE_FRAMES:
            found = tonal(list(self._loud), [True] * len(self._loud), len(heard) * 25)
            self._has_rung = self._has_rung or sum(found) >= _MOST
            self._has_got_through = self._has_rung and not any(found[-_VOICE_FRAMES:])

    def _decide(self, now: float) -> None:
        while self._at < len(self._steps) and not self._speech:
            if self._since is None:
                self._since = now
            step = self._steps[self._at]
            if not self._is_time_for(step, now):
                if now - self._since >= self._patience and not isinstance(step, Wait):
                    self._at = len(self._steps)
                    self._deeds.append(HangUp())
                return
            if isinstance(step, Press | HangUp):
                self._deeds.append(step)
            elif isinstance(step, GetThrough):
                self._has_rung = self._has_got_through = False
            elif not isinstance(step, Wait):
                name, self._speech = self._sounds[self._at]
                ends = now + len(self._speech) / 2 / self.rate
                self.spoken.append(Spoken(name, now, ends, _purpose(step)))
            self._at += 1
            self._since = now

    def _is_time_for(self, step: Step, now: float) -> bool:
        if isinstance(step, Say):
            return self._has_agent_spoken and now - self._agent_last >= step.pause - 1e-6
        if isinstance(step, BargeIn | Over):
            if not self._has_agent_spoken or self._agent_began is None or now - self._agent_last >= BREATH:
                return False
            return now - max(self._agent_began, self._silent_since) >= step.after - 1e-6
        if isinstance(step, GetThrough):
            return self._has_got_through
        if isinstance(step, Wait):
            return self._since is not None and now - self._since >= step.seconds - 1e-6
        return self.is_connected or not isinstance(step, Press)

    def _quiet(self, size: int) -> bytes:
        if not size:
            return b""
        if self._noise_at + size > len(self._noise):
            self._noise_at = 0
        self._noise_at += size
        return self._noise[self._noise_at - size : self._noise_at]


def _purpose(step: Step) -> Purpose:
    return "over" if isinstance(step, Over) else "barge_in" if isinstance(step, BargeIn) else "turn"
