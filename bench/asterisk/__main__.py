"""Calls through a real Asterisk: what the agent adds to a plain echo, how punctual it is, and what it costs.

    python -m bench.asterisk            # about five minutes
    python -m bench.asterisk --quick    # one small run of each kind

Prints a section for bench/RESULTS.md: what is measured, and the tables.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.analysis import Spread, spoilt_by
from bench.asterisk import to_agent
from bench.asterisk.world import HUMMERS, TALKERS, Unavailable, World
from bench.load import both, line, machine
from bench.processes import cpu_of, cpu_of_all, hear, tell

#: plain: every call to a plain echo. The agent: echo talks with itself, bridge with a realtime agent, cascade with
#: canned engines.
SUBJECTS = ("plain", "echo", "bridge", "cascade")
CALLS = (1, 10, 25, 50, 100)
#: Calls beside those: two to the plain echo, one to Asterisk's own.
BESIDE = 3
#: Seconds from the last call's beginning to the measured time.
SETTLE = 1.2
#: ... and from the beginning anew of the echoes.
ANEW = 0.5
#: Less than this of the sound that should have come did: the load did not keep up.
DELIVERED = 0.98


@dataclass(slots=True)
class Run:
    """One row."""

    subject: str
    calls: int
    seconds: float
    agent: dict[str, Any]
    spreads: dict[str, Spread]
    missing: dict[str, int]
    cpu: dict[str, float]
    """Cores used, by process."""
    others: float
    spoilt_by: str = field(init=False)

    def __post_init__(self) -> None:
        reasons = [spoilt_by(self.spreads.get("load"), self.others)]
        if self.agent and self.agent["calls"] != self.calls:
            reasons.append(f"{self.agent['calls']} calls")
        if self.agent and self.delivered < DELIVERED:
            reasons.append("the load was not all there")
        self.spoilt_by = "; ".join(filter(None, reasons))

    @property
    def delivered(self) -> float:
        """Of the sound that should have come to the agent, what did."""
        return float(self.agent["heard"] / (self.calls * 50 * self.seconds)) if self.agent else 1.0

    def of_agent(self, what: str) -> Spread | None:
        found = self.agent.get(what)
        return Spread(**found) if found else None

    @property
    def added(self) -> Spread | None:
        """Ours less the plain echo's at the same time, quantile by quantile."""
        ours, plain = self.spreads.get("latency ours"), self.spreads.get("latency plain")
        if ours is None or plain is None or self.subject == "plain":
            return None
        less = {name: getattr(ours, name) - getattr(plain, name) for name in ("p50", "p95", "p99", "worst")}
        return Spread(ours.count, **less)


def measure(world: World, subject: str, port: int, calls: int, seconds: float) -> Run:
    """``calls`` to ``subject`` at the same time, for ``seconds``."""
    hummers = min(calls, len(HUMMERS))
    talkers = min(calls - hummers, len(TALKERS)) if subject == "bridge" else 0
    role = "silent" if subject == "cascade" else "ours"
    phones = [(role, f"9{port}{did}") for did in HUMMERS[:hummers]]
    phones += [("talker", f"9{port}{did}") for did in TALKERS[:talkers]]
    phones += [("plain", f"9{world.plain_port}5000")] * 2 + [("own", "600")]
    world.start_callers(phones, with_services=subject == "bridge")
    world.start_sipp(f"9{port}5000", calls - hummers - talkers)
    time.sleep(SETTLE)
    agent, callers = world.processes.get("agent"), world.processes["callers"]
    world.settle()
    time.sleep(ANEW)
    tell(callers, "mark")
    if agent is not None:
        tell(agent, "mark")
    before, began = cpu(world), time.monotonic()
    time.sleep(seconds)
    after, took = cpu(world), time.monotonic() - began
    found: dict[str, Any] = {}
    if agent is not None:
        tell(agent, "finish")
        found = json.loads(hear(agent, "{"))
    if subject == "bridge":
        world.collect()
    tell(callers, "finish")
    heard = json.loads(hear(callers, "{"))
    world.hang_up()
    used = {name: (after[name] - before[name]) / took for name in after}
    spreads = {name: Spread(**each) for name, each in heard["spreads"].items()}
    others = used.pop("everything") - sum(used.values())
    return Run(subject, calls, took, found, spreads, heard["missing"], used, others)


