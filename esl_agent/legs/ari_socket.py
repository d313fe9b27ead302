"""The WebSocket that ARI's events come through, read by one greenlet from its opening to its end.

The protocol is websockets' own, without its threads: whoever reads this socket is the one that closes it.
"""

from __future__ import annotations

import base64
import logging
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import gevent
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from esl_agent.errors import ConfigError, LegClosed, LegError
from esl_agent.wire.ari import MAX_EVENT

#: Seconds between pings; as many again without a word from Asterisk are its end.
PING_SECONDS = 15.0
_RECEIVE_BYTES = 65536
#: What the library has to say: headers, and our password is one.
_QUIET = logging.getLogger(f"{__name__}.quiet")
_QUIET.setLevel(logging.CRITICAL + 1)


class Unauthorized(LegError):
    """Asterisk does not know the user, or the password is another one."""


def basic(user: str, password: str) -> str:
    """RFC 7617. Asterisk takes it for the events' WebSocket, too (http.c, ast_http_get_auth)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def trusting(ca_file: str) -> ssl.SSLContext:
    """Whom to trust: the machine's authorities, or those of ``ca_file`` (PEM) alone. Raises ConfigError."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise ConfigError([f"cannot read certificates from {ca_file!r}: {error.strerror or error}"]) from None


def read_events(
    url: str,
    authorization: str,
    opened: Callable[[], None],
    received: Callable[[str], None],
    *,
    tls: ssl.SSLContext | None,
    timeout: float,
    ping: float = PING_SECONDS,
) -> None:
    """Connect to ``url`` (``http://...``), call ``opened``, then ``received`` with every text message. Returns by
    raising LegError: at its end, or when it could not be had within ``timeout`` seconds. Neither callback may block."""
    parts = urlsplit(url)
    with gevent.Timeout(timeout, LegError(f"no connection within {timeout:g} s")):
        try:
            sock = _connected(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), timeout)
            if tls is not None:
                sock = _encrypted(sock, tls, parts.hostname or "")
        except OSError as error:
            raise LegError(f"cannot connect: {error.strerror or error}") from None
    events = _Events(sock, url, authorization, opened, received, ping)
    try:
        events.run(timeout)
    except OSError as error:
        raise LegClosed(f"connection lost: {error.strerror or error}") from None
    finally:
        events.say_goodbye()
        with suppress(OSError):
            sock.close()


def _connected(host: str, port: int, timeout: float) -> socket.socket:
    sock = socket.create_connection((host, port), timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _encrypted(sock: socket.socket, tls: ssl.SSLContext, name: str) -> socket.socket:
    try:
        return tls.wrap_socket(sock, server_hostname=name)
    except BaseException:
        sock.close()
        raise


class _Events:
    def __init__(
        self,
        sock: socket.socket,
        url: str,
        authorization: str,
        opened: Callable[[], None],
        received: Callable[[str], None],
        ping: float,
    ) -> None:
        self._sock = sock
        self._protocol = ClientProtocol(parse_uri("ws" + url.removeprefix("http")), max_size=MAX_EVENT, logger=_QUIET)
        self._authorization = authorization
        self._opened = opened
        self._received = received
        self._ping = ping
        self._pieces: list[bytes] = []

    def run(self, timeout: float) -> None:
        request = self._protocol.connect()
        request.headers["Authorization"] = self._authorization
        self._protocol.send_request(request)
        self._flush()
        self._shake_hands(timeout)
        self._opened()
        self._sock.settimeout(self._ping)
        is_pinged = False
        while True:
            self._take()
            try:
                data = self._sock.recv(_RECEIVE_BYTES)
            except TimeoutError:
                if is_pinged:
                    raise LegClosed(f"nothing for {2 * self._ping:g} s, not even an answer to a ping") from None
                is_pinged = True
                self._protocol.send_ping(b"")
                self._flush()
                continue
            is_pinged = False
            self._feed(data)

    def _shake_hands(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            self._sock.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self._sock.recv(_RECEIVE_BYTES)
            except TimeoutError:
                raise LegError(f"no WebSocket handshake within {timeout:g} s") from None
            self._feed(data, is_shaking=True)
        if (error := self._protocol.handshake_exc) is not None:
            if isinstance(error, InvalidStatus):
                raise _refusal(error.response)
            raise LegError("what answers is no WebSocket of ARI")

    def _feed(self, data: bytes, is_shaking: bool = False) -> None:
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._flush()
        is_closed = not data or self._protocol.state in (State.CLOSING, State.CLOSED)
        if is_closed and not is_shaking:
            self._take()
            code, reason = self._protocol.close_code, self._protocol.close_reason
            raise LegClosed(f"closed ({code}{f' {reason!r}' if reason else ''})")
        if not data and self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            raise LegClosed("closed before its handshake was answered")

    def _take(self) -> None:
        """Messages from their frames. Pings are answered by the protocol, and its limit counts for whole messages."""
        for event in self._protocol.events_received():
            if isinstance(event, Response) or not isinstance(event, Frame):
                continue
            if event.opcode in (Opcode.TEXT, Opcode.CONT):
                self._pieces.append(bytes(event.data))
                if event.fin:
                    message = b"".join(self._pieces).decode("utf-8", "replace")
                    self._pieces.clear()
                    self._received(message)

    def say_goodbye(self) -> None:
        """Without waiting for one; Asterisk warns in its log of those who leave without."""
        if self._protocol.state is State.OPEN:
            self._sock.settimeout(0)
            with suppress(OSError):
                self._protocol.send_close(1001)
                self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._sock.sendall(data)


def _refusal(response: Response) -> LegError:
    if response.status_code in (401, 403):
        return Unauthorized(f"refused with {response.status_code}: see user and password in ari.conf")
    if response.status_code == 404:
        return LegError("refused with 404: is http.conf enabled, and res_ari.so and res_ari_events.so loaded?")
    return LegError(f"refused with {response.status_code}")
