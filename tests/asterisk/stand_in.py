"""An AudioSocket server in place of the agent: it sends back what it hears, and ends as it is told."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event


class StandIn:
    """Listens at ``port``. ``frames``: (kind, length) of what came, ``keys`` the digits, over all connections."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, int]] = []
        self.keys = ""
        self.ids: list[str] = []
        self.connections: list[Any] = []
        self.eof = Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._greenlets = [gevent.spawn(self._accept)]

    def goodbye(self) -> None:
        """As the agent ends a call that it has no AMI for."""
        self.connections[-1].sendall(b"\0\0\0")

    def die(self) -> None:
        """What a killed process leaves behind: a reset."""
        connection = self.connections[-1]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._greenlets[-1].kill()
        connection.close()

    def close(self) -> None:
        gevent.killall(self._greenlets)
        for connection in self.connections:
            connection.close()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            self.connections.append(connection)
            self._greenlets.append(gevent.spawn(self._serve, connection))

    def _serve(self, connection: Any) -> None:
        with connection.makefile("rb") as stream, suppress(ConnectionError):  # Asterisk reads nothing to its end
            while len(head := stream.read(3)) == 3:
                kind, length = struct.unpack("!BH", head)
                payload = stream.read(length)
                if kind == 0x01:
                    self.ids.append(payload.hex())
                elif kind == 0x03:
                    self.keys += payload.decode()
                else:
                    self.frames.append((kind, length))
                    connection.sendall(head + payload)
        self.eof.set()
