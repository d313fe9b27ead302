"""What one switch is told over one connection: in order, at once while the peer's window is open, else as it opens."""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import gevent

log = logging.getLogger(__name__)


class Outgoing:
    """Writes to ``sock`` (gevent's), and shuts it. Who writes sees to it that not too much waits.

    ``on_broken(reason)`` is called when what waited cannot be written. One greenlet, only while the window is full.
    """

    __slots__ = ("_on_broken", "_peer", "_sock", "_unsent", "_writer", "waiting")

    def __init__(self, sock: socket.socket, peer: str, on_broken: Callable[[str], None]) -> None:
        self.waiting = 0
        """Bytes that the peer has not taken."""
        self._sock = sock
        self._peer = peer
        self._on_broken = on_broken
        self._unsent: deque[bytes] = deque()
        self._writer: gevent.Greenlet | None = None

    @property
    def is_writing(self) -> bool:
        """Whether a greenlet waits for the peer."""
        return self._writer is not None and not self._writer.dead

    def write(self, data: bytes) -> None:
        """Never blocks, never raises."""
        if not self._unsent:
            try:
                sent = self._sock.send(data, timeout=0.0)  # type: ignore[call-arg]  # gevent's socket: do not wait
            except BlockingIOError:
                sent = 0
            except OSError as error:
                # The reader, woken, may still hold what came before the end: the end is its to tell.
                log.debug("%s: cannot write: %s", self._peer, error)
                with suppress(OSError):
                    self._sock.shutdown(socket.SHUT_WR)
                return
            data = data[sent:]
            if not data:
                return
        self._unsent.append(data)
        self.waiting += len(data)
        if self._writer is None:
            self._writer = gevent.spawn(self._flush)

    def close(self) -> None:
        """Shuts the socket in both directions; what waits is dropped. Never blocks, never raises."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._unsent.clear()
        self.waiting = 0
        self._on_broken = _nobody  # whoever writes needs no collector to be freed

    def _flush(self) -> None:
        try:
            while self._unsent:
                self._sock.sendall(self._unsent[0])
                if self._unsent:  # close() may have emptied it meanwhile
                    self.waiting -= len(self._unsent.popleft())
        except OSError as error:
            self._on_broken(f"{self._peer}: cannot write: {error}")
        finally:
            self._writer = None


def _nobody(_: str) -> None:
    """Is told after the end."""
