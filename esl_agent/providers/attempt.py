"""One request to one provider, in a greenlet of its own: whoever waits for it can walk away at any moment, whatever
the provider does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

import gevent
from gevent.queue import Queue

from esl_agent.errors import ProviderError, Stage
from esl_agent.providers.accounts import Busy, Slots
from esl_agent.providers.base import Identity, Usage, Used
from esl_agent.providers.breaker import Breaker
from esl_agent.providers.resilience_settings import BreakerSettings

log = logging.getLogger(__name__)

#: Pieces that a provider may be ahead of whoever uses them.
READ_AHEAD = 8
#: Seconds that a provider may take to close what it has open, once it is told to stop, before it is told again: where
#: it hangs in that, its slot would never be free.
GOODBYE = 5.0
#: Characters of a token, where the server does not say how many it counted.
CHARACTERS_A_TOKEN = 4
#: Of one request: ten times what the largest model takes.
MAX_TOKENS = 10_000_000

T = TypeVar("T")


@dataclass(slots=True)
class Tally:
    """What a request costs. The stages fill in what they know while it runs."""

    told: Usage | None = None
    """The server's own count."""
    asked: int = 0
    """Characters that were sent to a model."""
    answered: int = 0
    """Characters that came from it."""
    characters: int = 0
    """Characters that were sent to a voice."""
    seconds: Callable[[], float] = float
    """Of sound that a recogniser took."""

    def usage(self) -> Usage:
        if self.told is not None and _is_possible(self.told):
            return self.told
        if not self.asked:
            return Usage(characters=self.characters, seconds=round(self.seconds(), 3))
        return Usage(
            input_tokens=-(-self.asked // CHARACTERS_A_TOKEN),
            output_tokens=-(-self.answered // CHARACTERS_A_TOKEN),
            is_estimate=True,
        )


def _is_possible(usage: Usage) -> bool:
    """Whether a server's count (outside numbers) can be one: a reply does not cost nothing, nor a library."""
    if not isinstance(usage, Usage):
        return False
    counts = (usage.input_tokens, usage.output_tokens)
    return all(isinstance(count, int) and 0 <= count <= MAX_TOKENS for count in counts) and any(counts)


@dataclass(frozen=True, slots=True)
class Account:
    """What an attempt has to respect and to report to."""

    stage: Stage
    identity: Identity
    slots: Slots
    breaker: Breaker
    settings: BreakerSettings
    tell: Callable[[Used], None]


class Ended:
    """The answer is complete."""


ENDED = Ended()


class Attempt(Generic[T]):
    """Puts ``(itself, piece)`` into ``arrivals``, at last ``(itself, ENDED)`` or ``(itself, ProviderError)``.

    Ended exactly once, by ``served``, ``failed`` or ``let_go``; the later ones of them do nothing. What it cost is told
    if something of an answer came, or if we gave it up: a request that the service refused costs nothing.
    """

    __slots__ = (
        "_account",
        "_greenlet",
        "_has_closed",
        "_is_over",
        "_is_probe",
        "_live",
        "_tally",
        "due",
        "has_begun",
        "pieces",
    )

    def __init__(
        self,
        account: Account,
        make: Callable[[Tally], Generator[T]],
        arrivals: Queue[tuple[Attempt[T], object]],
        live: set[Attempt[T]],
        *,
        due: float,
        slot_patience: float,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """``make`` opens the request; it is called in the new greenlet, and before it and without a slot ``ready``,
        which may wait. ``live``: has it until it is ended. ``due``: for whoever waits; not used here."""
        self.due = due
        self.has_begun = False
        """Whether its account had a free slot."""
        self.pieces = 0
        """Counted by whoever reads ``arrivals``."""
        self._account = account
        self._tally = Tally()
        self._is_over = False
        self._has_closed = False
        self._live = live
        live.add(self)
        self._is_probe = account.breaker.begin()
        self._greenlet = gevent.spawn(self._run, ready, make, arrivals, slot_patience)

    @property
    def name(self) -> str:
        return self._account.identity.name

    def served(self) -> None:
        """It is complete. Its greenlet is left alone for a while: it may still be saying goodbye."""
        if self._end(kill=False):
            self._account.breaker.succeeded(self._is_probe)
            self._tell()

    def failed(self, error: ProviderError, *, was_given_up: bool = False) -> None:
        """``was_given_up``: by us; the service may still be working on it."""
        if self._end():
            if isinstance(error, Busy):
                self._account.breaker.let_go(self._is_probe)
                return
            self._account.breaker.failed(self._is_probe, error.blame, str(error), self._account.settings)
            if self.pieces or was_given_up:
                self._tell()

    def let_go(self) -> None:
        """Nobody wants the rest."""
        if self._end():
            if self.pieces:
                self._account.breaker.succeeded(self._is_probe)
            else:
                self._account.breaker.let_go(self._is_probe)
            self._tell()

    def _end(self, *, kill: bool = True) -> bool:
        is_first, self._is_over = not self._is_over, True
        if is_first:
            self._live.discard(self)
            if kill:
                self._greenlet.kill(block=False)
            if not self._has_closed:
                _kill_later(self._greenlet)
        return is_first

    def _tell(self) -> None:
        usage = self._tally.usage()
        if usage != _NOTHING:
            self._account.tell(Used(self._account.stage, self.name, usage))

    def _run(
        self,
        ready: Callable[[], None],
        make: Callable[[Tally], Generator[T]],
        arrivals: Queue[tuple[Attempt[T], object]],
        slot_patience: float,
    ) -> None:
        account = self._account
        outcome: object = ENDED
        try:
            ready()
            with (
                account.slots.one(account.stage, account.identity.at_once, slot_patience),
                closing(make(self._tally)) as pieces,
            ):
                self.has_begun = True
                for piece in pieces:
                    if self._is_over:  # and it did not stop
                        return
                    arrivals.put((self, piece))
        except ProviderError as error:
            outcome = error
        except gevent.Timeout as error:
            outcome = ProviderError(account.stage, f"{self.name}: timed out: {error}", retryable=True)
        except Exception as error:  # an edge that logs: a provider's bug must not end the call
            log.exception("%s %s: unexpected error", account.stage, self.name)
            outcome = ProviderError(account.stage, f"{self.name}: {type(error).__name__}")
        self._has_closed = True
        if not self._is_over:
            arrivals.put((self, outcome))


def _kill_later(greenlet: gevent.Greenlet) -> None:
    """A timer of the hub: cheaper than a greenlet that sleeps. Nothing happens to one that has ended by then."""
    timer = gevent.get_hub().loop.timer(GOODBYE, ref=False)

    def kill() -> None:
        timer.close()
        greenlet.kill(block=False)

    timer.start(kill)


_NOTHING = Usage()
