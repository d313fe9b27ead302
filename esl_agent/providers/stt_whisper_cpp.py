"""STT ``whisper_cpp``: the server of whisper.cpp (``examples/server``), ``POST /inference``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent.audio.wav import wav
from esl_agent.errors import ProviderError
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity, Transcript
from esl_agent.providers.http import HttpServer
from esl_agent.providers.languages import short_language
from esl_agent.providers.utterance import UNHEARD, as_object, sound, spoken, text_of
from esl_agent.setting import STRICT, setting

log = logging.getLogger(__name__)

#: What the server takes without --convert.
RATE = 16000


@dataclass(frozen=True, slots=True)
class WhisperCppOptions:
    """whisper.cpp's own server. It answers one request after the other: give each call's worth of load its own."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting("http://127.0.0.1:8080", "Where it listens, with its --request-path.", pattern="^https?://")
    path: str = setting("inference", "Its --inference-path.")
    language: str = setting("", "ISO 639-1. Empty: from the DID's language; `auto`: the model finds out.")
    prompt: str = setting("", "Text that the transcript could follow on: names, spelling, style.")
    phrases: bool = setting(False, "Add what callers are expected to say to the prompt.")
    fields: dict[str, str] = setting(dict, 'Further fields of the form: `{temperature: "0", no_timestamps: "true"}`.')
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    at_once: int = setting(0, "Requests that the server may have at a time, of all calls. 0: no limit.", ge=0)


class WhisperCpp:
    identity = Identity("whisper_cpp")
    streaming = False

    def __init__(self, options: WhisperCppOptions, context: EngineContext) -> None:
        self.identity = Identity("whisper_cpp", account(options.url), options.at_once)
        self._path = options.path
        # Without a language the server takes everything for English.
        self._form = {
            "response_format": "json",
            "language": options.language or short_language(context.language),
            **options.fields,
        }
        prompt = " ".join(filter(None, (options.prompt, ", ".join(context.phrases) if options.phrases else "")))
        if prompt:
            self._form["prompt"] = prompt
        self._server = HttpServer("stt", options.url, ca_file=options.ca_file)

    def warm(self) -> None:
        """Look whether it has loaded its model, in a thread; says so in the log if not."""
        threading.Thread(target=self._look, name="whisper.cpp health", daemon=True).start()

    def prepare(self) -> None:
        self._server.connect()

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        """One final transcript when ``audio`` has ended."""
        pcm = b"".join(sound(audio, rate, RATE))
        if not pcm:
            yield UNHEARD
            return
        files = {"file": ("utterance.wav", wav(pcm, RATE), "audio/wav")}
        with self._server.ask("POST", self._path, files=files, data=self._form, expect="application/json") as answer:
            found = as_object(answer.whole(), self._server.error)
        if "text" not in found and "error" in found:
            raise self._server.error(f"it refused: {found['error']}", retryable=False, blame="request")
        yield Transcript(spoken(text_of(found, "text", self._server.error)), final=True)

    def _look(self) -> None:
        try:
            with self._server.ask("GET", "health", read_timeout=2.0) as answer:
                answer.whole()
        except ProviderError as error:
            log.warning("%s; is its model loaded?", error)
