"""TTS ``elevenlabs``: speech over HTTP, sound while it is made.

A long clause is spoken in parts; each is told what the others say (``previous_text``, ``next_text``), so that the
melody goes on. Source: elevenlabs 2.78.0 ``text_to_speech/raw_client.py`` ``stream``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers import mp3
from esl_agent.providers.base import EngineContext
from esl_agent.providers.elevenlabs import (
    ElevenLabsOptions,
    identity_of,
    is_plan,
    judged,
    key_of,
    language_of,
    voice_settings,
)
from esl_agent.providers.http import Answer, HttpServer
from esl_agent.providers.sound import SOUND, Raw, pcm16, silence
from esl_agent.providers.spoken import parts, speakable
from esl_agent.providers.voice_key import voice_key
from esl_agent.setting import setting

log = logging.getLogger(__name__)

#: Asked for in this order where the plan refuses a format with 403. Every plan has the last.
_INSTEAD = ("pcm_24000", "pcm_22050", "pcm_16000", "ulaw_8000", "mp3_44100_128", "mp3_22050_32")


@dataclass(frozen=True, slots=True)
class ElevenLabsVoiceOptions(ElevenLabsOptions):
    """ElevenLabs over HTTP: a request for each clause."""

    format: str = setting(
        "auto",
        "auto: samples at rate, as they are. mp3_44100_128 and the like need ffmpeg and come late: for a plan or a "
        "proxy that has nothing else. What the plan refuses is asked for in another format.",
        pattern=r"^(auto|pcm_\d{4,5}|[ua]law_8000|wav_\d{4,5}|mp3_\d{5}_\d{2,3})$",
    )
    part: int = setting(450, "Characters of one request; a longer clause is cut, at a sentence's end.", ge=50, le=10000)
    pause: float = setting(0.1, "Seconds of silence between the parts of one clause.", ge=0, le=2)
    seed: int | None = setting(None, "The same text then sounds the same, mostly.", ge=0, le=4294967295)
    text_normalization: Literal["", "auto", "on", "off"] = setting("", "Whether numbers are spelled out. Empty: unset.")
    optimize_streaming_latency: int | None = setting(None, "An older switch, from 0 to 4. Unset: not sent.", ge=0, le=4)
    enable_logging: bool | None = setting(None, "false: nothing is kept by the service (enterprise plans only).")


class ElevenLabsVoice:
    """Speaks over kept connections."""

    def __init__(self, options: ElevenLabsVoiceOptions, context: EngineContext) -> None:
        key = key_of("elevenlabs", options)
        wanted = f"pcm_{options.rate}" if options.format == "auto" else options.format
        if wanted.startswith("mp3") and not mp3.is_ready():
            raise ConfigError([f"tts: engine elevenlabs: format {wanted}: {mp3.MISSING}"])
        self._options = options
        self._language = language_of(options, context)
        self._formats = [wanted, *(each for each in _INSTEAD if each != wanted)]
        """The first is asked for; those that the plan refuses are taken away once another one was not."""
        self._has_warned = False
        self._server = HttpServer("tts", options.url, headers={"xi-api-key": key}, secrets=(key,))
        self.rate: int = options.rate
        self.identity = identity_of("elevenlabs", options, key)
        self.voice = voice_key("elevenlabs", options, self._language)

    def prepare(self) -> None:
        """A call begins: have a connection ready."""
        self._server.connect()

    def speak(self, text: str) -> Iterator[bytes]:
        """PCM16 mono in pieces; nothing at all for text without a letter or digit."""
        said = parts(speakable(text), self._options.part)
        for number, part in enumerate(said):
            if number:
                yield silence(self._options.pause, self.rate)
            body = self._body(part, said[number - 1] if number else "", "".join(said[number + 1 : number + 2]))
            answer, came = self._asked(body)
            with answer:
                self._note(answer)
                yield from pcm16(answer.pieces(), _shape(came), self.rate, self._server.error, answer.content_type)

    def _body(self, part: str, before: str, after: str) -> dict[str, Any]:
        options = self._options
        body: dict[str, Any] = {"text": part, "model_id": options.model}
        optional = {
            "language_code": self._language,
            "voice_settings": voice_settings(options),
            "apply_text_normalization": options.text_normalization,
            "previous_text": before,
            "next_text": after,
        }
        body.update((name, value) for name, value in optional.items() if value)
        if options.seed is not None:
            body["seed"] = options.seed
        return body

    def _asked(self, body: dict[str, Any]) -> tuple[Answer, str]:
        """The answer, and its format: the first that the plan allows, which is asked for at once from then on."""
        formats = self._formats
        path = f"v1/text-to-speech/{self._options.voice}/stream"
        told = ""
        for wanted in formats:
            if wanted.startswith("mp3") and not mp3.is_ready():
                continue
            try:
                answer = self._server.ask("POST", path, params=self._parameters(wanted), json=body, expect=SOUND)
            except ProviderError as error:
                if not is_plan(error):
                    raise judged(error) from None
                told = str(error)
                continue
            if wanted != formats[0]:
                log.warning("tts: elevenlabs: the plan does not have %s; from now on %s", formats[0], wanted)
                self._formats = formats[formats.index(wanted) :]
            return answer, wanted
        more = "" if mp3.is_ready() else f"; {mp3.MISSING}"
        raise self._server.error(
            f"{told}; the plan has none of {', '.join(formats)}{more}", retryable=False, blame="setup"
        )

    def _parameters(self, wanted: str) -> dict[str, str]:
        options = self._options
        found = {"output_format": wanted}
        if options.optimize_streaming_latency is not None:
            found["optimize_streaming_latency"] = str(options.optimize_streaming_latency)
        if options.enable_logging is not None:
            found["enable_logging"] = str(options.enable_logging).lower()
        return found

    def _note(self, answer: Answer) -> None:
        """The service says how much the plan allows: told once, where our own limit would not keep to it."""
        text = answer.headers.get("maximum-concurrent-requests", "")
        limit = int(text) if text.isdecimal() and len(text) < 6 else 0
        if limit and not self._has_warned and not 0 < self._options.at_once <= limit:
            self._has_warned = True
            log.warning(
                "tts: elevenlabs: the account may have %d requests at a time; at_once is %d, set it to %d",
                limit, self._options.at_once, limit,
            )  # fmt: skip


def _shape(name: str) -> Raw | None:
    kind, rate = name.split("_")[:2]
    if kind == "wav":
        return None
    return Raw({"ulaw": "ulaw", "alaw": "alaw"}.get(kind, "s16"), int(rate))  # type: ignore[arg-type]
