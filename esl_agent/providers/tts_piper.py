"""TTS ``piper``: the HTTP server that comes with piper (``python -m piper.http_server``), with both of its routes.

Source: piper-tts 1.8.0 ``http_server.py``. It answers with one whole WAV at the voice's rate, called ``text/html``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent.errors import ProviderError
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity
from esl_agent.providers.http import Answer, HttpServer
from esl_agent.providers.sound import pcm16
from esl_agent.providers.spoken import speakable
from esl_agent.providers.voice_key import voice_key
from esl_agent.setting import STRICT, setting

log = logging.getLogger(__name__)

#: Since June 2026 the first; before, the server listened at its root. A newer one answers 405 there, an older one 404
#: to the first.
_ROUTES = ("synthesize", "")


@dataclass(frozen=True, slots=True)
class PiperVoiceOptions:
    """A piper server. Its voices of quality x_low and low speak at 16000 Hz, medium and high at 22050."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting("http://127.0.0.1:5000", "Where it listens.", pattern="^https?://")
    voice: str = setting(
        "", "A name such as en_US-lessac-medium. Empty: the server's own. For a name it does not have it says nothing "
        "and takes its own.",
    )  # fmt: skip
    rate: int = setting(22050, "Samples a second; sound at another rate is resampled to it.", ge=8000, le=48000)
    speaker: str = setting("", "Name of a speaker, for voices that have several.")
    speaker_id: int | None = setting(None, "Or its number.", ge=0)
    length_scale: float | None = setting(None, "How slowly: 1 is normal, 1.2 slower. Unset: not sent.", gt=0, le=5)
    noise_scale: float | None = setting(None, "How much the melody varies. Unset: not sent.", ge=0, le=2)
    noise_w_scale: float | None = setting(None, "How much the rhythm varies. Unset: not sent.", ge=0, le=2)
    ca_file: str = setting("", "Certificates (PEM) of a private server.")
    at_once: int = setting(0, "Requests at a time; the server is a simple one. 0: no limit.", ge=0, le=1000)


class PiperVoice:
    """Asks at the route that worked last."""

    def __init__(self, options: PiperVoiceOptions, context: EngineContext) -> None:
        self._server = HttpServer("tts", options.url, ca_file=options.ca_file)
        self._body = _body(options)
        self._routes = _ROUTES
        self.rate = options.rate
        self.identity = Identity(
            f"piper/{options.voice}" if options.voice else "piper", account(options.url), options.at_once
        )
        self.voice = voice_key("piper", options)

    def speak(self, text: str) -> Iterator[bytes]:
        """PCM16 mono in pieces; nothing at all for text without a letter or digit."""
        if not (spoken := speakable(text)):
            return
        with self._asked({**self._body, "text": spoken}) as answer:
            yield from pcm16(answer.pieces(), None, self.rate, self._server.error)

    def _asked(self, body: dict[str, Any]) -> Answer:
        first, second = self._routes
        try:
            return self._server.ask("POST", first, json=body)
        except ProviderError as error:
            if error.status not in (404, 405):
                raise
        answer = self._server.ask("POST", second, json=body)
        log.info("tts: piper at %s answers at /%s", self._server.where, second)
        self._routes = (second, first)
        return answer


def _body(options: PiperVoiceOptions) -> dict[str, Any]:
    """Without the text. Only what is configured: the server has its own defaults."""
    found = {
        "voice": options.voice or None,
        "speaker": options.speaker or None,
        "speaker_id": options.speaker_id,
        "length_scale": options.length_scale,
        "noise_scale": options.noise_scale,
        "noise_w_scale": options.noise_w_scale,
    }
    return {name: value for name, value in found.items() if value is not None}
