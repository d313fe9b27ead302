"""What the Realtime API says that a response, or a transcript, has used (openai SDK 3.54, types/realtime,
realtime_response_usage). Tokens of images are counted as text: nobody shows pictures on the telephone."""

from __future__ import annotations

from typing import Any

from esl_agent.providers.base import Usage
from esl_agent.providers.llm_answer import count


def of_response(found: Any) -> Usage | None:
    """None where nothing was used, or nothing is said of it."""
    if not isinstance(found, dict):
        return None
    heard, said = _object(found, "input_token_details"), _object(found, "output_token_details")
    usage = Usage(
        input_tokens=count(found.get("input_tokens")),
        cached_tokens=count(heard.get("cached_tokens")),
        output_tokens=count(found.get("output_tokens")),
        audio_input_tokens=count(heard.get("audio_tokens")),
        cached_audio_tokens=count(_object(heard, "cached_tokens_details").get("audio_tokens")),
        audio_output_tokens=count(said.get("audio_tokens")),
    )
    return usage if usage != Usage() else None


def of_transcription(found: Any) -> Usage | None:
    """The recogniser's own: by tokens or by time."""
    if not isinstance(found, dict):
        return None
    seconds = found.get("seconds")
    usage = Usage(
        input_tokens=count(found.get("input_tokens")),
        output_tokens=count(found.get("output_tokens")),
        audio_input_tokens=count(_object(found, "input_token_details").get("audio_tokens")),
        seconds=float(seconds) if isinstance(seconds, int | float) and 0 < seconds < 86_400 else 0.0,
    )
    return usage if usage != Usage() else None


def _object(found: dict[str, Any], name: str) -> dict[str, Any]:
    inner = found.get(name)
    return inner if isinstance(inner, dict) else {}
