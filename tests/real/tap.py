"""A wire between an engine and its server, to see how many connections it has and when it lets them go."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent.server import StreamServer


class Tap:
    """Forwards TCP, byte for byte. A context manager; ``url`` stands for the server's."""

    def __init__(self, server_url: str) -> None:
        where = urlsplit(server_url)
        self._server = (where.hostname or "", where.port or 0)
        self._door = StreamServer(("127.0.0.1", 0), self._forward)
        self._path = where.path
        self.made = 0
        """Connections since the beginning, and now."""
        self.open = 0
        self.sent = bytearray()
        """What the engine sent, on all of them."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._door.server_port}{self._path}"

    def __enter__(self) -> Tap:
        self._door.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._door.stop()

    def has_let_go(self, seconds: float = 1.0) -> bool:
        """Whether the engine has no connection any more, now or soon."""
        with gevent.Timeout(seconds, False):
            while self.open:
                gevent.sleep(0.01)
        return not self.open

    def _forward(self, engine: Any, address: Any) -> None:
        self.made += 1
        self.open += 1
        server = socket.create_connection(self._server)
        back = gevent.spawn(self._copy, server, engine, bytearray())
        self._copy(engine, server, self.sent)
        self.open -= 1
        back.join(5)
        server.close()

    @staticmethod
    def _copy(source: Any, target: Any, seen: bytearray) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                seen += data
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
