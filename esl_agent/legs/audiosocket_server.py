"""The TCP server that Asterisk's AudioSocket connects to: one connection is one call's sound.

    Dial(AudioSocket/host:9092/${UUID()}/c(slin24))        in the dialplan

The protocol has no password. Whoever may connect can say that it is a call: ``allow`` is all that protects it.
"""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Callable, Sequence
from io import FileIO
from typing import Any

import gevent
from gevent.event import Event as Flag

from esl_agent.errors import LegError
from esl_agent.legs.allowed import Allowed
from esl_agent.legs.audiosocket_line import GOODBYE_SECONDS, AudioSocketLine
from esl_agent.legs.esl_outcome import guarded
from esl_agent.legs.sound_connection import Acceptor

log = logging.getLogger(__name__)

#: Connections that have not named their call, or said goodbye, at one time; more are closed unread.
MAX_STRANGERS = 200
#: A connection that does not say within this which call it is, is closed.
HANDSHAKE_SECONDS = 5.0
#: Seconds until the port is tried again that somebody else took while it was closed, or for which no file was left.
REOPEN_SECONDS = 1.0
#: Files that calls which run can still open when no more calls are let in: connections to their services, records.
SPARE_FILES = 16


class AudioSocketServer:
    """``on_line(line)`` is called in a greenlet of its own for each call; when it returns or fails, the line is closed.

    ``allow`` holds addresses and networks Asterisk may come from; empty means all. ``max_lines``: calls at one time.
    Asterisk answers a call as soon as it has connected, so while there is no room for one more the port is closed: the
    dialplan goes on with CHANUNAVAIL, the call unanswered. Only calls that come in the same moment find out too late.
    So it is, too, while this process may open hardly any more files: whom the kernel lets in then hears nothing.

    A line that belongs to a call which runs already is awaited (``await_line``): it comes in also while there is no
    room, and after ``turn_away``. The port is open meanwhile; calls that come by it are said goodbye to.
    """

    def __init__(
        self,
        host: str,
        port: int,
        on_line: Callable[[AudioSocketLine], object],
        *,
        allow: Sequence[str] = (),
        max_lines: int = 200,
        handshake: float = HANDSHAKE_SECONDS,
        on_named: Callable[[str], object] | None = None,
    ) -> None:
        """``on_named`` is told the UUID of each line that will be taken, on the hub, before any sound of it came."""
        self.max_lines = max_lines
        self.taken = 0
        """Calls that began, ever."""
        self.refused = 0
        """Connections from elsewhere, one too many, or with a UUID in use."""
        self.broken = 0
        """Connections that said something else than AudioSocket, or nothing in time."""
        self._address = (host, port)
        self._on_line = on_line
        self._on_named = on_named
        self._allowed = Allowed(allow)
        self._handshake = handshake
        self._acceptor: Acceptor | None = None
        self._is_open = self._is_stopped = False
        self._awaited: set[str] = set()
        self._reopening: Any = None
        self._is_short = False  # of files
        self._was_told = False  # that the port cannot be opened
        self._lines: dict[str, AudioSocketLine] = {}
        self._connections: set[AudioSocketLine] = set()
        self._late: set[AudioSocketLine] = set()  # those that came after turn_away
        self._is_empty = Flag()
        self._is_empty.set()

    @property
    def bound_port(self) -> int:
        """The port it listens on (0 was asked for: the one the kernel chose)."""
        return self._address[1]

    @property
    def line_count(self) -> int:
        """Calls that have a line now."""
        return len(self._lines)

    def await_line(self, uuid: str) -> None:
        """The line of that UUID is let in whenever it comes, until ``forget_line`` or ``stop``."""
        self._awaited.add(uuid)
        self._look_at_room()

    def forget_line(self, uuid: str) -> None:
        """Idempotent."""
        self._awaited.discard(uuid)
        self._look_at_room()

    def start(self) -> None:
        """Listen. Raises LegError where that cannot be done."""
        self._is_open = True
        self._listen()
        log.info("audiosocket: listening at %s:%d", self._address[0], self.bound_port)

    def _listen(self) -> None:
        acceptor = Acceptor(self._address, self._accept, backlog=1024, spawn=None)
        acceptor.on_no_files = self._look_at_room
        try:
            acceptor.start()
        except OSError as error:
            where = f"{self._address[0]}:{self._address[1]}"
            raise LegError(f"audiosocket cannot listen at {where}: {error.strerror or error}") from error
        self._acceptor = acceptor
        self._address = (str(acceptor.address[0]), int(acceptor.address[1]))

    def _shut(self) -> None:
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.stop(timeout=0)

    def _look_at_room(self) -> None:
        """The port is open while one more line may come."""
        has_room = self._is_open and self._has_room and not self._lacks_files()
        wants_open = has_room or (bool(self._awaited) and not self._is_stopped)
        if wants_open == (self._acceptor is not None):
            return
        if not wants_open:
            if self._is_open:
                why = f"no more than {SPARE_FILES} files may be opened (LimitNOFILE, ulimit -n)"
                why = why if self._is_short else "asterisk.max_calls allows no more"
                log.warning("audiosocket: %d calls run, and %s: closed", self.line_count, why)
            self._shut()
            return
        try:
            self._listen()
        except LegError as error:
            if not self._was_told:
                self._was_told = True
                log.error("%s; it is tried again", error)
            self._look_again()
        else:
            self._was_told = False
            what = "there is room for calls again" if has_room else "open for a line that is awaited"
            log.info("audiosocket: %s", what)

    def _look_again(self) -> None:
        if self._reopening is None:
            self._reopening = gevent.spawn_later(REOPEN_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._reopening = None
        self._look_at_room()

    def _lacks_files(self) -> bool:
        """Whether hardly any are left; asked again soon if so, as others than calls may close some."""
        self._is_short = not _may_open(SPARE_FILES)
        if self._is_short:
            self._look_again()
        return self._is_short

    @property
    def _has_room(self) -> bool:
        return len(self._lines) < self.max_lines

    def turn_away(self) -> None:
        """No new calls: the port is closed, and the dialplan goes on at once. Lines go on to their end, and those that
        are awaited still come. Idempotent."""
        self._is_open = False
        reopening, self._reopening = self._reopening, None
        if reopening is not None:
            reopening.kill(block=False)
        self._look_at_room()

    def wait_empty(self, seconds: float) -> bool:
        """Whether there is no connection, after at most ``seconds``."""
        return bool(self._is_empty.wait(seconds))

    def stop(self, patience: float = GOODBYE_SECONDS + 0.5) -> None:
        """``turn_away``; say goodbye on every line and wait for their ends. Idempotent."""
        self._is_stopped = True
        self.turn_away()
        for line in list(self._connections):
            line.hang_up() if line.id else line.drop("the server stops")
        self._is_empty.wait(patience)
        for line in list(self._connections):
            line.drop("the server stops")

    def _accept(self, sock: Any, peer: Any) -> None:
        if not self._allowed.admits(peer):
            self.refused += 1
            log.warning("audiosocket: %s is not in asterisk.audiosocket.allow; closed", peer[0])
            sock.close()
        elif len(self._connections) - len(self._lines) >= MAX_STRANGERS:
            self.refused += 1
            log.warning("audiosocket: %d connections say nothing; one from %s is closed", MAX_STRANGERS, peer[0])
            sock.close()
        else:
            line = AudioSocketLine(self, sock, f"{peer[0]}:{peer[1]}", self._handshake)
            self._connections.add(line)
            if not self._is_open:
                self._late.add(line)
            self._is_empty.clear()
            line.start()

    # what lines tell

    def named(self, line: AudioSocketLine) -> str:
        other = self._lines.get(line.id)
        if other is not None:
            self.refused += 1
            return f"{other.peer} has a call of that UUID"
        if line.id not in self._awaited:
            if line in self._late:
                self.refused += 1
                return "no calls are taken any more"
            if not self._has_room:
                self.refused += 1
                return f"{self.max_lines} calls run, and asterisk.max_calls allows no more"
        self._awaited.discard(line.id)
        self._lines[line.id] = line
        if self._on_named is not None:
            guarded(self._on_named, line.id)
        self._look_at_room()
        return ""

    def opened(self, line: AudioSocketLine) -> None:
        self.taken += 1
        gevent.spawn(self._serve, line)

    def failed(self, line: AudioSocketLine, reason: str) -> None:
        self.broken += 1
        log.warning("audiosocket: %s%s: %s; closed", f"call={line.id} from " if line.id else "", line.peer, reason)

    def left(self, line: AudioSocketLine) -> None:
        if self._lines.get(line.id) is line:
            del self._lines[line.id]
            log.info("call=%s audiosocket: %s", line.id, line.ended_because)
            self._look_at_room()
        self._connections.discard(line)
        self._late.discard(line)
        if not self._connections:
            self._is_empty.set()

    def _serve(self, line: AudioSocketLine) -> None:
        try:
            self._on_line(line)
        except Exception:
            log.exception("call=%s failed", line.id)
        finally:
            line.close()


def _may_open(files: int) -> bool:
    """Whether this process may open so many more: the number of a new one is the lowest that is free."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        with FileIO(os.devnull) as lowest:  # closed at once: gevent's os.close waits for the next round of the hub
            return limit == resource.RLIM_INFINITY or lowest.fileno() + files <= limit
    except OSError:
        return False
