"""How long a silence has to be before the caller counts as finished.

One number per frame would do for every caller only if it were long. What shortens or lengthens it: what the agent
waits for (``Mode``), whether the words so far can end here, and how long this caller's pauses have been.
"""

from __future__ import annotations

import re
from enum import Enum

from esl_agent.dialogue.settings import EndpointingSettings


class Mode(Enum):
    """What kind of answer is awaited."""

    NORMAL = "normal"
    SHORT = "short"
    """A yes or a no, or one word."""
    DICTATION = "dictation"
    """Digits, an e-mail address, a postal address: with pauses in the middle."""


#: After these the sentence goes on, by language.
OPEN_ENDS: dict[str, str] = {
    "en": (
        "a an the and or but so because if when that which who to of for with from at in on by my your his her our "
        "their um uh er erm is are was i we about than as like between into it's i'm"
    ),
}
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


class Patience:
    """One per call."""

    __slots__ = ("_mode", "_open_ends", "_settings", "_text")

    def __init__(self, settings: EndpointingSettings, language: str = "en") -> None:
        self._settings = settings
        self._open_ends = frozenset(OPEN_ENDS.get(language.partition("-")[0].lower(), "").split())
        self._mode = Mode.NORMAL
        self._text = ""

    def listen_for(self, mode: Mode) -> None:
        self._mode = mode

    def began(self) -> None:
        """A new utterance: nothing of it is understood yet."""
        self._text = ""

    def understood(self, text: str) -> None:
        """The words of the open utterance so far."""
        self._text = text

    @property
    def silence(self) -> float:
        """Seconds of silence that end the utterance, as far as is known now."""
        settings = self._settings
        if self._mode is Mode.DICTATION:
            return settings.dictation
        if not settings.adapt:
            return settings.silence
        text = self._text.rstrip()
        words = _WORD.findall(text.lower())
        if words and words[-1] in self._open_ends:
            return settings.max_silence
        if text.endswith((".", "!", "?")) or (words and self._mode is Mode.SHORT):
            return settings.min_silence
        return settings.silence
