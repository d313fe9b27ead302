"""How long a silence has to be before the caller counts as finished.

One number would do for every caller only if it were long. What shortens or lengthens it: what the agent waits for
(``Mode``), whether the words so far can end here (open_ends.py), and how long this caller's pauses have been.
"""

from __future__ import annotations

from enum import Enum

from esl_agent.dialogue.open_ends import OFTEN_OPEN, OPEN_ENDS, digits_in, words_of
from esl_agent.dialogue.settings import EndpointingSettings


class Mode(Enum):
    """What kind of answer is awaited."""

    NORMAL = "normal"
    SHORT = "short"
    """A yes or a no, or one word."""
    DICTATION = "dictation"
    """Digits, an e-mail address, a postal address: with pauses in the middle."""


#: A silence ends the utterance when it is this much longer than the caller's longer pauses.
OVER_PAUSE = 1.25
#: How fast the learned pause follows a longer one, and a shorter one (an utterance without any counts as one of these).
UP, DOWN = 0.3, 0.05
#: Words that can end here leave this much of the learned silence.
CAN_END = 0.8
#: ... and words after which most sentences go on, so much.
OFTEN_GOES_ON = 1.5
#: A short answer has at most so many words: "yes, I do".
SHORT_ANSWER = 3
#: Digits of a telephone number: with so many a dictation may be complete.
ENOUGH_DIGITS = 10
#: After so many pauses within a dictation its rhythm is known: the longest pause, by this much and this many seconds.
RHYTHM, OVER_RHYTHM, MORE = 3, 1.3, 0.3


class Patience:
    """One per call: ``began``, then ``understood`` and ``paused`` as it goes, then ``ended``; ``silence`` any time."""

    __slots__ = ("_longest", "_mode", "_often_open", "_open_ends", "_pause", "_pauses", "_settings", "_text")

    def __init__(self, settings: EndpointingSettings, language: str = "en") -> None:
        self._settings = settings
        self.speaks(language)
        self._mode = Mode.NORMAL
        self._text = ""
        self._pause = settings.silence / OVER_PAUSE
        self._pauses = 0
        self._longest = 0.0

    def speaks(self, language: str) -> None:
        """The caller's language from now on, as a BCP 47 tag."""
        language = language.partition("-")[0].lower()
        self._open_ends = OPEN_ENDS.get(language, frozenset())
        self._often_open = OFTEN_OPEN.get(language, frozenset())

    def listen_for(self, mode: Mode) -> None:
        """What kind of answer is awaited from now on."""
        self._mode = mode

    def began(self) -> None:
        """A new utterance: nothing of it is understood yet."""
        self._text = ""
        self._pauses = 0
        self._longest = 0.0

    def understood(self, text: str) -> None:
        """The words of the open utterance so far."""
        self._text = text

    def paused(self, seconds: float) -> None:
        """The caller went on after so long a silence."""
        self._pauses += 1
        self._longest = max(self._longest, seconds)
        if self._mode is not Mode.DICTATION:
            self._learn(seconds)

    def ended(self) -> None:
        """The utterance is over."""
        if not self._pauses and self._mode is Mode.NORMAL:
            self._learn(0.0)

    def was_cut(self, seconds: float) -> None:
        """It was not: the caller went on after so long a silence, of which we had waited only the first part."""
        if self._mode is not Mode.DICTATION:
            self._learn(seconds)

    def _learn(self, pause: float) -> None:
        self._pause += (pause - self._pause) * (UP if pause > self._pause else DOWN)

    @property
    def silence(self) -> float:
        """Seconds of silence that end the utterance, as far as is known now."""
        settings = self._settings
        if self._mode is Mode.DICTATION:
            return self._dictation()
        if not settings.adapt:
            return settings.silence
        words = words_of(self._text)
        if words and len(words) <= SHORT_ANSWER and self._mode is Mode.SHORT:
            return settings.min_silence
        if words and words[-1] in self._open_ends:
            return settings.max_silence
        silence = self._pause * OVER_PAUSE
        if words:
            silence *= OFTEN_GOES_ON if words[-1] in self._often_open else CAN_END
        return min(max(silence, settings.min_silence), settings.max_silence)

    def _dictation(self) -> float:
        settings = self._settings
        if not settings.adapt:
            return settings.dictation
        if digits_in(self._text) >= ENOUGH_DIGITS:
            return min(settings.silence, settings.dictation)
        if self._pauses >= RHYTHM:
            return min(max(self._longest * OVER_RHYTHM + MORE, settings.silence), settings.dictation)
        return settings.dictation
