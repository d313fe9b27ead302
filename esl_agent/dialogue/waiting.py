"""What the caller hears until an answer is ready: a filler for each wait, and again if it is a long one.

The caller waits from the end of their speech until the answer is heard, and again where a request is repeated after a
failure, a tool runs, or an answer stops in the middle because the model or the voice is slow (once in an answer). A
filler within a turn is a clip of that turn; while words are still awaited it is a turn of its own.
"""

from __future__ import annotations

import math

from esl_agent.dialogue.actions import Action
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.recovery import Recovery
from esl_agent.dialogue.turn import Kind, Turn

#: Fillers of one request to the model: until its first word is heard, and once behind that.
MAX_FILLERS = 2
#: How often the caller is told so in one wait.
MAX_TOLD = 3


class Waiting(Recovery):
    """A floor on which nobody waits in silence."""

    _told = 0
    """Fillers in this wait."""

    def _filler_due(self) -> float:
        """When the caller has waited long enough to be told so; infinity if that is not to be."""
        is_told = self._filled_at >= self._waits_since
        fillers = self._settings.filler
        after = fillers.again if is_told else fillers.after
        if not fillers.after or not after or not self._phrases.filler or (is_told and self._told >= MAX_TOLD):
            return math.inf
        if self._guess is not None or self._settling.is_sounding or self._utterances.open_number is not None:
            return math.inf
        if not (self._waits_for_words if self._turn is None else self._waits_for(self._turn)):
            return math.inf
        quiet_since = max(self._filled_at, self._quiet_since)
        due = max(self._waits_since, quiet_since) + after
        if fillers.again and self._filled_at >= self._unanswered_since:
            # What failed is asked for again: that is no news to the caller.
            due = min(due, quiet_since + fillers.again)
        return due

    @property
    def _waits_for_words(self) -> bool:
        return self.phase is Phase.THINKING and self._utterances.is_busy

    def _waits_for(self, turn: Turn) -> bool:
        is_told = self._filled_at >= self._waits_since
        is_due = turn.kind is Kind.REPLY and turn.is_silent and not turn.is_finished
        return is_due and (is_told or turn.fillers < MAX_FILLERS) and self.phase in (Phase.THINKING, Phase.SPEAKING)

    def _fill(self, now: float, out: list[Action]) -> None:
        """Say that it takes a moment. What comes next waits until that was heard."""
        turn = self._turn
        if turn is None:
            turn = self._new_turn(Kind.FILLER, now)
            turn.mark("asked", now)
            turn.end_text()
        is_told = self._filled_at >= self._waits_since
        self._told = self._told + 1 if is_told else 1
        turn.fillers += not is_told
        turn.add_filler(self._phrases.filler[self._fillers % len(self._phrases.filler)])
        self._fillers += 1
        self._filled_at = now
        self._advance(turn, now, out)

    def _heard_on(self, turn: Turn, clip: int, now: float) -> None:
        """A clip of the turn in flight ended: the wait for the next one begins."""
        heard = turn.clip(clip)
        if heard is not None and not heard.is_filler:
            self._waits_since = self._unanswered_since = now

    def _think(self, now: float, out: list[Action]) -> None:
        """The words that a filler covered for are here: nobody waits for its end."""
        turn = self._turn
        if turn is not None and turn.kind is Kind.FILLER and not self._utterances.is_busy:
            self._abandon(turn, now, out, stop=False)
            self._enter(Phase.THINKING, now)
        super()._think(now, out)

    def _finish(self, turn: Turn, now: float, out: list[Action]) -> None:
        if turn.kind is Kind.FILLER:
            self._turn = None
            self._measure(turn, out, interrupted=False)
            self._yield_floor(now, out)
        else:
            super()._finish(turn, now, out)
