"""What a stream of bench.providers is like; known to both sides."""

from __future__ import annotations

#: Bytes of a piece of sound: 100 ms at 16 kHz.
PIECE = 3200


def plan(text: str) -> tuple[int, float, float]:
    """``pieces,interval,first`` (milliseconds) of a model's or voice's name."""
    pieces, interval, first = text.split(",")
    return int(pieces), float(interval) / 1000, float(first) / 1000
