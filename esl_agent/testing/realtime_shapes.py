"""What a client of the Realtime API may send, to the last field: the strict half of the pretend service.

Fields as in openai SDK 3.54, types/realtime; how others are refused (``unknown_parameter`` and the path of the field)
as seen in reports of its users. What only other transports have (MCP, stored prompts, images) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: (code, message, the field's path)
Complaint = tuple[str, str, str]
Check = Callable[[Any, str], Iterator[Complaint]]


def first(check: Check, value: Any, path: str = "") -> Complaint | None:
    """What is wrong with ``value``; None if nothing is."""
    return next(check(value, path), None)


def _wrong(path: str, expected: str, value: Any) -> Complaint:
    got = type(value).__name__
    return "invalid_type", f"Invalid type for '{path}': expected {expected}, but got {got} instead.", path


def text(value: Any, path: str) -> Iterator[Complaint]:
    if not isinstance(value, str):
        yield _wrong(path, "a string", value)


def boolean(value: Any, path: str) -> Iterator[Complaint]:
    if not isinstance(value, bool):
        yield _wrong(path, "a boolean", value)


def anything(value: Any, path: str) -> Iterator[Complaint]:
    """An object of the client's own: a JSON Schema, metadata."""
    if not isinstance(value, dict):
        yield _wrong(path, "an object", value)


def number(low: float, high: float, *, whole: bool = False) -> Check:
    def check(value: Any, path: str) -> Iterator[Complaint]:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            yield _wrong(path, "an integer" if whole else "a number", value)
        elif not low <= value <= high:
            yield "invalid_value", f"Invalid '{path}': expected {low:g} to {high:g}, got {value}.", path

    return check


def one_of(*words: str) -> Check:
    def check(value: Any, path: str) -> Iterator[Complaint]:
        if value not in words:
            known = ", ".join(f"'{each}'" for each in words)
            yield "invalid_value", f"Invalid value. Supported values are: {known}.", path

    return check


def nullable(inner: Check) -> Check:
    def check(value: Any, path: str) -> Iterator[Complaint]:
        if value is not None:
            yield from inner(value, path)

    return check


def either(*inner: Check) -> Check:
    def check(value: Any, path: str) -> Iterator[Complaint]:
        found = [list(each(value, path)) for each in inner]
        if all(found):
            yield found[-1][0]

    return check


def many(inner: Check, least: int = 0, most: int = 10_000) -> Check:
    def check(value: Any, path: str) -> Iterator[Complaint]:
        if not isinstance(value, list):
            yield _wrong(path, "an array", value)
            return
        if not least <= len(value) <= most:
            yield "invalid_value", f"Invalid '{path}': an array of {len(value)}.", path
        for index, each in enumerate(value):
            yield from inner(each, f"{path}[{index}]")

    return check


@dataclass(frozen=True, slots=True)
class Fields:
    """An object with these fields and no others."""

    required: Mapping[str, Check]
    optional: Mapping[str, Check]

    def __call__(self, value: Any, path: str) -> Iterator[Complaint]:
        if not isinstance(value, dict):
            yield _wrong(path, "an object", value)
            return
        prefix = f"{path}." if path else ""
        for name in self.required:
            if name not in value:
                yield "missing_required_parameter", f"Missing required parameter: '{prefix}{name}'.", prefix + name
        for name, inner in value.items():
            check = self.required.get(name) or self.optional.get(name)
            if check is None:
                yield "unknown_parameter", f"Unknown parameter: '{prefix}{name}'.", prefix + name
            else:
                yield from check(inner, prefix + name)


def fields(required: Mapping[str, Check] | None = None, **optional: Check) -> Fields:
    return Fields(required or {}, optional)


def by_type(**kinds: Fields) -> Check:
    """Objects that differ by their ``type``; ``__`` stands for ``/`` in its words."""
    known = {name.replace("__", "/"): each for name, each in kinds.items()}

    def check(value: Any, path: str) -> Iterator[Complaint]:
        prefix = f"{path}." if path else ""
        if not isinstance(value, dict):
            yield _wrong(path, "an object", value)
        elif "type" not in value:
            yield "missing_required_parameter", f"Missing required parameter: '{prefix}type'.", f"{prefix}type"
        elif value["type"] not in known:
            yield from one_of(*known)(value["type"], f"{prefix}type")
        else:
            yield from known[value["type"]](value, path)

    return check


_TYPE = {"type": text}
_FORMAT = by_type(
    audio__pcm=fields(_TYPE, rate=number(24000, 24000, whole=True)),
    audio__pcmu=fields(_TYPE),
    audio__pcma=fields(_TYPE),
)
VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
_VOICE = either(fields({"id": text}), one_of(*VOICES))
_TURNS = by_type(
    server_vad=fields(
        _TYPE,
        threshold=number(0, 1),
        prefix_padding_ms=number(0, 60_000, whole=True),
        silence_duration_ms=number(0, 60_000, whole=True),
        idle_timeout_ms=nullable(number(5000, 30_000, whole=True)),
        create_response=boolean,
        interrupt_response=boolean,
    ),
    semantic_vad=fields(
        _TYPE,
        eagerness=one_of("low", "medium", "high", "auto"),
        create_response=boolean,
        interrupt_response=boolean,
    ),
)
_TRANSCRIPTION = fields(
    {"model": text},
    language=text,
    prompt=text,
    keywords=many(text),
    languages=many(text),
    delay=one_of("minimal", "low", "medium", "high", "xhigh"),
)
_NOISE = fields(_TYPE | {"type": one_of("near_field", "far_field")}, strength=number(0, 1))
_FUNCTION = by_type(function=fields(_TYPE | {"name": text}, description=text, parameters=anything))
_CHOICE = either(by_type(function=fields(_TYPE | {"name": text})), one_of("auto", "none", "required"))
_LENGTH = either(one_of("inf"), number(1, 4096, whole=True))
_REASONING = fields(effort=one_of("minimal", "low", "medium", "high", "xhigh"))
_MODALITIES = many(one_of("audio", "text"), 1, 1)

