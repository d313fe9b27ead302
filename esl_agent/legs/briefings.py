"""Lines that are no calls: over these, whoever is called for a caller hears what the call is about.

    line = briefings.expect(told)        a UUID that our AudioSocket server will be connected with
    briefings.came(line)                 the server has it: told.line_came(line), until told.line_is_done

Their UUIDs are of version 8 (RFC 9562: the maker's own), and begin with four bytes of ours. So one that comes when
nobody waits for it any more, or after we were started anew, is never taken for a caller.
"""

from __future__ import annotations

import logging
import secrets
import uuid
from typing import Protocol

from gevent.event import Event as Flag

from esl_agent.legs.audiosocket_line import AudioSocketLine
from esl_agent.legs.esl_outcome import Deadlines
from esl_agent.legs.streamed_voice import Ticker

log = logging.getLogger(__name__)

_OURS = b"brie"
_PREFIX = f"{_OURS.hex()}-"
#: No briefing lasts so long; whoever holds its line has a much shorter deadline.
MAX_SECONDS = 600.0


class Awaiting(Protocol):
    """Who waits for a line."""

    line_is_done: Flag
    """Set when the line is not needed any more: it is closed."""

    def line_came(self, line: AudioSocketLine) -> None: ...


class Gate(Protocol):
    """Where lines come in: our AudioSocket server."""

    def await_line(self, uuid: str) -> None:
        """Let the line of that UUID in, also where no call would be: its caller has been with us for long."""

    def forget_line(self, uuid: str) -> None:
        """Idempotent."""


class Briefings:
    """One for a door; ``ticker`` is its playout clock."""

    def __init__(self, ticker: Ticker, gate: Gate) -> None:
        self.ticker = ticker
        self._gate = gate
        self.deadlines = Deadlines()
        self._awaited: dict[str, Awaiting] = {}

    def expect(self, told: Awaiting) -> str:
        """The UUID of a line that will come."""
        line = new_line()
        self._awaited[line] = told
        self._gate.await_line(line)
        return line

    def forget(self, line: str) -> None:
        """It is not awaited any more. Idempotent."""
        self._awaited.pop(line, None)
        self._gate.forget_line(line)

    def came(self, line: AudioSocketLine) -> bool:
        """Whether the line is a briefing's. Then this returns when it may be closed."""
        if not is_briefing(line.id):
            return False
        told = self._awaited.pop(line.id, None)
        if told is None:
            log.info("call=%s somebody called for a caller has answered too late: hung up", line.id)
            return True
        told.line_came(line)
        told.line_is_done.wait(MAX_SECONDS)
        return True

    def close(self) -> None:
        self._awaited.clear()
        self.deadlines.close()


def new_line() -> str:
    """74 bits of it are chance: no stranger guesses it."""
    raw = bytearray(_OURS + secrets.token_bytes(12))
    raw[6] = 0x80 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return str(uuid.UUID(bytes=bytes(raw)))


def is_briefing(line: str) -> bool:
    return line.startswith(_PREFIX) and line[14:15] == "8"
