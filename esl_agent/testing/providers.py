"""Engines that need no network: canned texts and tones, with faults to order. For tests, demos and benchmarks.

They keep to ``providers/base.py``: plain generators that raise ``ProviderError`` and nothing else.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.errors import Blame, ProviderError, Stage
from esl_agent.providers.base import HangUpPart, Identity, ReplyPart, TextPart, Transcript

Sleep = Callable[[float], None]
T = TypeVar("T")


@dataclass(slots=True)
class Trouble:
    """What goes wrong. ``fail`` counts down; the rest holds for every request."""

    fail: int = 0
    """So many requests raise ProviderError before the first piece."""
    retryable: bool = True
    before: float = 0.0
    """Seconds before the first piece."""
    after_first: float = 0.0
    """Seconds between the first piece and the second."""
    never: bool = False
    """No answer, for ever."""
    stalls_after: int | None = None
    """So many pieces come, then nothing more, for ever."""
    dies_after: int | None = None
    """So many pieces come, then ProviderError; where there are fewer, after the last."""
    rots_after: int | None = None
    """So many pieces come, then something that is none."""
    retry_after: float | None = None
    blame: Blame = "service"


def _troubled(stage: Stage, trouble: Trouble, sleep: Sleep, pieces: Iterator[T]) -> Iterator[T]:
    while trouble.never:
        sleep(3600.0)
    if trouble.before:
        sleep(trouble.before)
    if trouble.fail > 0:
        trouble.fail -= 1
        raise _failure(stage, trouble)
    for number, piece in enumerate(pieces):
        if number == 1 and trouble.after_first:
            sleep(trouble.after_first)
        yield from _trouble_at(number, stage, trouble, sleep)
        yield piece
    if trouble.dies_after is not None:
        raise _failure(stage, trouble)


def _trouble_at(number: int, stage: Stage, trouble: Trouble, sleep: Sleep) -> Iterator[Any]:
    """What goes wrong before piece ``number``."""
    while trouble.stalls_after == number:
        sleep(3600.0)
    if trouble.dies_after == number:
        raise _failure(stage, trouble)
    if trouble.rots_after == number:
        yield object()


def _failure(stage: Stage, trouble: Trouble) -> ProviderError:
    return ProviderError(
        stage, "canned failure", retryable=trouble.retryable, retry_after=trouble.retry_after, blame=trouble.blame
    )


class CannedStt:
    """Understands ``texts`` in turn, over and over, whatever is said. ``partials``: one word more at a time.

    ``heard`` keeps the bytes of every utterance's length, in order.
    """

    identity = Identity("canned")

    def __init__(
        self,
        texts: Sequence[str],
        *,
        streaming: bool = True,
        partials: bool = False,
        trouble: Trouble | None = None,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.streaming = streaming
        self.trouble = trouble or Trouble()
        self.heard: list[int] = []
        self._texts = list(texts) or [""]
        self._partials = partials
        self._sleep = sleep
        self._next = 0

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        size = sum(len(piece) for piece in audio)
        self.heard.append(size)
        yield from _troubled("stt", self.trouble, self._sleep, self._transcripts())

    def _transcripts(self) -> Iterator[Transcript]:
        text = self._texts[self._next % len(self._texts)]
        self._next += 1
        words = text.split()
        for count in range(1, len(words)) if self._partials else ():
            yield Transcript(" ".join(words[:count]), final=False)
        yield Transcript(text, final=True, confidence=1.0 if text else None)


class CannedLlm:
    """Answers with ``replies`` in turn, over and over. A reply is a text or the parts it is made of.

    ``word_by_word`` streams a text, ``per_word`` seconds apart. ``asked`` keeps what it was asked.
    """

    identity = Identity("canned")

    def __init__(
        self,
        replies: Sequence[str | Sequence[ReplyPart]],
        *,
        word_by_word: bool = False,
        per_word: float = 0.0,
        trouble: Trouble | None = None,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.trouble = trouble or Trouble()
        self.asked: list[tuple[Message, ...]] = []
        self._replies = list(replies)
        self._word_by_word = word_by_word
        self._per_word = per_word
        self._sleep = sleep
        self._next = 0

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        self.asked.append(tuple(messages))
        yield from _troubled("llm", self.trouble, self._sleep, self._parts())

    def _parts(self) -> Iterator[ReplyPart]:
        reply = self._replies[self._next % len(self._replies)]
        self._next += 1
        if not isinstance(reply, str):
            yield from reply
            return
        words = reply.split(" ") if self._word_by_word else [reply]
        for number, word in enumerate(words):
            if number and self._per_word:
                self._sleep(self._per_word)
            yield TextPart(word if number == 0 else " " + word)


class ToneTts:
    """Says a text as a tone as long as speech would be. ``said`` keeps the texts."""

    identity = Identity("tone")

    def __init__(
        self,
        rate: int = 16000,
        *,
        pitch: int = 440,
        per_character: float = 0.06,
        trouble: Trouble | None = None,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.rate = rate
        self.voice = f"tone-{pitch}-{per_character:g}"
        self.trouble = trouble or Trouble()
        self.said: list[str] = []
        self._per_character = per_character
        self._sleep = sleep
        self._second = b"".join(
            struct.pack("<h", round(8000 * math.sin(2 * math.pi * pitch * i / rate))) for i in range(rate)
        )

    def seconds(self, text: str) -> float:
        """How long ``text`` sounds."""
        return max(0.1, round(len(text) * self._per_character, 2))

    def speak(self, text: str) -> Iterator[bytes]:
        self.said.append(text)
        yield from _troubled("tts", self.trouble, self._sleep, self._pieces(text))

    def _pieces(self, text: str) -> Iterator[bytes]:
        left = round(self.seconds(text) * self.rate) * 2
        while left > 0:
            piece = self._second[: min(left, self.rate // 5)]
            left -= len(piece)
            yield piece


GOODBYE: tuple[ReplyPart, ...] = (TextPart("Goodbye."), HangUpPart())
"""A reply that ends the call once it was heard."""
