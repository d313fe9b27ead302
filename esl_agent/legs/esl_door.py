"""Where FreeSWITCH knocks: accept, admit or refuse, run the application, drain.

Admission is counted in the greenlet of the accepted connection before its first byte; nothing yields in between.
Closing a connection right after accepting it parks the call for ever (captures 23, 24), so a call too many is taken
and hung up with a cause the caller's side understands. Calls and refusals together are a pool: when it is full, nothing
is accepted, and FreeSWITCH waits in the kernel's queue (it has 24 s of patience).
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from gevent.event import Event as Flag
from gevent.pool import Pool
from gevent.server import StreamServer

from esl_agent.errors import LegClosed, LegError
from esl_agent.legs.allowed import Allowed
from esl_agent.legs.esl_call import EslCall
from esl_agent.wire import esl_commands as commands

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 5.0
"""Seconds a peer has for its answer to ``connect`` (FreeSWITCH: 1 ms)."""

REFUSAL_TIMEOUT = 3.0
"""Seconds a refused call has to report its hang-up."""

MAX_REFUSALS = 20
"""Calls refused at the same time."""

BACKLOG = 512
EXHAUSTED_PAUSE = 0.2
"""Seconds without accepting once file descriptors or memory ran out."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class _Acceptor(StreamServer):
    """gevent's server with a quiet pause when descriptors run out (gevent prints a traceback at every try)."""

    accept_errors = 0

    def do_read(self) -> Any:
        try:
            return super().do_read()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self.accept_errors += 1
            log.error("cannot accept a call: %s; raise the limit of open files (LimitNOFILE)", error)
            self.stop_accepting()
            self._timer = self.loop.timer(EXHAUSTED_PAUSE)
            self._timer.start(self._start_accepting_if_started)
            return None


class Door:
    """Listens for FreeSWITCH's outbound event sockets; every call runs ``application`` in a greenlet of its own.

    ``application(call)`` is called once ``connect`` was answered; if what it returns has ``run``, that is called too.
    When it returns or fails, the connection is ended and the dialplan goes on after ``socket``.
    ``allow`` holds addresses or networks FreeSWITCH may come from; empty means all.
    """

    session_class: Callable[..., EslCall] = EslCall

    def __init__(
        self,
        bind_address: str = "127.0.0.1",
        bind_port: int | Sequence[int] = 8000,
        application: Callable[[Any], Any] | None = None,
        max_connections: int = 100,
        *,
        allow: Sequence[str] = (),
        max_refusals: int = MAX_REFUSALS,
        refusal_cause: str = "NORMAL_TEMPORARY_FAILURE",
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        refusal_timeout: float = REFUSAL_TIMEOUT,
    ) -> None:
        if application is None:
            raise ValueError("You need an Application to control your calls.")
        self.bind_address = bind_address
        self.bind_port = [bind_port] if isinstance(bind_port, int) else list(bind_port)
        if not self.bind_port:
            raise ValueError("bind_port must hold at least one port number (0 for any)")
        self.application = application
        self.max_connections = max_connections
        self.bound_port: int | None = None
        self.connection_count = 0
        """Calls admitted and not yet ended."""
        self.admitted = self.refused = self.turned_away = self.handshake_failures = self.failed_applications = 0
        self.is_draining = False
        self._allowed = Allowed(allow)
        self._refusal_cause = refusal_cause
        self._handshake_timeout = handshake_timeout
        self._refusal_timeout = refusal_timeout
        self._pool = Pool(max_connections + max(1, max_refusals))
        self._acceptor: _Acceptor | None = None
        self._stopped = Flag()
        self._idle = Flag()
        self._idle.set()
        self._patience: float | None = None

    @property
    def accept_errors(self) -> int:
        """Times accepting paused because descriptors or memory ran out."""
        return self._acceptor.accept_errors if self._acceptor else 0

    def start(self) -> None:
        """Binds and accepts from now on; returns at once. ``bound_port`` is the real port.

        Raises LegError when no port of ``bind_port`` is free.
        """
        listener = self._bind()
        self.bound_port = listener.getsockname()[1]
        self._acceptor = _Acceptor(listener, self._on_accept, spawn=self._pool)
        self._stopped.clear()
        self._acceptor.start()
        log.info("event socket: listening at %s port %d", self.bind_address, self.bound_port)

    def listen(self) -> None:
        """``start``, then blocks until ``stop`` and the end of the calls."""
        if self._acceptor is None:
            self.start()
        self._stopped.wait()
        self._pool.join(self._patience)

    def stop(self) -> None:
        """Accepts no more; calls go on to their end. Idempotent, never blocks."""
        if self._acceptor is not None:
            self._acceptor.close()
        self._stopped.set()

    def drain(self, seconds: float) -> bool:
        """Refuses new calls, waits at most ``seconds`` for the running ones, then stops. True if all had ended."""
        self.is_draining = True
        has_ended = bool(self._idle.wait(seconds))
        if not has_ended:
            log.warning("event socket: %d calls still run after %g s of draining", self.connection_count, seconds)
            self._patience = 0.0
        self.stop()
        return has_ended

    def _bind(self) -> socket.socket:
        failures = []
        for port in self.bind_port:
            listener = None
            try:
                family, kind, protocol, _, address = socket.getaddrinfo(
                    self.bind_address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
                )[0]
                listener = socket.socket(family, kind, protocol)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen(BACKLOG)
                listener.setblocking(False)
            except OSError as error:
                if listener is not None:
                    listener.close()
                failures.append(f"port {port}: {error}")
            else:
                return listener
        raise LegError(f"cannot listen for FreeSWITCH at {self.bind_address}: {'; '.join(failures)}")

    def _on_accept(self, sock: socket.socket, address: Any) -> None:
        if not self._allowed.admits(address):
            self.turned_away += 1
            log.warning("event socket: %s is not among the allowed addresses; closed", address)
            sock.close()
        elif self.is_draining or self.connection_count >= self.max_connections:
            self.refused += 1
            log.warning("event socket: refusing a call; %d of %d run", self.connection_count, self.max_connections)
            self._refuse(self.session_class(address, sock))
        else:
            self.connection_count += 1
            self.admitted += 1
            self._idle.clear()
            try:
                self._serve(self.session_class(address, sock))
            finally:
                self.connection_count -= 1
                if not self.connection_count:
                    self._idle.set()

    def _serve(self, call: EslCall) -> None:
        try:
            try:
                call.connect(self._handshake_timeout)
            except LegError as error:
                self.handshake_failures += 1
                log.warning("event socket: no call came of a connection: %s", error)
                return
            try:
                application = self.application(call)
                if hasattr(application, "run"):
                    application.run()
            except LegClosed as error:
                log.info("call %s ended: %s", call.uuid, error)
            except Exception:
                self.failed_applications += 1
                log.exception("call %s: the application failed; the dialplan goes on", call.uuid)
        finally:
            call.stop()

    def _refuse(self, call: EslCall) -> None:
        with suppress(LegError):
            call.connect(self._handshake_timeout)
            # Without `full` the first is unknown to FreeSWITCH and the disconnect notice tells of the end.
            call.request(commands.linger(int(self._refusal_timeout) + 1))
            call.request(commands.my_events("json"))
            call.request(commands.hang_up(self._refusal_cause)).get(self._refusal_timeout)
            call.wait_over(self._refusal_timeout)
        call.stop()
