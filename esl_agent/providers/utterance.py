"""What recognisers have in common: how much sound of an utterance they take, and what they make of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from esl_agent.audio.pieces import chunks, limited, resampled
from esl_agent.errors import ProviderError
from esl_agent.providers.base import Transcript
from esl_agent.wire.outside_json import loads

#: Seconds of one utterance that are recognised. A recogniser that hears along says what it has when they are over,
#: which ends the utterance.
MAX_SECONDS = 60.0
#: Seconds of sound in one message: services want 20 ms frames joined, and a tenth of a second is not noticed.
CHUNK = 0.1
#: Seconds without any message that end an utterance over a socket, at the very most: whoever waits has deadlines.
PATIENCE = 60.0
#: What is sent for an utterance without any sound: nothing.
UNHEARD = Transcript("", final=True)

#: Characters of a transcript. A minute of quick speech has some 1500.
MAX_TEXT = 5000

Complain = Callable[[str], ProviderError]


def sound(audio: Iterable[bytes], rate: int, wanted: int = 0, chunk: float = CHUNK) -> Iterator[bytes]:
    """The sound of an utterance as it comes, in pieces of ``chunk`` seconds, at ``wanted`` samples a second (0: as it
    is), up to MAX_SECONDS."""
    whole = limited(audio, int(MAX_SECONDS * rate) * 2)
    yield from resampled(chunks(whole, int(rate * chunk) * 2), rate, wanted or rate)


class Partials:
    """What was understood so far, told when it changed."""

    def __init__(self) -> None:
        self._told = ""

    def new(self, text: str) -> Iterator[Transcript]:
        if text and text != self._told:
            self._told = text
            yield Transcript(text, final=False)


def spoken(*parts: str) -> str:
    """Parts of a transcript as one line, of MAX_TEXT characters at most."""
    return " ".join(" ".join(parts).split())[:MAX_TEXT]


def as_object(message: str | bytes, complain: Complain) -> dict[str, Any]:
    """A message that has to be a JSON object."""
    try:
        found = loads(message)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    shown = message.decode("utf-8", "replace") if isinstance(message, bytes) else message
    raise complain(f"expected a JSON object, got {shown[:80]!r}")


def text_of(found: dict[str, Any], name: str, complain: Complain) -> str:
    """A field that has to be text."""
    value = found.get(name)
    if isinstance(value, str):
        return value
    raise complain(f"expected text in {name!r}, got {json.dumps(value)[:80]}")


def share_of(value: Any) -> float | None:
    """A confidence from 0 to 1; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= 1.0:
        return float(value)
    return None


def objects_in(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a list that may be missing; whatever else is in it does not count."""
    value = found.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
