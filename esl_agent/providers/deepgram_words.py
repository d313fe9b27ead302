"""What Deepgram's ``Results`` say of one utterance (deepgram-sdk 7.17, ``ListenV1Results``). No I/O."""

from __future__ import annotations

from typing import Any

from esl_agent.providers.base import Transcript
from esl_agent.providers.utterance import Complain, objects_in, share_of, spoken, text_of

#: Stretches of one utterance. In a minute there are twenty, and each new result goes through all of them.
MAX_STRETCHES = 500
#: Seconds by which the time of a result may be off.
_BLUR = 0.02


class Words:
    """Final stretches joined, and the newest guess at what follows them."""

    def __init__(self, offset: float = 0.0) -> None:
        """``offset``: seconds of the stream that belong to utterances before this one."""
        self._offset = offset
        self._final: list[str] = []
        self._sure: list[tuple[float, int]] = []
        self._guess = ""

    @property
    def text(self) -> str:
        return spoken(*self._final, self._guess)

    def take(self, found: dict[str, Any], complain: Complain) -> bool:
        """Whether ``found`` belongs to this utterance."""
        start, duration = _seconds(found.get("start")), _seconds(found.get("duration"))
        if start is None or duration is None:
            raise complain("expected seconds in 'start' and 'duration'")
        if self._offset and start + duration <= self._offset + _BLUR:
            return False
        channel = found.get("channel")
        alternatives = objects_in(channel, "alternatives") if isinstance(channel, dict) else []
        if not alternatives:
            raise complain("expected results with alternatives")
        text = text_of(alternatives[0], "transcript", complain)
        if found.get("is_final") is not True:
            self._guess = text
            return True
        self._guess = ""
        if text and len(self._final) < MAX_STRETCHES:
            self._final.append(text)
            if (sure := share_of(alternatives[0].get("confidence"))) is not None:
                self._sure.append((sure, len(text.split())))
        return True

    def final(self) -> Transcript:
        """All of it; how sure each stretch is counts by its words."""
        count = sum(words for _, words in self._sure)
        confidence = sum(sure * words for sure, words in self._sure) / count if count else None
        return Transcript(self.text, final=True, confidence=confidence)


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and -1e9 < value < 1e9 else None
