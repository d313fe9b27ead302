"""A pretend HTTP service, as strict or as broken as a test wants it. Vendors' services are made of it.

    server = PretendHttp(); server.route("POST", "/v1/chat/completions", handler); server.start()
    handler(request) -> Reply(...)            body: bytes, or an iterator of pieces that go out as they come

What it was asked is in ``requests``. Faults of the wire are ordered with ``server.faults.append(Fault(...))``: each
strikes one request. WebSocket services use ``pretend_websocket``, a ``websockets`` server.
"""

from __future__ import annotations

import json
import socket as sockets
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import gevent
from gevent.event import Event
from gevent.server import StreamServer
from gevent.socket import wait_read
from websockets.sync.server import Server, ServerConnection, serve

from esl_agent.providers.sockets import ClosedByItsReader

_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    connection: int
    """Which connection it came on; equal numbers mean that it was kept."""

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    body: bytes | Iterable[bytes] = b""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, **headers: str) -> Reply:
        shown = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(json.dumps(value, ensure_ascii=False).encode(), status, headers=shown)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request."""

    before: float = 0.0
    """Seconds of silence before the head of the answer; ``FOREVER`` for a stall."""
    after_first: float = 0.0
    """Seconds of silence after the first piece of the body."""
    instead: Reply | None = None
    """Answered in place of what the handler would have said."""
    close_before: bool = False
    """The connection ends without an answer."""
    close_after: int | None = None
    """The connection ends after so many bytes of the body."""
    reset: bool = False
    """... with a reset rather than politely."""


FOREVER = 3600.0
Handler = Callable[[Request], Reply]


class PretendHttp:
    """HTTP/1.1 with kept connections and chunked answers, on 127.0.0.1. Used as a context manager it is started and
    stopped. ``tls``: (certificate file, key file)."""

    def __init__(self, tls: tuple[str, str] | None = None) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.open_connections = 0
        self._routes: dict[tuple[str, str], Handler] = {}
        self._connections = 0
        context = None
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
        options = {"ssl_context": context} if context else {}
        self._server = StreamServer(("127.0.0.1", 0), self._serve, **options)
        self._scheme = "https" if context else "http"

    def route(self, method: str, path: str, handler: Handler) -> None:
        """``path`` without its query; one that ends in ``*`` is the beginning of those it answers."""
        self._routes[(method, path)] = handler

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop(timeout=0.1)

    def __enter__(self) -> PretendHttp:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    # One connection

    def _serve(self, connection: Any, address: Any) -> None:
        self._connections += 1
        number = self._connections
        self.open_connections += 1
        stream = connection.makefile("rb")
        try:
            while (request := _read(stream, number)) is not None:
                self.requests.append(request)
                if not self._answer(connection, request):
                    return
        except OSError:
            return
        finally:
            self.open_connections -= 1
            stream.close()  # as long as it is open, so is the connection
            connection.close()

    def _answer(self, connection: Any, request: Request) -> bool:
        """Whether the connection goes on."""
        fault = self.faults.pop(0) if self.faults else Fault()
        if fault.before and _is_left(connection, fault.before):
            return False
        if fault.close_before:
            _hang_up(connection, fault.reset)
            return False
        reply = fault.instead or self._handled(request)
        is_whole = isinstance(reply.body, bytes) and fault.close_after is None and not fault.after_first
        head = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Other')}", f"Content-Type: {reply.content_type}"]
        head += [f"{name}: {value}" for name, value in reply.headers.items()]
        head.append(f"Content-Length: {len(reply.body)}" if is_whole else "Transfer-Encoding: chunked")  # type: ignore[arg-type]
        connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
        if request.method == "HEAD":
            return True
        if is_whole:
            connection.sendall(reply.body)
            return True
        left = fault.close_after
        for number, piece in enumerate(_pieces(reply.body)):
            if number == 1 and fault.after_first and _is_left(connection, fault.after_first):
                return False
            if left is not None and len(piece) >= left:
                _chunk(connection, piece[:left])
                _hang_up(connection, fault.reset)
                return False
            _chunk(connection, piece)
            left = None if left is None else left - len(piece)
        connection.sendall(b"0\r\n\r\n")
        return True

    def _handled(self, request: Request) -> Reply:
        handler = self._routes.get((request.method, request.path))
        if handler is None:
            beginnings = [
                (path[:-1], each) for (method, path), each in self._routes.items()
                if method == request.method and path.endswith("*")
            ]  # fmt: skip
            handler = next((each for beginning, each in beginnings if request.path.startswith(beginning)), None)
        if handler is None:
            is_known = any(path == request.path for _, path in self._routes)
            return Reply.json({"detail": "Method Not Allowed" if is_known else "Not Found"}, 405 if is_known else 404)
        return handler(request)


def _read(stream: Any, connection: int) -> Request | None:
    line = stream.readline(65536).decode("latin-1").strip()
    if not line:
        return None
    method, target, _ = line.split(" ", 2)
    headers: dict[str, str] = {}
    while text := stream.readline(65536).decode("latin-1").strip():
        name, _, value = text.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int(stream.readline(100).split(b";")[0], 16):
            body += stream.read(size)
            stream.readline(10)
        stream.readline(10)
    else:
        body = stream.read(int(headers.get("content-length", 0)))
    parts = urlsplit(target)
    return Request(method, parts.path, parse_qs(parts.query, keep_blank_values=True), headers, body, connection)


def _pieces(body: bytes | Iterable[bytes]) -> Iterator[bytes]:
    if isinstance(body, bytes):
        half = max(1, len(body) // 2)
        body = [body[:half], body[half:]]
    yield from filter(None, body)


def _chunk(connection: Any, piece: bytes) -> None:
    if piece:
        connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")


def _is_left(connection: Any, seconds: float) -> bool:
    """Say nothing for so long; whether the client has closed meanwhile."""
    try:
        wait_read(connection.fileno(), timeout=seconds)
    except TimeoutError:
        return False
    return True


def _hang_up(connection: Any, reset: bool) -> None:
    if reset:
        connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    else:
        connection.shutdown(sockets.SHUT_WR)


class _Connection(ClosedByItsReader, ServerConnection):
    pass


class PretendWebSocket:
    """A WebSocket service on 127.0.0.1: ``handler(connection)`` serves one, and its return closes it.

    ``refuse``: (status, body) that the next handshake is answered with. ``connections`` counts handshakes.
    """

    def __init__(self, handler: Callable[[ServerConnection], None], *, port: int = 0, **options: Any) -> None:
        """``port`` 0: one that is free."""
        self.connections = 0
        self.open_connections = 0
        self.refuse: tuple[int, bytes] | None = None
        self.before = 0.0
        """Seconds before a handshake is answered."""
        self._handler = handler
        self._stopping = Event()
        self._server: Server = serve(
            self._serve,
            "127.0.0.1",
            port,
            process_request=self._admit,
            max_size=2**24,
            compression=None,
            create_connection=_Connection,
            **options,
        )

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"

    def start(self) -> None:
        gevent.spawn(self._accept)

    def _accept(self) -> None:
        """In place of ``serve_forever``, whose selector goes on watching a socket that was closed: under gevent the
        next socket with the same number is then never ready. Since websockets 17 ``shutdown`` waits for the threads of
        ``handler_threads``, and for ``socket_closed``."""
        server: Any = self._server
        while True:
            try:
                taken, address = server.socket.accept()
            except OSError:  # stopped
                break
            thread = threading.Thread(target=server.handler, args=(taken, address))
            if hasattr(server, "handler_threads"):
                with server.lock:
                    server.handler_threads.add(thread)
            thread.start()
        if hasattr(server, "socket_closed"):
            server.socket_closed.set()

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()

    def __enter__(self) -> PretendWebSocket:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _admit(self, connection: ServerConnection, request: Any) -> Any:
        self.connections += 1
        if self.before:
            self._stopping.wait(self.before)
        if self.refuse is not None:
            (status, body), self.refuse = self.refuse, None
            response = connection.respond(status, body.decode())
            return response
        return None

    def _serve(self, connection: ServerConnection) -> None:
        self.open_connections += 1
        try:
            self._handler(connection)
        finally:
            self.open_connections -= 1


def drop(connection: ServerConnection) -> None:
    """End a WebSocket without a close frame, as a crashed server does."""
    connection.socket.shutdown(sockets.SHUT_RDWR)
