"""The telephones of ``bench.asterisk`` that measure, in a process of their own.

``python -m bench.asterisk.callers SETTINGS`` (JSON). Says ``up`` when all are answered; ``mark`` on standard input
begins the measured time, ``finish`` ends it; then all hang up, and what they heard is reckoned out and printed.
"""

from __future__ import annotations

import gc
import json
import logging
import pickle
import sys
import time
from base64 import b64decode
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gevent

from bench.agent_side import wait_for
from bench.analysis import Spread
from bench.asterisk.sounds import FRAME, RATE, Finder, jitter, noise, pcm, silent_after
from esl_agent.audio.pcm import FRAME_SECONDS, Sound, rms
from esl_agent.testing.caller import AUDIBLE, PretendCaller
from esl_agent.testing.line import resample
from esl_agent.testing.rtp_sound import Packet
from esl_agent.testing.sip_phone import SipCall, SipPhone

#: A caller who talks over the agent has heard it for so long, and talks for so long.
AFTER, SPEECH = 1.0, 0.8
#: Whoever speaks over the agent is not silenced by it within this: the agent did not notice.
PATIENCE = 0.75
#: The longest call.
LONGEST = 90.0


class Hummer(PretendCaller):
    """Sends noise without a pause, and notes when each frame left."""

    def __init__(self, seed: int) -> None:
        super().__init__([], noise=None)
        self.sent = noise(LONGEST, seed)
        self.times: list[float] = []
        self._pcm = pcm(self.sent)

    def next_frame(self, heard: bytes, now: float) -> bytes:
        at = len(self.times) * FRAME * 2
        self.times.append(now)
        return self._pcm[at : at + FRAME * 2].ljust(FRAME * 2, b"\0")


class Talker(PretendCaller):
    """Speaks over the agent again and again: ``onsets`` is when the first frame of each time left. Every frame of its
    speech is voiced."""

    def __init__(self, seed: int) -> None:
        super().__init__([], noise=None)
        self.onsets: list[float] = []
        self.times: list[float] = []
        self._speech = pcm(noise(SPEECH, seed) * 2.0)
        self._at = len(self._speech)
        self._heard = 0

    def next_frame(self, heard: bytes, now: float) -> bytes:
        self.times.append(now)
        if rms(heard) >= AUDIBLE:
            self._heard += 1
        if self._at >= len(self._speech):
            if self._heard * FRAME_SECONDS < AFTER:
                return bytes(FRAME * 2)
            self._at = 0
            self.onsets.append(now)
        frame = self._speech[self._at : self._at + FRAME * 2]
        self._at += len(frame)
        self._heard = 0
        return frame


def main(settings: str) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="callers: %(message)s")
    wanted = json.loads(settings)
    phone = SipPhone(wanted["host"], ("127.0.0.1", wanted["port"]))
    calls: list[tuple[str, str, SipCall]] = []
    for number, (role, dialled) in enumerate(wanted["calls"]):
        caller: PretendCaller = Talker(number) if role == "talker" else Hummer(number)
        calls.append((role, dialled[-4:], phone.dial(dialled, caller)))
        gevent.sleep(0.013)
    gc.collect()
    gc.disable()
    for role, _, call in calls:
        if not call.wait_up(10):
            raise SystemExit(f"bench: {role} was not answered: {call.facts}")
    print("up", flush=True)
    wait_for("mark")
    began = time.monotonic()
    wait_for("finish")
    ended = time.monotonic()
    for _, _, call in calls:
        call.hang_up()
    found = reckon(calls, began, ended, service(wanted["service"]), told(wanted["talking"]))
    print(json.dumps(found), flush=True)


def service(path: str) -> dict[str, list[tuple[float, bytes]]]:
    """What the echoing service has heard, by number."""
    heard: dict[str, list[tuple[float, bytes]]] = pickle.loads(Path(path).read_bytes()) if path else {}
    return heard


