"""Models whose vendor has said when it will serve them no more. Dates are the vendors'; what they announced later is
not known here: look at ``announced`` where it matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlsplit

_OPENAI = "https://developers.openai.com/api/docs/deprecations"
_ANTHROPIC = "https://docs.anthropic.com/en/docs/resources/model-deprecations"
_CHECKED = date(2026, 11, 21)


@dataclass(frozen=True, slots=True)
class Shutdown:
    """``models`` are names as they are given to the server ``host``, on which alone they end."""

    host: str
    models: tuple[str, ...]
    on: date
    successor: str
    """What the vendor names instead, in words. Empty: it names none, or we do not know it."""
    announced: str
    checked: date = _CHECKED

    def sentence(self, model: str, today: date) -> str:
        """What to tell the operator of ``model``, in one line."""
        instead = f"; instead: {self.successor}" if self.successor else ""
        said = f" ({self.announced}, read on {self.checked})"
        if today < self.on:
            days = (self.on - today).days
            left = f"in {days} days" if days > 1 else "tomorrow"
            return f"{self.host} will serve the model {model!r} no longer from {self.on} on, {left}{instead}{said}"
        return (
            f"{self.host} SERVES THE MODEL {model!r} NO MORE: it was to end on {self.on}. Expect every request to "
            f"fail{instead}{said}"
        )


def _openai(models: str, on: date, successor: str = "") -> Shutdown:
    return Shutdown("api.openai.com", tuple(models.split()), on, successor, _OPENAI)


def _anthropic(models: str, on: date) -> Shutdown:
    return Shutdown("api.anthropic.com", tuple(models.split()), on, "", _ANTHROPIC)


#: From openai 3.54.0 (docstrings of types/shared/chat_model, audio_model, audio/speech_model and
#: realtime/realtime_session_create_request; successors from the page they name) and anthropic 2.12.0
#: (resources/messages, DEPRECATED_MODELS). What ended before 2026 is left out.
SHUTDOWNS: tuple[Shutdown, ...] = (
    _openai("whisper-1 gpt-4o-transcribe gpt-4o-transcribe-diarize", date(2027, 2, 26), "gpt-transcribe"),
    _openai("gpt-4o-mini-transcribe gpt-4o-mini-transcribe-2025-12-15", date(2027, 2, 26), "gpt-transcribe"),
    _openai(
        "tts-1 tts-1-hd gpt-4o-mini-tts gpt-4o-mini-tts-2025-12-15",
        date(2027, 1, 6),
        "another voice, because the successor named is a Realtime model, which /v1/audio/speech does not take",
    ),
    _openai(
        "gpt-4o gpt-4o-2024-11-20 gpt-4o-2024-08-06 gpt-4o-mini gpt-4o-mini-2024-07-18", date(2027, 1, 14), "gpt-6-luna"
    ),
    _openai("gpt-4.1 gpt-4.1-2025-04-14 gpt-4.1-mini gpt-4.1-mini-2025-04-14", date(2027, 1, 14), "gpt-6-luna"),
    _openai(
        "gpt-realtime gpt-realtime-2025-08-28 gpt-realtime-mini gpt-realtime-mini-2025-12-15",
        date(2027, 1, 20),
        "gpt-realtime-2.1 or gpt-realtime-2.1-mini",
    ),
    _openai("gpt-audio-mini gpt-audio-mini-2025-12-15", date(2027, 1, 20)),
    _openai("gpt-5 gpt-5-2025-08-07 gpt-5-mini gpt-5-mini-2025-08-07", date(2026, 12, 11)),
    _openai("gpt-5-nano gpt-5-nano-2025-08-07 o3 o3-2025-04-16", date(2026, 12, 11)),
    _openai("gpt-5.1 gpt-5.1-2025-11-13 gpt-5.4-nano gpt-5.4-nano-2026-03-17", date(2027, 4, 1)),
    _openai("gpt-5.3-chat-latest gpt-5.2-chat-latest", date(2026, 8, 10)),
    _openai("gpt-5.1-chat-latest gpt-5-chat-latest", date(2026, 7, 23)),
    _openai(
        "gpt-4.1-nano gpt-4.1-nano-2025-04-14 o4-mini o4-mini-2025-04-16 o3-mini o3-mini-2025-01-31 o1 o1-2024-12-17 "
        "gpt-4o-2024-05-13 gpt-4-turbo gpt-4-turbo-2024-04-09 gpt-4-1106-preview gpt-4 gpt-4-0613 gpt-3.5-turbo "
        "gpt-3.5-turbo-0125",
        date(2026, 10, 23),
    ),
    _openai("gpt-3.5-turbo-1106", date(2026, 9, 28)),
    _openai("chatgpt-4o-latest", date(2026, 2, 17)),
    _anthropic("claude-sonnet-4-5 claude-sonnet-4-5-20250929", date(2026, 11, 30)),
    _anthropic("claude-mythos-preview", date(2026, 6, 30)),
    _anthropic("claude-opus-4-0 claude-opus-4-20250514 claude-sonnet-4-0 claude-sonnet-4-20250514", date(2026, 6, 15)),
    _anthropic(
        "claude-3-7-sonnet-latest claude-3-7-sonnet-20250219 claude-3-5-haiku-latest claude-3-5-haiku-20241022",
        date(2026, 2, 19),
    ),
    _anthropic("claude-3-opus-20240229", date(2026, 1, 5)),
)


def announced(options: Any) -> tuple[str, Shutdown] | None:
    """The model that an engine's ``options`` name, and its shutdown; None where none is known. A model of the same
    name on another host (a local server, a gateway) is another matter."""
    url, model = getattr(options, "url", None), getattr(options, "model", None)
    if not isinstance(url, str) or not isinstance(model, str):
        return None
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return None
    for each in SHUTDOWNS:
        if host == each.host and model in each.models:
            return model, each
    return None
