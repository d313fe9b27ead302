"""One connection to Asterisk's manager interface: actions out, responses and events in, one end.

``AmiLink`` knows nothing of logins and calls; ``AmiClient`` (legs/ami.py) stands on it. Greenlets: one reader, and a
writer only while the peer's window is full.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import gevent
from gevent.event import Event as Flag

from esl_agent.errors import CommandRefused, LegClosed, LegError, UnsafeText, WireError
from esl_agent.legs.esl_outcome import Deadlines, Outcome, guarded
from esl_agent.legs.outgoing import Outgoing
from esl_agent.wire import ami
from esl_agent.wire.esl_commands import safe_text

log = logging.getLogger(__name__)

#: Actions without an answer yet; one more is refused at once.
MAX_OUTSTANDING = 1000
#: Bytes of actions that wait for a peer that does not read; one more is refused at once.
MAX_UNSENT_BYTES = 1024 * 1024
#: Events that may belong to one action's answer (``Status`` of a busy PBX: one a channel).
MAX_LISTED = 20_000

_RECEIVE_BYTES = 65536

Headers = Iterable[tuple[str, str]]
#: The response and, for actions that list, the events that belong to it; or why there are none. Must not block.
Answered = Callable[[list[ami.Message] | LegError], None]


class Pending(Outcome[list[ami.Message]]):
    """What one action brings: its response, then the events of its list. ``get`` raises LegClosed, CommandTimeout or
    CommandRefused."""

    __slots__ = ("action_id", "messages")

    action_id: str
    messages: list[ami.Message]


class AmiLink:
    """Owns ``sock`` (a gevent socket) from now on.

    ``on_event`` gets every event that is no part of an answer, in the reader: it must not block. ``on_closed(reason)``
    is called exactly once.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        peer: str,
        timeout: float,
        on_event: Callable[[ami.Message], None],
        on_closed: Callable[[str], None],
        limits: ami.Limits | None = None,
    ) -> None:
        self.peer = peer
        self.deadlines = Deadlines()
        self.closed_because: str | None = None
        self.heard_at = time.monotonic()
        self.events = self.bytes = self.strays = self.forged = 0
        self._sock = sock
        self._timeout = timeout
        self._on_event = on_event
        self._on_closed = on_closed
        self._parser = ami.Parser(limits)
        self._numbers = itertools.count(1)
        # OriginateResponse goes to every connection, with the ActionID of whoever asked: ours must be nobody else's.
        self._token = secrets.token_hex(4)
        self._pending: dict[str, Pending] = {}
        self._listing: Pending | None = None  # whose list is coming
        self._outgoing = Outgoing(sock, peer, self.close)
        self._ended = Flag()
        self._has_banner = Flag()
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = gevent.spawn(self._read)

    @property
    def banner(self) -> str | None:
        return self._parser.banner

    def wait_banner(self, timeout: float) -> bool:
        """Whether an Asterisk answers at all, after at most ``timeout`` seconds."""
        self._has_banner.wait(timeout)
        return self._parser.banner is not None and self.closed_because is None

    def wait_closed(self, timeout: float) -> bool:
        """Whether the connection has ended, after at most ``timeout`` seconds."""
        return bool(self._ended.wait(timeout))

    def request(
        self, name: str, headers: Headers = (), *, timeout: float | None = None, on_done: Answered | None = None
    ) -> Pending:
        """Sends an action with an ActionID of ours. Never blocks, never raises: the Pending tells, also of text that
        cannot be sent. ``on_done`` is called in the reader or the hub, or here if nothing could be sent."""
        action_id = f"{self._token}-{next(self._numbers)}"

        def done(result: list[ami.Message] | LegError) -> None:
            self._pending.pop(action_id, None)
            if on_done is not None:
                on_done(result)

        pending = Pending(
            name, self.deadlines, self._timeout if timeout is None else timeout, is_reader=self._is_reader, on_done=done
        )
        pending.action_id, pending.messages = action_id, []
        try:
            data = ami.action(name, (("ActionID", action_id), *headers))
        except UnsafeText as error:
            pending.fail(LegError(f"{name}: {error}"))
            return pending
        if self.closed_because is not None:
            pending.fail(LegClosed(self.closed_because))
        elif len(self._pending) >= MAX_OUTSTANDING:
            pending.fail(LegError(f"{self.peer} owes {len(self._pending)} answers: {name!r} was not sent"))
        elif (waiting := self._outgoing.waiting) + len(data) > MAX_UNSENT_BYTES:
            pending.fail(LegError(f"{self.peer} does not read: {waiting} bytes wait, {name!r} dropped"))
        else:
            self._pending[action_id] = pending
            self._outgoing.write(data)
        return pending

    def close(self, reason: str) -> None:
        """Ends the connection now; every open action fails with LegClosed. Idempotent, never blocks, never raises."""
        if self.closed_because is not None:
            return
        self.closed_because = reason
        self.deadlines.close()
        self._outgoing.close()
        for pending in list(self._pending.values()):
            pending.fail(LegClosed(reason))
        guarded(self._on_closed, reason)
        self._has_banner.set()
        self._ended.set()
        self._on_event = self._on_closed = _nobody  # client and link need no collector to be freed

    def _is_reader(self) -> bool:
        return gevent.getcurrent() is self._reader

    def _read(self) -> None:
        try:
            while self.closed_because is None:
                data = self._sock.recv(_RECEIVE_BYTES)
                if not data:
                    self._parser.eof()
                    self.close(f"{self.peer}: closed by the other side")
                    return
                self.heard_at = time.monotonic()
                self.bytes += len(data)
                for message in self._parser.feed(data):
                    self._deal(message)
                if len(data) == _RECEIVE_BYTES:
                    gevent.sleep(0)  # there is more: a long list may not hold up the calls
                if self._parser.banner is not None and not self._has_banner.is_set():
                    self._has_banner.set()
        except OSError as error:
            self.close(f"{self.peer}: connection lost: {error}")
        except WireError as error:
            self.close(f"{self.peer}: {error}")
        finally:
            self.close(f"{self.peer}: the reader was stopped")

    def _deal(self, message: ami.Message) -> None:
        if self.closed_because is not None:
            return
        name = message.event
        pending = self._pending.get(message.action_id)
        listing = self._listing
        if listing is not None and not listing.is_done:
            # Asterisk sends nothing else until a list is complete (manager.c: one thread a session), and each item ends
            # in the ActionID. Status does not escape CR LF in a channel variable (22.10.1): what has no ActionID was
            # written by whoever put it there, all but the first item, which Asterisk began.
            if pending is listing or len(listing.messages) == 1:
                self._listed(listing, message)
            else:
                self._is_forged(message)
        elif pending is not None and not name:
            self._responded(pending, message)
        elif name:
            self.events += 1
            guarded(self._on_event, message)
        else:
            self.strays += 1  # an answer after its deadline

    def _is_forged(self, message: ami.Message) -> None:
        self.forged += 1
        if self.forged == 1:
            log.warning("%s: a channel variable holds a line break and looks like %s: passed over", self.peer,
                        safe_text(message.event or "an answer", 60))  # fmt: skip

    def _responded(self, pending: Pending, message: ami.Message) -> None:
        if message.response not in ("Success", "Goodbye"):
            pending.fail(CommandRefused(pending.what, safe_text(message.get("Message"))))
            return
        pending.messages.append(message)
        if message.get("EventList") == "start":
            self._listing = pending
        else:
            pending.succeed(pending.messages)

    def _listed(self, pending: Pending, message: ami.Message) -> None:
        if message.get("EventList").lower() == "complete":
            pending.succeed(pending.messages)
        elif len(pending.messages) > MAX_LISTED:
            pending.fail(LegError(f"{self.peer} lists more than {MAX_LISTED} for {pending.what!r}"))
        else:
            pending.messages.append(message)


def _nobody(*_: object) -> None:
    """Who is told after the end."""
