"""Whole calls through the real server: ``python -m bench.load --calls 100 --seconds 20``.

The agent runs in one process with canned providers, the pretend FreeSWITCH in another, each on a core of its own.
What every column means is written in bench/RESULTS.md. ``--engines instant`` has engines that take no time at all:
what a turn takes is then our own. ``--engines embedded`` takes the configuration in conf/ with
its real recogniser and voices instead, and callers who listen before they speak.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pickle
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from bench.analysis import Result, Spread, analyse
from bench.processes import ROOT, cpu_of, cpu_of_all, free_ports, hear, start, tell
from bench.share import GREETING, LATE, PARTS, greetings, shares, spreads

CALLS = (1, 50, 100, 200, 300, 400, 500)
#: In memory, as a service has it; removed after each run, for the agent is killed in the middle of its calls.
CLIPS = "/dev/shm/esl_agent_bench"
#: New calls a second until all are there.
RAMP = 50.0
#: Of the running calls, the share that ends and is replaced each second of the measured time.
CHURN = 1 / 50

_AGENT = [sys.executable, "-m", "gevent.monkey", "--module", "bench.agent_side"]
_CALLERS = [sys.executable, "-m", "bench.caller_side"]


def measure(
    calls: int, seconds: float, *, rate: int = 8000, engines: str = "canned"
) -> tuple[Result, dict[str, Spread]]:
    """One run with ``calls`` at the same time, and what of its turns' latency was our own (bench.share). Takes the
    ramp, ten seconds and ``seconds``."""
    is_canned = engines != "embedded"
    cores = sorted(os.sched_getaffinity(0))
    # The embedded engines' workers inherit the agent's cores: those runs are not pinned.
    pinned = cores[:2] if is_canned and len(cores) > 1 else None
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        port = _configure(directory, calls, rate, is_canned)
        wanted = {
            "calls": calls,
            "seconds": seconds,
            "per_second": RAMP,
            "churn": calls * CHURN if is_canned else 0.0,
            "live": not is_canned,
            "did": "7000" if is_canned else "5000",
            "rate": rate,
            "port": port,
            "core": pinned[1] if pinned else None,
            "results": str(directory / "load.pickle"),
        }
        agent = start([*_AGENT, name, engines, str(directory / "agent.pickle"), str(pinned[0]) if pinned else ""])
        callers = None
        try:
            hear(agent, "ready")
            callers = start([*_CALLERS, json.dumps(wanted)])
            hear(callers, "steady")
            tell(agent, "mark")
            before = cpu_of_all(), cpu_of(agent.pid), cpu_of(callers.pid)
            hear(callers, "done")
            after = cpu_of_all(), cpu_of(agent.pid), cpu_of(callers.pid)
            tell(agent, "finish")
            hear(agent, "{")
            hear(callers, "written")
        finally:
            for process in (agent, callers):
                if process is not None:
                    process.kill()
                    process.communicate()
            shutil.rmtree(CLIPS, ignore_errors=True)
        seen_by: dict[str, Any] = {
            half: pickle.loads((directory / f"{half}.pickle").read_bytes()) for half in ("agent", "load")
        }
    everything, *ours = (late - early for early, late in zip(before, after, strict=True))
    others = (everything - sum(ours)) / seconds
    return analyse(**seen_by, asked=calls, others=others), own_shares(**seen_by)


def own_shares(agent: Mapping[str, Any], load: Mapping[str, Any]) -> dict[str, Spread]:
    """Our own share of turn latency and its parts, for engines whose time is known; and the greeting's."""
    found = spreads(greetings(load["calls"]))
    if agent["providers"] is not None:
        times = agent["providers"], agent["began"], agent["ended"]
        found |= spreads(shares(agent["traces"], load["calls"], *times))
    return found


def _configure(directory: Path, calls: int, rate: int, is_canned: bool) -> int:
    """A configuration on free ports below ``directory``; returns the event socket's port."""
    events, sound = free_ports(2)
    service: dict[str, Any] = {
        "freeswitch": {"listen": f"127.0.0.1:{events}", "max_calls": calls * 2 + 10},
        "audio": {"listen": f"127.0.0.1:{sound}"},
        "clips": {"directory": CLIPS},
        "cache": {"directory": ""},
        "defaults": {"media": {"rate": rate}},
    }
    if is_canned:
        (directory / "dids").mkdir()
        did = {"default": True, "phrases": {"greeting": "Hello, how can I help you?"}}
        (directory / "dids" / "bench.yaml").write_text(yaml.safe_dump(did))
    else:
        shutil.copytree(ROOT / "conf" / "dids", directory / "dids")
    (directory / "agent.yaml").write_text(yaml.safe_dump(service))
    return events


