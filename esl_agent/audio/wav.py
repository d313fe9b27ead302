"""A WAV file around PCM16 mono (RIFF, format 1), as every recogniser takes it."""

from __future__ import annotations

import struct


def wav(pcm: bytes, rate: int) -> bytes:
    """``pcm`` (whole samples) at ``rate`` as a file."""
    kind = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    head = b"WAVEfmt " + struct.pack("<I", len(kind)) + kind + b"data" + struct.pack("<I", len(pcm))
    return b"RIFF" + struct.pack("<I", len(head) + len(pcm)) + head + pcm
