"""WebSockets to providers: one socket, both directions at once, and sockets that wait for their next use.

    socket = open_socket("stt", url, headers={"Authorization": f"Token {key}"}, secrets=(key,))
    with Sending(socket, messages_for(audio)):
        for message in socket.messages(patience=10.0): ...

The ``websockets`` library does the protocol; under gevent its threads are greenlets. Everything raised is a
``ProviderError``.
"""

from __future__ import annotations

import logging
import socket as sockets
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from socket import IPPROTO_TCP, SHUT_RDWR
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from esl_agent.errors import Blame, ProviderError, Stage
from esl_agent.providers.account import shown
from esl_agent.providers.at_once import sent_at_once, write_of
from esl_agent.providers.http import MAX_TOLD, RETRYABLE, one_line, retry_after
from esl_agent.providers.outgoing import trusting
from esl_agent.providers.quotes import told
from esl_agent.secret import scrubbed

T = TypeVar("T")

#: Bytes of one message: an item echoed back with its audio was seen at 3.4 MB, the vendors' SDKs allow 16.
MAX_MESSAGE = 16 * 1024 * 1024
#: Seconds that the closing handshake may take.
CLOSE = 1.0
#: Close codes after which the same request may succeed: a plain end before the answer, going away, internal error, try
#: again later.
_PASSING = frozenset({1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014})
#: tcp(7): how long what was sent may wait to be acknowledged, or for room on the other side. Linux has it.
_USER_TIMEOUT: int | None = getattr(sockets, "TCP_USER_TIMEOUT", None)
_LOCAL = ("localhost", "127.0.0.1", "::1")
#: What the library has to say: headers with keys in them, tracebacks for sockets that are closed while sound comes in.
#: What matters of it is raised.
_QUIET = logging.getLogger(f"{__name__}.quiet")
_QUIET.setLevel(logging.CRITICAL + 1)


class ClosedByItsReader:
    """For a ``websockets`` connection under gevent: only the thread that reads closes the socket.

    gevent's selectors end the process (an assertion of libev) when a file is closed that somebody still selects on,
    and the library closes from whichever thread comes first.
    """

    def close_socket(self: Any) -> None:
        """Others only shut it down, which its reader notices, and let him go on if his queue is full."""
        reader = self.recv_events_thread
        if threading.current_thread() is reader or not reader.is_alive():
            super().close_socket()  # type: ignore[misc]
            return
        _shut_down(self.socket)
        self.recv_messages.close()


class _Connection(ClosedByItsReader, ClientConnection):
    def handshake(self, *args: Any, **options: Any) -> None:
        """Who is killed meanwhile leaves no socket behind; the library thinks of Exceptions only."""
        try:
            super().handshake(*args, **options)
        except BaseException:
            self.close_socket()
            raise


def _shut_down(socket: Any) -> None:
    try:
        socket.shutdown(SHUT_RDWR)
    except OSError:  # it was
        return


def open_socket(
    stage: Stage,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
    subprotocols: Sequence[str] = (),
    ca_file: str = "",
    timeout: float = 3.0,
    ping: tuple[float, float] = (20.0, 20.0),
    unread: float = 0.0,
) -> ProviderSocket:
    """Connect. ``timeout``: seconds for TCP, TLS and the handshake together. ``secrets`` never appear in an error.
    ``ping``: seconds between two pings, and until one has to be answered. ``unread``: seconds that the other side may
    read nothing of what was sent, after which it counts as gone; 0: as long as the system allows."""
    kept = tuple(secrets)
    parts = urlsplit(url)
    where = shown(url)
    tls: ssl.SSLContext | None = trusting(ca_file) if parts.scheme == "wss" else None
    open_until = ExitStack()
    try:
        made = connect(
            url,
            additional_headers=dict(headers or {}),
            subprotocols=[Subprotocol(each) for each in subprotocols] or None,
            ssl=tls,
            open_timeout=timeout,
            close_timeout=CLOSE,
            max_size=MAX_MESSAGE,
            ping_interval=ping[0],
            ping_timeout=ping[1],
            compression=None,
            proxy=None if parts.hostname in _LOCAL else True,
            user_agent_header="esl-agent",
            create_connection=_Connection,
            logger=_QUIET,
        )
        connection = open_until.enter_context(made)
        if unread and _USER_TIMEOUT is not None:
            connection.socket.setsockopt(IPPROTO_TCP, _USER_TIMEOUT, int(unread * 1000))
    except InvalidStatus as error:
        raise _refused(stage, where, error, kept) from None
    except (WebSocketException, OSError, TimeoutError, ValueError) as error:  # a ValueError: no address
        is_setup = isinstance(error, InvalidURI | ValueError) or "CERTIFICATE_VERIFY_FAILED" in str(error)
        text = scrubbed(f"{type(error).__name__}: {error}".replace(url, where), kept)
        raise ProviderError(
            stage, f"{where}: {text}"[:MAX_TOLD], retryable=not is_setup, blame="setup" if is_setup else "service"
        ) from None
    return ProviderSocket(stage, where, connection, open_until, kept)


