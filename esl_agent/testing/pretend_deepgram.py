"""A pretend Deepgram: ``/v1/listen`` and ``/v2/listen`` (Flux), shapes as in deepgram-sdk 7.17, ``listen/v1`` and
``listen/v2``; what it refuses and how it closes as its documentation says."""

from __future__ import annotations

import audioop
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from esl_agent.testing.ears import PretendEars, say, understood, words

KEY = "dg-0123456789abcdef"
REQUEST = "5d1c9e0a-0000-4000-8000-000000000000"
#: Parameters of v1 (``V1Client.connect``) and v2 that a pretended account may use.
V1 = frozenset(
    [
        "channels",
        "encoding",
        "endpointing",
        "extra",
        "interim_results",
        "keyterm",
        "keywords",
        "language",
        "language_hint",
        "mip_opt_out",
        "model",
        "multichannel",
        "numerals",
        "profanity_filter",
        "punctuate",
        "redact",
        "replace",
        "sample_rate",
        "search",
        "smart_format",
        "tag",
        "utterance_end_ms",
        "vad_events",
        "version",
        "diarize",
        "dictation",
        "detect_entities",
    ]
)
V2 = frozenset(
    [
        "model",
        "encoding",
        "sample_rate",
        "eager_eot_threshold",
        "eot_threshold",
        "eot_timeout_ms",
        "keyterm",
        "language_hint",
        "mip_opt_out",
        "tag",
        "profanity_filter",
        "numerals",
        "redact",
    ]
)
#: Seconds of sound between two interim results, and until one is final.
INTERIM, STRETCH = 0.3, 1.2
#: Seconds of silence after speech that are the end of a turn to Flux.
TURN_END = 0.6


