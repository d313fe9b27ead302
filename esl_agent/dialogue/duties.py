"""What an agent does on the telephone beside talking: keys are gathered, the caller is waited for, languages change.

Keys that nobody asked for become a caller's turn, ``(pressed 1 2 3)``. The tool ``collect_digits`` asks for them: its
result is what was pressed, or what the caller said instead. While the phase is HOLDING nobody is asked whether they are
still there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from esl_agent.dialogue.actions import Action, Gathered, SwitchLanguage
from esl_agent.dialogue.barge_in import BargeIn
from esl_agent.dialogue.digits import KEYS, Collector, words
from esl_agent.dialogue.phase import AWAY, Phase
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.dialogue.tools import (
    DONE,
    CollectDigitsRequest,
    HoldRequest,
    SetLanguageRequest,
    TransferRequest,
    digits_result,
)
from esl_agent.dialogue.transferring import Transferring
from esl_agent.dialogue.turn import Kind, Turn

#: Phases in which nobody listens, to words or to keys.
DEAF = (*AWAY, Phase.WAITING, Phase.CLOSING)


@dataclass(slots=True)
class Question:
    """The keys that call ``call`` of turn ``turn`` waits for."""

    turn: int
    call: str
    keys: Collector


class Duties(Transferring):
    """A floor with everything an agent can do on the telephone. ``languages``: what it is like in each."""

    def _prepare(self, languages: Mapping[str, CascadeSettings]) -> None:
        self._languages = {**languages, self._language: self._settings}
        self._keys = Collector(self._settings.dtmf)
        self._question: Question | None = None
        self._hold_ends = 0.0
        self._silences = 0

    def _ask(self, now: float, out: list[Action], retries: int = 0) -> None:
        self._hold_ends = 0.0
        super()._ask(now, out, retries)

    def _go_on(self, turn: Turn, now: float, out: list[Action]) -> None:
        """Everything of a turn was heard: what it led up to is done."""
        id = turn.errands.last_id
        match turn.errands.last:
            case TransferRequest() as request:
                self._hand_over(request, turn.number, id, now, out)
            case CollectDigitsRequest() as request:
                self._begin_question(request, turn.number, id)
                self._yield_floor(now, out)
            case HoldRequest(seconds):
                self.transcript.returned(turn.number, id, DONE)
                self.transcript.answered(turn.number)
                self._hold_ends = now + min(seconds, self._limits.hold)
                self._yield_floor(now, out)
            case SetLanguageRequest(language):
                self.transcript.returned(turn.number, id, DONE)
                self._switch_language(language, out)
                self._yield_floor(now, out)
            case None:
                self.transcript.answered(turn.number)
                self._yield_floor(now, out)

    def _yield_floor(self, now: float, out: list[Action]) -> None:
        """As ever, unless keys are awaited or the caller asked for a moment."""
        is_free = not self._utterances.is_busy
        if is_free and self._question is not None:
            self._enter(Phase.LISTENING, now)
            self._question.keys.wait(now)
        elif is_free and self._hold_ends > now and not self.transcript.owes_reply:
            self._enter(Phase.HOLDING, now)
        else:
            super()._yield_floor(now, out)

    def _think(self, now: float, out: list[Action]) -> None:
        is_waited_for = self._question is not None or (self._hold_ends > now and not self.transcript.owes_reply)
        if not is_waited_for:
            super()._think(now, out)
        elif self.phase is Phase.THINKING and self._turn is None and not self._utterances.is_busy:
            self._yield_floor(now, out)

    # Keys

    def _begin_question(self, request: CollectDigitsRequest, turn: int, call: str) -> None:
        self._keys.take()
        keys = Collector(
            self._settings.dtmf,
            max_digits=request.max_digits,
            terminator=request.terminator,
            timeout=request.timeout,
        )
        self._question = Question(turn, call, keys)

    def _key_pressed(self, digit: str, now: float, out: list[Action]) -> None:
        if self.phase in DEAF or digit not in KEYS:
            return
        self._silences = 0
        self._hold_ends = 0.0
        if self.phase in (Phase.LISTENING, Phase.HOLDING):
            self._enter(Phase.LISTENING, now)
        elif (turn := self._turn) is not None and self._guess is None and self._yields_to_keys(turn):
            self._stop_for_keys(turn, now, out)
        if self._question is not None:
            if self._question.keys.press(digit, now):
                self._entry_complete(now, out)
        elif self._keys.press(digit, now):
            self._entry_complete(now, out)

    def _yields_to_keys(self, turn: Turn) -> bool:
        if turn.kind is Kind.CLOSING or self._is_uninterruptible(turn):
            return False
        if self.phase is Phase.THINKING:
            return turn.errands.is_idle
        return self._settings.dtmf.barge_in

    def _stop_for_keys(self, turn: Turn, now: float, out: list[Action]) -> None:
        """The caller presses a key over the agent: it stops, and waits for the whole entry."""
        if isinstance(asked := turn.errands.last, CollectDigitsRequest) and not turn.errands.running:
            self._begin_question(asked, turn.number, turn.errands.last_id)
        turn.steps["interrupted"] = turn.steps["confirmed"] = now
        self._abandon(turn, now, out, stop=True)
        self._utterances.win()
        if self._utterances.open_number is not None:
            self._enter(Phase.HEARING, now)
        else:
            self._enter(Phase.THINKING if self._utterances.is_busy else Phase.LISTENING, now)

    def _keys_due(self) -> float:
        """When an entry is complete because no more keys come."""
        if self._question is None:
            due = self._keys.deadline
        else:  # while the caller speaks, it is not known whether these words are the answer
            due = self._question.keys.deadline if self.phase is Phase.LISTENING else None
        return math.inf if due is None else due

    def _keys_overdue(self, now: float, out: list[Action]) -> None:
        keys = self._keys if self._question is None else self._question.keys
        if keys.expire(now):
            self._entry_complete(now, out)

    def _entry_complete(self, now: float, out: list[Action]) -> None:
        question, self._question = self._question, None
        if question is None:
            digits = self._keys.take()
            if digits:
                self.transcript.pressed(words(digits))
        else:
            digits = question.keys.take()
            self.transcript.returned(question.turn, question.call, digits_result(digits))
        out.append(Gathered(digits))
        if digits:
            self._used = 0
        self._utterances.last_times = {}  # what is answered next was not spoken
        if self.phase in (Phase.LISTENING, Phase.HOLDING):
            self._yield_floor(now, out)

    def _said_instead(self, text: str, out: list[Action]) -> bool:
        """Whether what the caller said is the answer to a question for keys."""
        question = self._question
        if question is None or not text.strip():
            return False
        self._question = None
        said = " ".join(text.split())
        pressed = f"{digits_result(digits)} and " if (digits := question.keys.take()) else "the caller "
        self.transcript.returned(question.turn, question.call, f"{pressed}said: {said}")
        out.append(Gathered(digits))
        self._used = 0
        return True

    # Waiting

    def _idle_due(self) -> float:
        """When a silence has lasted long enough to be broken; not while keys are awaited."""
        return math.inf if self._keys_due() < math.inf else self._since + self._settings.silence.prompt_after

    def _hold_over(self, now: float, out: list[Action]) -> None:
        self._hold_ends = 0.0
        self._break_silence(now, out)

    def _break_silence(self, now: float, out: list[Action]) -> None:
        if self._silences < len(self._phrases.still_there):
            self._silences += 1
            self._say(Kind.PROMPT, self._phrases.still_there[self._silences - 1], now, out, name="still_there")
        else:
            self._close(self._phrases.goodbye, now, out)

    # Languages

    def _switch_language(self, language: str, out: list[Action]) -> None:
        settings = self._languages.get(language)
        if settings is None or language == self._language:
            return
        out.append(SwitchLanguage(language))
        self._language = language
        self._settings = settings
        self._phrases = settings.phrases
        self._judge = BargeIn(settings.barge_in, language)
        self._ear.speaks(language)
