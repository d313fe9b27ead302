"""The caller speaks over the agent: the turn is suspended, and goes on or is given up once it is known what that was.

While the phase is YIELDING the turn in flight is suspended: what the model writes and the voice makes of it is kept,
and ``barge_in.hesitate`` says what is heard meanwhile: nothing, a softer agent, or the agent as ever. Utterances
that began since then are *spoken over* the turn (utterances.py): their words may be dismissed, also when they come
after the agent went on. Two ways lead out:

- the caller has the floor (``_confirm``): enough voice, or words that are no back-channel, also late ones;
- the agent goes on (``_resume``): such words or none in a final transcript, or none soon enough.
"""

from __future__ import annotations

import math

from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Action, CloseUtterance, SetVolume, StopPlayback
from esl_agent.dialogue.barge_in import BargeIn, Verdict
from esl_agent.dialogue.ear import Ear, Mode
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.dialogue.tools import Toolbox
from esl_agent.dialogue.turn import Kind, Turn
from esl_agent.dialogue.waiting import Waiting

#: With so many seconds of a turn to go, what is said over it answers it.
ALMOST_OVER = 1.0


class Interruption(Waiting):
    """A floor that can be taken."""

    def __init__(
        self, settings: CascadeSettings, now: float, ear: Ear, toolbox: Toolbox, *, streams: bool, language: str
    ) -> None:
        super().__init__(settings, now, ear, toolbox, streams=streams, language=language)
        self._barge_in = settings.barge_in
        self._judge = BargeIn(settings.barge_in, language)

    # The voice

    def _interrupt(self, now: float, out: list[Action]) -> None:
        """An utterance begins. A turn that is not heard yet, or only a guess, is asked for again and nothing is
        lost; one that is heard, or whose tools did something, is suspended."""
        turn = self._turn
        if turn is None or self._is_uninterruptible(turn):
            return
        if turn.kind is Kind.FILLER:
            self._abandon(turn, now, out, stop=True)
            return
        if self.phase is Phase.THINKING and (turn.errands.is_idle or self._guess is not None):
            turn.mark("interrupted_onset", self._ear.onset)
            turn.mark("interrupted", now)
            self._abandon(turn, now, out, stop=True)
        elif self.phase in (Phase.SPEAKING, Phase.THINKING) and self._barge_in.enabled:
            self._suspend(turn, now, out)

    def _is_uninterruptible(self, turn: Turn) -> bool:
        if turn.kind is Kind.GREETING and not self._barge_in.greeting:
            return True
        return turn.name in self._barge_in.uninterruptible

    def _suspend(self, turn: Turn, now: float, out: list[Action]) -> None:
        self._enter(Phase.YIELDING, now)
        self._judge.begin(self._ear.voiced_frames)
        turn.steps.update(interrupted_onset=self._ear.onset, interrupted=now)
        turn.steps.pop("resumed", None)  # that was another one
        if self._hesitate == "duck":
            out.append(SetVolume(self._barge_in.duck))
        elif self._hesitate == "pause" and turn.stop(now):
            out.append(StopPlayback())

    def _is_won_by_voice(self, now: float, out: list[Action]) -> bool:
        """Account for another frame of an utterance that is spoken over the agent."""
        if self._judge.frame(self._ear.is_voiced) is not Verdict.CONFIRM:
            return False
        if self._turn is not None:
            self._confirm(self._turn, now, out)
        return True

    # The words

    def _matters(self, over: int, event: ev.Transcribed, now: float, out: list[Action]) -> bool:
        """Whether words that were spoken over turn ``over`` are more than a back-channel; they stop the turn then."""
        turn = self._current(over)
        may_answer = turn is not None and bool(event.text.strip()) and self._is_answerable(turn)
        if not may_answer and self._judge.words(event.text, final=event.final) is not Verdict.CONFIRM:
            return False
        if turn is not None:
            self._confirm(turn, now, out)
        return True

    def _is_answerable(self, turn: Turn) -> bool:
        """Whether "yes" over the turn is an answer: it asked something, or is as good as over."""
        is_asked = self.transcript.agent_text(turn.number).rstrip().endswith("?")
        return is_asked or turn.left(turn.steps.get("interrupted", 0.0)) < ALMOST_OVER

    def _confirm(self, turn: Turn, now: float, out: list[Action]) -> None:
        """The caller has the floor."""
        self._ear.listen_for(Mode.NORMAL)
        if self._hesitate == "keep":
            turn.steps["interrupted"] = now
        if turn.steps.pop("resumed", None) is not None:
            turn.false_interruptions -= 1
        turn.steps["confirmed"] = now
        self._abandon(turn, now, out, stop=True)
        self._utterances.win()
        self._enter(Phase.THINKING if self._utterances.open_number is None else Phase.HEARING, now)

    def _dismiss(self, now: float, out: list[Action]) -> None:
        """What was spoken over a turn turned out to be nothing. If no other words are awaited, things go on."""
        turn = self._turn
        if self._utterances.is_busy:
            return
        if turn is None:
            if self.phase is Phase.THINKING:
                self._yield_floor(now, out)
        elif self.phase is not Phase.YIELDING:
            self._advance(turn, now, out)  # its end may have waited for these words
        elif self._barge_in.resume:
            self._resume(turn, now, out)
        else:
            self._confirm(turn, now, out)
            self._think(now, out)

    def _finish(self, turn: Turn, now: float, out: list[Action]) -> None:
        """Words that are late, and were said over the last of its own, answer it although the agent went on."""
        since = turn.steps.get("resumed" if self._hesitate == "pause" else "interrupted", -math.inf)
        if now - since < ALMOST_OVER:
            self._utterances.win()
        super()._finish(turn, now, out)

    def _resumes_at(self) -> float:
        """Until when words or more voice must have come: no longer than until the last of them are here."""
        if not self._utterances.is_busy:
            return -math.inf
        return self._ear.last_voiced + self._barge_in.resume_after if self._barge_in.resume else math.inf

    def _resume_without_words(self, now: float, out: list[Action]) -> None:
        """The words may still come. If they matter they stop the turn then."""
        if not self._utterances.is_busy:
            self._dismiss(now, out)
            return
        if self._utterances.open_number is not None:
            self._close_utterance(now, out)
        if self._turn is not None and self.phase is Phase.YIELDING:
            self._resume(self._turn, now, out)

    def _resume(self, turn: Turn, now: float, out: list[Action]) -> None:
        turn.steps["resumed"] = now
        turn.steps.pop("confirmed", None)
        turn.false_interruptions += 1
        self._speak_up(out)
        self._enter(Phase.SPEAKING, now)
        self._advance(turn, now, out)

    def _close_utterance(self, now: float, out: list[Action]) -> None:
        self._ear.rest()
        self._waits_since = self._unanswered_since = self._ear.last_voiced
        out.append(CloseUtterance(self._utterances.close(now, spoke_until=self._ear.last_voiced)))
        if self.phase is Phase.HEARING:
            self._enter(Phase.THINKING, now)
