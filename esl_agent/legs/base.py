"""The narrow interfaces between a call and its door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue.events import Event

#: Posts an event to the call's mailbox. Never blocks, never raises; may be used from any greenlet of the hub.
Post = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Clip:
    """One clause of a turn, ready to be heard from ``start`` seconds on. The same clip may come again with a later
    ``start``, after the first was reported."""

    turn: int
    number: int
    audio: Sound | SoundStream
    start: float = 0.0


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

    def variable(self, name: str) -> str:
        """What the switch knew under ``name`` when the call came (FreeSWITCH: a channel variable). Outside text; empty
        where there is none."""

    def answer(self) -> None:
        """Answer the call; ``Answered`` follows, or ``CommandFailed("answer", ...)``, or ``HungUp``."""

    def hang_up(self, cause: str) -> None:
        """End the call now, also during a playback; ``HungUp`` follows."""

    def transfer(self, name: str, number: str, mode: Literal["blind", "warm"], briefing: Sound | None) -> None:
        """Hand the caller over; ``Transferred`` or ``TransferFailed`` follows. ``number`` was let through by the
        destination policy; nothing of it is expanded by the switch."""

    def send_digits(self, digits: str) -> None:
        """Press keys (``0-9*#``, ``w``: half a second's pause) towards the caller's side."""

    def set_variable(self, name: str, value: str) -> None:
        """Leave ``value`` (outside text) for the dialplan and the CDR. Raises LegError for a name that is none."""

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
    streams: bool
    """True: a clip may be a SoundStream that still grows, ``volume`` works, and ``clear`` is silence within a frame."""

    def start(self) -> None:
        """Ask for the caller's sound. ``MediaStarted`` follows, or ``MediaLost``."""

    def play(self, clip: Clip) -> None:
        """Queue a clip behind those already queued. One ``Played`` is owed for it, also if playing fails."""

    def clear(self) -> None:
        """Silence now. Every queued clip is reported by one ``Played`` with what was heard of it."""

    def volume(self, gain: float) -> None:
        """How loud clips are from now on. Does nothing where ``streams`` is False."""

    def close(self) -> None:
        """Stop everything and remove every file. Idempotent, never raises."""
