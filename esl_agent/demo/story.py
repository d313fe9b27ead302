"""What happened on the demo's call, put together from the journal's notes and from when the caller really spoke. Pure.

Every time is in seconds of the recording, ``call.wav``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esl_agent.journal import Note, Private
from esl_agent.testing.caller import Spoken
from esl_agent.wire.esl_commands import safe_text

_MAX_TEXT = 4000


@dataclass(frozen=True, slots=True)
class CallerSays:
    """One utterance. ``understood`` is the recogniser's text, empty if it made nothing of it."""

    number: int
    noticed: float
    closed: float
    understood: str
    spoken: Spoken | None
    """The recording that was playing then; None if there was none: a noise was taken for speech."""

    @property
    def began(self) -> float:
        return self.spoken.began if self.spoken else self.noticed

    @property
    def ended(self) -> float:
        return self.spoken.ended if self.spoken else self.closed


@dataclass(frozen=True, slots=True)
class AgentSays:
    """One turn. ``text`` is what was made ready to be spoken, ``heard`` what the caller heard of it (maybe nothing)."""

    number: int
    kind: str
    began: float
    ended: float
    text: str
    heard: str
    interrupted: bool
    spans: Mapping[str, float]
    """Seconds, by the names of ``esl_agent.call.SPANS``."""
    answers: int | None
    """The utterance it answers, for a reply."""


@dataclass(frozen=True, slots=True)
class Story:
    caller: tuple[CallerSays, ...]
    agent: tuple[AgentSays, ...]
    hung_up_by_agent: float | None
    seconds: float

    @property
    def barge_ins(self) -> list[tuple[AgentSays, CallerSays]]:
        """Each turn that was cut, with the utterance that cut it."""
        return [
            (turn, next(said for said in reversed(self.caller) if said.noticed <= turn.ended + 0.1))
            for turn in self.agent
            if turn.interrupted and any(said.noticed <= turn.ended + 0.1 for said in self.caller)
        ]

    def answered_by(self, said: CallerSays) -> AgentSays | None:
        return next((turn for turn in self.agent if turn.answers == said.number), None)


def clear(value: Any) -> str:
    """A note's text, private or not, fit for one line of a terminal."""
    return safe_text(value.text if isinstance(value, Private) else str(value), _MAX_TEXT)


def tell(notes: Iterable[Note], spoken: Sequence[Spoken], seconds: float) -> Story:
    """The story of one call. ``notes`` and ``spoken`` are in recording time already (see ``shifted``)."""
    noticed: dict[int, float] = {}
    closed: dict[int, float] = {}
    understood: dict[int, str] = {}
    texts: dict[int, list[str]] = {}
    began: dict[int, float] = {}
    last_played: dict[int, float] = {}
    answers: dict[int, int] = {}
    stopped = 0.0
    unanswered: int | None = None
    turns: list[AgentSays] = []
    hung_up = None
    for note in notes:
        facts = note.facts
        turn, utterance = facts.get("turn", 0), facts.get("utterance", 0)
        match note.what:
            case "speech":
                noticed[utterance] = note.at
            case "speech_ended":
                closed[utterance] = note.at
            case "caller":
                understood[utterance] = clear(facts["text"])
                unanswered = utterance
            case "clause":
                texts.setdefault(turn, []).append(clear(facts["text"]))
                if unanswered is not None:
                    answers[turn], unanswered = unanswered, None
            case "began":
                began.setdefault(turn, note.at)
            case "played":
                last_played[turn] = note.at
            case "stop_playback":
                stopped = note.at
            case "turn":
                spans = {name: float(value) for name, value in facts.items() if isinstance(value, float)}
                text, heard = " ".join(texts.get(turn, [])), clear(facts["agent"])
                answer = answers.get(turn) if facts["kind"] == "reply" else None
                ended = stopped if facts["interrupted"] else last_played.get(turn, note.at)
                turns.append(
                    AgentSays(
                        turn,
                        facts["kind"],
                        began.get(turn, note.at),
                        ended,
                        text,
                        heard,
                        facts["interrupted"],
                        spans,
                        answer,
                    )
                )
            case "hang_up":
                hung_up = note.at
    caller = tuple(
        CallerSays(
            number, at, closed.get(number, at), understood.get(number, ""), _overlapping(spoken, at, closed.get(number))
        )
        for number, at in noticed.items()
    )
    return Story(caller, tuple(turns), hung_up, seconds)


def shifted(notes: Iterable[Note], by: float) -> list[Note]:
    return [Note(note.at + by, note.what, note.facts) for note in notes]


def _overlapping(spoken: Sequence[Spoken], began: float, ended: float | None) -> Spoken | None:
    until = began if ended is None else ended
    return next((said for said in reversed(spoken) if said.began <= until and said.ended >= began), None)
