"""STT ``transcribe_streaming``: words while the caller still speaks, from a server that only takes whole WAV files.

``StreamingWhisperASR`` of the older bridge: the sound so far is transcribed again and again, and the words that two
passes after each other agree on stay. The server gives no times of words, so that the window cannot be cut behind a
word; it is cut where the sound is quietest once it is ``window`` seconds long, and what came before keeps its words.

There is one request at a time. Once the caller pauses, the utterance is transcribed at once: if only silence follows,
that is the final transcript and nobody waits for another. Else the whole utterance is transcribed after its end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from esl_agent.audio.pieces import begun
from esl_agent.errors import ProviderError
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity, Transcript
from esl_agent.providers.heard_so_far import HeardSoFar
from esl_agent.providers.stable_prefix import StablePrefix
from esl_agent.providers.transcribe_server import TranscribeServer
from esl_agent.providers.utterance import UNHEARD, Partials
from esl_agent.setting import STRICT, setting

log = logging.getLogger(__name__)

#: Seconds of sound after the last voiced frame that a pass needs to have heard the end of the last word.
TAIL = 0.2
#: The least that is worth a pass: shorter sound makes Whisper invent words.
LEAST = 0.5


@dataclass(frozen=True, slots=True)
class TranscribeStreamingOptions:
    """The same server as `transcribe`, asked while the caller still speaks."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting(doc="The whole address, which ends in /transcribe.", env="GPU_SERVER_URL", pattern="^https?://")
    field: str = setting("file", "The form's field for the WAV file.")
    fields: dict[str, str] = setting(dict, "Further fields of the form: `{language: tr}`.")
    rate: Literal[0, 8000, 16000] = setting(16000, "Samples a second of the WAV file. 0: as the call has it.")
    interval: float = setting(0.7, "Seconds of new sound after which it is transcribed again.", ge=0.1, le=10.0)
    pause: float = setting(
        0.3,
        "Seconds of quiet after which all is transcribed: the final words if only quiet follows. 0: never.",
        ge=0.0,
    )
    window: float = setting(20.0, "Seconds of sound that are transcribed again; older words stay.", ge=5.0, le=60.0)
    partial_timeout: float = setting(3.0, "Seconds without an answer after which a pass is given up.", gt=0.0)
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    at_once: int = setting(0, "Requests that the server may have at a time, of all calls. 0: no limit.", ge=0)


class TranscribeStreaming:
    streaming = True

    def __init__(self, options: TranscribeStreamingOptions, context: EngineContext) -> None:
        self.identity = Identity("transcribe_streaming", account(options.url), options.at_once)
        self._options = options
        self._server = TranscribeServer(
            options.url, field=options.field, rate=options.rate, fields=options.fields, ca_file=options.ca_file
        )

    def prepare(self) -> None:
        self._server.http.connect()

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        """Partial transcripts while ``audio`` comes, then the final one."""
        sound = begun(audio)
        if sound is None:
            yield UNHEARD
            return
        heard = HeardSoFar(sound, rate, self._options.rate)
        yield from _Utterance(heard, self._server, self._options).transcripts()


class _Utterance:
    def __init__(self, heard: HeardSoFar, server: TranscribeServer, options: TranscribeStreamingOptions) -> None:
        self._heard = heard
        self._server = server
        self._options = options
        self._words = StablePrefix()
        self._partials = Partials()
        self._start = 0
        """Bytes before the window."""
        self._passed = 0
        """Bytes up to which the last pass heard, whatever became of it."""
        self._whole: tuple[int, str] | None = None
        """Up to where the newest pass from the very beginning heard, and what."""

    def transcripts(self) -> Iterator[Transcript]:
        while not self._heard.is_ended:
            if self._is_due():
                yield from self._pass()
            else:
                self._heard.wait(self._options.interval)
        self._heard.wait(0.0)
        pcm, rate = bytes(self._heard.pcm), self._heard.rate
        known = self._known()
        yield Transcript(known if known is not None else self._server.transcript(pcm, rate), final=True)

    def _bytes(self, seconds: float) -> int:
        return int(seconds * self._heard.rate) * 2

    def _is_due(self) -> bool:
        """Whether there are new words: voice since the last pass, and enough of it or a pause after it."""
        end = len(self._heard.pcm)
        if self._heard.voiced_until + self._bytes(TAIL) <= self._passed or not self._heard.voiced_until:
            return False
        if end - self._start < self._bytes(LEAST):
            return False
        is_pause = 0.0 < self._options.pause <= self._heard.quiet
        return is_pause or end - self._passed >= self._bytes(self._options.interval)

    def _pass(self) -> Iterator[Transcript]:
        end = self._passed = len(self._heard.pcm)
        is_cut = end - self._start > self._bytes(self._options.window)
        if is_cut:
            end = self._heard.quietest(self._start + self._bytes(self._options.window) // 2, end)
        try:
            pcm = bytes(self._heard.pcm[self._start : end])
            text = self._server.transcript(pcm, self._heard.rate, self._options.partial_timeout)
        except ProviderError as error:
            if not error.retryable:
                raise
            log.info("stt: a pass over an utterance under way failed: %s", error)
            return
        if self._start == 0:
            self._whole = (end, text)
        if is_cut:
            self._start = end
            yield from self._partials.new(self._words.settle(text))
        else:
            yield from self._partials.new(self._words.hear(text))

    def _known(self) -> str | None:
        """The words of the whole utterance, where a pass has heard all but the quiet at its end."""
        if self._whole is None or not self._options.pause:
            return None
        until, text = self._whole
        return text if until >= min(self._heard.voiced_until + self._bytes(TAIL), len(self._heard.pcm)) else None
