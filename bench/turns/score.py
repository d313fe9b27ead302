"""What a call's log says about the one who took turns in it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from bench.turns.line import Call, Item
from bench.turns.world import Log

#: What happens up to so long after something was said is its doing.
AFTER = 2.0
#: One echo is what one of the agent's recordings makes: so many seconds on average.
ECHO = 4.0


@dataclass(slots=True)
class Tally:
    """Sums over calls. Times in seconds; lists hold one entry a case."""

    items: int = 0
    """What the caller's side did that could be judged: over a sounding agent, or into its silence."""
    void: int = 0
    """What could not, for the agent was silent (or speaking) just then: it had been interrupted before."""
    missed: int = 0
    """Barge-ins that did not take the floor; turns that were never answered."""
    yields: list[float] = field(default_factory=list)
    """Onset to the order to pause or be softer."""
    confirms: list[float] = field(default_factory=list)
    """Onset to the turn given up."""
    lost: int = 0
    """Turns given up though nobody wanted the floor."""
    paused: int = 0
    """Pauses, or softer speech, for nothing, where the turn went on."""
    pauses: list[float] = field(default_factory=list)
    """How long each of those was."""
    heard: float = 0.0
    """Seconds in which the agent sounded."""
    cut: int = 0
    """Turns of the caller into which the agent spoke."""
    split: int = 0
    """Turns of the caller held for ended too early, whether or not the agent then spoke."""
    waits: list[float] = field(default_factory=list)
    """True end to the end decided."""

    def add(self, other: Tally) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


def score(call: Call, log: Log) -> Tally:
    tally = Tally(heard=sum(end - began for began, end, _ in log.sounding))
    if call.script.kind == "over":
        _over(call.items, log, tally)
    else:
        _turns(call.items, log, tally)
    return tally


def quantile(samples: Sequence[float], share: float) -> float:
    """The sample below which ``share`` of all lie; NaN of none."""
    return sorted(samples)[round((len(samples) - 1) * share)] if samples else float("nan")


def _over(items: Sequence[Item], log: Log, tally: Tally) -> None:
    explained = [_window(item) for item in items if item.kind == "barge-in"]
    for item in items:
        began, ended = _window(item)
        if not any(start <= item.onset < end for start, end, _ in log.sounding):
            tally.void += 1
            continue
        tally.items += 1
        if item.kind != "barge-in":
            continue
        yielded = _first(log.yields, began, item.end + 0.5)
        lost = _first(log.abandons, began, ended)
        if yielded is not None:
            tally.yields.append(yielded - item.onset)
        if lost is None:
            tally.missed += 1
        else:
            tally.confirms.append(lost - item.onset)
    for when in log.abandons:
        tally.lost += not _within(when, explained)
    for when in log.yields:
        if _within(when, explained):
            continue
        until = min((x for x in (*log.resumes, *log.abandons) if x >= when), default=None)
        if until is not None and until in log.resumes:
            tally.paused += 1
            tally.pauses.append(until - when)


def _turns(items: Sequence[Item], log: Log, tally: Tally) -> None:
    for item in items:
        if any(start <= item.onset < end for start, end, _ in log.sounding):
            tally.void += 1
            continue
        tally.items += 1
        is_cut = any(item.onset < start < item.end for start, _, _ in log.sounding)
        tally.cut += is_cut
        tally.split += any(item.onset < when < item.end - 0.1 for when in log.closes)
        ended = _first(log.closes, item.end - 0.1, item.end + 4.0)
        if ended is None:
            tally.missed += 1
        else:
            tally.waits.append(ended - item.end)


def _window(item: Item) -> tuple[float, float]:
    return item.onset - 0.02, item.end + AFTER


def _first(times: Sequence[float], began: float, ended: float) -> float | None:
    return next((when for when in times if began <= when <= ended), None)


def _within(when: float, windows: Sequence[tuple[float, float]]) -> bool:
    return any(began <= when <= ended for began, ended in windows)
