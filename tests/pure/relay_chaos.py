"""A relay's world gone mad: a service, a leg, a caller and a line that do anything at any moment, and keep the facts.

``watch`` checks each order as it comes against the laws at the top of relay.py. What the world itself keeps to, and
judges by:

- An item belongs to one session and one response. The same name from another session is another item, of which a relay
  knows nothing: it changes neither how long the first one is nor what was heard of it.
- Sound is late if it comes behind the cancelling of its response. It is never heard, but the item is longer by it while
  the item goes on; once that has ended, its length is final. Words that come late are no words of it.
- One response is under way at a time. It is over with its end, or with the session that made it, and with no other.
- What the leg reports is what was heard, and the first report of a clip counts.
- The caller's words are owed an answer once they are over, unless something that is said whoever speaks comes first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import ToolCall
from esl_agent.dialogue.phase import AWAY, Phase
from esl_agent.dialogue.relay_deadlines import MAX_SPEECH
from esl_agent.dialogue.relay_settings import RelaySettings
from esl_agent.dialogue.relay_state import REST
from esl_agent.dialogue.settings import CascadeSettings
from tests.pure.relay_world import Queued, RelayWorld
from tests.pure.world import RATE, sound

#: What an agent may call, some of it nonsense.
CALLS = (
    ("order", {}),
    ("transfer", {"to": "sales"}),
    ("transfer", {"to": "desk"}),
    ("collect_digits", {"prompt": "Press it now.", "max_digits": 2}),
    ("hold", {"seconds": 20}),
    ("set_variable", {"name": "n", "value": "v"}),
    ("hang_up", {}),
    ("transfer", {"to": "nobody"}),
)
TO_A_SESSION = (
    act.SendToAgent,
    act.AskAgent,
    act.TellAgent,
    act.ReturnTools,
    act.CancelReply,
    act.TruncateReply,
    act.ForgetReply,
)
#: Words of a piece.
PIECE = 3
#: What may be ordered when somebody else has the call.
QUIET_ORDERS = (act.AbandonTurn, act.StopPlayback, act.Measured, act.CloseAgent, act.HangUp)


@dataclass
class Said:
    """An item as the service made it, and what the world knows of it."""

    session: int
    response: str
    name: str
    words: int = 0
    length: float = 0.0
    """Seconds that were made."""
    taken: float = 0.0
    """Seconds that came while its response was under way, and before it was cut."""
    text: int = 0
    """Words that came so."""
    heard: float = 0.0
    parts: int = 0
    is_ended: bool = False
    is_dead: bool = False
    is_cut: bool = False
    """Words came of which there was no sound any more."""
    is_unwanted: bool = False
    """It began when its response had been cancelled."""
    stream: SoundStream | None = None


@dataclass
class Piece:
    """A sound of an item, as it was sent."""

    item: Said
    at: float
    audio: Sound | SoundStream
    order: int
    is_late: bool


@dataclass
class Made:
    """A response at the service."""

    session: int
    name: str
    items: list[Said] = field(default_factory=list)
    is_cancelled: bool = False


class RelayChaos(RelayWorld):
    """Carries out a generated schedule."""

    def __init__(self, config: CascadeSettings, relay: RelaySettings, *, streams: bool = False) -> None:
        super().__init__(config, relay, streams=streams)
        self.config = config
        self.streams = streams
        self.is_answered = False
        self.sessions: dict[int, str] = {}
        """By number: connecting, connected, closed."""
        self.reply: Made | None = None
        """What is under way at the service."""
        self.made = 0
        self.owes = False
        """The service is to respond: it was asked, or the caller has ended."""
        self.awaits_until = 0.0
        self.items: dict[str, Said] = {}
        self.phantoms: dict[tuple[int, str], Said] = {}
        """Items that began to come late, or under the number of another session."""
        self.pieces: dict[int, Piece] = {}
        self.played: list[int] = []
        self.clips: dict[tuple[int, int], Piece] = {}
        self.truncations: set[str] = set()
        self.forgotten: set[str] = set()
        self.fillers: set[tuple[int, int]] = set()
        self.reported: set[tuple[int, int]] = set()
        self.calls: dict[str, tuple[str, ...]] = {}
        """By response: the ids of the tools that it called, once it was completed."""
        self.returned: list[str] = []
        self.speaks: str | None = None
        self.speaks_since = 0.0
        self.spoken: list[tuple[int, str]] = []
        self.unsaid: list[tuple[int, str]] = []
        self.said = 0
        self.past: list[ev.Event] = []
        self.done: set[int] = set()
        """Orders that were answered, by their place in the log."""
        self.closing_since = math.inf
        self.was = self.phase
        self.on_action = self.watch

    # The laws

    def post(self, event: ev.Event) -> list[act.Action]:
        self.was = self.phase
        if isinstance(event, ev.Answered):
            self.is_answered = True
        actions = super().post(event)
        if self.phase is Phase.CLOSING:
            self.closing_since = min(self.closing_since, self.now)
        return actions

    @property
    def serving(self) -> int | None:
        return next((number for number, state in self.sessions.items() if state == "connected"), None)

    def watch(self, action: act.Action) -> None:
        if isinstance(action, TO_A_SESSION):
            assert self.sessions.get(action.session) == "connected", f"{action} to nobody"
        if self.phase is Phase.HANDED_OVER and self.was is Phase.HANDED_OVER:
            assert isinstance(action, QUIET_ORDERS), f"{action} after the call was handed over"
        if isinstance(action, act.Play | act.AskAgent | act.SendToAgent | act.RunTool):
            assert not (self.phase in AWAY and self.was in AWAY), f"{action} while somebody else has the call"
        match action:
            case act.ConnectAgent(session):
                assert self.is_answered, "an agent is connected before the call is answered"
                assert self.phase not in (Phase.HANDED_OVER, Phase.OVER), f"connected in {self.phase}"
                assert Phase.CLOSING not in (self.phase, self.was) or self.was is not self.phase, "connected at the end"
                assert "connecting" not in self.sessions.values(), "two are being connected"
                assert session not in self.sessions
                self.sessions[session] = "connecting"
                self.check_words(action.history, is_live=True)
            case act.CloseAgent(session):
                assert self.sessions[session] != "closed", f"{session} is closed twice"
                self.closed(session)
            case act.AskAgent():
                assert self.reply is None, "a response is asked for while one is under way"
                assert self.now >= self.awaits_until, "a response is asked for while one is awaited"
                is_over = self.speaks is None or self.phase is Phase.CLOSING
                assert is_over or self.now >= self.speaks_since + MAX_SPEECH, "a response is asked for over the caller"
                self.awaits()
            case act.CancelReply(session, response):
                assert self.reply is not None, "nothing is cancelled"
                assert (self.reply.session, self.reply.name) == (session, response)
                assert not self.reply.is_cancelled, "cancelled twice"
                self.reply.is_cancelled = True
            case act.TruncateReply():
                self.truncated(action)
            case act.ForgetReply():
                self.forgets(action)
            case act.ReturnTools(_, results):
                ids = tuple(id for id, _ in results)
                assert ids in self.calls.values(), f"{ids} are not the calls of a response: {self.calls}"
                assert not set(ids) & set(self.returned), "a call is answered twice"
                self.returned += ids
            case act.Synthesise(turn, clip, text) if text in self.config.phrases.filler:
                assert self.is_quiet(self.queue), "a filler over somebody's words"
                self.fillers.add((turn, clip))
            case act.Play():
                self.plays(action)
            case act.StopPlayback():
                for piece in self.pieces.values():
                    piece.item.is_dead = True
            case act.HangUp() | act.Transfer():
                self.left(action)

    def awaits(self) -> None:
        self.owes = True
        self.awaits_until = self.now + self.config.limits.llm

    def closed(self, session: int) -> None:
        if self.reply is not None and self.reply.session == session:
            self.reply = None
        if self.sessions[session] == "connected":
            self.owes, self.awaits_until, self.speaks = False, 0.0, None
        self.sessions[session] = "closed"
        for item in self.items.values():
            if item.session == session:
                self.end(item)

    def plays(self, action: act.Play) -> None:
        key = (action.turn, action.clip)
        sounding = [clip for clip in self.queue[:-1] if not self.is_cleared and not self.is_lost(clip)]
        assert all(clip.play.turn == action.turn for clip in sounding), "two turns sound"
        assert action.start == 0.0
        assert key not in self.fillers or self.is_quiet(self.queue[:-1]), "a filler behind the words it stood for"
        piece = self.pieces.get(id(action.audio))
        if piece is not None:
            assert not piece.is_late, "sound that came late is played"
            assert not piece.item.is_dead, "sound of an interrupted response is played"
            assert piece.item.name not in self.forgotten, "what was never said is played"
            assert piece.order not in self.played, "a part plays twice"
            assert piece.order > max(self.played, default=-1), "a part plays out of order"
            self.played.append(piece.order)
            self.clips[key] = piece

    def is_quiet(self, queue: list[Queued]) -> bool:
        """Nobody is heard."""
        return self.dialogue._caller is None and (self.is_cleared or all(map(self.is_lost, queue)))

    def is_lost(self, clip: Queued) -> bool:
        """Its report is overdue."""
        return self.now >= clip.since + clip.play.audio.seconds + self.config.limits.playback

    def truncated(self, action: act.TruncateReply) -> None:
        item = self.items[action.item]
        assert action.session == item.session
        assert action.heard == item.heard, f"truncated at {action.heard}, heard {item.heard}"
        assert 0 < action.heard <= item.taken
        assert not (item.is_ended and item.heard >= item.length - REST), "what was heard to its end is truncated"
        assert action.item not in self.forgotten, "what was forgotten is truncated"
        self.truncations.add(action.item)

    def forgets(self, action: act.ForgetReply) -> None:
        item = self.known(action.session, action.item)
        assert item is not None, f"{action}: nobody has ever said that"
        assert self.reply is None or self.reply.name != item.response, "forgotten while it is made"
        assert item.heard == 0, f"{item} was heard and is forgotten"
        assert action.item not in self.truncations | self.forgotten, "taken back twice"
        clips = [key for key, piece in self.clips.items() if piece.item is item]
        assert self.reported.issuperset(clips), "forgotten before it is known what was heard"
        self.forgotten.add(action.item)

    def known(self, session: int, name: str) -> Said | None:
        """An item as that session named it: another one's of the same name is another item."""
        item = self.items.get(name)
        return item if item is not None and item.session == session else self.phantoms.get((session, name))

    def left(self, action: act.Action) -> None:
        """The call leaves us: its last words were heard, or waited for long enough."""
        self.speaks = None
        if self.queue and not self.is_cleared:
            waited, limit = self.now - self.closing_since, self.config.limits.goodbye
            assert self.is_lost(self.queue[-1]) or waited > limit - 0.01, f"cut off: {self.queue}"

    def check_words(self, messages: tuple[act.Message, ...], *, is_live: bool) -> None:
        """Of each item no more words are known than were heard (or are being said)."""
        words = [word for m in messages if m.role == "assistant" for word in m.content.split()]
        assert not any(filler in " ".join(words) for filler in self.config.phrases.filler), "a filler is told"
        for item in self.items.values():
            known = sum(word.startswith(f"{item.name}-") for word in words)
            if is_live and not item.is_dead:
                assert known <= item.text
                continue
            share = item.heard / item.taken if item.taken else 0.0
            if item.stream is not None and not item.is_ended:
                share = 1.0  # it grows without an event
            most = item.text if share >= 0.97 else int(item.text * share + 1e-9)
            ahead = 0 if item.is_ended and not item.is_cut else PIECE  # words come before their sound
            assert known <= most + ahead, f"{known} words of {item}"

    def check(self) -> None:
        it = self.dialogue
        for item in self.items.values():
            is_over = self.reply is None or self.reply.name != item.response
            if item.is_unwanted and is_over and item.session == self.serving and self.phase is not Phase.OVER:
                assert item.name in self.forgotten, f"the agent believes to have said {item}"
        if self.phase in AWAY:
            self.speaks = None  # nobody is listened to
        if self.phase is Phase.OVER:
            assert it.next_deadline is None
            assert all(state == "closed" for state in self.sessions.values()), "a session outlives the call"
            return
        assert it.next_deadline is not None
        assert list(self.sessions.values()).count("connected") <= 1
        self.check_words(it.transcript.messages(), is_live=False)
        match self.phase:
            case Phase.LISTENING | Phase.HOLDING:
                assert it._turn is None
                assert it._wish is None
                assert it._asked is None
                assert it._sessions.serving is not None, "nobody listens"
                assert not it._rounds or it._question is not None, "a call of a tool is forgotten"
            case Phase.HEARING:
                assert it._caller is not None
            case Phase.SPEAKING:
                assert it._turn is not None
            case Phase.HANDED_OVER:
                assert all(state == "closed" for state in self.sessions.values()), "an agent listens to others"

    # Events

    def send(self, event: ev.Event) -> None:
        self.past.append(event)
        self.post(event)

    def connected(self, session: int) -> None:
        if self.sessions.get(session) == "connecting":
            before, self.sessions[session] = self.serving, "connected"
            if before is not None:
                self.sessions[before] = "old"  # until the relay has chosen between the two
            speaks, owes, awaits = self.speaks, self.owes, self.awaits_until
            self.send(ev.AgentConnected(session))
            if self.sessions[session] == "closed" and before is not None:
                self.speaks, self.owes, self.awaits_until = speaks, owes, awaits
                if self.sessions[before] == "old":
                    self.sessions[before] = "connected"
            assert "old" not in self.sessions.values(), "two sessions serve"

    def begin(self) -> None:
        """The service responds."""
        if (session := self.serving) is None or self.reply is not None:
            return
        self.made += 1
        self.owes, self.awaits_until = False, 0.0
        self.reply = Made(session, f"r{self.made}")
        self.send(ev.AgentResponding(session, self.reply.name))

    def piece(self, made: Made, pick: int, seconds: float) -> None:
        """Another part of the newest item of a response, or of a new one."""
        if not made.items or made.items[-1].is_ended or pick % 5 == 0:
            if made.items:
                self.spoke(made)
            name = f"{made.name}i{len(made.items)}"
            is_late = made.is_cancelled
            made.items.append(Said(made.session, made.name, name, is_dead=is_late, is_unwanted=is_late))
            self.items[name] = made.items[-1]
        item = made.items[-1]
        is_late = made.is_cancelled
        words = " ".join(f"{item.name}-{item.words + n}" for n in range(PIECE))
        item.words += PIECE
        item.text += 0 if is_late else PIECE
        item.is_cut = item.is_cut or is_late
        self.send(ev.AgentText(made.session, made.name, item.name, f" {words}"))
        length = 0.2 + seconds
        if self.streams:
            self.grow(made, item, length, is_late)
            return
        audio, at = sound(length), item.length
        item.length += audio.seconds
        item.taken += 0.0 if is_late else audio.seconds
        self.pieces[id(audio)] = Piece(item, at, audio, len(self.pieces), is_late)
        item.parts += 1
        self.send(ev.AgentSpeaks(made.session, made.name, item.name, audio, item.parts - 1, at))

    def grow(self, made: Made, item: Said, length: float, is_late: bool) -> None:
        pcm = bytes(int(RATE * length) * 2)
        if item.stream is not None and not item.stream.is_ended:
            item.stream.append(pcm)
        if item.stream is None:
            item.stream = SoundStream(RATE)
            item.stream.append(pcm)
            self.pieces[id(item.stream)] = Piece(item, 0.0, item.stream, len(self.pieces), is_late)
            self.send(ev.AgentSpeaks(made.session, made.name, item.name, item.stream))
        item.taken = item.stream.seconds
        item.length = max(item.length, item.taken)

    def late(self, session: int, response: str, pick: int) -> None:
        """Something of a response that is not under way."""
        if self.reply is not None and self.reply.name == response and not self.reply.is_cancelled:
            return
        name = f"{response}i{pick % 3}"
        item = self.known(session, name)
        if item is None:
            item = self.phantoms[session, name] = Said(session, response, name)
        item.is_cut = True
        audio = sound(0.5)
        at = item.length
        self.pieces[id(audio)] = Piece(item, at, audio, len(self.pieces), is_late=True)
        if not item.is_ended:
            item.length += audio.seconds  # what the caller heard is not all of it any more
        self.send(ev.AgentText(session, response, name, f" {name}-late"))
        self.send(ev.AgentSpeaks(session, response, name, audio, item.parts, at))

    def foreign(self, known: int, unknown: int, pick: int) -> None:
        """Something of which nobody has ever heard."""
        events: tuple[ev.Event, ...] = (
            ev.AgentResponding(unknown, "x"),
            ev.AgentConnected(unknown),
            ev.CallerSpeaks(unknown, "x"),
            ev.AgentResponded(known, "x", "completed", (ToolCall("x", "order"),)),
            ev.Played(77, 0, 1.0),
            ev.AgentClosed(unknown, "x"),
            ev.ToolReturned(77, "x", "x"),
            ev.CallerPaused(known, "x"),
        )
        self.post(events[pick])

    @property
    def growing(self) -> list[SoundStream]:
        return [item.stream for item in self.items.values() if item.stream is not None and not item.is_ended]

    def spoke(self, made: Made) -> None:
        item = made.items[-1]
        if not item.is_ended:
            self.end(item)
            self.send(ev.AgentSpoke(made.session, made.name, item.name))

    def end(self, item: Said) -> None:
        item.is_ended = True
        if item.stream is not None and not item.stream.is_ended:
            item.stream.end()

    def responded(self, status: str, picks: tuple[int, ...] = ()) -> None:
        if (made := self.reply) is None:
            return
        for item in made.items:
            self.end(item)
        calls = tuple(ToolCall(f"{made.name}t{n}", *CALLS[pick]) for n, pick in enumerate(picks))
        if calls and status == "completed":
            self.calls[made.name] = tuple(call.id for call in calls)
        self.reply = None
        self.send(ev.AgentResponded(made.session, made.name, status, calls if status == "completed" else ()))  # type: ignore[arg-type]

    def caller(self, step: str) -> None:
        session = self.serving
        if step == "speaks" and session is not None and self.speaks is None:
            self.said += 1
            self.speaks, self.speaks_since = f"c{self.said}", self.now
            if self.phase not in (Phase.WAITING, Phase.CLOSING, *AWAY):
                may_take = self.dialogue._turn is None or self.dialogue._may_interrupt(self.dialogue._turn)
                may_take = may_take and not self.is_promised
                self.owes = self.owes and not may_take
                self.awaits_until = 0.0 if may_take else self.awaits_until
            self.unsaid.append((session, self.speaks))
            self.send(ev.CallerSpeaks(session, self.speaks))
        elif step == "pauses" and session is not None and self.speaks is not None:
            item, self.speaks = self.speaks, None
            is_heard = self.dialogue._caller == (session, item)
            is_ended = self.config.barge_in.enabled and self.reply is not None and self.reply.is_cancelled
            if is_heard and (self.reply is None or is_ended) and not self.is_promised:
                self.awaits()
            self.send(ev.CallerPaused(session, item))
        elif step == "said" and self.unsaid:
            self.send(ev.CallerSaid(*self.unsaid.pop(), "words of theirs"))

    @property
    def is_promised(self) -> bool:
        """What was asked for is said whoever speaks."""
        return self.dialogue._is_due_anyway(self.dialogue._asked)

    def report_clip(self, heard: float) -> None:
        """The leg's first clip ends, or is cut for no reason."""
        first = self.queue.pop(0)
        key = (first.play.turn, first.play.clip)
        self.heard(key, heard)
        self.send(ev.Played(*key, heard))

    def heard(self, key: tuple[int, int], heard: float) -> None:
        if key not in self.reported and (piece := self.clips.get(key)) and heard > 0:
            piece.item.heard = max(piece.item.heard, piece.at + min(heard, piece.audio.seconds))
        self.reported.add(key)

    def report(self) -> None:
        for clip in self.queue:
            self.heard((clip.play.turn, clip.play.clip), clip.heard)
        super().report()

    def listen_on(self, seconds: float) -> None:
        """The leg plays for a while."""
        self.now += seconds
        while self.queue and seconds > 0 and not self.is_cleared:
            first = self.queue[0]
            audio = first.play.audio
            rest = audio.seconds - first.heard
            if rest > seconds or (isinstance(audio, SoundStream) and not audio.is_ended):
                first.heard += min(rest, seconds)
                break
            seconds -= rest
            self.report_clip(audio.seconds)
        if (due := self.dialogue.next_deadline) is not None and self.now >= due:
            self.post(ev.Tick())

    # Schedules

    def run(self, schedule: list[tuple[str, int, float]]) -> None:
        for step, pick, seconds in schedule:
            self.step(step, pick, seconds)
            self.check()

    def go(self, pick: int) -> None:
        """What a healthy world would do next."""
        if self.is_cleared:
            return self.report()
        for number, (_, order) in enumerate(self.log):
            if number in self.done:
                continue
            self.done.add(number)
            match order:
                case act.ConnectAgent(session) if self.sessions[session] == "connecting":
                    return self.connected(session)
                case act.RunTool(turn, call):
                    return self.send(ev.ToolReturned(turn, call.id, "it is so", failed=pick == 0))
                case act.Transfer(name):
                    return self.send(ev.Transferred(name) if pick < 2 else ev.TransferFailed(name, "busy"))
                case act.Synthesise(turn, clip):
                    return self.send(ev.Synthesised(turn, clip, sound(0.2 + pick / 4)))
        if self.reply is not None and self.reply.is_cancelled:
            return self.responded("cancelled")
        if self.reply is not None:
            if len(self.reply.items) < 2:
                return self.piece(self.reply, pick, pick / 4)
            self.spoke(self.reply)
            return self.responded("completed", (pick, pick * 3 % 8)[: self.made % 3])
        if self.owes and self.serving is not None:
            return self.begin()
        if self.queue:
            return self.listen_on(0.2 + pick / 4)
        self.caller(("speaks", "pauses")[self.speaks is not None])
        return None

    def step(self, step: str, pick: int, seconds: float) -> None:
        if step == "go":
            self.now += seconds / 20
            return self.go(pick)
        if not step.startswith("at_once_"):
            self.listen_on(seconds)
        newest = self.all(act.ConnectAgent)[-1].session if self.all(act.ConnectAgent) else 0
        transfers, tools, clauses = self.all(act.Transfer), self.all(act.RunTool), self.all(act.Synthesise)
        match step:
            case "speaks" | "pauses" | "said":
                self.caller(step)
            case "responds":
                self.begin()
            case "piece" if self.reply:
                self.piece(self.reply, pick, seconds)
            case "spoke" if self.reply and self.reply.items:
                self.spoke(self.reply)
            case "completed" | "failed" | "incomplete" | "cancelled":
                self.responded(step)
            case "calls":
                self.responded("completed", (pick, (pick + 3) % 8)[: 1 + pick % 2])
            case "late" if self.made:
                self.late(max(1, newest - pick % 2), f"r{1 + pick % self.made}", pick)
            case "old" if self.past:
                self.replay(self.past[pick * 7 % len(self.past)])
            case "foreign":
                self.foreign(max(1, newest), newest + 1, pick)
            case "connected" if newest:
                self.connected(newest)
            case "breaks" if self.sessions.get(self.serving or newest) in ("connecting", "connected"):
                session = self.serving or newest
                self.closed(session)
                self.send(ev.AgentClosed(session, "gone", retryable=pick != 7, expired=pick == 5))
            case "report":
                self.report()
            case "cut" if self.queue and not self.is_cleared and self.queue[0].play.audio not in self.growing:
                self.report_clip(min(self.queue[0].heard + seconds / 9, self.queue[0].play.audio.seconds))
            case "tick" if self.phase is not Phase.OVER:
                self.tick()
            case "tool_back" if tools:
                self.send(ev.ToolReturned(tools[-1].turn, tools[-1].call.id, "it is so", failed=bool(pick % 2)))
            case "voice" if clauses:
                self.send(ev.Synthesised(clauses[-1].turn, clauses[-1].clip, sound(seconds + 0.1)))
            case "tts_fails" if clauses:
                self.send(ev.ProviderFailed("tts", clauses[-1].turn, "broken", bool(pick % 2), clip=clauses[-1].clip))
            case "taken" if transfers:
                self.send(ev.Transferred(transfers[-1].name))
            case "not_taken" if transfers:
                self.send(ev.TransferFailed(transfers[-1].name, "busy"))
            case "digit":
                self.send(ev.DigitPressed("123456#*"[pick]))
            case "frame":
                self.send(ev.Audio(bytes(320)))
            case "media_lost":
                self.send(ev.MediaLost("gone", final=pick == 7))
            case "media_back":
                self.send(ev.MediaStarted(RATE))
            case "drain" if pick == 7:
                self.send(ev.EndRequested("drain"))
            case "spent" if pick >= 6:
                self.send(ev.BudgetSpent("day" if pick == 7 else "call"))
        return None

    def replay(self, event: ev.Event) -> None:
        """Something happens twice; not what would be another thing the second time."""
        match event:
            case ev.AgentSpeaks() | ev.AgentText() if self.reply and event.response == self.reply.name:
                if isinstance(event, ev.AgentText):
                    return  # words have no number: a second time they are other words
            case ev.AgentClosed(session) | ev.AgentConnected(session):
                if self.sessions[session] != "closed":
                    return
            case ev.AgentResponded() if self.reply and event.response == self.reply.name:
                return
        self.post(event)
