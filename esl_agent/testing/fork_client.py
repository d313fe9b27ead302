"""The WebSocket client of a pretend mod_audio_fork: handshake as captured, masked binary L16 frames.

The handshake and control frames go through websockets' sans-I/O protocol; binary frames are built here, because a
load generator sends hundreds of thousands of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent import socket
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from esl_agent.testing.fork_playout import ForkPlayout
from esl_agent.testing.line import LiveRate

SUBPROTOCOL = Subprotocol("audio.drachtio.org")
MASK = b"\x9b\x06\xa4\x05"


class ForkRefused(Exception):
    """``reason`` in mod_audio_fork's words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def binary_frame(payload: bytes) -> bytes:
    """One final, masked binary message. RFC 6455 5.2; the mask is constant, XOR over one big integer."""
    size = len(payload)
    if size < 126:
        head = bytes((0x82, 0x80 | size))
    elif size < 65536:
        head = b"\x82\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x82\xff" + size.to_bytes(8, "big")
    key = int.from_bytes((MASK * (size // 4 + 1))[:size], "big")
    return head + MASK + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")


class PreparedAudio:
    """Frames ready for the wire, shared by any number of calls; they repeat for ever.

    ``frames`` are 20 ms of PCM16 mono at the rate the agent will ask of the fork.
    """

    def __init__(self, frames: Sequence[bytes]) -> None:
        if not frames:
            raise ValueError("PreparedAudio needs at least one frame")
        self.frames = list(frames)
        self.wire = [binary_frame(frame) for frame in frames]


class Fork:
    """A fork as its call sees it: connecting, flowing or held."""

    __slots__ = ("at", "client", "flowing", "pending", "playout", "rerate", "watcher")

    def __init__(self) -> None:
        self.rerate: LiveRate | None = None
        self.playout: ForkPlayout | None = None
        self.client: ForkClient | None = None
        self.flowing = True
        self.pending: list[bytes] = []
        self.at = 0
        self.watcher: Any = None


class ForkClient:
    """One connected fork. ``fileno`` is readable when ``receive`` has something to do; nothing here blocks but
    ``connect``."""

    def __init__(self, sock: socket.socket, protocol: ClientProtocol) -> None:
        self.sock = sock
        self._protocol = protocol
        self._unsent = bytearray()
        self.dropped = 0
        self.plays = False
        self.is_open = True
        self._sound = bytearray()

    @classmethod
    def connect(cls, url: str, metadata: str, timeout: float = 10.0) -> ForkClient:
        """TCP, handshake and the metadata as first TEXT. Blocks its greenlet; ForkRefused says why not."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "wss" else 80)
        try:
            sock = socket.create_connection((host, port), timeout)
        except OSError as error:
            raise ForkRefused("Unable to connect") from error
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            protocol = ClientProtocol(parse_uri(url), subprotocols=[SUBPROTOCOL])
            protocol.send_request(_request(host, parts.path or "/", parts.query, protocol.key))
            sock.sendall(b"".join(protocol.data_to_send()))
            while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
                data = sock.recv(65536)
                if not data:
                    raise ForkRefused("read failed")
                protocol.receive_data(data)
                protocol.events_received()
        except OSError as error:
            sock.close()
            raise ForkRefused("read failed") from error
        except ForkRefused:
            sock.close()
            raise
        failure = protocol.handshake_exc
        if failure is not None:
            sock.close()
            status = failure.response.status_code if isinstance(failure, InvalidStatus) else 0
            raise ForkRefused("HS: ws upgrade unauthorized" if status == 401 else "HS: ws upgrade response not 101")
        client = cls(sock, protocol)
        sock.setblocking(False)
        if metadata:
            client.send_text(metadata)
        return client

    def send_audio(self, frame: bytes) -> None:
        """``frame`` as made by ``binary_frame``. Dropped and counted when the agent reads too slowly."""
        if self._unsent:
            self._flush()
            if len(self._unsent) > 1 << 20:
                self.dropped += 1
                return
            self._unsent += frame
            return
        self._send(frame)

    def send_text(self, text: str) -> None:
        self._protocol.send_text(text.encode())
        self._send(b"".join(self._protocol.data_to_send()))

    def close(self, text: str = "") -> None:
        """Say ``text`` if any, close with 1000 and let go."""
        if self.is_open:
            if text:
                self.send_text(text)
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(1000)
                self._send(b"".join(self._protocol.data_to_send()))
            self.is_open = False
            self._shut()

    def receive(self) -> list[str]:
        """The TEXT messages that arrived; ``is_open`` is false after the far end closed. Binary waits for
        ``take_sound`` where ``plays`` is set, else it is discarded."""
        try:
            data = self.sock.recv(65536)
        except (BlockingIOError, TimeoutError):
            return []
        except OSError:
            data = b""
        if data:
            self._protocol.receive_data(data)
        texts = []
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                texts.append(bytes(event.data).decode("utf-8", "replace"))
            elif isinstance(event, Frame) and event.opcode is Opcode.BINARY and self.plays:
                self._sound += event.data
        answer = b"".join(self._protocol.data_to_send())
        if answer:
            self._send(answer)
        if not data or self._protocol.state is not State.OPEN:
            self.is_open = False
            self._shut()
        return texts

    def take_sound(self) -> bytes:
        """The binary messages that arrived, joined."""
        sound = bytes(self._sound)
        self._sound.clear()
        return sound

    def _send(self, data: bytes) -> None:
        if not self.is_open:
            return
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                sent = self.sock.send(self._unsent)
                del self._unsent[:sent]
        except (BlockingIOError, TimeoutError):
            return
        except OSError:
            self._unsent.clear()

    def _shut(self) -> None:
        gevent.spawn(self._linger)

    def _linger(self) -> None:
        """Give the last bytes and the close handshake a moment, as lws does, then let go of the socket."""
        try:
            self.sock.settimeout(1.0)
            if self._unsent:
                self.sock.sendall(bytes(self._unsent))
            self.sock.shutdown(socket.SHUT_WR)
            while self.sock.recv(4096):
                pass
        except OSError:
            pass
        finally:
            self.sock.close()


def _request(host: str, path: str, query: str, key: str) -> Request:
    """The request of mod_audio_fork (captured): Host without a port, no extensions, no User-Agent."""
    headers = Headers()
    for name, value in (
        ("Pragma", "no-cache"),
        ("Cache-Control", "no-cache"),
        ("Host", host),
        ("Origin", f"http://{host}"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Protocol", SUBPROTOCOL),
        ("Sec-WebSocket-Version", "13"),
    ):
        headers[name] = value
    return Request(f"{path}?{query}" if query else path, headers)
