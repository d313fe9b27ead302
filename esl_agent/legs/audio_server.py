"""The WebSocket server to which FreeSWITCH's mod_audio_fork brings the caller's sound.

One accept greenlet; each connection is read by a hub watcher without a greenlet of its own (sound_connection.py). It
is let in by the one-time token in its path, which names the call.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from esl_agent.audio.pcm import Reframer
from esl_agent.legs.sound_connection import Acceptor, Allowance, SoundConnection
from esl_agent.wire.websocket import AudioSocketProtocol, sound_message

log = logging.getLogger(__name__)

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


class AudioServer:
    """Listens on ``address``; ``expect`` hands out the path at which a call's sound is awaited.

    ``max_seconds_per_second`` bounds how much sound a peer may send for each second that passes.
    """

    def __init__(self, address: tuple[str, int], max_message_bytes: int, max_seconds_per_second: float) -> None:
        self._server = Acceptor(address, self._accept, backlog=1024, spawn=None)
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


class Connection(SoundConnection):
    """One WebSocket of FreeSWITCH's."""

    def __init__(self, server: AudioServer, sock: Any, peer: str) -> None:
        super().__init__(sock, peer, AudioSocketProtocol(self._admit, server._max_message_bytes), HANDSHAKE_SECONDS)
        self._server = server
        self._listener: Listener | None = None
        self._reframer: Reframer | None = None
        self._allowance: Allowance | None = None

    def start(self) -> None:
        self._server.joined(self)
        super().start()

    def send_sound(self, pcm: bytes) -> None:
        """One binary message to the peer, which plays it. A peer that does not read it in time is let go."""
        if not self.is_closed:
            self._write(sound_message(pcm))

    def _admit(self, path: str) -> bool:
        self._listener = self._server.admit(path)
        return self._listener is not None

    def _on_open(self) -> None:
        if (listener := self._listener) is not None:
            self._reframer = Reframer(listener.rate)
            self._allowance = Allowance(listener.rate * 2.0, self._server._max_rate)
            listener.on_open(self)

    def _on_refused(self, why: str) -> None:
        self._server.refused += 1

    def _on_text(self, text: str) -> None:
        if (listener := self._listener) is not None:
            for each in split_json(text):
                listener.on_text(each)

    def _on_sound(self, pcm: bytes) -> None:
        listener, reframer, allowance = self._listener, self._reframer, self._allowance
        if listener is None or reframer is None or allowance is None:
            return
        if not allowance.take(len(pcm)):
            log.warning("audio from %s: more than %g seconds of sound a second", self.peer, self._server._max_rate)
            self.close("too much sound", 1008)
            return
        for frame in reframer.feed(pcm):
            listener.on_frame(frame)

    def _on_shaken(self) -> None:
        self._server.handshake_over()

    def _on_closed(self, reason: str) -> None:
        """``on_closed`` is told once."""
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
