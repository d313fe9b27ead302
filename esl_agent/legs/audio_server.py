"""The WebSocket server to which FreeSWITCH's mod_audio_fork brings the caller's sound.

One accept greenlet; each connection is read by a hub watcher without a greenlet of its own: a greenlet switch
costs more than the frame it is for (docs/decisions/audio-receive.md). A connection is let in by the one-time token
in its path, which names the call.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gevent import get_hub
from gevent.server import StreamServer

from esl_agent.audio.pcm import Reframer
from esl_agent.errors import WireError
from esl_agent.wire.websocket import AudioSocketProtocol, sound_message

log = logging.getLogger(__name__)

#: Bytes read per wake-up: two merged frames of the worst size seen (15 360 bytes).
READ_BYTES = 32768
#: Sound a peer may send ahead of the clock, in seconds, before max_seconds_per_second counts: a merged burst.
BURST_SECONDS = 5.0
#: A connection must have finished its handshake by then.
HANDSHAKE_SECONDS = 5.0
#: Handshakes under way at once; more are closed unread.
MAX_HANDSHAKES = 200


@dataclass(slots=True)
class Listener:
    """Who wants the sound of one connection. Callbacks run on the hub and must not block."""

    rate: int
    on_open: Callable[[Connection], None]
    on_frame: Callable[[bytes], None]
    on_text: Callable[[str], None]
    on_closed: Callable[[Connection, str], None]


class _Acceptor(StreamServer):
    """Hands accepted sockets over for good: a connection outlives the call of the handler, which runs on the hub."""

    def do_close(self, *_: Any) -> None:
        """The connection closes its own socket."""


class AudioServer:
    """Listens on ``address``; ``expect`` hands out the path at which a call's sound is awaited.

    ``max_seconds_per_second`` bounds how much sound a peer may send for each second that passes.
    """

    def __init__(self, address: tuple[str, int], max_message_bytes: int, max_seconds_per_second: float) -> None:
        self._server = _Acceptor(address, self._accept, backlog=1024, spawn=None)
        self._max_message_bytes = max_message_bytes
        self._max_rate = max_seconds_per_second
        self._expected: dict[str, Listener] = {}
        self._connections: set[Connection] = set()
        self._handshakes = 0
        self.refused = 0

    def start(self) -> None:
        self._server.start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it really listens (port 0 in the settings: the port the kernel chose)."""
        host, port = self._server.address[:2]
        return str(host), int(port)

    def expect(self, listener: Listener) -> str:
        """A one-time path for ``listener``. It stays valid until used or forgotten."""
        token = secrets.token_urlsafe(18)
        self._expected[token] = listener
        return f"/{token}"

    def forget(self, path: str) -> None:
        """The path is not awaited any more. Idempotent."""
        self._expected.pop(path.strip("/"), None)

    def stop(self) -> None:
        self._server.stop(timeout=0)
        for connection in list(self._connections):
            connection.close("the server stops")

    def _accept(self, sock: Any, peer: Any) -> None:
        if self._handshakes >= MAX_HANDSHAKES:
            self.refused += 1
            sock.close()
            return
        self._handshakes += 1
        Connection(self, sock, f"{peer[0]}:{peer[1]}" if peer else "local").start()

    def admit(self, path: str) -> Listener | None:
        """The listener that awaits ``path``; it is not awaited by anyone afterwards."""
        return self._expected.pop(path.split("?", 1)[0].strip("/"), None)

    def handshake_over(self) -> None:
        self._handshakes -= 1

    def joined(self, connection: Connection) -> None:
        self._connections.add(connection)

    def left(self, connection: Connection) -> None:
        self._connections.discard(connection)


