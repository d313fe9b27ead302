"""A pretend ElevenLabs: ``text-to-speech/{voice}/stream`` over HTTP, and its ``stream-input`` WebSocket.

As strict as the service and stricter: a field or parameter that elevenlabs 2.78.0 (``text_to_speech/raw_client.py``,
``types/initialize_connection.py``, ``types/send_text.py``) does not know is refused. Errors as its error pages and its
users show them.
"""

from __future__ import annotations

import audioop
import json
import re
from collections.abc import Callable
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from esl_agent.testing.pretend_speech import Cut, SocketFault, invalid, odd_pieces, ramp, refused, sounds
from esl_agent.testing.web import PretendHttp, PretendWebSocket, Reply, Request

KEY = "xi_0123456789abcdef"
VOICE = "JBFqnCBsd6RMkjVDRZzb"
FORMATS = frozenset(
    [f"pcm_{rate}" for rate in (8000, 16000, 22050, 24000, 32000, 44100, 48000)]
    + [f"mp3_44100_{kbit}" for kbit in (32, 64, 96, 128, 192)]
    + ["mp3_22050_32", "mp3_24000_48", "ulaw_8000", "alaw_8000"]
)
_QUERY = {"output_format", "enable_logging", "optimize_streaming_latency"}
_SOCKET_QUERY = {
    "model_id", "output_format", "language_code", "enable_logging", "inactivity_timeout", "auto_mode",
    "enable_ssml_parsing", "sync_alignment", "apply_text_normalization", "seed", "authorization", "single_use_token",
}  # fmt: skip
_BODY: dict[str, type | tuple[type, ...]] = {
    "text": str, "model_id": str, "language_code": str, "voice_settings": dict, "seed": int, "previous_text": str,
    "next_text": str, "previous_request_ids": list, "next_request_ids": list, "apply_text_normalization": str,
    "pronunciation_dictionary_locators": list, "use_pvc_as_ivc": bool, "apply_language_text_normalization": bool,
    "audio_effects": dict,
}  # fmt: skip
_SETTINGS: dict[str, type | tuple[type, ...]] = {
    "stability": (int, float), "similarity_boost": (int, float), "style": (int, float), "use_speaker_boost": bool,
    "speed": (int, float), "clone_strength": (int, float),
}  # fmt: skip
_LIMITS = {"eleven_multilingual_v2": 10_000, "eleven_flash_v2_5": 40_000}


