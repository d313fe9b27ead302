"""A transfer under way, the same for every agent: whoever is called is briefed, then the switch says who has the call.

While the phase is TRANSFERRING nothing is said and nobody is listened to; HANDED_OVER lasts until the hang-up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import AbandonTurn, Action, Synthesise, Transfer
from esl_agent.dialogue.call_ends import CallEnds
from esl_agent.dialogue.destinations import Destination, fixed_briefing
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.tools import TransferRequest

#: The switch says what became of a transfer within so many seconds after it has stopped ringing.
NEWS = 10.0
#: Whoever answers hears the briefing twice, and may take so long beside it to decide.
DECIDES = 15.0
#: The name of the words before the last resort.
LAST_RESORT = "last_resort"


@dataclass(slots=True)
class Handing:
    """One transfer under way. ``turn`` and ``call``: whose result it is; no call: nobody's."""

    destination: Destination
    turn: int
    call: str
    ends: float
    """When the briefing's sound, and then the switch's news, is overdue."""
    briefings: list[str] = field(default_factory=list)
    """What to say to whoever answers: the first of these that gets a voice, and was not tried yet."""
    number: int = 0
    """The turn number that its briefing is synthesised under."""
    stream: SoundStream | None = None
    is_sent: bool = False


class HandingOver(CallEnds):
    """What every floor does from which a call is handed over. What is done before and afterwards is the floor's."""

    _turns: int
    _handing: Handing | None = None

    def _prepare_briefing(self, handing: Handing, request: TransferRequest, now: float, out: list[Action]) -> None:
        """First the briefing's sound, if there is to be one."""
        if request.briefing:
            handing.briefings = [request.briefing, fixed_briefing(request.destination.briefing)]
        self._brief(handing, now, out)

    def _brief(self, handing: Handing, now: float, out: list[Action]) -> None:
        """The briefing's sound, or else that of the operator's words alone, which were spoken before the call. If
        neither comes: better unannounced than not at all."""
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
        """The briefing's sound came, or is whole."""
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

    def _transfer_came_back(self, name: str, reason: str, now: float, out: list[Action]) -> None:
        handing = self._handing
        if self.phase is Phase.TRANSFERRING and handing and handing.is_sent and handing.destination.name == name:
            self._transfer_failed(reason, now, out)

    def _transfer_failed(self, reason: str, now: float, out: list[Action]) -> None:
        """Nobody took the call: the agent goes on with it."""
