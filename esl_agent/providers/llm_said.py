"""What conversation services without streaming answer: JSON of a few shapes -> texts -> parts of a reply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from esl_agent.providers.base import HangUpPart, ReplyPart, TextPart
from esl_agent.providers.llm_text import Speakable

#: Where the chatbot contract puts its reply, and the list that Rasa answers with.
_KEYS = ("messages", "message", "text")


def texts(found: Any) -> list[str]:
    """What is said in an answer (outside text): ``{"messages": [...]}``, ``{"message": ...}``, ``{"text": ...}``, or a
    list of texts or of objects with one. Nothing to say, or any other shape: an empty list."""
    if isinstance(found, str):
        return [found] if found.strip() else []
    if isinstance(found, list):
        return [text for each in found for text in texts(each)]
    if isinstance(found, dict):
        for key in _KEYS:
            if said := texts(found.get(key)):
                return said
    return []


def parts(said: Iterable[str], hang_up_on: str) -> Iterator[ReplyPart]:
    """The reply that ``said`` is, one text after the other."""
    filter = Speakable(hang_up_on)
    spoken = (filter.feed(f"{text}\n") for text in said)
    for text in (*spoken, filter.end()):
        if text.strip():
            yield TextPart(text)
    if filter.hang_up:
        yield HangUpPart()