class PretendElevenLabs:
    """Both services, started and stopped as a context manager. ``said``: the texts it spoke."""

    def __init__(self) -> None:
        self.http = PretendHttp()
        self.http.route("POST", "/v1/text-to-speech/*", self._speak)
        self.http.route("HEAD", "/", lambda _: Reply())
        self.websocket = PretendWebSocket(self._stream)
        self.said: list[str] = []
        self.messages: list[Any] = []
        """What came over WebSockets."""
        self.refused_formats: set[str] = set()
        """What the plan does not have."""
        self.cut: Cut = odd_pieces
        self.mp3: Callable[[bytes, int], bytes] | None = None
        """(PCM16, rate) -> MP3."""
        self.faults: list[SocketFault] = []
        """One for each clause over a WebSocket."""

    def __enter__(self) -> PretendElevenLabs:
        self.http.start()
        self.websocket.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.stop()
        self.websocket.stop()

    # HTTP

    def _speak(self, request: Request) -> Reply:
        found = re.fullmatch(r"/v1/text-to-speech/([^/]+)/stream", request.path)
        if found is None:
            return Reply.json({"detail": "Not Found"}, 404)
        if request.headers.get("xi-api-key") != KEY:
            return refused(401, status="invalid_api_key", message="Invalid API key")
        if found[1] != VOICE:
            return refused(404, status="voice_not_found", message=f"A voice with voice_id {found[1]} was not found.")
        if request.headers.get("content-type") != "application/json":
            return invalid("body", "Input should be a valid dictionary")
        wanted = request.query.get("output_format", ["mp3_44100_128"])[0]
        if not set(request.query) <= _QUERY or wanted not in FORMATS:
            return invalid("output_format", "Input should be 'mp3_22050_32', 'pcm_16000' or another one")
        if wanted in self.refused_formats:
            return refused(403, status="only_for_creator+", message=f"{wanted} is only for the creator tier and above")
        body = request.json()
        return _complaint(body) or self._sound(body["text"], wanted)

    def _sound(self, text: str, wanted: str) -> Reply:
        self.said.append(text)
        kind, rate = wanted.split("_")[0], int(wanted.split("_")[1])
        pcm = ramp(text, rate)
        headers = {"request-id": f"r{len(self.said)}", "maximum-concurrent-requests": "5"}
        if kind == "pcm":
            return Reply(self.cut(pcm), content_type="audio/pcm", headers=headers)
        if kind == "mp3":
            assert self.mp3 is not None
            return Reply(self.cut(self.mp3(pcm, rate)), content_type="audio/mpeg", headers=headers)
        law = audioop.lin2ulaw if kind == "ulaw" else audioop.lin2alaw
        return Reply(self.cut(law(pcm, 2)), content_type="audio/basic", headers=headers)

    # WebSocket

    def _stream(self, connection: ServerConnection) -> None:
        try:
            self._clause(connection)
        except ConnectionClosed:
            return

    def _clause(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        parts = urlsplit(connection.request.path)
        query = parse_qs(parts.query)
        wanted = query.get("output_format", ["mp3_44100_128"])[0]
        if parts.path != f"/v1/text-to-speech/{VOICE}/stream-input":
            return _end(connection, "voice_not_found", "A voice with that id does not exist")
        if connection.request.headers.get("xi-api-key") != KEY:
            return _end(connection, "invalid_api_key", "Invalid API key")
        idle = query.get("inactivity_timeout", ["20"])[0]
        if not set(query) <= _SOCKET_QUERY or not wanted.startswith("pcm_") or wanted not in FORMATS or int(idle) > 180:
            return _end(connection, "invalid_input", "a parameter is invalid")
        text, first = "", True
        for message in connection:
            found = json.loads(message)
            self.messages.append(found)
            if complaint := _socket_complaint(found, first):
                return _end(connection, "invalid_input_message", complaint)
            if found["text"] == "":
                break
            text, first = text + ("" if first else found["text"]), False
        self._say(connection, text.strip(), int(wanted.split("_")[1]))

    def _say(self, connection: ServerConnection, text: str, rate: int) -> None:
        fault = self.faults.pop(0) if self.faults else None
        self.said.append(text)
        for number, sound in enumerate(sounds(ramp(text, rate), self.cut)):
            if fault is not None and number >= fault.after:
                return fault.strike(connection)
            answer = {"audio": sound, "isFinal": None, "alignment": None, "normalizedAlignment": None}
            connection.send(json.dumps(answer))
            if not number:
                connection.send('{"audio":null,"isFinal":null,"something":"new"}')
                connection.send('{"type":"notice","message":"something newer"}')
        connection.send('{"isFinal":true,"audio":null}')
        connection.close(1000)


def _complaint(body: Any) -> Reply | None:
    for name, value in body.items():
        if name not in _BODY or not isinstance(value, _BODY[name]):
            return invalid(name, "Extra inputs are not permitted or of the wrong type")
    if not body.get("text") or "model_id" not in body:
        return invalid("text", "Field required")
    if not _is_settings(body.get("voice_settings", {})):
        return invalid("voice_settings", "Input should be a valid number")
    if body["model_id"] not in _LIMITS:
        return refused(400, status="model_not_found", message="A model with that id does not exist")
    if "language_code" in body and "multilingual_v2" in body["model_id"]:
        return refused(400, status="unsupported_language", message="Model does not support the language code")
    if len(body["text"]) > _LIMITS[body["model_id"]]:
        return refused(400, status="max_character_limit_exceeded", message="too long")
    return None


def _is_settings(found: Any) -> bool:
    return isinstance(found, dict) and all(
        name in _SETTINGS and (value is None or isinstance(value, _SETTINGS[name])) for name, value in found.items()
    )


def _socket_complaint(found: Any, first: bool) -> str:
    known = {"text", "try_trigger_generation", "flush", "voice_settings", "generation_config", "generator_config"}
    known |= {"pronunciation_dictionary_locators", "xi_api_key", "authorization"} if first else set()
    if not isinstance(found, dict) or not set(found) <= known or not isinstance(found.get("text"), str):
        return "Could not parse input message, make sure it is a json and follows the schema outlined in protocol."
    if first and found["text"] != " ":
        return "the first text must be a space"
    if found.get("voice_settings") is not None and not (first and _is_settings(found["voice_settings"])):
        return "voice_settings may only be given in the first message"
    if found["text"] and not found["text"].endswith(" "):
        return "a text must end with a space"
    return ""


def _end(connection: ServerConnection, code: str, message: str) -> None:
    connection.send(json.dumps({"message": message, "error": code, "code": 1008}))
    connection.close(1008, message[:100])
