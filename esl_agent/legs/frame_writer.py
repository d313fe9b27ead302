"""Whole frames onto a socket that does not block, in order, each in one ``send`` if the kernel takes it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from gevent import get_hub

#: Frames that wait behind one not yet taken; then the oldest goes: late sound is worse than none.
MAX_WAITING = 3


class FrameWriter:
    """Writes to ``sock`` (gevent's), on the hub. ``lost(reason)`` is called, maybe within ``write``, when it cannot."""

    def __init__(self, sock: Any, lost: Callable[[str], None]) -> None:
        self._sock = sock._sock
        self._lost = lost
        self._watcher: Any = get_hub().loop.io(sock.fileno(), 2)
        self._rest = b""
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self.stuck_at = 0.0
        """Since when (monotonic) the peer takes nothing; 0: it takes what comes."""

    def write(self, frame: bytes) -> None:
        """Now, or behind what waits."""
        if self._rest or self._waiting:
            self._waiting.append(frame)
        elif self._sent(frame) < len(frame) and self._watcher is not None:
            self.stuck_at = time.monotonic()
            self._watcher.start(self._writable)

    def forget(self) -> None:
        """Drop the frames that wait; the rest of one that has begun to leave still goes."""
        self._waiting.clear()

    def close(self) -> None:
        """Idempotent; before the socket is closed."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
        self._rest = b""
        self._waiting.clear()
        self._lost = _nobody

    def _sent(self, data: bytes) -> int:
        """How much of it the kernel took; what it did not take comes first the next time."""
        try:
            sent = int(self._sock.send(data))
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._lost(f"the peer was gone when we sent: {error.strerror}")
            return len(data)
        if sent < len(data):
            self._rest = data[sent:]
        return sent

    def _writable(self) -> None:
        while data := self._rest or (self._waiting.popleft() if self._waiting else b""):
            self._rest = b""
            sent = self._sent(data)
            if self._watcher is None:
                return
            if sent:
                self.stuck_at = time.monotonic()
            if sent < len(data):
                return
        self.stuck_at = 0.0
        self._watcher.stop()


def _nobody(_: str) -> None:
    """Hears what comes after the end."""