def _refused(stage: Stage, where: str, error: InvalidStatus, secrets: tuple[str, ...]) -> ProviderError:
    response = error.response
    code, message = told((response.body or b"").decode("utf-8", "replace"))
    status = response.status_code
    blame: Blame = "service" if status in RETRYABLE or status >= 500 else "setup"
    shown = one_line(scrubbed(f"HTTP {status} {code} {message}", secrets))
    return ProviderError(
        stage,
        f"{where}: {shown}"[:MAX_TOLD],
        retryable=blame == "service",
        retry_after=retry_after(dict(response.headers.raw_items()), time.time()),
        blame=blame,
    )


class ProviderSocket:
    """One open WebSocket. One thread receives; any may send."""

    def __init__(
        self, stage: Stage, where: str, connection: ClientConnection, open_until: ExitStack, secrets: tuple[str, ...]
    ) -> None:
        """``open_until``: its end closes the connection, which is how the library wants it."""
        self.stage: Stage = stage
        self.where = where
        self.closed_with: tuple[int, str] | None = None
        """Code and reason (outside text) once the other side has closed."""
        self._connection = connection
        self._open_until = open_until
        self._secrets = secrets
        self._write = write_of(connection.socket)

    def send(self, message: str | bytes) -> None:
        """Text or binary. Waits while the other side does not read."""
        try:
            if not sent_at_once(self._connection, self._write, message):
                self._connection.send(message)
        except ConnectionClosed as closed:
            raise self._ended(closed) from None
        except (WebSocketException, OSError) as error:
            raise self.error(f"{type(error).__name__}: {error}") from None

    def receive(self, patience: float | None = None) -> str | bytes | None:
        """The next message; None when the other side closed without complaint (1000, 1005). Raises ProviderError for
        any other end, and after ``patience`` seconds without a message."""
        try:
            return self._connection.recv(patience)
        except TimeoutError:
            raise self.error(f"no message for {patience:g} s") from None
        except ConnectionClosed as closed:
            ended = self._ended(closed)
            if self.closed_with is not None and self.closed_with[0] in (1000, 1005):
                return None
            raise ended from None
        except (WebSocketException, OSError) as error:
            raise self.error(f"{type(error).__name__}: {error}") from None

    def messages(self, patience: float | None = None) -> Iterator[str | bytes]:
        """Messages until the other side closes without complaint; else as ``receive``."""
        while (message := self.receive(patience)) is not None:
            yield message

    def close(self) -> None:
        """Idempotent, never raises; takes at most CLOSE seconds or little more."""
        self._free_sender()
        try:
            self._open_until.close()
        except (WebSocketException, OSError):
            return

    @property
    def is_open(self) -> bool:
        """Whether neither side has begun to close it, as far as is known."""
        return self._connection.state is State.OPEN

    def _free_sender(self) -> None:
        """A thread that sends to somebody who does not read holds the lock that closing needs, for ever."""
        lock = self._connection.protocol_mutex
        if lock.acquire(timeout=CLOSE / 2):
            lock.release()
            return
        _shut_down(self._connection.socket)

    def close_soon(self) -> None:
        """``close`` without waiting for the other side to agree."""
        threading.Thread(target=self.close, name="provider closing", daemon=True).start()

    def error(self, message: str, *, retryable: bool = True, blame: Blame = "service") -> ProviderError:
        """A ProviderError about this socket."""
        shown = one_line(scrubbed(message, self._secrets))[:MAX_TOLD]
        return ProviderError(self.stage, f"{self.where}: {shown}", retryable=retryable, blame=blame)

    def _ended(self, closed: ConnectionClosed) -> ProviderError:
        code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "no close frame")
        self.closed_with = (code, reason)
        is_passing = code in _PASSING
        return self.error(
            f"closed with {code} {reason}", retryable=is_passing, blame="service" if is_passing else "request"
        )


