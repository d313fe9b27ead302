"""What happened. Facts in the past tense, posted to a call's mailbox by its leg, media and providers.

Whatever can arrive late carries the number it belongs to (utterance, turn, clip); the dialogue drops stale ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue.actions import ToolCall
from esl_agent.errors import Stage


@dataclass(frozen=True, slots=True)
class Answered:
    """The switch answered the call (SIP 200). Sound before this is early media."""


@dataclass(frozen=True, slots=True)
class MediaStarted:
    """The caller's sound arrives, at ``rate`` samples a second. Posted again after every reconnect."""

    rate: int


@dataclass(frozen=True, slots=True)
class MediaLost:
    """The caller's sound stopped arriving; the leg is trying to get it back, or says in ``final`` that it gave up."""

    reason: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class Audio:
    """One 20 ms frame from the caller, PCM16 mono at the rate of the last MediaStarted."""

    pcm: bytes


@dataclass(frozen=True, slots=True)
class DigitPressed:
    digit: str


@dataclass(frozen=True, slots=True)
class HungUp:
    """The call is over; ``cause`` in the switch's words (``NORMAL_CLEARING``)."""

    cause: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing happened until ``next_deadline``."""


@dataclass(frozen=True, slots=True)
class EndRequested:
    """Somebody outside the dialogue (drain, operator) wants this call ended politely."""

    reason: str


@dataclass(frozen=True, slots=True)
class BudgetSpent:
    """Nothing more may be spent on this ``call``, or on any of its DID for the rest of the ``day``: it ends, politely,
    at the next pause."""

    scope: Literal["call", "day"]


@dataclass(frozen=True, slots=True)
class Transcribed:
    """The recogniser understood ``text`` in utterance ``utterance``. ``final``: its last word on it."""

    utterance: int
    text: str
    final: bool = True


@dataclass(frozen=True, slots=True)
class ReplyText:
    """The model wrote another piece of its reply for turn ``turn``; ``ask`` is AskModel's, here and below."""

    turn: int
    text: str
    ask: int = 0


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The model finished. ``hang_up``: it asked for the call to end once everything was heard."""

    turn: int
    hang_up: bool = False
    ask: int = 0


@dataclass(frozen=True, slots=True)
class HangUpWanted:
    """The model wants the call to end once what it said was heard; its ReplyEnded still follows, or its failure."""

    turn: int
    ask: int = 0


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The model wants a tool to be run in turn ``turn``; its ReplyEnded still follows."""

    turn: int
    call: ToolCall
    ask: int = 0


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """What a tool answered to call ``id`` of turn ``turn``: text for the model, outside text for everybody else."""

    turn: int
    id: str
    result: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Summarised:
    """Summary ``number`` is made; no text: it could not be."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Synthesised:
    """Clause ``clip`` of turn ``turn`` became sound, or (SoundStream, where the leg streams) begins to."""

    turn: int
    clip: int
    audio: Sound | SoundStream


@dataclass(frozen=True, slots=True)
class SynthesisEnded:
    """The SoundStream of a clip is whole now. Not posted for a Sound, which comes whole."""

    turn: int
    clip: int


@dataclass(frozen=True, slots=True)
class PlaybackBegan:
    """The switch began to play the clip. For timing only; clips may lack it."""

    turn: int
    clip: int


@dataclass(frozen=True, slots=True)
class Played:
    """The clip ended or was cut; the caller heard it up to ``heard`` seconds from its beginning (a resumed clip's
    ``start`` included). Posted once for each Play."""

    turn: int
    clip: int
    heard: float


@dataclass(frozen=True, slots=True)
class ProviderFailed:
    """A provider failed. ``number`` is the utterance (stt) or the turn (llm, tts); ``clip`` only for tts, ``ask`` only
    for llm. Of a SoundStream whose voice failed there will be no more: it is ended."""

    stage: Stage
    number: int
    error: str
    retryable: bool = False
    clip: int = -1
    ask: int = 0


@dataclass(frozen=True, slots=True)
class CommandFailed:
    """The switch refused or never answered something we asked. ``what``: ``answer``, ``hang_up``, ``clear`` ..."""

    what: str
    reply: str


@dataclass(frozen=True, slots=True)
class Transferred:
    """``name`` has the call: blind, the switch has taken it; warm, somebody accepted and both are connected."""

    name: str


@dataclass(frozen=True, slots=True)
class TransferFailed:
    """Nobody took the call; the agent has it still. ``reason``: ``busy`` ``no_answer`` ``declined`` ``unreachable``
    ``limit`` ``refused``."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class EngineSwitched:
    """From now on ``stage`` of this call is served by ``after``. For the journal; the dialogue does not care."""

    stage: Stage
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class EngineUsed:
    """What one request to ``name`` used up, as ``providers.base.Usage`` says. For the journal and the costs."""

    stage: Stage
    name: str
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    seconds: float = 0.0
    is_estimate: bool = False
    audio_input_tokens: int = 0
    cached_audio_tokens: int = 0
    audio_output_tokens: int = 0


