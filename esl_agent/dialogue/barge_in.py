"""Is this speech over the agent meant to take the floor?

Decided in steps. *Yield*: enough voice over the agent, and the agent hesitates (pauses, becomes softer, or speaks on,
as ``barge_in.hesitate`` says) while an utterance opens. *Confirm*: it goes on long enough, or its words are more than
a back-channel; the agent has lost the floor. *Dismiss*: nothing came of it, and the agent goes on where it stopped.
"""

from __future__ import annotations

import re
from enum import Enum

from esl_agent.audio.pcm import FRAME_SECONDS
from esl_agent.dialogue.settings import BargeInSettings


class Verdict(Enum):
    CONFIRM = "confirm"
    DISMISS = "dismiss"


#: Words that keep a speaker going and do not take the floor, by language (the first part of the BCP 47 tag).
BACKCHANNELS: dict[str, frozenset[str]] = {
    "en": frozenset(
        [
            "mm",
            "mhm",
            "mm-hm",
            "mm-hmm",
            "hm",
            "hmm",
            "uh-huh",
            "uhuh",
            "huh",
            "uh",
            "um",
            "ah",
            "oh",
            "okay",
            "ok",
            "yeah",
            "yep",
            "yes",
            "right",
            "sure",
            "i",
            "see",
        ]
    ),
}
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


class BargeIn:
    """Judges one utterance at a time: ``begin`` at its onset, then every frame and every word of it."""

    __slots__ = ("_backchannels", "_settings", "_sure", "_voiced")

    def __init__(self, settings: BargeInSettings, language: str = "en") -> None:
        self._settings = settings
        known = BACKCHANNELS.get(language.partition("-")[0].lower(), frozenset())
        self._backchannels = known | {word.lower() for phrase in settings.backchannels for word in phrase.split()}
        self._sure = max(1, round(settings.sure / FRAME_SECONDS))
        self._voiced = 0

    def begin(self, voiced: int) -> None:
        """The agent has yielded to ``voiced`` frames of voice."""
        self._voiced = voiced

    def frame(self, voiced: bool) -> Verdict | None:
        """Account for the next frame."""
        self._voiced += voiced
        return Verdict.CONFIRM if self._voiced >= self._sure else None

    def words(self, text: str, *, final: bool) -> Verdict | None:
        """What a recogniser makes of the utterance so far, or (``final``) altogether."""
        words = _WORD.findall(text.lower())
        if len([word for word in words if word not in self._backchannels]) >= self._settings.min_words:
            return Verdict.CONFIRM
        return Verdict.DISMISS if final else None
