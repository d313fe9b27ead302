"""Whom one call asks, in which order, and who serves it now."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import gevent

from esl_agent.errors import ProviderError, Stage
from esl_agent.providers.accounts import Accounts, Busy
from esl_agent.providers.attempt import Account, Attempt
from esl_agent.providers.base import CallContext, Switched
from esl_agent.providers.resilience_settings import ResilienceSettings

log = logging.getLogger(__name__)

#: Seconds that a provider may take to close what a call had of it.
CLOSING = 2.0

P = TypeVar("P")


class Candidate(Generic[P]):
    """One provider of the list, as one call sees it."""

    __slots__ = ("_bind", "_bound", "account", "label", "made", "name", "set_back_at", "why")

    def __init__(self, account: Account, made: P, bind: Callable[[], P]) -> None:
        self.account = account
        self.made = made
        """Not bound to any call."""
        self.name = self.label = account.identity.name
        """``label`` for people, where two of the list have the same name."""
        self.set_back_at: float | None = None
        """When it failed this call."""
        self.why = ""
        """Why it was not used last."""
        self._bind = bind
        self._bound: P | None = None

    @property
    def provider(self) -> P:
        """Bound to the call when it is first needed. Raises whatever is wrong with that."""
        if self._bound is None:
            self._bound = self._bind()
        return self._bound

    def close(self) -> None:
        if self._bound is None or (close := getattr(self._bound, "close", None)) is None:
            return
        try:
            with gevent.Timeout(CLOSING, False):
                close()
        except Exception:  # an edge that logs: the others are closed all the same
            log.exception("%s: cannot be closed", self.label)


class Choice(Generic[P]):
    """The candidates of one stage for one call.

    A provider that failed the call goes behind the others. A recogniser or model comes back to its place after
    ``breaker.rest`` seconds, if its breaker admits it: nobody hears who listens or thinks, and the preferred one is
    preferred for a reason. A voice stays behind until the call ends: a voice that changes twice is worse than one that
    changed once.
    """

    def __init__(
        self,
        stage: Stage,
        providers: Sequence[P],
        settings: ResilienceSettings,
        accounts: Accounts,
        context: CallContext,
    ) -> None:
        self.stage: Stage = stage
        self.call_id = context.id
        self._settings = settings
        self._clock = accounts.clock
        self._context = context
        self.live: set[Attempt[Any]] = set()
        """Requests that are under way."""
        self._candidates = [self._candidate(each, accounts) for each in providers]
        for number, each in enumerate(self._candidates, 1):
            if any(other.name == each.name for other in self._candidates[: number - 1]):
                each.label = f"{each.name} (number {number})"
        self._serving = self._candidates[0]

    def _candidate(self, provider: Any, accounts: Accounts) -> Candidate[P]:
        identity, make = provider.identity, getattr(provider, "for_call", None)
        account = Account(
            self.stage,
            identity,
            accounts.slots(self.stage, identity),
            accounts.breaker(self.stage, identity, getattr(provider, "voice", "")),
            self._settings.breaker,
            self._context.tell,
        )
        return Candidate(
            account, provider, lambda: make(self._context) if make is not None and self._context.id else provider
        )

    def order(self) -> list[Candidate[P]]:
        """Whom to ask now, the first first. Never nobody: where all rest, the preferred one is asked all the same."""
        affordable = self._affordable()
        admitted = [each for each in affordable if each.account.breaker.admits]
        for each in self._candidates:
            if each not in affordable:
                each.why = "the budget"
            elif each not in admitted:
                each.why = each.why or "it rests after failures"
        return sorted(admitted or affordable[:1], key=self._place)

    def _affordable(self) -> list[Candidate[P]]:
        names = tuple(dict.fromkeys(each.name for each in self._candidates))
        wanted = self._context.affordable(self.stage, names)
        found = [each for name in wanted for each in self._candidates if each.name == name]
        return found or self._candidates[:1]

    def _place(self, candidate: Candidate[P]) -> float:
        """Those that failed come after those that did not, the one that failed last at the end."""
        since = candidate.set_back_at
        if since is None or (self.stage != "tts" and self._clock() >= since + self._settings.breaker.rest):
            return -math.inf
        return since

    def set_back(self, candidate: Candidate[P], error: ProviderError) -> None:
        """It failed this call. A request that is itself at fault, or a full account, says little about the next one;
        but a voice must not come back."""
        candidate.why = str(error)
        if error.blame != "request" and (self.stage == "tts" or not isinstance(error, Busy)):
            candidate.set_back_at = self._clock()

    def serves(self, candidate: Candidate[P]) -> None:
        """Its answer is being used."""
        before, self._serving = self._serving, candidate
        if before is not candidate:
            reason = before.why or "its rest is over"
            self._context.tell(Switched(self.stage, before.label, candidate.label, reason))
        candidate.why = ""

    def close(self) -> None:
        """Idempotent. What is under way is let go of now, so that what it cost is told before this returns."""
        for attempt in list(self.live):
            attempt.let_go()
        for each in self._candidates:
            each.close()
