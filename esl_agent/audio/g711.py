"""G.711 as it travels in RTP and in ``native`` unicast datagrams: one byte a sample, 8 kHz."""

from __future__ import annotations

import audioop
from collections.abc import Callable
from dataclasses import dataclass

#: G.711 has one rate.
RATE = 8000


@dataclass(frozen=True, slots=True)
class G711:
    """One of the two laws. ``decode``: bytes -> PCM16; ``encode``: PCM16 -> bytes."""

    name: str
    decode: Callable[[bytes], bytes]
    encode: Callable[[bytes], bytes]


def _ulaw_decode(data: bytes) -> bytes:
    return audioop.ulaw2lin(data, 2)


def _ulaw_encode(pcm: bytes) -> bytes:
    return audioop.lin2ulaw(pcm, 2)


def _alaw_decode(data: bytes) -> bytes:
    return audioop.alaw2lin(data, 2)


def _alaw_encode(pcm: bytes) -> bytes:
    return audioop.lin2alaw(pcm, 2)


#: By the names SDP and FreeSWITCH's ``Channel-Read-Codec-Name`` give them.
LAWS = {
    "PCMU": G711("PCMU", _ulaw_decode, _ulaw_encode),
    "PCMA": G711("PCMA", _alaw_decode, _alaw_encode),
}
