"""Turn taking over a bad line, beside the peers' rules: ``python -m bench.turns``. Some eight minutes on two cores."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from bench.load import machine
from bench.turns.line import Call, Script, build
from bench.turns.peers import RULES, SWEEP, Peer, Rule, has_silero
from bench.turns.report import ASKING, OURS, tables
from bench.turns.scenarios import scripts
from bench.turns.score import Tally, score
from bench.turns.speech import directory
from bench.turns.world import Dialogue, World
from esl_agent.audio.silero import second_opinion
from esl_agent.dialogue.cascade import Cascade
from esl_agent.dialogue.settings import CascadeSettings, LimitSettings, Phrases, SilenceSettings

RESULTS = Path(__file__).resolve().parent.parent / "RESULTS.md"
MORE_THAN_ENOUGH = 36000.0


def ours(call: Call, opinion: str = "none") -> Dialogue:
    """The dialogue as a DID without any settings has it, but never tired of a call. ``opinion``: who is asked before
    the agent yields."""
    phrases = Phrases(greeting=call.script.question)
    limits = LimitSettings(call=MORE_THAN_ENOUGH)
    silence = SilenceSettings(prompt_after=120.0)
    settings = CascadeSettings(phrases=phrases, limits=limits, silence=silence)
    return Cascade(settings, 0.0, second_opinion=second_opinion(opinion))


def contestants(script: Script, *, ours_only: bool) -> dict[str, Callable[[Call], Dialogue]]:
    """Who takes part in a call, by name."""
    found: dict[str, Callable[[Call], Dialogue]] = {OURS: ours}
    if has_silero() and script.kind == "over":
        found[ASKING] = partial(ours, opinion="silero")
    rules = [rule for rule in RULES if has_silero() or not rule.detector.startswith("silero")]
    for rule in (*(rules if not ours_only else ()), *(SWEEP if script.kind == "turns" else ())):
        found[rule.name] = partial(_peer, rule)
    return found


def _peer(rule: Rule, call: Call) -> Dialogue:
    return Peer(rule, call.script.rate)


def run(script: Script, ours_only: bool = False) -> tuple[str, dict[str, Tally]]:
    """One call with everybody in turn."""
    call = build(script)
    everybody = contestants(script, ours_only=ours_only)
    return script.row, {name: score(call, World(call, make(call)).run()) for name, make in everybody.items()}


def measure(wanted: list[Script], ours_only: bool, workers: int) -> dict[tuple[str, str], Tally]:
    """All calls; the sums by row and contestant."""
    sums: dict[tuple[str, str], Tally] = {}
    task = partial(run, ours_only=ours_only)
    with ProcessPoolExecutor(workers) as pool:
        for row, tallies in pool.map(task, wanted) if workers > 1 else map(task, wanted):
            for name, tally in tallies.items():
                sums.setdefault((row, name), Tally()).add(tally)
    return sums


def report(wanted: list[Script], ours_only: bool = False, workers: int = 1) -> str:
    """The section for bench/RESULTS.md."""
    began = time.monotonic()
    sums = measure(wanted, ours_only, workers)
    rules = [name for name in [OURS, ASKING, *(rule.name for rule in RULES)] if any(rule == name for _, rule in sums)]
    head = [
        f"## Turn taking, {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC", "", machine(), "",
        f"{len(wanted)} calls, {time.monotonic() - began:.0f} s.",
    ]  # fmt: skip
    if not ours_only and not has_silero():
        head.append(
            "LiveKit's and Pipecat's rules are left out: silero is not installed (pip install esl-agent[silero])."
        )
    return "\n".join([*head, "", tables(sums, rules)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.turns", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test of seconds; its numbers mean nothing")
    parser.add_argument("--ours", action="store_true", help="without the peers, but with fixed silences")
    parser.add_argument("--rows", default="", help="only rows that contain this")
    parser.add_argument("--speech", type=Path, help=f"recordings with a manifest.json; default {directory().name}/")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--write", action="store_true", help="append the result to bench/RESULTS.md")
    wanted = parser.parse_args()
    if wanted.speech:
        os.environ["ESL_AGENT_SPEECH"] = str(wanted.speech.resolve())
    chosen = [script for script in scripts(wanted.quick) if wanted.rows in script.row]
    text = report(chosen, wanted.ours, wanted.workers)
    print(text)
    if wanted.write:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write("\n" + text)


if __name__ == "__main__":
    main()
