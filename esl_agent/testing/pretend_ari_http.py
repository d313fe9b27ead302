"""The wire of the pretend ARI: HTTP with kept connections and the events' WebSocket on one port."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from socket import SHUT_RDWR
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import gevent
from gevent.server import StreamServer
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

_REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 409: "Conflict"}


class Refusal(Exception):
    """What is asked is refused."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    target: str
    """As it came."""
    path: tuple[str, ...]
    query: dict[str, list[str]]
    body: dict[str, Any]

    def of(self, name: str) -> str:
        """A parameter: ARI takes them from the query and from the body."""
        if name in self.query:
            return self.query[name][0]
        value = self.body.get(name, "")
        return value if isinstance(value, str) else ""

    def __str__(self) -> str:
        return f"{self.method} /{'/'.join(self.path)}"


@dataclass(slots=True)
class Trouble:
    """What goes wrong with requests. ``matches(asked)`` chooses them; ``times`` of them."""

    matches: Callable[[Asked], bool]
    status: int = 0
    """Refused with it, without effect."""
    before: float = 0.0
    """Seconds until anything happens."""
    after: float = 0.0
    """Seconds between what happens, with its events, and the reply."""
    drops: bool = False
    """The connection is closed in place of a reply; it has happened."""
    times: int = 1


class AriHttp:
    """Ask it what happened: ``asked``. Make it fail: ``troubles``, ``holds_events``, ``drop_events``, ``say``."""

    def __init__(self, user: str, password: str, tls: tuple[str, str] | None = None) -> None:
        """``tls``: files of certificate and key."""
        self.asked: list[Asked] = []
        self.troubles: list[Trouble] = []
        self.connections = 0
        self.handshakes = 0
        self.refuse_events = 0
        """Handshakes of the events' WebSocket that are refused with 503."""
        self.held: list[dict[str, Any]] | None = None
        """A list: events wait in it for ``release``."""
        self.allowed: set[str] | None = None
        self.is_deaf = False
        """Pings are not answered."""
        self.pings = 0
        """Those that were."""
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._events: tuple[Any, ServerProtocol] | None = None
        options = {}
        if tls is not None:
            options["ssl_context"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            options["ssl_context"].load_cert_chain(*tls)
        self._scheme = "https" if tls else "http"
        self._server = StreamServer(("127.0.0.1", 0), self._serve, **options)

    def __enter__(self) -> Any:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.drop_events()
        self._server.stop(timeout=0.1)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    @property
    def is_connected(self) -> bool:
        """Whether somebody listens to the application's events."""
        return self._events is not None

    def asked_for(self, text: str) -> list[Asked]:
        """Requests whose ``METHOD /path`` holds ``text``."""
        return [each for each in self.asked if text in str(each)]

    def answer(self, asked: Asked) -> Any:
        raise NotImplementedError

    # Events

    def emit(self, event: dict[str, Any]) -> None:
        if self.allowed is not None and event["type"] not in self.allowed:
            return
        if self.held is not None:
            self.held.append(event)
        else:
            self.say(json.dumps(event))

    def release(self, order: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = list) -> None:
        """Events that were held go out, and those to come at once."""
        held, self.held = self.held or [], None
        for event in order(held):
            self.say(json.dumps(event))

    def say(self, text: str | bytes) -> None:
        """Send a message, whatever it is."""
        if self._events is None:
            return
        sock, protocol = self._events
        if isinstance(text, str):
            protocol.send_text(text.encode())
        else:
            protocol.send_binary(text)
        self._flush(sock, protocol)

    def drop_events(self) -> None:
        """The events' connection breaks, without a word."""
        if self._events is not None:
            (sock, _), self._events = self._events, None
            with suppress(OSError):
                sock.shutdown(SHUT_RDWR)

    # Connections

    def _serve(self, sock: Any, address: Any) -> None:
        self.connections += 1
        stream = sock.makefile("rb")
        try:
            while head := _head(stream):
                if b"upgrade: websocket" in head.lower():
                    self._serve_events(sock, head)
                    return
                if not self._serve_request(sock, stream, head):
                    return
        except OSError:
            return
        finally:
            stream.close()
            sock.close()

    def _serve_request(self, sock: Any, stream: Any, head: bytes) -> bool:
        """Whether the connection goes on."""
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        method, target, _ = first.split(" ", 2)
        fields = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        body = stream.read(int(headers.get("content-length", 0)))
        parts = urlsplit(target)
        path = tuple(unquote(each) for each in parts.path.removeprefix("/ari/").split("/"))
        asked = Asked(method, target, path, parse_qs(parts.query), json.loads(body) if body else {})
        if headers.get("authorization") != self._authorization:
            return self._reply(sock, 401, {"message": "Authentication required"})
        self.asked.append(asked)
        trouble = self._trouble(asked)
        gevent.sleep(trouble.before)
        try:
            if trouble.status:
                raise Refusal(trouble.status, "as the test wants it")
            value, status = self.answer(asked), 200
        except Refusal as refusal:
            value, status = {"message": refusal.message}, refusal.status
        gevent.sleep(trouble.after)
        if trouble.drops:
            return False
        return self._reply(sock, 204 if value is None else status, value)

    def _trouble(self, asked: Asked) -> Trouble:
        for trouble in self.troubles:
            if trouble.times and trouble.matches(asked):
                trouble.times -= 1
                return trouble
        return Trouble(lambda _: True)

    def _reply(self, sock: Any, status: int, value: Any) -> bool:
        body = b"" if value is None else json.dumps(value).encode()
        head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Other')}\r\nContent-type: application/json\r\n"
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return True

    def _serve_events(self, sock: Any, head: bytes) -> None:
        protocol = ServerProtocol()
        protocol.receive_data(head)
        request = next(each for each in protocol.events_received() if isinstance(each, Request))
        self.handshakes += 1
        if request.headers.get("Authorization") != self._authorization:
            protocol.send_response(protocol.reject(401, '{"message":"Authentication required"}'))
        elif self.refuse_events:
            self.refuse_events -= 1
            protocol.send_response(protocol.reject(503, "not now"))
        else:
            protocol.send_response(protocol.accept(request))
        self._flush(sock, protocol)
        if protocol.state is not State.OPEN:
            return
        if self._events is not None:
            self.say(json.dumps({"type": "ApplicationReplaced", "application": "esl_agent"}))
        mine = self._events = (sock, protocol)
        try:
            while data := sock.recv(65536):
                if self.is_deaf:
                    continue
                protocol.receive_data(data)
                self._flush(sock, protocol)
                codes = [getattr(each, "opcode", None) for each in protocol.events_received()]
                self.pings += codes.count(Opcode.PING)
                if Opcode.CLOSE in codes:
                    return
        finally:
            if self._events is mine:
                self._events = None

    def _flush(self, sock: Any, protocol: ServerProtocol) -> None:
        for data in protocol.data_to_send():
            if data:
                sock.sendall(data)


def _head(stream: Any) -> bytes:
    head = bytearray()
    while line := stream.readline(65536):
        head += line
        if line == b"\r\n":
            return bytes(head)
    return b""
