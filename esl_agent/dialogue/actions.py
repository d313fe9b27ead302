"""What to do next. Orders in the imperative, carried out by ``call.py`` without blocking, in the order given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from esl_agent.audio.pcm import Sound, SoundStream


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants tool ``name`` to be run. ``arguments`` is outside text until the tool has checked it."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it: ``parameters`` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of the history a model is asked with.

    ``assistant`` may carry ``tool_calls``; each is followed by a ``tool`` message with its ``tool_call_id``.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


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
    """Ask for turn ``turn``, or ask again in it with the results of the tools it called, or for the rest of an answer
    that broke off (``ask``: how often that happened). Whatever was asked in the turn before is not wanted any more."""

    turn: int
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    ask: int = 0


@dataclass(frozen=True, slots=True)
class Summarise:
    """Ask the model for summary ``number`` of what was said; owes one Summarised. Nobody waits for it."""

    number: int
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class AbandonSummary:
    """Nobody wants it any more: the model is free for what matters."""

    number: int


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run a tool that is not the dialogue's own (HTTP); owes one ToolReturned."""

    turn: int
    call: ToolCall


@dataclass(frozen=True, slots=True)
class Synthesise:
    """Turn a clause into sound. Clauses of a turn are asked for in order; at most two are outstanding."""

    turn: int
    clip: int
    text: str


@dataclass(frozen=True, slots=True)
class Play:
    """Queue a clip behind those already queued, from ``start`` seconds into it: a resumed clip goes on where it
    stopped. A SoundStream only where the leg streams."""

    turn: int
    clip: int
    audio: Sound | SoundStream
    start: float = 0.0


@dataclass(frozen=True, slots=True)
class StopPlayback:
    """Silence now. Every outstanding clip is still reported by one Played."""


@dataclass(frozen=True, slots=True)
class SetVolume:
    """How loud the agent is from now on, 1.0: as synthesised. Only where the leg streams."""

    gain: float


@dataclass(frozen=True, slots=True)
class Transfer:
    """Hand the caller over to ``number``, a number or dial string that the destination policy has let through.

    Owes one Transferred or TransferFailed. ``warm``: whoever answers hears ``briefing`` first and may decline; the
    agent keeps the call until somebody has accepted.
    """

    name: str
    number: str
    mode: Literal["blind", "warm"] = "blind"
    briefing: Sound | None = None


@dataclass(frozen=True, slots=True)
class SendDigits:
    """Press keys on the caller's side of the line (DTMF out): ``0-9*#`` and ``w`` for a pause."""

    digits: str


@dataclass(frozen=True, slots=True)
class SetVariable:
    """Leave ``value`` (outside text) for the dialplan and the CDR in the channel variable ``name``."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class SwitchLanguage:
    """From now on listen and speak in ``language``, one that the DID offers."""

    language: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """For whoever keeps notes: the caller's entry on the keys is complete."""

    digits: str


@dataclass(frozen=True, slots=True)
class AbandonTurn:
    """Nothing more is wanted of this turn: stop its workers. Late results are dropped by number anyway."""

    turn: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A turn is over: what it was, when each of its steps happened, and what the caller heard of it.

    ``steps`` are times on the call's clock: ``speech_ended`` ``endpoint`` ``transcript`` (of the utterance it
    answers), ``asked`` ``first_text`` ``first_clause`` ``first_audio`` ``play`` ``began`` ``heard``, and for the last
    speech over the agent ``interrupted_onset`` (its first voice), ``interrupted`` (the agent yielded: the command
    left), ``silent`` (the leg reported what it had stopped) and ``confirmed`` or ``resumed``. A step that did not
    happen is missing. ``interrupted``: the turn was not said to its end. ``false_interruptions``: how often it was
    suspended and went on.
    """

    turn: int
    kind: str
    steps: dict[str, float] = field(default_factory=dict)
    agent: str = ""
    interrupted: bool = False
    false_interruptions: int = 0


# To a speech-to-speech agent (relay.py); ``session`` as in its events.


@dataclass(frozen=True, slots=True)
class ConnectAgent:
    """Connect the agent (again); owes AgentConnected, and one AgentClosed in the end. ``history``: what was said so far
    on this call, for an agent that takes over."""

    session: int
    instructions: str
    tools: tuple[ToolSpec, ...] = ()
    history: tuple[Message, ...] = ()
    interruptible: bool = True
    """False: the caller's speech ends none of its responses."""


@dataclass(frozen=True, slots=True)
class SendToAgent:
    """A frame of the caller's sound, PCM16 at the media's rate."""

    session: int
    pcm: bytes


@dataclass(frozen=True, slots=True)
class AskAgent:
    """Have it respond now, to what was said, or to ``instructions`` for this once. Never while a response is under
    way."""

    session: int
    instructions: str = ""
    is_last: bool = False
    """Nothing is wanted of it behind this: the caller's speech neither ends it nor is answered any more."""
    interruptible: bool = True
    """False: the caller's speech does not end this one."""


@dataclass(frozen=True, slots=True)
class TellAgent:
    """The caller did or said this (text: keys that were pressed). No response follows by itself."""

    session: int
    text: str


@dataclass(frozen=True, slots=True)
class ReturnTools:
    """What the tools that a response called have answered, ``(ToolCall.id, result)`` each."""

    session: int
    results: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CancelReply:
    """Stop making the response."""

    session: int
    response: str


@dataclass(frozen=True, slots=True)
class TruncateReply:
    """The caller heard ``item`` up to ``heard`` seconds and no further; more than 0, and less than all of it."""

    session: int
    item: str
    heard: float


@dataclass(frozen=True, slots=True)
class ForgetReply:
    """The caller heard nothing of ``item``, and its response is over: nobody has said it."""

    session: int
    item: str


@dataclass(frozen=True, slots=True)
class CloseAgent:
    """The session is wanted no more."""

    session: int


Action = (
    HangUp
    | OpenUtterance
    | SendAudio
    | CloseUtterance
    | RetryUtterance
    | AbandonUtterance
    | AskModel
    | Summarise
    | AbandonSummary
    | RunTool
    | Synthesise
    | Play
    | StopPlayback
    | SetVolume
    | Transfer
    | SendDigits
    | SetVariable
    | SwitchLanguage
    | Gathered
    | AbandonTurn
    | Measured
    | ConnectAgent
    | SendToAgent
    | AskAgent
    | TellAgent
    | ReturnTools
    | CancelReply
    | TruncateReply
    | ForgetReply
    | CloseAgent
)
