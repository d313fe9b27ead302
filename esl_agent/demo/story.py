"""What happened on the demo's call, put together from the journal's notes and from when the caller really spoke. Pure.

Every time is in seconds of the recording, ``call.wav``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esl_agent.audio.pcm import Sound
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
    def wants_an_answer(self) -> bool:
        """False for what was meant to leave the floor to the agent."""
        return self.spoken is None or self.spoken.purpose != "over"

    @property
    def began(self) -> float:
        return self.spoken.began if self.spoken else self.noticed

    @property
    def ended(self) -> float:
        return self.spoken.ended if self.spoken else self.closed


@dataclass(frozen=True, slots=True)
class Pause:
    """The agent yielded to the caller's voice in its clip number ``clip``, and went on."""

    clip: int
    began: float
    ended: float
    is_within_clip: bool
    """It went on with the same clip; else that clip was heard to its end."""


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
    pauses: tuple[Pause, ...] = ()


@dataclass(frozen=True, slots=True)
class Handover:
    """Somebody was called for the caller, as the switch saw it."""

    who: str
    rang: float
    answered: float | None
    decided: float | None
    """When the call was taken; None if it was not."""
    briefing: Sound | None
    """What was played to whoever answered."""
    says: Sound | None
    """What the caller heard of whoever took the call."""


@dataclass(frozen=True, slots=True)
class Story:
    caller: tuple[CallerSays, ...]
    agent: tuple[AgentSays, ...]
    hung_up_by_agent: float | None
    seconds: float
    spoken: tuple[Spoken, ...] = ()
    """All that the caller really said, to the agent or not."""
    handover: Handover | None = None

    @property
    def barge_ins(self) -> list[tuple[AgentSays, CallerSays]]:
        """Each turn that was cut, with the utterance that cut it."""
        return [
            (turn, next(said for said in reversed(self.caller) if said.noticed <= turn.ended + 0.1))
            for turn in self.agent
            if turn.interrupted and any(said.noticed <= turn.ended + 0.1 for said in self.caller)
        ]

    @property
    def murmurs(self) -> list[tuple[Spoken, AgentSays | None]]:
        """What the caller let be heard over the agent without wanting the floor, with the turn it was over."""
        return [
            (said, next((turn for turn in self.agent if turn.began <= said.began <= turn.ended), None))
            for said in self.spoken
            if said.purpose == "over"
        ]

    def answered_by(self, said: CallerSays) -> AgentSays | None:
        return next((turn for turn in self.agent if turn.answers == said.number), None)


def clear(value: Any) -> str:
    """A note's text, private or not, fit for one line of a terminal."""
    return safe_text(value.text if isinstance(value, Private) else str(value), _MAX_TEXT)


def tell(notes: Iterable[Note], spoken: Sequence[Spoken], seconds: float, handover: Handover | None = None) -> Story:
    """The story of one call. ``notes`` and all else are in recording time already (see ``shifted``)."""
    teller = _Teller()
    for note in notes:
        teller.tell(note)
    caller = tuple(
        CallerSays(number, at, closed, teller.understood.get(number, ""), _overlapping(spoken, at, closed))
        for number, at in teller.noticed.items()
        for closed in [teller.closed.get(number, at)]
    )
    return Story(caller, tuple(teller.turns), teller.hung_up, seconds, tuple(spoken), handover)


class _Teller:
    """Puts notes together, one after the other."""

    def __init__(self) -> None:
        self.noticed: dict[int, float] = {}
        self.closed: dict[int, float] = {}
        self.understood: dict[int, str] = {}
        self.turns: list[AgentSays] = []
        self.hung_up: float | None = None
        self._texts: dict[int, list[str]] = {}
        self._began: dict[int, float] = {}
        self._clip = 0
        self._last_played: dict[int, float] = {}
        self._answers: dict[int, int] = {}
        self._pauses: dict[int, list[Pause]] = {}
        self._yielded = self._resumed = self._stopped = 0.0
        self._unanswered: int | None = None

    def tell(self, note: Note) -> None:
        facts = note.facts
        turn, utterance = facts.get("turn", 0), facts.get("utterance", 0)
        match note.what:
            case "speech":
                self.noticed[utterance] = note.at
            case "speech_ended":
                self.closed[utterance] = note.at
            case "caller":
                self.understood[utterance] = clear(facts["text"])
                self._unanswered = utterance
            case "clause":
                if turn not in self._texts and self._unanswered is not None:
                    self._answers[turn], self._unanswered = self._unanswered, None
                self._texts.setdefault(turn, []).append(clear(facts["text"]))
            case "began":
                self._goes_on(turn, facts["clip"], note.at)
                self._began.setdefault(turn, note.at)
                self._clip = facts["clip"]
            case "played":
                self._last_played[turn] = note.at
            case "stop_playback":
                self._stopped = note.at
            case "yield":
                self._yielded = note.at
            case "resumed":
                self._resumed = note.at
            case "turn":
                self._goes_on(turn, None, self._resumed)
                self.turns.append(self._turn(turn, note))
            case "hang_up":
                self.hung_up = note.at

    def _goes_on(self, turn: int, clip: int | None, at: float) -> None:
        """The turn sounds again after the agent yielded; ``clip`` None: it had never stopped sounding."""
        if self._resumed:
            pause = Pause(self._clip, self._yielded, at, clip == self._clip)
            self._pauses.setdefault(turn, []).append(pause)
            self._resumed = 0.0

    def _turn(self, turn: int, note: Note) -> AgentSays:
        facts = note.facts
        return AgentSays(
            turn,
            facts["kind"],
            self._began.get(turn, note.at),
            self._stopped if facts["interrupted"] else self._last_played.get(turn, note.at),
            " ".join(self._texts.get(turn, [])),
            clear(facts["agent"]),
            facts["interrupted"],
            {name: float(value) for name, value in facts.items() if isinstance(value, float)},
            self._answers.get(turn) if facts["kind"] == "reply" else None,
            tuple(self._pauses.get(turn, ())),
        )


def shifted(notes: Iterable[Note], by: float) -> list[Note]:
    return [Note(note.at + by, note.what, note.facts) for note in notes]


def _overlapping(spoken: Sequence[Spoken], began: float, ended: float) -> Spoken | None:
    return next((said for said in reversed(spoken) if said.began <= ended and said.ended >= began), None)
