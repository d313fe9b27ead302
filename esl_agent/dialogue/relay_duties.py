"""What a speech-to-speech agent does on the telephone beside talking: keys, waiting, silence, and the last words.

Keys that nobody asked for are told to the agent, ``(pressed 1 2 3)``, and it is asked to answer; those that it asked
for (``collect_digits``) are its tool's result. Phrases of ours are said by the agent, in its own voice and the
caller's language; by the DID's own where the agent is not there, or does not begin in time.
"""

from __future__ import annotations

import math

from esl_agent.dialogue.actions import Action, CloseAgent, Gathered
from esl_agent.dialogue.digits import KEYS, Collector, words
from esl_agent.dialogue.duties import DEAF, Question
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.relay_state import Ask, Round, saying
from esl_agent.dialogue.relay_transfer import RelayTransfers
from esl_agent.dialogue.tools import DONE, CollectDigitsRequest, HoldRequest, digits_result
from esl_agent.dialogue.turn import Kind, Turn

#: Of the time for the last words (limits.goodbye), the share in which the agent must have begun to say them.
FIRST_WORDS = 0.4


class RelayDuties(RelayTransfers):
    """A floor with everything an agent can do on the telephone."""

    _question: Question | None = None
    _silences = 0
    _closing_ends = 0.0
    _aloud_at = math.inf
    """When the DID's own voice says the last words, because the agent has not begun to."""
    _last_words = ""

    def _prepare(self) -> None:
        super()._prepare()
        self._keys = Collector(self._settings.dtmf)

    def _end_with(self, round: Round, now: float, out: list[Action]) -> None:
        match round.last:
            case CollectDigitsRequest() as request:
                self._begin_question(round, request, now)
            case HoldRequest(seconds):
                self._hold_ends = now + min(seconds, self._limits.hold)
                round.is_quiet = True
                self._result(round, round.last_id, DONE)
                self._round_changed(round, now, out)
            case _:
                super()._end_with(round, now, out)

    # Keys

    def _begin_question(self, round: Round, request: CollectDigitsRequest, now: float) -> None:
        keys = Collector(
            self._settings.dtmf,
            max_digits=request.max_digits,
            terminator=request.terminator,
            timeout=request.timeout,
        )
        self._keys.take()
        self._question = Question(round.turn, round.last_id, keys)
        keys.wait(now)

    def _is_kept(self, round: Round) -> bool:
        question = self._question
        return question is not None and (question.turn, question.call) == (round.turn, round.last_id)

    def _key_pressed(self, digit: str, now: float, out: list[Action]) -> None:
        if self.phase in DEAF or digit not in KEYS:
            return
        self._silences = 0
        self._hold_ends = 0.0
        if self.phase in (Phase.LISTENING, Phase.HOLDING):
            self._enter(Phase.LISTENING, now)
        elif (turn := self._turn) is not None and self._yields_to_keys(turn):
            self._stop_for_keys(turn, now, out)
        keys = self._keys if self._question is None else self._question.keys
        if keys.press(digit, now):
            self._entry_complete(now, out)

    def _yields_to_keys(self, turn: Turn) -> bool:
        """As to the voice, but by a setting of their own; a turn whose tools run is not given up for them."""
        is_running = any(each.running for each in self._rounds if each.turn == turn.number)
        return self._settings.dtmf.barge_in and not is_running and self._may_interrupt(turn)

    def _stop_for_keys(self, turn: Turn, now: float, out: list[Action]) -> None:
        """The caller presses a key over the agent: it stops, and waits for the whole entry."""
        for round in self._rounds:
            if round.turn == turn.number and isinstance(round.last, CollectDigitsRequest) and self._question is None:
                self._begin_question(round, round.last, now)
        self._wish = None
        self._interrupt(turn, now, out)

    def _keys_due(self) -> float:
        """When an entry is complete because no more keys come."""
        due = self._keys.deadline if self._question is None else self._question.keys.deadline
        return math.inf if due is None else due

    def _keys_overdue(self, now: float, out: list[Action]) -> None:
        keys = self._keys if self._question is None else self._question.keys
        if keys.expire(now):
            self._entry_complete(now, out)

    def _entry_complete(self, now: float, out: list[Action]) -> None:
        question = self._question
        if question is not None:
            self._answer_question(question, "", now, out)
            return
        digits = self._keys.take()
        out.append(Gathered(digits))
        if digits:
            self._used = self._refused = 0
            self.transcript.pressed(words(digits))
            self._tell(words(digits), out)
        if digits or self.transcript.owes_reply:  # the key may have stopped an answer
            self._wish = Ask()

    def _answer_question(self, question: Question, instead: str, now: float, out: list[Action]) -> None:
        """What was pressed is known. ``instead``: what the caller does in place of pressing (more)."""
        self._question = None
        digits = question.keys.take()
        out.append(Gathered(digits))
        self._used = self._refused = 0
        for round in self._rounds:
            if (round.turn, round.last_id) == (question.turn, question.call):
                self._result(round, question.call, f"{digits_result(digits)}{instead}")
                round.is_quiet = bool(instead)
                self._round_changed(round, now, out)
                return

    # Silence

    def _idle_due(self) -> float:
        """When a silence has lasted long enough to be broken; not while keys are awaited."""
        return math.inf if self._keys_due() < math.inf else self._since + self._settings.silence.prompt_after

    def _break_silence(self, now: float, out: list[Action]) -> None:
        self._hold_ends = 0.0
        if self._silences < len(self._phrases.still_there):
            self._silences += 1
            phrase = self._phrases.still_there[self._silences - 1]
            self._wish = Ask(Kind.PROMPT, saying(phrase), "still_there")
        else:
            self._close(self._phrases.goodbye, now, out)

    # The last words

    def _close(self, words: str, now: float, out: list[Action]) -> None:
        if self.phase in (Phase.CLOSING, Phase.OVER):
            return
        self._caller = None
        if self._turn is not None:
            self._abandon(self._turn, now, out)
        self._drop_reply(now, out)
        self._rounds.clear()
        self._wish = self._question = None
        if self.phase is Phase.WAITING or not words:
            self._hang_up("NORMAL_TEMPORARY_FAILURE" if self.phase is Phase.WAITING else "NORMAL_CLEARING", now, out)
            return
        self._enter(Phase.CLOSING, now)
        self._closing_ends = now + self._limits.goodbye
        self._media_due = None
        self._last_words = words
        if self._sessions.is_parted or self._spent:  # last words that cost nothing any more
            self._close_aloud(now, out)
        else:
            self._aloud_at = now + FIRST_WORDS * self._limits.goodbye
            self._wish = Ask(Kind.CLOSING, saying(words))

    def _close_aloud(self, now: float, out: list[Action]) -> None:
        """The last words come from the DID's own voice, and from nobody else."""
        self._aloud_at = math.inf
        if self._turn is not None:
            self._abandon(self._turn, now, out)
        self._wish = self._asked = self._reply = None
        out.extend(CloseAgent(number) for number in self._sessions.dismiss())
        self._say(Kind.CLOSING, self._last_words, now, out)
