"""Every call of the benchmark. A row of the table is made of all scripts with that ``row``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.turns.line import Script
from bench.turns.sounds import NOISES

RATIOS = (20.0, 10.0, 5.0)
ECHOES = (-15.0, -20.0, -25.0, -30.0, -35.0)
DELAYS = (0.02, 0.08, 0.15, 0.3)
DISTURBANCES = ("cough", "click", "dtmf", "ring-back", "busy", "beep")
#: Ten minutes in which nobody says anything and the agent talks all the time.
LONG = 600.0
#: What the agent asks before each turn: from it our dialogue knows what is coming. Else it asks ANYTHING.
QUESTIONS = {
    "number": "What is your telephone number?",
    "yes-no": "Is that right?",
}
ANYTHING = "How can I help you?"
#: What callers say, and the row it makes.
TURNS = {
    "sentence": "sentences",
    "paused": "sentences with a pause",
    "number": "dictated numbers",
    "yes-no": "yes or no",
}
#: Rows that are the sum of others: a mixture, in which one fixed silence has to serve all.
MIXTURES = {
    "all four": ("sentences", "sentences with a pause", "dictated numbers", "yes or no"),
    "all four, unasked": (
        "sentences", "sentences with a pause", "dictated numbers, unasked", "yes or no, unasked",
    ),
}  # fmt: skip


def scripts(quick: bool = False) -> list[Script]:
    """All of them, or enough to see that each kind runs."""
    if quick:
        return [replace(script, count=min(script.count, 2), seconds=min(script.seconds, 20.0)) for script in _quick()]
    return [*_all(8000, calls=3), *_all(16000, calls=1)]


def _quick() -> Iterator[Script]:
    seen = set()
    for script in _all(8000, calls=1):
        kind = (script.kind, script.item, script.echo is not None, script.seconds > 0)
        if kind not in seen:
            seen.add(kind)
            yield script


def _all(rate: int, calls: int) -> Iterator[Script]:
    wide = "" if rate == 8000 else ", 16 kHz"
    for seed in range(calls):
        yield from _barge_ins(rate, wide, seed)
        for echo in ECHOES:
            for number, delay in enumerate(DELAYS):
                row = f"echo {echo:g} dB{wide}"
                alone = Script(row, "over", "none", 0, seed * 10 + number, rate, echo=echo, delay=delay, seconds=45.0)
                yield alone
                if number == (seed + 1) % len(DELAYS):
                    yield replace(alone, row=f"barge-in, {row}", item="barge-in", count=8)
        yield Script(f"back-channels{wide}", "over", "backchannel", 11, seed, rate)
        yield Script(
            f"back-channels, words only at the end{wide}", "over", "backchannel", 11, seed, rate, partials=False
        )
        for kind in DISTURBANCES:
            yield Script(f"{kind}{wide}", "over", kind, 10, seed, rate)
        yield from _turns(rate, wide, seed)
    for number, noise in enumerate(NOISES):
        for snr in RATIOS if rate == 8000 else RATIOS[1:2]:
            yield Script(f"{noise} {snr:g} dB{wide}", "over", "none", 0, number, rate, noise, snr, seconds=LONG)


def _barge_ins(rate: int, wide: str, seed: int) -> Iterator[Script]:
    yield Script(f"barge-in, clean{wide}", "over", "barge-in", 12, seed, rate)
    yield Script(f"barge-in, clean, words only at the end{wide}", "over", "barge-in", 12, seed, rate, partials=False)
    for noise in NOISES:
        for snr in RATIOS if rate == 8000 else RATIOS[1:2]:
            yield Script(f"barge-in, {noise} {snr:g} dB{wide}", "over", "barge-in", 8, seed, rate, noise, snr)


def _turns(rate: int, wide: str, seed: int) -> Iterator[Script]:
    for item, name in TURNS.items():
        script = Script(f"{name}{wide}", "turns", item, 10, seed, rate, question=QUESTIONS.get(item, ANYTHING))
        yield script
        yield replace(script, row=f"{name}, words only at the end{wide}", partials=False)
        if item in QUESTIONS:
            yield replace(script, row=f"{name}, unasked{wide}", question=ANYTHING)
        if item in ("paused", "number"):
            for noise, snr in (("white", 20.0), ("pink", 10.0), ("babble", 10.0)):
                yield replace(script, row=f"{name}, {noise} {snr:g} dB{wide}", count=6, noise=noise, snr=snr)
