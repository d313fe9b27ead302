"""STT ``embedded``: pocketsphinx 5 in worker processes, leaning on what the DID's callers are expected to say.

With ``context.phrases`` it answers with one of them, as the operator wrote it, or with nothing. Without phrases it
takes dictation with its full language model, which over a telephone gets every second word wrong: for trying out only.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers.base import EngineContext, Identity, Transcript
from esl_agent.providers.worker_pool import default_size, shared_pool
from esl_agent.setting import STRICT, setting

log = logging.getLogger(__name__)

#: Seconds of one utterance that are looked at.
MAX_SECONDS = 60
MAX_PHRASES = 500
MAX_PHRASE = 200
_MODULE = "esl_agent.providers.pocketsphinx_worker"
_RATES = range(8000, 48001)


@dataclass(frozen=True, slots=True)
class EmbeddedRecogniserOptions:
    """The recogniser that needs no key and no server. English; for the demo and for short expected answers."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    min_confidence: float = setting(
        0.55, "Below it nothing counts as understood. Lower: more is understood, more of it wrongly.", ge=0.0, le=1.0
    )
    workers: int = setting(0, "Processes that listen, for all DIDs together. 0: one for each processor.", ge=0, le=64)


class EmbeddedRecogniser:
    identity = Identity("embedded")
    streaming = False

    def __init__(self, options: EmbeddedRecogniserOptions, context: EngineContext) -> None:
        if context.language.lower().split("-")[0] != "en":
            raise ConfigError([f"stt: engine embedded knows English only, the language is {context.language!r}"])
        if len(context.phrases) > MAX_PHRASES or any(len(phrase) > MAX_PHRASE for phrase in context.phrases):
            raise ConfigError([f"stt: engine embedded takes {MAX_PHRASES} phrases of {MAX_PHRASE} characters at most"])
        self._options = options
        self._phrases = context.phrases
        self._has_warned = False
        self._pool = shared_pool("stt", _MODULE, options.workers or default_size())

    def warm(self) -> None:
        """Start the workers; returns without waiting for them to load."""
        self._pool.warm()

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        """One final transcript when ``audio`` has ended. ``rate``: 8000 to 48000; the worker makes 16000 of it."""
        if rate not in _RATES:
            raise ProviderError("stt", f"engine embedded takes sound at 8000 to 48000 Hz, got {rate}")
        sound = bytearray()
        for piece in audio:
            sound += piece[: MAX_SECONDS * rate * 2 - len(sound)]
        yield self._understood(bytes(sound), rate)

    def _understood(self, sound: bytes, rate: int) -> Transcript:
        if not sound:
            return Transcript("", final=True)
        head = json.dumps({"rate": rate, "phrases": self._phrases}).encode()
        answer = b"".join(self._pool.ask(head + b"\n" + sound))
        try:
            found = json.loads(answer)
            text, confidence, skipped = found["text"], found["confidence"], found["skipped"]
        except (ValueError, KeyError, TypeError) as error:
            raise ProviderError("stt", f"the embedded recogniser's worker answered {len(answer)} odd bytes") from error
        if skipped and not self._has_warned:
            self._has_warned = True
            log.warning("stt: engine embedded lacks a word of these expected phrases and skips them: %s", skipped)
        if confidence is not None and confidence < self._options.min_confidence:
            text = ""
        return Transcript(text, final=True, confidence=confidence)
