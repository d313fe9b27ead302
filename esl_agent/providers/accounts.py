"""What all calls of the process know of a provider: whether it works, and how much its account does at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gevent.event import Event

from esl_agent.errors import ProviderError, Stage
from esl_agent.providers.base import Identity
from esl_agent.providers.breaker import Breaker


class Busy(ProviderError):
    """The account has no free slot: nothing is wrong with the service."""


class Resting(ProviderError):
    """The provider was not asked: it failed lately."""


class Slots:
    """Requests that one account has now, and those that wait for their turn, first come first served."""

    def __init__(self) -> None:
        self.taken = 0
        self._waiting: deque[tuple[Event, int]] = deque()

    @contextmanager
    def one(self, stage: Stage, at_once: int, patience: float) -> Iterator[None]:
        """Hold a slot. ``at_once`` 0: there is no end of them. Raises Busy after ``patience`` seconds."""
        if at_once:
            self._take(stage, at_once, patience)
        else:
            self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
            self._next()

    def _take(self, stage: Stage, at_once: int, patience: float) -> None:
        if not self._waiting and self.taken < at_once:
            self.taken += 1
            return
        turn = Event()
        place = (turn, at_once)
        self._waiting.append(place)
        try:
            turn.wait(patience)
        except BaseException:
            self._give_up(place)
            raise
        if not turn.is_set():
            self._waiting.remove(place)
            raise Busy(stage, f"all {at_once} requests that the account may have at a time are taken")

    def _give_up(self, place: tuple[Event, int]) -> None:
        """Whoever waited is gone; its turn may have come at the same moment."""
        if place[0].is_set():
            self.taken -= 1
            self._next()
        else:
            self._waiting.remove(place)

    def _next(self) -> None:
        while self._waiting and self.taken < self._waiting[0][1]:
            turn, _ = self._waiting.popleft()
            self.taken += 1
            turn.set()


class Accounts:
    """Every provider that was ever made, by who it is. ``clock`` is monotonic.

    Slots belong to the account, whatever it is used for. A breaker belongs to one engine of a stage on it: a model that
    is gone, or overloaded, must not silence the voice and the smaller model that the same key pays for, nor a voice
    that does not exist another one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._slots: dict[str, Slots] = {}
        self._breakers: dict[tuple[Stage, Identity, str], Breaker] = {}

    def slots(self, stage: Stage, identity: Identity) -> Slots:
        return self._slots.setdefault(identity.account or f"{stage} {identity.name}", Slots())

    def breaker(self, stage: Stage, identity: Identity, voice: str = "") -> Breaker:
        key = (stage, Identity(identity.name, identity.account), voice)
        if key not in self._breakers:
            self._breakers[key] = Breaker(f"{stage} {identity.name}", self.clock)
        return self._breakers[key]


#: Those of this process.
ACCOUNTS = Accounts()
