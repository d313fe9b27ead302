"""A call with a speech-to-speech agent is handed over, and comes back if nobody takes it; the last resort.

As the cascade does it (transferring.py): the agent's words are heard, whoever is called hears a briefing in the DID's
own voice. The agent stays connected until somebody has the call.
"""

from __future__ import annotations

import math

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import AbandonTurn, Action, CloseAgent, Synthesise, Transfer
from esl_agent.dialogue.destinations import Destination, fixed_briefing
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.relay_state import Round
from esl_agent.dialogue.relay_tools import RelayTools
from esl_agent.dialogue.tools import TransferRequest, tool_message, transfer_result
from esl_agent.dialogue.transferring import DECIDES, LAST_RESORT, NEWS, Handing
from esl_agent.dialogue.turn import Kind, Turn


class RelayTransfers(RelayTools):
    """A floor from which a call may be handed over."""

    _handing: Handing | None = None
    _has_fled = False
    _refuge: TransferRequest | None = None
    """Who gets the call when the words before the last resort were heard."""
    _media_due: float | None = None
    _call_ends = math.inf

    def _end_with(self, round: Round, now: float, out: list[Action]) -> None:
        if isinstance(round.last, TransferRequest):
            self._hand_over(round.last, round.turn, round.last_id, now, out)
        else:
            super()._end_with(round, now, out)

    def _hand_over(self, request: TransferRequest, turn: int, call: str, now: float, out: list[Action]) -> None:
        """Everything was heard. First the briefing's sound, if there is to be one."""
        handing = self._handing = Handing(request.destination, turn, call, now)
        if self._media_due is not None:
            self._transfer_failed("refused", now, out)
            return
        if self._turn is not None:
            self._abandon(self._turn, now, out)
        self._drop_reply(now, out)
        self._wish = self._asked = self._caller = None
        self._enter(Phase.TRANSFERRING, now)
        if request.briefing:
            handing.briefings = [request.briefing, fixed_briefing(request.destination.briefing)]
        self._brief(handing, now, out)

    def _brief(self, handing: Handing, now: float, out: list[Action]) -> None:
        """The briefing's sound, or that of the operator's words alone, or none: better unannounced than not at all."""
        while handing.briefings:
            text = handing.briefings.pop(0)
            if text and text not in handing.briefings:
                self._turns += 1
                handing.number, handing.stream = self._turns, None
                handing.ends = now + self._limits.tts
                out.append(Synthesise(handing.number, 0, text))
                return
        self._send(handing, None, now, out)

    def _send(self, handing: Handing, briefing: Sound | None, now: float, out: list[Action]) -> None:
        to = handing.destination
        decides = 2 * briefing.seconds + DECIDES if briefing is not None else 0.0
        handing.ends = now + to.rings + decides + NEWS
        handing.is_sent = True
        out.append(Transfer(to.name, to.target, to.mode, briefing))

    def _briefing_sounds(self, event: ev.Synthesised | ev.SynthesisEnded, now: float, out: list[Action]) -> None:
        handing = self._briefed(event.turn)
        if handing is None:
            return
        if isinstance(event, ev.SynthesisEnded):
            if handing.stream is not None:
                self._send(handing, Sound(bytes(handing.stream.pcm), handing.stream.rate), now, out)
        elif isinstance(event.audio, Sound):
            self._send(handing, event.audio, now, out)
        else:
            handing.stream = event.audio

    def _briefing_failed(self, number: int, now: float, out: list[Action]) -> None:
        if (handing := self._briefed(number)) is not None:
            out.append(AbandonTurn(number))
            self._brief(handing, now, out)

    def _briefed(self, number: int) -> Handing | None:
        """The transfer that waits for the sound of turn ``number``."""
        handing = self._handing
        waits = self.phase is Phase.TRANSFERRING and handing is not None and not handing.is_sent
        return handing if waits and handing is not None and handing.number == number else None

    def _away_due(self) -> float:
        if self.phase is Phase.TRANSFERRING and self._handing is not None:
            return self._handing.ends
        return self._since + self._limits.transferred

    def _away_overdue(self, now: float, out: list[Action]) -> None:
        handing = self._handing
        if now < self._away_due():
            return
        if self.phase is Phase.HANDED_OVER:
            self._hang_up("NORMAL_CLEARING", now, out)
        elif handing is None or handing.is_sent:
            self._transfer_failed("no_answer", now, out)
        else:
            self._briefing_failed(handing.number, now, out)

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

    def _transfer_came_back(self, name: str, reason: str, now: float, out: list[Action]) -> None:
        handing = self._handing
        if self.phase is Phase.TRANSFERRING and handing and handing.is_sent and handing.destination.name == name:
            self._transfer_failed(reason, now, out)

    def _transfer_failed(self, reason: str, now: float, out: list[Action]) -> None:
        """Nobody took the call: the agent goes on with it."""
        handing = self._handing
        if self._media_due is not None:
            self._media_due = now + self._limits.media
        round = next((each for each in self._rounds if handing and handing.call and each.last_id == handing.call), None)
        if handing is None or round is None:
            self._close_with(self._phrases.failure, now, out)
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
            self._close_with(self._phrases.failure, now, out)
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

    def _close_with(self, words: str, now: float, out: list[Action]) -> None:
        """Say the last words, then hang up."""

    def _need_agent(self, now: float, out: list[Action]) -> None:
        """Have the agent connected, if it is not."""
