"""A turn fails: what is heard of it, and how the agent goes on. What the caller hears then: docs/failures.md.

Failures are counted in ``_failures`` until an answer was heard; at limits.failures the call is given up. A model that
fails before its first word, or without one, is asked again (limits.retries) and apologised for. One that fails in the
middle of its answer is asked for the rest while what it finished is spoken, in the same turn, so that the caller may
notice nothing. A voice that fails for good lets what was made be heard; the apology follows, and the model is told that
the caller missed the rest.
"""

from __future__ import annotations

from esl_agent.dialogue.actions import AbandonTurn, Action, AskModel, Message
from esl_agent.dialogue.floor import Floor
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.transcript import UNHEARD
from esl_agent.dialogue.turn import Kind, Turn


class Recovery(Floor):
    """A floor on which turns may fail."""

    def _finish(self, turn: Turn, now: float, out: list[Action]) -> None:
        leaves = turn.kind is Kind.CLOSING or turn.hang_up
        if turn.is_broken:
            self._end(turn, out)
            out.append(AbandonTurn(turn.number))
            self._owe_rest(turn, is_owed=not self.transcript.owes_reply)
            self._fail(now, out)
        elif turn.kind is Kind.REPLY and not turn.has_words and (turn.errands.is_idle or turn.hang_up):
            self._without_words(turn, now, out)
        elif turn.has_words and not turn.heard_any and turn.errands.last is None and not leaves:
            self._end(turn, out)
            self._fail(now, out)
        else:
            super()._finish(turn, now, out)

    def _without_words(self, turn: Turn, now: float, out: list[Action]) -> None:
        """The model ended its reply without a word: a goodbye if it asked to hang up, else a failure."""
        if turn.hang_up:
            self._close(self._phrases.goodbye, now, out)
        else:
            self._failed_without_words(turn, True, now, out)

    # The model

    def _llm_failed(self, turn: Turn, retryable: bool, now: float, out: list[Action]) -> None:
        """The model ended without having said that it has."""
        if self._guess is not None:
            self._drop_guess(now, out)
            return
        turn.break_off()
        if turn.has_new_words:
            self._failures += 1
            turn.retries = 0
            self._ask_on_or_break(turn, self._failures < self._limits.failures, now, out)
        elif turn.has_words or not turn.errands.is_idle:
            may_ask = retryable and turn.retries < self._limits.retries
            turn.retries += 1
            self._ask_on_or_break(turn, may_ask, now, out)
        else:
            self._failed_without_words(turn, retryable, now, out)

    def _failed_without_words(self, turn: Turn, retryable: bool, now: float, out: list[Action]) -> None:
        self._abandon(turn, now, out, stop=self.phase is Phase.YIELDING)  # a filler is heard to its end
        if not self._is_taken and retryable and turn.retries < self._limits.retries:
            self._ask(now, out, turn.retries + 1)
        else:
            self._fail(now, out)

    def _ask_on_or_break(self, turn: Turn, may_ask: bool, now: float, out: list[Action]) -> None:
        if may_ask:
            self._ask_on(turn, now, out)
        else:
            turn.text_ended = turn.is_broken = True
        self._advance(turn, now, out)

    def _ask_on(self, turn: Turn, now: float, out: list[Action]) -> None:
        """The same turn goes on: with the rest, or, where its tools were answered, with what there is to say to that.
        What it has said counts as heard; if it is not, the turn does not go on."""
        tools = self._offered(turn.errands.used)
        turn.ask_on(now, offered=bool(tools))
        self._waits_since = now
        messages = self.transcript.messages(
            self._settings.prompt, self._limits.history, speaking=turn.number, words=turn.words
        )
        if messages and messages[-1].role == "assistant":
            messages = (*messages, Message("user", UNHEARD))
        out.append(AskModel(turn.number, messages, tools, turn.asks))

    # The voice

    def _tts_failed(self, turn: Turn, clip: int, retryable: bool, now: float, out: list[Action]) -> None:
        if turn.forgo_filler(clip, now):
            self._advance(turn, now, out)
        elif retryable and turn.retry_clip(clip, self._limits.retries):
            self._waits_since = now
            self._advance(turn, now, out)
        elif self._guess is not None:
            self._drop_guess(now, out)
        elif (failed := turn.clip(clip)) is not None and failed.is_stalled:
            self._abandon(turn, now, out, stop=True)  # the leg would wait for the rest of it
            self._owe_rest(turn, is_owed="play" in turn.steps)
            self._fail(now, out)
        else:
            if (broken := turn.break_at(clip, now)) is not None:
                self.transcript.lasts(turn.number, clip, broken.text_seconds)
            self._advance(turn, now, out)

    # The turn came to nothing

    def _owe_rest(self, turn: Turn, *, is_owed: bool) -> None:
        """The model is to know that an answer broke off, unless the caller goes on talking over that."""
        if turn.kind is Kind.REPLY and is_owed and not self._is_taken:
            self.transcript.cut_off()

    def _fail(self, now: float, out: list[Action]) -> None:
        """A turn came to nothing. Apologise and try again, or give up; silence is not an option."""
        self._failures += 1
        if self.phase is Phase.CLOSING:
            self._hang_up("NORMAL_TEMPORARY_FAILURE", now, out)
        elif self._failures >= self._limits.failures:
            self._give_up(now, out)
        elif self._is_taken:
            self._utterances.win()
            self._yield_floor(now, out)
        else:
            self._say(Kind.APOLOGY, self._phrases.apology, now, out, name="apology")

    @property
    def _is_taken(self) -> bool:
        """The caller speaks, over whatever the agent says: a bad moment to say more."""
        return self.phase is Phase.YIELDING or self._utterances.open_number is not None

    def _give_up(self, now: float, out: list[Action]) -> None:
        """The call cannot go on."""
        self._close(self._phrases.failure, now, out)
