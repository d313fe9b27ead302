"""The engines there are: one line each. A module is imported when its engine is first asked for, not before."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Any

from esl_agent.errors import ConfigError, Stage
from esl_agent.providers.base import EngineContext

#: stage -> engine -> ``module:class of the provider:class of its options``, below esl_agent.providers.
ENGINES: dict[Stage, dict[str, str]] = {
    "stt": {
        "embedded": "embedded_stt:EmbeddedRecogniser:EmbeddedRecogniserOptions",
        "transcribe": "stt_transcribe:Transcribe:TranscribeOptions",
        "transcribe_streaming": "stt_transcribe_streaming:TranscribeStreaming:TranscribeStreamingOptions",
        "openai": "stt_openai:OpenAiRecogniser:OpenAiRecogniserOptions",
        "whisper_cpp": "stt_whisper_cpp:WhisperCpp:WhisperCppOptions",
        "vosk": "stt_vosk:Vosk:VoskOptions",
        "whisper_live": "stt_whisper_live:WhisperLive:WhisperLiveOptions",
        "deepgram": "stt_deepgram:Deepgram:DeepgramOptions",
        "deepgram_flux": "stt_deepgram_flux:DeepgramFlux:DeepgramFluxOptions",
    },
    "llm": {
        "rules": "rules:Rules:RulesOptions",
        "openai": "llm_openai:OpenAiModel:OpenAiModelOptions",
        "anthropic": "llm_anthropic:AnthropicModel:AnthropicOptions",
        "ollama": "llm_ollama:OllamaModel:OllamaOptions",
        "llama3_api": "llm_llama3_api:Llama3Api:Llama3ApiOptions",
        "chatbot": "llm_chatbot:Chatbot:ChatbotOptions",
        "rasa": "llm_rasa:Rasa:RasaOptions",
    },
    "tts": {
        "embedded": "embedded_tts:EmbeddedVoice:EmbeddedVoiceOptions",
        "elevenlabs": "tts_elevenlabs:ElevenLabsVoice:ElevenLabsVoiceOptions",
        "elevenlabs_ws": "tts_elevenlabs_ws:ElevenLabsSocketVoice:ElevenLabsSocketOptions",
        "openai": "tts_openai:OpenAiVoice:OpenAiVoiceOptions",
        "coqui": "tts_coqui:CoquiVoice:CoquiVoiceOptions",
        "xtts": "tts_xtts:XttsVoice:XttsVoiceOptions",
        "piper": "tts_piper:PiperVoice:PiperVoiceOptions",
        "deepgram": "tts_deepgram:DeepgramVoice:DeepgramVoiceOptions",
        "cartesia": "tts_cartesia:CartesiaVoice:CartesiaVoiceOptions",
    },
    "agent": {
        "openai_realtime": "openai_realtime:OpenAiRealtime:OpenAiRealtimeOptions",
    },
}


def names(stage: Stage) -> tuple[str, ...]:
    """The engines of ``stage``, in the order in which they are documented."""
    return tuple(ENGINES[stage])


def options_class(stage: Stage, name: str) -> type[Any]:
    """The frozen dataclass of the engine's options. Raises ConfigError for an unknown name."""
    module, _, options = _entry(stage, name)
    return getattr(import_module(module), options)  # type: ignore[no-any-return]


def make(stage: Stage, name: str, options: Any, context: EngineContext) -> Any:
    """The engine, as providers.base has it for its stage. Raises ConfigError for what it cannot use."""
    module, provider, _ = _entry(stage, name)
    return getattr(import_module(module), provider)(options, context)


def _entry(stage: Stage, name: str) -> tuple[str, str, str]:
    known = ENGINES[stage]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError([f"{stage}: expected one of the engines {', '.join(known)}, got {name!r}{hint}"])
    module, provider, options = known[name].split(":")
    return f"esl_agent.providers.{module}", provider, options
