"""Samples as services send them -> PCM16 mono, in pieces cut anywhere."""

from __future__ import annotations

import audioop
from typing import Literal

Encoding = Literal["u8", "s16", "s24", "s32", "ulaw", "alaw"]

_WIDTH: dict[Encoding, int] = {"u8": 1, "s16": 2, "s24": 3, "s32": 4, "ulaw": 1, "alaw": 1}


class Samples:
    """Holds at most one sample back; half a sample at the very end is dropped. ``channels``: 1 or 2."""

    __slots__ = ("_channels", "_encoding", "_rest", "_size")

    def __init__(self, encoding: Encoding = "s16", channels: int = 1) -> None:
        self._encoding = encoding
        self._channels = channels
        self._size = _WIDTH[encoding] * channels
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The whole samples up to here; may be none."""
        if self._rest:
            data = self._rest + data
        whole = len(data) - len(data) % self._size
        self._rest = data[whole:]
        pcm = _pcm16(self._encoding, data[:whole])
        return audioop.tomono(pcm, 2, 0.5, 0.5) if self._channels == 2 else pcm


def _pcm16(encoding: Encoding, data: bytes) -> bytes:
    if encoding == "s16":
        return data
    if encoding == "ulaw":
        return audioop.ulaw2lin(data, 2)
    if encoding == "alaw":
        return audioop.alaw2lin(data, 2)
    if encoding == "u8":
        return audioop.lin2lin(audioop.bias(data, 1, 128), 1, 2)
    return audioop.lin2lin(data, _WIDTH[encoding], 2)
