"""Whose turn it is between a caller and a speech-to-speech agent; what was said, what is heard, what is asked for.

A turn is what the caller hears without a word of theirs between: one response of the agent, or several with tools
between them, or a phrase that the DID's own voice says. ``_go_on`` stands behind every event: it lets out what can be
heard, ends the turn when all was, asks for what is wanted when it may, and names the phase.
"""

from __future__ import annotations

from esl_agent.dialogue.actions import (
    AbandonTurn,
    Action,
    AskAgent,
    CancelReply,
    CloseAgent,
    ForgetReply,
    HangUp,
    Measured,
    Play,
    StopPlayback,
    TruncateReply,
)
from esl_agent.dialogue.call_ends import CallEnds
from esl_agent.dialogue.phase import AWAY, Phase
from esl_agent.dialogue.relay_sessions import Sessions
from esl_agent.dialogue.relay_settings import RelaySettings
from esl_agent.dialogue.relay_state import Ask, Item, Reply, Round
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.dialogue.settling import Settling
from esl_agent.dialogue.tools import Toolbox
from esl_agent.dialogue.transcript import Transcript
from esl_agent.dialogue.turn import Kind, Turn

#: Phases that ``_go_on`` does not choose.
FIXED = (Phase.WAITING, Phase.CLOSING, Phase.OVER, *AWAY)
#: What is said in these turns is no part of the history.
UNTOLD = (Kind.APOLOGY, Kind.FILLER)


