"""One WebSocket that brings a call's sound to us and may take ours.

It is read by a hub watcher without a greenlet of its own: a greenlet switch costs more than the frame it is for
(docs/decisions/audio-receive.md).
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from typing import Any

from gevent import get_hub
from gevent.server import StreamServer

from esl_agent.errors import WireError
from esl_agent.wire.websocket import AudioSocketProtocol

log = logging.getLogger(__name__)

#: Bytes read per wake-up: two merged frames of the worst size seen (15 360 bytes).
READ_BYTES = 32768
#: Sound a peer may send ahead of the clock, in seconds, before an Allowance counts: a merged burst.
BURST_SECONDS = 5.0
#: Frames a second of a telephone whose packets hold 10 ms, and how many times as many may come: keys, marks and pings
#: are frames, too.
FRAMES_PER_SECOND, MAX_TIMES_FRAMES = 100, 4.0
#: Of ``struct tcp_info`` (linux/tcp.h): tcpi_last_data_sent, in milliseconds. Where we have sent nothing yet it counts
#: from the connection's beginning (tcp_create_openreq_child).
_LAST_SENT = 44
#: What accept says when there are no more files: of this process, of the machine.
_NO_FILES = (errno.EMFILE, errno.ENFILE)


class Allowance:
    """How much a peer may have sent by now, in bytes, frames or seconds: ``times`` as much as its sound has in the time
    that passed, ``age`` seconds before now included."""

    def __init__(self, per_second: float, times: float, age: float = 0.0) -> None:
        self._per_second = per_second
        self._times = times
        self._began = time.monotonic() - age
        self._received = 0.0
        self._allowed = BURST_SECONDS * per_second

    def take(self, size: float) -> bool:
        """So much more has come. False: that is too much."""
        self._received += size
        if self._received > self._allowed:  # what the time that passed allows, asked again when that is used up
            seconds = BURST_SECONDS + (time.monotonic() - self._began) * self._times
            self._allowed = seconds * self._per_second
        return self._received <= self._allowed


def age_of(sock: Any) -> float:
    """Seconds since the peer connected; we have sent it nothing yet. The kernel takes connections, and sound, also
    while this process stands still. 0 where it does not tell."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_SENT + 4)
        return float(struct.unpack_from("=I", info, _LAST_SENT)[0]) / 1000
    except (OSError, AttributeError, struct.error):
        return 0.0