# Of a speech-to-speech agent (relay.py). ``session`` counts its connections on this call; ``response`` and ``item`` are
# the service's own names, cut and cleaned by the provider.


@dataclass(frozen=True, slots=True)
class AgentConnected:
    """The agent has taken what it was told; the caller's sound may be sent. Nothing of ``session`` comes before it."""

    session: int


@dataclass(frozen=True, slots=True)
class AgentResponding:
    """The agent began a response; at most one of a session is under way, until its AgentResponded."""

    session: int
    response: str


@dataclass(frozen=True, slots=True)
class AgentSpeaks:
    """Sound of ``item``, from ``at`` seconds on. Where the leg streams it comes once (``part`` 0), as a SoundStream
    that grows; elsewhere in parts, each a Sound."""

    session: int
    response: str
    item: str
    audio: Sound | SoundStream
    part: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class AgentSpoke:
    """No more sound of ``item`` will come (and its SoundStream is ended). Not that it was heard."""

    session: int
    response: str
    item: str


@dataclass(frozen=True, slots=True)
class AgentText:
    """Words of what ``item`` says, the next piece."""

    session: int
    response: str
    item: str
    text: str


@dataclass(frozen=True, slots=True)
class AgentResponded:
    """The response is over, for the service. ``calls``: the tools it wants, only of a ``completed`` one."""

    session: int
    response: str
    status: Literal["completed", "cancelled", "failed", "incomplete"] = "completed"
    calls: tuple[ToolCall, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class CallerSpeaks:
    """The agent hears the caller: speech began, the ``item`` of it is named."""

    session: int
    item: str


@dataclass(frozen=True, slots=True)
class CallerPaused:
    """The agent takes the caller's speech ``item`` for ended."""

    session: int
    item: str


@dataclass(frozen=True, slots=True)
class CallerSaid:
    """The words of the caller's speech ``item``; late, and in any order. Empty: they could not be understood."""

    session: int
    item: str
    text: str


@dataclass(frozen=True, slots=True)
class AgentClosed:
    """The connection of ``session`` ended, or could not be made: nothing of it will come any more. ``expired``: it was
    as old as the service allows; ``retryable``: another one may succeed."""

    session: int
    error: str
    retryable: bool = False
    expired: bool = False


Event = (
    Answered
    | MediaStarted
    | MediaLost
    | Audio
    | DigitPressed
    | HungUp
    | Tick
    | EndRequested
    | BudgetSpent
    | Transcribed
    | ReplyText
    | ReplyEnded
    | HangUpWanted
    | ToolCalled
    | ToolReturned
    | Summarised
    | Synthesised
    | SynthesisEnded
    | PlaybackBegan
    | Played
    | ProviderFailed
    | CommandFailed
    | Transferred
    | TransferFailed
    | EngineSwitched
    | EngineUsed
    | AgentConnected
    | AgentResponding
    | AgentSpeaks
    | AgentSpoke
    | AgentText
    | AgentResponded
    | CallerSpeaks
    | CallerPaused
    | CallerSaid
    | AgentClosed
)
