"""What a pretend realtime service answers: words and sound, given by whoever tests.

PretendRealtime([Reply("Hello."), Reply(calls=(Called("call_1", "order_status", {"id": "7"}),))])
PretendRealtime(Persona("Bakery, good morning.", ["We open at seven.", "Goodbye."], voice=synthesise))
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: Of the sound that scripts give, PCM16.
RATE = 24000
#: Seconds of tone that stand for a character.
CHARACTER = 0.03


@dataclass(frozen=True, slots=True)
class Called:
    """A function that it calls."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """One response. ``sound``: PCM16 at RATE; None: a tone as long as the words."""

    text: str = ""
    sound: bytes | None = None
    calls: tuple[Called, ...] = ()
    more: tuple[str, ...] = ()
    """What further items of the same response say."""
    status: Literal["completed", "failed", "incomplete"] = "completed"
    error: tuple[str, str] = ("server_error", "The server had an error.")
    """(code, message) of a failed one."""
    pause_after: int | None = None
    """So many pieces of sound are sent, then nothing until it is cancelled (or the connection's ``go_on`` is set)."""
    late: int = 0
    """Pieces of sound that are still sent after it was cancelled."""
    drop_after: int | None = None
    """The connection breaks off after so many pieces of sound."""
    output_tokens: int | None = None
    """In the usage, where it is to be another than the words and the sound make it."""

    def items(self) -> list[tuple[str, bytes]]:
        """(words, sound) of each thing it says."""
        first = [(self.text, tone_for(self.text) if self.sound is None else self.sound)] if self.text else []
        return first + [(text, tone_for(text)) for text in self.more]


@dataclass(frozen=True, slots=True)
class Asked:
    """Why a response is wanted."""

    why: Literal["asked", "speech", "tools"]
    """By the client, by what the caller said, by what functions have returned."""
    utterances: int
    """How many the caller has spoken so far."""
    instructions: str = ""
    """Of this response, or of the session."""
    results: tuple[str, ...] = ()
    """What functions returned since the last response."""
    said: bytes = b""
    """The caller's last utterance, PCM16 at RATE."""


Script = Callable[[Asked], Reply]


def in_turn(replies: Iterable[Reply]) -> Script:
    """One after the other, the last again and again."""
    left = list(replies) or [Reply("Yes.")]

    def script(asked: Asked) -> Reply:
        return left.pop(0) if len(left) > 1 else left[0]

    return script


@dataclass(slots=True)
class Persona:
    """Somebody who greets when asked to speak first, and answers every utterance with the next of ``answers``."""

    greeting: str = "Hello, how can I help you?"
    answers: tuple[str, ...] = ("I see. And what else?",)
    voice: Callable[[str], bytes] | None = None
    """A sentence -> PCM16 at RATE. None: a tone."""
    calls: Mapping[int, Called] = field(default_factory=dict)
    """Functions that it calls in place of the answer to the caller's utterance of that number (the first: 1)."""
    after_tools: str = "Here is what I found."

    def __call__(self, asked: Asked) -> Reply:
        if asked.why == "speech" and (called := self.calls.get(asked.utterances)):
            return Reply(calls=(called,))
        if asked.why == "tools":
            return self._say(self.after_tools)
        if asked.why == "asked" and not asked.utterances:
            return self._say(self.greeting)
        return self._say(self.answers[(max(1, asked.utterances) - 1) % len(self.answers)])

    def _say(self, text: str) -> Reply:
        return Reply(text, None if self.voice is None else self.voice(text))


def tone(seconds: float, hertz: float = 440.0, level: int = 8000) -> bytes:
    """PCM16 at RATE."""
    step = 2 * math.pi * hertz / RATE
    return array("h", (int(level * math.sin(n * step)) for n in range(int(seconds * RATE)))).tobytes()


def tone_for(text: str) -> bytes:
    """A tone as long as somebody takes to say ``text``; other words, another pitch."""
    return tone(max(0.2, len(text) * CHARACTER), 300.0 + sum(map(ord, text)) % 400)
