"""TTS ``openai``: ``POST /v1/audio/speech``, by OpenAI or by one of the many servers that imitate it.

Source: openai 3.54.0 ``types/audio/speech_create_params.py``. Samples (``pcm``) have no header: at 24 kHz from OpenAI
and Kokoro-FastAPI, at the model's rate from others. Kokoro's default is MP3, so the format is always sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from esl_agent.errors import ConfigError
from esl_agent.providers import mp3, openai_key
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity
from esl_agent.providers.http import HttpServer
from esl_agent.providers.sound import SOUND, Raw, pcm16
from esl_agent.providers.spoken import speakable
from esl_agent.providers.voice_key import voice_key
from esl_agent.setting import STRICT, setting


@dataclass(frozen=True, slots=True)
class OpenAiVoiceOptions:
    """OpenAI's speech, and servers with the same interface: Kokoro-FastAPI, speaches, the Coqui fork."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    model: str = setting("gpt-4o-mini-tts", "OpenAI ends this one and both tts-1 on 2027-01-06; for Kokoro: kokoro.")
    voice: str = setting("coral", "A name of the server's: coral, marin, af_heart, af_bella(2)+af_sky(1).")
    rate: int = setting(24000, "Samples a second of the server's pcm: it does not say so itself.", ge=8000, le=48000)
    format: Literal["pcm", "wav", "mp3"] = setting(
        "pcm", "What is asked for. wav: where the server's rate is not known. mp3 needs ffmpeg, and comes late."
    )
    speed: float | None = setting(None, "1 is normal. Unset: not sent.", ge=0.25, le=4)
    instructions: str = setting("", "How to speak, in words; not for tts-1.")
    lang_code: str = setting("", "Kokoro-FastAPI only: a for American English, b for British, and so on.")
    url: str = setting("https://api.openai.com/v1", "Up to and with /v1.", pattern="^https?://")
    ca_file: str = setting("", "Certificates (PEM) of a private server.")
    api_key_env: str = setting("", openai_key.DOC)
    api_key_file: str = setting("", "File that holds it instead.")
    at_once: int = setting(0, "Requests at a time that the account or the server allows. 0: no limit.", ge=0, le=1000)

    def __post_init__(self) -> None:
        openai_key.check_url(self.url, "audio/speech")


class OpenAiVoice:
    """Speaks over kept connections."""

    def __init__(self, options: OpenAiVoiceOptions, context: EngineContext) -> None:
        if options.format == "mp3" and not mp3.is_ready():
            raise ConfigError([f"tts: engine openai: format mp3: {mp3.MISSING}"])
        key = openai_key.key("tts: engine openai", options.url, options.api_key_env, options.api_key_file)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._server = HttpServer("tts", options.url, headers=headers, secrets=(key,), ca_file=options.ca_file)
        self._body = _body(options)
        self._asked = None if options.format == "wav" else Raw("s16", options.rate)
        self.rate = options.rate
        self.identity = Identity(f"openai/{options.model}", account(options.url, key), options.at_once)
        self.voice = voice_key("openai", options)

    def prepare(self) -> None:
        """A call begins: have a connection ready."""
        self._server.connect()

    def speak(self, text: str) -> Iterator[bytes]:
        """PCM16 mono in pieces; nothing at all for text without a letter or digit."""
        if not (spoken := speakable(text)):
            return
        body = {**self._body, "input": spoken}
        with self._server.ask("POST", "audio/speech", json=body, expect=SOUND) as answer:
            yield from pcm16(answer.pieces(), self._asked, self.rate, self._server.error, answer.content_type)


def _body(options: OpenAiVoiceOptions) -> dict[str, Any]:
    """Without the text."""
    body: dict[str, Any] = {"model": options.model, "voice": options.voice, "response_format": options.format}
    optional = {"speed": options.speed, "instructions": options.instructions, "lang_code": options.lang_code}
    body.update((name, value) for name, value in optional.items() if value)
    return body
