"""What to do next. Orders in the imperative, carried out by ``call.py`` without blocking, in the order given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from esl_agent.audio.pcm import Sound


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of the history a model is asked with."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class HangUp:
    cause: str = "NORMAL_CLEARING"


@dataclass(frozen=True, slots=True)
class OpenUtterance:
    """Start a recogniser for utterance ``utterance``; it owes one final Transcribed or one ProviderFailed."""

    utterance: int


@dataclass(frozen=True, slots=True)
class SendAudio:
    """Give the recogniser more of the utterance: whole frames, PCM16 at the media's rate."""

    utterance: int
    pcm: bytes


@dataclass(frozen=True, slots=True)
class CloseUtterance:
    """The caller has finished; the recogniser's deadline starts now."""

    utterance: int


@dataclass(frozen=True, slots=True)
class RetryUtterance:
    """Recognise the whole utterance again, from its kept sound."""

    utterance: int


@dataclass(frozen=True, slots=True)
class AbandonUtterance:
    utterance: int


@dataclass(frozen=True, slots=True)
class AskModel:
    turn: int
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Synthesise:
    """Turn a clause into sound. Clauses of a turn are asked for in order; at most two are outstanding."""

    turn: int
    clip: int
    text: str


@dataclass(frozen=True, slots=True)
class Play:
    turn: int
    clip: int
    audio: Sound


@dataclass(frozen=True, slots=True)
class StopPlayback:
    """Silence now. Every outstanding clip is still reported by one Played."""


@dataclass(frozen=True, slots=True)
class AbandonTurn:
    """Nothing more is wanted of this turn: stop its workers. Late results are dropped by number anyway."""

    turn: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A turn is over: what it was, when each of its steps happened, and what the caller heard of it.

    ``steps`` are times on the call's clock: ``speech_ended`` ``endpoint`` ``transcript`` (of the utterance it
    answers), ``asked`` ``first_text`` ``first_clause`` ``first_audio`` ``play`` ``began`` ``heard``, and for a
    barge-in ``interrupted_onset`` ``interrupted``. A step that did not happen is missing.
    """

    turn: int
    kind: str
    steps: dict[str, float] = field(default_factory=dict)
    agent: str = ""
    interrupted: bool = False


Action = (
    HangUp
    | OpenUtterance
    | SendAudio
    | CloseUtterance
    | RetryUtterance
    | AbandonUtterance
    | AskModel
    | Synthesise
    | Play
    | StopPlayback
    | AbandonTurn
    | Measured
)
