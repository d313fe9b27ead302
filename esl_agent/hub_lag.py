"""How late gevent runs a due timer: the one number that says whether calls wait for each other."""

from __future__ import annotations

import logging
import time
from collections import deque

import gevent

log = logging.getLogger(__name__)

#: A frame lasts 20 ms: a lag above this many seconds is heard.
ALARM = 0.1


class HubLag:
    """Measures every ``interval`` seconds; keeps the newest 3000 readings (seconds)."""

    def __init__(self, interval: float = 0.02) -> None:
        self._interval = interval
        self.readings: deque[float] = deque(maxlen=3000)
        self.worst = 0.0
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def percentile(self, share: float) -> float:
        """The lag that ``share`` (0..1) of the kept readings stay below."""
        ordered = sorted(self.readings)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

    def _run(self) -> None:
        while True:
            due = time.monotonic() + self._interval
            gevent.sleep(self._interval)
            late = max(0.0, time.monotonic() - due)
            self.readings.append(late)
            self.worst = max(self.worst, late)
            if late > ALARM:
                log.warning("the hub was late by %.0f ms: something blocks every call", late * 1000)
