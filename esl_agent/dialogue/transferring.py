"""A call is handed over: the words before it are heard, whoever is called is briefed, and the agent goes or comes back.

While the phase is TRANSFERRING nothing is said and nobody is listened to; HANDED_OVER lasts until the hang-up. Of a
transfer that nobody took the model is told as its tool's result. The last resort is a transfer that no model asked for:
it is tried once when the call cannot go on otherwise, also without a voice.
"""

from __future__ import annotations

from esl_agent.dialogue.actions import AbandonUtterance, Action
from esl_agent.dialogue.destinations import Destination, fixed_briefing
from esl_agent.dialogue.handing import LAST_RESORT, Handing, HandingOver
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.tool_turns import ToolTurns
from esl_agent.dialogue.tools import TransferRequest, tool_message, transfer_result
from esl_agent.dialogue.turn import Kind, Turn


class Transferring(ToolTurns, HandingOver):
    """A floor from which a call may be handed over."""

    def _hand_over(self, request: TransferRequest, turn: int, call: str, now: float, out: list[Action]) -> None:
        """Everything was heard."""
        self._ear.rest()
        out.extend(AbandonUtterance(number) for number in self._utterances.abandon_all())
        handing = self._handing = Handing(request.destination, turn, call, now)
        self._enter(Phase.TRANSFERRING, now)
        if self._media_due is not None:
            self._transfer_failed("refused", now, out)
        else:
            self._prepare_briefing(handing, request, now, out)

    # What became of it

    def _transferred(self, name: str, now: float, out: list[Action]) -> None:
        """Somebody has the call, maybe later than we waited for, and while another transfer is tried."""
        handing = self._handing
        if handing is None:
            return
        if self._turn is not None:
            self._abandon(self._turn, now, out, stop=True)
        out.extend(AbandonUtterance(number) for number in self._utterances.abandon_all())
        if handing.destination.name == name:
            self._tell_model(handing, transfer_result(name), failed=False)
        self._handing = None
        self._enter(Phase.HANDED_OVER, now)

    def _transfer_failed(self, reason: str, now: float, out: list[Action]) -> None:
        """Nobody took the call: the agent goes on with it."""
        handing = self._handing
        if self._media_due is not None:
            self._media_due = now + self._limits.media
        if handing is None or not handing.call:
            self._close(self._phrases.failure, now, out)
            return
        self._tell_model(handing, transfer_result(handing.destination.name, reason), failed=True)
        self._ask(now, out)

    def _tell_model(self, handing: Handing, result: str, *, failed: bool) -> None:
        if handing.call:
            self.transcript.returned(handing.turn, handing.call, tool_message(result, failed))

    # Nothing else works

    def _give_up(self, now: float, out: list[Action]) -> None:
        refuge = self._settings.last_resort
        found = self._toolbox.policy.resolve(refuge.transfer) if refuge.transfer and not self._has_fled else None
        if not isinstance(found, Destination):
            super()._give_up(now, out)
            return
        self._has_fled = True
        if self._turn is not None:
            self._abandon(self._turn, now, out, stop=True)
        out.extend(AbandonUtterance(number) for number in self._utterances.abandon_all())
        request = TransferRequest(found, briefing=fixed_briefing(found.briefing))
        if refuge.say:
            self._say(Kind.PROMPT, refuge.say, now, out, name=LAST_RESORT, then=request)
        else:
            self._hand_over(request, 0, "", now, out)

    def _is_uninterruptible(self, turn: Turn) -> bool:
        return turn.name == LAST_RESORT or super()._is_uninterruptible(turn)

    def _tts_failed(self, turn: Turn, clip: int, retryable: bool, now: float, out: list[Action]) -> None:
        """A failing voice does not stop a transfer."""
        last = turn.errands.last
        if turn.name == LAST_RESORT and isinstance(last, TransferRequest):
            self._abandon(turn, now, out, stop=True)
            self._hand_over(last, turn.number, turn.errands.last_id, now, out)
        else:
            super()._tts_failed(turn, clip, retryable, now, out)
