"""Tallies -> the tables. Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from bench.turns.peers import SWEEP
from bench.turns.scenarios import MIXTURES
from bench.turns.score import ECHO, Tally, quantile

OURS = "esl_agent"
#: The same, with ``barge_in.second_opinion: silero``.
ASKING = "with silero"
Tallies = Mapping[tuple[str, str], Tally]
"""(row, rule) -> its sums."""


def tables(tallies: Tallies, rules: Sequence[str]) -> str:
    """All tables; ``rules`` in the order of the columns."""
    tallies = {**tallies, **_mixtures(tallies, [*rules, *(rule.name for rule in SWEEP)])}
    rows = list(dict.fromkeys(row for row, _ in tallies))
    parts = [
        _table(
            "Barge-in: onset to yield, p50 / p95 in ms; missed of all",
            [row for row in rows if row.startswith("barge-in")], rules, tallies, _barge_in,
        ),
        _table(
            "Barge-in: onset to the turn given up, p50 / p95 in ms",
            [row for row in rows if row.startswith("barge-in")], rules, tallies, _confirm,
        ),
        _table(
            "Echo alone: turns lost (paused for nothing) per 100 echoes",
            [row for row in rows if row.startswith("echo")], rules, tallies,
            lambda tally: _false(tally, tally.heard / ECHO / 100),
        ),
        _table(
            "Noise alone, ten minutes each: turns lost (paused for nothing) per hour of the agent's speech",
            [row for row in rows if _is_noise(row)], rules, tallies,
            lambda tally: _false(tally, tally.heard / 3600) if tally.heard > 60 else f"mute after {tally.heard:.0f} s",
        ),
        _table(
            "No claim on the floor: turns lost (paused for nothing) per 100",
            [row for row in rows if _is_disturbance(row)], rules, tallies,
            lambda tally: _false(tally, tally.items / 100),
        ),
        _table(
            "Turns: cut-offs per 100; wait after the true end, p50 / p95 in ms",
            [row for row in rows if _is_turn(row)], rules, tallies, _turn,
        ),
        _equal_wait([row for row in rows if _is_turn(row)], tallies),
        _needless(rows, tallies),
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)


def fixed_at(wait: float, row: str, tallies: Tallies) -> tuple[float, float] | None:
    """Cut-offs and splits per 100 turns of the fixed rule with that mean wait; None outside the sweep."""
    points = []
    for rule in SWEEP:
        tally = tallies.get((row, rule.name))
        if tally and tally.waits:
            points.append((_mean(tally.waits), 100 * tally.cut / tally.items, 100 * tally.split / tally.items))
    points.sort()
    for (w0, c0, s0), (w1, c1, s1) in pairwise(points):
        if w0 <= wait <= w1:
            share = (wait - w0) / (w1 - w0) if w1 > w0 else 0.0
            return c0 + (c1 - c0) * share, s0 + (s1 - s0) * share
    return None


def _mixtures(tallies: Tallies, rules: Sequence[str]) -> dict[tuple[str, str], Tally]:
    found = {}
    for row, parts in MIXTURES.items():
        for rule in rules:
            if all((part, rule) in tallies for part in parts):
                total = found[row, rule] = Tally()
                for part in parts:
                    total.add(tallies[part, rule])
    return found


def _table(
    title: str, rows: Sequence[str], rules: Sequence[str], tallies: Tallies, cell: Callable[[Tally], str]
) -> str:
    if not rows:
        return ""
    lines = [f"### {title}", "", _line(["", *rules]), _line(["---"] * (len(rules) + 1))]
    for row in rows:
        cells = [cell(tally) if (tally := tallies.get((row, rule))) else "-" for rule in rules]
        lines.append(_line([row, *cells]))
    return "\n".join([*lines, ""])


def _equal_wait(rows: Sequence[str], tallies: Tallies) -> str:
    lines = [
        "### At equal wait: cut-offs (turns split) per 100, the same ear with a fixed silence beside it", "",
        _line(["", "mean wait ms", OURS, "fixed silence", "ratio"]), _line(["---"] * 5),
    ]  # fmt: skip
    for row in rows:
        tally = tallies.get((row, OURS))
        if tally is None or not tally.waits:
            continue
        wait = _mean(tally.waits)
        fixed = fixed_at(wait, row, tallies)
        ours = 100 * tally.cut / tally.items
        lines.append(_line([
            row, f"{wait * 1000:.0f}", f"{ours:.1f} ({100 * tally.split / tally.items:.1f})",
            f"{fixed[0]:.1f} ({fixed[1]:.1f})" if fixed else "outside the sweep",
            f"{ours / fixed[0]:.2f}" if fixed and fixed[0] else "-",
        ]))  # fmt: skip
    return "\n".join([*lines, ""])


def _needless(rows: Sequence[str], tallies: Tallies) -> str:
    """How long we paused for nothing, and what could not be judged."""
    lines = ["### esl_agent: pauses for nothing, p50 / p95 in ms; what could not be judged", ""]
    for row in rows:
        tally = tallies.get((row, OURS))
        if tally and (tally.pauses or tally.void):
            lines.append(f"- {row}: {len(tally.pauses)} pauses {_spread(tally.pauses)}; void {tally.void}")
    return "\n".join([*lines, ""])


def _barge_in(tally: Tally) -> str:
    return f"{_spread(tally.yields)}; {tally.missed}/{tally.items}"


def _confirm(tally: Tally) -> str:
    return _spread(tally.confirms)


def _false(tally: Tally, units: float) -> str:
    if not units:
        return "-"
    return f"{tally.lost / units:.1f} ({tally.paused / units:.1f})"


def _turn(tally: Tally) -> str:
    unheard = f"; {tally.missed} unanswered" if tally.missed else ""
    return f"{100 * tally.cut / max(1, tally.items):.0f}; {_spread(tally.waits)}{unheard}"


def _spread(samples: Sequence[float]) -> str:
    if not samples:
        return "-"
    return f"{quantile(samples, 0.5) * 1000:.0f} / {quantile(samples, 0.95) * 1000:.0f}"


def _mean(samples: Sequence[float]) -> float:
    return sum(samples) / len(samples)


def _is_noise(row: str) -> bool:
    return row.startswith(("white", "pink", "hum", "babble"))


def _is_turn(row: str) -> bool:
    return row.startswith(("sentences", "dictated", "yes or no", "all four"))


def _is_disturbance(row: str) -> bool:
    return not (row.startswith(("barge-in", "echo")) or _is_noise(row) or _is_turn(row))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
