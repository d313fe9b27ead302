"""Length-prefixed messages between a call's process and a worker process: 4 bytes of length, big-endian, then the body.

Both ends read with a limit, so that neither a confused worker nor a stray print can make the other buffer for ever.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import IO

from esl_agent.errors import WireError

#: One message at most: 120 s of PCM16 at 16 kHz, and then some.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

_LENGTH = struct.Struct(">I")


def write_message(stream: IO[bytes], body: bytes) -> None:
    """Write one message and flush it. Raises OSError when the other end is gone, WireError when it is too long."""
    if len(body) > MAX_MESSAGE_BYTES:
        raise WireError(f"a message to a worker may have {MAX_MESSAGE_BYTES} bytes, this one has {len(body)}")
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def read_message(stream: IO[bytes]) -> bytes | None:
    """The next message, or None at the end of the stream. Raises WireError for one too long or cut short."""
    head = _read(stream, _LENGTH.size)
    if not head:
        return None
    (size,) = _LENGTH.unpack(head.ljust(_LENGTH.size, b"\xff"))
    if len(head) < _LENGTH.size or size > MAX_MESSAGE_BYTES:
        raise WireError(f"expected a message of at most {MAX_MESSAGE_BYTES} bytes, got the length {head!r}")
    body = _read(stream, size)
    if len(body) < size:
        raise WireError(f"expected a message of {size} bytes, got {len(body)} and the end")
    return body


def standard_streams() -> tuple[IO[bytes], IO[bytes]]:
    """For a worker: what it reads and writes. Whatever a C library prints goes to standard error from now on."""
    out = os.dup(1)
    os.dup2(2, 1)
    return sys.stdin.buffer, os.fdopen(out, "wb")


def _read(stream: IO[bytes], size: int) -> bytes:
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