#: The ``session`` of a ``session.update``.
SESSION = by_type(
    realtime=fields(
        _TYPE,
        model=text,
        output_modalities=_MODALITIES,
        instructions=text,
        audio=fields(
            input=fields(
                format=_FORMAT,
                noise_reduction=nullable(_NOISE),
                transcription=nullable(_TRANSCRIPTION),
                turn_detection=nullable(_TURNS),
            ),
            output=fields(format=_FORMAT, voice=_VOICE, speed=number(0.25, 1.5)),
        ),
        tools=many(_FUNCTION, most=128),
        tool_choice=_CHOICE,
        max_output_tokens=_LENGTH,
        include=many(one_of("item.input_audio_transcription.logprobs")),
        parallel_tool_calls=boolean,
        reasoning=_REASONING,
        tracing=nullable(either(one_of("auto"), anything)),
        truncation=either(one_of("auto", "disabled"), anything),
    )
)
_BETA_FORMAT = one_of("pcm16", "g711_ulaw", "g711_alaw")
#: The same as it was before.
BETA_SESSION = fields(
    modalities=many(one_of("audio", "text"), 1, 2),
    instructions=text,
    voice=one_of(*VOICES),
    input_audio_format=_BETA_FORMAT,
    output_audio_format=_BETA_FORMAT,
    input_audio_transcription=nullable(fields(model=text, language=text, prompt=text)),
    input_audio_noise_reduction=nullable(_NOISE),
    turn_detection=nullable(_TURNS),
    tools=many(_FUNCTION),
    tool_choice=text,
    temperature=number(0.6, 1.2),
    max_response_output_tokens=_LENGTH,
    speed=number(0.25, 1.5),
)


def _message(role: str, **kinds: Fields) -> Fields:
    return fields(_TYPE | {"role": one_of(role), "content": many(by_type(**kinds), 1)}, id=text, status=_STATUS)


_STATUS = one_of("completed", "incomplete", "in_progress")
_SOUND = fields(_TYPE | {"audio": text}, transcript=text)
_TEXT = fields(_TYPE | {"text": text})


def _item(said: str) -> Check:
    """``said``: what the agent's own words are called."""
    roles = {
        "user": _message("user", input_audio=_SOUND, input_text=_TEXT),
        "assistant": _message("assistant", **{said: _TEXT}),
        "system": _message("system", input_text=_TEXT),
    }

    def message(value: Any, path: str) -> Iterator[Complaint]:
        role = value.get("role")
        yield from (roles[role](value, path) if role in roles else one_of(*roles)(role, f"{path}.role"))

    kinds: dict[str, Check] = {
        "message": message,
        "function_call": fields(_TYPE | {"name": text, "arguments": text}, id=text, call_id=text, status=_STATUS),
        "function_call_output": fields(_TYPE | {"call_id": text, "output": text}, id=text, status=_STATUS),
    }

    def check(value: Any, path: str) -> Iterator[Complaint]:
        if not isinstance(value, dict):
            yield _wrong(path, "an object", value)
        elif value.get("type") not in kinds:
            yield from one_of(*kinds)(value.get("type"), f"{path}.type")
        else:
            yield from kinds[value["type"]](value, path)

    return check


_RESPONSE = fields(
    instructions=text,
    conversation=one_of("auto", "none"),
    max_output_tokens=_LENGTH,
    metadata=anything,
    output_modalities=_MODALITIES,
    tools=many(_FUNCTION),
    tool_choice=_CHOICE,
    parallel_tool_calls=boolean,
    reasoning=_REASONING,
    input=many(_item("output_text")),
    audio=fields(output=fields(format=_FORMAT, voice=_VOICE)),
)


def _events(session: Check, item: Check) -> dict[str, Fields]:
    def event(required: Mapping[str, Check] | None = None, **optional: Check) -> Fields:
        return fields(_TYPE | dict(required or {}), event_id=text, **optional)

    at = number(-(10**9), 10**9, whole=True)
    return {
        "session.update": event({"session": session}),
        "input_audio_buffer.append": event({"audio": text}),
        "input_audio_buffer.commit": event(),
        "input_audio_buffer.clear": event(),
        "conversation.item.create": event({"item": item}, previous_item_id=nullable(text)),
        "conversation.item.truncate": event({"item_id": text, "content_index": at, "audio_end_ms": at}),
        "conversation.item.delete": event({"item_id": text}),
        "conversation.item.retrieve": event({"item_id": text}),
        "response.create": event(response=_RESPONSE),
        "response.cancel": event(response_id=text),
    }


EVENTS = _events(SESSION, _item("output_text"))
BETA_EVENTS = _events(BETA_SESSION, _item("text"))
