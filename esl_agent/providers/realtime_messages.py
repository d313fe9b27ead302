"""What OpenAI's Realtime API is told, in the shape it has had since 2025 (openai SDK 3.54, types/realtime).

Each message carries an ``event_id``, because an error names nothing else of the message it is about.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from esl_agent.audio.pcm import SoundFormat
from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.providers.base import AgentBrief
from esl_agent.providers.llm_calls import schema_of, told_name
from esl_agent.providers.realtime_options import OpenAiRealtimeOptions, TurnDetectionSettings

PCM = SoundFormat("pcm", 24000)
ULAW = SoundFormat("ulaw", 8000)
ALAW = SoundFormat("alaw", 8000)
_FORMATS: dict[SoundFormat, dict[str, Any]] = {
    PCM: {"type": "audio/pcm", "rate": 24000},
    ULAW: {"type": "audio/pcmu"},
    ALAW: {"type": "audio/pcma"},
}
#: How the words of the agent itself stand in a history: as sound they cannot.
SAID = "output_text"
#: Entries of a history that are told again, the newest, and characters of each.
MAX_HISTORY = 200
MAX_TEXT = 32_000


def encoded(message: Mapping[str, Any]) -> str:
    """As it goes out. What cannot be Unicode (half a surrogate pair) is replaced."""
    try:
        return orjson.dumps(message).decode()
    except TypeError:
        return orjson.dumps(_without_surrogates(message)).decode()


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {str(_without_surrogates(name)): _without_surrogates(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(each) for each in value]
    return value


def append(number: int, sound: bytes) -> str:
    """The caller's next sound. Formatted by hand: base64 holds nothing that JSON would escape."""
    audio = b2a_base64(sound, newline=False).decode("ascii")
    return f'{{"type":"input_audio_buffer.append","event_id":"a{number}","audio":"{audio}"}}'


def session(options: OpenAiRealtimeOptions, brief: AgentBrief, language: str) -> dict[str, Any]:
    """The ``session`` of a ``session.update``."""
    format = _FORMATS[brief.sound]
    heard: dict[str, Any] = {
        "format": format,
        "transcription": transcription(options, language),
        "turn_detection": turn_detection(options.turn_detection, interruptible=brief.interruptible),
    }
    if options.noise_reduction:
        heard["noise_reduction"] = {"type": options.noise_reduction}
    voice: Any = {"id": options.voice} if options.voice.startswith("voice_") else options.voice
    said: dict[str, Any] = {"format": format, "voice": voice}
    if options.speed != 1.0:
        said["speed"] = options.speed
    found: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": brief.instructions,
        "audio": {"input": heard, "output": said},
        "tools": functions(brief.tools),
        "tool_choice": "auto",
    }
    if options.max_output_tokens is not None:
        found["max_output_tokens"] = options.max_output_tokens
    if options.reasoning_effort:
        found["reasoning"] = {"effort": options.reasoning_effort}
    return found


def transcription(options: OpenAiRealtimeOptions, language: str) -> dict[str, Any] | None:
    """Who writes down what the caller says; null turns it off."""
    wanted = options.transcription
    if not wanted.model:
        return None
    found = {"model": wanted.model, "language": wanted.language or language, "prompt": wanted.prompt}
    return {name: value for name, value in found.items() if value}


def turn_detection(settings: TurnDetectionSettings, *, interruptible: bool = True) -> dict[str, Any]:
    """It answers by itself, and (``interruptible``) ends a response when the caller speaks."""
    found: dict[str, Any] = {"type": settings.type, "create_response": True, "interrupt_response": interruptible}
    if settings.type == "semantic_vad":
        return found | {"eagerness": settings.eagerness}
    found |= {
        "threshold": settings.threshold,
        "prefix_padding_ms": settings.prefix_padding_ms,
        "silence_duration_ms": settings.silence_duration_ms,
    }
    return found | ({"idle_timeout_ms": settings.idle_timeout_ms} if settings.idle_timeout_ms else {})


def functions(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """The tools it may call; flat, unlike those of chat completions."""
    return [
        {
            "type": "function",
            "name": told_name(tool.name),
            "description": tool.description,
            "parameters": schema_of(tool),
        }
        for tool in tools
    ]


def update(id: str, session: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "session.update", "event_id": id, "session": session}


def turns(session: Mapping[str, Any], **changes: bool) -> dict[str, Any]:
    """Of a ``session`` as it was set up, what is told again when speech is to end no response, or not to be answered,
    or both again. What an update leaves out stays as it is; ``turn_detection`` is one value, and told whole."""
    if "audio" not in session:
        return {"turn_detection": session["turn_detection"] | changes}
    return {"type": session["type"], "audio": {"input": {
        "turn_detection": session["audio"]["input"]["turn_detection"] | changes,
    }}}  # fmt: skip


def said_before(id: str, message: Message, text: str = SAID) -> dict[str, Any]:
    """An entry of the history. What the agent said goes in as ``text``: as sound it cannot."""
    is_agent = message.role == "assistant"
    kind = text if is_agent else "input_text"
    item = {
        "type": "message",
        "role": "assistant" if is_agent else "user",
        "content": [{"type": kind, "text": message.content[:MAX_TEXT]}],
    }
    return {"type": "conversation.item.create", "event_id": id, "item": item}


def history(messages: Sequence[Message]) -> list[Message]:
    """What of a history can be told again: words of the caller and of the agent, the newest."""
    said = [each for each in messages if each.role in ("user", "assistant") and each.content.strip()]
    return said[-MAX_HISTORY:]


def tool_result(id: str, call: str, result: str) -> dict[str, Any]:
    item = {"type": "function_call_output", "call_id": call, "output": result}
    return {"type": "conversation.item.create", "event_id": id, "item": item}


def respond(id: str, instructions: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"type": "response.create", "event_id": id}
    return found | ({"response": {"instructions": instructions}} if instructions else {})


def cancel(id: str, response: str) -> dict[str, Any]:
    return {"type": "response.cancel", "event_id": id} | ({"response_id": response} if response else {})


def truncate(id: str, item: str, content_index: int, milliseconds: int) -> dict[str, Any]:
    return {
        "type": "conversation.item.truncate",
        "event_id": id,
        "item_id": item,
        "content_index": content_index,
        "audio_end_ms": milliseconds,
    }


def delete(id: str, item: str) -> dict[str, Any]:
    return {"type": "conversation.item.delete", "event_id": id, "item_id": item}


def differences(asked: Any, got: Any, where: str = "session") -> list[str]:
    """Where what the service says it does (``got``, outside text) is other than what it was ``asked``; names only.
    What it does not mention is no difference."""
    if isinstance(asked, Mapping):
        if not isinstance(got, Mapping):
            return [where]
        return [
            each for name, value in asked.items() if name in got
            for each in differences(value, got[name], f"{where}.{name}")
        ]  # fmt: skip
    if isinstance(asked, float | int) and not isinstance(asked, bool) and isinstance(got, float | int):
        return [] if abs(asked - got) < 0.001 else [where]
    if isinstance(asked, list):
        return [] if isinstance(got, list) and len(got) == len(asked) else [where]
    return [] if asked == got else [where]
