"""What a voice is asked to say: text made harmless, and cut where a speaker would breathe."""

from __future__ import annotations

import re
import unicodedata

#: Characters of one clause that are spoken; what follows is cut at a word. Over two minutes of talk.
MAX_TEXT = 2000
#: Zero-width joiners: Persian and the scripts of India spell with them.
_JOINERS = "\u200c\u200d"
#: Where a text that is too long is cut, the best first: a sentence's end, a pause within it, between words.
_PAUSES = (
    re.compile(r"[.!?…؟।]+[\"')\]»”’]*(?=\s)|[。！？]+[」』”]*"),
    re.compile(r"[,;:،–—](?=\s)|[、，；]"),
    re.compile(r"(?=\s)"),
)


def speakable(text: str, limit: int = MAX_TEXT) -> str:
    """``text`` on one line, without control characters, at most ``limit`` long; empty when nothing can be spoken."""
    text = text[: 2 * limit]
    line = "".join(" " if unicodedata.category(c)[0] in "CZ" and c not in _JOINERS else c for c in text)
    line = re.sub(r" +", " ", line).strip()
    if len(line) > limit:
        line = line[:limit].rpartition(" ")[0] or line[:limit]
    return line if any(c.isalnum() for c in line) else ""


def parts(text: str, limit: int) -> list[str]:
    """What ``speakable`` left, in parts of at most ``limit`` characters, in order; none without a word."""
    found = []
    while len(text) > limit:
        at = _pause(text, limit)
        found.append(text[:at].rstrip())
        text = text[at:].lstrip()
    return [part for part in (*found, text) if any(c.isalnum() for c in part)]


def _pause(text: str, limit: int) -> int:
    """Where to cut: the last pause of the best kind, not so early that scraps are left; else within a word."""
    for pattern in _PAUSES:
        ends = [match.end() for match in pattern.finditer(text, 0, limit + 1)]
        at = max((end for end in ends if end <= limit), default=0)
        if at > limit // 4:
            return at
    return limit
