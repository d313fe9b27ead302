"""Our own share of turn latency: everything but the engines and the wait for the end of an utterance. Pure.

It begins when the frame that decides the utterance's end is sent, which is the endpointing wait after the caller's
last voiced frame, and ends when ``playback`` has arrived at FreeSWITCH; what the engines are made to take is left
out, how late they were woken after it is not. Its parts add up to it, but for engines that take nothing: what those
need of the CPU counts as theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.analysis import Seen, Spread
from esl_agent.audio.pcm import FRAME_SECONDS

#: In the order of a turn: name, from what, to what. Between them the engines work.
PARTS = (
    ("frame in", "due", "endpoint"),
    ("to the recogniser", "endpoint", "heard"),
    ("to the model", "words", "asked"),
    ("to the voice", "token", "voice"),
    ("to FreeSWITCH", "sound", "playback"),
)
#: What the engines were late, all three.
LATE = "engines woken late"
_WORK = (("heard", "words"), ("asked", "token"), ("voice", "sound"))
_STEPS = ("heard", "words", "asked", "token", "voice", "sound")

Stamp = tuple[str, float, int]


def shares(
    traces: Mapping[str, Sequence[Stamp]], calls: Sequence[Seen], engines: float, began: float, ended: float
) -> dict[str, list[float]]:
    """Seconds of every turn that the caller let come: for each part, and ``own``, their sum. ``engines``: seconds
    that recogniser, model and voice are made to take together."""
    found: dict[str, list[float]] = {name: [] for name in ("own", *(name for name, _, _ in PARTS), LATE)}
    for call in calls:
        for steps in _turns(traces.get(call.uuid, ()), call, ended):
            if not began <= steps["due"] <= ended:
                continue
            parts = {name: steps[to] - steps[start] for name, start, to in PARTS}
            if engines:
                parts[LATE] = sum(steps[to] - steps[start] for start, to in _WORK) - engines
            for name, seconds in parts.items():
                found[name].append(seconds)
            found["own"].append(sum(parts.values()))
    return found


#: What happens after the answer, in the order expected.
GREETING = ("playback command", "FreeSWITCH plays", "the caller's sound arrives")


def greetings(calls: Sequence[Seen]) -> dict[str, list[float]]:
    """Seconds from FreeSWITCH's answer to each of GREETING, for every call."""
    found: dict[str, list[float]] = {name: [] for name in GREETING}
    for call in calls:
        if call.answered is None:
            continue
        steps = (call.playbacks[:1], [began for began, _ in call.heard[:1]], [call.media] if call.media else [])
        for name, times in zip(GREETING, steps, strict=True):
            found[name] += [when - call.answered for when in times]
    return found


def spreads(found: Mapping[str, Sequence[float]]) -> dict[str, Spread]:
    return {name: spread for name, samples in found.items() if (spread := Spread.of(samples)) is not None}


def _turns(trace: Sequence[Stamp], call: Seen, ended: float) -> list[dict[str, float]]:
    """The steps of each turn from its utterance's end to its playback; turns that lack one are left out."""
    ends = [place for place, (what, _, _) in enumerate(trace) if what == "endpoint"]
    turns = []
    for place, following in zip(ends, [*ends[1:], len(trace)], strict=False):
        _, decided, frame = trace[place]
        steps = {"due": (call.first_due or 0.0) + frame * FRAME_SECONDS, "endpoint": decided}
        wanted = list(_STEPS)
        for what, when, _ in trace[place + 1 : following]:
            if wanted and what == wanted[0]:
                steps[wanted.pop(0)] = when
        until = trace[following][1] if following < len(trace) else ended
        played = next((at for at in call.playbacks if steps.get("sound", until) <= at < until), None)
        if call.first_due is not None and not wanted and played is not None:
            turns.append(steps | {"playback": played})
    return turns
