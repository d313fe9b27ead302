"""Stamps on one call's way through its engines: when each was called, and when it gave what it has.

The engines stay what they are; wrapped, each knows which call it serves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.providers.base import CallContext, Engines, TextPart

#: (what, CLOCK_MONOTONIC, number): ``endpoint`` with the number of the frame that decided it, then ``heard`` (the
#: recogniser has the last of the sound), ``words``, ``asked`` (the model), ``token``, ``voice`` (asked), ``sound``.
Trace = list[tuple[str, float, int]]


def stamped(engines: Engines, trace: Trace) -> Engines:
    """``engines`` for one call, noting in ``trace``."""
    return Engines(_Stt(engines.stt, trace), _Llm(engines.llm, trace), _Tts(engines.tts, trace))


def note(trace: Trace, what: str, number: int = 0) -> None:
    trace.append((what, time.monotonic(), number))


class _Stamped:
    """Bound to the call where what it stamps is."""

    def __init__(self, inner: Any, trace: Trace) -> None:
        self._inner, self._trace = inner, trace

    def for_call(self, context: CallContext) -> Any:
        make = getattr(self._inner, "for_call", None)
        return self if make is None else type(self)(make(context), self._trace)

    def close(self) -> None:
        if close := getattr(self._inner, "close", None):
            close()


class _Stt(_Stamped):
    def __init__(self, inner: Any, trace: Trace) -> None:
        super().__init__(inner, trace)
        self.streaming, self.identity = inner.streaming, inner.identity

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Any]:
        def heard() -> Iterator[bytes]:
            yield from audio
            note(self._trace, "heard")

        for transcript in self._inner.recognise(heard(), rate):
            if transcript.final:
                note(self._trace, "words")
            yield transcript


class _Llm(_Stamped):
    def __init__(self, inner: Any, trace: Trace) -> None:
        super().__init__(inner, trace)
        self.identity = inner.identity

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[Any]:
        note(self._trace, "asked")
        is_first = True
        for part in self._inner.reply(messages, tools):
            if is_first and isinstance(part, TextPart):
                note(self._trace, "token")
                is_first = False
            yield part


class _Tts(_Stamped):
    def __init__(self, inner: Any, trace: Trace) -> None:
        super().__init__(inner, trace)
        self.identity, self.rate, self.voice = inner.identity, inner.rate, inner.voice

    def speak(self, text: str) -> Iterator[bytes]:
        note(self._trace, "voice")
        for number, piece in enumerate(self._inner.speak(text)):
            if not number:
                note(self._trace, "sound")
            yield piece
