"""Asterisk's AudioSocket: bytes <-> frames. No socket, no clock.

A frame is ``kind (1 byte), length (2 bytes, big-endian), payload``; sound is PCM16 little-endian mono
(``res_audiosocket.h``, Asterisk 22.10.1). Asterisk's first frame names the call by a UUID.

Version gates, from the release tags: keys (``0x03``) since 20.14, 21.9 and 22.4; kinds ``0x11`` to ``0x18`` since
20.17, 21.12, 22.7 and 23.1. Before those everything was labelled ``0x10``; see ``audiosocket_sound``.

To Asterisk only sound and the goodbye may go. Anything else, a sound of no bytes too, ends the call.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from esl_agent.errors import WireError

GOODBYE = 0x00
CALL = 0x01
DIGIT = 0x03
SLIN = 0x10
"""Sound at 8 kHz, and of any rate from an Asterisk older than the typed kinds."""
FAILURE = 0xFF
#: Of an error's code, which is made of bits: the caller hung up (the others: a frame was not forwarded, no memory).
#: No Asterisk up to 22.10.1 was seen to send one; the protocol's description has them.
_HUNG_UP = 0x01

#: Samples a second of each kind of sound.
RATES = {
    SLIN: 8000,
    0x11: 12000,
    0x12: 16000,
    0x13: 24000,
    0x14: 32000,
    0x15: 44100,
    0x16: 48000,
    0x17: 96000,
    0x18: 192000,
}
KINDS = {rate: kind for kind, rate in RATES.items()}

HEADER_BYTES = 3
UUID_BYTES = 16
#: The longest sound taken in one frame: 85 ms at 192 kHz, 0.68 s at 24 kHz. Asterisk makes one of every RTP packet, and
#: cannot itself convert more than some 8 kB of them (``translate.c: Out of buffer space``).
MAX_SOUND_BYTES = 32768
#: A goodbye has no payload and an error one byte; so much is passed over.
MAX_OTHER_BYTES = 64

#: Keys as they are told; Asterisk sends each as one ASCII character.
DIGITS = frozenset("0123456789*#ABCD")
#: The whole goodbye.
GOODBYE_FRAME = bytes(HEADER_BYTES)


class Frame(NamedTuple):
    """``kind`` is one of those above."""

    kind: int
    payload: bytes


class Parser:
    """The bytes of one connection -> frames, split and merged in any way. Holds at most one frame's part.

    The first frame must name the call. After a WireError nothing more is taken.
    """

    __slots__ = ("_error", "_is_named", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._is_named = False
        self._error = ""  # its words: the error itself would keep every frame it came through, and the connection

    @property
    def is_midway(self) -> bool:
        """A frame has begun and its end has not come."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[Frame]:
        """Every whole frame that ``data`` completes, in order. Raises WireError for what AudioSocket does not know:
        the frames before it are lost with the call."""
        if self._error:
            raise WireError(self._error)
        try:
            return self._frames(self._rest + data if self._rest else data)
        except WireError as error:
            self._rest, self._error = b"", str(error)
            raise

    def _frames(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        at, end = 0, len(data)
        while at < end:
            kind = data[at]
            self._check_kind(kind)
            start = at + HEADER_BYTES
            if start > end:
                break
            length = data[at + 1] << 8 | data[at + 2]
            _check_length(kind, length)
            if start + length > end:
                break
            frames.append(Frame(kind, data[start : start + length]))
            self._is_named = True
            at = start + length
        self._rest = data[at:]
        return frames

    def _check_kind(self, kind: int) -> None:
        if not self._is_named and kind != CALL:
            raise WireError(f"the first frame must be the call's UUID (kind 0x01), got kind 0x{kind:02x}")
        if self._is_named and kind not in RATES and kind not in (GOODBYE, DIGIT, FAILURE):
            if kind == CALL:
                raise WireError("a second UUID on one connection")
            raise WireError(f"kind 0x{kind:02x} is none of AudioSocket's")


def _check_length(kind: int, length: int) -> None:
    if kind == CALL:
        if length != UUID_BYTES:
            raise WireError(f"a UUID has {UUID_BYTES} bytes, got {length}")
    elif kind == DIGIT:
        if length != 1:
            raise WireError(f"a key is one byte, got {length}")
    elif length > (most := MAX_SOUND_BYTES if kind in RATES else MAX_OTHER_BYTES):
        raise WireError(f"a frame of kind 0x{kind:02x} has {length} bytes; at most {most} are taken")


def call_uuid(frame: Frame) -> UUID:
    """Which call the first frame names."""
    return UUID(bytes=frame.payload)


def digit(frame: Frame) -> str:
    """The key of a DIGIT frame; empty for what is no key."""
    key = chr(frame.payload[0]).upper()
    return key if key in DIGITS else ""


def has_hung_up(frame: Frame) -> bool:
    """Whether a FAILURE frame says that the caller is gone."""
    return bool(frame.payload and frame.payload[0] & _HUNG_UP)


def header(kind: int, length: int) -> bytes:
    """The three bytes before a payload of ``length`` bytes."""
    return bytes((kind, length >> 8, length & 0xFF))


def sound_frame(kind: int, pcm: bytes) -> bytes:
    """``pcm`` ready for the wire. Raises ValueError for what would end the call: no bytes, or too many."""
    if kind not in RATES or not 0 < len(pcm) <= MAX_SOUND_BYTES:
        raise ValueError(f"{len(pcm)} bytes of kind 0x{kind:02x} are no sound that Asterisk takes")
    return header(kind, len(pcm)) + pcm


def call_frame(uuid: UUID) -> bytes:
    """What Asterisk sends first."""
    return header(CALL, UUID_BYTES) + uuid.bytes


def digit_frame(key: str) -> bytes:
    """What Asterisk sends when a key was let go."""
    return header(DIGIT, 1) + key.encode("ascii")
