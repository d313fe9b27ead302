"""What of a model's text is said: neither its thinking, nor the sign by which a model without tools hangs up."""

from __future__ import annotations

import re

#: How models mark what they think in their text, where their server does not take it out.
THOUGHTS = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]"))


class Speakable:
    """Text in pieces of any length -> what is to be said of it. Signs may be split anywhere; case does not matter."""

    def __init__(self, hang_up_on: str = "", begins_thinking: bool = False) -> None:
        """``hang_up_on``: the sign for hanging up; empty: there is none. ``begins_thinking``: the text begins within a
        thought."""
        closings = dict(THOUGHTS)
        self._signs = [*closings, *([hang_up_on] if hang_up_on else [])]
        self._closings: list[str | None] = [*closings.values(), *([None] if hang_up_on else [])]
        self._any_sign = _pattern(*self._signs)
        self._held = ""
        self._until: str | None = THOUGHTS[0][1] if begins_thinking else None
        self.hang_up = False
        """The sign came."""

    def feed(self, piece: str) -> str:
        """What can be said now; the beginning of what may be a sign is held back."""
        text, at = self._held + piece, 0
        said = []
        while True:
            if self._until is not None:
                end = _pattern(self._until).search(text, at)
                if end is None:
                    self._held = text[max(at, len(text) + 1 - len(self._until)) :]
                    break
                at, self._until = end.end(), None
            sign = self._any_sign.search(text, at)
            if sign is None:
                self._held = text[at:]
                whole = len(self._held) - self._begun()
                said.append(self._held[:whole])
                self._held = self._held[whole:]
                break
            said.append(text[at : sign.start()])
            at = sign.end()
            self._until = self._closings[(sign.lastindex or 1) - 1]
            self.hang_up = self.hang_up or self._until is None
        return "".join(said)

    def end(self) -> str:
        """What was held back and turned out to be no sign. A thought that never ended is not said."""
        rest, self._held = ("" if self._until is not None else self._held), ""
        return rest

    def _begun(self) -> int:
        """How many characters at the end may be the beginning of a sign."""
        longest = 0
        for sign in self._signs:
            for size in range(min(len(sign) - 1, len(self._held)), longest, -1):
                if self._held[-size:].lower() == sign[:size].lower():
                    longest = size
                    break
        return longest


def _pattern(*signs: str) -> re.Pattern[str]:
    return re.compile("|".join(f"({re.escape(sign)})" for sign in signs), re.IGNORECASE)
