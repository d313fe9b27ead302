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


class Request(Generic[P, T]):
    """Runs once. ``open`` puts the request to a provider. ``now`` says how long the caller has waited; ``is_waiting``
    whether he does. ``keeps``: pieces are used as they come, so that nothing can be taken back after the first one."""

    def __init__(
        self,
        choice: Choice[P],
        open: Callable[[P, Tally], Generator[T]],
        patience: Patience,
        now: Callable[[], float],
        *,
        is_waiting: Callable[[], bool] = lambda: True,
        keeps: bool,
    ) -> None:
        self._choice = choice
        self._open = open
        self._patience = patience
        self._now = now
        self._is_waiting = is_waiting
        self._keeps = keeps
        self._ends_by = now() + patience.limit
        self._used = 0

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
                self._choice.set_back(candidate, error)
                raise ProviderError(error.stage, str(error).removeprefix(f"{error.stage}: "), retryable=True)
            if self._used:
                yield RESTARTED
            number += 1
            pause = self._pause(error, number)
            is_again = pause is not None and self._now() + pause < window
            log.warning("call=%s %s%s", self._choice.call_id, error, "; once more" if is_again else "")
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
        arrivals: Queue[tuple[Attempt[T], object]] = Queue(maxsize=READ_AHEAD)
        racing = {self._attempt(candidate, arrivals, window, behind): candidate}
        hedge_at = self._now() + self._patience.hedge if self._patience.hedge else math.inf
        error: ProviderError | None = None
        try:
            while racing:
                by = min(min(each.due for each in racing), hedge_at)
                try:
                    attempt, what = arrivals.get(timeout=max(0.0, by - self._now()) if self._is_waiting() else LOOK)
                except Empty:
                    now = self._now()
                    if now >= hedge_at:
                        hedge_at = math.inf
                        second = behind or candidate
                        due = self._window(None) if behind is None else now + self._patience.first
                        racing[self._attempt(second, arrivals, min(due, self._ends_by), behind)] = second
                    for late in [each for each in racing if now >= each.due]:
                        late.failed(overdue := self._late(late), was_given_up=True)
                        error = overdue if racing.pop(late) is candidate else error or overdue
                    continue
                if attempt not in racing:
                    continue
                if what is ENDED:
                    attempt.served()
                    return None
                if isinstance(what, ProviderError):
                    attempt.failed(what)
                    error = what if racing.pop(attempt) is candidate else error or what
                    continue
                attempt.pieces += 1
                if not self._used:
                    hedge_at = math.inf
                    for other in [each for each in racing if each is not attempt]:
                        other.let_go()
                        del racing[other]
                    if attempt.name == candidate.name or error is not None:
                        self._choice.serves(racing[attempt])
                self._used += 1
                yield what
                attempt.due = self._next_due(attempt.due)
            return error
        finally:
            for each in racing:
                each.let_go()

    def _attempt(
        self,
        candidate: Candidate[P],
        arrivals: Queue[tuple[Attempt[T], object]],
        due: float,
        behind: Candidate[P] | None,
    ) -> Attempt[T]:
        slot = self._patience.slot if behind is not None else self._patience.limit
        return Attempt(
            candidate.account,
            lambda tally: self._open(candidate.provider, tally),
            arrivals,
            self._choice.live,
            due=due,
            slot_patience=slot,
        )

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
