"""TTS ``deepgram``: Aura over HTTP.

Source: deepgram-sdk 7.17.0 ``speak/v1/audio/raw_client.py``. ``container=none`` is sent because linear16 otherwise
comes as a WAV file. Not its WebSocket: that one may be flushed 20 times a minute, fewer than a lively call has clauses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity
from esl_agent.providers.http import HttpServer
from esl_agent.providers.sound import SOUND, Raw, pcm16
from esl_agent.providers.spoken import parts, speakable
from esl_agent.providers.voice_key import voice_key
from esl_agent.secret import required
from esl_agent.setting import STRICT, setting

#: Characters of one request; above the service answers 413.
MAX_PART = 2000


@dataclass(frozen=True, slots=True)
class DeepgramVoiceOptions:
    """Deepgram Aura: English, Spanish, German, French, Dutch, Italian, Japanese."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    model: str = setting("aura-2-thalia-en", "Model, voice and language in one name.")
    rate: Literal[8000, 16000, 24000, 32000, 48000] = setting(
        16000, "Samples a second. 8000 saves bandwidth where all calls are G.711."
    )
    speed: float | None = setting(None, "1 is normal; not in all languages. Unset: not sent.", ge=0.7, le=1.5)
    mip_opt_out: bool | None = setting(None, "true: what is said is not used to improve models (changes the price).")
    url: str = setting("https://api.deepgram.com", "Another host: self-hosted, or a region's.", pattern="^https?://")
    ca_file: str = setting("", "Certificates (PEM) of a private server.")
    api_key_env: str = setting("DEEPGRAM_API_KEY", "Environment variable that holds the key.")
    api_key_file: str = setting("", "File that holds it instead.")
    at_once: int = setting(0, "Requests at a time that your plan allows. 0: no limit.", ge=0, le=1000)


class DeepgramVoice:
    """Speaks over kept connections."""

    def __init__(self, options: DeepgramVoiceOptions, context: EngineContext) -> None:
        key = required("tts: engine deepgram", options.api_key_env, options.api_key_file)
        self._server = HttpServer(
            "tts", options.url, headers={"Authorization": f"Token {key}"}, secrets=(key,), ca_file=options.ca_file
        )
        self._parameters = _parameters(options)
        self.rate: int = options.rate
        self.identity = Identity(f"deepgram/{options.model}", account(options.url, key), options.at_once)
        self.voice = voice_key("deepgram", options)

    def prepare(self) -> None:
        """A call begins: have a connection ready."""
        self._server.connect()

    def speak(self, text: str) -> Iterator[bytes]:
        """PCM16 mono in pieces; nothing at all for text without a letter or digit."""
        for part in parts(speakable(text), MAX_PART):
            with self._server.ask(
                "POST", "v1/speak", params=self._parameters, json={"text": part}, expect=SOUND
            ) as answer:
                yield from pcm16(answer.pieces(), Raw("s16", self.rate), self.rate, self._server.error)


def _parameters(options: DeepgramVoiceOptions) -> dict[str, str]:
    found = {
        "model": options.model,
        "encoding": "linear16",
        "sample_rate": str(options.rate),
        "container": "none",
    }
    if options.speed is not None:
        found["speed"] = str(options.speed)
    if options.mip_opt_out is not None:
        found["mip_opt_out"] = str(options.mip_opt_out).lower()
    return found
