"""The Realtime API as it was before 2025 (openai SDK 3.54, types/beta/realtime), for local servers that speak it still.

OpenAI's own service refuses it since May 2026. Only the session and the names of what the service sends differ.
"""

from __future__ import annotations

from typing import Any

from esl_agent.providers.base import AgentBrief
from esl_agent.providers.realtime_messages import ALAW, PCM, ULAW, functions, transcription, turn_detection
from esl_agent.providers.realtime_options import OpenAiRealtimeOptions

HEADER = {"OpenAI-Beta": "realtime=v1"}
_FORMATS = {PCM: "pcm16", ULAW: "g711_ulaw", ALAW: "g711_alaw"}
#: What the beta called differently: its name -> today's. Both are read whatever was asked for.
RENAMED = {
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
    "conversation.item.created": "conversation.item.added",
}
#: How the agent's own words stand in a history.
SAID = "text"


def session(options: OpenAiRealtimeOptions, brief: AgentBrief, language: str) -> dict[str, Any]:
    """The ``session`` of a ``session.update``."""
    format = _FORMATS[brief.sound]
    found: dict[str, Any] = {
        "modalities": ["text", "audio"],
        "voice": options.voice,
        "instructions": brief.instructions,
        "input_audio_format": format,
        "output_audio_format": format,
        "input_audio_transcription": transcription(options, language),
        "turn_detection": _turn_detection(options, brief),
        "tools": functions(brief.tools),
        "tool_choice": "auto",
        "max_response_output_tokens": options.max_output_tokens or "inf",
    }
    if options.temperature is not None:
        found["temperature"] = options.temperature
    if options.speed != 1.0:
        found["speed"] = options.speed
    if options.noise_reduction:
        found["input_audio_noise_reduction"] = {"type": options.noise_reduction}
    return found


def _turn_detection(options: OpenAiRealtimeOptions, brief: AgentBrief) -> dict[str, Any]:
    found = turn_detection(options.turn_detection, interruptible=brief.interruptible)
    found.pop("idle_timeout_ms", None)
    return found
