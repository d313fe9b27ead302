"""A world around a Relay, for tests: a leg that plays in the world's own time, a service that is told what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.relay import Relay
from esl_agent.dialogue.relay_settings import RelaySettings
from esl_agent.dialogue.settings import CascadeSettings
from tests.pure.world import QUIET, RATE, sound


@dataclass
class Queued:
    """A clip that the leg has and did not report yet."""

    play: act.Play
    since: float
    heard: float = 0.0


class RelayWorld:
    """Keeps what the dialogue ordered and when; time moves only when told. ``listen`` plays what the leg has."""

    def __init__(
        self, settings: CascadeSettings | None = None, relay: RelaySettings | None = None, *, streams: bool = False
    ) -> None:
        self.now = 100.0
        self.dialogue = Relay(settings or CascadeSettings(), relay or RelaySettings(), self.now, streams=streams)
        self.log: list[tuple[float, act.Action]] = []
        self.queue: list[Queued] = []
        self.on_action: Callable[[act.Action], None] | None = None
        self.is_cleared = False
        """The leg was told to be silent: its reports are on their way."""

    def post(self, event: ev.Event) -> list[act.Action]:
        actions = self.dialogue.receive(event, self.now)
        for action in actions:
            self.log.append((self.now, action))
            if isinstance(action, act.Play):
                self.queue.append(Queued(action, self.now, action.start))
            elif isinstance(action, act.StopPlayback):
                self.is_cleared = True
            if self.on_action is not None:
                self.on_action(action)
        return actions

    def tick(self) -> None:
        due = self.dialogue.next_deadline
        assert due is not None
        self.now = max(self.now, due)
        self.post(ev.Tick())

    def all(self, kind: type) -> list:
        return [action for _, action in self.log if isinstance(action, kind)]

    def last(self, kind: type):
        return self.all(kind)[-1]

    @property
    def phase(self) -> Phase:
        return self.dialogue.phase

    # The line

    def answer(self) -> None:
        self.post(ev.Answered())
        self.post(ev.MediaStarted(RATE))

    def frames(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now += 0.02
            self.post(ev.Audio(QUIET))

    def report(self) -> None:
        """Everything that was stopped is reported."""
        self.is_cleared = False
        stopped, self.queue = self.queue, []
        for clip in stopped:
            self.post(ev.Played(clip.play.turn, clip.play.clip, clip.heard))

    def listen(self, seconds: float) -> None:
        """Time passes, and the caller hears what the leg has to play."""
        until = self.now + seconds
        while self.queue and not self.is_cleared:
            first = self.queue[0]
            rest = first.play.audio.seconds - first.heard
            if rest > until - self.now:
                first.heard += until - self.now
                break
            if isinstance(first.play.audio, SoundStream) and not first.play.audio.is_ended:
                first.heard = first.play.audio.seconds
                break
            self.now += rest
            self.queue.pop(0)
            self.post(ev.Played(first.play.turn, first.play.clip, first.play.audio.seconds))
        self.now = until
        if (due := self.dialogue.next_deadline) is not None and due <= until:
            self.post(ev.Tick())

    def voice_all(self, seconds: float = 1.0) -> None:
        """Every phrase that the DID's own voice is asked for gets its sound."""
        for action in self.all(act.Synthesise):
            self.post(ev.Synthesised(action.turn, action.clip, sound(seconds)))

    # The service

    @property
    def session(self) -> int:
        return self.last(act.ConnectAgent).session

    def connect(self) -> None:
        self.post(ev.AgentConnected(self.session))

    def respond(
        self, *words: str, name: str = "r1", calls: tuple[act.ToolCall, ...] = (), seconds: float = 2.0
    ) -> None:
        """A whole response, made faster than it can be heard: an item with its sound for each of ``words``."""
        self.post(ev.AgentResponding(self.session, name))
        for number, text in enumerate(words):
            self.say(name, f"{name}-{number}", text, seconds)
            self.post(ev.AgentSpoke(self.session, name, f"{name}-{number}"))
        self.post(ev.AgentResponded(self.session, name, calls=calls))

    def say(self, name: str, item: str, text: str, seconds: float = 2.0, part: int = 0) -> None:
        """A part of an item; parts are equally long."""
        audio: Sound = sound(seconds)
        self.post(ev.AgentText(self.session, name, item, text))
        self.post(ev.AgentSpeaks(self.session, name, item, audio, part, part * seconds))

    # The caller

    def caller_says(self, text: str, item: str = "c1", seconds: float = 1.0) -> None:
        self.post(ev.CallerSpeaks(self.session, item))
        self.report()
        self.now += seconds
        self.post(ev.CallerPaused(self.session, item))
        self.post(ev.CallerSaid(self.session, item, text))
