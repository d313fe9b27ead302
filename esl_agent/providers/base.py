"""The narrow interfaces between a call and whoever listens, thinks and speaks for it.

A provider is a plain generator that knows neither gevent nor the phone. Cancelling it means closing the generator
(or killing the greenlet that runs it): its ``finally`` closes the connection. It raises ``ProviderError`` and
nothing else on purpose. Capabilities are data, never ``isinstance``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from esl_agent.dialogue.actions import Message, ToolCall, ToolSpec


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
    streaming: bool
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


ReplyPart = TextPart | HangUpPart | ToolCallPart


class LanguageModel(Protocol):
    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        """The reply in pieces, in order. ``tools``: what it may call; a model without function calling ignores them."""


class TextToSpeech(Protocol):
    rate: int
    """Samples a second of what ``speak`` yields."""
    voice: str
    """Names the voice with all that changes its sound; part of the key under which clips are cached."""

    def speak(self, text: str) -> Iterator[bytes]:
        """PCM16 mono at ``rate`` in pieces of any even length."""


@dataclass(frozen=True, slots=True)
class Engines:
    """Who serves one DID."""

    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech
