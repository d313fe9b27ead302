"""TTS ``coqui``: the HTTP server of Coqui TTS and of its fork, ``/api/tts``.

Source: idiap/coqui-ai-TTS ``TTS/server/server.py``. One whole WAV at the model's rate. It speaks one clause at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent.errors import ProviderError
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity
from esl_agent.providers.http import Answer, HttpServer
from esl_agent.providers.sound import SOUND, pcm16
from esl_agent.providers.spoken import speakable
from esl_agent.providers.voice_key import voice_key
from esl_agent.setting import STRICT, setting


@dataclass(frozen=True, slots=True)
class CoquiVoiceOptions:
    """A Coqui TTS server (``tts-server``). Its LJSpeech models speak at 22050 Hz, XTTS at 24000."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting("http://127.0.0.1:5002", "Where it listens.", pattern="^https?://")
    speaker: str = setting("", "speaker_id, for models with several. Empty: not sent.")
    language: str = setting("", "language_id, for models with several. Empty: not sent.")
    rate: int = setting(22050, "Samples a second; sound at another rate is resampled to it.", ge=8000, le=48000)
    ca_file: str = setting("", "Certificates (PEM) of a private server.")
    at_once: int = setting(1, "Requests at a time: the server does one. 0: no limit.", ge=0, le=1000)


class CoquiVoice:
    """Asks with POST, which keeps the text out of the server's log; older servers only know GET."""

    def __init__(self, options: CoquiVoiceOptions, context: EngineContext) -> None:
        self._server = HttpServer("tts", options.url, ca_file=options.ca_file)
        self._extra = {"speaker_id": options.speaker, "language_id": options.language}
        self._can_post = True
        self.rate = options.rate
        self.identity = Identity("coqui", account(options.url), options.at_once)
        self.voice = voice_key("coqui", options)

    def speak(self, text: str) -> Iterator[bytes]:
        """PCM16 mono in pieces; nothing at all for text without a letter or digit."""
        if not (spoken := speakable(text)):
            return
        said = {"text": spoken, **{name: value for name, value in self._extra.items() if value}}
        with self._asked(said) as answer:
            yield from pcm16(answer.pieces(), None, self.rate, self._server.error)

    def _asked(self, said: dict[str, str]) -> Answer:
        if self._can_post:
            try:
                return self._server.ask("POST", "api/tts", data=said, expect=SOUND)
            except ProviderError as error:
                if error.status != 405:
                    raise
                self._can_post = False
        return self._server.ask("GET", "api/tts", params=said, expect=SOUND)
