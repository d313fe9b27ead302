"""The narrow interfaces between a call and its door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue.events import Event

#: Posts an event to the call's mailbox. Never blocks, never raises; may be used from any greenlet of the hub.
Post = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Clip:
    """One clause of a turn, ready to be heard."""

    turn: int
    number: int
    audio: Sound


class CallLeg(Protocol):
    """Signalling of one call. Commands return at once; their results arrive as events."""

    id: str
    """The switch's name for the call (FreeSWITCH: Unique-ID). Safe to log and to use in file names."""
    did: str
    """The number dialled. Outside text."""
    caller: str
    """The caller's number. Outside text."""
    caller_name: str
    """The caller's display name. Outside text."""

    def answer(self) -> None:
        """Answer the call; ``Answered`` follows, or ``CommandFailed("answer", ...)``, or ``HungUp``."""

    def hang_up(self, cause: str) -> None:
        """End the call now, also during a playback; ``HungUp`` follows."""

    def show(self, values: Mapping[str, str]) -> None:
        """Make ``values`` visible to whoever watches the switch (FreeSWITCH: ``esl_agent_*`` channel variables)."""

    def announce(self, subclass: str, facts: Mapping[str, str]) -> None:
        """Tell whoever watches the switch that something happened (FreeSWITCH: a CUSTOM event)."""

    def close(self) -> None:
        """Let go of the connection. Idempotent, never raises."""


class MediaStream(Protocol):
    """The voice of one call: frames in as ``Audio`` events, clips out."""

    rate: int
    """Samples a second of the frames posted as ``Audio``."""

    def start(self) -> None:
        """Ask for the caller's sound. ``MediaStarted`` follows, or ``MediaLost``."""

    def play(self, clip: Clip) -> None:
        """Queue a clip behind those already queued. One ``Played`` is owed for it, also if playing fails."""

    def clear(self) -> None:
        """Silence now. Every queued clip is reported by one ``Played`` with what was heard of it."""

    def close(self) -> None:
        """Stop everything and remove every file. Idempotent, never raises."""
