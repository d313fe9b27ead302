"""The WebSocket server to which Asterisk's chan_websocket brings its calls.

    Dial(WebSocket/<section of websocket_client.conf>/c(slin24)f(json),,g)

A connection becomes a line with its MEDIA_START. Who calls is taken from the channel variables in it, never from the
request's parameters: with ``v(...)`` these stay on Asterisk's shared client and reach the next call (22.10.1).
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import gevent
from gevent import get_hub
from gevent.event import Event as Flag

from esl_agent.errors import LegError, WireError
from esl_agent.legs.allowed import Allowed
from esl_agent.legs.media_websocket_line import MediaWebSocketLine
from esl_agent.legs.sound_connection import Acceptor, Allowance, SoundConnection
from esl_agent.wire import chan_websocket as wire
from esl_agent.wire.websocket import AudioSocketProtocol

log = logging.getLogger(__name__)

SUBPROTOCOLS = ("media",)
#: A connection must have finished its handshake by then.
HANDSHAKE_SECONDS = 5.0
#: By then MEDIA_START must be there. Later: a peer silent for that long is pinged, and given up after as much again.
PULSE_SECONDS = 5.0
#: Bytes of one message from Asterisk: a frame, or MEDIA_START with the channel's variables.
MAX_MESSAGE_BYTES = 65536
#: Passed over before MEDIA_START: the sound of PULSE_SECONDS at 48 kHz.
MAX_EARLY_BYTES = 480_000
#: Bytes the kernel keeps unsent for us (it doubles them): 4 s of slin24. What Asterisk takes so much later nobody wants
#: to hear; without a limit it was more than a minute's sound before anybody noticed.
SEND_BUFFER_BYTES = 100_000
#: Seconds of sound that may come in each second that passes.
MAX_SECONDS_PER_SECOND = 4.0
MAX_LINES = 500


class MediaWebSocketServer:
    """``on_line`` is called for every call, in a greenlet of its own; when it returns or fails, the line is hung up.

    ``allow``: addresses or networks Asterisk may come from; empty means all. With ``max_lines`` lines there is no room
    for more: the dialplan goes on with CHANUNAVAIL.
    """

    def __init__(
        self,
        host: str,
        port: int,
        on_line: Callable[[MediaWebSocketLine], object],
        *,
        allow: Sequence[str] = (),
        max_lines: int = MAX_LINES,
    ) -> None:
        self.on_line = on_line
        self.refused = 0
        """Connections of which no call came."""
        self._address = (host, port)
        self._allowed = Allowed(allow)
        self._max_lines = max_lines
        self._acceptor: Acceptor | None = None
        self._connections: set[_Connection] = set()
        self._is_empty = Flag()
        self._is_empty.set()
        self._ids: set[str] = set()

    def start(self) -> None:
        """Listens from now on. Raises LegError where the port is not to be had."""
        acceptor = Acceptor(self._address, self._accept, backlog=512, spawn=None)
        try:
            acceptor.start()
        except OSError as error:
            host, port = self._address
            raise LegError(f"cannot listen for chan_websocket at {host} port {port}: {error.strerror}") from error
        self._acceptor = acceptor
        log.info("chan_websocket: listening at %s port %d", self._address[0], self.bound_port)

    @property
    def bound_port(self) -> int:
        """Where it listens (port 0 in the settings: the port the kernel chose)."""
        return int(self._acceptor.server_port) if self._acceptor is not None else self._address[1]

    @property
    def line_count(self) -> int:
        """Connections there are, those that are not yet lines included."""
        return len(self._connections)

    def turn_away(self) -> None:
        """No new lines: the port is closed, and the dialplan goes on at once. Lines go on to their end."""
        if self._acceptor is not None:
            self._acceptor.stop(timeout=0)

    def wait_empty(self, seconds: float) -> bool:
        """Whether there is no connection, after at most ``seconds``."""
        return bool(self._is_empty.wait(seconds))

    def stop(self) -> None:
        """``turn_away``, and every line ends. Idempotent."""
        self.turn_away()
        for connection in list(self._connections):
            connection.close("the server stops")

    def _accept(self, sock: Any, peer: Any) -> None:
        why = ""
        if not self._allowed.admits(peer):
            why = "is not among the allowed addresses"
        elif len(self._connections) >= self._max_lines:
            why = f"finds {self._max_lines} lines already"
        if why:
            self.refused += 1
            log.warning("chan_websocket: %s %s; closed", _name(peer), why)
            sock.close()
        else:
            connection = _Connection(self, sock, _name(peer))
            self._connections.add(connection)
            self._is_empty.clear()
            connection.start()

    def name(self, channel_id: str) -> str:
        """A safe name for a line that no other line has now."""
        wanted = "ws-" + "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "-" for c in channel_id[:60])
        name, number = wanted, 1
        while name in self._ids:
            number += 1
            name = f"{wanted}-{number}"
        self._ids.add(name)
        return name

    def welcome(self, line: MediaWebSocketLine) -> None:
        gevent.spawn(self._welcome, line)

    def _welcome(self, line: MediaWebSocketLine) -> None:
        try:
            self.on_line(line)
        except Exception:
            log.exception("call=%s could not be taken", line.id)
        line.hang_up()

    def left(self, connection: _Connection, line: MediaWebSocketLine | None) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._is_empty.set()
        if line is None:
            self.refused += 1
        else:
            self._ids.discard(line.id)


class _Connection(SoundConnection):
    """One WebSocket of Asterisk's, before and after it is a line."""

    def __init__(self, server: MediaWebSocketServer, sock: Any, peer: str) -> None:
        protocol = AudioSocketProtocol(lambda _: True, MAX_MESSAGE_BYTES, SUBPROTOCOLS)
        super().__init__(sock, peer, protocol, HANDSHAKE_SECONDS)
        with suppress(OSError):  # reset meanwhile, which the first read tells
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._server = server
        self._line: MediaWebSocketLine | None = None
        self._allowance: Allowance | None = None
        self._pulse = get_hub().loop.timer(PULSE_SECONDS, PULSE_SECONDS)
        self._was_pinged = False
        self._early_bytes = 0

    def write(self, data: bytes) -> None:
        """Messages ready to be sent, in one write."""
        if not self.is_closed:
            self._write(data)

    def _on_open(self) -> None:
        self._pulse.start(self._check)

    def _on_text(self, text: str) -> None:
        try:
            event = wire.parse(text)
            if self._line is None and isinstance(event, wire.MediaStart):
                self._begin(event)
            elif self._line is None:
                self._pass_over(len(text))
            elif isinstance(event, wire.MediaStart):
                raise WireError("a second MEDIA_START")
            elif self._is_allowed(len(text)) and event is not None:
                self._line.take_event(event)
        except WireError as error:
            self._break(str(error))

    def _on_sound(self, pcm: bytes) -> None:
        if self._line is None:
            self._pass_over(len(pcm))
        elif self._is_allowed(len(pcm)):
            self._line.take_sound(pcm)

    def _pass_over(self, size: int) -> None:
        """What comes before MEDIA_START is passed over: in Asterisk another thread sends the sound, and on a busy
        machine it is the first (seen by others with 22.7: asterisk/asterisk#1712)."""
        self._early_bytes += size
        if self._early_bytes > MAX_EARLY_BYTES:
            self._break(f"more than {MAX_EARLY_BYTES} bytes before MEDIA_START")

    def _begin(self, event: wire.MediaStart) -> None:
        law_or_pcm = wire.sound_format(event)
        self._allowance = Allowance(law_or_pcm.bytes_per_second, MAX_SECONDS_PER_SECOND)
        self._line = MediaWebSocketLine(self._server.name(event.channel_id), event, law_or_pcm, self)
        self._server.welcome(self._line)

    def _is_allowed(self, size: int) -> bool:
        if self._allowance is not None and self._allowance.take(size):
            return True
        self._break(f"more than {MAX_SECONDS_PER_SECOND:g} seconds of sound a second", 1008)
        return False

    def _break(self, why: str, code: int = 1002) -> None:
        log.warning("chan_websocket: %s %s: %s; closed", self.peer, self._line.id if self._line else "(no call)", why)
        self.close(why, code)

    def _check(self) -> None:
        if self._line is None:
            self._break(f"no MEDIA_START within {PULSE_SECONDS:g} s")
        elif self.was_heard:
            self.was_heard = self._was_pinged = False
        elif self._was_pinged:
            self._drop("nothing more comes, not even an answer to our ping")
        else:
            self._was_pinged = True
            self._protocol.ping()
            self._flush()

    def _on_closed(self, reason: str) -> None:
        self._pulse.stop()
        self._pulse.close()
        line, self._line = self._line, None
        self._server.left(self, line)
        if line is not None:
            line.ended(reason)


def _name(peer: Any) -> str:
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "local"
