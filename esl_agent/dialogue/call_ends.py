"""When a call is to end, the same for every agent: its time is up, an operator wants it ended, the budget is spent."""

from __future__ import annotations

import math
from typing import Literal

from esl_agent.dialogue.actions import Action
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import CascadeSettings, LimitSettings, Phrases

#: Nobody has spoken for so long: a pause in which the caller may be told that the time is almost up.
WARNING_PAUSE = 1.0


class CallEnds:
    """What every floor knows of the end of its call. How the last words are said is the floor's."""

    phase: Phase
    _settings: CascadeSettings
    _limits: LimitSettings
    _phrases: Phrases
    _since: float
    _media_due: float | None = None
    """When the call ends because its sound has not come, or has not come back; None while there is sound."""
    _call_ends = math.inf
    _warns_at = math.inf
    _is_stopping = False
    """An operator ends the call, not the clock."""
    _spent: Literal["", "call", "day"] = ""
    """Whose budget is used up: nobody's, the call's, or that of all of the DID's calls today."""
    _has_fled = False
    """The last resort was tried."""

    def _begin_time(self, now: float) -> None:
        """The call was answered."""
        self._call_ends = now + self._limits.call
        if 0 < self._limits.warn < self._limits.call:
            self._warns_at = self._call_ends - self._limits.warn

    def _time_is_up(self, now: float, out: list[Action]) -> None:
        self._close(self._phrases.ended if self._is_stopping else self._phrases.too_long, now, out)

    def _warning_due(self) -> float:
        """When the caller is told that the time is almost up: once, in a pause."""
        return max(self._warns_at, self._since + WARNING_PAUSE)

    # The budget is spent

    @property
    def _is_winding_up(self) -> bool:
        """The budget is spent, and this is the pause in which the call ends."""
        return bool(self._spent) and self.phase in (Phase.LISTENING, Phase.HOLDING) and self._media_due is None

    def _wind_up(self, now: float, out: list[Action]) -> None:
        """Where no call of the DID is served any more, the last resort gets it; a dear one is ended."""
        if self._spent == "day" and self._settings.last_resort.transfer and not self._has_fled:
            self._give_up(now, out)
        else:
            self._close(self._phrases.budget or self._phrases.too_long, now, out)

    # What the floor does

    def _give_up(self, now: float, out: list[Action]) -> None:
        """The call cannot go on."""

    def _close(self, words: str, now: float, out: list[Action]) -> None:
        """Say the last words, then hang up."""

    def _hang_up(self, cause: str, now: float, out: list[Action]) -> None:
        """The call ends now."""
