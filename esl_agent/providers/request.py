"""One request of a call, through its candidates: deadlines for progress, tries, the next one, a second one beside."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import gevent
from gevent.queue import Empty, Queue

from esl_agent.errors import ProviderError
from esl_agent.providers.accounts import Busy
from esl_agent.providers.attempt import ENDED, READ_AHEAD, Attempt, Tally
from esl_agent.providers.choice import Candidate, Choice

log = logging.getLogger(__name__)

#: While the caller speaks no deadline runs; so often, in seconds, it is looked whether he has ended.
LOOK = 0.2
#: Before its second retry a provider is left alone so many seconds, then twice as long. The first comes at once: what
#: fails most often is a connection that was kept and had been dropped by the other side.
PAUSE = 0.2

P = TypeVar("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request waits, in seconds. ``limit`` is the caller's patience, for all candidates together."""

    first: float
    limit: float
    between: float = math.inf
    """Infinity: pieces are no progress; the answer has to be complete in time."""
    tries: int = 2
    hedge: float = 0.0
    slot: float = 0.3
    total: bool = False
    """Whether ``limit`` is for the complete answer, not just for its first piece."""


class Restarted:
    """The pieces before it count no more: another provider has begun."""


RESTARTED = Restarted()


class _Race(Generic[P, T]):
    """One try of ``candidate``, and perhaps a second request beside it."""

    __slots__ = ("arrivals", "behind", "candidate", "error", "hedge_at", "running")

    def __init__(self, candidate: Candidate[P], behind: Candidate[P] | None) -> None:
        self.candidate = candidate
        self.behind = behind
        self.arrivals: Queue[tuple[Attempt[T], object]] = Queue(maxsize=READ_AHEAD)
        self.running: dict[Attempt[T], Candidate[P]] = {}
        self.hedge_at = math.inf
        self.error: ProviderError | None = None
        """That of whoever's answer was being used, else the candidate's, or else its rival's."""

    @property
    def due(self) -> float:
        """When something has to be done."""
        return min(self.hedge_at, min(each.due for each in self.running))

    def failed(self, attempt: Attempt[T], error: ProviderError, *, was_given_up: bool = False) -> None:
        attempt.failed(error, was_given_up=was_given_up)
        matters = self.running.pop(attempt) is self.candidate or attempt.pieces
        self.error = error if matters or self.error is None else self.error


