"""A world around a Cascade, for tests: it answers orders whenever, however and as often as a test wants."""

from __future__ import annotations

from collections.abc import Callable

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.cascade import Cascade
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import CascadeSettings

RATE = 8000
VOICED = b"\x01\x00" * 160
QUIET = b"\x00\x00" * 160


class MarkedFrames:
    """A detector that believes the frame's first byte."""

    def is_voiced(self, frame: bytes) -> bool:
        return frame[0] == 1


def sound(seconds: float) -> Sound:
    return Sound(b"\x00\x00" * int(RATE * seconds), RATE)


class World:
    """Keeps what the dialogue ordered and when; time moves only when told."""

    def __init__(self, settings: CascadeSettings | None = None, *, streams: bool = False) -> None:
        self.now = 100.0
        self.dialogue = Cascade(
            settings or CascadeSettings(), self.now, make_detector=lambda *_: MarkedFrames(), streams=streams
        )
        self.log: list[tuple[float, act.Action]] = []
        self.on_action: Callable[[act.Action], None] | None = None

    def post(self, event: ev.Event) -> list[act.Action]:
        actions = self.dialogue.receive(event, self.now)
        for action in actions:
            self.log.append((self.now, action))
            if self.on_action is not None:
                self.on_action(action)
        return actions

    def frames(self, frame: bytes, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now += 0.02
            self.post(ev.Audio(frame))

    def tick(self) -> None:
        due = self.dialogue.next_deadline
        assert due is not None
        self.now = max(self.now, due)
        self.post(ev.Tick())

    def all(self, kind: type) -> list:
        return [action for _, action in self.log if isinstance(action, kind)]

    def last(self, kind: type):
        return self.all(kind)[-1]

    # Short cuts for example tests

    def answer(self) -> None:
        self.post(ev.Answered())
        self.post(ev.MediaStarted(RATE))

    def voice_all(self, seconds: float = 1.0) -> None:
        """Give every clause that is asked for its sound."""
        for action in self.all(act.Synthesise):
            self.post(ev.Synthesised(action.turn, action.clip, sound(seconds)))

    def hear_all(self) -> None:
        """Everything the agent wants to say is synthesised and heard to its end."""
        for _ in range(50):
            before = len(self.log)
            self.voice_all()
            for action in self.all(act.Play):
                self.now += 0.001
                self.post(ev.Played(action.turn, action.clip, action.audio.seconds))
            if len(self.log) == before:
                return

    def caller_says(self, text: str) -> int:
        """An utterance from onset to final transcript; returns its number."""
        self.frames(VOICED, 0.6)
        self.frames(QUIET, 1.0)
        number = self.last(act.CloseUtterance).utterance
        self.post(ev.Transcribed(number, text))
        return number

    @property
    def phase(self) -> Phase:
        return self.dialogue.phase
