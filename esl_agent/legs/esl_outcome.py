"""Waiting for what a switch owes us: one value or one error, by a deadline.

``Outcome`` is the promise, ``Deadlines`` the one timer behind all promises of a connection.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import gevent
from gevent.event import AsyncResult

from esl_agent.errors import CommandTimeout, LegError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Deadlines:
    """Callbacks at monotonic times, from one hub timer: 500 open commands cost one timer, not 500 greenlets.

    A callback runs in the hub: it must not block. One that fails is logged, and the others come all the same.
    """

    __slots__ = ("_closed", "_heap", "_live", "_numbers", "_timer")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._live: dict[int, Callable[[], None]] = {}
        self._numbers = itertools.count(1)
        self._timer: Any = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._live)

    def after(self, seconds: float, callback: Callable[[], None]) -> int:
        """Calls ``callback`` once in ``seconds``; the number returned cancels it. After ``close`` nothing is called."""
        number = next(self._numbers)
        if self._closed:
            return number
        self._live[number] = callback
        entry = (time.monotonic() + max(0.0, seconds), number)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._arm()
        return number

    def cancel(self, number: int) -> None:
        """Forgets a callback; unknown and past numbers are fine."""
        self._live.pop(number, None)
        if not self._live:
            self._heap.clear()
            self._disarm()
        elif len(self._heap) > 2 * len(self._live) + 64:
            self._heap = [entry for entry in self._heap if entry[1] in self._live]
            heapq.heapify(self._heap)

    def close(self) -> None:
        """Nothing is called any more."""
        self._closed = True
        self._live.clear()
        self._heap.clear()
        self._disarm()

    def _arm(self) -> None:
        self._disarm()
        self._timer = gevent.get_hub().loop.timer(max(0.0, self._heap[0][0] - time.monotonic()))
        self._timer.start(self._fire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _fire(self) -> None:
        now = time.monotonic()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][1] not in self._live):
            callback = self._live.pop(heapq.heappop(self._heap)[1], None)
            if callback is not None:
                guarded(callback)
        if self._heap:
            self._arm()


class Outcome(Generic[T]):
    """One value or one error, to come. The first one counts.

    ``on_done(value_or_error)`` is called at once, in the connection's reader or in the hub, before those who wait in
    ``get``; it must not block. ``is_reader`` says whether the caller is the greenlet that would bring the value:
    it may not wait.
    """

    __slots__ = ("_deadline", "_deadlines", "_error", "_is_reader", "_on_done", "_value", "_waiter", "is_done", "what")

    def __init__(
        self,
        what: str,
        deadlines: Deadlines,
        timeout: float,
        *,
        is_reader: Callable[[], bool],
        on_done: Callable[[T | LegError], None] | None = None,
    ) -> None:
        self.what = what
        self.is_done = False
        self._on_done = on_done
        self._is_reader = is_reader
        self._waiter: AsyncResult | None = None
        self._value: T | None = None
        self._error: LegError | None = None
        self._deadlines = deadlines
        self._deadline = deadlines.after(timeout, lambda: self._expired(timeout))

    def succeed(self, value: T) -> None:
        """Brings the value."""
        if not self.is_done:
            self._value = value
            self._finish(value)

    def fail(self, error: LegError) -> None:
        """Brings the error that ``get`` raises."""
        if not self.is_done:
            self._error = error
            self._finish(error)

    def get(self, timeout: float | None = None) -> T:
        """Waits; raises the error it ended with, or CommandTimeout after ``timeout`` or its own deadline."""
        if not self.is_done:
            if self._is_reader():
                raise RuntimeError(f"waiting for {self.what!r} in the reader of the same connection would never end")
            if self._waiter is None:
                self._waiter = AsyncResult()
            self._waiter.wait(timeout)
            if not self.is_done:
                assert timeout is not None
                raise CommandTimeout(self.what, timeout)
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def _expired(self, seconds: float) -> None:
        self.fail(CommandTimeout(self.what, seconds))

    def _finish(self, result: T | LegError) -> None:
        self.is_done = True
        self._deadlines.cancel(self._deadline)
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            guarded(on_done, result)
        if self._waiter is not None:
            self._waiter.set(None)


def guarded(callback: Callable[..., object], *arguments: object) -> bool:
    """Calls what others gave us where their error may not end our loop; the error is logged. True if there was none."""
    try:
        callback(*arguments)
    except Exception:
        log.exception("a callback of the event socket failed: %r", callback)
        return False
    return True
