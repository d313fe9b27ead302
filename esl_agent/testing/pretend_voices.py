"""Pretend voices with one HTTP route each: OpenAI's speech (and its imitators), Deepgram Aura, piper, Coqui, XTTS.

Strict as their sources, which each says: openai 3.54.0, deepgram-sdk 7.17.0, piper-tts 1.8.0 ``http_server.py``,
idiap/coqui-ai-TTS ``TTS/server/server.py``, coqui-ai/xtts-streaming-server ``server/main.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import parse_qs

from esl_agent.testing.pretend_speech import Cut, invalid, odd_pieces, ramp, wav, whole
from esl_agent.testing.web import PretendHttp, Reply, Request

OPENAI_KEY = "sk-0123456789abcdef"
DEEPGRAM_KEY = "dg0123456789abcdef"


class PretendVoice(PretendHttp):
    """``said``: the texts it spoke. ``cut``: how it cuts what it sends."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.cut: Cut = odd_pieces
        self.route("HEAD", "/", lambda _: Reply())

    def pcm(self, text: str, rate: int) -> bytes:
        self.said.append(text)
        return ramp(text, rate)


class PretendOpenAiSpeech(PretendVoice):
    """``types/audio/speech_create_params.py``. ``kokoro``: as Kokoro-FastAPI, with its own model, voices and fields."""

    VOICES = (
        "alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer", "verse", "marin", "cedar"
    )  # fmt: skip

    def __init__(self, kokoro: bool = False) -> None:
        super().__init__()
        self._is_kokoro = kokoro
        self.route("POST", "/v1/audio/speech", self._speak)
        self.route("HEAD", "/v1", lambda _: Reply())

    def _speak(self, request: Request) -> Reply:
        if not self._is_kokoro and request.headers.get("authorization") != f"Bearer {OPENAI_KEY}":
            return Reply.json({"error": {"code": "invalid_api_key", "message": "Incorrect API key provided"}}, 401)
        if request.headers.get("content-type") != "application/json":
            return Reply.json({"error": {"code": None, "message": "expected JSON"}}, 400)
        body = request.json()
        if complaint := self._complaint(body):
            return Reply.json({"error": {"code": None, "type": "invalid_request_error", "message": complaint}}, 400)
        shape = body.get("response_format", "mp3")
        pcm = self.pcm(body["input"], 24000)
        if shape == "wav":
            return Reply(self.cut(wav(pcm, 24000, 0xFFFFFFFF)), content_type="audio/wav")
        return Reply(self.cut(pcm), content_type="audio/pcm")

    def _complaint(self, body: Any) -> str:
        known = {"model", "input", "voice", "response_format", "speed", "instructions", "stream_format"}
        known |= {"lang_code", "stream"} if self._is_kokoro else set()
        if not set(body) <= known or not all(isinstance(body.get(name), str) for name in ("model", "input", "voice")):
            return "unrecognized or missing arguments"
        if not 0 < len(body["input"]) <= 4096:
            return "input must have from 1 to 4096 characters"
        if body["voice"] not in (("af_heart",) if self._is_kokoro else self.VOICES):
            return "voice not found"
        if body.get("response_format", "mp3") not in ("pcm", "wav"):
            return "this pretend service speaks pcm and wav only"
        return "" if 0.25 <= body.get("speed", 1) <= 4 else "speed must be from 0.25 to 4"


class PretendAura(PretendVoice):
    """``speak/v1/audio/raw_client.py`` ``generate``."""

    _KNOWN = frozenset((
        "callback", "callback_method", "mip_opt_out", "tag", "bit_rate", "container", "encoding", "model",
        "sample_rate", "speed",
    ))  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.route("POST", "/v1/speak", self._speak)

    def _speak(self, request: Request) -> Reply:
        query = {name: values[0] for name, values in request.query.items()}
        if request.headers.get("authorization") != f"Token {DEEPGRAM_KEY}":
            return self._refused(401, "INVALID_AUTH", "Invalid credentials.")
        body = request.json()
        if not set(query) <= self._KNOWN or set(body) != {"text"} or not body["text"]:
            return self._refused(400, "INVALID_QUERY_PARAMETER", "Failed to deserialize query parameters")
        if not query.get("model", "").startswith("aura-"):
            return self._refused(400, "INVALID_QUERY_PARAMETER", "Invalid 'model' specified.")
        if len(body["text"]) > 2000:
            return self._refused(413, "PAYLOAD_TOO_LARGE", "Text exceeds 2000 characters")
        rate = query.get("sample_rate", "24000")
        if query.get("encoding") != "linear16" or rate not in ("8000", "16000", "24000", "32000", "48000"):
            return self._refused(400, "UNSUPPORTED_AUDIO_FORMAT", "Unsupported audio format")
        pcm = self.pcm(body["text"], int(rate))
        if query.get("container") == "none":
            return Reply(self.cut(pcm), content_type="audio/l16")
        return Reply(self.cut(wav(pcm, int(rate), 0x7FFFFFFF)), content_type="audio/wav")

    @staticmethod
    def _refused(status: int, code: str, message: str) -> Reply:
        return Reply.json({"err_code": code, "err_msg": message, "request_id": "r1"}, status)


