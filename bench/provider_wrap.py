"""An engine as a call uses it, for bench.providers: apart, because importing it patches nothing but costs a second."""

from __future__ import annotations

from typing import Any

from esl_agent.dialogue.settings import LimitSettings
from esl_agent.errors import Stage
from esl_agent.providers.base import CallContext
from esl_agent.providers.resilience_settings import ResilienceSettings
from esl_agent.providers.resilient import resilient
from esl_agent.testing.providers import CannedLlm, CannedStt, ToneTts


def wrapped(stage: Stage, made: Any) -> Any:
    """``made`` alone in its list, behind all that stands between an engine and a call."""
    beside: dict[str, Any] = {"stt": CannedStt([""]), "llm": CannedLlm([""]), "tts": ToneTts(16000)} | {stage: made}
    engines = resilient(
        [beside["stt"]], [beside["llm"]], [beside["tts"]], ResilienceSettings(), LimitSettings(llm=60.0, tts=60.0)
    )
    return getattr(engines.for_call(CallContext("bench", lambda told: None)), stage)
