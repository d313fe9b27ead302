"""A call with a speech-to-speech agent is handed over, and comes back if nobody takes it; the last resort.

As the cascade does it (handing.py): the agent's words are heard, whoever is called hears a briefing in the DID's
own voice. The agent stays connected until somebody has the call.
"""

from __future__ import annotations

from esl_agent.dialogue.actions import Action, CloseAgent
from esl_agent.dialogue.destinations import Destination, fixed_briefing
from esl_agent.dialogue.handing import LAST_RESORT, Handing, HandingOver
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.relay_state import Round
from esl_agent.dialogue.relay_tools import RelayTools
from esl_agent.dialogue.tools import TransferRequest, tool_message, transfer_result
from esl_agent.dialogue.turn import Kind, Turn


class RelayTransfers(RelayTools, HandingOver):
    """A floor from which a call may be handed over."""

    _refuge: TransferRequest | None = None
    """Who gets the call when the words before the last resort were heard."""

    def _end_with(self, round: Round, now: float, out: list[Action]) -> None:
        if isinstance(round.last, TransferRequest):
            self._hand_over(round.last, round.turn, round.last_id, now, out)
        else:
            super()._end_with(round, now, out)

    def _hand_over(self, request: TransferRequest, turn: int, call: str, now: float, out: list[Action]) -> None:
        """Everything was heard."""
        handing = self._handing = Handing(request.destination, turn, call, now)
        if self._media_due is not None:
            self._transfer_failed("refused", now, out)
            return
        if self._turn is not None:
            self._abandon(self._turn, now, out)
        self._drop_reply(now, out)
        self._wish = self._asked = self._caller = None
        self._enter(Phase.TRANSFERRING, now)
        self._prepare_briefing(handing, request, now, out)

    # What became of it

    def _transferred(self, name: str, now: float, out: list[Action]) -> None:
        """Somebody has the call, maybe later than we waited for, and while another transfer is tried."""
        handing = self._handing
        if handing is None:
            return
        if self._turn is not None:
            self._abandon(self._turn, now, out)
        if handing.destination.name == name:
            self.transcript.returned(handing.turn, handing.call, tool_message(transfer_result(name)))
        self._handing = self._wish = self._asked = self._reply = self._caller = None
        self._rounds.clear()
        out.extend(CloseAgent(number) for number in self._sessions.dismiss())
        self._enter(Phase.HANDED_OVER, now)

    def _transfer_failed(self, reason: str, now: float, out: list[Action]) -> None:
        """Nobody took the call: the agent goes on with it."""
        handing = self._handing
        if self._media_due is not None:
            self._media_due = now + self._limits.media
        round = next((each for each in self._rounds if handing and handing.call and each.last_id == handing.call), None)
        if handing is None or round is None:
            self._close(self._phrases.failure, now, out)
            return
        self._enter(Phase.THINKING, now)
        if now < self._call_ends:
            self._need_agent(now, out)
        self._result(round, round.last_id, tool_message(transfer_result(handing.destination.name, reason), failed=True))
        self._round_changed(round, now, out)

    # Nothing else works

    def _give_up(self, now: float, out: list[Action]) -> None:
        refuge = self._settings.last_resort
        found = self._toolbox.policy.resolve(refuge.transfer) if refuge.transfer and not self._has_fled else None
        if self._turn is not None:
            self._abandon(self._turn, now, out)
        self._wish = self._asked = self._caller = None
        self._reply = None
        out.extend(CloseAgent(number) for number in self._sessions.dismiss())
        if not isinstance(found, Destination):
            self._close(self._phrases.failure, now, out)
            return
        self._has_fled = True
        request = TransferRequest(found, briefing=fixed_briefing(found.briefing))
        if refuge.say:
            self._refuge = request
            self._say(Kind.PROMPT, refuge.say, now, out, name=LAST_RESORT)
        else:
            self._hand_over(request, 0, "", now, out)

    def _may_interrupt(self, turn: Turn) -> bool:
        return turn.name != LAST_RESORT and super()._may_interrupt(turn)

    def _finish(self, turn: Turn, now: float, out: list[Action]) -> None:
        super()._finish(turn, now, out)
        if turn.name == LAST_RESORT:
            self._flee(now, out)

    def _flee(self, now: float, out: list[Action]) -> None:
        request, self._refuge = self._refuge, None
        if request is not None:
            self._hand_over(request, 0, "", now, out)

    def _need_agent(self, now: float, out: list[Action]) -> None:
        """Have the agent connected, if it is not."""
