"""An inbound event socket connection: we connect to FreeSWITCH, log in and ask, as ``fs_cli`` does.

FreeSWITCH speaks first: ``auth/request``, or ``text/rude-rejection`` for an address that its list does not allow. It
answers a wrong password with ``-ERR invalid`` and goodbye. Source: mod_event_socket.c ``listener_run``; replies seen.
"""

from __future__ import annotations

import socket
from types import TracebackType

import gevent
from gevent import socket as gevent_socket
from gevent.event import AsyncResult

from esl_agent.errors import CommandRefused, CommandTimeout, LegClosed, LegError
from esl_agent.legs.esl_link import Link, Pending
from esl_agent.wire import esl
from esl_agent.wire import esl_commands as commands

#: Seconds for each step on the way in: to connect, to be greeted, to be let in.
LOGIN_TIMEOUT = 5.0
#: Seconds for the answer to a question.
API_TIMEOUT = 5.0


class InboundError(LegError):
    """FreeSWITCH's event socket does not let us in: ``seen`` is what happened, ``cure`` what to do."""

    def __init__(self, seen: str, cure: str) -> None:
        super().__init__(f"{seen}; {cure}")
        self.seen = seen
        self.cure = cure


class NotReachable(InboundError):
    """Nobody accepts connections at that address."""


class NotAllowed(InboundError):
    """FreeSWITCH's network list refuses our address."""


class WrongPassword(InboundError):
    """FreeSWITCH refuses our password."""


class NotAnEventSocket(InboundError):
    """Somebody accepts connections there and does not behave as an event socket."""


class EventSocket:
    """A connection that is logged in. Use it as a context manager, or ``close`` it."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.peer = peer
        self._first: AsyncResult = AsyncResult()
        self._link = Link(sock, peer=peer, on_frame=self._on_frame, on_closed=self._on_closed)

    def log_in(self, password: str, timeout: float = LOGIN_TIMEOUT) -> None:
        """Wait to be asked for the password, and give it. Raises InboundError and closes if that fails."""
        try:
            self._await_greeting(timeout)
            self._link.request(commands.auth(password), timeout=timeout).get()
        except CommandRefused as error:
            self.close()
            raise WrongPassword(
                f"{self.peer} refuses the password ({error.reply})",
                "give the password of event_socket.conf.xml in the environment variable of event_socket.password_env "
                "or the file of event_socket.password_file",
            ) from None
        except (CommandTimeout, LegClosed) as error:
            self.close()
            raise NotAnEventSocket(
                f"{self.peer} asked for a password and then: {error}", "look at FreeSWITCH's log, and try again"
            ) from None
        except LegError:
            self.close()
            raise

    def api(self, name: str, *arguments: str, timeout: float = API_TIMEOUT) -> str:
        """What the API command prints, without its last newline.

        Raises CommandRefused for ``-ERR`` and ``-USAGE`` (also for no output at all: ``-ERR no reply``),
        CommandTimeout, LegClosed, and UnsafeText before anything is sent.
        """
        return self.ask(name, *arguments, timeout=timeout).get().text

    def ask(self, name: str, *arguments: str, timeout: float = API_TIMEOUT) -> Pending:
        """As ``api``, but returns at once; ``get()`` waits for the Reply. For many questions in one go."""
        return self._link.request(commands.api(name, *arguments), timeout=timeout)

    def close(self) -> None:
        """End the connection. Idempotent, never raises."""
        self._link.close("closed by us")

    def __enter__(self) -> EventSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _await_greeting(self, timeout: float) -> None:
        hint = "event_socket.host and .port must be those of FreeSWITCH's event_socket.conf.xml"
        if not self._first.wait(timeout):
            raise NotAnEventSocket(
                f"{self.peer} takes the connection and sends no auth/request within {timeout:g} s", hint
            )
        first = self._first.get()
        if isinstance(first, esl.Disconnect):
            said = first.body.decode("utf-8", "replace").strip()
            raise NotAllowed(
                f"{self.peer} refuses this machine's address ({said})",
                "add the address to the list that apply-inbound-acl of event_socket.conf.xml names, then "
                "fs_cli -x reloadxml and fs_cli -x reloadacl",
            )
        if not isinstance(first, esl.AuthRequest):
            raise NotAnEventSocket(f"{self.peer} is no event socket: {first}", hint)

    def _on_frame(self, frame: esl.Frame) -> None:
        if not self._first.ready():
            self._first.set(frame)

    def _on_closed(self, reason: str) -> None:
        if not self._first.ready():
            self._first.set(reason)


def connect(host: str, port: int, password: str, timeout: float = LOGIN_TIMEOUT) -> EventSocket:
    """A connection that is logged in. Blocks cooperatively, ``timeout`` seconds at most for each step.

    Raises NotReachable, NotAllowed, WrongPassword or NotAnEventSocket.
    """
    peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    cure = (
        "is FreeSWITCH running and mod_event_socket loaded? event_socket.host and .port must be listen-ip and "
        "listen-port of FreeSWITCH's event_socket.conf.xml"
    )
    try:
        # Covers the look-up of a name too, which a socket's own timeout does not.
        with gevent.Timeout(timeout, NotReachable(f"{peer} does not answer within {timeout:g} s", cure)):
            sock = gevent_socket.create_connection((host, port))
    except OSError as error:
        raise NotReachable(f"{peer} cannot be reached: {error.strerror or error}", cure) from None
    events = EventSocket(sock, peer)
    events.log_in(password, timeout)
    return events
