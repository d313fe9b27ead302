"""The agent calls tools behind its words: they run while the words are heard, and all their results go back at once.

A request that ends the turn (transfer, digits, hold, hang-up) is carried out when everything was heard. Tools of a
response that the caller interrupted are not run; those that run already run to their end, and are answered.
"""

from __future__ import annotations

from esl_agent.dialogue.actions import Action, ReturnTools, RunTool, SendDigits, SetVariable, TellAgent, ToolCall
from esl_agent.dialogue.phase import AWAY, Phase
from esl_agent.dialogue.relay_agent import AgentTurns
from esl_agent.dialogue.relay_state import Ask, Reply, Round, saying
from esl_agent.dialogue.tool_turns import MAX_CALLS, ONE_AT_A_TIME, TOO_LATE, TOO_MANY
from esl_agent.dialogue.tools import (
    DONE,
    CollectDigitsRequest,
    HangUpRequest,
    HttpRequest,
    SendDigitsRequest,
    SetLanguageRequest,
    SetVariableRequest,
    ToolError,
    TransferRequest,
    tool_message,
)
from esl_agent.dialogue.transcript import INTERRUPTED
from esl_agent.dialogue.turn import Turn

#: What is to be told to an agent that is not connected; the newest of it.
MAX_UNTOLD = 20
#: How often an agent is asked again that calls more tools than it may, before that counts as a failure.
MAX_REFUSED = 2


class RelayTools(AgentTurns):
    """A floor whose agent may call tools."""

    _used = 0
    """Tools called since the caller spoke."""
    _refused = 0
    """Rounds of tools that were too many."""

    def _prepare(self) -> None:
        self._untold: list[str] = []

    def _called(self, reply: Reply, calls: tuple[ToolCall, ...], turn: Turn, now: float, out: list[Action]) -> None:
        round = Round(reply.session, turn.number, now)
        for call in calls:
            if call.id not in round.calls and len(round.calls) < MAX_CALLS:
                round.calls[call.id] = call
                self._used += 1
                self.transcript.called(turn.number, call, turn.errands.rounds)
                self._carry_out(round, call, reply, out)
        self._rounds.append(round)
        if self._used > self._toolbox.max_per_turn:
            self._refused += 1
        self.transcript.asked_again(turn.number, turn.errands.rounds, turn.take_number())
        turn.errands.rounds += 1
        self._round_changed(round, now, out)

    def _carry_out(self, round: Round, call: ToolCall, reply: Reply, out: list[Action]) -> None:
        is_too_many = self._used > self._toolbox.max_per_turn
        request = ToolError(TOO_MANY) if is_too_many else self._toolbox.check(call)
        result, failed, words = DONE, False, ""
        match request:
            case ToolError(text):
                result, failed = text, True
            case SendDigitsRequest(digits):
                out.append(SendDigits(digits))
            case SetVariableRequest(name, value):
                out.append(SetVariable(name, value))
            case SetLanguageRequest():
                pass  # it speaks them all
            case HttpRequest(checked, words):
                round.running.add(call.id)
                out.append(RunTool(round.turn, checked))
                self._say_before(words if not reply.sounds else "", reply)
                return
            case _ if not any(each.last for each in (*self._rounds, round) if each.turn == round.turn):
                round.last, round.last_id = request, call.id
                if isinstance(request, TransferRequest):
                    words = request.destination.say
                elif isinstance(request, CollectDigitsRequest) and not reply.sounds:
                    words = request.prompt
                self._say_before(words, reply)
                return
            case _:
                result, failed = ONE_AT_A_TIME, True
        self._result(round, call.id, tool_message(result, failed))

    def _say_before(self, words: str, reply: Reply) -> None:
        """The operator's words before, or while, something is done."""
        if words and reply.ask.tries <= self._limits.retries:
            self._wish = Ask(reply.ask.kind, saying(words), reply.ask.name, self._limits.retries)

    def _result(self, round: Round, id: str, result: str) -> None:
        round.running.discard(id)
        round.results[id] = result
        self.transcript.returned(round.turn, id, result)

    def _on_tool_returned(self, turn: int, id: str, result: str, failed: bool, now: float, out: list[Action]) -> None:
        for round in self._rounds:
            if round.turn == turn and id in round.running:
                self._result(round, id, tool_message(result, failed))
                self._round_changed(round, now, out)
                return

    def _tools_due(self) -> float:
        return min((round.due(self._limits.tool) for round in self._rounds), default=float("inf"))

    def _tools_overdue(self, now: float, out: list[Action]) -> None:
        for round in [each for each in self._rounds if now >= each.due(self._limits.tool)]:
            for id in sorted(round.running):
                self._result(round, id, tool_message(TOO_LATE, failed=True))
            self._round_changed(round, now, out)

    def _round_changed(self, round: Round, now: float, out: list[Action]) -> None:
        """All results of a round go back together; then the agent is asked, unless the caller's words will be."""
        if not round.is_complete or round not in self._rounds:
            return
        self._rounds.remove(round)
        results = tuple((id, round.results[id]) for id in round.calls)
        if round.session == self._sessions.serving:
            out.append(ReturnTools(round.session, results))
        else:
            for id, result in results:
                self._tell(f"({round.calls[id].name}: {result})", out)
        will_answer = round.is_quiet or self._asked is not None or self._caller is not None
        if self.phase in (*AWAY, Phase.CLOSING, Phase.OVER) or will_answer:
            return
        if self._refused > MAX_REFUSED:
            self._refused = 0
            self._failed(Ask(tries=self._limits.retries), True, now, out)
        elif self._wish is None or not self._wish.instructions:
            self._wish = Ask()

    def _tell(self, text: str, out: list[Action]) -> None:
        """The agent is to know this; if it is not connected, then as soon as it is."""
        if self._sessions.serving is None:
            self._untold = [*self._untold, text][-MAX_UNTOLD:]
        else:
            out.append(TellAgent(self._sessions.serving, text))

    # What ends a turn

    def _finish(self, turn: Turn, now: float, out: list[Action]) -> None:
        super()._finish(turn, now, out)
        if self.phase is Phase.OVER:
            return
        round = next((each for each in self._rounds if each.turn == turn.number and each.last is not None), None)
        if round is not None:
            self._end_with(round, now, out)

    def _end_with(self, round: Round, now: float, out: list[Action]) -> None:
        """Everything was heard: what it led up to is done."""
        if isinstance(round.last, HangUpRequest):
            self._hang_up("NORMAL_CLEARING", now, out)

    def _abandon(self, turn: Turn, now: float, out: list[Action]) -> None:
        super()._abandon(turn, now, out)
        for round in [each for each in self._rounds if each.turn == turn.number]:
            if round.last is not None and not self._is_kept(round):
                round.last, round.is_quiet = None, True
                self._result(round, round.last_id, INTERRUPTED)
                self._round_changed(round, now, out)

    def _is_kept(self, round: Round) -> bool:
        """What a round waits for is not given up with its turn."""
        return False

    def _not_called(self, reply: Reply, calls: tuple[ToolCall, ...], out: list[Action]) -> None:
        if calls and reply.session == self._sessions.serving:
            ids = dict.fromkeys(call.id for call in calls)
            out.append(ReturnTools(reply.session, tuple((id, INTERRUPTED) for id in ids)))

    def _failed(self, ask: Ask, is_heard: bool, now: float, out: list[Action]) -> None:
        """Words before something is done may be missing; it is done all the same."""
        turn = self._turn
        if turn is not None and any(each.turn == turn.number for each in self._rounds):
            self._failures += 1
        else:
            super()._failed(ask, is_heard, now, out)
