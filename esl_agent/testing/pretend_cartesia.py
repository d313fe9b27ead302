"""A pretend Cartesia: ``/tts/websocket``, several contexts one after the other on a socket.

What it takes is what cartesia 4.2.0 ``types/generation_request_param.py`` knows, what it says what
``types/websocket_response.py`` knows.
"""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from esl_agent.testing.pretend_speech import Cut, SocketFault, odd_pieces, ramp, sounds
from esl_agent.testing.web import PretendWebSocket

KEY = "sk_car_0123456789abcdef"
VOICE = "6ccbfb76-1fc6-48f7-b71d-91ac6298247b"
_RATES = (8000, 16000, 22050, 24000, 44100, 48000)
_KNOWN = {
    "context_id", "model_id", "output_format", "transcript", "voice", "add_phoneme_timestamps", "add_timestamps",
    "flush", "generation_config", "language", "max_buffer_delay_ms", "pronunciation_dict_id", "speed",
    "use_normalized_timestamps", "continue",
}  # fmt: skip


class PretendCartesia:
    """Started and stopped as a context manager. ``requests``: what it was asked; ``cancelled``: contexts."""

    def __init__(self) -> None:
        self.websocket = PretendWebSocket(self._serve)
        self.requests: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.said: list[str] = []
        self.cut: Cut = odd_pieces
        self.faults: list[SocketFault] = []
        """One for each clause."""
        self._used: set[str] = set()

    def __enter__(self) -> PretendCartesia:
        self.websocket.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.websocket.stop()

    def _serve(self, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        headers = request.headers
        is_known = headers.get("Authorization") == f"Bearer {KEY}" or headers.get("X-API-Key") == KEY
        if urlsplit(request.path).path != "/tts/websocket" or not headers.get("Cartesia-Version") or not is_known:
            told = f"Invalid API key: {headers.get('Authorization')}"
            connection.send(_error("", 401, "unauthorized", "Invalid API key", told))
            return
        try:
            texts: dict[str, str] = {}
            for message in connection:
                self._take(connection, json.loads(message), texts)
        except ConnectionClosed:
            return

    def _take(self, connection: ServerConnection, found: Any, texts: dict[str, str]) -> None:
        context = str(found.get("context_id", ""))
        if found.get("cancel") is True and set(found) == {"context_id", "cancel"}:
            self.cancelled.append(context)
            return
        self.requests.append(found)
        if complaint := _complaint(found):
            connection.send(_error(context, 400, "invalid_request", "Invalid request", complaint))
            return
        if context in self._used:
            connection.send(_error(context, 400, "context_closed", "Context closed", "this context has finished"))
            return
        texts[context] = texts.get(context, "") + found["transcript"]  # the last one may be empty
        if not found.get("continue") and not texts[context].strip():
            connection.send(_error(context, 400, "invalid_request", "Invalid request", "transcript is empty"))
        elif not found.get("continue"):
            self._used.add(context)
            self._say(connection, context, texts.pop(context), found["output_format"]["sample_rate"])

    def _say(self, connection: ServerConnection, context: str, text: str, rate: int) -> None:
        fault = self.faults.pop(0) if self.faults else None
        self.said.append(text)
        common = {"context_id": context, "status_code": 206, "done": False}
        for number, sound in enumerate(sounds(ramp(text, rate), self.cut)):
            if fault is not None and number >= fault.after:
                return fault.strike(connection)
            chunk = {"type": "chunk", "data": sound, "step_time": 1.5, "flush_id": 1, **common}
            if not number:
                connection.send(json.dumps({**chunk, "context_id": "somebody else's"}))
                connection.send(json.dumps({"type": "timestamps", **common}))
                connection.send(json.dumps({"type": "news", **common}))
            connection.send(json.dumps(chunk))
        connection.send(json.dumps({"type": "done", "done": True, "context_id": context, "status_code": 200}))


def _complaint(found: Any) -> str:
    if not set(found) <= _KNOWN:
        return f"unknown fields {sorted(set(found) - _KNOWN)}"
    for name, kind in (("context_id", str), ("model_id", str), ("transcript", str), ("output_format", dict)):
        if not isinstance(found.get(name), kind):
            return f"{name} is required"
    voice = found.get("voice")
    if (voice["id"] if isinstance(voice, dict) and "id" in voice else voice) != VOICE:
        return "voice not found"
    shape = found["output_format"]
    if set(shape) != {"container", "encoding", "sample_rate"} or shape["sample_rate"] not in _RATES:
        return "output_format is invalid"
    if shape["container"] != "raw" or shape["encoding"] != "pcm_s16le":
        return "this pretend service speaks pcm_s16le only"
    delay = found.get("max_buffer_delay_ms", 0)
    if not isinstance(delay, int) or not 0 <= delay <= 5000:
        return "max_buffer_delay_ms is invalid"
    if not set(found.get("generation_config", {})) <= {"speed", "volume", "emotion"}:
        return "generation_config is invalid"
    return ""


def _error(context: str, status: int, code: str, title: str, message: str) -> str:
    found = {"type": "error", "done": True, "status_code": status, "error_code": code, "title": title}
    found |= {"message": message, "request_id": "r1"}
    return json.dumps(found | ({"context_id": context} if context else {}))