class PretendPiper(PretendVoice):
    """As its Flask server: the body is read as JSON whatever it is called, the answer is called HTML. ``old``: as
    before June 2026, at its root."""

    def __init__(self, old: bool = False, rate: int = 22050) -> None:
        super().__init__()
        self.cut = whole
        self._rate = rate
        self.route("POST", "/" if old else "/synthesize", self._speak)
        if not old:
            self.route("GET", "/", lambda _: Reply(b"<html>a page for a browser", content_type="text/html"))

    def _speak(self, request: Request) -> Reply:
        try:
            text = json.loads(request.body).get("text", "").strip()
        except ValueError:
            text = ""
        if not text:
            return Reply(b"<!doctype html>\n<title>500 Internal Server Error</title>", 500, "text/html; charset=utf-8")
        data = wav(self.pcm(text, self._rate), self._rate)
        return Reply(self.cut(data), content_type="text/html; charset=utf-8")


class PretendCoqui(PretendVoice):
    """``old``: as the first server, which knew GET only."""

    def __init__(self, old: bool = False) -> None:
        super().__init__()
        self.cut = whole
        self.route("GET", "/api/tts", self._speak)
        if not old:
            self.route("POST", "/api/tts", self._speak)

    def _speak(self, request: Request) -> Reply:
        form = parse_qs(request.body.decode("ascii")) if request.method == "POST" else request.query
        found = {name: values[0] for name, values in form.items()}
        if not set(found) <= {"text", "speaker_id", "language_id", "style_wav", "speaker_wav"}:
            return Reply.json({"error": "unknown parameter"}, 400)
        if not found.get("text"):
            return Reply.json({"error": "Required parameter 'text' is missing."}, 400)
        return Reply(self.cut(wav(self.pcm(found["text"], 22050), 22050)), content_type="audio/wav")


class PretendXtts(PretendVoice):
    """``server/main.py``: studio speakers, cloning, a stream."""

    SPEAKER: ClassVar[dict[str, Any]] = {
        "speaker_embedding": [0.25, -1.5e-05, 3.0],
        "gpt_cond_latent": [[0.5, -0.125], [1.0, 2.0]],
    }

    def __init__(self) -> None:
        super().__init__()
        self.recordings: list[bytes] = []
        other = {"speaker_embedding": [9.0], "gpt_cond_latent": [[9.0]]}
        speakers = {"Claribel Dervla": other, "Gökçe Çelik": self.SPEAKER, "Luis Moray": other}
        told = json.dumps(speakers, ensure_ascii=False).encode()
        self.route("GET", "/studio_speakers", lambda _: Reply(odd_pieces(told)))
        self.route("GET", "/languages", lambda _: Reply.json(["en", "tr", "zh-cn"]))
        self.route("POST", "/clone_speaker", self._clone)
        self.route("POST", "/tts_stream", self._speak)

    def _clone(self, request: Request) -> Reply:
        if b'name="wav_file"' not in request.body or b"RIFF" not in request.body:
            return invalid("wav_file", "Field required")
        self.recordings.append(request.body)
        return Reply.json(self.SPEAKER)

    def _speak(self, request: Request) -> Reply:
        body = request.json()
        known = {
            "speaker_embedding": list, "gpt_cond_latent": list, "text": str, "language": str, "add_wav_header": bool,
            "stream_chunk_size": str,
        }  # fmt: skip
        for name, value in body.items():
            if name not in known or not isinstance(value, known[name]):
                return invalid(name, "Input should be of another type")
        if not set(body) >= {"speaker_embedding", "gpt_cond_latent", "text", "language"}:
            return invalid("text", "Field required")
        if {name: body[name] for name in self.SPEAKER} != self.SPEAKER or body["language"] not in ("en", "tr", "zh-cn"):
            return Reply(_broken(), content_type="audio/wav")
        pcm = self.pcm(body["text"], 24000)
        data = wav(pcm, 24000, 0) if body.get("add_wav_header", True) else pcm
        return Reply(self.cut(data), content_type="audio/wav")


def _broken() -> Iterator[bytes]:
    """The model fails after the head of the answer has gone out."""
    yield b""
    raise ConnectionError
