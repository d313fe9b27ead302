"""A stream of words -> clauses fit to be spoken.

A clause is what one synthesis request turns into one clip: a sentence, or, so that the caller hears something soon,
the first part of a long first sentence.
"""

from __future__ import annotations

import re

#: A sentence ends at these, when white space follows. Not after an initial or a common abbreviation, nor in "3.5".
_END = re.compile(r"[.!?;:\u2026\u3002\uff01\uff1f]+[\"')\]\u201d\u2019]*(?=\s)|[\u3002\uff01\uff1f]|\n")
_ABBREVIATION = re.compile(r"(?:^|[\s.])(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|No|Nr|vs|etc|bzw|ca|Inc|Ltd)\.$")
_SPEAKABLE = re.compile(r"\w")
#: Words that end so are a whole sentence though nothing follows them; "3." may be half a number.
_WHOLE = re.compile(r"(?:(?<!\d)\.|[!?\u2026\u3002\uff01\uff1f])[\"')\]\u201d\u2019]*$")

#: Where a first clause may end: at a comma or a dash, not among numbers.
_PAUSE = re.compile(r",(?=\s)(?!\s+\d)|\s[-\u2013\u2014](?=\s)(?!\s+\d)")
_DASHES = " -\u2013\u2014"

#: A first clause may end at such a pause once it has this many characters: about one second of speech.
FIRST_CLAUSE_CHARS = 24
#: No clause is longer: about fifteen seconds of speech. Text without punctuation is cut at a space.
MAX_CLAUSE_CHARS = 240
#: No end is looked for farther on: a reply that comes in one piece may be long.
_HORIZON = MAX_CLAUSE_CHARS + 16
#: Characters of the longest abbreviation, its point, and what is before it; and one more.
_ABBREVIATED = 7


class ClauseCutter:
    """Feed it text as it streams in; it gives back clauses as soon as they are complete."""

    __slots__ = ("_first", "_text")

    def __init__(self) -> None:
        self._text = ""
        self._first = True

    def feed(self, text: str) -> list[str]:
        """The clauses that ``text`` completes, in order. A clause ends when what follows it has begun."""
        self._text += text
        clauses: list[str] = []
        while (end := self._next_end()) is not None:
            self._take(end, clauses)
        return clauses

    def flush(self) -> list[str]:
        """What is left when the reply has ended."""
        clauses: list[str] = []
        while len(self._text) > MAX_CLAUSE_CHARS:
            self._take(self._cut(), clauses)
        self._take(len(self._text), clauses)
        return clauses

    def break_off(self) -> list[str]:
        """What is left when the reply will never be ended: a whole sentence, or nothing."""
        text = self._text.rstrip()
        if not _WHOLE.search(text) or _ABBREVIATION.search(text):
            self._text = ""
        return self.flush()

    def _take(self, end: int, clauses: list[str]) -> None:
        clause, self._text = self._text[:end].strip().rstrip(_DASHES), self._text[end:]
        if _SPEAKABLE.search(clause):
            clauses.append(" ".join(clause.split()))
            self._first = False

    def _next_end(self) -> int | None:
        matches = _END.finditer(self._text, 0, _HORIZON)
        ends = (
            m.end() for m in matches if not _ABBREVIATION.search(self._text[max(0, m.end() - _ABBREVIATED) : m.end()])
        )
        end = next(ends, MAX_CLAUSE_CHARS + 1)
        if self._first and (pause := _PAUSE.search(self._text, FIRST_CLAUSE_CHARS, _HORIZON)) and pause.end() < end:
            end = pause.end()
        if end <= MAX_CLAUSE_CHARS:
            return end
        return self._cut() if len(self._text) > MAX_CLAUSE_CHARS else None

    def _cut(self) -> int:
        comma = self._text.rfind(", ", MAX_CLAUSE_CHARS // 2, MAX_CLAUSE_CHARS)
        space = self._text.rfind(" ", 1, MAX_CLAUSE_CHARS)
        return comma + 1 if comma != -1 else space if space > 0 else MAX_CLAUSE_CHARS


def cut(text: str) -> list[str]:
    """All clauses of a finished text."""
    cutter = ClauseCutter()
    return [*cutter.feed(text), *cutter.flush()]
