"""STT ``openai``: ``POST /v1/audio/transcriptions`` at OpenAI, or at a server that speaks like it (speaches,
LocalAI, vLLM). Fields and answers as in the openai package 3.54, ``types/audio``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from esl_agent.audio.wav import wav
from esl_agent.providers import openai_key
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity, Transcript
from esl_agent.providers.http import Answer, HttpServer
from esl_agent.providers.languages import short_language
from esl_agent.providers.utterance import (
    MAX_TEXT,
    UNHEARD,
    Partials,
    as_object,
    objects_in,
    sound,
    spoken,
    text_of,
)
from esl_agent.setting import STRICT, setting

#: Of a prompt. Whisper looks at 224 tokens of it.
MAX_PROMPT = 800


@dataclass(frozen=True, slots=True)
class OpenAiRecogniserOptions:
    """OpenAI's transcription of a whole utterance, or that of a server with the same address scheme."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting("https://api.openai.com/v1", "Base address; of a server of your own too.", pattern="^https?://")
    model: str = setting("gpt-transcribe", "The model's name.")
    language: str = setting("", "ISO 639-1. Empty: from the DID's language; `auto`: the model finds out.")
    stream: bool = setting(False, "Have the text while it is being recognised. Not every server and model can.")
    prompt: str = setting("", "Text that the transcript could follow on: names, spelling, style.")
    phrases: Literal["none", "prompt", "keywords"] = setting(
        "none", "How the model learns what callers are expected to say: added to the prompt, or as keywords."
    )
    logprobs: bool = setting(False, "Ask how sure the model is. The gpt-4o models only.")
    temperature: float | None = setting(None, "Sent when set.", ge=0.0, le=1.0)
    rate: Literal[0, 8000, 16000] = setting(0, "Samples a second of the WAV file. 0: as the call has it.")
    api_key_env: str = setting("", openai_key.DOC)
    api_key_file: str = setting("", "File with the key, where the variable is not set.")
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    at_once: int = setting(0, "Requests that the account may have at a time, of all calls. 0: no limit.", ge=0)

    def __post_init__(self) -> None:
        openai_key.check_url(self.url, "audio/transcriptions")


class OpenAiRecogniser:
    streaming = False

    def __init__(self, options: OpenAiRecogniserOptions, context: EngineContext) -> None:
        key = openai_key.key("stt: engine openai", options.url, options.api_key_env, options.api_key_file)
        self.identity = Identity(f"openai/{options.model}", account(options.url, key), options.at_once)
        self._options = options
        self._form = _form(options, context)
        self._server = HttpServer(
            "stt",
            options.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            secrets=(key,) if key else (),
            ca_file=options.ca_file,
        )

    def prepare(self) -> None:
        self._server.connect()

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        """When ``audio`` has ended. With ``stream`` partial transcripts may come before the final one."""
        at = self._options.rate or rate
        pcm = b"".join(sound(audio, rate, at))
        if not pcm:
            yield UNHEARD
            return
        with self._server.ask(
            "POST",
            "audio/transcriptions",
            files={"file": ("utterance.wav", wav(pcm, at), "audio/wav")},
            data=self._form,
            expect=("application/json", "text/event-stream"),
        ) as answer:
            if answer.content_type == "text/event-stream":
                yield from self._events(answer)
            else:
                yield self._final(as_object(answer.whole(), self._server.error))

    def _events(self, answer: Answer) -> Iterator[Transcript]:
        partials, so_far = Partials(), ""
        for event in answer.events(until="[DONE]"):
            found = as_object(event.data, self._server.error)
            kind = found.get("type")
            if kind == "transcript.text.delta":
                so_far = (so_far + text_of(found, "delta", self._server.error))[:MAX_TEXT]
                yield from partials.new(spoken(so_far))
            elif kind == "transcript.text.done":
                final = self._final(found)
                answer.drain()
                yield final
                return
            elif "error" in found:
                raise self._server.error(f"it gave up: {found['error']}")
        raise self._server.error("the answer ended before the transcript was done")

    def _final(self, found: dict[str, Any]) -> Transcript:
        text = spoken(text_of(found, "text", self._server.error))
        return Transcript(text, final=True, confidence=_confidence(objects_in(found, "logprobs")))


def _form(options: OpenAiRecogniserOptions, context: EngineContext) -> list[tuple[str, str]]:
    form = [("model", options.model), ("response_format", "json")]
    if (language := options.language or short_language(context.language)) != "auto":
        form.append(("language", language))
    prompt = options.prompt
    if options.phrases == "prompt":
        prompt = " ".join(filter(None, (prompt, ", ".join(context.phrases))))
    if prompt:
        form.append(("prompt", prompt[:MAX_PROMPT]))
    if options.phrases == "keywords":
        form += [("keywords[]", phrase) for phrase in context.phrases]
    if options.temperature is not None:
        form.append(("temperature", f"{options.temperature:g}"))
    if options.logprobs:
        form.append(("include[]", "logprobs"))
    if options.stream:
        form.append(("stream", "true"))
    return form


def _confidence(logprobs: list[dict[str, Any]]) -> float | None:
    """The geometric mean of the tokens' probabilities."""
    values = [each["logprob"] for each in logprobs if isinstance(each.get("logprob"), int | float)]
    if not values or not all(-1000.0 < value < 1.0 for value in values):
        return None  # no logarithms; -9999 stands for one that is not known
    return min(1.0, math.exp(sum(values) / len(values)))
