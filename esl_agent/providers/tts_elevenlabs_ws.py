"""TTS ``elevenlabs_ws``: speech over ElevenLabs' stream-input WebSocket, one socket for each clause.

The service does not tell where a flushed clause ends, only where a stream does: so a clause is a stream, and the socket
for the next one is opened ahead. Sources: elevenlabs 2.78.0 ``realtime_tts.py``, ``types/initialize_connection.py``,
``types/send_text.py``, ``types/audio_output.py``; in-band errors: livekit/agents issue 218.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from esl_agent.errors import ProviderError
from esl_agent.providers.base import EngineContext
from esl_agent.providers.elevenlabs import (
    ElevenLabsOptions,
    identity_of,
    judged,
    key_of,
    language_of,
    voice_settings,
)
from esl_agent.providers.sockets import ProviderSocket, SpareSockets, open_socket
from esl_agent.providers.sound import Raw, pcm16
from esl_agent.providers.spoken import speakable
from esl_agent.providers.voice_key import voice_key
from esl_agent.setting import setting
from esl_agent.wire.outside_json import loads

#: Seconds without a message, at the very most: whoever uses the provider has deadlines of his own.
PATIENCE = 30.0
#: Seconds after which the service closes a socket without text, unless told otherwise; ours are closed before.
IDLE = 20
_EARLIER = 4


@dataclass(frozen=True, slots=True)
class ElevenLabsSocketOptions(ElevenLabsOptions):
    """ElevenLabs over WebSockets that are opened ahead: no connection is made while the caller waits."""

    inactivity_timeout: int | None = setting(
        None, "Seconds that an open socket may wait for text. Unset: 20, as the service has it.", ge=10, le=180
    )
    enable_logging: bool | None = setting(None, "false: nothing is kept by the service (enterprise plans only).")


class ElevenLabsSocketVoice:
    """Sends a clause and its end at once, so that nothing waits for more text."""

    def __init__(self, options: ElevenLabsSocketOptions, context: EngineContext) -> None:
        self._key = key_of("elevenlabs_ws", options)
        self._url = _url(options, language_of(options, context))
        self._first = json.dumps({"text": " ", **_settings(options)})
        self._spare = SpareSockets(self._open, max_idle=(options.inactivity_timeout or IDLE) - _EARLIER)
        self.rate: int = options.rate
        self.identity = identity_of("elevenlabs_ws", options, self._key)
        self.voice = voice_key("elevenlabs_ws", options, language_of(options, context))

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
        """A socket speaks one clause; the next clause's is opened meanwhile."""
        self._spare.warm()
        try:
            with suppress(ProviderError):  # closed already: why, it has said before
                for message in (self._first, json.dumps({"text": f"{text} ", "flush": True}), '{"text":""}'):
                    socket.send(message)
            for answer in socket.messages(PATIENCE):
                found = _object(answer)
                if "audio" not in found and (found.get("error") or found.get("code")):
                    raise _told(socket, found)
                if found.get("audio"):
                    yield base64.b64decode(found["audio"], validate=True)
                if found.get("isFinal"):
                    return
        except (ValueError, TypeError, binascii.Error):
            raise socket.error("expected JSON with sound in base64") from None
        except ProviderError as error:
            raise judged(error, " ".join(map(str, socket.closed_with or ()))) from None
        finally:
            socket.close_soon()

    def _open(self) -> ProviderSocket:
        try:
            return open_socket("tts", self._url, headers={"xi-api-key": self._key}, secrets=(self._key,))
        except ProviderError as error:
            raise judged(error) from None

    def _error(self, message: str, *, retryable: bool = True, **more: Any) -> ProviderError:
        where = self._url.partition("?")[0]
        return ProviderError("tts", f"{where}: {message}", retryable=retryable, **more)


def _url(options: ElevenLabsOptions, language: str) -> str:
    parameters: dict[str, str] = {"model_id": options.model, "output_format": f"pcm_{options.rate}"}
    if language:
        parameters["language_code"] = language
    for name in ("inactivity_timeout", "enable_logging"):
        if (value := getattr(options, name)) is not None:
            parameters[name] = str(value).lower()
    base = options.url.rstrip("/").replace("http", "ws", 1)
    return f"{base}/v1/text-to-speech/{options.voice}/stream-input?{urlencode(parameters)}"


def _settings(options: ElevenLabsOptions) -> dict[str, Any]:
    """Only in the first message of a socket; later ones are refused."""
    found = voice_settings(options)
    return {"voice_settings": found} if found else {}


def _object(message: str | bytes) -> dict[str, Any]:
    found = loads(message)
    if not isinstance(found, dict):
        raise ValueError
    return found


def _told(socket: ProviderSocket, found: dict[str, Any]) -> ProviderError:
    """The ProviderError for an error that came as a message: ``{"message", "error", "code": 1008}``."""
    code, message = str(found.get("error", "")), str(found.get("message", ""))
    return judged(socket.error(f"{code} {message}", retryable=False, blame="request"), f"{code} {message}")
