"""The narrow interfaces between a call and whoever listens, thinks and speaks for it.

A provider is a plain generator that knows neither gevent nor the phone. Cancelling it means closing the generator
(or killing the greenlet that runs it): its ``finally`` closes the connection. It raises ``ProviderError`` and
nothing else on purpose. Capabilities are data, never ``isinstance``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from esl_agent.audio.pcm import SoundFormat
from esl_agent.dialogue.actions import Message, ToolCall, ToolSpec
from esl_agent.errors import Stage


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a provider is: for the journal, for prices, and for what those who share an account must share."""

    name: str
    """``engine/model`` or ``engine``: ``openai/gpt-6-luna``, ``embedded``. Also the key of its price."""
    account: str = ""
    """Equal for all that share an account's limits and a service's health: the host and a digest of the key, never
    the key. Empty: nothing is shared but by the name."""
    at_once: int = 0
    """Requests that the account may have at a time; 0: no limit known."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request used up. Tokens are the server's own count; characters and seconds are ours."""

    input_tokens: int = 0
    cached_tokens: int = 0
    """Of the input tokens, those that were cheaper."""
    output_tokens: int = 0
    characters: int = 0
    seconds: float = 0.0
    """Of sound that was recognised."""
    is_estimate: bool = False
    """The server did not say (the request was given up): tokens are ours, four characters each."""
    audio_input_tokens: int = 0
    """Of the input tokens, those of sound."""
    cached_audio_tokens: int = 0
    """Of the cached tokens, those of sound."""
    audio_output_tokens: int = 0
    """Of the output tokens, those of sound."""


@dataclass(frozen=True, slots=True)
class Used:
    """A request of ``stage`` was answered by ``name`` (or given up after it had cost something)."""

    stage: Stage
    name: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Switched:
    """From now on ``stage`` is served by another provider."""

    stage: Stage
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call tells its engines, and how they tell it what they did.

    Optional methods of a provider: ``for_call(context)`` returns the provider as that one call uses it (own session
    id, own socket, own choice among fallbacks), without waiting; what it returns may have ``close()``, called once at
    the call's end. ``prepare()``: a call begins that will need it, have a connection ready; it may block and is called
    in a greenlet of its own. ``warm()``: the service starts; returns without waiting.
    """

    id: str
    """The call's id; no other call has it."""
    tell: Callable[[Used | Switched], None]
    """Never blocks, never raises."""
    affordable: Callable[[Stage, tuple[str, ...]], tuple[str, ...]] = lambda stage, names: names
    """Which of a stage's providers (``Identity.name``, the preferred first) may be used now, in order; never none."""


@dataclass(frozen=True, slots=True)
class EngineContext:
    """What an engine may know of its DID when it is made."""

    language: str = "en"
    """BCP 47 tag of the DID's YAML (``en``, ``de-AT``)."""
    phrases: tuple[str, ...] = ()
    """What callers of this DID are expected to say, from ``expect`` and the rules; a recogniser may bias to it."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a recogniser makes of an utterance so far, or (``final``) altogether. Empty text: nothing understood."""

    text: str
    final: bool
    confidence: float | None = None


class SpeechToText(Protocol):
    @property
    def identity(self) -> Identity: ...
    @property
    def streaming(self) -> bool:
        """True: it works while the caller still speaks. False: it starts when the audio iterator ends."""

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        """Exactly one final transcript, last; where it comes before the sound has ended, it ends the utterance.

        ``audio`` yields PCM16 mono of any length at ``rate`` and ends with the utterance; it may block.
        """


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class HangUpPart:
    """The model wants the call to end after what it said so far was heard."""


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """The model wants a tool to be run; it is asked again with the result."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class UsagePart:
    """What the reply used up, as the server counts. Last, where it comes at all; said by nobody. Of an agent: just
    before the ResponseEnded it belongs to, whatever became of the response; and whenever it has written down what the
    caller said."""

    usage: Usage
    name: str = ""
    """Who used it, as ``Identity.name`` has it, where that is another than who was asked: the recogniser within an
    agent."""


ReplyPart = TextPart | HangUpPart | ToolCallPart | UsagePart


class LanguageModel(Protocol):
    @property
    def identity(self) -> Identity: ...

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        """The reply in pieces, in order. ``tools``: what it may call; a model without function calling ignores them."""


class TextToSpeech(Protocol):
    @property
    def identity(self) -> Identity: ...
    @property
    def rate(self) -> int:
        """Samples a second of what ``speak`` yields."""

    @property
    def voice(self) -> str:
        """Names the voice with all that changes its sound; part of the key under which clips are cached."""

    def speak(self, text: str) -> Iterator[bytes]:
        """PCM16 mono at ``rate`` in pieces of any even length."""


# Speech to speech: one that listens, thinks and speaks by itself.


@dataclass(frozen=True, slots=True)
class AgentBrief:
    """What an agent is told when it is connected."""

    instructions: str
    sound: SoundFormat
    """Both ways; one of the agent's ``formats``."""
    tools: tuple[ToolSpec, ...] = ()
    history: tuple[Message, ...] = ()
    """What was said before on this call, as text: roles user and assistant only."""
    interruptible: bool = True
    """False: the caller's speech ends none of its responses."""


