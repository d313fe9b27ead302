"""The clock by which we play: one timer for every call whose frames we send ourselves.

It runs on absolute time, so it does not drift, and each step has a timer of its own, set for its moment: a repeating
one keeps the lateness it began with, fires now before the step's moment and now behind it, and every few frames leave
5 ms late. A call's moment in the 20 ms is the one at which it joined. A hub that was busy is caught up with, up to
``MAX_BEHIND``: FreeSWITCH gives late datagrams later RTP timestamps and early ones the next in order (measured: twenty
at once are heard as 0.4 s), so a burst delays the caller by no more than its own length.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gevent import get_hub

from esl_agent.audio.pcm import FRAME_SECONDS
from esl_agent.legs.esl_outcome import guarded

#: So many moments there are in the 20 ms.
SLOTS = 4
STEP = FRAME_SECONDS / SLOTS
#: Later than this nothing is caught up: those frames are never asked for, and the sound comes that much later.
MAX_BEHIND = 0.06


class PlayoutClock:
    """``add`` a callback and it is called every 20 ms on the hub, until removed. It must not block."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slots: list[dict[int, Callable[[], None]]] = [{} for _ in range(SLOTS)]
        self._timer: Any = None
        self._began = 0.0
        self._done = 0
        self._number = 0
        self.skipped = 0
        """Steps of 5 ms that were never made up for."""

    def add(self, tick: Callable[[], None]) -> int:
        """Call ``tick`` in 20 ms (up to 5 ms sooner) and so on. The number returned removes it."""
        if self._timer is None:
            self._began, self._done = self._clock(), 0
            self._arm()
        self._number += 1
        number = self._number * SLOTS + int((self._clock() - self._began) / STEP) % SLOTS
        self._slots[number % SLOTS][number] = tick
        return number

    def remove(self, number: int) -> None:
        """Call it no more. Unknown numbers are fine."""
        self._slots[number % SLOTS].pop(number, None)
        if not any(self._slots):
            self._disarm()

    def _arm(self) -> None:
        """For the step that is due next."""
        self._timer = get_hub().loop.timer(max(0.0, self._began + (self._done + 1) * STEP - self._clock()))
        self._timer.start(self._fire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _fire(self) -> None:
        timer = self._timer
        due = int((self._clock() - self._began) / STEP)
        if (late := due - self._done - round(MAX_BEHIND / STEP)) > 0:
            self.skipped += late
            self._done += late
        while self._done < due and self._timer is timer:
            self._done += 1
            for number, tick in list(self._slots[self._done % SLOTS].items()):
                if not guarded(tick):
                    self.remove(number)
        if self._timer is timer and timer is not None:
            self._disarm()
            self._arm()
