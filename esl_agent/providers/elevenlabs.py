"""What ElevenLabs' two ways to speak have in common: settings, the key, and what its errors mean.

Sources: elevenlabs 2.78.0 (``types/voice_settings.py``, ``text_to_speech/raw_client.py``) and the API's error pages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity
from esl_agent.providers.languages import short_language
from esl_agent.secret import required
from esl_agent.setting import STRICT, setting

#: Codes and old statuses of refusals that last until somebody acts, whatever HTTP status they come with.
_SETUP = (
    "invalid_api_key", "quota_exceeded", "voice_not_found", "model_not_found", "missing_permissions",
    "detected_unusual_activity", "unusual activity", "quota", "api key", "payment", "subscription",
    "needs_authorization", "not_found", "does not exist",
)  # fmt: skip
#: ... and of those that pass. 429 comes as rate_limit_exceeded, concurrent_limit_exceeded and system_busy.
_PASSING = (
    "rate_limit", "concurrent", "too_many_concurrent_requests", "system_busy", "internal", "input_timeout_exceeded",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ElevenLabsOptions:
    """What is set for both."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    voice: str = setting(
        "", "The voice's id, from the page of your voices. Required.", env="VOICE_ID", pattern=r"^[A-Za-z0-9_-]{0,64}$"
    )
    model: str = setting(
        "eleven_flash_v2_5", "eleven_flash_v2_5 is the quick one, eleven_multilingual_v2 the older, more expressive."
    )
    rate: Literal[8000, 16000, 22050, 24000] = setting(
        16000, "Samples a second. 8000 saves bandwidth where all calls are G.711."
    )
    language: str = setting(
        "auto",
        "ISO 639-1 code told to the model. auto: the language of the DID, and none to models named multilingual_v2, "
        "which take none. Empty: none, the model guesses.",
        pattern=r"^(auto|[a-z]{2,3})?$",
    )
    stability: float | None = setting(None, "Low: lively. High: even. Unset: as stored with the voice.", ge=0, le=1)
    similarity: float | None = setting(None, "How close to the voice's original.", ge=0, le=1)
    style: float | None = setting(None, "Exaggeration; costs time when it is not 0.", ge=0, le=1)
    speaker_boost: bool | None = setting(None, "Closer to the original still; costs a little time.")
    speed: float | None = setting(None, "1 is normal.", ge=0.7, le=1.2)
    url: str = setting(
        "https://api.elevenlabs.io",
        "Regional: https://api.eu.residency.elevenlabs.io and the like.",
        pattern="^https?://",
    )
    api_key_env: str = setting("ELEVENLABS_API_KEY", "Environment variable that holds the key; else API_KEY.")
    api_key_file: str = setting("", "File that holds it instead.")
    at_once: int = setting(
        0,
        "Requests at a time that your plan allows (Free 2, Starter 3, Creator 5, Pro 10). 0: no limit.",
        ge=0,
        le=1000,
    )


def key_of(engine: str, options: ElevenLabsOptions) -> str:
    """The key. Raises ConfigError without one, and without a voice."""
    if not options.voice:
        raise ConfigError([f"tts: engine {engine} needs the id of a voice (voice, or the environment's VOICE_ID)"])
    older = () if options.api_key_file else ("API_KEY",)  # whose else it may be, where another is named
    return required(f"tts: engine {engine}", options.api_key_env, options.api_key_file, *older)


def identity_of(engine: str, options: ElevenLabsOptions, key: str) -> Identity:
    return Identity(f"{engine}/{options.model}", account(options.url, key), options.at_once)


def language_of(options: ElevenLabsOptions, context: EngineContext) -> str:
    """ISO 639-1, or empty."""
    if options.language != "auto":
        return options.language
    return "" if "multilingual_v2" in options.model else short_language(context.language)


def voice_settings(options: ElevenLabsOptions) -> dict[str, Any]:
    """Only what is configured; the rest is as stored with the voice."""
    found = {
        "stability": options.stability,
        "similarity_boost": options.similarity,
        "style": options.style,
        "use_speaker_boost": options.speaker_boost,
        "speed": options.speed,
    }
    return {name: value for name, value in found.items() if value is not None}


def judged(error: ProviderError, told: str = "") -> ProviderError:
    """``error`` with its blame as ElevenLabs means it: quota is 401 here, an unknown voice 400 or 404, and on a
    WebSocket everything is a close with 1008 whose reason is ``told``."""
    text = f"{error.code} {told}".lower()
    if any(code in text for code in _SETUP):
        error.blame, error.retryable = "setup", False
    elif any(code in text for code in _PASSING):
        error.blame, error.retryable = "service", True
    return error


def is_plan(error: ProviderError) -> bool:
    """Whether the account's plan does not have the format that was asked for."""
    return error.status == 403 and bool(re.search("only_for|format|plan|tier|subscription|upgrade", str(error).lower()))