HEAD = (
    "calls",
    "frame late",
    "accept",
    "greeting",
    "barge-in",
    "from voiced",
    "missed",
    "turn, own",
    "hub lag",
    "CPU",
    "CPU/call",
    "kB/call",
    "dropped",
    "load late",
    "others",
    "valid",
)

#: A turn's own share and its parts, below the table.
SHARE_HEAD = ("calls", "turns", "own share", *(name for name, _, _ in PARTS), LATE, "valid")
GREETING_HEAD = ("calls", "greeted", *GREETING, "valid")


def row(result: Result) -> list[str]:
    """The cells under ``HEAD``. Times are p50 / p99 / worst in ms."""
    return [
        str(result.calls),
        both(result.lateness),
        both(result.accept),
        both(result.greeting),
        both(result.barge_in),
        both(result.barge_in_voiced),
        str(result.missed),
        both(result.turn),
        both(result.hub_lag),
        f"{result.cpu:.0%}",
        f"{result.cpu_per_call:.2%}",
        f"{result.call_bytes / 1000:.0f}",
        str(result.dropped),
        both(result.load_lag),
        f"{result.others:.0%}",
        "yes" if not result.spoilt_by else f"NO: {result.spoilt_by}",
    ]


def share_row(result: Result, share: Mapping[str, Spread], first: str, names: Sequence[str]) -> list[str]:
    """The cells under ``SHARE_HEAD`` and ``GREETING_HEAD``. ``first`` is what is counted. Times are p50 / p95 / worst
    in ms."""
    counted = share.get(first)
    return [
        str(result.calls),
        str(counted.count if counted else 0),
        *(_p95(share.get(name)) for name in names),
        "yes" if not result.spoilt_by else f"NO: {result.spoilt_by}",
    ]


def _p95(spread: Spread | None) -> str:
    return "-" if spread is None else " / ".join(f"{x * 1000:.1f}" for x in (spread.p50, spread.p95, spread.worst))


def both(spread: Spread | None) -> str:
    return "-" if spread is None else " / ".join(f"{x * 1000:.1f}" for x in (spread.p50, spread.p99, spread.worst))


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def machine() -> str:
    """What it ran on, for the head of a table."""
    cpu = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), "?"
    )
    load = Path("/proc/loadavg").read_text().split()[0]
    versions = f"Python {platform.python_version()}, gevent {version('gevent')}"
    return f"{cpu}, {os.cpu_count()} cores, {versions}; load of the machine before: {load}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__.splitlines()[0])
    parser.add_argument("--calls", default=",".join(map(str, CALLS)), help="numbers of calls, one run each: 1,50,500")
    parser.add_argument("--seconds", type=float, default=15.0, help="measured time of a run")
    parser.add_argument("--rate", type=int, choices=(8000, 16000), default=8000, help="samples a second of the sound")
    parser.add_argument("--engines", choices=("canned", "instant", "embedded"), default="canned")
    parser.add_argument("--json", action="store_true", help="one JSON object a run instead of a table")
    wanted = parser.parse_args()
    _raise_file_limit()
    if not wanted.json:
        print(machine(), "\nTimes are p50 / p99 / worst in ms.\n")
        print(line(HEAD))
        print(line(["---"] * len(HEAD)), flush=True)
    share_rows: list[str] = []
    greeting_rows: list[str] = []
    for calls in map(int, wanted.calls.split(",")):
        result, share = measure(calls, wanted.seconds, rate=wanted.rate, engines=wanted.engines)
        share_rows.append(line(share_row(result, share, "own", ("own", *(name for name, _, _ in PARTS), LATE))))
        greeting_rows.append(line(share_row(result, share, GREETING[0], GREETING)))
        facts = dataclasses.asdict(result) | {"share": {name: dataclasses.asdict(each) for name, each in share.items()}}
        print(json.dumps(facts) if wanted.json else line(row(result)), flush=True)
    if not wanted.json:
        print("\nOur own share of turn latency and its parts: p50 / p95 / worst in ms.\n")
        print("\n".join((line(SHARE_HEAD), line(["---"] * len(SHARE_HEAD)), *share_rows)))
        print("\nThe greeting: from FreeSWITCH's answer, p50 / p95 / worst in ms.\n")
        print("\n".join((line(GREETING_HEAD), line(["---"] * len(GREETING_HEAD)), *greeting_rows)), flush=True)


def _raise_file_limit() -> None:
    """A call has two sockets on either side."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