class Acceptor(StreamServer):
    """Hands accepted sockets over for good: a connection outlives the call of the handler, which runs on the hub.

    Whoever connects when this process may open no more files is shut out at once, by means of one that is kept for it:
    the kernel lets them in anyway, and they would wait. (chan_websocket waits for the handshake without end; fifteen
    such calls held up others of that Asterisk: 22.10.1.) ``on_no_files`` is told then; it may ``stop`` us.
    """

    on_no_files: Callable[[], object] | None = None
    _spare: FileIO | None = None
    _is_out_of_files = False

    def init_socket(self) -> None:
        super().init_socket()
        self._keep_spare()

    def do_close(self, *_: Any) -> None:
        """The connection closes its own socket."""

    def close(self) -> None:
        super().close()
        self._let_spare_go()

    def do_read(self) -> Any:
        """What gevent would print with a traceback each time is said once, until a connection is taken again."""
        try:
            taken = super().do_read()
        except OSError as error:
            if error.errno not in _NO_FILES:
                raise
            if not self._is_out_of_files:
                self._is_out_of_files = True
                log.error("port %s: nobody can be let in: %s; LimitNOFILE, ulimit -n", self.server_port, error.strerror)
            self._shut_one_out()
            if self.on_no_files is not None:
                self.on_no_files()
            return None
        if taken:
            self._is_out_of_files = False
        return taken

    def _shut_one_out(self) -> None:
        self._let_spare_go()
        try:
            FileIO(self.socket._accept()[0]).close()  # at once: gevent's os.close waits for the next round of the hub
        except BlockingIOError:
            pass  # nobody waits any more
        except OSError:
            self._pause()
        self._keep_spare()

    def _pause(self) -> None:
        """As gevent does after any error: a connection that waits would wake us at once, over and over."""
        self.stop_accepting()
        self._timer = self.loop.timer(self.max_delay)
        self._timer.start(self._start_accepting_if_started)

    def _keep_spare(self) -> None:
        with suppress(OSError):
            self._spare = FileIO(os.devnull)

    def _let_spare_go(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None


class SoundConnection:
    """Lives on the hub: every method returns at once. What comes is given to the methods that a subclass fills in; none
    of them may block."""

    def __init__(self, sock: Any, peer: str, protocol: AudioSocketProtocol, handshake_seconds: float) -> None:
        self.peer = peer
        self.is_closed = False
        self.was_heard = False
        """Set whenever the peer sends anything, pongs included; whoever watches it clears it."""
        self._sock = sock
        self._protocol = protocol
        self._handshake_seconds = handshake_seconds
        self._shaking = True
        self._frames = Allowance(FRAMES_PER_SECOND, MAX_TIMES_FRAMES)
        loop = get_hub().loop
        self._watcher = loop.io(sock.fileno(), 1)
        self._timer = loop.timer(handshake_seconds)

    def start(self) -> None:
        """Small messages leave at once: without this they wait for the peer's next one (seen: 14 ms for a command)."""
        with suppress(OSError):  # reset meanwhile, which the first read tells
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._timer.start(self._too_slow)
        self._watcher.start(self._readable)

    def close(self, reason: str, code: int = 1000) -> None:
        """Say goodbye to the peer and let go. Idempotent."""
        if self.is_closed:
            return
        self._protocol.close(code, reason)
        self._flush()
        self._drop(reason)

    # For subclasses

    def _on_open(self) -> None:
        """The handshake is done and its answer sent."""

    def _on_refused(self, why: str) -> None:
        """The handshake was answered with an error."""

    def _on_sound(self, pcm: bytes) -> None:
        """A binary message."""

    def _on_text(self, text: str) -> None:
        """A text message."""

    def _on_shaken(self) -> None:
        """The handshake is over, well or not. Told once."""

    def _on_closed(self, reason: str) -> None:
        """The connection is gone. Told once, and the last."""

    # The socket

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
        self.was_heard = True
        if (pcm := self._protocol.lone_frame(data)) is not None:
            self._on_sound(pcm)
            return
        before = self._protocol.frames
        try:
            messages = self._protocol.receive(data)
        except WireError as error:
            log.warning("audio from %s: %s", self.peer, str(error))  # a record that is kept keeps no frames
            self.close(str(error), 1002)
            return
        if not self._frames.take(self._protocol.frames - before):
            why = f"more than {FRAMES_PER_SECOND * MAX_TIMES_FRAMES:g} frames a second"
            log.warning("audio from %s: %s", self.peer, why)
            self.close(why, 1008)
            return
        if self._shaking:
            self._after_handshake()
        for message in messages:
            if self.is_closed:
                break
            if isinstance(message, str):
                self._on_text(message)
            else:
                self._on_sound(message)
        if not self.is_closed:
            self._flush()
            if self._protocol.is_closing:
                self._drop(self._protocol.refused or "the peer closed the WebSocket")

    def _after_handshake(self) -> None:
        if self._protocol.refused is not None:
            log.warning("audio from %s refused: %s", self.peer, self._protocol.refused)
            self._on_refused(self._protocol.refused)
        elif self._protocol.is_open:
            self._end_handshake()
            self._flush()  # whoever is told may send at once, and the handshake's answer comes first
            if not self.is_closed:
                self._on_open()

    def _flush(self) -> None:
        """Control frames are a few bytes: a peer that does not even take those is gone."""
        if data := self._protocol.outgoing():
            self._write(data)

    def _write(self, data: bytes) -> None:
        """``data`` as it is. A peer that does not read it in time is let go."""
        try:
            sent = self._sock._sock.send(data)
        except OSError as error:
            self._drop(f"cannot write: {error.strerror}")
        else:
            if sent < len(data):
                self._drop("cannot write: the peer does not read")

    def _too_slow(self) -> None:
        log.warning("audio from %s: no WebSocket handshake within %g s", self.peer, self._handshake_seconds)
        self._drop("no handshake")

    def _end_handshake(self) -> None:
        if self._shaking:
            self._shaking = False
            self._timer.stop()
            self._timer.close()
            self._on_shaken()

    def _drop(self, reason: str) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self._end_handshake()
        self._watcher.stop()
        self._watcher.close()
        self._sock.close()
        self._protocol.forget()
        self._on_closed(reason)
