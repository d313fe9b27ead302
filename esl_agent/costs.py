"""What calls cost, and what becomes of one that costs too much: pure arithmetic, told what was used.

    costs = CallCosts(did.key, did.settings.budget, Tariff(service.prices, service.currency), days)    one for each call
    costs.used(used)                     a provider answered a request, or gave it up after it had cost something
    costs.affordable(stage, names)       which of a stage's providers may be used now (CallContext.affordable)
    costs.news()                         the budgets that were passed since the last look, each once
    costs.record()  costs.variables()    for the call's record, and for the switch's CDR

A total is always the sum of its parts: a part keeps what was used, and its cost is computed from that. Days are kept by
``DayTotals``, one for the process, in memory: a restart forgets them. One greenlet hub, so no lock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, ClassVar, Literal

from esl_agent.errors import Stage
from esl_agent.prices import MONEY, Tariff
from esl_agent.providers.base import Usage, Used
from esl_agent.setting import STRICT, setting

#: What one request can use of anything, at the most: a server that says more is not believed.
MAX_COUNT = 1e8


@dataclass(frozen=True, slots=True)
class Budget:
    """What calls may cost, in the `currency` of agent.yaml and by its `prices`. 0: no limit.

    Past `call` or `day` the call goes on with the cheaper ones of its engines. Past a limit it is ended: when the agent
    has said what it is saying, with phrases.budget. A day is that of the DID's `timezone`; its total is kept in memory,
    so a restart begins a new count.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    call: float = setting(0.0, "One call, before it goes on with cheaper engines.", **MONEY)
    call_limit: float = setting(0.0, "One call, before it is ended.", **MONEY)
    day: float = setting(0.0, "All calls of this DID on one day, before they go on with cheaper engines.", **MONEY)
    day_limit: float = setting(
        0.0,
        "All calls of this DID on one day, before they are ended and no more are taken until midnight. Where "
        "last_resort.transfer is set, it gets them.",
        **MONEY,
    )
    refusal_cause: str = setting(
        "NORMAL_TEMPORARY_FAILURE",
        "Hang-up cause of a call that is refused, unanswered, because of day_limit. This one becomes SIP 503.",
        pattern="^[A-Z][A-Z0-9_]{1,63}$",
    )

    def __post_init__(self) -> None:
        for name, soft, hard in (("call", self.call, self.call_limit), ("day", self.day, self.day_limit)):
            if hard and soft > hard:
                raise ValueError(f"expected {name} to be {name}_limit or less, got {soft:g} with a limit of {hard:g}")

    @property
    def is_set(self) -> bool:
        """Whether anything is limited."""
        return bool(self.call or self.call_limit or self.day or self.day_limit)


@dataclass(slots=True)
class Day:
    """What the calls of one DID have cost on one day."""

    date: date
    spent: float = 0.0
    told: set[bool] = field(default_factory=set)
    """Whether a call was told that the budget (False), or its limit (True), is passed."""


class DayTotals:
    """Each DID's day. Only today's are kept."""

    def __init__(self) -> None:
        self._days: dict[str, Day] = {}

    def of(self, did: str, today: date) -> Day:
        """The day of ``did``, a new one when its date has changed."""
        day = self._days.get(did)
        if day is None or day.date != today:
            day = self._days[did] = Day(today)
        return day


@dataclass(frozen=True, slots=True)
class Passed:
    """A budget that was passed: from now on only cheaper engines are used, or (``is_limit``) the call ends.
    ``is_first``: of a day, no call was told before."""

    scope: Literal["call", "day"]
    is_limit: bool
    amount: float
    spent: float
    currency: str = ""
    is_first: bool = True

    def __str__(self) -> str:
        whose = "this call has" if self.scope == "call" else "today's calls of this number have"
        then = "it ends" if self.is_limit else "it goes on with cheaper engines"
        amount = f"{self.spent:.4f} of {self.amount:g} {self.currency}".rstrip()
        return f"{whose} cost {amount}: {then}"


@dataclass(slots=True)
class Part:
    """What one provider was used for on one call."""

    stage: Stage
    name: str
    requests: int = 0
    usage: Usage = Usage()

    def add(self, usage: Usage) -> None:
        """One request more. Counts are outside numbers: servers said them."""
        mine = self.usage
        all_in, all_out = _count(usage.input_tokens), _count(usage.output_tokens)
        sound_in = min(_count(usage.audio_input_tokens), all_in)
        cached = min(_count(usage.cached_tokens), all_in)
        # at least what text cannot have been, at most what sound there was
        cached_sound = max(min(_count(usage.cached_audio_tokens), sound_in, cached), cached - (all_in - sound_in))
        self.requests += 1
        self.usage = Usage(
            input_tokens=mine.input_tokens + all_in,
            cached_tokens=mine.cached_tokens + cached,
            output_tokens=mine.output_tokens + all_out,
            audio_input_tokens=mine.audio_input_tokens + sound_in,
            cached_audio_tokens=mine.cached_audio_tokens + cached_sound,
            audio_output_tokens=mine.audio_output_tokens + min(_count(usage.audio_output_tokens), all_out),
            characters=mine.characters + _count(usage.characters),
            seconds=mine.seconds + _amount(usage.seconds),
            is_estimate=mine.is_estimate or bool(usage.is_estimate),
        )


