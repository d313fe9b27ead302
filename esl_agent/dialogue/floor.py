"""The agent's side of a call: taking the floor, speaking, yielding it, and the last words.

Each layer adds one idea: ``Recovery`` (recovery.py) a turn that fails, ``Waiting`` (waiting.py) what is heard until an
answer is ready, ``Interruption`` (interruption.py) what happens when the caller speaks over it, ``EarlyReply``
(early_reply.py) an answer that is ready before its turn, ``Cascade`` (cascade.py) the caller's side and the deadlines;
the laws stand there. Every method appends its orders to ``out``.

Nothing of a turn is heard but what ``_advance`` lets out, and only while ``_may_play``. A turn ends in ``_finish`` (all
was heard) or ``_abandon``; whoever adds a wait to a turn keeps it from finishing in ``_advance`` and gives the wait a
deadline in ``Deadlines._phase_deadline``, which ``Deadlines._overdue`` moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from esl_agent.dialogue.actions import (
    AbandonTurn,
    AbandonUtterance,
    Action,
    AskModel,
    HangUp,
    Measured,
    Play,
    SetVolume,
    StopPlayback,
    ToolSpec,
)
from esl_agent.dialogue.call_ends import CallEnds
from esl_agent.dialogue.ear import Ear
from esl_agent.dialogue.errands import LastRequest
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.questions import expected
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.dialogue.settling import Settling
from esl_agent.dialogue.tools import Toolbox
from esl_agent.dialogue.transcript import Transcript
from esl_agent.dialogue.turn import Kind, Turn
from esl_agent.dialogue.utterances import Utterances

#: How often in a row the agent asks a caller to repeat before it waits in silence.
MAX_REPEATS = 2


@dataclass(frozen=True, slots=True)
class Guess:
    """The turn in flight answers what the caller has said so far in ``utterance``; it is heard only if that was all."""

    utterance: int
    words: str
    """Without case and punctuation."""


class Floor(CallEnds):
    """Whose turn it is (``phase``), the turn in flight, and what was said."""

    def __init__(
        self, settings: CascadeSettings, now: float, ear: Ear, toolbox: Toolbox, *, streams: bool, language: str
    ) -> None:
        self.phase = Phase.WAITING
        self.transcript = Transcript(settings.limits.history)
        self._settings = settings
        self._limits = settings.limits
        self._phrases = settings.phrases
        self._ear = ear
        self._language = language
        self._toolbox = toolbox
        self._used = 0
        hesitate = settings.barge_in.hesitate
        self._hesitate = "keep" if hesitate == "duck" and not streams else hesitate
        self._utterances = Utterances()
        self._turn: Turn | None = None
        self._turns = 0
        self._settling = Settling()
        self._since = now
        self._closing_ends = 0.0
        self._failures = 0
        self._repeats = 0
        self._sounding: tuple[int, int] | None = None
        self._fillers = 0
        self._waits_since = self._filled_at = self._quiet_since = self._unanswered_since = -math.inf
        """Since when the caller waits for what comes next; when a filler was last said; when a clip last ended; since
        when the caller has heard nothing but fillers."""
        self._guess: Guess | None = None

    @property
    def turn_number(self) -> int:
        """The turn in flight, or the last one."""
        return self._turns

    def _think(self, now: float, out: list[Action]) -> None:
        """Every word that was awaited is here: answer, ask to repeat, or go on listening."""
        if self.phase is not Phase.THINKING or self._turn is not None or self._utterances.is_busy:
            return
        if self._settling.is_busy:
            return  # what was heard of the turn before belongs to what the model is asked with
        if self.transcript.owes_reply:
            self._repeats = 0
            self._ask(now, out)
        elif self._repeats < MAX_REPEATS:
            self._repeats += 1
            self._say(Kind.PROMPT, self._phrases.not_understood, now, out, name="not_understood")
        else:
            self._enter(Phase.LISTENING, now)

    def _new_turn(self, kind: Kind, now: float, *, name: str = "", retries: int = 0) -> Turn:
        self._turns += 1
        turn = self._turn = Turn(self._turns, kind, name, retries=retries, progressed_at=now)
        if kind not in (Kind.APOLOGY, Kind.FILLER):
            self.transcript.open_turn(turn.number)
        if self.phase is not Phase.CLOSING:
            self._enter(Phase.THINKING, now)
        return turn

    def _say(
        self,
        kind: Kind,
        text: str,
        now: float,
        out: list[Action],
        *,
        name: str = "",
        then: LastRequest | None = None,
    ) -> None:
        """Speak without asking the model. ``then``: what is done when it was heard."""
        turn = self._new_turn(kind, now, name=name)
        turn.errands.last = then
        turn.mark("asked", now)
        turn.add_text(text)
        turn.end_text()
        self._advance(turn, now, out)

    def _ask(self, now: float, out: list[Action], retries: int = 0) -> None:
        messages = self.transcript.messages(self._settings.prompt, self._limits.history)
        answers_caller = bool(messages) and messages[-1].role == "user"
        if answers_caller:
            self._used = 0
        tools = self._offered(self._used)
        turn = self._new_turn(Kind.REPLY, now, retries=retries)
        turn.errands.used, turn.errands.is_offered = self._used, bool(tools)
        self._waits_since = now
        if answers_caller:
            times = self._utterances.last_times
            turn.steps.update(times)
            ended = times.get("speech_ended", -math.inf)
            if times.get("transcript") == now and ended > self._filled_at:
                self._waits_since = ended
        turn.mark("asked", now)
        out.append(AskModel(turn.number, messages, tools))

    def _offered(self, used: int) -> tuple[ToolSpec, ...]:
        """What the model may call when ``used`` tools were called since the caller spoke: in the end it must speak."""
        return self._toolbox.specs if used < self._toolbox.max_per_turn else ()

    def _advance(self, turn: Turn, now: float, out: list[Action]) -> None:
        """Synthesise and play what can be; finish the turn when all of it was heard."""
        for action in turn.pump(now, may_play=self._may_play()):
            if isinstance(action, Play):
                clip = turn.clip(action.clip)
                if clip is not None and not clip.is_filler:
                    self.transcript.spoken(turn.number, clip.number, clip.text, clip.text_seconds)
                if self.phase is Phase.THINKING:
                    self._enter(Phase.SPEAKING, now)
            out.append(action)
        if turn.is_finished and self._guess is None and not (turn.leaves and self._is_spoken_over(turn)):
            self._finish(turn, now, out)

    def _is_spoken_over(self, turn: Turn) -> bool:
        """A goodbye that was spoken over ends the call only when it is known that the caller wants nothing more."""
        return self.phase is Phase.YIELDING or self._utterances.awaits_over(turn.number)

    # What is heard

    def _began(self, number: int, clip_number: int, now: float) -> None:
        """A clip is heard from now on: its echo is not the caller's voice."""
        turn = self._current(number)
        clip = turn.clip(clip_number) if turn is not None else None
        if turn is None or clip is None or clip.sound is None:
            return
        if not clip.is_filler:
            turn.mark("began", now)
        self._sounding = (number, clip_number)
        self._ear.playing(clip.sound, clip.start, now)

    def _ended(self, number: int, clip_number: int, now: float) -> None:
        """A clip is heard no more."""
        self._quiet_since = now
        if self._sounding == (number, clip_number):
            self._sounding = None
            self._ear.silent(now)

    def _may_play(self) -> bool:
        return self._guess is None and not (self.phase is Phase.YIELDING and self._hesitate == "pause")

    # Before the caller has ended (early_reply.py)

    def _make_guess(self, utterance: int, text: str, words: str, now: float, out: list[Action]) -> None:
        """Ask the model what it would answer if ``text`` were all. The caller still has the floor."""
        self.transcript.understood(utterance, text)
        self._guess = Guess(utterance, words)
        self._ask(now, out)
        if self._turn is not None:
            self._turn.steps = {"asked": now}
        self._enter(Phase.HEARING, now)

    def _guess_right(self, now: float, out: list[Action]) -> None:
        """It was all the caller said: the turn may be heard."""
        self._guess = None
        if self._turn is not None:
            self._turn.steps.update(self._utterances.last_times)
            self._advance(self._turn, now, out)

    def _drop_guess(self, now: float, out: list[Action]) -> None:
        """The turn in flight answers nothing that was said, or came to nothing; nobody has noticed."""
        guess, turn = self._guess, self._turn
        if guess is not None and turn is not None:
            self.transcript.understood(guess.utterance, "")
            self._abandon(turn, now, out, stop=False)

    def _finish(self, turn: Turn, now: float, out: list[Action]) -> None:
        """All of a turn was heard."""
        self._end(turn, out)
        if turn.kind is Kind.CLOSING or turn.hang_up:
            self._hang_up("NORMAL_CLEARING", now, out)
            return
        if turn.kind is Kind.REPLY:
            self._failures = 0
        self._go_on(turn, now, out)

    def _end(self, turn: Turn, out: list[Action]) -> None:
        """Nothing more of a turn will be heard."""
        self._turn = None
        if self.phase is Phase.YIELDING:
            self._utterances.win()  # all was heard: what was said over its last words answers them
            self._speak_up(out)
        self._ear.listen_for(expected(turn.text, self._language))
        self._measure(turn, out, interrupted=turn.is_broken)

    def _go_on(self, turn: Turn, now: float, out: list[Action]) -> None:
        """Everything of a turn was heard: what comes after it?"""
        self.transcript.answered(turn.number)
        self._yield_floor(now, out)

    def _yield_floor(self, now: float, out: list[Action]) -> None:
        """The agent has said what it had to say: whose turn is it?"""
        if self._utterances.open_number is not None:
            self._enter(Phase.HEARING, now)
        elif self._utterances.is_busy or (self.transcript.owes_reply and self._settling.is_busy):
            self._enter(Phase.THINKING, now)
        elif self.transcript.owes_reply:
            self._ask(now, out)
        else:
            self._enter(Phase.LISTENING, now)

    def _abandon(self, turn: Turn, now: float, out: list[Action], *, stop: bool) -> None:
        self._turn = self._guess = None
        out.append(AbandonTurn(turn.number))
        for clip in turn.break_off_streams(now):
            self.transcript.lasts(turn.number, clip.number, clip.text_seconds)
        if turn.stop(now) and stop:
            out.append(StopPlayback())
        if stop and self.phase is Phase.YIELDING:
            self._speak_up(out)
        if turn.outstanding():
            self._settling.add(turn, now)
        else:
            self._measure(turn, out, interrupted=True)

    def _speak_up(self, out: list[Action]) -> None:
        """The phase is about to be YIELDING no more: the agent is as loud as ever."""
        if self._hesitate == "duck":
            out.append(SetVolume(1.0))

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
        steps, dismissed = dict(turn.steps), turn.false_interruptions
        out.append(Measured(turn.number, turn.kind.value, steps, heard, interrupted, dismissed))

    def _settle_all(self, out: list[Action]) -> None:
        for turn in self._settling.take():
            self._measure(turn, out, interrupted=True)
