"""Pretend servers that take a whole WAV file: the older bridge's ``/transcribe``, OpenAI's ``/v1/audio/transcriptions``
(as the openai package 3.54 has it) and whisper.cpp's ``/inference``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import gevent

from esl_agent.testing.ears import Form, form_of, read_wav, understood
from esl_agent.testing.web import PretendHttp, Reply, Request


class PretendTranscription(PretendHttp):
    """``heard``: (PCM16, rate) of each file; ``forms``: the form it came in; ``slowness``: seconds for an answer, for
    each second of sound."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[bytes, int]] = []
        self.forms: list[Form] = []
        self.slowness = 0.0
        self.at_once = self.most_at_once = 0

    def listen(self, form: Form, field: str) -> str | None:
        """What is understood of the file; None for one that is no WAV."""
        found = read_wav(form.files[field][1])
        if found is None:
            return None
        self.forms.append(form)
        self.heard.append(found)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.slowness:
                gevent.sleep(self.slowness * len(found[0]) / 2 / found[1])
        finally:
            self.at_once -= 1
        return understood(*found)


class PretendTranscribe(PretendTranscription):
    """As FastAPI would have it: ``UploadFile`` in ``field``, else 422 with the place of what is missing."""

    def __init__(self, field: str = "file", answer: str = "transcript") -> None:
        super().__init__()
        self._field = field
        self._reply_with = answer
        self.route("POST", "/transcribe", self._transcribe)

    def _transcribe(self, request: Request) -> Reply:
        form = form_of(request)
        if form is None or self._field not in form.files:
            missing = {"type": "missing", "loc": ["body", self._field], "msg": "Field required", "input": None}
            return Reply.json({"detail": [missing]}, 422)
        text = self.listen(form, self._field)
        return Reply.json({self._reply_with: text}) if text is not None else Reply.json({"detail": "no WAV"}, 400)


class PretendTranscriptions(PretendTranscription):
    """OpenAI's. Without ``key`` nobody needs one."""

    MODELS = ("gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1")
    FIELDS = frozenset(
        [
            "model",
            "language",
            "languages[]",
            "prompt",
            "keywords[]",
            "temperature",
            "response_format",
            "timestamp_granularities[]",
            "stream",
            "chunking_strategy",
            "include[]",
        ]
    )

    def __init__(self, key: str = "") -> None:
        super().__init__()
        self._key = key
        self.route("POST", "/v1/audio/transcriptions", self._transcribe)

    def _transcribe(self, request: Request) -> Reply:
        if self._key and request.headers.get("authorization") != f"Bearer {self._key}":
            shown = request.headers.get("authorization", "")
            return _error(401, "invalid_api_key", f"Incorrect API key provided: {shown}")
        form = form_of(request)
        if form is None or "file" not in form.files:
            return _error(400, "missing_required_parameter", "Missing required parameter: 'file'.")
        if trouble := self._complaint(form):
            return _error(*trouble)
        text = self.listen(form, "file")
        if text is None:
            return _error(400, "unsupported_format", "The audio file could not be decoded.")
        done: dict[str, Any] = {"text": text, "usage": {"type": "duration", "seconds": 1}}
        if form.one("include[]") == "logprobs":
            done["logprobs"] = [{"token": word, "logprob": math.log(0.9), "bytes": [1]} for word in text.split()]
        if form.one("stream") == "true" and form.one("model") != "whisper-1":
            return Reply(_events(text, done), content_type="text/event-stream")
        return Reply.json(done)

    def _complaint(self, form: Form) -> tuple[int, str, str] | None:
        model = form.one("model")
        if model not in self.MODELS:
            return 404, "model_not_found", f"The model {model!r} does not exist"
        if unknown := {name for name, _ in form.fields} - self.FIELDS:
            return 400, "unknown_parameter", f"Unknown parameter: {unknown}"
        if "." not in form.files["file"][0]:
            return 400, "unsupported_format", "Unrecognized file format"
        if (language := form.one("language")) and not (language.isalpha() and len(language) in (2, 3)):
            return 400, "invalid_language_format", f"Invalid language {language!r}"
        if form.one("keywords[]") and model != "gpt-transcribe":
            return 400, "unsupported_value", "keywords are for gpt-transcribe"
        if form.one("include[]") and not model.startswith("gpt-4o"):
            return 400, "unsupported_value", "logprobs are for gpt-4o models"
        return None


class PretendWhisperCpp(PretendTranscription):
    """whisper.cpp's. Its language is English unless it is told; errors are its own plain text."""

    def __init__(self) -> None:
        super().__init__()
        self.languages: list[str] = []
        self.route("POST", "/inference", self._infer)
        self.route("GET", "/health", lambda _: Reply.json({"status": "ok"}))

    def _infer(self, request: Request) -> Reply:
        form = form_of(request)
        if form is None or "file" not in form.files:
            return Reply.json({"error": "no 'file' field in the request"})
        self.languages.append(form.one("language") or "en")
        text = self.listen(form, "file")
        if text is None or self.heard[-1][1] != 16000:
            return Reply.json({"error": "failed to read WAV file"})
        return Reply.json({"text": "".join(f" {word}\n" for word in text.split())})


def _events(text: str, done: dict[str, Any]) -> Iterator[bytes]:
    for number, word in enumerate(text.split()):
        yield _event({"type": "transcript.text.delta", "delta": f" {word}" if number else word})
    yield _event({"type": "transcript.text.done", **done})


def _event(found: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(found, ensure_ascii=False).encode() + b"\n\n"


def _error(status: int, code: str, message: str) -> Reply:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return Reply.json(body, status)
