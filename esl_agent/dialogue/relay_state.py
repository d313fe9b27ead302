"""What a relay keeps in mind: an item that the agent says, its response under way, what it is asked, what it called."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue.actions import ToolCall
from esl_agent.dialogue.errands import LastRequest
from esl_agent.dialogue.tools import HangUpRequest
from esl_agent.dialogue.turn import Kind

#: Characters of what one item says: some twenty minutes of talk.
MAX_TEXT = 20_000
#: An item of which no more than this is left was heard to its end: one frame.
REST = 0.02


@dataclass(slots=True)
class Item:
    """Something the agent says: its words, its sound, and how much of that was heard. The service truncates by item."""

    session: int
    response: str
    name: str
    turn: int
    number: int
    """Its place in the turn; the transcript knows it by that."""
    text: str = ""
    sounds: dict[int, tuple[float, Sound | SoundStream]] = field(default_factory=dict)
    """By clip: where in the item it begins, and the sound."""
    parts: int = 0
    """How many of its parts came; the next has this number."""
    outstanding: set[int] = field(default_factory=set)
    """Clips that were given to the leg and not reported."""
    late: float = 0.0
    """Until when there is sound that came too late to be played."""
    heard: float = 0.0
    is_ended: bool = False

    @property
    def received(self) -> float:
        """Seconds of it that came."""
        return max((at + sound.seconds for at, sound in self.sounds.values()), default=0.0)

    @property
    def is_cut(self) -> bool:
        """Some of it was heard, and not all."""
        whole = max(self.received, self.late)
        return self.heard > 0 and (not self.is_ended or self.heard < whole - REST)

    @property
    def is_unheard(self) -> bool:
        """Nothing of it was heard, and no report of it is missing."""
        return not self.heard and not self.outstanding

    def say(self, text: str) -> None:
        self.text += text[: max(0, MAX_TEXT - len(self.text))]

    def report(self, clip: int, heard: float) -> bool:
        """The leg's report of a clip. False if none was awaited."""
        if clip not in self.outstanding:
            return False
        self.outstanding.discard(clip)
        at, sound = self.sounds[clip]
        if heard > 0:
            self.heard = max(self.heard, at + min(heard, sound.seconds))
        return True


@dataclass(frozen=True, slots=True)
class Ask:
    """What the agent is to say next: an answer, or (``instructions``) a phrase of ours."""

    kind: Kind = Kind.REPLY
    instructions: str = ""
    name: str = ""
    tries: int = 0
    """How often it was asked for before, in vain."""


@dataclass(slots=True)
class Reply:
    """The response that is under way at the service."""

    session: int
    name: str
    ask: Ask
    since: float
    """When something of it came last; of a dropped one: when it was dropped."""
    size: int = 0
    """Bytes of its streams, as last seen."""
    sounds: int = 0
    """Pieces of sound it has brought."""
    items: set[str] = field(default_factory=set)
    """What it says, as far as that was to be heard when it began to come."""
    is_dropped: bool = False
    """Nobody wants it any more; its end is awaited, because until then no other may be asked for."""


@dataclass(slots=True)
class Round:
    """The tools that one response called. All their results go back together."""

    session: int
    turn: int
    since: float
    calls: dict[str, ToolCall] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    last: LastRequest | HangUpRequest | None = None
    """What is done when everything was heard."""
    last_id: str = ""
    is_quiet: bool = False
    """Nobody is to be asked when they are back."""

    @property
    def is_complete(self) -> bool:
        return len(self.results) == len(self.calls)

    def due(self, patience: float) -> float:
        """When the tools that run have taken too long."""
        return self.since + patience if self.running else math.inf


def saying(text: str) -> str:
    """Instructions to say a phrase of ours."""
    return f"Say this to the caller now, in the language you speak with them, and nothing else: {text}"