class Request(Generic[P, T]):
    """Runs once. ``open`` puts the request to a provider. ``now`` says how long the caller has waited; ``is_waiting``
    whether he does. ``is_last``: after this piece nothing is waited for. ``ready`` waits until a provider can be
    asked. ``keeps``: pieces are used as they come, so that nothing can be taken back after the first one."""

    def __init__(
        self,
        choice: Choice[P],
        open: Callable[[P, Tally], Generator[T]],
        patience: Patience,
        now: Callable[[], float],
        *,
        is_waiting: Callable[[], bool] = lambda: True,
        is_last: Callable[[T], bool] = lambda piece: False,
        ready: Callable[[P], None] = lambda provider: None,
        keeps: bool,
    ) -> None:
        self._choice = choice
        self._open = open
        self._patience = patience
        self._now = now
        self._is_waiting = is_waiting
        self._is_last = is_last
        self._ready = ready
        self._keeps = keeps
        self._ends_by = now() + patience.limit
        self._used = 0
        self._serving: Candidate[P] | None = None
        """Whose answer is being used."""

    def run(self) -> Iterator[T | Restarted]:
        """The answer's pieces. Raises ProviderError: retryable where pieces of an answer that failed were used, else
        not: whatever could be tried was."""
        order = self._choice.order()
        error: ProviderError | None = None
        for place, candidate in enumerate(order):
            error = yield from self._tries(candidate, order[place + 1] if place + 1 < len(order) else None)
            if error is None:
                return
            self._choice.set_back(candidate, error)
            if self._now() >= self._ends_by:
                break
        assert error is not None
        said = str(error).removeprefix(f"{error.stage}: ")
        raise ProviderError(error.stage, f"{said} (given up)", blame=error.blame)

    def _tries(
        self, candidate: Candidate[P], behind: Candidate[P] | None
    ) -> Generator[T | Restarted, None, ProviderError | None]:
        """The error of the last try, None when one served."""
        window = self._window(behind)
        number = 0
        while True:
            self._used = 0
            error = yield from self._try(candidate, behind, window)
            if error is None:
                return None
            if self._used and self._keeps:
                self._choice.set_back(self._serving or candidate, error)
                raise ProviderError(error.stage, str(error).removeprefix(f"{error.stage}: "), retryable=True)
            if self._used:
                yield RESTARTED
            number += 1
            pause = self._pause(error, number)
            is_again = pause is not None and self._now() + pause < window
            level = logging.WARNING if self._choice.call_id else logging.DEBUG  # who is no call tells it himself
            log.log(level, "call=%s %s%s", self._choice.call_id, error, "; once more" if is_again else "")
            if pause is None or not is_again:
                return error
            gevent.sleep(pause)

    def _window(self, behind: Candidate[P] | None) -> float:
        """Until when a candidate has to come up with something."""
        return self._ends_by if behind is None else min(self._ends_by, self._now() + self._patience.first)

    def _pause(self, error: ProviderError, failures: int) -> float | None:
        """Seconds before the same provider is asked again; None: it is not."""
        if failures >= self._patience.tries or not error.retryable or error.blame != "service":
            return None
        if error.retry_after is not None:
            return error.retry_after
        return 0.0 if failures == 1 else PAUSE * 2.0 ** (failures - 2)

    def _try(
        self, candidate: Candidate[P], behind: Candidate[P] | None, window: float
    ) -> Generator[T | Restarted, None, ProviderError | None]:
        race: _Race[P, T] = _Race(candidate, behind)
        self._start(race, candidate, window)
        if self._patience.hedge:
            race.hedge_at = self._now() + self._patience.hedge
        try:
            while race.running:
                try:
                    attempt, what = race.arrivals.get(timeout=self._pause_until(race.due))
                except Empty:
                    self._overdue(race)
                    continue
                if attempt not in race.running:
                    continue
                if what is ENDED:
                    attempt.served()
                    return None
                if isinstance(what, ProviderError):
                    race.failed(attempt, what)
                    continue
                attempt.pieces += 1
                if not self._used:
                    self._begins(race, attempt)
                self._used += 1
                if self._is_last(what):
                    attempt.served()
                    del race.running[attempt]
                    yield what
                    return None
                yield what
                attempt.due = self._next_due(attempt.due)
            return race.error
        finally:
            for each in race.running:
                each.let_go()

    def _start(self, race: _Race[P, T], candidate: Candidate[P], due: float) -> None:
        slot = self._patience.slot if race.behind is not None else self._patience.limit
        attempt = Attempt(
            candidate.account,
            lambda tally: self._open(candidate.provider, tally),
            race.arrivals,
            self._choice.live,
            due=due,
            slot_patience=slot,
            ready=lambda: self._ready(candidate.provider),
        )
        race.running[attempt] = candidate

    def _pause_until(self, due: float) -> float:
        """Seconds to wait for what arrives."""
        return max(0.0, due - self._now()) if self._is_waiting() else LOOK

    def _overdue(self, race: _Race[P, T]) -> None:
        """Nothing arrived in time, or the caller still speaks."""
        now = self._now()
        if now >= race.hedge_at:
            race.hedge_at = math.inf
            due = self._ends_by if race.behind is None else min(self._ends_by, now + self._patience.first)
            self._start(race, race.behind or race.candidate, due)
        for late in [each for each in race.running if now >= each.due]:
            race.failed(late, self._late(late), was_given_up=True)

    def _begins(self, race: _Race[P, T], attempt: Attempt[T]) -> None:
        """The first piece is here: nobody else is waited for. A second request that won because the first was slow is
        no switch; where the first failed it is."""
        race.hedge_at = math.inf
        self._serving = race.running[attempt]
        for other in [each for each in race.running if each is not attempt]:
            other.let_go()
            del race.running[other]
        if self._serving is race.candidate or race.error is not None:
            self._choice.serves(self._serving)

    def _next_due(self, due: float) -> float:
        """When the piece after the one that was just used is late."""
        if math.isinf(self._patience.between):
            return due
        by = self._now() + min(self._patience.between, self._patience.limit)
        return min(by, self._ends_by) if self._patience.total else by

    def _late(self, attempt: Attempt[T]) -> ProviderError:
        if not attempt.has_begun:
            return Busy(self._choice.stage, f"{attempt.name}: its account had no free slot in time")
        what = "no more of its answer in time" if attempt.pieces else "no answer in time"
        return ProviderError(self._choice.stage, f"{attempt.name}: {what}", retryable=True)
