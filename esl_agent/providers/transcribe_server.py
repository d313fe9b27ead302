"""The older bridge's recogniser contract: ``POST {GPU_SERVER_URL}``, multipart with one WAV, ``{"transcript": "..."}``.

The contract's three tries, half a second apart, are tries of the ``resilience`` settings: each failure that may pass
asks for RETRY_AFTER, so that tries stay within the caller's patience and a fallback is not kept waiting.
"""

from __future__ import annotations

import logging
from typing import Any

from esl_agent.audio.pieces import resampled
from esl_agent.audio.wav import wav
from esl_agent.errors import ProviderError
from esl_agent.providers.http import Answer, HttpServer
from esl_agent.providers.utterance import as_object, spoken

log = logging.getLogger(__name__)

#: Seconds between the tries, by the contract.
RETRY_AFTER = 0.5
#: ngrok's free tunnels put a page of warning before whoever does not send it.
_HEADERS = {"ngrok-skip-browser-warning": "1"}


class TranscribeServer:
    """``field`` is the multipart field that the WAV stands in; a server that wants another says so (422, as FastAPI
    words it), and is believed from then on."""

    def __init__(self, url: str, *, field: str, rate: int, fields: dict[str, str], ca_file: str) -> None:
        self.http = HttpServer("stt", url, headers=_HEADERS, ca_file=ca_file)
        self._field = field
        self._rate = rate
        self._fields = dict(fields)

    def transcript(self, pcm: bytes, rate: int, patience: float | None = None) -> str:
        """What was said in ``pcm``; empty where nothing was. ``patience``: seconds without any answer."""
        at = self._rate or rate
        file = wav(b"".join(resampled([pcm], rate, at)), at)
        try:
            return self._transcript(file, patience)
        except ProviderError as error:
            if error.retryable and error.retry_after is None:
                error.retry_after = RETRY_AFTER
            raise

    def _transcript(self, file: bytes, patience: float | None) -> str:
        with self._ask(file, patience, accept=(422,)) as answer:
            if answer.status != 422:
                return self._text(answer)
            if (wanted := _missing_field(answer.excerpt(), self._fields)) is None or wanted == self._field:
                raise self.http.error("HTTP 422: it refused the WAV file", retryable=False, blame="request")
        log.warning("stt: %s wants the WAV file in the field %r; set field: to it", self.http.where, wanted)
        self._field = wanted
        with self._ask(file, patience) as answer:
            return self._text(answer)

    def _ask(self, file: bytes, patience: float | None, accept: tuple[int, ...] = ()) -> Answer:
        return self.http.ask(
            "POST",
            files={self._field: ("utterance.wav", file, "audio/wav")},
            data=self._fields,
            accept=accept,
            read_timeout=patience,
        )

    def _text(self, answer: Answer) -> str:
        if not answer.content_type.startswith("application/json"):
            raise self.http.error(
                f"expected JSON, got {answer.content_type or 'no content type'}: {answer.excerpt()[:80]}"
            )
        found = as_object(answer.whole(), self.http.error)
        for name in ("transcript", "text"):
            if isinstance(found.get(name), str):
                return spoken(found[name])
        raise self.http.error("expected text in 'transcript' or 'text'")


def _missing_field(body: str, known: dict[str, str]) -> str | None:
    """The one multipart field that FastAPI says is missing, if it says so and the name is one."""
    try:
        details: Any = as_object(body, lambda message: ProviderError("stt", message)).get("detail")
    except ProviderError:
        return None
    for each in details if isinstance(details, list) else ():
        where = each.get("loc") if isinstance(each, dict) else None
        if isinstance(where, list) and len(where) == 2 and where[0] == "body":
            name = str(where[1])
            if name.isidentifier() and name.isascii() and len(name) <= 64 and name not in known:
                return name
    return None
