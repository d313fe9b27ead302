"""STT ``transcribe``: an utterance at a time to a Whisper server of your own, by the older bridge's contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity, Transcript
from esl_agent.providers.transcribe_server import TranscribeServer
from esl_agent.providers.utterance import UNHEARD, sound
from esl_agent.setting import STRICT, setting


@dataclass(frozen=True, slots=True)
class TranscribeOptions:
    """A server that takes a WAV file in a form and answers `{"transcript": "..."}`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting(doc="The whole address, which ends in /transcribe.", env="GPU_SERVER_URL", pattern="^https?://")
    field: str = setting("file", "The form's field for the WAV file.")
    fields: dict[str, str] = setting(dict, "Further fields of the form: `{language: tr}`.")
    rate: Literal[0, 8000, 16000] = setting(16000, "Samples a second of the WAV file. 0: as the call has it.")
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    at_once: int = setting(0, "Requests that the server may have at a time, of all calls. 0: no limit.", ge=0)


class Transcribe:
    streaming = False

    def __init__(self, options: TranscribeOptions, context: EngineContext) -> None:
        self.identity = Identity("transcribe", account(options.url), options.at_once)
        self._server = TranscribeServer(
            options.url, field=options.field, rate=options.rate, fields=options.fields, ca_file=options.ca_file
        )

    def prepare(self) -> None:
        self._server.http.connect()

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        """One final transcript when ``audio`` has ended."""
        pcm = b"".join(sound(audio, rate))
        yield Transcript(self._server.transcript(pcm, rate), final=True) if pcm else UNHEARD