class RelayFloor(CallEnds):
    """Whose turn it is (``phase``), the turn in flight, and what was said. Every method appends orders to ``out``."""

    def __init__(
        self, settings: CascadeSettings, relay: RelaySettings, now: float, toolbox: Toolbox, *, language: str
    ) -> None:
        self.phase = Phase.WAITING
        self.transcript = Transcript(settings.limits.history)
        self._settings = settings
        self._relay = relay
        self._limits = settings.limits
        self._phrases = settings.phrases
        self._toolbox = toolbox
        self._language = language
        self._sessions = Sessions(relay)
        self._turn: Turn | None = None
        self._turns = 0
        self._settling = Settling()
        self._items: dict[tuple[int, str], Item] = {}
        """Of the turn in flight, and of those whose reports are awaited."""
        self._unheard: list[tuple[int, str, str]] = []
        """Items (session, response, name) that the agent may believe to have said. Nobody heard any of them."""
        self._reply: Reply | None = None
        self._wish: Ask | None = None
        """What to ask for as soon as nothing is in the way."""
        self._asked: Ask | None = None
        """What a response is awaited to: what was asked for, or the caller's words."""
        self._asked_at = now
        self._rounds: list[Round] = []
        self._caller: tuple[int, str] | None = None
        """The speech of the caller that goes on."""
        self._speech_ended: float | None = None
        self._since = now
        self._told = 0
        """Fillers since the caller or the agent was heard."""
        self._quiet_since = now
        """When the last clip ended, or the last filler was asked for."""
        self._hold_ends = 0.0
        self._failures = 0

    @property
    def turn_number(self) -> int:
        """The turn in flight, or the last one."""
        return self._turns

    # What comes next

    def _go_on(self, now: float, out: list[Action]) -> None:
        """What follows from how things are. Called behind every event."""
        turn = self._turn
        if turn is not None:
            self._pump(turn, now, out)
            if not self._has_more(turn):
                turn.text_ended = True
                if turn.is_finished:
                    self._turn = None
                    self._finish(turn, now, out)
        self._take_back(out)
        self._ask_if_free(now, out)
        self._choose_phase(now)

    def _has_more(self, turn: Turn) -> bool:
        """More of the turn in flight may come, beside what it holds."""
        if self._reply is not None and not self._reply.is_dropped:
            return True
        if _is_spoken(turn):
            return False
        is_running = any(each.running for each in self._rounds if each.turn == turn.number)
        return is_running or self._asked is not None or self._wish is not None

    def _choose_phase(self, now: float) -> None:
        if self.phase in FIXED:
            return
        turn = self._turn
        if turn is not None and (turn.outstanding() or (self._has_more(turn) and turn.heard_any)):
            phase = Phase.SPEAKING
        elif self._caller is not None:
            phase = Phase.HEARING
        elif turn is not None or self._is_waiting:
            phase = Phase.THINKING
        else:
            phase = Phase.HOLDING if self._hold_ends else Phase.LISTENING
        if phase is not self.phase:
            self._enter(phase, now)

    @property
    def _is_waiting(self) -> bool:
        """Something is awaited without which the call does not go on."""
        is_running = any(each.running for each in self._rounds)
        is_owed = self._asked is not None or self._wish is not None
        return is_owed or is_running or self._sessions.is_parted or self._settling.is_sounding

    def _pump(self, turn: Turn, now: float, out: list[Action]) -> None:
        for action in turn.pump(now):
            if isinstance(action, Play):
                clip = turn.clip(action.clip)
                if (item := self._item_of(turn.number, action.clip)) is not None:
                    item.outstanding.add(action.clip)
                elif clip is not None and not clip.is_filler:
                    self.transcript.spoken(turn.number, clip.number, clip.text, clip.text_seconds)
            out.append(action)

    def _finish(self, turn: Turn, now: float, out: list[Action]) -> None:
        """All of a turn was heard; it is in flight no more."""
        for item in self._items.values():
            if item.turn == turn.number:
                self._note_heard(item)
        self._forget(turn.number)
        self._measure(turn, out, interrupted=turn.is_broken)
        if turn.kind is Kind.CLOSING:
            self._hang_up("NORMAL_CLEARING", now, out)
        elif turn.heard_any and not turn.is_broken and not _is_spoken(turn):
            self._failures = 0

    # What is asked for

    def _ask_if_free(self, now: float, out: list[Action]) -> None:
        """Ask for what is wanted, if nobody speaks and nothing else is under way."""
        wish, session = self._wish, self._sessions.serving
        if wish is None or session is None or self.phase in (*AWAY, Phase.OVER):
            return
        if self._reply is not None or self._asked is not None or self._caller is not None:
            return
        if self._turn is not None and _is_spoken(self._turn):
            return
        self._wish = None
        self._await(wish, now)
        may_stop = self._yields(wish.kind, wish.name)
        out.append(AskAgent(session, wish.instructions, is_last=wish.kind is Kind.CLOSING, interruptible=may_stop))

    def _yields(self, kind: Kind, name: str) -> bool:
        """Whether the caller may speak over what is said as ``kind``, or as the phrase of that name."""
        barge_in = self._settings.barge_in
        if kind is Kind.CLOSING or not barge_in.enabled:
            return False
        if kind is Kind.GREETING and not barge_in.greeting:
            return False
        return name not in barge_in.uninterruptible

    def _await(self, ask: Ask, now: float) -> None:
        self._asked, self._asked_at = ask, now

    def _drop_reply(self, now: float, out: list[Action]) -> None:
        """Nothing more of the response under way is wanted."""
        reply = self._reply
        if reply is not None and not reply.is_dropped:
            reply.is_dropped, reply.since = True, now
            out.append(CancelReply(reply.session, reply.name))

    # The DID's own voice

    def _say(self, kind: Kind, text: str, now: float, out: list[Action], *, name: str = "") -> Turn:
        """Say a phrase without the agent. No turn may be in flight."""
        turn = self._new_turn(kind, name, now)
        turn.add_text(text)
        turn.end_text()
        self._pump(turn, now, out)
        return turn

    def _new_turn(self, kind: Kind, name: str, now: float) -> Turn:
        self._turns += 1
        turn = self._turn = Turn(self._turns, kind, name, progressed_at=now)
        turn.errands.is_writing = False
        turn.mark("asked", now)
        if kind not in UNTOLD:
            self.transcript.open_turn(turn.number)
        return turn

    # What was heard

    def _item_of(self, turn: int, clip: int) -> Item | None:
        return next((item for item in self._items.values() if item.turn == turn and clip in item.sounds), None)

    def _on_played(self, number: int, clip: int, heard: float, now: float, out: list[Action]) -> None:
        if (item := self._item_of(number, clip)) is None:
            self.transcript.heard(number, clip, heard)
        elif item.report(clip, heard):
            self._note_heard(item)
            self._told = 0 if heard > 0 else self._told
        turn = self._turn
        if turn is not None and turn.number == number:
            turn.played(clip, heard, now)
            self._quiet_since = now
        elif settled := self._settling.played(number, clip, heard, now):
            self._settled(settled, out)

    def _note_heard(self, item: Item) -> None:
        """Keep the history to what was heard."""
        if item.heard > 0:
            seconds = max(item.received, item.late)
            self.transcript.follows(item.turn, item.number, item.text, seconds, item.heard)

    def _began(self, number: int, clip: int, now: float) -> None:
        turn = self._turn
        if turn is not None and turn.number == number and (began := turn.clip(clip)) and not began.is_filler:
            turn.mark("began", now)

    # The turn is given up

    def _interrupt(self, turn: Turn, now: float, out: list[Action]) -> None:
        """Somebody takes the floor from the agent."""
        turn.steps.update(interrupted_onset=now, interrupted=now)
        self._abandon(turn, now, out)

    def _abandon(self, turn: Turn, now: float, out: list[Action]) -> None:
        """Nothing more of the turn in flight is heard."""
        self._turn = None
        self._drop_reply(now, out)
        if any(clip.text and clip.made_nothing_since is not None for clip in turn.clips):
            out.append(AbandonTurn(turn.number))
        for clip in turn.break_off_streams(now):
            if clip.text:
                self.transcript.lasts(turn.number, clip.number, clip.text_seconds)
        if turn.stop(now):
            out.append(StopPlayback())
        if turn.outstanding():
            self._settling.add(turn, now)
        else:
            self._settled(turn, out)

    def _settled(self, turn: Turn, out: list[Action]) -> None:
        """It is known what was heard of a turn that was given up: the agent is to know it too."""
        for item in self._items.values():
            if item.turn != turn.number:
                continue
            self._note_heard(item)
            if item.session == self._sessions.serving and item.is_cut:
                out.append(TruncateReply(item.session, item.name, item.heard))
            elif item.is_unheard:
                self._unheard.append((item.session, item.response, item.name))
        self._forget(turn.number)
        self._measure(turn, out, interrupted=True)

    def _take_back(self, out: list[Action]) -> None:
        """What nobody heard was never said; the service is told when it has ended the response."""
        unheard, self._unheard = self._unheard, []
        for session, response, name in unheard:
            if self._reply is not None and (self._reply.session, self._reply.name) == (session, response):
                self._unheard.append((session, response, name))
            elif session == self._sessions.serving:
                out.append(ForgetReply(session, name))

    def _forget(self, turn: int) -> None:
        for key in [key for key, item in self._items.items() if item.turn == turn]:
            del self._items[key]

    def _measure(self, turn: Turn, out: list[Action], *, interrupted: bool) -> None:
        agent = self.transcript.agent_text(turn.number)
        out.append(Measured(turn.number, turn.kind.value, dict(turn.steps), agent, interrupted))

    # The call ends

    def _hang_up(self, cause: str, now: float, out: list[Action]) -> None:
        self._leave(now, out)
        out.append(HangUp(cause))
        self._enter(Phase.OVER, now)

    def _leave(self, now: float, out: list[Action]) -> None:
        """Nothing more is said and nobody is asked any more. The leg's queue is left to the hang-up."""
        turn, self._turn = self._turn, None
        if turn is not None:
            self._forget(turn.number)
            self._measure(turn, out, interrupted=True)
        for settled in self._settling.take():
            self._forget(settled.number)
            self._measure(settled, out, interrupted=True)
        self._wish = self._asked = self._reply = self._caller = None
        self._rounds.clear()
        out.extend(CloseAgent(number) for number in self._sessions.dismiss())

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase = phase
        self._since = now


def _is_spoken(turn: Turn) -> bool:
    """The DID's own voice says it (first)."""
    return any(clip.text and not clip.is_filler for clip in turn.clips)
