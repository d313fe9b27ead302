"""A call is handed over: the words before it are heard, whoever is called is briefed, and the agent goes or comes back.

While the phase is TRANSFERRING nothing is said and nobody is listened to; HANDED_OVER lasts until the hang-up. Of a
transfer that nobody took the model is told as its tool's result. The last resort is a transfer that no model asked for:
it is tried once when the call cannot go on otherwise, also without a voice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import AbandonTurn, AbandonUtterance, Action, Synthesise, Transfer
from esl_agent.dialogue.destinations import Destination, fixed_briefing
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.tool_turns import ToolTurns
from esl_agent.dialogue.tools import TransferRequest, tool_message, transfer_result
from esl_agent.dialogue.turn import Kind, Turn

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


class Transferring(ToolTurns):
    """A floor from which a call may be handed over."""

    _handing: Handing | None = None
    _has_fled = False

    def _hand_over(self, request: TransferRequest, turn: int, call: str, now: float, out: list[Action]) -> None:
        """Everything was heard. First the briefing's sound, if there is to be one."""
        self._ear.rest()
        out.extend(AbandonUtterance(number) for number in self._utterances.abandon_all())
        handing = self._handing = Handing(request.destination, turn, call, now)
        self._enter(Phase.TRANSFERRING, now)
        if self._media_due is not None:
            self._transfer_failed("refused", now, out)
        else:
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

    def _transfer_came_back(self, name: str, reason: str, now: float, out: list[Action]) -> None:
        handing = self._handing
        if self.phase is Phase.TRANSFERRING and handing and handing.is_sent and handing.destination.name == name:
            self._transfer_failed(reason, now, out)

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
