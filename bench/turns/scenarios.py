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
#: What the agent asks before each kind of turn.
QUESTIONS = {
    "number": "What is your telephone number?",
    "yes-no": "Is that right?",
}


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
                seeds = {"seed": seed * 10 + number, "rate": rate, "echo": echo, "delay": delay}
                yield Script(f"echo {echo:g} dB{wide}", "over", "none", count=0, seconds=45.0, **seeds)
                if number == (seed + 1) % len(DELAYS):
                    yield Script(f"barge-in, echo {echo:g} dB{wide}", "over", "barge-in", count=8, **seeds)
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
    for item, name in (
        ("sentence", "sentences"),
        ("paused", "sentences with a pause"),
        ("number", "dictated numbers"),
        ("yes-no", "yes or no"),
    ):
        question = QUESTIONS.get(item, "How can I help you?")
        yield Script(f"{name}{wide}", "turns", item, 10, seed, rate, question=question)
        if item in ("sentence", "paused", "number"):
            yield Script(
                f"{name}, words only at the end{wide}", "turns", item, 10, seed, rate, question=question, partials=False
            )
        if item in ("paused", "number"):
            for noise, snr in (("white", 20.0), ("pink", 10.0), ("babble", 10.0)):
                yield Script(
                    f"{name}, {noise} {snr:g} dB{wide}", "turns", item, 6, seed, rate, noise, snr, question=question
                )