def told(path: str) -> list[tuple[str, float]]:
    """When the talking service told which number that the caller speaks."""
    found: list[tuple[str, float]] = pickle.loads(Path(path).read_bytes()) if path else []
    return found


def reckon(
    calls: list[tuple[str, str, SipCall]],
    began: float,
    ended: float,
    heard: dict[str, list[tuple[float, bytes]]],
    told: list[tuple[str, float]],
) -> dict[str, Any]:
    """By role: latencies, jitter, what was not found again; barge-ins; how late the telephones themselves were."""
    samples: dict[str, list[float]] = {}
    missing: dict[str, int] = {}

    def note(what: str, values: list[float]) -> None:
        samples.setdefault(what, []).extend(values)

    for role, number, call in calls:
        packets = [each for each in call.sound.packets if began <= each.at <= ended and each.kind == 0]
        note(f"jitter {role}", jitter([(each.at, each.timestamp) for each in packets]))
        caller = call.sound.caller
        if isinstance(caller, Talker):
            note("load", lateness(caller.times, began, ended))
            onsets = [each for each in caller.onsets if began <= each <= ended - 1.0]
            barged, missed = barge_ins(onsets, packets, [when for who, when in told if who == number])
            missing[role] = missing.get(role, 0) + missed
            for what, values in barged.items():
                note(what, values)
        elif isinstance(caller, Hummer):
            note("load", lateness(caller.times, began, ended))
            finder = Finder(caller.sent, caller.times)
            found = list(finder.latencies((each.at, each.pcm) for each in packets))
            note(f"latency {role}", [each for each in found if each is not None])
            missing[role] = missing.get(role, 0) + found.count(None)
            if role == "ours" and number in heard:
                pieces = [(when, sound) for when, sound in heard[number] if began <= when <= ended]
                note("to the agent", to_agent(caller, pieces))
    spreads = {what: asdict(spread) for what, values in samples.items() if (spread := Spread.of(values))}
    return {"spreads": spreads, "missing": missing}


def to_agent(caller: Hummer, heard: list[tuple[float, bytes]]) -> list[float]:
    """How long the caller's sound took to be a message at the service."""
    sound = b"".join(b64decode(each) for _, each in heard)
    narrow = resample(Sound(sound, 24000), RATE).pcm
    size, at, pieces = FRAME * 2, 0, []
    for when, each in heard:  # a message may hold several frames
        at += len(each) * 3 // 4
        while (len(pieces) + 1) * size * 3 <= at:
            pieces.append((when, narrow[len(pieces) * size : (len(pieces) + 1) * size]))
    return [each for each in Finder(caller.sent, caller.times).latencies(pieces) if each is not None]


def lateness(times: list[float], began: float, ended: float) -> list[float]:
    """How late each frame left, on the sender's own absolute clock: its earliest frame is in time."""
    late = [when - number * FRAME_SECONDS for number, when in enumerate(times)]
    first = min(late, default=0.0)
    return [each - first for each, when in zip(late, times, strict=True) if began <= when <= ended]


def barge_ins(onsets: list[float], packets: list[Packet], told: list[float]) -> tuple[dict[str, list[float]], int]:
    """From the caller's first voiced packet, and from the service's telling us, to the agent's last loud packet; and
    how often the agent went on."""
    loud = [each.at for each in packets if each.level >= AUDIBLE]
    from_voice: list[float] = []
    from_told: list[float] = []
    noticed: list[float] = []
    missed = 0
    for onset in onsets:
        if not any(onset - 0.06 <= when <= onset for when in loud):
            continue  # the agent had just ended
        silent = silent_after(loud, onset, PATIENCE)
        if silent is None:
            missed += 1
            continue
        from_voice.append(silent)
        if (when := next((each for each in told if onset < each < onset + PATIENCE), None)) is not None:
            noticed.append(when - onset)
            from_told.append(max(0.0, onset + silent - when))
    return {"barge-in": from_voice, "noticed": noticed, "from noticed": from_told}, missed


if __name__ == "__main__":
    main(sys.argv[1])
