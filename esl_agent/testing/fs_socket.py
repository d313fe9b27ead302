"""The event socket of a pretend channel: commands in, frames out, with its faults in between. Pure."""

from __future__ import annotations

from collections.abc import Callable

from esl_agent.testing.fs_effects import Close, Effect, Write
from esl_agent.testing.fs_faults import Faults
from esl_agent.testing.fs_wire import Command, CommandReader


class EventSocket:
    """``now`` tells the time; ``on_close`` is called once, when FreeSWITCH's side has closed."""

    def __init__(self, now: Callable[[], float], on_close: Callable[[], None]) -> None:
        self.faults = Faults()
        self.is_open = True
        self._now = now
        self._on_close = on_close
        self._reader = CommandReader()
        self._held: list[bytes] = []
        self._is_answering = False
        self._stalled: list[Effect] = []
        self._effects: list[Effect] = []

    def feed(self, data: bytes) -> list[Command]:
        """Commands completed by ``data``."""
        return self._reader.feed(data)

    def write(self, data: bytes) -> None:
        """Send a reply, whole or as the faults will have it."""
        if self.is_open:
            for piece in self.faults.pieces(data):
                self._in_turn(Write(piece))

    def write_event(self, frame: bytes) -> None:
        """Send an event; held while a command has begun and not ended."""
        if self._reader.is_partial or self._is_answering:
            self._held.append(frame)
        else:
            self.write(frame)

    def answer(self, make: Callable[[], bytes]) -> None:
        """Send the reply that ``make`` returns before the events it causes."""
        self._is_answering = True
        try:
            reply = make()
        finally:
            self._is_answering = False
        self.write(reply)
        self.release_events()

    def release_events(self) -> None:
        """Send what was held, if the command that held it has ended."""
        if not self._reader.is_partial:
            held, self._held = self._held, []
            for frame in held:
                self.write(frame)

    def close(self, *, reset: bool = False, at_once: bool = False) -> None:
        """Close after what was written; ``at_once`` also in the middle of a stall."""
        if not self.is_open:
            return
        if at_once:
            self.act(Close(reset))
        else:
            self._in_turn(Close(reset))

    def lost(self) -> None:
        """The agent closed it."""
        self.is_open = False

    def unstall(self) -> None:
        """The stall is over."""
        stalled, self._stalled = self._stalled, []
        for effect in stalled:
            self.act(effect)

    def act(self, effect: Effect) -> None:
        """Anything but a write in its turn."""
        self._effects.append(effect)
        if isinstance(effect, Close) and self.is_open:
            self.is_open = False
            self._on_close()

    def take(self) -> list[Effect]:
        """Every effect since the last call, in order."""
        effects, self._effects = self._effects, []
        return effects

    def _in_turn(self, effect: Effect) -> None:
        if self._now() < self.faults.stalled_until:
            self._stalled.append(effect)
        else:
            self.act(effect)