def cpu(world: World) -> dict[str, float]:
    """Seconds used so far."""
    found = {name: cpu_of(process.pid) for name, process in world.processes.items()}
    found |= {"asterisk": cpu_of(world.switch.pid), "bench": sum(os.times()[:2])}
    return found | {"everything": cpu_of_all()}


MEANING = """
A real Asterisk takes SIP calls (PCMU, PCMA) and connects each by AudioSocket (slin24, chan_audiosocket) to a server.
The agent has a core of its own; Asterisk, sipp, the telephones that measure and the services share the others.

- **calls to**: *plain*: a plain echo, which sends each frame back as it comes. *echo*: the real server, whose calls
  say what they hear (line, media, mailbox, the call's greenlet, playout on our clock). *bridge*: a realtime agent
  over a WebSocket, whose service sends back what it hears, in pieces of 20 ms to those that are measured and of 100
  ms to the others. *cascade*: canned engines, callers who talk. Beside them two calls to the plain echo and one to
  Echo() run all the time.
- **latency**: a sample leaves a telephone in an RTP packet until it comes back in one; every packet counts, known
  again by its sound. Asterisk's two resamplers are about 10 ms of it. **added**: ours less the plain echo's at the
  same time, quantile by quantile. A stream that is played on our own clock waits up to 20 ms for its moment, and
  keeps behind it what a pause of anybody's has piled up; the echoes begin anew half a second before the measured
  time.
- **to the service**: a sample leaves a telephone until the message with it is at the realtime service; one resampler.
- **frame late**: when our frame has gone to the socket, after its moment on our absolute 20 ms clock. **skipped**:
  steps of 5 ms that were given up (more than 60 ms late). **jitter**: |D| of RFC 3550, 6.4.1, of the packets that
  come.
- **CPU/call**: of the agent, and of Asterisk (its calls beside included), in shares of a core. **came**: of the
  callers' sound, what came to the agent. **load late**: the telephones' own frames, after their moment. **load CPU**:
  telephones, sipp and services. **others**: cores used by others and by interrupts.
- **valid**: no, if the telephones were late (p99 over 5 ms, worst over 50), others used more than 0.15 of a core, or
  calls or sound are missing.
- **noticed after**: from the caller's first voiced packet until the service says so; it is sure after 60 ms of voice,
  its sound's last 20 ms included. **silent after**: until the last packet in which the agent is heard.
"""

HEAD = (
    "calls to", "calls", "latency", "plain echo", "Asterisk's Echo()", "added", "to the service", "not found",
    "frame late", "skipped", "jitter", "jitter, plain", "hub lag", "CPU/call", "Asterisk CPU/call", "came",
    "load late", "load CPU", "others", "valid",
)  # fmt: skip
BARGE_HEAD = ("calls", "barge-ins", "missed", "noticed after", "silent after", "silent after it was noticed", "valid")


def row(run: Run) -> list[str]:
    """The cells under HEAD."""
    agent = run.cpu.get("agent")
    load = sum(used for name, used in run.cpu.items() if name not in ("agent", "asterisk"))
    return [
        run.subject,
        str(run.calls),
        _p95(run.spreads.get("latency ours")),
        _p95(run.spreads.get("latency plain")),
        _p95(run.spreads.get("latency own")),
        _p95(run.added),
        _p95(run.spreads.get("to the agent")),
        str(run.missing.get("ours", "-")),
        both(run.of_agent("late")),
        str(run.agent.get("skipped", "-")),
        _p95(run.spreads.get("jitter ours") or run.spreads.get("jitter silent")),
        _p95(run.spreads.get("jitter plain")),
        both(run.of_agent("hub_lag")),
        "-" if agent is None else f"{agent / run.calls:.2%}",
        f"{run.cpu['asterisk'] / (run.calls + BESIDE):.2%}",
        f"{run.delivered:.1%}" if run.agent else "-",
        both(run.spreads.get("load")),
        f"{load:.0%}",
        f"{run.others:.0%}",
        _valid(run),
    ]


