"""A message onto a WebSocket of ``websockets``, without what the library does around sending.

Fifty frames of sound a second for each call are taken whole by the kernel; for those its context manager, its checks
for a close and gevent's ``sendall`` cost twice what the frame and the system call do (bench.asterisk: 44 us, here 21).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.sync.client import ClientConnection

#: Bytes of a message; longer ones are left to the library. These fit into one TLS record: should there be no room, all
#: of it has to be written again, and no shorter (OpenSSL: "bad length").
MOST = 8192
#: What a socket that does not wait says when its buffer is full.
_FULL = (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError)

Write = Callable[[bytes], int]


def write_of(socket: Any) -> Write | None:
    """What writes to a socket of gevent's without waiting, TLS or not; None: it is none of gevent's."""
    bare = getattr(socket, "_sock", None)
    if bare is None:
        return None
    write: Write = getattr(getattr(socket, "_sslobj", None), "write", bare.send)
    return write


def sent_at_once(connection: ClientConnection, write: Write | None, message: str | bytes) -> bool:
    """Whether ``message`` was sent. False: nothing of it went out; the library is to do it, or to say why it cannot.
    Waits where the kernel takes only a part, or nothing. Raises OSError where the rest cannot be sent."""
    if write is None or len(message) > MOST:
        return False
    kind, data = (Opcode.BINARY, message) if isinstance(message, bytes) else (Opcode.TEXT, message.encode())
    if len(data) > MOST or not connection.protocol_mutex.acquire(blocking=False):
        return False
    try:
        if connection.protocol.state is not State.OPEN:
            return False
        frame = Frame(kind, data).serialize(mask=True)
        try:
            sent = write(frame)
        except _FULL:
            sent = 0
        except OSError:
            return False
        if sent < len(frame):
            connection.socket.sendall(frame[sent:])
        return True
    finally:
        connection.protocol_mutex.release()
