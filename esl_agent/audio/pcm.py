"""PCM16 little-endian mono: the one shape sound has inside this program.

A *frame* is 20 ms: ``rate // 50`` samples, ``rate // 25`` bytes (8 kHz: 320 bytes, 16 kHz: 640).
"""

from __future__ import annotations

import audioop
from dataclasses import dataclass
from typing import Literal

FRAME_SECONDS = 0.02


def frame_bytes(rate: int) -> int:
    """Bytes of one 20 ms frame at ``rate`` samples a second."""
    return rate // 50 * 2


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """How sound is written on a wire, mono: PCM16 little-endian, or G.711 with a byte a sample."""

    encoding: Literal["pcm", "ulaw", "alaw"] = "pcm"
    rate: int = 24000

    @property
    def bytes_per_second(self) -> int:
        return self.rate * (2 if self.encoding == "pcm" else 1)


@dataclass(frozen=True, slots=True)
class Sound:
    """A finished piece of sound: PCM16 mono ``pcm`` at ``rate`` samples a second."""

    pcm: bytes
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / self.rate


class SoundStream:
    """Sound that is still being made: whoever plays it follows it as it grows.

    Made and read on one hub, so there is no lock: ``append`` while ``is_ended`` is False, then ``end`` once.
    """

    __slots__ = ("is_ended", "pcm", "rate")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.pcm = bytearray()
        """What there is so far, PCM16 mono at ``rate``; only ever grows."""
        self.is_ended = False

    @property
    def seconds(self) -> float:
        """How long it is so far."""
        return len(self.pcm) / 2 / self.rate

    def append(self, pcm: bytes) -> None:
        """More of it; an even number of bytes."""
        self.pcm += pcm

    def end(self) -> None:
        """That was all."""
        self.is_ended = True


def rms(pcm: bytes) -> int:
    """Root mean square of the samples, 0..32768. 0.4 us for a frame; numpy needs ten times that."""
    return audioop.rms(pcm, 2) if pcm else 0


def peak(pcm: bytes) -> int:
    """The largest absolute sample, 0..32768."""
    return audioop.max(pcm, 2) if pcm else 0


class Reframer:
    """Cuts sound that arrives in pieces of any size into whole frames.

    Needed because a switch under load merges frames (15 360 bytes seen from mod_audio_fork) and TCP splits
    them anywhere, odd bytes included. Holds at most one frame's remainder.
    """

    __slots__ = ("_rest", "size")

    def __init__(self, rate: int) -> None:
        self.size = frame_bytes(rate)
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Every whole frame that ``data`` completes, in order."""
        size = self.size
        if not self._rest and len(data) == size:
            return [data]
        data = self._rest + data
        whole = len(data) - len(data) % size
        self._rest = data[whole:]
        return [data[i : i + size] for i in range(0, whole, size)]
