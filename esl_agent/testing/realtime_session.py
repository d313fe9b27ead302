"""The session of the pretend realtime service: its defaults, and what an update makes of it, in both shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Shape = Literal["ga", "beta"]
_TURNS = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC = {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True}


def defaults(shape: Shape, model: str) -> dict[str, Any]:
    """What ``session.created`` tells."""
    common: dict[str, Any] = {
        "id": "sess_1",
        "object": "realtime.session",
        "model": model,
        "instructions": "Be friendly.",
    }
    common |= {"instructions": "Be friendly.", "tools": [], "tool_choice": "auto", "expires_at": 1_800_000_000}
    if shape == "beta":
        return common | {
            "modalities": ["audio", "text"],
            "voice": "alloy",
            "input_audio_format": "pcm16",
            "output_audio_format": "pcm16",
            "input_audio_transcription": None,
            "input_audio_noise_reduction": None,
            "turn_detection": dict(_TURNS),
            "temperature": 0.8,
            "max_response_output_tokens": "inf",
            "speed": 1.0,
        }
    pcm = {"type": "audio/pcm", "rate": 24000}
    return common | {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": dict(pcm),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(_TURNS),
            },
            "output": {"format": dict(pcm), "voice": "marin", "speed": 1.0},
        },
        "max_output_tokens": "inf",
        "truncation": "auto",
        "include": None,
        "tracing": None,
    }


#: What is replaced as a whole: the parts of an old value mean nothing beside a new one.
_WHOLE = ("format", "transcription", "tools", "tool_choice", "voice")


def merged(old: Any, new: Any, name: str = "") -> Any:
    """What is left out keeps its value."""
    if name == "turn_detection" and isinstance(new, Mapping):
        is_other = not isinstance(old, Mapping) or old["type"] != new["type"]
        base = (_SEMANTIC if new["type"] == "semantic_vad" else _TURNS) if is_other else old
        return {**base, **new}
    if not isinstance(old, Mapping) or not isinstance(new, Mapping) or name in _WHOLE:
        return new
    return {**old, **{key: merged(old.get(key), value, key) for key, value in new.items()}}


def formats(session: Mapping[str, Any]) -> tuple[str, str]:
    """Of what it hears, and of what it says."""
    if "audio" in session:
        return session["audio"]["input"]["format"]["type"], session["audio"]["output"]["format"]["type"]
    return session["input_audio_format"], session["output_audio_format"]


def heard(session: Mapping[str, Any]) -> dict[str, Any]:
    """``turn_detection`` and ``transcription``."""
    if "audio" in session:
        found: dict[str, Any] = session["audio"]["input"]
        return found
    return {
        "turn_detection": session["turn_detection"],
        "transcription": session["input_audio_transcription"],
    }


def voice(session: Mapping[str, Any]) -> Any:
    """None where nothing is said of it."""
    return session.get("audio", {}).get("output", {}).get("voice", session.get("voice"))
