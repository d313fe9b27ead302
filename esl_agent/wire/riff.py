"""WAV files as they arrive: header and samples from bytes in any pieces (Microsoft's RIFF and WAVEFORMATEX).

Services that stream write sizes they do not know yet: 0 (XTTS), 0xFFFFFFFF (OpenAI, ffmpeg), 0x7FFFF000 (espeak-ng).
Such a size means: to the end.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from esl_agent.audio.samples import Encoding
from esl_agent.errors import WireError

#: A data chunk that claims as much was written before its length was known: nobody speaks for hours.
UNKNOWN = 0x7FFF0000
#: Bytes that may come before the samples: lists of titles and pictures.
MAX_HEADER = 1024 * 1024
_MAX_FMT = 1024
_RIFF = (b"RIFF", b"RF64")
#: (format tag, bits) -> encoding. 3 (floats) and the compressed ones are not spoken on telephones.
_ENCODINGS: dict[tuple[int, int], Encoding] = {
    (1, 8): "u8", (1, 16): "s16", (1, 24): "s24", (1, 32): "s32", (6, 8): "alaw", (7, 8): "ulaw",
}  # fmt: skip
_EXTENSIBLE = 0xFFFE


@dataclass(frozen=True, slots=True)
class WavFormat:
    encoding: Encoding
    channels: int
    rate: int


def is_wav(data: bytes) -> bool:
    """Whether ``data``, four bytes or more, begin a WAV file."""
    return data[:4] in _RIFF


class WavStream:
    """``feed`` what comes, take the samples' bytes; ``format`` is known by the first of them. Then ``end``."""

    __slots__ = ("_held", "_is_begun", "_is_in_data", "_left", "_seen", "format")

    def __init__(self) -> None:
        self.format: WavFormat | None = None
        self._held = b""
        self._is_begun = False
        self._is_in_data = False
        self._left: int | None = None
        """Bytes of samples still to come; None: to the end."""
        self._seen = 0

    def feed(self, data: bytes) -> bytes:
        """The samples' bytes in ``data``; what follows them is dropped. Raises WireError for what is no sound."""
        if not self._is_in_data:
            self._held += data
            data = self._header()
        if self._left is None:
            return data
        data = data[: self._left]
        self._left -= len(data)
        return data

    def end(self) -> None:
        """Nothing more comes. Raises WireError when the file is not whole."""
        if not self._is_in_data:
            raise WireError("the sound ended within its WAV header")
        if self._left:
            raise WireError(f"the sound ended {self._left} bytes early")

    def _header(self) -> bytes:
        """Read on in the header; the first bytes of the samples once it is over."""
        if not self._is_begun:
            if len(self._held) < 12:
                return b""
            if not is_wav(self._held) or self._held[8:12] != b"WAVE":
                raise WireError(f"expected a WAV file, got {self._held[:32]!r}")
            self._is_begun = True
            self._held = self._held[12:]
        while len(self._held) >= 8:
            name, size = self._held[:4], int.from_bytes(self._held[4:8], "little")
            if name == b"data":
                return self._samples(size)
            padded = size + size % 2
            self._seen += padded
            if self._seen > MAX_HEADER:
                raise WireError(f"a WAV header of more than {MAX_HEADER} bytes")
            if len(self._held) < 8 + padded:
                self._seen -= padded
                return b""
            if name == b"fmt ":
                self.format = _format(self._held[8 : 8 + min(size, _MAX_FMT)])
            self._held = self._held[8 + padded :]
        return b""

    def _samples(self, size: int) -> bytes:
        if self.format is None:
            raise WireError("a WAV file without a format")
        self._is_in_data = True
        self._left = size if 0 < size < UNKNOWN else None
        rest, self._held = self._held[8:], b""
        return rest


def _format(chunk: bytes) -> WavFormat:
    if len(chunk) < 16:
        raise WireError(f"a WAV format of {len(chunk)} bytes")
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        tag = int.from_bytes(chunk[24:26], "little")
    encoding = _ENCODINGS.get((tag, bits))
    if encoding is None or channels not in (1, 2) or not 4000 <= rate <= 192000:
        raise WireError(
            f"expected WAV of whole numbers or G.711, one channel or two; got format {tag}, {bits} bits, "
            f"{channels} channels, {rate} Hz"
        )
    return WavFormat(encoding, channels, rate)
