"""TTS ``embedded``: flite for English where its library is installed, otherwise espeak-ng (about 100 languages)."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers.base import EngineContext, Identity
from esl_agent.providers.speech_worker import ESPEAK_RATE, FLITE_LIBRARY, FLITE_RATES
from esl_agent.providers.spoken import speakable
from esl_agent.providers.worker_pool import default_size, shared_pool
from esl_agent.setting import STRICT, setting

_MODULE = "esl_agent.providers.speech_worker"


@dataclass(frozen=True, slots=True)
class EmbeddedVoiceOptions:
    """The voices that need no key and no server."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    synthesiser: Literal["auto", "flite", "espeak"] = setting(
        "auto", "flite (Debian: flite) sounds better and knows English only. auto: flite for English if it is there."
    )
    voice: str = setting(
        "", "flite: rms, slt, awb, kal16 or kal. espeak: a name of `espeak-ng --voices`. Empty: rms, or the language."
    )
    speed: int = setting(170, "Words a minute.", ge=80, le=400)
    pitch: int = setting(50, "How high the voice is. Only espeak can change it.", ge=0, le=99)
    workers: int = setting(0, "Processes that speak, for all DIDs together. 0: one for each processor.", ge=0, le=64)


class EmbeddedVoice:
    """Speaks in worker processes that stay alive: the first sound of a clause costs its synthesis, not a start."""

    identity = Identity("embedded")
    rate: int
    voice: str

    def __init__(self, options: EmbeddedVoiceOptions, context: EngineContext) -> None:
        self._synthesiser, self._voice = _chosen(options, context.language)
        self.rate = FLITE_RATES[self._voice] if self._synthesiser == "flite" else ESPEAK_RATE
        self.voice = f"embedded/{self._synthesiser}/{self._voice}/{options.speed}/{options.pitch}"
        self._options = options
        self._pool = shared_pool("tts", _MODULE, options.workers or default_size())

    def warm(self) -> None:
        """Start the workers; returns without waiting for them to load."""
        self._pool.warm()

    def speak(self, text: str) -> Iterator[bytes]:
        """PCM16 mono in pieces; nothing at all for text without a letter or digit."""
        spoken = speakable(text)
        if not spoken:
            return
        request = {
            "synthesiser": self._synthesiser,
            "voice": self._voice,
            "rate": self.rate,
            "speed": self._options.speed,
            "pitch": self._options.pitch,
            "text": spoken,
        }
        error = ""
        for message in self._pool.ask(json.dumps(request).encode()):
            if message[:1] == b"a":
                yield message[1:]
            else:
                error = message[1:].decode("utf-8", "replace")
        if error:
            raise ProviderError("tts", f"embedded voice {self._voice!r}: {error}")


def _chosen(options: EmbeddedVoiceOptions, language: str) -> tuple[str, str]:
    """(synthesiser, voice), or ConfigError."""
    english = language.lower().split("-")[0] == "en"
    fits = english and options.voice in ("", *FLITE_RATES)
    if options.synthesiser == "espeak" or (options.synthesiser == "auto" and not (fits and _has_flite(options.voice))):
        voice = "" if options.synthesiser == "auto" and options.voice in FLITE_RATES else options.voice
        return "espeak", voice or ("en-us" if language == "en" else language)
    if not english:
        raise ConfigError([f"tts: synthesiser flite speaks English only, the language is {language!r}; use espeak"])
    if options.voice not in ("", *FLITE_RATES):
        raise ConfigError([f"tts: flite has the voices {', '.join(FLITE_RATES)}, got {options.voice!r}"])
    if not _has_flite(options.voice):
        raise ConfigError(["tts: synthesiser flite is not installed (Debian: apt install flite); or use auto"])
    return "flite", options.voice or "rms"


def _has_flite(voice: str) -> bool:
    try:
        for name in ("libflite.so.1", FLITE_LIBRARY.format(voice=voice or "rms")):
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True
