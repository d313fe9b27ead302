"""A speech-to-speech agent that does what a test tells it, and writes down what it was told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gevent
from gevent.queue import Queue

from esl_agent.audio.pcm import SoundFormat
from esl_agent.errors import ProviderError
from esl_agent.providers.base import AgentBrief, AgentPart, Identity

FORMATS = (SoundFormat(), SoundFormat("ulaw", 8000), SoundFormat("alaw", 8000))
#: What a session does when it is connected; ``session.say`` is how.
Script = Callable[["CannedSession"], None]


class CannedSession:
    """One connection. ``told`` has what it was told, in order: ``("hear", sound)``, ``("respond", instructions)``, and
    ``"last"`` or ``"all of it"`` behind them."""

    def __init__(self, brief: AgentBrief) -> None:
        self.brief = brief
        self.told: list[tuple[Any, ...]] = []
        self.closed = 0
        self.stalls = False
        """Takes nothing any more: whoever tells it something waits."""
        self._parts: Queue[AgentPart | ProviderError | None] = Queue()

    def say(self, *parts: AgentPart | ProviderError | None) -> None:
        """What comes next; None: the session ends."""
        for part in parts:
            self._parts.put(part)

    @property
    def heard(self) -> bytes:
        """All the sound it was given."""
        return b"".join(each[1] for each in self.told if each[0] == "hear")

    def orders(self) -> list[tuple[Any, ...]]:
        """What it was told beside sound."""
        return [each for each in self.told if each[0] != "hear"]

    def parts(self) -> Iterator[AgentPart]:
        while not self.closed and (part := self._parts.get()) is not None:
            if isinstance(part, ProviderError):
                raise part
            yield part

    def hear(self, sound: bytes) -> None:
        self._take("hear", sound)

    def respond(self, instructions: str = "", *, is_last: bool = False, interruptible: bool = True) -> None:
        how = ("last",) if is_last else () if interruptible else ("all of it",)
        self._take("respond", instructions, *how)

    def tell(self, text: str) -> None:
        self._take("tell", text)

    def return_tools(self, results: Sequence[tuple[str, str]]) -> None:
        self._take("return_tools", tuple(results))

    def cancel(self, response: str) -> None:
        self._take("cancel", response)

    def truncate(self, item: str, heard: float) -> None:
        self._take("truncate", item, heard)

    def forget(self, item: str) -> None:
        self._take("forget", item)

    def close(self) -> None:
        self.closed += 1
        self._parts.put(None)

    def _take(self, *what: Any) -> None:
        if self.stalls:
            gevent.sleep(3600)
        if self.closed:
            raise ProviderError("agent", "the session is closed", retryable=True)
        self.told.append(what)


class CannedAgent:
    """Connects as ``plan`` says, one entry each: an error, seconds to wait for nothing, or a script; then plainly."""

    def __init__(
        self,
        *plan: ProviderError | float | Script,
        name: str = "canned",
        formats: tuple[SoundFormat, ...] = FORMATS,
        at_once: int = 0,
    ) -> None:
        self.identity = Identity(name, at_once=at_once)
        self.formats = formats
        self.sessions: list[CannedSession] = []
        self.asked = 0
        self._plan = list(plan)

    def connect(self, brief: AgentBrief) -> CannedSession:
        self.asked += 1
        if brief.sound not in self.formats:
            raise ProviderError("agent", f"no format of its: {brief.sound}", blame="request")
        step = self._plan.pop(0) if self._plan else None
        if isinstance(step, ProviderError):
            raise step
        if isinstance(step, float):
            gevent.sleep(step)
        session = CannedSession(brief)
        self.sessions.append(session)
        if callable(step):
            step(session)
        return session
