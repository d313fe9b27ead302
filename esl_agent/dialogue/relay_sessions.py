"""The connections of one call to its agent: which one serves, which one is being made, and how often one broke.

At most one serves and one is being made. One that takes over because the other grows old is made while that one still
serves; any other is made because nobody does.
"""

from __future__ import annotations

import math
from collections import deque

from esl_agent.dialogue.relay_settings import RelaySettings

#: How often a connection is tried before the call is given up.
TRIES = 2
#: After a hand-over that came to nothing the next is tried so many seconds later.
AGAIN = 30.0


class Sessions:
    """Numbers connections. Pure: time is an argument."""

    def __init__(self, settings: RelaySettings) -> None:
        self._settings = settings
        self.count = 0
        """The newest one's number."""
        self.serving: int | None = None
        self.connecting: int | None = None
        self.due = math.inf
        """When the one that is being made is overdue."""
        self.ages = math.inf
        """From when on another one should take over."""
        self._tries = 0
        self._breaks: deque[float] = deque(maxlen=settings.reconnects + 1)

    @property
    def is_parted(self) -> bool:
        """Nobody serves."""
        return self.serving is None

    def begin(self, now: float) -> int:
        """Another one is being made; its number."""
        self.count += 1
        self._tries += 1
        self.connecting = self.count
        self.due = now + self._settings.connect
        return self.count

    def serve(self, number: int, now: float) -> None:
        """``number``, which was being made, serves from now on."""
        self.serving, self.ages = number, now + self._settings.session
        self._made()
        self._tries = 0

    def forgo(self, now: float) -> int | None:
        """The one that is being made is not wanted, or failed. Its number, if there was one."""
        number = self.connecting
        self._made()
        if self.serving is not None:
            self._tries, self.ages = 0, now + AGAIN
        return number

    @property
    def may_try(self) -> bool:
        """One that could not be made may be tried again."""
        return self._tries < TRIES

    def broke(self, now: float, *, counts: bool) -> bool:
        """The one that served is gone. ``counts``: by a fault. Whether it may be replaced."""
        self.serving, self.ages = None, math.inf
        if counts:
            self._breaks.append(now)
        since = now - self._settings.reconnect_window
        return sum(each > since for each in self._breaks) <= self._settings.reconnects

    def dismiss(self) -> list[int]:
        """Nobody is wanted any more: the numbers of those there are."""
        numbers = [number for number in (self.serving, self.connecting) if number is not None]
        self.serving, self.ages = None, math.inf
        self._made()
        return numbers

    def _made(self) -> None:
        self.connecting, self.due = None, math.inf
