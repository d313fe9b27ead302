"""What OpenAI's Realtime API sends -> the parts of ``providers.base``. All of it is outside text.

Nothing here waits, sends or reads a clock: ``Reading.parts`` takes one event, in the order in which they came, and
raises ValueError for one that makes no sense. Events that it does not know say nothing.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from esl_agent.audio.pcm import SoundFormat
from esl_agent.dialogue.actions import ToolCall
from esl_agent.providers.base import (
    AgentPart,
    CallerBegan,
    CallerEnded,
    CallerWords,
    ResponseBegan,
    ResponseEnded,
    SoundEnded,
    SoundPart,
    UsagePart,
    WordsPart,
)
from esl_agent.providers.llm_calls import MAX_CALLS, MAX_NAME, arguments_of
from esl_agent.providers.quotes import shape
from esl_agent.providers.realtime_beta import RENAMED
from esl_agent.providers.realtime_usage import of_response, of_transcription

#: Characters of an id, of a piece of words, of what the caller said at once.
MAX_ID = 128
MAX_WORDS = 20_000
#: Items whose sound is counted, and responses that are remembered: the newest. A response has a handful of items, and
#: one response is under way at a time.
MAX_ITEMS = 256
MAX_RESPONSES = 64

_ODD = re.compile(r"[^A-Za-z0-9_.:-]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,63}")
_STATUS: dict[str, Literal["completed", "cancelled", "failed", "incomplete"]] = {
    "completed": "completed",
    "cancelled": "cancelled",
    "failed": "failed",
    "incomplete": "incomplete",
}


def read(message: str | bytes) -> dict[str, Any]:
    """The event of a message, with today's name for its type. Raises ValueError for what is none."""
    try:
        found = orjson.loads(message)
    except orjson.JSONDecodeError:
        raise ValueError(f"expected JSON, got {len(message)} bytes of something else") from None
    if not isinstance(found, dict) or not isinstance(kind := found.get("type"), str):
        raise ValueError(f"expected an event, got {shape(found)}")
    if kind in RENAMED:
        found["type"] = RENAMED[kind]
    return found


def plain_id(value: Any) -> str:
    """An id as we pass it on and say it again; empty for what is none."""
    return _ODD.sub("_", value[:MAX_ID]) if isinstance(value, str) else ""


