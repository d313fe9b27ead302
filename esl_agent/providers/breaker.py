"""A circuit breaker: a provider that keeps failing is left alone for a while. Nobody waits here."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from esl_agent.errors import Blame
from esl_agent.providers.resilience_settings import BreakerSettings

log = logging.getLogger(__name__)

#: Outcomes that are remembered, however many calls there are.
REMEMBERED = 200
#: A rest is doubled after each probe that failed, up to so many times the first.
LONGEST_REST = 8
#: What an operator can do where waiting does not help.
SETUP = "look at its key, plan, model and address; after a change reload, or restart for a new environment"


class Breaker:
    """The health of one provider as all calls of the process saw it. Closed: it is asked. Open: it rests. Half open:
    its rest is over, and one request at a time probes it. ``clock`` is monotonic.

    Each request is told of twice: ``begin``, then one of ``succeeded``, ``failed`` and ``let_go`` with what ``begin``
    returned.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self._clock = clock
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=REMEMBERED)
        self._row: deque[float] = deque(maxlen=REMEMBERED)
        """When the failures since the last success happened."""
        self._open_until: float | None = None
        self._rest = 0.0
        self._is_probed = False

    @property
    def is_open(self) -> bool:
        return self._open_until is not None

    @property
    def admits(self) -> bool:
        """Whether it may be asked: closed, or rested and not being probed."""
        return self._open_until is None or (self._clock() >= self._open_until and not self._is_probed)

    def begin(self) -> bool:
        """A request goes out. True if it is the probe."""
        if self._open_until is None or self._is_probed or self._clock() < self._open_until:
            return False
        self._is_probed = True
        return True

    def let_go(self, is_probe: bool) -> None:
        """Nobody wanted the answer any more, or only the request was at fault."""
        self._is_probed = self._is_probed and not is_probe

    def succeeded(self, is_probe: bool) -> None:
        self.let_go(is_probe)
        self._row.clear()
        if self._open_until is not None:
            log.warning("%s works again", self.name)
            self._open_until, self._rest = None, 0.0
            self._outcomes.clear()
        self._outcomes.append((self._clock(), True))

    def failed(self, is_probe: bool, blame: Blame, why: str, settings: BreakerSettings) -> None:
        self.let_go(is_probe)
        if blame == "request":
            return
        now = self._clock()
        self._row.append(now)
        self._outcomes.append((now, False))
        if blame == "setup":
            self._open(now, max(settings.setup_rest, self._rest), f"{why}; {SETUP}")
        elif self._open_until is not None:
            if is_probe:
                self._open(now, min(self._rest * 2, settings.rest * LONGEST_REST), why)
        elif self._is_too_much(now, settings):
            self._open(now, settings.rest, why)

    def _is_too_much(self, now: float, settings: BreakerSettings) -> bool:
        since = now - settings.window
        if sum(at >= since for at in self._row) >= settings.failures:
            return True
        recent = [is_ok for at, is_ok in self._outcomes if at >= since]
        failures = recent.count(False)
        return failures >= 2 * settings.failures and 2 * failures >= len(recent)

    def _open(self, now: float, rest: float, why: str) -> None:
        self._rest, self._open_until = rest, now + rest
        log.error("%s rests for %g s: %s", self.name, rest, why)
