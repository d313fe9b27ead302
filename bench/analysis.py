"""What both sides of ``bench.load`` saw, put together: distributions, and whether the run counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from esl_agent.audio.pcm import FRAME_SECONDS

#: A load this late at its 99th percentile, or at worst, is no measure of the agent.
LOAD_P99, LOAD_WORST = 0.005, 0.05
#: Nor is a run beside which other processes used more than this many cores.
OTHERS = 0.15
#: Speech over the agent that was not answered by a break within this time was missed.
PATIENCE = 1.0


@dataclass(slots=True)
class Seen:
    """One call as FreeSWITCH saw it. Times are CLOCK_MONOTONIC, which both processes share."""

    uuid: str
    began: float
    kind: int
    first_due: float | None
    frames: int
    connect: float | None
    answered: float | None
    media: float | None
    playbacks: list[float]
    """``playback`` arrived on the wire."""
    breaks: list[float]
    """``uuid_break`` arrived on the wire."""
    heard: list[tuple[float, float]] = field(default_factory=list)
    """The caller heard the agent from, to."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution, in seconds."""

    count: int
    p50: float
    p99: float
    worst: float
    p95: float = 0.0

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread | None:
        if not samples:
            return None
        ordered = sorted(samples)
        last = len(ordered) - 1
        p50, p95, p99 = (ordered[round(last * share)] for share in (0.5, 0.95, 0.99))
        return cls(len(ordered), p50, p99, ordered[-1], p95)


@dataclass(frozen=True, slots=True)
class Result:
    """One run. Every definition is in bench/RESULTS.md."""

    calls: int
    seconds: float
    accept: Spread | None
    greeting: Spread | None
    lateness: Spread | None
    barge_in: Spread | None
    barge_in_voiced: Spread | None
    missed: int
    turn: Spread | None
    hub_lag: Spread | None
    load_lag: Spread | None
    dropped: int
    cpu: float
    """Cores used by the agent process."""
    call_bytes: float
    """Resident memory a call adds."""
    others: float
    """Cores used by all other processes of the machine meanwhile."""
    spoilt_by: str
    """Why the run does not count; empty if it does."""

    @property
    def cpu_per_call(self) -> float:
        return self.cpu / max(1, self.calls)


def analyse(agent: Mapping[str, Any], load: Mapping[str, Any], asked: int, others: float) -> Result:
    """``agent`` and ``load`` as bench.agent_side and bench.caller_side leave them. Callers who listen before they
    speak have no known onsets (``talks`` None), real engines no known time (``providers`` None)."""
    began, ended = agent["began"], agent["ended"]
    calls: list[Seen] = load["calls"]
    inside = [call for call in calls if call.began >= began]
    newcomers = inside if len(inside) >= 10 else calls
    lags = [lag for due, lag in load["lags"] if began <= due <= ended]
    talks, providers = load["talks"], agent["providers"]
    spoken = [barge_ins(call, *talks[call.kind], began, ended) for call in calls if talks and call.first_due]
    turns = [] if providers is None else own_share(agent["endpoints"], calls, providers, began, ended)
    load_lag = Spread.of(lags)
    seconds = ended - began
    return Result(
        calls=asked,
        seconds=seconds,
        accept=Spread.of([call.connect - call.began for call in newcomers if call.connect]),
        greeting=Spread.of(
            [call.playbacks[0] - call.answered for call in newcomers if call.answered and call.playbacks]
        ),
        lateness=Spread.of(lateness(agent["handled"], calls, began, ended)),
        barge_in=Spread.of([sample for found, _, _ in spoken for sample in found]),
        barge_in_voiced=Spread.of([sample for _, found, _ in spoken for sample in found]),
        missed=sum(missed for _, _, missed in spoken),
        turn=Spread.of(turns),
        hub_lag=Spread.of(agent["hub_lag"]),
        load_lag=load_lag,
        dropped=agent["dropped"],
        cpu=agent["cpu"] / seconds,
        call_bytes=(agent["bytes"] - agent["idle_bytes"]) / max(1, agent["calls"]),
        others=others,
        spoilt_by=spoilt_by(load_lag, others),
    )


def spoilt_by(load_lag: Spread | None, others: float) -> str:
    """Why a run is no measure of the agent; empty if it is one."""
    if load_lag is None:
        return "no load"
    if load_lag.p99 > LOAD_P99 or load_lag.worst > LOAD_WORST:
        return "the load was late"
    return "the machine was busy" if others > OTHERS else ""


def lateness(handled: Mapping[str, Sequence[float]], calls: Sequence[Seen], began: float, ended: float) -> list[float]:
    """Seconds from each frame's place on its sender's 20 ms clock to the moment the dialogue was through with it."""
    samples: list[float] = []
    for call in calls:
        due = call.first_due
        if due is None:
            continue
        for number, when in enumerate(handled.get(call.uuid, ())):
            if began <= due + number * FRAME_SECONDS <= ended:
                samples.append(when - due - number * FRAME_SECONDS)
    return samples


def barge_ins(
    call: Seen, length: int, onsets: Sequence[tuple[int, int]], began: float, ended: float
) -> tuple[list[float], list[float], int]:
    """For all that was said over the agent: seconds from its first sample, and from the first sample of its first
    voiced frame, to ``uuid_break`` on the wire; and how often none came. A frame is sent when it is over."""
    from_sample: list[float] = []
    from_voiced: list[float] = []
    missed = 0
    assert call.first_due is not None
    for round_ in range(call.frames // length + 1):
        for onset, voiced in onsets:
            spoke = call.first_due + (round_ * length + onset - 1) * FRAME_SECONDS
            if not began <= spoke <= ended - PATIENCE:
                continue
            over = next(((start, end) for start, end in call.heard if start <= spoke < end), None)
            if over is None:
                continue
            stopped = next((when for when in call.breaks if spoke < when < spoke + PATIENCE), None)
            if stopped is not None:
                from_sample.append(stopped - spoke)
                from_voiced.append(stopped - spoke - (voiced - onset) * FRAME_SECONDS)
            elif over[1] >= spoke + PATIENCE:
                missed += 1
    return from_sample, from_voiced, missed


def own_share(
    endpoints: Mapping[str, Sequence[float]], calls: Sequence[Seen], providers: float, began: float, ended: float
) -> list[float]:
    """Seconds from an utterance's end being decided to the next ``playback`` on the wire, less what the canned
    providers take. Turns that the caller talked into are left out."""
    samples: list[float] = []
    for call in calls:
        decided = [when for when in endpoints.get(call.uuid, ()) if began <= when <= ended]
        for when, following in zip(decided, [*decided[1:], ended], strict=False):
            played = next((at for at in call.playbacks if when < at < following), None)
            if played is not None and played - when < providers + PATIENCE:
                samples.append(played - when - providers)
    return samples
