"""The agent's responses become a turn: their sound is queued in order, their words kept, their failures answered.

Of a response that was dropped nothing is heard any more, however late it comes; its end is awaited, because until then
no other may be asked for. An agent that fails is asked again (limits.retries), apologised for by the DID's own voice,
and given up at limits.failures.
"""

from __future__ import annotations

from collections import deque

from esl_agent.audio.pcm import SoundStream
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Action, ToolCall
from esl_agent.dialogue.phase import AWAY, Phase
from esl_agent.dialogue.relay_floor import UNTOLD, RelayFloor
from esl_agent.dialogue.relay_settings import RelaySettings
from esl_agent.dialogue.relay_state import Ask, Item, Reply
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.dialogue.tools import Toolbox
from esl_agent.dialogue.turn import Kind, Turn

#: Responses that are over and still known by name: what comes of them again is late.
ENDED = 200
#: Pieces of sound in one turn; half an hour of them where each is a second long.
MAX_CLIPS = 2000
#: Items of one response: it has one or two.
MAX_ITEMS = 50


class AgentTurns(RelayFloor):
    """A floor on which the agent responds."""

    def __init__(
        self, settings: CascadeSettings, relay: RelaySettings, now: float, toolbox: Toolbox, *, language: str
    ) -> None:
        super().__init__(settings, relay, now, toolbox, language=language)
        self._over: deque[tuple[int, str]] = deque(maxlen=ENDED)

    # A response

    def _on_responding(self, session: int, name: str, now: float, out: list[Action]) -> None:
        reply = self._reply
        if session != self._sessions.serving or (session, name) in self._over:
            return
        if reply is not None:
            if reply.name == name:
                return
            self._response_over(reply)
        ask, self._asked = self._asked or Ask(), None
        reply = self._reply = Reply(session, name, ask, now)
        if self._is_unwanted(ask):
            self._drop_reply(now, out)
            return
        turn = self._turn
        if turn is None:
            turn = self._new_turn(ask.kind, ask.name, now)
            self._answers(turn, now)
        elif turn.kind in UNTOLD:
            turn.kind, turn.name = ask.kind, turn.name or ask.name  # it is more than that now
            self.transcript.open_turn(turn.number)
            self._answers(turn, now)
        turn.text_ended = False

    def _answers(self, turn: Turn, now: float) -> None:
        """Note since when the caller, and the agent, has had it coming."""
        turn.steps["asked"] = min(self._asked_at, now)
        if self._speech_ended is not None:
            turn.steps["speech_ended"], self._speech_ended = self._speech_ended, None

    def _is_unwanted(self, ask: Ask) -> bool:
        """Whether a response that begins now is not to be heard."""
        if self.phase in AWAY:
            return True
        if self.phase is Phase.CLOSING:
            return ask.kind is not Kind.CLOSING
        if self._caller is None or self._is_due_anyway(ask):
            return False
        return self._turn is None or self._may_interrupt(self._turn)

    def _may_interrupt(self, turn: Turn) -> bool:
        """Whether the caller may speak over a turn."""
        return self._yields(turn.kind, turn.name)

    def _is_due_anyway(self, ask: Ask | None) -> bool:
        """A phrase that was asked for, and is said whoever speaks."""
        return ask is not None and bool(ask.instructions) and not self._yields(ask.kind, ask.name)

    def _current(self, session: int, response: str) -> Reply | None:
        reply = self._reply
        return reply if reply is not None and (reply.session, reply.name) == (session, response) else None

    def _on_speaks(self, event: ev.AgentSpeaks, now: float) -> None:
        reply, turn = self._current(event.session, event.response), self._turn
        if reply is None:
            return
        if reply.is_dropped or turn is None:
            self._never_heard(reply, event.item)
            known = self._items.get((event.session, event.item))
            if known is not None and not known.is_ended:
                known.late = max(known.late, event.at + event.audio.seconds)
            return
        item = self._item(reply, event.item, turn)
        if item is None or event.part < item.parts or len(turn.clips) >= MAX_CLIPS:
            return
        item.parts = event.part + 1
        item.sounds[turn.add_sound(event.audio, now)] = (event.at, event.audio)
        turn.drop_unheard_fillers()
        reply.since = now
        reply.sounds += 1
        self._note_heard(item)

    def _on_text(self, event: ev.AgentText, now: float) -> None:
        reply, turn = self._current(event.session, event.response), self._turn
        if reply is None:
            return
        if reply.is_dropped or turn is None:
            self._never_heard(reply, event.item)
            return
        item = self._item(reply, event.item, turn)
        if item is not None:
            turn.mark("first_text", now)
            reply.since = now
            item.say(event.text)
            self._note_heard(item)

    def _item(self, reply: Reply, name: str, turn: Turn) -> Item | None:
        """What the turn in flight says as ``name``. None for what another turn said, and for one too many."""
        item = self._items.get((reply.session, name))
        if item is None:
            if len(reply.items) >= MAX_ITEMS:
                return None
            item = Item(reply.session, reply.name, name, turn.number, turn.take_number())
            self._items[reply.session, name] = item
            reply.items.add(name)
        return item if item.turn == turn.number else None

    def _never_heard(self, reply: Reply, item: str) -> None:
        """An item began to come when nobody wanted it any more."""
        if item not in reply.items and len(reply.items) < MAX_ITEMS:
            reply.items.add(item)
            self._unheard.append((reply.session, reply.name, item))

    def _on_spoke(self, session: int, response: str, name: str, now: float) -> None:
        item = self._items.get((session, name))
        if item is not None and self._current(session, response):
            self._item_ends(item, now)

    def _item_ends(self, item: Item, now: float) -> None:
        item.is_ended = True
        if self._turn is not None and self._turn.number == item.turn:
            for clip in item.sounds:
                self._turn.synthesis_ended(clip, now)
        self._note_heard(item)

    # Its end

    def _on_responded(self, event: ev.AgentResponded, now: float, out: list[Action]) -> None:
        reply, turn = self._current(event.session, event.response), self._turn
        if reply is None:
            return
        self._response_over(reply)
        for item in self._items.values():
            if item.session == event.session and not item.is_ended:
                self._item_ends(item, now)
        calls = event.calls if event.status == "completed" else ()
        if reply.is_dropped or turn is None:
            self._not_called(reply, calls, out)
        elif calls:
            self._called(reply, calls, turn, now, out)
        elif event.status == "cancelled" and self._caller is not None:
            pass  # the service stopped for the caller, and answers what they say
        elif event.status == "failed" or not (reply.sounds or self._may_be_silent(turn)):
            self._failed(reply.ask, reply.sounds > 0, now, out)

    def _may_be_silent(self, turn: Turn) -> bool:
        """Behind its tools an agent may have nothing to say."""
        return turn.errands.rounds > 0

    def _response_over(self, reply: Reply) -> None:
        self._reply = None
        self._over.append((reply.session, reply.name))

    def _called(self, reply: Reply, calls: tuple[ToolCall, ...], turn: Turn, now: float, out: list[Action]) -> None:
        """A response that was heard wants tools."""

    def _not_called(self, reply: Reply, calls: tuple[ToolCall, ...], out: list[Action]) -> None:
        """One that was not wants them too."""

    # It fails

    @property
    def _awaits_reply(self) -> bool:
        """A response is under way, or awaited."""
        return self._reply is not None or self._asked is not None

    def _reply_due(self) -> float:
        """When the response under way, or the one that is awaited, has taken too long."""
        since = self._asked_at if self._reply is None else self._reply.since
        return since + self._limits.llm

    def _reply_overdue(self, now: float, out: list[Action]) -> None:
        reply = self._reply
        if reply is None:
            if (ask := self._asked) is not None:
                self._asked = None
                self._failed(ask, False, now, out)
        elif reply.is_dropped:
            self._lost(now, out)
        elif (size := self._streamed()) > reply.size:
            reply.size, reply.since = size, now
        else:
            self._drop_reply(now, out)
            self._failed(reply.ask, reply.sounds > 0, now, out)

    def _streamed(self) -> int:
        """Bytes of all streams: they grow without an event."""
        sounds = [sound for item in self._items.values() for _, sound in item.sounds.values()]
        return sum(len(sound.pcm) for sound in sounds if isinstance(sound, SoundStream))

    def _failed(self, ask: Ask, is_heard: bool, now: float, out: list[Action]) -> None:
        """No answer came, or not all of one (``is_heard``)."""
        self._failures += 1
        turn = self._turn
        if self.phase is Phase.CLOSING:
            if not is_heard:
                self._close_aloud(now, out)
        elif self._failures >= self._limits.failures:
            self._give_up(now, out)
        elif ask.tries < self._limits.retries:
            self._wish = Ask(ask.kind, "" if is_heard else ask.instructions, ask.name, ask.tries + 1)
        elif turn is not None:
            turn.is_broken = True
        else:
            self._apologise(now, out)

    def _finish(self, turn: Turn, now: float, out: list[Action]) -> None:
        super()._finish(turn, now, out)
        if turn.is_broken and self.phase is not Phase.OVER:
            self._apologise(now, out)

    def _apologise(self, now: float, out: list[Action]) -> None:
        """The agent does not answer: the caller is told, and it is asked once more."""
        self._wish = Ask()
        if self._phrases.apology and self._caller is None:
            self._say(Kind.APOLOGY, self._phrases.apology, now, out, name="apology")

    def _close_aloud(self, now: float, out: list[Action]) -> None:
        """The last words come from the DID's own voice."""

    def _lost(self, now: float, out: list[Action]) -> None:
        """The connection that serves is good for nothing any more."""
