"""Every wait of a call ends: when something is overdue, and what is done then."""

from __future__ import annotations

import math

from esl_agent.dialogue.actions import AbandonUtterance, Action, RetryUtterance
from esl_agent.dialogue.duties import Duties
from esl_agent.dialogue.phase import AWAY, Phase
from esl_agent.dialogue.turn import Kind, Turn


class Deadlines(Duties):
    """A floor on which nothing is waited for for ever."""

    def _deadline(self) -> float | None:
        """The first of all deadlines, as of now."""
        if self.phase is Phase.OVER:
            return None
        due = self._phase_deadline()
        if self.phase is not Phase.CLOSING and self.phase not in AWAY:
            due = min(due, self._call_ends, self._keys_due())
            if self._media_due is not None and self.phase is not Phase.WAITING:
                due = min(due, self._media_due)
            if self._is_winding_up:
                due = min(due, self._since)
        return min(due, self._settling.due)

    def _phase_deadline(self) -> float:
        """The first of the current phase's deadlines."""
        limits = self._limits
        match self.phase:
            case Phase.LISTENING:
                return min(self._idle_due(), self._warning_due())
            case Phase.HOLDING:
                return self._hold_ends
            case Phase.TRANSFERRING | Phase.HANDED_OVER:
                return self._away_due()
            case Phase.CLOSING:
                last = self._turn
                return self._closing_ends if last is None else min(self._closing_ends, last.deadline(limits, math.inf))
            case Phase.WAITING:
                return self._call_ends
        due = [self._since + limits.call]
        if self._utterances.opened_at is not None:
            due.append(self._ear.utterance_ends_by(self._utterances.opened_at))
        if (closed_at := self._utterances.oldest_closed_at()) is not None:
            due.append(closed_at + limits.stt)
        if (turn := self._turn) is not None:
            due.append(turn.deadline(limits, self._since))
        due.append(self._filler_due())
        if self.phase is Phase.YIELDING:
            due.append(self._resumes_at())
        return min(due)

    def _overdue(self, now: float, out: list[Action]) -> None:
        """Something took too long. Each case moves its own deadline, so this never spins."""
        limits = self._limits
        for turn in self._settling.take(now):
            self._measure(turn, out, interrupted=True)
            self._think(now, out)
        if self.phase is Phase.WAITING:
            if now >= self._call_ends:
                self._hang_up("NORMAL_TEMPORARY_FAILURE", now, out)
        elif self.phase is Phase.CLOSING:
            if now >= self._closing_ends:
                self._hang_up("NORMAL_CLEARING", now, out)
            elif self._turn is not None:
                self._turn_overdue(self._turn, now, out)
        elif self.phase in AWAY:
            self._away_overdue(now, out)
        elif now >= self._call_ends:
            self._time_is_up(now, out)
        elif self._media_due is not None and now >= self._media_due:
            self._close(self._phrases.failure, now, out)
        elif self._is_winding_up:
            self._wind_up(now, out)
        elif now >= self._keys_due():
            self._keys_overdue(now, out)
        elif self.phase is Phase.HOLDING:
            self._hold_over(now, out)
        elif self.phase is Phase.LISTENING:
            if now >= self._warning_due():
                self._warns_at = math.inf
                self._say(Kind.PROMPT, self._phrases.time_warning, now, out, name="time_warning")
            elif now >= self._idle_due():
                self._break_silence(now, out)
        elif (opened_at := self._utterances.opened_at) is not None and now >= self._ear.utterance_ends_by(opened_at):
            self._close_utterance(now, out)
        elif self.phase is Phase.YIELDING and now >= self._resumes_at():
            self._resume_without_words(now, out)
        elif (late := self._utterances.overdue(now, limits.stt)) is not None:
            self._stt_failed(late, True, now, out)
        elif now >= self._filler_due():
            self._fill(now, out)
        elif (current := self._turn) is not None and now >= current.deadline(limits, self._since):
            self._turn_overdue(current, now, out)

    def _turn_overdue(self, turn: Turn, now: float, out: list[Action]) -> None:
        limits = self._limits
        if (lost := turn.overdue_playback(now, limits.playback)) is not None:
            turn.lose(lost, now)
            self._advance(turn, now, out)
        elif (clip := turn.overdue_clip(now, limits.tts)) is not None:
            self._tts_failed(turn, clip, True, now, out)
        elif not turn.text_ended and now >= turn.errands.due(turn.progressed_at, limits):
            if turn.errands.is_writing:
                self._llm_failed(turn, True, now, out)
            else:
                self._tools_overdue(turn, now, out)

    # The budget is spent (call_ends.py)

    def _ask(self, now: float, out: list[Action], retries: int = 0) -> None:
        if self._spent:
            self._wind_up(now, out)
        else:
            super()._ask(now, out, retries)

    def _guess_if_due(self, now: float, out: list[Action]) -> bool:
        return not self._spent and super()._guess_if_due(now, out)

    # Things go wrong

    def _stt_failed(self, number: int, retryable: bool, now: float, out: list[Action]) -> None:
        """The recogniser gets another try; without one, the caller is let finish and then asked to say it again."""
        if not self._utterances.is_known(number):
            return
        if retryable and self._utterances.retry(number, self._limits.retries, now):
            out.append(RetryUtterance(number))
            if number != self._utterances.open_number:
                self._waits_since = now
            return
        out.append(AbandonUtterance(number))
        if number == self._utterances.open_number:
            self._utterances.lose(number)
        else:
            self._words_lost(number, now, out)

    def _close_utterance(self, now: float, out: list[Action]) -> None:
        number = self._utterances.open_number
        super()._close_utterance(now, out)
        if number is not None and self._utterances.is_lost(number):
            self._words_lost(number, now, out)

    def _words_lost(self, number: int, now: float, out: list[Action]) -> None:
        """What the caller said will never be known."""
        over = self._utterances.spoken_over(number)
        self._utterances.settle(number, now)
        self._failures += 1
        if self._failures >= self._limits.failures:
            self._give_up(now, out)
        elif over and (self._current(over) is not None or self.phase is Phase.YIELDING):
            self._dismiss(now, out)
        elif not self._guess_settled(number, None, now, out):
            self._repeats = 0  # limits.failures bounds how often this is said
            self._think(now, out)
