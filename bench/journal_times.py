"""What a call's journal says about its answers and interruptions, laid beside what was heard. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.hearing import Heard

#: Beginnings of the same turn are no further apart than this once both clocks are laid upon each other.
SAME = 0.35


@dataclass(frozen=True, slots=True)
class Span:
    """From one event of a turn to another, on the journal's clock."""

    turn: int
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Times:
    beginnings: tuple[float, ...]
    """Each turn's first sound."""
    answers: tuple[Span, ...]
    """From the caller's last voice to the turn's first sound."""
    interruptions: tuple[Span, ...]
    """From the caller's first voice over the agent to the report that the agent is silent."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One span as the ear and the journal have it, in seconds; ``by`` is journal minus ear, made up of what lies at its
    beginning and at its end."""

    turn: int
    at: float
    what: str
    ear: float
    journal: float
    at_beginning: float
    at_end: float

    @property
    def by(self) -> float:
        return self.journal - self.ear


def times_of(notes: Sequence[Mapping[str, Any]]) -> Times:
    """The times in a record's notes (``journal.record``)."""
    began: dict[int, float] = {}
    for note in notes:
        if note["what"] == "began":
            began.setdefault(note["turn"], note["at"])
    turns = [note for note in notes if note["what"] == "turn"]
    answers = [
        Span(note["turn"], began[note["turn"]] - note["latency"], began[note["turn"]])
        for note in turns
        if "latency" in note and note["turn"] in began
    ]
    interruptions = [span for note in turns if "barge_in" in note and (span := _interruption(note, notes))]
    return Times(tuple(began.values()), tuple(answers), tuple(interruptions))


def _interruption(turn: Mapping[str, Any], notes: Sequence[Mapping[str, Any]]) -> Span | None:
    """The last speech over ``turn``, up to the report of the clip that it stopped; None if the agent spoke on."""

    def at(what: str, since: float, **facts: Any) -> list[float]:
        """When there was such a note from ``since`` until the turn was over."""
        return [
            note["at"]
            for note in notes
            if note["what"] == what
            and since <= note["at"] <= turn["at"]
            and all(note.get(name) == value for name, value in facts.items())
        ]

    yielded = (at("yield", 0.0, turn=turn["turn"]) or at("stop_playback", 0.0))[-1:]
    stopped = yielded and at("stop_playback", yielded[0])
    silent = stopped and at("played", stopped[0], turn=turn["turn"])
    return Span(turn["turn"], yielded[0] - turn["barge_in"], silent[0]) if silent else None


def compare(heard: Heard, times: Times, shift: float | None = None) -> tuple[float, list[Difference]]:
    """(seconds from the journal's time to the recording's, every span that is in both)."""
    if shift is None:
        shift = shift_between(times.beginnings, [turn.began for turn in heard.agent])
    found = []
    for span in times.answers:
        answer = min(heard.answers, key=lambda each: abs(each.agent_began - span.ended - shift), default=None)
        if answer is not None and abs(answer.agent_began - span.ended - shift) <= SAME:
            edges = span.began + shift, span.ended + shift, answer.caller_ended, answer.agent_began
            found.append(_difference(span.turn, "answer", *edges))
    for span in times.interruptions:
        cut = min(heard.interruptions, key=lambda each: abs(each.onset - span.began - shift), default=None)
        if cut is not None and abs(cut.onset - span.began - shift) <= SAME:
            found.append(
                _difference(span.turn, "interruption", span.began + shift, span.ended + shift, cut.onset, cut.silent)
            )
    return shift, found


def shift_between(journal: Sequence[float], recording: Sequence[float]) -> float:
    """What to add to the journal's times so that most turns begin where they are heard to begin."""
    candidates = [heard - noted for heard in recording for noted in journal]
    if not candidates:
        return 0.0

    def fits(shift: float) -> list[float]:
        gaps = [min((heard - noted for heard in recording), key=lambda gap: abs(gap - shift)) for noted in journal]
        return [gap for gap in gaps if abs(gap - shift) <= 0.1]

    best = max(candidates, key=lambda shift: (len(fits(shift)), -abs(shift)))
    return float(np.median(fits(best)))


def _difference(turn: int, what: str, began: float, ended: float, ear_began: float, ear_ended: float) -> Difference:
    return Difference(
        turn, ear_began, what, ear_ended - ear_began, ended - began, -(began - ear_began), ended - ear_ended
    )
