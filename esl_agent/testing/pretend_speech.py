"""What the pretend voices have in common: a sound that is known sample by sample, and how it is cut and broken."""

from __future__ import annotations

import array
import base64
import io
import struct
import wave
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle

from websockets.sync.server import ServerConnection

from esl_agent.testing.web import Reply, drop

#: Seconds of sound for a character: ten words take two seconds.
SECONDS = 0.04
_CUTS = (1, 2, 3, 641, 4, 1001, 8192, 7)

Cut = Callable[[bytes], bytes | Iterable[bytes]]


def ramp(text: str, rate: int) -> bytes:
    """PCM16 that is as long as ``text``: no two samples near each other are equal, and no byte is like its place."""
    count = round(len(text) * SECONDS * rate)
    period = array.array("h", ((n * 37) % 20011 - 10005 for n in range(20011)))
    samples = (period * (count // 20011 + 1))[:count]
    return samples.tobytes()


def wav(pcm: bytes, rate: int, size: int | None = None) -> bytes:
    """A WAV file; ``size``: what its header claims in place of the truth."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(pcm)
    data = file.getvalue()
    return data if size is None else data[:40] + struct.pack("<I", size) + data[44:]


def odd_pieces(data: bytes) -> Iterator[bytes]:
    """In pieces of odd and even lengths, as a network cuts."""
    at = 0
    for size in cycle(_CUTS):
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size


def whole(data: bytes) -> bytes:
    """Not cut at all, its length told before."""
    return data


def endless(data: bytes, sleep: Callable[[float], None], every: float = 0.002) -> Iterator[bytes]:
    """``data`` again and again, for ever."""
    while True:
        yield data[:32000]
        sleep(every)


def refused(http: int, **detail: object) -> Reply:
    """As FastAPI services answer: ``{"detail": {...}}``."""
    return Reply.json({"detail": detail}, http)


def invalid(field: str, message: str) -> Reply:
    """As FastAPI answers what it cannot validate: a list."""
    return Reply.json({"detail": [{"loc": ["body", field], "msg": message, "type": "value_error"}]}, 422)


@dataclass(frozen=True, slots=True)
class SocketFault:
    """What goes wrong with one clause on a WebSocket, after ``after`` messages of sound."""

    after: int = 0
    say: str | bytes | None = None
    """Said in place of the rest."""
    close: tuple[int, str] | None = None
    drop: bool = False
    """The connection ends without a close frame."""
    stall: bool = False

    def strike(self, connection: ServerConnection) -> None:
        if self.say is not None:
            connection.send(self.say)
        if self.close is not None:
            connection.close(*self.close)
        if self.drop:
            drop(connection)
        if self.stall:
            for _ in connection:  # until the other side goes
                pass


def sounds(data: bytes, cut: Cut) -> Iterator[str]:
    """``data`` in base64, as the pieces of a WebSocket service."""
    pieces = cut(data)
    for piece in [pieces] if isinstance(pieces, bytes) else pieces:
        yield base64.b64encode(piece).decode()
