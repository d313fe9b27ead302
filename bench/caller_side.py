"""The load of ``bench.load``: a pretend FreeSWITCH with many calls, in a process and on a core of its own.

Says ``steady`` on standard output once every call runs, then measures for the time asked, and leaves what it saw.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import pickle
import re
import sys
import time
from pathlib import Path
from typing import Any

import gevent

from bench.analysis import Seen
from bench.speech import talks
from esl_agent.testing.caller import BargeIn, PretendCaller, Say
from esl_agent.testing.freeswitch import FRAME, SLOTS, PretendFreeSwitch
from esl_agent.testing.fs_call import PretendCall

#: After the last call came in: first greetings are over, every caller is somewhere in its talk.
SETTLE = 4.0

_PLAYBACK = re.compile(rb"execute-app-name: playback\b")
_BREAK = re.compile(rb"^api uuid_break ", re.MULTILINE)


class LoadSwitch(PretendFreeSwitch):
    """Notes each call's first frame, and how late every 5 ms step of the load was done."""

    def __init__(self, agent: tuple[str, int]) -> None:
        super().__init__(agent)
        self.first_due: dict[str, float] = {}
        self.lags: list[tuple[float, float]] = []

    def _run(self) -> None:
        started, step = time.monotonic(), 0
        while True:
            step += 1
            due = started + step * FRAME / SLOTS
            gevent.sleep(max(0.0, due - time.monotonic()))
            slot = self._slots[step % SLOTS]
            for call in slot:
                before = call.frames_sent
                call.frame(due)
                if not before and call.frames_sent:
                    self.first_due[call.uuid] = due
            self.lags.append((due, time.monotonic() - due))
            if step % 50 < SLOTS:
                slot[:] = [call for call in slot if not call.is_released]


def seen(call: PretendCall, kind: int, first_due: float | None) -> Seen:
    facts = [(when + call.started_at, what, detail) for when, what, detail in call.facts]
    said = [(when + call.started_at, data) for when, direction, data in call.wire if direction == "<"]

    def first(what: str, start: str = "") -> float | None:
        return next((when for when, name, detail in facts if name == what and detail.startswith(start)), None)

    heard, began = [], None
    for when, what, _ in facts:
        if what == "playback started":
            began = when
        elif what == "playback stopped" and began is not None:
            heard.append((began, when))
            began = None
    if began is not None:
        heard.append((began, time.monotonic()))
    return Seen(
        call.uuid,
        call.started_at,
        kind,
        first_due,
        call.frames_sent,
        first("command", "connect"),
        first("answered"),
        first("fork connected"),
        [when for when, data in said if _PLAYBACK.search(data)],
        [when for when, data in said if _BREAK.search(data)],
        heard,
    )


def main(settings: str) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="callers: %(message)s")
    wanted = json.loads(settings)
    if wanted["core"] is not None:
        os.sched_setaffinity(0, {wanted["core"]})
    kinds = talks(wanted["rate"])
    audio: list[Any] = [kind.audio for kind in kinds]
    if wanted["live"]:
        audio = [_live(number) for number in range(wanted["calls"])]
    gc.disable()
    with LoadSwitch(("127.0.0.1", wanted["port"])) as switch:
        made: list[tuple[PretendCall, int]] = []
        ramp = time.monotonic()
        for number in range(wanted["calls"]):
            gevent.sleep(max(0.0, ramp + number / wanted["per_second"] - time.monotonic()))
            made.append((_call(switch, audio[number % len(audio)], wanted), number % len(audio)))
        gevent.sleep(SETTLE)
        print("steady", flush=True)
        end, churned, began = time.monotonic() + wanted["seconds"], 0, time.monotonic()
        while (now := time.monotonic()) < end:
            if wanted["churn"] and now - began >= (churned + 1) / wanted["churn"]:
                made[churned][0].hang_up()
                kind = len(made) % len(audio)
                made.append((_call(switch, audio[kind], wanted), kind))
                churned += 1
            gevent.sleep(0.01)
        print("done", flush=True)
        calls = [seen(call, kind, switch.first_due.get(call.uuid)) for call, kind in made]
        onsets = None if wanted["live"] else [(kind.frames, kind.onsets) for kind in kinds]
        Path(wanted["results"]).write_bytes(pickle.dumps({"calls": calls, "talks": onsets, "lags": switch.lags}))
        print("written", flush=True)
        sys.stdin.readline()
    os._exit(0)


def _call(switch: LoadSwitch, audio: Any, wanted: dict[str, Any]) -> PretendCall:
    return switch.call(wanted["did"], audio=audio, keep_wire=True)


def _live(number: int) -> PretendCaller:
    """A caller who listens: for engines that understand what is said."""
    words = [Say("something-terribly-wrong"), Say("tt-weasels"), BargeIn("number-not-answering", after=3.0)]
    return PretendCaller(words * 5, rate=8000, seed=number, patience=60.0)


if __name__ == "__main__":
    main(sys.argv[1])
