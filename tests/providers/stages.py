"""The three stages behind the resilience layer, alike enough to be tested by the same sentences."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gevent

from esl_agent.dialogue.actions import Message
from esl_agent.dialogue.settings import LimitSettings
from esl_agent.providers.accounts import Accounts
from esl_agent.providers.base import CallContext, Identity, Switched, Transcript, Used
from esl_agent.providers.resilience_settings import (
    BreakerSettings,
    ModelPatience,
    RecogniserPatience,
    ResilienceSettings,
    VoicePatience,
)
from esl_agent.providers.resilient import ResilientModel, ResilientRecogniser, ResilientVoice
from esl_agent.testing.providers import CannedLlm, CannedStt, ToneTts, Trouble

PATIENCE = 10.0
QUESTION = (Message("user", "hello"),)
CLAUSE = "hello over there"
RATE = 8000
#: What is waited for is a few milliseconds; the limits are so far away that a busy machine does not reach them.
FAST = ResilienceSettings(
    stt=RecogniserPatience(first=0.03),
    llm=ModelPatience(first=0.03, between=0.03),
    tts=VoicePatience(first=0.03, between=0.03),
    slot=0.01,
)
LIMITS = LimitSettings(stt=5.0, llm=5.0, tts=5.0)
#: ``clip``: a voice whose clauses are played whole.
STAGES = ("stt", "llm", "tts", "clip")
#: Those in which a piece that was used cannot be taken back.
KEEPS = ("llm", "tts")


class Pulse:
    """A voice whose three pieces are of samples that say who spoke."""

    def __init__(self, level: int, trouble: Trouble, rate: int = RATE) -> None:
        self._tone = ToneTts(rate, trouble=trouble)
        self._tone._pieces = lambda text: iter([level.to_bytes(2, "little") * 800] * 3)  # type: ignore[method-assign]
        self.identity, self.rate, self.voice, self.said = Identity("?"), rate, f"pulse-{level}", self._tone.said

    def speak(self, text: str) -> Iterator[bytes]:
        return self._tone.speak(text)


def engine(stage: str, name: str, trouble: Trouble | None = None, *, account: str = "", at_once: int = 0) -> Any:
    """One that answers in three pieces, which say who answered."""
    trouble = trouble or Trouble()
    made: Any
    if stage == "stt":
        made = CannedStt([f"{name} heard you"], partials=True, trouble=trouble)
    elif stage == "llm":
        made = CannedLlm([f"{name} says this"], word_by_word=True, trouble=trouble)
    else:
        made = Pulse(ord(name[0]), trouble)
    made.identity = Identity(name, account, at_once)
    return made


def answer(stage: str, name: str) -> Any:
    """All that the caller gets of ``engine(stage, name)``."""
    if stage == "stt":
        return f"{name} heard you"
    return f"{name} says this" if stage == "llm" else ord(name[0]).to_bytes(2, "little") * 2400


def asked(engine: Any) -> int:
    """How often it was asked."""
    for name in ("heard", "asked", "said"):
        if (found := getattr(engine, name, None)) is not None:
            return len(found)
    raise AssertionError(engine)


@dataclass
class Desk:
    """One stage of one call."""

    stage: str
    engines: Sequence[Any]
    settings: ResilienceSettings = FAST
    limits: LimitSettings = LIMITS
    accounts: Accounts = field(default_factory=Accounts)
    affordable: Callable[[Any, tuple[str, ...]], tuple[str, ...]] = lambda stage, names: names
    told: list[Any] = field(default_factory=list)
    pieces: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        kinds: dict[str, Any] = {"stt": ResilientRecogniser, "llm": ResilientModel}
        self.shared = kinds.get(self.stage, ResilientVoice)(self.engines, self.settings, self.limits, self.accounts)
        self.wrapped = self.new_call()

    def new_call(self) -> Any:
        return self.shared.for_call(CallContext("one", self.told.append, self.affordable))

    def ask(self, audio: Iterator[bytes] | None = None) -> Any:
        """The whole answer. ``pieces``: what came of it, also where it failed."""
        self.pieces = []
        with gevent.Timeout(PATIENCE, AssertionError(f"no end; {self.told}")):
            return self._asked(audio)

    def _asked(self, audio: Iterator[bytes] | None) -> Any:
        if self.stage == "stt":
            for transcript in self.wrapped.recognise(audio or iter([bytes(320)] * 5), RATE):
                self.pieces.append(transcript)
            finals = [each for each in self.pieces if each.final]
            assert finals == self.pieces[-1:], self.pieces
            return finals[0].text
        if self.stage == "clip":
            self.pieces = self.wrapped.whole(CLAUSE)
            return b"".join(self.pieces)
        for piece in self.wrapped.reply(QUESTION) if self.stage == "llm" else self.wrapped.speak(CLAUSE):
            self.pieces.append(piece)
        return "".join(p.text for p in self.pieces) if self.stage == "llm" else b"".join(self.pieces)

    @property
    def switches(self) -> list[tuple[str, str]]:
        return [(told.before, told.after) for told in self.told if isinstance(told, Switched)]

    @property
    def used(self) -> list[str]:
        return [told.name for told in self.told if isinstance(told, Used)]


class Clock:
    """Monotonic time that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def resting(**changes: Any) -> ResilienceSettings:
    """FAST, with another ``breaker``."""
    return ResilienceSettings(FAST.stt, FAST.llm, FAST.tts, BreakerSettings(**changes), FAST.slot)


def greenlets() -> int:
    """How many are alive."""
    gc.collect()
    return sum(isinstance(each, gevent.Greenlet) and not each.dead for each in gc.get_objects())


def nothing_is_left(before: int) -> bool:
    """Whether no more greenlets are alive than ``before``, in a moment."""
    for _ in range(100):
        if greenlets() <= before:
            return True
        gevent.sleep(0.01)
    return False


def partial(text: str) -> Transcript:
    return Transcript(text, final=False)