def barge_row(run: Run) -> list[str]:
    """The cells under BARGE_HEAD."""
    spreads = run.spreads
    count = spreads["barge-in"].count if "barge-in" in spreads else 0
    names = ("noticed", "barge-in", "from noticed")
    return [str(run.calls), str(count), str(run.missing.get("talker", 0)), *(_p95(spreads.get(name)) for name in names),
            _valid(run)]  # fmt: skip


def _valid(run: Run) -> str:
    return "yes" if not run.spoilt_by else f"NO: {run.spoilt_by}"


def _p95(spread: Spread | None) -> str:
    return "-" if spread is None else " / ".join(f"{x * 1000:.1f}" for x in (spread.p50, spread.p95, spread.worst))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join((line(head), line(["---"] * len(head)), *map(line, rows)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.asterisk", description=__doc__.splitlines()[0])
    parser.add_argument("--calls", default=",".join(map(str, CALLS)), help="numbers of calls, one run each: 1,50")
    parser.add_argument("--subjects", default=",".join(SUBJECTS), help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--seconds", type=float, default=6.0, help="measured time of a run")
    parser.add_argument("--quick", action="store_true", help="7 calls, 3 s; the cost of a frame with few rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object a run instead of tables")
    wanted = parser.parse_args()
    if wanted.quick:
        wanted.calls, wanted.seconds = "7", 3.0
    if not wanted.json:
        print("## Calls through Asterisk")
        print(time.strftime("%Y-%m-%d %H:%M UTC. ", time.gmtime()) + machine(), flush=True)
    try:
        runs, version, plain = run_all(wanted)
    except Unavailable as why:
        raise SystemExit(f"bench: {why}") from None
    costs = to_agent.measure(rounds=20 if wanted.quick else 200)
    if wanted.json:
        print(json.dumps({"to the agent": costs}))
        return
    print(f"{version}; the plain echo is in {plain}. `python -m bench.asterisk`, {wanted.seconds:g} s for each row.")
    print(MEANING)
    print("Times in ms: p50 / p95 / worst; of frame late, hub lag and load late p50 / p99 / worst.\n")
    print(table(HEAD, [row(run) for run in runs]))
    if barges := [barge_row(run) for run in runs if "talker" in run.missing]:
        print("\nThe caller speaks over the realtime agent, p50 / p95 / worst in ms:\n")
        print(table(BARGE_HEAD, barges))
    print("\nA frame of the caller's on its way to the realtime agent, us of CPU:\n")
    print(table(("the way so far", "us per frame"), [(what, f"{cost:.1f}") for what, cost in costs.items()]))


def run_all(wanted: argparse.Namespace) -> tuple[list[Run], str, str]:
    """Every subject with every number of calls; Asterisk's version; what the plain echo is."""
    runs = []
    with World() as world:
        version = world.switch.cli("core show version").split(" built")[0].strip()
        for subject in wanted.subjects.split(","):
            port = world.plain_port if subject == "plain" else world.start_agent(subject)
            for calls in map(int, wanted.calls.split(",")):
                run = measure(world, subject, port, calls, wanted.seconds)
                runs.append(run)
                if wanted.json:
                    print(json.dumps(dataclasses.asdict(run)), flush=True)
            world.stop("agent")
        return runs, version, world.plain_is


if __name__ == "__main__":
    main()
