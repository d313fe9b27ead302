"""The model calls tools in its turn: they run while the words before them are spoken, and it is asked again.

A tool that only tells or does something returns at once or by ToolReturned; when all of a round are back, the model is
asked again in the same turn, at most ``tools.max_per_turn`` tools long. A request that ends the turn (``errands.last``:
transfer, digits, hold, language) is carried out by ``_go_on`` when everything was heard.
"""

from __future__ import annotations

from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Action, AskModel, RunTool, SendDigits, SetVariable, ToolCall
from esl_agent.dialogue.early_reply import EarlyReply
from esl_agent.dialogue.tools import (
    DONE,
    CollectDigitsRequest,
    HangUpRequest,
    HttpRequest,
    SendDigitsRequest,
    SetVariableRequest,
    ToolError,
    TransferRequest,
    tool_message,
)
from esl_agent.dialogue.turn import Turn

#: Calls since the caller spoke beyond which a model in a loop is not answered any more.
MAX_CALLS = 100
#: What a model reads of a tool that was not back in time, of one too many, and of a second request that ends a turn.
TOO_LATE = "no answer in time"
TOO_MANY = "no more tools now; answer the caller"
ONE_AT_A_TIME = "one thing after the other; this was not done"


class ToolTurns(EarlyReply):
    """A floor whose turns may call tools."""

    def _tool_called(self, turn: Turn, call: ToolCall, now: float, out: list[Action]) -> None:
        if turn.text_ended or not turn.errands.is_writing:
            return
        if turn.errands.used + len(turn.errands.held) >= MAX_CALLS:
            return
        if self._guess is not None:
            turn.errands.held.append(call)
        else:
            self._carry_out(turn, call, now, out)
            self._advance(turn, now, out)

    def _carry_out(self, turn: Turn, call: ToolCall, now: float, out: list[Action]) -> None:
        errands = turn.errands
        if not errands.call(call, now):
            return
        turn.progressed_at = now
        turn.flush()
        self.transcript.called(turn.number, call, errands.rounds)
        self._used = errands.used
        is_too_many = not errands.is_offered or errands.used > self._toolbox.max_per_turn
        request = ToolError(TOO_MANY) if is_too_many else self._toolbox.check(call)
        result, failed = DONE, False
        match request:
            case ToolError(text):
                result, failed = text, True
            case SendDigitsRequest(digits):
                out.append(SendDigits(digits))
            case SetVariableRequest(name, value):
                out.append(SetVariable(name, value))
            case HangUpRequest():
                turn.hang_up = True
            case HttpRequest(checked, say):
                errands.running.add(call.id)
                self._waits_since = now
                turn.say(say)
                out.append(RunTool(turn.number, checked))
                return
            case _ if errands.last is None:
                errands.last, errands.last_id = request, call.id
                return
            case _:
                result, failed = ONE_AT_A_TIME, True
        self.transcript.returned(turn.number, call.id, tool_message(result, failed))

    def _tool_returned(self, event: ev.ToolReturned, now: float, out: list[Action]) -> None:
        turn = self._current(event.turn)
        if turn is None or event.id not in turn.errands.running:
            return
        turn.errands.running.discard(event.id)
        self.transcript.returned(turn.number, event.id, tool_message(event.result, event.failed))
        self._after_round(turn, now, out)

    def _tools_overdue(self, turn: Turn, now: float, out: list[Action]) -> None:
        for id in sorted(turn.errands.running):
            self._tool_returned(ev.ToolReturned(turn.number, id, TOO_LATE, failed=True), now, out)

    def _reply_ended(self, turn: Turn, hang_up: bool, now: float, out: list[Action]) -> None:
        """The model has said what it had to say to what it was last asked."""
        turn.hang_up = turn.hang_up or hang_up
        turn.errands.is_writing = False
        turn.flush()
        self._after_round(turn, now, out)

    def _llm_failed(self, turn: Turn, retryable: bool, now: float, out: list[Action]) -> None:
        """A model that fails behind its calls, or its wish to hang up, has said what it wants: that is done, once."""
        if self._guess is None and (turn.errands.is_called or turn.hang_up):
            turn.break_off()
            self._reply_ended(turn, False, now, out)
        else:
            super()._llm_failed(turn, retryable, now, out)

    def _after_round(self, turn: Turn, now: float, out: list[Action]) -> None:
        """Ask again when every tool is back, or let the turn come to its end."""
        errands = turn.errands
        if not (turn.is_broken or errands.is_writing or errands.running or errands.held):
            if errands.last is None and not turn.hang_up and errands.wants_answer:
                self._ask_again(turn, now, out)
            else:
                if isinstance(errands.last, TransferRequest):
                    turn.say(errands.last.destination.say)
                elif isinstance(errands.last, CollectDigitsRequest):
                    turn.say(errands.last.prompt)
                turn.end_text()
        self._advance(turn, now, out)

    def _ask_again(self, turn: Turn, now: float, out: list[Action]) -> None:
        """The same turn, with what its tools answered."""
        tools = self._offered(turn.errands.used)
        self.transcript.asked_again(turn.number, turn.errands.rounds, turn.next_clip)
        turn.errands.ask(turn.next_clip, offered=bool(tools))
        turn.progressed_at = self._waits_since = now
        turn.fillers = turn.retries = 0
        messages = self.transcript.messages(
            self._settings.prompt, self._limits.history, speaking=turn.number, words=turn.words
        )
        out.append(AskModel(turn.number, messages, tools))

    def _guess_right(self, now: float, out: list[Action]) -> None:
        """The answer that was asked for early is the answer: what it wanted done is done now."""
        super()._guess_right(now, out)
        turn = self._turn
        if turn is not None and turn.errands.held:
            held, turn.errands.held = turn.errands.held, []
            for call in held:
                self._carry_out(turn, call, now, out)
            self._after_round(turn, now, out)
