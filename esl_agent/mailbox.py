"""A call's mailbox: everybody posts, the call's greenlet reads.

Two lanes. Control is never dropped; sound keeps the newest second and counts what it drops, so a call that cannot
keep up loses old sound, never a hang-up. All of it runs on one hub: there is no lock because nothing here yields
between reading and writing the lanes.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from gevent import get_hub, getcurrent

from esl_agent.dialogue.events import Audio, Event, Tick

#: Frames kept while the reader is busy: one second.
SOUND_LIMIT = 50


class Mailbox:
    """One reader, many writers, one hub."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._control: deque[Event] = deque()
        self._sound: deque[Audio] = deque()
        self._hub: Any = None
        self._reader: Any = None
        self._wakeup: Any = None
        self._timer: Any = None
        self._timer_due = math.inf
        self._closed = False
        self.dropped_frames = 0

    def post(self, event: Event) -> None:
        """Add an event and wake the reader. Never blocks, never raises; after ``close`` it does nothing.

        Sound posted on the hub is read before ``post`` returns, if the reader sleeps: the frame and the call's state
        are in the processor's cache once, not twice.
        """
        if self._closed:
            return
        if type(event) is Audio:
            if len(self._sound) >= SOUND_LIMIT:
                self._sound.popleft()
                self.dropped_frames += 1
            self._sound.append(event)
            if self._reader is not None and self._wakeup is None and getcurrent() is self._hub:
                self._reader.switch()
                return
        else:
            self._control.append(event)
        self._wake()

    def until(self, deadline: Callable[[], float | None]) -> Iterator[Event]:
        """Events in order, control before sound; ``Tick`` whenever ``deadline()`` has passed. Ends when it is None.

        To be iterated by one greenlet only; waits cooperatively.
        """
        self._hub = get_hub()
        try:
            while (due := deadline()) is not None:
                while not (self._control or self._sound):
                    self._sleep(due)
                    if not (self._control or self._sound) and self._clock() >= due:
                        yield Tick()
                        break
                else:
                    yield self._control.popleft() if self._control else self._sound.popleft()
        finally:
            self.close()

    def close(self) -> None:
        """Forget everything; later posts are ignored. Idempotent."""
        self._closed = True
        self._control.clear()
        self._sound.clear()
        self._disarm()

    def _sleep(self, due: float) -> None:
        """Wait for a post or for ``due``. The timer outlives the sleep: most deadlines only ever move away, so
        re-arming it for each of 50 frames a second would cost more than the frame."""
        if due < self._timer_due:
            self._disarm()
            self._timer = self._hub.loop.timer(max(0.0, due - self._clock()))
            self._timer_due = due
            self._timer.start(self._on_timer)
        self._reader = getcurrent()
        try:
            self._hub.switch()
        finally:
            self._reader = None
            if self._wakeup is not None:
                self._wakeup.stop()
                self._wakeup = None

    def _wake(self) -> None:
        if self._reader is not None and self._wakeup is None:
            self._wakeup = self._hub.loop.run_callback(self._reader.switch)

    def _on_timer(self) -> None:
        self._disarm()
        self._wake()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None
        self._timer_due = math.inf
