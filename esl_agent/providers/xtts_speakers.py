"""Whose voice an XTTS server speaks with: half a megabyte of numbers that go along with every clause.

They are found in the server's answer and passed on as the bytes they came as: reading them as numbers would stop every
call for 30 ms, and the answer that holds all studio speakers (some 30 MB) for a second.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

#: Bytes of one speaker, and of the answer that holds them all.
MAX_SPEAKER = 4 * 1024 * 1024
MAX_SPEAKERS = 256 * 1024 * 1024
_KEYS = (b'"speaker_embedding"', b'"gpt_cond_latent"')
_NUMBERS = b"0123456789+-.eE,:[]{} \t\r\n"


def speaker_named(pieces: Iterable[bytes], name: str) -> bytes | None:
    """The object of speaker ``name`` from the JSON of all of them, as it stands there; None without such a name."""
    key = json.dumps(name, ensure_ascii=False).encode("utf-8", "replace")
    held, size, is_found = b"", 0, False
    for piece in pieces:
        time.sleep(0)  # others have their turn: nothing here waits while the server is quick
        held += piece
        size += len(piece)
        if not is_found:
            at = held.find(key)
            is_found = at >= 0
            held = held[at + len(key) :] if is_found else held[-len(key) :]
        if is_found and (end := held.find(b"}")) >= 0:
            return held[held.find(b"{") : end + 1]
        if size > MAX_SPEAKERS or len(held) > MAX_SPEAKER:
            return None
    return None


def is_speaker(data: bytes) -> bool:
    """Whether ``data`` are the two lists of numbers that make a speaker, and nothing else."""
    if not (data.startswith(b"{") and data.endswith(b"}")) or any(data.count(key) != 1 for key in _KEYS):
        return False
    for key in _KEYS:
        data = data.replace(key, b"")
    return not data.translate(None, _NUMBERS)
