"""The measured process of ``bench.load``: the real server with stamps on what the dialogue does.

Run by bench.load as ``python -m gevent.monkey --module bench.agent_side``, patched as the service itself is. Lines on
standard input steer it: ``mark`` begins the measured time, ``finish`` ends it.
"""

from __future__ import annotations

import array
import json
import logging
import os
import pickle
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as esl_agent.__main__ does, before numpy is imported

import gevent

from bench.stamps import Trace, note, stamped
from esl_agent import config as configuration
from esl_agent.call import Call
from esl_agent.config import Config
from esl_agent.dialogue.actions import CloseUtterance
from esl_agent.dialogue.events import Audio
from esl_agent.lineup import Lineup
from esl_agent.providers.resilient import resilient
from esl_agent.reception import Own, Reception
from esl_agent.server import Server
from esl_agent.testing.providers import CannedLlm, CannedStt, ToneTts, Trouble

#: Seconds the recogniser, model and voice take: what is left of a turn is our own.
DELAYS = {"canned": (0.05, 0.2, 0.1), "instant": (0.0, 0.0, 0.0)}

REPLIES = (
    "I see. Let me have a look at that for you. It will take only a moment, please stay on the line.",
    "Thank you. I have made a note of it. An engineer calls you back tomorrow morning.",
)


class StampedReception(Reception):
    """Notes when each frame was dealt with, when each utterance was found to have ended, and each turn's steps."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.handled: dict[str, array.array[float]] = {}
        self.endpoints: dict[str, list[float]] = {}
        self.traces: dict[str, Trace] = {}

    def _build(self, own: Own) -> Call:
        trace = self.traces[own.arrival.leg.id] = []
        call = super()._build(replace(own, engines=stamped(own.engines, trace)))
        handled = self.handled[call.leg.id] = array.array("d")
        endpoints = self.endpoints[call.leg.id] = []
        receive, clock = call.dialogue.receive, time.monotonic

        def receive_stamped(event: Any, now: float) -> Any:
            actions = receive(event, now)
            if type(event) is Audio:
                handled.append(clock())
            if actions and any(type(action) is CloseUtterance for action in actions):
                endpoints.append(now)
                note(trace, "endpoint", len(handled) - 1)
            return actions

        call.dialogue.receive = receive_stamped  # type: ignore[method-assign]
        return call

    def dropped_frames(self) -> int:
        return sum(call.mailbox.dropped_frames for call in self.calls.values())


class StampedServer(Server):
    """A server whose reception takes notes."""

    reception: StampedReception

    def _receive(self, lineup: Lineup, watch: Any) -> Reception:
        return StampedReception(self._service, lineup, watch)


def canned(config: Config, delays: tuple[float, float, float]) -> Lineup:
    """Every DID served by engines that only wait: the seconds of recogniser, model and voice."""
    stt_takes, llm_takes, tts_takes = delays
    stt = CannedStt(["my telephone is broken", "please help me"], trouble=Trouble(before=stt_takes), sleep=gevent.sleep)
    llm = CannedLlm(REPLIES, word_by_word=True, trouble=Trouble(before=llm_takes), sleep=gevent.sleep)
    tts = ToneTts(trouble=Trouble(before=tts_takes), sleep=gevent.sleep)
    return Lineup(
        config,
        {did.key: resilient([stt], [llm], [tts], did.settings.resilience, did.cascade.limits) for did in config.dids},
    )


def main(directory: str, engines: str, results: str, core: str) -> None:
    logging.basicConfig(level=logging.INFO, filename=Path(directory) / "agent.log", format="%(asctime)s %(message)s")
    if core:
        os.sched_setaffinity(0, {int(core)})
    config = configuration.load(directory)
    delays = DELAYS.get(engines)
    server = StampedServer(Path(directory), config, lineup=canned(config, delays) if delays else None)
    server.start()
    gevent.sleep(1.0 if delays else 6.0)
    idle_bytes = resident_bytes()
    print("ready", flush=True)
    wait_for("mark")
    server.hub_lag.readings.clear()
    server.hub_lag.worst = 0.0
    before, began = cpu_seconds(), time.monotonic()
    wait_for("finish")
    ended = time.monotonic()
    cpu = cpu_seconds() - before
    lags = sorted(server.hub_lag.readings)
    found = {
        "began": began,
        "ended": ended,
        "cpu": cpu,
        "calls": len(server.reception.calls),
        "idle_bytes": idle_bytes,
        "bytes": resident_bytes(),
        "hub_lag": lags,
        "dropped": server.reception.dropped_frames(),
        "handled": server.reception.handled,
        "endpoints": server.reception.endpoints,
        "traces": server.reception.traces,
        "providers": sum(delays) if delays else None,
    }
    Path(results).write_bytes(pickle.dumps(found))
    print(json.dumps({"done": True}), flush=True)
    os._exit(0)


def wait_for(word: str) -> None:
    """Until a line on standard input says ``word``. The hub runs meanwhile. Exits when the parent is gone."""
    while True:
        line = gevent.get_hub().threadpool.apply(sys.stdin.readline)
        if not line:
            os._exit(1)
        if line.strip() == word:
            return


def cpu_seconds() -> float:
    """CPU of this process alone, not of its workers."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main(*sys.argv[1:])