class PretendDeepgram(PretendEars):
    """``heard`` has the sound as PCM16. ``answers_finalize``: whether Finalize is answered, which is not promised.
    ``idle``: seconds without anything after which it closes (NET-0001)."""

    def __init__(self, *, answers_finalize: bool = True, idle: float = 10.0, late: bool = False) -> None:
        super().__init__(self._listen)
        self.queries: list[dict[str, list[str]]] = []
        self.answers_finalize = answers_finalize
        self.idle = idle
        self.late = late
        """A result of the utterance before comes again when the next begins."""

    def _admit(self, connection: ServerConnection, request: Any) -> Any:
        parts = urlsplit(request.path)
        trouble = _complaint(parts.path, parse_qs(parts.query), request.headers.get("Authorization", ""))
        if trouble and self.refuse is None:
            status, code, message = trouble
            self.refuse = (status, json.dumps({"err_code": code, "err_msg": message, "request_id": REQUEST}).encode())
        return super()._admit(connection, request)

    def _listen(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        parts = urlsplit(connection.request.path)
        query = parse_qs(parts.query)
        self.queries.append(query)
        heard, told = self.new_connection(connection)
        stream = (_Nova if parts.path == "/v1/listen" else _Flux)(self, connection, query)
        while True:
            try:
                message = connection.recv(self.idle)
            except TimeoutError:
                connection.close(1011, "NET-0001: no audio or KeepAlive")
                return
            except ConnectionClosed:
                return
            if isinstance(message, bytes):
                if not message or (query["encoding"] == ["linear16"] and len(message) % 2):
                    connection.close(1008, "DATA-0000: undecodable audio")
                    return
                pcm = audioop.ulaw2lin(message, 2) if query["encoding"] == ["mulaw"] else message
                heard += pcm
                stream.hear(pcm)
                self.strike("sound", connection)
                continue
            told.append(message)
            kind = json.loads(message).get("type")
            if kind not in stream.ORDERS:
                stream.refuse(kind)
                connection.close(1008, "unknown message")
                return
            if kind in ("Finalize", "CloseStream"):
                self.strike("end", connection)
            if stream.obey(kind):
                return


def _complaint(path: str, query: dict[str, list[str]], authorization: str) -> tuple[int, str, str] | None:
    if authorization != f"Token {KEY}":
        return 401, "INVALID_AUTH", f"Invalid credentials: {authorization}"
    known = {"/v1/listen": V1, "/v2/listen": V2}.get(path)
    if known is None:
        return 404, "NOT_FOUND", "no such path"
    if unknown := set(query) - known:
        return 400, "Bad Request", f"unknown query parameter {unknown}"
    if query.get("encoding", [""])[0] not in ("linear16", "mulaw") or not query.get("sample_rate", [""])[0].isdigit():
        return 400, "Bad Request", "encoding and sample_rate are needed for raw audio"
    model = query.get("model", [""])[0]
    if path == "/v2/listen" and model not in ("flux-general-en", "flux-general-multi"):
        return 400, "Bad Request", f"no such model {model!r}"
    if path == "/v2/listen" and "language_hint" in query and model != "flux-general-multi":
        return 400, "Bad Request", "language_hint needs flux-general-multi"
    if path == "/v1/listen" and not model.startswith(("nova-", "enhanced", "base")):
        return 403, "INSUFFICIENT_PERMISSIONS", f"no access to model {model!r}"
    if path == "/v1/listen" and "keyterm" in query and not model.startswith("nova-3"):
        return 400, "Bad Request", "keyterm needs nova-3"
    return None


class _Nova:
    ORDERS = ("KeepAlive", "Finalize", "CloseStream")

    def __init__(self, server: PretendDeepgram, connection: ServerConnection, query: dict[str, list[str]]) -> None:
        self._server = server
        self._connection = connection
        self._rate = int(query["sample_rate"][0])
        self._interim = query.get("interim_results") == ["true"]
        self._endpointing = query.get("endpointing", ["10"])[0]
        self._pcm = b""
        self._start = self._told = 0.0
        self._words = 0
        self._last: dict[str, Any] = {}

    def hear(self, pcm: bytes) -> None:
        if not self._pcm and self._last and self._server.late:
            say(self._connection, self._last)
        self._pcm += pcm
        length = self._length()
        if length >= STRETCH:
            self._result(is_final=True)
        elif self._interim and length >= self._told + INTERIM:
            self._told = length
            self._result()

    def obey(self, order: str) -> bool:
        if order == "Finalize" and self._server.answers_finalize:
            self._result(is_final=True, from_finalize=True)
        if order == "CloseStream":
            if self._pcm:
                self._result(is_final=True)
            say(self._connection, _metadata(self._start))
            return True
        return False

    def refuse(self, order: str) -> None:
        say(self._connection, {"type": "Error", "variant": "ParseError", "description": f"what is {order!r}?"})

    def _length(self) -> float:
        return len(self._pcm) / 2 / self._rate

    def _result(self, is_final: bool = False, from_finalize: bool = False) -> None:
        text = understood(self._pcm, self._rate, self._words)
        tail = self._pcm[-int(self._rate * 0.3) * 2 :]
        found = {
            "type": "Results", "channel_index": [0, 1], "start": self._start, "duration": self._length(),
            "is_final": is_final, "speech_final": is_final and not any(tail) and self._endpointing != "false",
            "from_finalize": from_finalize,
            "channel": {"alternatives": [{"transcript": text, "confidence": 0.9 if text else 0.0,
                                          "words": words(text, self._start)}]},
            "metadata": {"request_id": REQUEST, "model_uuid": REQUEST,
                         "model_info": {"name": "general-nova-3", "version": "2026-01-01.0", "arch": "nova-3"}},
        }  # fmt: skip
        say(self._connection, found)
        if is_final:
            self._start += self._length()
            self._words = 0 if from_finalize else self._words + len(text.split())
            self._pcm, self._told, self._last = b"", 0.0, found


class _Flux:
    ORDERS = ("CloseStream", "Configure", "ForceEndTurn")

    def __init__(self, server: PretendDeepgram, connection: ServerConnection, query: dict[str, list[str]]) -> None:
        self._connection = connection
        self._rate = int(query["sample_rate"][0])
        self._is_eager = "eager_eot_threshold" in query
        self._pcm = b""
        self._turn = self._sequence = 0
        self._begun, self._told, self._is_awaiting = 0.0, 0.0, False
        self._say({"type": "Connected", "request_id": REQUEST})

    def hear(self, pcm: bytes) -> None:
        self._pcm += pcm
        for event in self._events():
            self._tell(event)

    def obey(self, order: str) -> bool:
        if order == "CloseStream":
            if self._text():
                self._tell("Update")
            with self._connection.send_context():
                self._connection.protocol.send_close()  # without a status
            return True
        if order == "ForceEndTurn" and self._text():
            self._tell("EndOfTurn", trigger="manual")
        return False

    def refuse(self, order: str) -> None:
        self._say({"type": "Error", "code": "UNPARSABLE_CLIENT_MESSAGE", "description": f"what is {order!r}?"})

    def _events(self) -> Iterator[str]:
        length = len(self._pcm) / 2 / self._rate
        if length < self._told + 0.24:
            return
        self._told = length
        tail = [any(self._pcm[-int(self._rate * seconds) * 2 :]) for seconds in (TURN_END / 2, TURN_END)]
        if not self._text():
            return
        if not self._begun:
            self._begun = length
            yield "StartOfTurn"
        elif not tail[1]:
            yield "EndOfTurn"
        elif self._is_eager and not tail[0] and not self._is_awaiting:
            self._is_awaiting = True
            yield "EagerEndOfTurn"
        elif self._is_awaiting and tail[0]:
            self._is_awaiting = False
            yield "TurnResumed"
        else:
            yield "Update"

    def _text(self) -> str:
        return understood(self._pcm, self._rate)

    def _tell(self, event: str, **more: Any) -> None:
        text = self._text()
        items = [{"word": each["word"], "confidence": each["confidence"]} for each in words(text, 0.0)]
        if event == "EndOfTurn":
            more = {"trigger": "model", **more}
        self._say(
            {
                "type": "TurnInfo",
                "request_id": REQUEST,
                "event": event,
                "turn_index": self._turn,
                "audio_window_start": 0.0,
                "audio_window_end": len(self._pcm) / 2 / self._rate,
                "transcript": text,
                "words": items,
                "end_of_turn_confidence": 0.8 if event == "EndOfTurn" else 0.1,
                **more,
            }
        )
        if event == "EndOfTurn":
            self._turn += 1
            self._pcm, self._begun, self._told, self._is_awaiting = b"", 0.0, 0.0, False

    def _say(self, message: dict[str, Any]) -> None:
        say(self._connection, {**message, "sequence_id": self._sequence})
        self._sequence += 1


def _metadata(duration: float) -> dict[str, Any]:
    return {
        "type": "Metadata", "transaction_key": "deprecated", "request_id": REQUEST, "sha256": "0" * 64,
        "created": "2026-11-21T12:00:00.000Z", "duration": duration, "channels": 1,
    }  # fmt: skip