class Sending:
    """Sends ``messages`` from a thread of its own while the block receives.

    ``messages`` may block as long as it likes; it has to end once nobody wants it any more. If it fails, the socket is
    closed, so that nothing more is received, and leaving the block raises its error. Leaving the block does not wait
    for the thread.
    """

    def __init__(self, socket: ProviderSocket, messages: Iterable[str | bytes]) -> None:
        self._socket = socket
        self._messages = messages
        self._is_wanted = True
        self._failed: ProviderError | None = None
        self._thread = threading.Thread(target=self._run, name="provider sending", daemon=True)

    def __enter__(self) -> Sending:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_wanted = False
        if self._failed is not None and (error is None or isinstance(error, ProviderError)):
            raise self._failed from None

    def _run(self) -> None:
        try:
            for message in self._messages:
                if not self._is_wanted:
                    return
                self._socket.send(message)
        except ProviderError as error:
            if self._socket.closed_with is None:
                self._failed = error
            self._socket.close()


class SpareSockets:
    """Sockets that are open and wait for their next use, so that a clause or an utterance does not wait for TLS.

    ``take`` one, use it alone, then ``give_back`` it if the service lets it be used again, else ``close`` it.
    ``keep_alive``: what is sent to waiting sockets every ``every`` seconds; None: nothing. One that waited ``max_idle``
    seconds is closed (services count and bill open ones).
    """

    def __init__(
        self,
        open: Callable[[], ProviderSocket],
        *,
        max_idle: float,
        keep: int = 20,
        keep_alive: str | None = None,
        every: float = 4.0,
    ) -> None:
        self._open = open
        self._max_idle = max_idle
        self._keep = keep
        self._keep_alive = keep_alive
        self._every = every
        self._waiting: deque[tuple[float, ProviderSocket]] = deque()
        # Threads meet here: whoever takes, gives back, and keeps alive. Nothing waits while holding it.
        self._lock = threading.Lock()
        self._tender: threading.Thread | None = None

    def take(self) -> tuple[ProviderSocket, bool]:
        """A socket, and whether it has waited: one that did may turn out to be dead at its first use, and then a new
        one is worth a try. Those known to be closed are passed over. Raises ProviderError."""
        while True:
            with self._lock:
                found = self._waiting.pop()[1] if self._waiting else None
            if found is None:
                return self._open(), False
            if found.is_open:
                return found, True
            found.close()

    def used(self, use: Callable[[ProviderSocket], Generator[T, None, None]]) -> Generator[T, None, None]:
        """What ``use`` yields of a socket that it closes or gives back itself. If one that had waited turns out to be
        dead before it gave anything, of a new one: nobody but the socket was at fault. A service's refusal is not."""
        socket, has_waited = self.take()
        is_begun = False
        try:
            with closing(use(socket)) as pieces:
                for piece in pieces:
                    is_begun = True
                    yield piece
            return
        except ProviderError as error:
            if is_begun or not has_waited or error.status:
                raise
        with closing(use(self._open())) as pieces:
            yield from pieces

    def give_back(self, socket: ProviderSocket) -> None:
        """It may be used again; nothing that belongs to its last use will come any more."""
        with self._lock:
            is_kept = len(self._waiting) < self._keep
            if is_kept:
                self._waiting.append((time.monotonic(), socket))
                self._tend()
        if not is_kept:
            socket.close()

    def warm(self) -> None:
        """Have one ready, in a thread. Whatever goes wrong is found out when it is needed."""

        def open_one() -> None:
            try:
                self.give_back(self._open())
            except ProviderError:
                return

        with self._lock:
            if self._waiting:
                return
        threading.Thread(target=open_one, name="provider warming", daemon=True).start()

    def close(self) -> None:
        """Close those that wait."""
        with self._lock:
            waiting = [socket for _, socket in self._waiting]
            self._waiting.clear()
        for socket in waiting:
            socket.close()

    def _tend(self) -> None:
        if self._tender is None:
            self._tender = threading.Thread(target=self._run, name="provider spare sockets", daemon=True)
            self._tender.start()

    def _run(self) -> None:
        """Until none waits."""
        while True:
            time.sleep(self._every)
            with self._lock:
                oldest = time.monotonic() - self._max_idle
                old = [socket for since, socket in self._waiting if since <= oldest]
                self._waiting = deque((since, socket) for since, socket in self._waiting if since > oldest)
                kept = [socket for _, socket in self._waiting]
                if not kept:
                    self._tender = None
            for socket in old:
                socket.close()
            for socket in kept if self._keep_alive is not None else ():
                self._nudge(socket)
            if not kept:
                return

    def _nudge(self, socket: ProviderSocket) -> None:
        try:
            socket.send(self._keep_alive or "")
        except ProviderError:
            with self._lock:
                self._waiting = deque(each for each in self._waiting if each[1] is not socket)
            socket.close()
