"""Sound in pieces of any length -> the pieces that somebody wants. PCM16 mono in; odd bytes may be split anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from esl_agent.audio.resample import line_resampler


def begun(pieces: Iterable[bytes]) -> Iterator[bytes] | None:
    """``pieces`` from the first that holds any sound; None when there is none. Waits for it."""
    left = iter(pieces)
    for piece in left:
        if piece:
            return chain([piece], left)
    return None


def limited(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The first ``size`` bytes; what comes after them is not asked for."""
    for piece in pieces:
        if len(piece) >= size:
            yield piece[:size]
            return
        size -= len(piece)
        yield piece


def chunks(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Pieces of ``size`` bytes (even), the last one shorter. An odd byte at the very end, half a sample, is dropped."""
    rest = bytearray()
    for piece in pieces:
        rest += piece
        whole = len(rest) - len(rest) % size
        for at in range(0, whole, size):
            yield bytes(rest[at : at + size])
        del rest[:whole]
    if last := bytes(rest[: len(rest) // 2 * 2]):
        yield last


def resampled(pieces: Iterable[bytes], rate_in: int, rate_out: int) -> Iterator[bytes]:
    """``pieces`` (whole samples) at ``rate_out``; what the resampler remembers goes from each to the next."""
    resampler = line_resampler(rate_in, rate_out)
    if resampler is None:
        yield from pieces
        return
    held = b""
    for piece in pieces:
        if held and (out := resampler.feed(held)):
            yield out
        held = piece
    if held and (out := resampler.feed(held, last=True)):
        yield out


def floats(pcm: bytes) -> bytes:
    """Little-endian float32 samples, -1 to 1."""
    return (np.frombuffer(pcm, "<i2").astype("<f4") / 32768.0).astype("<f4").tobytes()
