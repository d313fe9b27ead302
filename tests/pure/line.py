"""A whole call in pretended time: engines that answer or fail when they are told to, and a leg that plays in real time.

Everything that the operator wrote is in the cache. What the caller hears, and when, is kept in ``heard``.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import CascadeSettings
from tests.pure.world import QUIET, VOICED, World, sound

#: Seconds of speech for each character.
PACE = 0.06

#: What an engine does with a request: (seconds from now, what it posts), in order.
Answer = list[tuple[float, ev.Event]]


@dataclass
class Heard:
    text: str
    since: float
    until: float
    key: tuple[int, int]
    audio: Sound | SoundStream
    start: float
    is_stopped: bool = False


@dataclass
class Script:
    """Each engine's answers to its first, second, ... request; from the last on the engine is well."""

    stt: list[Callable[[int], Answer]] = field(default_factory=list)
    llm: list[Callable[[act.AskModel], Answer]] = field(default_factory=list)
    tts: list[Callable[[act.Synthesise], Answer]] = field(default_factory=list)


REPLY = "We are open from nine to five. On Saturday we close at noon. On Sunday we are closed."


class Line(World):
    """One call. ``reply``: what a healthy model says, to whatever it is asked."""

    def __init__(self, settings: CascadeSettings, script: Script, *, streams: bool = False, reply: str = REPLY) -> None:
        super().__init__(settings, streams=streams)
        self.heard: list[Heard] = []
        self.failed_at: list[float] = []
        self._settings = settings
        self._cached = set(settings.clauses())
        self._script = script
        self._streams = streams
        self._reply = reply
        self._due: list[tuple[float, int, ev.Event]] = []
        self._count = itertools.count()
        self._playing: list[Heard] = []
        self._texts: dict[tuple[int, int], str] = {}
        self.on_action = self.carry_out

    # The engines

    def later(self, answer: Answer) -> None:
        for seconds, event in answer:
            heapq.heappush(self._due, (self.now + seconds, next(self._count), event))

    def carry_out(self, action: act.Action) -> None:
        match action:
            case act.CloseUtterance(utterance) | act.RetryUtterance(utterance):
                answer = self._script.stt.pop(0) if self._script.stt else None
                self.later(answer(utterance) if answer else [(0.3, ev.Transcribed(utterance, "When are you open?"))])
            case act.AskModel(turn, ask=ask):
                answer_of = self._script.llm.pop(0) if self._script.llm else None
                well = [(0.5, ev.ReplyText(turn, self._reply, ask)), (0.6, ev.ReplyEnded(turn, ask=ask))]
                self.later(answer_of(action) if answer_of else well)
            case act.Synthesise(turn, clip, text):
                self._texts[turn, clip] = text
                whole = sound(PACE * len(text))
                if text in self._cached:
                    return self.later([(0.0, ev.Synthesised(turn, clip, whole))])
                made = self._script.tts.pop(0) if self._script.tts else None
                self.later(made(action) if made else [(0.4, ev.Synthesised(turn, clip, whole))])
            case act.Play(turn, clip, audio, start):
                free = max([self.now, *(each.until for each in self._playing)])
                key = (turn, clip)
                begun = Heard(self._texts[key], free, free + audio.seconds - start, key, audio, start)
                self._playing.append(begun)
                self.heard.append(begun)
            case act.StopPlayback():
                for each in self._playing:
                    each.until, each.is_stopped = max(each.since, min(each.until, self.now)), True
        return None

    # Time

    def run(self, seconds: float) -> None:
        """Let everything happen that happens within ``seconds``."""
        end = self.now + seconds
        while self.phase is not Phase.OVER:
            reports = [self._ends(each) for each in self._playing[:1]]
            due = self.dialogue.next_deadline
            times = [*(each[0] for each in self._due[:1]), *reports, *([] if due is None else [due])]
            at = min(times, default=end)
            if at > end:
                break
            self.now = max(self.now, at)
            if reports and reports[0] <= self.now:
                ended = self._playing.pop(0)
                self.post(ev.Played(*ended.key, ended.start + ended.until - ended.since))
            elif self._due and self._due[0][0] <= self.now:
                self.deliver(heapq.heappop(self._due)[2])
            else:
                self.post(ev.Tick())
        self.now = end

    def _ends(self, playing: Heard) -> float:
        """When a clip is reported: a stream not before it is ended, except if it was stopped."""
        if not playing.is_stopped and isinstance(playing.audio, SoundStream):
            playing.until = playing.since + playing.audio.seconds - playing.start
            return playing.until if playing.audio.is_ended else math.inf
        return playing.until

    def deliver(self, event: ev.Event) -> None:
        if isinstance(event, ev.ProviderFailed):
            self.failed_at.append(self.now)
            for stream in self.streams_of(event):
                stream.end()
        self.post(event)

    def streams_of(self, event: ev.ProviderFailed) -> Iterator[SoundStream]:
        for each in self.heard:
            if each.key == (event.number, event.clip) and isinstance(each.audio, SoundStream):
                yield each.audio

    def ask(self) -> None:
        """The caller asks something; returns when the utterance is closed."""
        self.frames(VOICED, 1.0)
        while not self.all(act.CloseUtterance):
            self.frames(QUIET, 0.02)

    # What was heard

    def silence_after(self, at: float) -> float:
        """The first silence from ``at`` on, in seconds, until the caller is to speak: how long nothing was heard."""
        for each in self.heard:
            if each.until <= max(at, each.since):
                continue
            if each.since > at + 0.01:
                return 0.0 if each.text in self._settings.phrases.still_there else each.since - at
            at = each.until
        return 0.0 if self.phase is Phase.OVER else math.inf

    def longest_silence(self, since: float) -> float:
        """The longest of all silences from ``since`` until the caller is to speak, in seconds."""
        at, longest = since, 0.0
        for each in self.heard:
            if each.text in self._settings.phrases.still_there:
                return longest
            if each.until > max(since, each.since):
                longest, at = max(longest, each.since - at), max(at, each.until)
        return longest if self.phase is Phase.OVER else math.inf

    @property
    def words(self) -> list[str]:
        return [each.text for each in self.heard if each.until > each.since]