class Connection:
    """One WebSocket. Lives on the hub: every method returns at once."""

    def __init__(self, server: AudioServer, sock: Any, peer: str) -> None:
        self._server = server
        self._sock = sock
        self.peer = peer
        self._listener: Listener | None = None
        self._protocol = AudioSocketProtocol(self._admit, server._max_message_bytes)
        self._reframer: Reframer | None = None
        self._bytes_per_second = 0.0
        self._received = 0
        self._allowed = 0.0
        self._opened_at = 0.0
        self._shaking = True
        self.is_closed = False
        loop = get_hub().loop
        self._watcher = loop.io(sock.fileno(), 1)
        self._timer = loop.timer(HANDSHAKE_SECONDS)

    def start(self) -> None:
        self._server.joined(self)
        self._timer.start(self._too_slow)
        self._watcher.start(self._readable)

    def close(self, reason: str, code: int = 1000) -> None:
        """Say goodbye to the peer and let go. Idempotent. ``on_closed`` is told once."""
        if self.is_closed:
            return
        self._protocol.close(code, reason[:100])
        self._flush()
        self._drop(reason)

    def send_sound(self, pcm: bytes) -> None:
        """One binary message to the peer, which plays it. A peer that does not read it in time is let go."""
        if not self.is_closed:
            self._write(sound_message(pcm))

    def _admit(self, path: str) -> bool:
        self._listener = self._server.admit(path)
        return self._listener is not None

    def _readable(self) -> None:
        try:
            data = self._sock._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._drop(f"connection lost: {error.strerror}")
            return
        if not data:
            self._drop("the peer closed the connection")
            return
        if (pcm := self._protocol.lone_frame(data)) is not None:
            self._on_sound(pcm)
            return
        try:
            messages = self._protocol.receive(data)
        except WireError as error:
            log.warning("audio from %s: %s", self.peer, error)
            self.close(str(error), 1002)
            return
        if self._shaking:
            self._after_handshake()
        for message in messages:
            self._on_message(message)
        if not self.is_closed:
            self._flush()
            if self._protocol.is_closing:
                self._drop(self._protocol.refused or "the peer closed the WebSocket")

    def _after_handshake(self) -> None:
        if self._protocol.refused is not None:
            self._server.refused += 1
            log.warning("audio from %s refused: %s", self.peer, self._protocol.refused)
        elif self._protocol.is_open and self._listener is not None:
            self._end_handshake()
            self._reframer = Reframer(self._listener.rate)
            self._bytes_per_second = self._listener.rate * 2.0
            self._opened_at = time.monotonic()
            self._allowed = BURST_SECONDS * self._bytes_per_second
            self._flush()  # the listener may send at once, and the handshake's answer comes first
            if not self.is_closed:
                self._listener.on_open(self)

    def _on_message(self, message: bytes | str) -> None:
        listener = self._listener
        if listener is None or self.is_closed:
            return
        if isinstance(message, str):
            for text in split_json(message):
                listener.on_text(text)
        else:
            self._on_sound(message)

    def _on_sound(self, pcm: bytes) -> None:
        listener, reframer = self._listener, self._reframer
        if listener is None or reframer is None:
            return
        self._received += len(pcm)
        if self._received > self._allowed and self._is_too_fast():
            log.warning("audio from %s: more than %g seconds of sound a second", self.peer, self._server._max_rate)
            self.close("too much sound", 1008)
            return
        for frame in reframer.feed(pcm):
            listener.on_frame(frame)

    def _is_too_fast(self) -> bool:
        """Allow what the time that passed allows; asked again when that is used up."""
        seconds = BURST_SECONDS + (time.monotonic() - self._opened_at) * self._server._max_rate
        self._allowed = seconds * self._bytes_per_second
        return self._received > self._allowed

    def _flush(self) -> None:
        """Control frames are a few bytes: a peer that does not even take those is gone."""
        if data := self._protocol.outgoing():
            self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            sent = self._sock._sock.send(data)
        except OSError as error:
            self._drop(f"cannot write: {error.strerror}")
        else:
            if sent < len(data):
                self._drop("cannot write: the peer does not read")

    def _too_slow(self) -> None:
        log.warning("audio from %s: no WebSocket handshake within %g s", self.peer, HANDSHAKE_SECONDS)
        self._drop("no handshake")

    def _end_handshake(self) -> None:
        if self._shaking:
            self._shaking = False
            self._server.handshake_over()
            self._timer.stop()
            self._timer.close()

    def _drop(self, reason: str) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self._end_handshake()
        self._watcher.stop()
        self._watcher.close()
        self._sock.close()
        self._server.left(self)
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.on_closed(self, reason)


def split_json(text: str) -> list[str]:
    """The JSON documents in a text message: modules glue several together under load. Not JSON: the text itself."""
    decoder = json.JSONDecoder()
    documents: list[str] = []
    at = 0
    while at < len(text):
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):  # the latter: thousands of open brackets
            return [*documents, text[at:]]
        documents.append(text[at:end])
        at = end
        while at < len(text) and text[at].isspace():
            at += 1
    return documents
