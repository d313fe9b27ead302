"""The UDP socket of a pretend channel's unicast: datagrams out, datagrams in. Lives on the hub."""

from __future__ import annotations

from collections import deque
from typing import Any

import gevent
from gevent import socket

from esl_agent.audio.g711 import G711, LAWS
from esl_agent.audio.pcm import frame_bytes

#: More than this much unplayed sound is thrown away, oldest first: a caller's jitter buffer holds no more.
MAX_WAITING = 10


class UnicastClient:
    """Bound at ``local``; raises OSError if that port is taken. ``take`` gives one frame that arrived, or none."""

    def __init__(self, local: tuple[str, int], remote: tuple[str, int], rate: int, native: bool) -> None:
        self.received = self.sent = 0
        self._remote = remote
        self._law: G711 | None = LAWS["PCMU"] if native and rate == 8000 else None
        self._silence = bytes(frame_bytes(rate))
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._sock: Any = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._sock.bind(local)
        except OSError:
            self._sock.close()
            raise
        self._raw = self._sock._sock
        self._raw.setblocking(False)
        self._watcher = gevent.get_hub().loop.io(self._sock.fileno(), 1)
        self._watcher.start(self._readable)

    def send(self, said: bytes) -> None:
        """20 ms of the caller; lost if nobody listens."""
        self.sent += 1
        try:
            self._raw.sendto(said if self._law is None else self._law.encode(said), self._remote)
        except OSError:
            return

    def take(self) -> bytes:
        """What the caller hears in these 20 ms; empty: nothing arrived.

        Two clocks beat against each other: a frame that came early waits. While it is quiet there is no reason to.
        """
        waiting = self._waiting
        while len(waiting) > 1 and waiting[0] == waiting[1] == self._silence:
            waiting.popleft()
        return waiting.popleft() if waiting else b""

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        self._sock.close()

    def _readable(self) -> None:
        try:
            data = self._raw.recv(16384)
        except OSError:
            return
        self.received += 1
        self._waiting.append(data if self._law is None else self._law.decode(data))