def plain_name(value: Any) -> str:
    """A code, or the name of a field, as it may stand in a log; what is no name may be anything, and is not shown."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else ""


@dataclass(slots=True)
class Item:
    """What came of one thing that the agent says."""

    content_index: int = 0
    received: int = 0
    """Bytes of its sound."""
    is_whole: bool = False
    has_words: bool = False
    rest: bytes = b""
    """Half a sample."""
    cut: int | None = None
    """Milliseconds that it was truncated to; 0 for one that was deleted."""


@dataclass(slots=True)
class _Response:
    calls: dict[str, ToolCall] = field(default_factory=dict)
    is_over: bool = False


class Reading:
    """One session's events, one after the other."""

    def __init__(self, sound: SoundFormat, transcriber: str = "") -> None:
        """``transcriber``: whose usage that of the caller's transcripts is."""
        self.items: dict[str, Item] = {}
        self.response = ""
        """The one that is under way, or empty."""
        self.is_caller_speaking = False
        self._sound = sound
        self._transcriber = transcriber
        self._responses: dict[str, _Response] = {}
        self._speech = ""
        """What the caller says, or said last."""
        self._unnamed = 0

    def parts(self, event: dict[str, Any]) -> Iterable[AgentPart]:
        """What ``event`` (of ``read``) means. Raises ValueError."""
        known = _READ.get(event["type"])
        return known(self, event) if known is not None else ()

    def milliseconds(self, item: Item) -> int:
        """How long the sound of ``item`` is so far, rounded down."""
        return item.received * 1000 // self._sound.bytes_per_second

    def _name(self, kind: str) -> str:
        """For what a server has no id for."""
        self._unnamed += 1
        return f"{kind}-{self._unnamed}"

    # What the agent says

    def _ids(self, event: dict[str, Any]) -> tuple[str, str]:
        response = plain_id(event.get("response_id")) or self.response
        return response, plain_id(event.get("item_id")) or f"{response}.item"

    def _item(self, id: str) -> Item:
        found = self.items.get(id)
        if found is None:
            _keep(self.items, MAX_ITEMS)
            found = self.items[id] = Item()
        return found

    def _sounds(self, event: dict[str, Any]) -> Iterable[AgentPart]:
        response, id = self._ids(event)
        delta, index = event.get("delta"), event.get("content_index", 0)
        if not isinstance(delta, str) or not isinstance(index, int):
            raise ValueError("sound that is no text, or of no content")
        try:
            sound = b64decode(delta, validate=True)
        except ValueError:
            raise ValueError("sound that is no base64") from None
        item = self._item(id)
        if not item.received:
            item.content_index = max(0, index)
        item.received += len(sound)
        if self._sound.encoding == "pcm":
            sound = item.rest + sound
            whole = len(sound) - len(sound) % 2
            sound, item.rest = sound[:whole], sound[whole:]
        return (SoundPart(response, id, sound),) if sound else ()

    def _sound_ended(self, event: dict[str, Any]) -> Iterable[AgentPart]:
        response, id = self._ids(event)
        self._item(id).is_whole = True
        return (SoundEnded(response, id),)

    def _words(self, event: dict[str, Any]) -> Iterable[AgentPart]:
        return self._said(event, event.get("delta"))

    def _all_words(self, event: dict[str, Any]) -> Iterable[AgentPart]:
        """Some servers tell the words only once they are complete."""
        _, id = self._ids(event)
        if self._item(id).has_words:
            return ()
        return self._said(event, event.get("transcript", event.get("text")))

    def _said(self, event: dict[str, Any], text: Any) -> Iterable[AgentPart]:
        response, id = self._ids(event)
        if not isinstance(text, str):
            raise ValueError("words that are no text")
        if not text:
            return ()
        self._item(id).has_words = True
        return (WordsPart(response, id, text[:MAX_WORDS]),)

    # Its responses

    def _began(self, event: dict[str, Any]) -> Iterable[AgentPart]:
        id = plain_id(_object(event, "response").get("id")) or self._name("response")
        if id in self._responses:
            return ()
        _keep(self._responses, MAX_RESPONSES)
        self._responses[id] = _Response()
        self.response = id
        return (ResponseBegan(id),)

    def _item_done(self, event: dict[str, Any]) -> Iterable[AgentPart]:
        response, _ = self._ids(event)
        if (found := self._responses.get(response)) is not None:
            _collect(found.calls, _object(event, "item"))
        return ()

    def _ended(self, event: dict[str, Any]) -> Iterable[AgentPart]:
        response = _object(event, "response")
        id = plain_id(response.get("id")) or self.response
        found = self._responses.get(id)
        if found is None or found.is_over:
            return ()
        found.is_over = True
        if id == self.response:
            self.response = ""
        output = response.get("output")
        for item in output if isinstance(output, list) else ():
            _collect(found.calls, item)
        status = _STATUS.get(str(response.get("status", "completed")), "failed")
        calls = tuple(found.calls.values()) if status == "completed" else ()
        found.calls = {}
        usage = of_response(response.get("usage"))
        ended = ResponseEnded(id, status, calls, "" if status == "completed" else _reason(response))
        return (ended,) if usage is None else (UsagePart(usage), ended)

    # The caller

    def _caller_began(self, event: dict[str, Any]) -> Iterable[AgentPart]:
        self.is_caller_speaking = True
        self._speech = plain_id(event.get("item_id")) or self._name("speech")
        return (CallerBegan(self._speech),)

    def _caller_ended(self, event: dict[str, Any]) -> Iterable[AgentPart]:
        self.is_caller_speaking = False
        return (CallerEnded(self._speech_of(event)),)

    def _caller_said(self, event: dict[str, Any]) -> Iterable[AgentPart]:
        text = event.get("transcript") or ""  # local servers tell null where they understood nothing
        if not isinstance(text, str):
            raise ValueError("a transcript that is no text")
        said = CallerWords(self._speech_of(event), text[:MAX_WORDS].strip())
        usage = of_transcription(event.get("usage"))
        return (said,) if usage is None else (said, UsagePart(usage, self._transcriber))

    def _not_understood(self, event: dict[str, Any]) -> Iterable[AgentPart]:
        return (CallerWords(self._speech_of(event), ""),)

    def _speech_of(self, event: dict[str, Any]) -> str:
        return plain_id(event.get("item_id")) or self._speech


_READ: dict[str, Callable[[Reading, dict[str, Any]], Iterable[AgentPart]]] = {
    "response.output_audio.delta": Reading._sounds,
    "response.output_audio.done": Reading._sound_ended,
    "response.output_audio_transcript.delta": Reading._words,
    "response.output_audio_transcript.done": Reading._all_words,
    "response.output_text.delta": Reading._words,
    "response.output_text.done": Reading._all_words,
    "response.created": Reading._began,
    "response.output_item.done": Reading._item_done,
    "response.done": Reading._ended,
    "input_audio_buffer.speech_started": Reading._caller_began,
    "input_audio_buffer.speech_stopped": Reading._caller_ended,
    "conversation.item.input_audio_transcription.completed": Reading._caller_said,
    "conversation.item.input_audio_transcription.failed": Reading._not_understood,
}


def _keep(known: dict[str, Any], limit: int) -> None:
    """Room for one more: the oldest is forgotten."""
    if len(known) >= limit:
        del known[next(iter(known))]


def _object(event: dict[str, Any], name: str) -> dict[str, Any]:
    found = event.get(name)
    if not isinstance(found, dict):
        raise ValueError(f"{event['type']} without its {name}")
    return found


def _collect(calls: dict[str, ToolCall], item: Any) -> None:
    """The call that ``item`` is, if it is one that can be answered."""
    if not isinstance(item, dict) or item.get("type") != "function_call" or item.get("status") == "incomplete":
        return
    id, name = plain_id(item.get("call_id")), item.get("name")
    if id and id not in calls and isinstance(name, str) and name and len(calls) < MAX_CALLS:
        calls[id] = ToolCall(id, name[:MAX_NAME], arguments_of(item.get("arguments")))


def _reason(response: dict[str, Any]) -> str:
    """Why it ended, in the service's codes and none of its sentences, which may quote what was said."""
    details = response.get("status_details")
    if not isinstance(details, dict):
        return ""
    error = details.get("error")
    given = (error.get("code"), error.get("type")) if isinstance(error, dict) else ()
    return next(filter(None, map(plain_name, (*given, details.get("reason")))), "")
