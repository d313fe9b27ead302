"""The agent's side of a call: taking the floor, speaking, yielding it, and the last words.

``Cascade`` (cascade.py) adds the caller's side and the deadlines; the laws stand there. Every method appends its
orders to ``out``.
"""

from __future__ import annotations

from esl_agent.dialogue.actions import (
    AbandonTurn,
    AbandonUtterance,
    Action,
    AskModel,
    HangUp,
    Measured,
    Play,
    StopPlayback,
)
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.dialogue.transcript import Transcript
from esl_agent.dialogue.turn import Kind, Settling, Turn
from esl_agent.dialogue.utterances import Utterances

#: How often in a row the agent asks a caller to repeat before it waits in silence.
MAX_REPEATS = 2


class Floor:
    """Whose turn it is (``phase``), the turn in flight, and what was said."""

    def __init__(self, settings: CascadeSettings, now: float) -> None:
        self.phase = Phase.WAITING
        self.transcript = Transcript()
        self._settings = settings
        self._limits = settings.limits
        self._phrases = settings.phrases
        self._utterances = Utterances()
        self._turn: Turn | None = None
        self._turns = 0
        self._settling = Settling()
        self._since = now
        self._closing_ends = 0.0
        self._media_due: float | None = None
        self._failures = 0
        self._repeats = 0

    @property
    def turn_number(self) -> int:
        """The turn in flight, or the last one."""
        return self._turns

    def _think(self, now: float, out: list[Action]) -> None:
        """Every word that was awaited is here: answer, ask to repeat, or go on listening."""
        if self.phase is not Phase.THINKING or self._turn is not None or self._utterances.is_busy:
            return
        if self.transcript.owes_reply:
            self._repeats = 0
            self._ask(now, out)
        elif self._repeats < MAX_REPEATS:
            self._repeats += 1
            self._say(Kind.PROMPT, self._phrases.not_understood, now, out)
        else:
            self._enter(Phase.LISTENING, now)

    def _new_turn(self, kind: Kind, now: float, retries: int = 0) -> Turn:
        self._turns += 1
        turn = self._turn = Turn(self._turns, kind, retries=retries, progressed_at=now)
        if kind is not Kind.APOLOGY:
            self.transcript.open_turn(turn.number)
        if self.phase is not Phase.CLOSING:
            self._enter(Phase.THINKING, now)
        return turn

    def _say(self, kind: Kind, text: str, now: float, out: list[Action]) -> None:
        turn = self._new_turn(kind, now)
        turn.mark("asked", now)
        turn.add_text(text)
        turn.end_text()
        self._advance(turn, now, out)

    def _ask(self, now: float, out: list[Action], retries: int = 0) -> None:
        messages = self.transcript.messages(self._settings.prompt, self._limits.history)
        turn = self._new_turn(Kind.REPLY, now, retries)
        turn.steps.update(self._utterances.last_times)
        turn.mark("asked", now)
        out.append(AskModel(turn.number, messages))

    def _advance(self, turn: Turn, now: float, out: list[Action]) -> None:
        """Synthesise and play what can be; finish the turn when all of it was heard."""
        for action in turn.pump(now):
            if isinstance(action, Play):
                text = turn.clips[action.clip].text
                self.transcript.spoken(turn.number, action.clip, text, action.audio.seconds)
                if self.phase is Phase.THINKING:
                    self._enter(Phase.SPEAKING, now)
            out.append(action)
        if turn.is_finished:
            self._finish(turn, now, out)

    def _finish(self, turn: Turn, now: float, out: list[Action]) -> None:
        if turn.kind is Kind.REPLY and not turn.clips:
            self._without_words(turn, now, out)
            return
        self._turn = None
        self._measure(turn, out, interrupted=False)
        if turn.kind is Kind.CLOSING or turn.hang_up:
            self._hang_up("NORMAL_CLEARING", now, out)
        elif not turn.heard_any:
            self._fail(now, out)
        else:
            if turn.kind is Kind.REPLY:
                self._failures = 0
            self._yield_floor(now, out)

    def _without_words(self, turn: Turn, now: float, out: list[Action]) -> None:
        """The model ended its reply without a word: a goodbye if it asked to hang up, else a failure."""
        if turn.hang_up:
            self._close(self._phrases.goodbye, now, out)
        else:
            self._llm_failed(turn, True, now, out)

    def _yield_floor(self, now: float, out: list[Action]) -> None:
        """The agent has said what it had to say: whose turn is it?"""
        if self._utterances.open_number is not None:
            self._enter(Phase.HEARING, now)
        elif self._utterances.is_busy:
            self._enter(Phase.THINKING, now)
        elif self.transcript.owes_reply:
            self._ask(now, out)
        else:
            self._enter(Phase.LISTENING, now)

    def _abandon(self, turn: Turn, now: float, out: list[Action], *, stop: bool) -> None:
        self._turn = None
        out.append(AbandonTurn(turn.number))
        if not turn.outstanding():
            self._measure(turn, out, interrupted=True)
            return
        if stop:
            out.append(StopPlayback())
        self._settling.add(turn, now)

    # A turn fails

    def _llm_failed(self, turn: Turn, retryable: bool, now: float, out: list[Action]) -> None:
        if turn.clips:
            turn.end_text()
            self._advance(turn, now, out)
            return
        self._abandon(turn, now, out, stop=True)
        if retryable and turn.retries < self._limits.retries:
            self._ask(now, out, turn.retries + 1)
        else:
            self._fail(now, out)

    def _tts_failed(self, turn: Turn, clip: int, retryable: bool, now: float, out: list[Action]) -> None:
        if retryable and turn.retry_clip(clip, self._limits.retries):
            self._advance(turn, now, out)
            return
        self._abandon(turn, now, out, stop=True)
        self._fail(now, out)

    def _fail(self, now: float, out: list[Action]) -> None:
        """A turn came to nothing. Apologise and try again, or give up; silence is not an option."""
        self._failures += 1
        if self.phase is Phase.CLOSING:
            self._hang_up("NORMAL_TEMPORARY_FAILURE", now, out)
        elif self._failures >= self._limits.failures:
            self._close(self._phrases.failure, now, out)
        else:
            self._say(Kind.APOLOGY, self._phrases.apology, now, out)

    # The call ends

    def _close(self, words: str, now: float, out: list[Action]) -> None:
        """Say the last words, then hang up."""
        if self.phase is Phase.CLOSING:
            return
        if self._turn is not None:
            self._abandon(self._turn, now, out, stop=True)
        out.extend(AbandonUtterance(number) for number in self._utterances.abandon_all())
        if self.phase is Phase.WAITING or not words:
            self._hang_up("NORMAL_TEMPORARY_FAILURE" if self.phase is Phase.WAITING else "NORMAL_CLEARING", now, out)
            return
        self._enter(Phase.CLOSING, now)
        self._closing_ends = now + self._limits.goodbye
        self._media_due = None
        self._say(Kind.CLOSING, words, now, out)

    def _hang_up(self, cause: str, now: float, out: list[Action]) -> None:
        if self._turn is not None:
            self._abandon(self._turn, now, out, stop=False)
        self._settle_all(out)
        out.append(HangUp(cause))
        self._enter(Phase.OVER, now)

    # Small things

    def _current(self, number: int) -> Turn | None:
        turn = self._turn
        return turn if turn is not None and turn.number == number else None

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase = phase
        self._since = now

    def _measure(self, turn: Turn, out: list[Action], *, interrupted: bool) -> None:
        heard = self.transcript.agent_text(turn.number)
        out.append(Measured(turn.number, turn.kind.value, dict(turn.steps), heard, interrupted))

    def _settle_all(self, out: list[Action]) -> None:
        for turn in self._settling.take():
            self._measure(turn, out, interrupted=True)
