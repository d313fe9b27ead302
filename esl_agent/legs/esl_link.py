"""One event socket connection: commands out in order, replies and frames in, one end.

``Link`` knows nothing of calls; ``Session`` (legs/freeswitch.py) and the doctor's inbound connection stand on it.
Greenlets: one reader, and a writer only while the peer's window is full.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import gevent
from gevent.event import Event as Flag

from esl_agent.errors import CommandRefused, LegClosed, LegError, WireError
from esl_agent.legs.esl_outcome import Deadlines, Outcome, guarded
from esl_agent.legs.outgoing import Outgoing
from esl_agent.wire import esl
from esl_agent.wire.esl_commands import name_of

log = logging.getLogger(__name__)

COMMAND_TIMEOUT = 10.0
"""Seconds FreeSWITCH has for a reply. An idle one needs 1 ms, a loaded one 100 ms."""

MAX_UNSENT_BYTES = 1024 * 1024
"""Bytes of commands that wait for a peer that does not read; the next command is refused."""

_RECEIVE_BYTES = 65536


class Pending(Outcome[esl.Reply]):
    """The reply to one command. ``get`` raises LegClosed, CommandTimeout or CommandRefused.

    ``reply`` is the reply as it came, also a refusing or a late one.
    """

    __slots__ = ("reply", "sent_at")

    reply: esl.Reply | None
    sent_at: float


class Link:
    """Owns ``sock`` (a gevent socket) from now on.

    ``on_frame`` gets every frame but replies, in the reader: it must not block. ``on_closed(reason)`` is called exactly
    once. ``closed_error`` makes the exception all waiters get.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        peer: str,
        on_frame: Callable[[esl.Frame], None],
        on_closed: Callable[[str], None],
        closed_error: Callable[[str], LegError] = LegClosed,
        limits: esl.Limits | None = None,
        max_unsent_bytes: int = MAX_UNSENT_BYTES,
    ) -> None:
        self.sock = sock
        self.peer = peer
        self.deadlines = Deadlines()
        self.command_timeout = COMMAND_TIMEOUT
        """Seconds a reply may take, for commands that do not say otherwise."""
        self.closed_because: str | None = None
        self.replies = self.late_replies = self.lost_replies = self.frames = self.failed_callbacks = 0
        self.last_reply_latency = self.max_reply_latency = 0.0
        """Seconds from writing a command to its reply."""
        self._on_frame = on_frame
        self._on_closed = on_closed
        self._closed_error = closed_error
        self._parser = esl.Parser(limits)
        self._awaited: deque[Pending] = deque()
        self._outgoing = Outgoing(sock, peer, self.close)
        self._max_unsent_bytes = max_unsent_bytes
        self._ended = Flag()
        _tune(sock)
        self._reader = gevent.spawn(self._read)

    def request(
        self,
        command: bytes,
        *,
        timeout: float | None = None,
        on_reply: Callable[[esl.Reply | LegError], None] | None = None,
    ) -> Pending:
        """Sends a command. Never blocks, never raises for a dead connection: the Pending tells.

        ``on_reply`` is called in the reader or the hub, or here if the command could not be sent; it must not block.
        A command whose deadline passed keeps its place: its late reply is given to nobody else.
        """
        timeout = self.command_timeout if timeout is None else timeout
        pending = Pending(name_of(command), self.deadlines, timeout, is_reader=self.is_reader, on_done=on_reply)
        pending.reply, pending.sent_at = None, time.monotonic()
        if self.closed_because is not None:
            pending.fail(self._closed_error(self.closed_because))
        elif (waiting := self._outgoing.waiting) and waiting + len(command) > self._max_unsent_bytes:
            pending.fail(LegError(f"{self.peer} does not read: {waiting} bytes wait, {pending.what!r} dropped"))
        else:
            self._awaited.append(pending)
            self._outgoing.write(command)
        return pending

    def is_reader(self) -> bool:
        """Whether the caller is this connection's reader, which may wait for nothing it brings itself."""
        return gevent.getcurrent() is self._reader

    def greenlets(self) -> int:
        """How many greenlets work for this connection: one, two while the peer's window is full, none after the end."""
        return (not self._reader.dead) + self._outgoing.is_writing

    def close(self, reason: str) -> None:
        """Ends the connection now. Idempotent, never blocks, never raises."""
        if self.closed_because is not None:
            return
        self.closed_because = reason
        self.deadlines.close()
        self._outgoing.close()
        error = self._closed_error(reason)
        while self._awaited:
            self._awaited.popleft().fail(error)
        guarded(self._on_closed, reason)
        self._ended.set()
        self._on_frame = self._on_closed = _nobody  # the call and its link need no collector to be freed

    def wait_closed(self, timeout: float) -> bool:
        """Whether the connection has ended, after at most ``timeout`` seconds."""
        return bool(self._ended.wait(timeout))

    def _read(self) -> None:
        try:
            while self.closed_because is None:
                data = self.sock.recv(_RECEIVE_BYTES)
                if not data:
                    self._parser.eof()
                    self.close(f"{self.peer} closed the connection")
                    return
                for frame in self._parser.feed(data):
                    self._deal(frame)
                if self._parser.error:
                    raise WireError(self._parser.error)
        except OSError as error:
            self.close(f"{self.peer}: connection lost: {error}")
        except WireError as error:
            log.warning("%s: %s", self.peer, error)
            self.close(f"{self.peer}: {error}")
        finally:
            self.close(f"{self.peer}: the reader was stopped")

    def _deal(self, frame: esl.Frame) -> None:
        if self.closed_because is not None:
            return
        if not isinstance(frame, esl.Reply):
            self.frames += 1
            if not guarded(self._on_frame, frame):
                self.failed_callbacks += 1
            return
        if not self._awaited:
            raise WireError(f"a reply to no command: {frame.text[:80]!r}")
        pending = self._answered_by(frame)
        self.replies += 1
        self.last_reply_latency = time.monotonic() - pending.sent_at
        self.max_reply_latency = max(self.max_reply_latency, self.last_reply_latency)
        pending.reply = frame
        if pending.is_done:
            self.late_replies += 1
        elif frame.ok:
            pending.succeed(frame)
        else:
            pending.fail(CommandRefused(pending.what, frame.text))

    def _answered_by(self, reply: esl.Reply) -> Pending:
        """Whose reply this is. FreeSWITCH answers in order; a reply of the other kind than the oldest command's says
        that it never answered that one, and without a look at it every later reply would go to the wrong command."""
        for place, pending in enumerate(self._awaited):
            if _may_answer(reply, pending.what):
                for _ in range(place):
                    lost = self._awaited.popleft()
                    self.lost_replies += 1
                    if not lost.is_done:
                        lost.fail(LegError(f"{self.peer} passed over {lost.what!r}"))
                break
        return self._awaited.popleft()


def _may_answer(reply: esl.Reply, command: str) -> bool:
    """``api`` is answered by api/response, or refused by command/reply where the socket lacks ``full``."""
    is_api = command.startswith("api ")
    if reply.headers.get("Content-Type") == "api/response":
        return is_api
    return not is_api or not reply.ok


def _nobody(_: object) -> None:
    """Gets what comes after the end."""


def _tune(sock: socket.socket) -> None:
    """Commands leave at once; a peer whose machine vanished is noticed after about a minute of silence."""
    options = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    ]
    for level, name, value in options:
        with suppress(OSError):  # a Unix socket pair has none of these
            sock.setsockopt(level, name, value)