@dataclass(frozen=True, slots=True)
class ResponseBegan:
    response: str


@dataclass(frozen=True, slots=True)
class SoundPart:
    """The next sound of ``item``, in the brief's format, of any length; comes faster than it can be heard."""

    response: str
    item: str
    sound: bytes


@dataclass(frozen=True, slots=True)
class SoundEnded:
    """All of the item's sound has come."""

    response: str
    item: str


@dataclass(frozen=True, slots=True)
class WordsPart:
    """The next words of what ``item`` says."""

    response: str
    item: str
    text: str


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """Comes once for each ResponseBegan. ``calls`` only of a completed one."""

    response: str
    status: Literal["completed", "cancelled", "failed", "incomplete"] = "completed"
    calls: tuple[ToolCall, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class CallerBegan:
    """It hears the caller speak; a response under way is being cancelled by the service itself, if the brief's is
    ``interruptible``."""

    item: str


@dataclass(frozen=True, slots=True)
class CallerEnded:
    item: str


@dataclass(frozen=True, slots=True)
class CallerWords:
    """What the caller said in ``item``; late. Empty: not understood."""

    item: str
    text: str


AgentPart = (
    ResponseBegan
    | SoundPart
    | SoundEnded
    | WordsPart
    | ResponseEnded
    | CallerBegan
    | CallerEnded
    | CallerWords
    | UsagePart
)


class AgentSession(Protocol):
    """One connection of an agent. One greenlet reads ``parts``, another calls the rest, which may wait for the network
    and raise ProviderError (``code`` "session_expired": it is as old as the service allows)."""

    def parts(self) -> Iterator[AgentPart]:
        """What it does, in order, until it is closed. Raises ProviderError for any other end."""

    def hear(self, sound: bytes) -> None:
        """The next sound of the caller, in the brief's format."""

    def respond(self, instructions: str = "", *, is_last: bool = False, interruptible: bool = True) -> None:
        """Respond now, or once the response that is under way has ended (of several that wait the last counts);
        ``instructions`` for this once, in place of the brief's. One that is refused begins and ends as failed.
        ``is_last``: from now on the caller's speech ends no response, and is not answered. Not ``interruptible``: it
        does not end this one."""

    def tell(self, text: str) -> None:
        """Add a message of the caller's."""

    def return_tools(self, results: Sequence[tuple[str, str]]) -> None:
        """``(ToolCall.id, result)`` each; ``respond`` has to follow."""

    def cancel(self, response: str) -> None:
        """Nothing to cancel is fine."""

    def truncate(self, item: str, heard: float) -> None:
        """Only ``heard`` seconds of the item's sound were heard; clamped to what it has, ignored where that is 0."""

    def forget(self, item: str) -> None:
        """Nothing of the item was heard: it was never said. Ignored for one that is unknown, or was truncated."""

    def close(self) -> None:
        """Idempotent, never raises, does not wait long."""


class RealtimeAgent(Protocol):
    @property
    def identity(self) -> Identity: ...
    @property
    def formats(self) -> tuple[SoundFormat, ...]:
        """What it can be given and gives, the preferred first."""

    def connect(self, brief: AgentBrief) -> AgentSession:
        """Returns when it is ready to hear. Raises ProviderError."""


@dataclass(frozen=True, slots=True)
class Engines:
    """Who serves one DID, or one call. With ``agents``, the preferred first, nobody is asked to listen or think."""

    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech
    agents: tuple[RealtimeAgent, ...] = ()

    def for_call(self, context: CallContext) -> Engines:
        """The engines as one call uses them; ``close`` them at its end."""
        stages: dict[str, Any] = {"stt": self.stt, "llm": self.llm, "tts": self.tts}
        bound: dict[str, Any] = {}
        try:
            for stage, each in stages.items():
                if make := getattr(each, "for_call", None):
                    bound[stage] = make(context)
        except BaseException:
            Engines(**{**dict.fromkeys(stages), **bound}).close()
            raise
        return replace(self, **bound)

    def close(self) -> None:
        """The call is over. Only for what ``for_call`` returned. Idempotent."""
        for each in (self.stt, self.llm, self.tts):
            if close := getattr(each, "close", None):
                close()
