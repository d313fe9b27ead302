"""TTS ``cartesia``: Sonic over a WebSocket that is used again, one context for each clause.

Source: cartesia 4.2.0 ``types/generation_request_param.py``, ``types/websocket_response.py``. A context's id is never
used twice, also on another socket. What comes for another context than ours is dropped.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity
from esl_agent.providers.http import blame_for, one_line
from esl_agent.providers.languages import short_language
from esl_agent.providers.sockets import ProviderSocket, SpareSockets, open_socket
from esl_agent.providers.sound import Raw, pcm16
from esl_agent.providers.spoken import speakable
from esl_agent.providers.voice_key import voice_key
from esl_agent.secret import required
from esl_agent.setting import STRICT, setting
from esl_agent.wire.outside_json import loads

#: Seconds without a message, at the very most: whoever uses the provider has deadlines of his own.
PATIENCE = 30.0
#: Seconds that a socket waits for its next clause; the service closes it after 300.
MAX_IDLE = 240.0


@dataclass(frozen=True, slots=True)
class CartesiaVoiceOptions:
    """Cartesia Sonic."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    voice: str = setting("", "The voice's id. Required.", pattern=r"^[A-Za-z0-9_-]{0,64}$")
    model: str = setting("sonic-3", "The model.")
    rate: Literal[8000, 16000, 22050, 24000, 44100, 48000] = setting(
        16000, "Samples a second. 8000 saves bandwidth where all calls are G.711."
    )
    language: str = setting(
        "auto", "ISO 639-1. auto: the language of the DID. Empty: not sent.", pattern=r"^(auto|[a-z]{2,3})?$"
    )
    speed: float | None = setting(None, "1 is normal (sonic-3). Unset: not sent.", ge=0.6, le=1.5)
    volume: float | None = setting(None, "1 is normal (sonic-3). Unset: not sent.", ge=0.5, le=2)
    emotion: str = setting("", "A word such as calm (sonic-3). Empty: not sent.")
    max_buffer_delay: float = setting(
        0.0, "Seconds that the service may wait for more text. A clause comes whole, so there is none to wait for.",
        ge=0, le=5,
    )  # fmt: skip
    version: str = setting("2026-08-14", "Cartesia-Version, the date of the interface.", pattern=r"^\d{4}-\d\d-\d\d$")
    url: str = setting("wss://api.cartesia.ai", "Another host.", pattern="^wss?://")
    api_key_env: str = setting("CARTESIA_API_KEY", "Environment variable that holds the key.")
    api_key_file: str = setting("", "File that holds it instead.")
    at_once: int = setting(
        0, "Contexts at a time that the plan has (Free 2, Pro 3, Startup 5, Scale 15). 0: no limit.", ge=0, le=1000
    )


class CartesiaVoice:
    """A clause that was spoken to its end leaves its socket for the next; one that was cut off takes it along."""

    def __init__(self, options: CartesiaVoiceOptions, context: EngineContext) -> None:
        if not options.voice:
            raise ConfigError(["tts: engine cartesia needs the id of a voice"])
        key = required("tts: engine cartesia", options.api_key_env, options.api_key_file)
        self._url = f"{options.url.rstrip('/')}/tts/websocket"
        self._headers = {"Authorization": f"Bearer {key}", "Cartesia-Version": options.version}
        self._secrets = (key,)
        language = short_language(context.language) if options.language == "auto" else options.language
        self._request = _request(options, language)
        self._spare = SpareSockets(self._open, max_idle=MAX_IDLE)
        self.rate: int = options.rate
        self.identity = Identity(f"cartesia/{options.model}", account(options.url, key), options.at_once)
        self.voice = voice_key("cartesia", options, language)

    def prepare(self) -> None:
        """A call begins: have a socket ready."""
        self._spare.warm()

    def speak(self, text: str) -> Iterator[bytes]:
        """PCM16 mono in pieces; nothing at all for text without a letter or digit."""
        if not (spoken := speakable(text)):
            return
        with closing(self._spare.used(lambda socket: self._said(socket, spoken))) as pieces:
            yield from pcm16(pieces, Raw("s16", self.rate), self.rate, self._error)

    def _said(self, socket: ProviderSocket, text: str) -> Generator[bytes, None, None]:
        """Ends with the socket given back, or closed with the context cancelled."""
        context, is_over = uuid.uuid4().hex, False
        try:
            with suppress(ProviderError):  # closed already: why, it has said before
                socket.send(json.dumps({**self._request, "context_id": context, "transcript": text}))
            for answer in socket.messages(PATIENCE):
                found = _object(socket, answer)
                if (found.get("context_id") or context) != context:
                    continue
                if found.get("type") == "error":
                    raise _told(socket, found)
                if found.get("type") == "chunk" and found.get("data"):
                    yield _sound(socket, found["data"])
                if found.get("done"):
                    is_over = True
                    return
            raise socket.error("closed before the clause was spoken")
        finally:
            if is_over:
                self._spare.give_back(socket)
            else:
                _give_up(socket, context)

    def _open(self) -> ProviderSocket:
        return open_socket("tts", self._url, headers=self._headers, secrets=self._secrets)

    def _error(self, message: str, *, retryable: bool = True, **more: Any) -> ProviderError:
        return ProviderError("tts", f"{self._url}: {message}", retryable=retryable, **more)


def _request(options: CartesiaVoiceOptions, language: str) -> dict[str, Any]:
    """Without the context and the text."""
    request: dict[str, Any] = {
        "model_id": options.model,
        "voice": {"mode": "id", "id": options.voice},
        "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": options.rate},
        "continue": False,
        "max_buffer_delay_ms": round(options.max_buffer_delay * 1000),
    }
    if language:
        request["language"] = language
    manner = {"speed": options.speed, "volume": options.volume, "emotion": options.emotion}
    if configured := {name: value for name, value in manner.items() if value}:
        request["generation_config"] = configured
    return request


def _give_up(socket: ProviderSocket, context: str) -> None:
    """What is not made yet need not be made, nor paid. A socket that was cut off in the middle is not used again: what
    is on its way would have to be waited for."""
    if socket.closed_with is None:
        with suppress(ProviderError):  # it is closed already, which is what was wanted
            socket.send(json.dumps({"context_id": context, "cancel": True}))
    socket.close_soon()


def _object(socket: ProviderSocket, message: str | bytes) -> dict[str, Any]:
    try:
        found = loads(message)
    except ValueError:
        found = None
    if not isinstance(found, dict):  # older versions tell errors in plain text
        raise socket.error(f"expected JSON, got {message[:200]!r}")
    return found


def _sound(socket: ProviderSocket, data: Any) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (ValueError, TypeError, binascii.Error):
        raise socket.error("expected sound in base64") from None


def _told(socket: ProviderSocket, found: dict[str, Any]) -> ProviderError:
    """The ProviderError for an ``error`` message."""
    code = str(found.get("error_code") or "")
    status = found.get("status_code") if isinstance(found.get("status_code"), int) else 500
    blame = blame_for(status or 500, code)
    text = f"{status} {code} {found.get('title') or ''}: {found.get('message') or found.get('error') or ''}"
    error = socket.error(text, retryable=blame == "service", blame=blame)
    error.status, error.code = status or 500, one_line(code)[:100]
    return error
