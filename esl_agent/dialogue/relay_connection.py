"""The agent is connected when the call is answered, again when its connection breaks, and anew before it is too old.

Nobody hears more silence than the deadline of two tries. What broke off is told to the agent that takes over, with the
history; what had come of an answer is heard to its end meanwhile.
"""

from __future__ import annotations

from collections import deque

from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Action, CloseAgent, ConnectAgent, Message, SendToAgent, TellAgent
from esl_agent.dialogue.phase import AWAY, Phase
from esl_agent.dialogue.relay_duties import RelayDuties
from esl_agent.dialogue.relay_state import Ask
from esl_agent.dialogue.transcript import UNHEARD
from esl_agent.dialogue.turn import Turn

#: Frames of the caller's that are kept while nobody is connected, the newest: two seconds.
KEPT_FRAMES = 100
#: What an agent is told of a greeting that the DID's own voice says meanwhile.
GREETED = "The caller is being greeted already, with these words; do not greet them again: "
#: What an agent is told that took over while words of the one before it were heard, and then interrupted.
HEARD_ONLY = "(I interrupted you; of your last answer I heard no more than: {})"


class RelayConnections(RelayDuties):
    """A floor whose agent comes and goes."""

    def _prepare(self) -> None:
        super()._prepare()
        self._kept: deque[bytes] = deque(maxlen=KEPT_FRAMES)

    @property
    def _greets_by_voice(self) -> bool:
        return self._relay.greeting == "voice" and bool(self._phrases.greeting)

    def _connect(self, now: float, out: list[Action]) -> None:
        instructions = self._settings.prompt
        if self._sessions.count == 0 and self._greets_by_voice:
            instructions = "\n\n".join(filter(None, (instructions, GREETED + self._phrases.greeting)))
        number = self._sessions.begin(now)
        may_interrupt = self._settings.barge_in.enabled
        out.append(ConnectAgent(number, instructions, self._toolbox.specs, self._history(), may_interrupt))

    def _need_agent(self, now: float, out: list[Action]) -> None:
        if self._sessions.is_parted and self._sessions.connecting is None:
            self._connect(now, out)

    def _history(self) -> tuple[Message, ...]:
        """What was said on this call, and what is being said now, as words of both."""
        turn = self._turn
        words = {}
        if turn is not None:
            words = {number: text for number, text in turn.words.items() if text}
            words |= {item.number: item.text for item in self._items.values() if item.turn == turn.number}
        said = self.transcript.messages(
            limit=self._limits.history, speaking=0 if turn is None else turn.number, words=words
        )
        return tuple(Message(each.role, each.content) for each in said if each.role != "tool" and each.content)

    def _on_connected(self, number: int, now: float, out: list[Action]) -> None:
        sessions = self._sessions
        if number != sessions.connecting or self.phase is Phase.OVER:
            return
        if sessions.serving is not None:
            if self.phase not in (Phase.LISTENING, Phase.HOLDING):
                sessions.forgo(now)
                out.append(CloseAgent(number))
                return
            out.append(CloseAgent(sessions.serving))
            self._reply = None  # one that was dropped: nobody tells of its end any more
        sessions.serve(number, now)
        untold, self._untold = self._untold, []
        out.extend(TellAgent(number, text) for text in untold)
        if self.phase not in AWAY:
            out.extend(SendToAgent(number, pcm) for pcm in self._kept)
        self._kept.clear()

    # Nobody is connected

    def _on_closed(self, event: ev.AgentClosed, now: float, out: list[Action]) -> None:
        if event.session == self._sessions.connecting:
            self._sessions.forgo(now)
            self._not_connected(event.retryable, now, out)
        elif event.session == self._sessions.serving:
            self._parted(event.retryable, event.expired, now, out)

    def _connect_overdue(self, now: float, out: list[Action]) -> None:
        if (number := self._sessions.forgo(now)) is not None:
            out.append(CloseAgent(number))
            self._not_connected(True, now, out)

    def _not_connected(self, retryable: bool, now: float, out: list[Action]) -> None:
        if not self._sessions.is_parted or self.phase in (*AWAY, Phase.CLOSING):
            return
        if retryable and self._sessions.may_try:
            self._connect(now, out)
        else:
            self._give_up(now, out)

    def _parted(self, retryable: bool, expired: bool, now: float, out: list[Action]) -> None:
        """The connection that served is gone. What is owed to the caller is owed by the next one."""
        session = self._sessions.serving
        may_replace = self._sessions.broke(now, counts=not expired) and (retryable or expired)
        reply, self._reply = self._reply, None
        for item in self._items.values():
            if item.session == session and not item.is_ended:
                self._item_ends(item, now)
        owed = self._asked
        if reply is not None and not reply.is_dropped:
            owed = Ask() if reply.sounds else reply.ask
            if reply.sounds:
                self._untold.append(UNHEARD)
        elif owed is None and self._caller is not None:
            owed = Ask()
        self._asked = self._caller = None
        if self.phase is Phase.CLOSING:
            if self._turn is None or not self._turn.outstanding():
                self._close_aloud(now, out)
        elif self.phase not in AWAY:
            self._wish = self._wish or owed
            if not may_replace:
                self._give_up(now, out)
            else:
                self._need_agent(now, out)

    def _settled(self, turn: Turn, out: list[Action]) -> None:
        """An agent that took over was told of words that turn out not to have been heard."""
        items = [item for item in self._items.values() if item.turn == turn.number]
        super()._settled(turn, out)
        if any(item.session < self._sessions.count and (item.is_cut or not item.heard) for item in items):
            self._tell(HEARD_ONLY.format(self.transcript.agent_text(turn.number) or "-"), out)

    def _lost(self, now: float, out: list[Action]) -> None:
        if (session := self._sessions.serving) is not None:
            out.append(CloseAgent(session))
            self._parted(True, False, now, out)