class CallCosts:
    """What one call has used and cost so far, and what it may still use."""

    def __init__(
        self,
        did: str,
        budget: Budget,
        tariff: Tariff,
        days: DayTotals,
        today: Callable[[], date] = date.today,
    ) -> None:
        """``did``: the key under which its day is kept. ``today``: the date where it is."""
        self.tariff = tariff
        self._did = did
        self._budget = budget
        self._days = days
        self._today = today
        self._parts: dict[tuple[Stage, str], Part] = {}
        self._said: set[tuple[str, bool]] = set()

    @property
    def parts(self) -> tuple[Part, ...]:
        """In the order of their first use."""
        return tuple(self._parts.values())

    @property
    def total(self) -> float:
        return math.fsum(self._cost(part) for part in self._parts.values())

    def used(self, used: Used) -> None:
        """Account for one request. Never blocks, never raises on odd counts."""
        part = self._parts.setdefault((used.stage, used.name), Part(used.stage, used.name))
        before = self._cost(part)
        part.add(used.usage)
        self._day.spent += max(0.0, self._cost(part) - before)

    def affordable(self, stage: Stage, names: tuple[str, ...]) -> tuple[str, ...]:
        """All of ``names``, in order, while the budgets last. Then those that cost nothing; where there are none, the
        one whose ordinary request (``TYPICAL``) costs least, of equal ones the first."""
        if not names or not self._passed(is_limit=False):
            return names
        free = tuple(name for name in names if not self.tariff.typical(stage, name))
        return free or (min(names, key=lambda name: self.tariff.typical(stage, name)),)

    def is_day_spent(self) -> bool:
        """Whether the DID's calls have reached their limit for today."""
        return any(passed.scope == "day" for passed in self._passed(is_limit=True))

    def news(self) -> list[Passed]:
        """The budgets that were passed, each once in a call."""
        new = []
        for passed in (*self._passed(is_limit=False), *self._passed(is_limit=True)):
            if (passed.scope, passed.is_limit) not in self._said:
                self._said.add((passed.scope, passed.is_limit))
                told = self._day.told if passed.scope == "day" else set()
                new.append(replace(passed, is_first=passed.is_limit not in told))
                told.add(passed.is_limit)
        return new

    def variables(self) -> dict[str, str]:
        """For the call's CDR: numbers only, whatever the providers are called. Without prices there is no cost."""
        stages: dict[Stage, list[Usage]] = {"stt": [], "llm": [], "tts": [], "agent": []}
        for part in self._parts.values():
            stages[part.stage].append(part.usage)
        cost = {"esl_agent_cost": f"{self.total:.6f}"} if self.tariff else {}
        agents = stages["agent"]
        tokens = str(sum(usage.input_tokens + usage.output_tokens for usage in agents))
        cost |= {"esl_agent_agent_tokens": tokens} if agents else {}
        return cost | {
            "esl_agent_stt_seconds": f"{sum(usage.seconds for usage in stages['stt']):.1f}",
            "esl_agent_llm_tokens": str(sum(usage.input_tokens + usage.output_tokens for usage in stages["llm"])),
            "esl_agent_tts_characters": str(sum(usage.characters for usage in stages["tts"])),
        }

    def providers(self) -> dict[str, str]:
        """Who served each stage, the first one first. Outside text: names of models."""
        stages: dict[str, list[str]] = {}
        for part in self._parts.values():
            stages.setdefault(part.stage, []).append(part.name)
        return {stage: ", ".join(names) for stage, names in stages.items()}

    def record(self) -> dict[str, Any]:
        """JSON-able: the total, and each provider with what it was used for. A price that nobody gave is missing."""
        parts = [_facts(part) | self._priced(part) for part in self._parts.values()]
        if not self.tariff:
            return {"parts": parts}
        return {"currency": self.tariff.currency, "total": shown(self.total), "parts": parts}

    def _priced(self, part: Part) -> dict[str, float]:
        return {} if self.tariff.find(part.name) is None else {"cost": shown(self._cost(part))}

    @property
    def _day(self) -> Day:
        return self._days.of(self._did, self._today())

    def _cost(self, part: Part) -> float:
        return self.tariff.cost(part.name, part.usage, part.requests)

    def _passed(self, *, is_limit: bool) -> Sequence[Passed]:
        budget = self._budget
        found = []
        call, day = (budget.call_limit, budget.day_limit) if is_limit else (budget.call, budget.day)
        if call and (spent := self.total) >= call:
            found.append(Passed("call", is_limit, call, spent, self.tariff.currency))
        if day and (spent := self._day.spent) >= day:
            found.append(Passed("day", is_limit, day, spent, self.tariff.currency))
        return found


def shown(amount: float) -> float:
    """Money as it is written down: without what binary fractions make of it, and finer than any token's price."""
    return round(amount, 9)


def _facts(part: Part) -> dict[str, Any]:
    usage = part.usage
    counts = {
        "input_tokens": usage.input_tokens,
        "cached_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "audio_input_tokens": usage.audio_input_tokens,
        "cached_audio_tokens": usage.cached_audio_tokens,
        "audio_output_tokens": usage.audio_output_tokens,
        "characters": usage.characters,
        "seconds": round(usage.seconds, 3),
        "estimated": usage.is_estimate,
    }
    used = {name: count for name, count in counts.items() if count}
    return {"stage": part.stage, "provider": part.name, "requests": part.requests} | used


def _amount(number: float) -> float:
    """A number that a server said; what cannot be is nothing."""
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    return float(number) if is_number and 0 < number <= MAX_COUNT else 0.0


def _count(number: float) -> int:
    return int(_amount(number))
