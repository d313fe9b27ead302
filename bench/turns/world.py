"""The world around one dialogue, in virtual time: it plays what is ordered, echoes it, and understands the caller.

Documented simplifications. The recogniser is ideal: it knows the recordings' words, gives each PARTIAL seconds after
it ended (or none before the end: ``script.partials``), everything FINAL seconds after CloseUtterance; it understands no
noise and no babble, but it does understand the agent's echo where that is louder than the noise. Model and voice
answer at once: slower ones would hide cut-offs. A clip begins BEGAN after its Play and stops at StopPlayback.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bench.turns.line import Call, agent_voice, echo_of, on_the_wire
from bench.turns.speech import Word
from esl_agent.audio.pcm import FRAME_SECONDS, Sound
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev

PARTIAL, FINAL, BEGAN = 0.3, 0.15, 0.03
#: How long the agent speaks where the caller takes turns with it.
ANSWER = 1.0


class Dialogue(Protocol):
    """What is measured: esl_agent's Cascade, or a peer's rule in its place."""

    next_deadline: float | None

    def receive(self, event: ev.Event, now: float) -> list[act.Action]: ...


@dataclass(slots=True)
class Log:
    """What happened, for bench.turns.score. Seconds into the call."""

    sounding: list[tuple[float, float, int]] = field(default_factory=list)
    """The agent was heard from, to, in which turn."""
    yields: list[float] = field(default_factory=list)
    """It paused or became softer, whether or not it went on."""
    resumes: list[float] = field(default_factory=list)
    abandons: list[float] = field(default_factory=list)
    """A turn that was being heard was lost."""
    closes: list[float] = field(default_factory=list)
    asks: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Clip:
    play: act.Play
    words: tuple[Word, ...]
    began: float | None = None
    token: int = 0


class World:
    """Runs one call; ``log`` tells how it went. ``think``: seconds from the question to the model's answer."""

    def __init__(self, call: Call, dialogue: Dialogue, think: float = 0.0) -> None:
        self.log = Log()
        self._think = think
        self._call, self._script, self._dialogue = call, call.script, dialogue
        self._rate = call.script.rate
        self._now = 0.0
        self._due: list[tuple[float, int, object]] = []
        self._count = 0
        self._voices: dict[tuple[int, int], tuple[Sound, tuple[Word, ...]]] = {}
        self._queue: deque[_Clip] = deque()
        self._heard_turns: set[int] = set()
        self._volume = 1.0
        self._over = False
        self._echo = np.zeros(len(call.line)) if call.script.echo is not None else None
        self._echo_words: list[Word] = []
        self._open: int | None = None
        self._open_from: dict[int, float] = {}
        self._partial = ""

    def run(self) -> Log:
        self._post(ev.Answered())
        self._post(ev.MediaStarted(self._rate))
        size = round(self._rate * FRAME_SECONDS)
        line, echo = self._call.line, self._echo
        ready = on_the_wire(line, self._rate) if echo is None else b""
        for number in range(self._call.frames):
            if self._over:
                break
            now = (number + 1) * FRAME_SECONDS
            while self._due and self._due[0][0] <= now:
                self._now, _, what = heapq.heappop(self._due)
                self._deliver(what)
            self._now = now
            at = number * size
            if echo is None:
                pcm = ready[at * 2 : (at + size) * 2]
            else:
                pcm = on_the_wire(line[at : at + size] + echo[at : at + size], self._rate)
            if self._open is not None and self._script.partials:
                self._understand(self._open)
            self._post(ev.Audio(pcm))
            if (deadline := self._dialogue.next_deadline) is not None and deadline <= now:
                self._post(ev.Tick())
        self._silence()
        return self.log

    # Orders

    def _post(self, event: ev.Event) -> None:
        for action in self._dialogue.receive(event, self._now):
            self._perform(action)

    def _perform(self, action: act.Action) -> None:
        match action:
            case act.SendAudio(utterance, pcm):
                if utterance not in self._open_from:
                    self._open_from[utterance] = self._now - len(pcm) / 2 / self._rate
            case act.OpenUtterance(utterance):
                self._open, self._partial = utterance, ""
            case act.CloseUtterance(utterance):
                self._open = None
                self.log.closes.append(self._now)
                text = self._words(utterance, self._now, middle=True)
                self._later(FINAL, ev.Transcribed(utterance, text))
            case act.AbandonUtterance(utterance):
                self._open = None if self._open == utterance else self._open
            case act.AskModel(turn):
                self.log.asks.append(self._now)
                self._later(self._think, ev.ReplyText(turn, self._script.question))
                self._later(self._think, ev.ReplyEnded(turn))
            case act.Synthesise(turn, clip):
                is_long = self._script.kind == "over"
                seconds = len(self._call.line) / self._rate - self._now + 1.0 if is_long else ANSWER
                voice = agent_voice(self._script, len(self._voices), max(seconds, ANSWER))
                samples = voice.samples if is_long else voice.samples[: round(ANSWER * self._rate)]
                sound = Sound(np.clip(samples, -32768, 32767).astype("<i2").tobytes(), self._rate)
                self._voices[turn, clip] = (sound, voice.words if is_long else ())
                self._later(0.0, ev.Synthesised(turn, clip, sound))
            case act.Play():
                self._queue.append(_Clip(action, self._voices[action.turn, action.clip][1]))
                if action.start > 0:
                    self.log.resumes.append(self._now)
                if len(self._queue) == 1:
                    self._later(BEGAN, self._queue[0])
            case act.StopPlayback():
                self._stop()
            case act.SetVolume(gain):
                (self.log.yields if gain < self._volume else self.log.resumes).append(self._now)
                self._volume = gain
            case act.AbandonTurn(turn):
                if turn in self._heard_turns:
                    self._heard_turns.discard(turn)
                    self.log.abandons.append(self._now)
            case act.HangUp():
                self._over = True

    def _later(self, seconds: float, what: object) -> None:
        self._count += 1
        heapq.heappush(self._due, (self._now + seconds, self._count, what))

    def _deliver(self, what: object) -> None:
        if isinstance(what, _Clip):
            if not self._queue or self._queue[0] is not what:
                return
            if what.began is None:
                self._begin(what)
            else:
                self._queue.popleft()
                self._ended(what, self._now)
                self._post(ev.Played(what.play.turn, what.play.clip, what.play.audio.seconds))
                if self._queue:
                    self._begin(self._queue[0])
        else:
            self._post(what)  # type: ignore[arg-type]

    # The agent's sound

    def _begin(self, clip: _Clip) -> None:
        play, now = clip.play, self._now
        clip.began = now
        self._heard_turns.add(play.turn)
        self._later(max(0.0, play.audio.seconds - play.start), clip)
        if self._echo is not None:
            samples = np.frombuffer(play.audio.pcm, "<i2")[round(play.start * self._rate) :].astype(np.float64)
            at = round((now + self._script.delay) * self._rate)
            sound = echo_of(samples, self._script)[: max(0, len(self._echo) - at)]
            self._echo[at : at + len(sound)] += sound * self._volume
            if self._is_echo_heard():
                shift = now - play.start + self._script.delay
                self._echo_words += [
                    Word(w.text, w.middle + shift, w.end + shift) for w in clip.words if w.middle >= play.start
                ]
        self._post(ev.PlaybackBegan(play.turn, play.clip))

    def _is_echo_heard(self) -> bool:
        """Whether a recogniser would understand the echo: it is 6 dB above the noise."""
        assert self._script.echo is not None
        return not self._script.noise or self._script.echo >= -self._script.snr + 6

    def _stop(self) -> None:
        if not self._queue:
            return
        self.log.yields.append(self._now)
        clips, self._queue = list(self._queue), deque()
        for clip in clips:
            heard = clip.play.start
            if clip.began is not None:
                heard += self._now - clip.began
                self._ended(clip, self._now)
            self._later(0.02, ev.Played(clip.play.turn, clip.play.clip, min(heard, clip.play.audio.seconds)))
        if self._echo is not None:
            ends = self._now + self._script.delay
            self._echo[round(ends * self._rate) :] = 0.0
            self._echo_words = [word for word in self._echo_words if word.end <= ends]

    def _ended(self, clip: _Clip, now: float) -> None:
        assert clip.began is not None
        self.log.sounding.append((clip.began, now, clip.play.turn))

    def _silence(self) -> None:
        for clip in self._queue:
            if clip.began is not None:
                self._ended(clip, self._now)

    # The recogniser

    def _words(self, utterance: int, until: float, *, middle: bool) -> str:
        since = self._open_from.get(utterance, until)
        words = sorted([*self._call.words, *self._echo_words], key=lambda word: word.middle)
        return " ".join(
            word.text for word in words if word.middle >= since and (word.middle if middle else word.end) <= until
        )

    def _understand(self, utterance: int) -> None:
        text = self._words(utterance, self._now - PARTIAL, middle=False)
        if text and text != self._partial:
            self._partial = text
            self._post(ev.Transcribed(utterance, text, final=False))
