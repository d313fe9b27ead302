"""What happened on one call: log lines while it lasts, one record when it is over.

Every line carries the call's id. What people say, prompts and numbers are private: they are marked as such and
become a word count unless the operator asks for them (``log.private``). Outside text is made safe for one line.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger("esl_agent.call")

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: Notes of single steps, logged at DEBUG: a dozen lines a turn, which the turn's own line sums up.
DETAILS = frozenset({"phase", "clause", "play", "began", "played", "speech", "speech_ended", "media", "used"})
#: Decimal places of what is no time: money. Times have three.
_PLACES = {"amount": 9, "spent": 9}
#: Outside text is cut here in log lines and records.
MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class Private:
    """Words or numbers of people: shown only to an operator who asked for it."""

    text: str

    def __str__(self) -> str:
        return f"<{len(self.text.split())} words>"


@dataclass(frozen=True, slots=True)
class Note:
    """One fact about a call, ``at`` seconds after it came in."""

    at: float
    what: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def one_line(text: str) -> str:
    """``text`` fit for a log line or a file: no control characters, line separators or lone surrogates, bounded."""
    return _UNPRINTABLE.sub(" ", text[:MAX_TEXT])


class Journal:
    """Notes of one call. ``watch`` sees every note as it is made, with private facts in the clear.

    ``keep``: hold the notes for ``record``. A long call makes thousands, and each is three objects that the garbage
    collector visits while every call waits; nobody pays that for a record that is not written.
    """

    def __init__(
        self,
        call_id: str,
        began: float,
        *,
        show_private: bool = False,
        keep: bool = True,
        watch: Callable[[str, Note], None] | None = None,
    ) -> None:
        self.call_id = one_line(call_id)
        self._began = began
        self._show_private = show_private
        self._watch = watch
        self._keep = keep
        self.notes: list[Note] = []

    def note(self, what: str, now: float, /, **facts: Any) -> None:
        """Write down a fact. Values are numbers, text (made safe here) or ``Private``; the names ``at`` and ``what``
        are taken."""
        level = logging.DEBUG if what in DETAILS else logging.INFO
        is_logged = log.isEnabledFor(level)
        if not (is_logged or self._keep or self._watch):
            return
        note = Note(round(now - self._began, 3), what, facts)
        if self._keep:
            self.notes.append(note)
        if is_logged:
            shown = " ".join(f"{key}={self._logged(key, value)}" for key, value in facts.items())
            log.log(level, "call=%s t=%.3f %s %s", self.call_id, note.at, what, shown)
        if self._watch is not None:
            self._watch(self.call_id, note)

    def record(self) -> dict[str, Any]:
        """The call as one JSON-able object."""
        return {
            "call": self.call_id,
            "notes": [
                {"at": note.at, "what": note.what}
                | {
                    name: self._recorded(name, value)
                    for name, value in note.facts.items()
                    if name not in ("at", "what")
                }
                for note in self.notes
            ],
        }

    def _logged(self, name: str, value: Any) -> Any:
        """A value in a line of others: where words are shown, quotes tell where they end."""
        recorded = self._recorded(name, value)
        return repr(recorded) if isinstance(value, Private) and self._show_private else recorded

    def _recorded(self, name: str, value: Any) -> Any:
        """A value as it is."""
        if isinstance(value, Private):
            return one_line(value.text) if self._show_private else str(value)
        if isinstance(value, float):
            return round(value, _PLACES.get(name, 3))
        return one_line(value) if isinstance(value, str) else value
