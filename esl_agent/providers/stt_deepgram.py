"""STT ``deepgram``: streaming recognition, ``/v1/listen`` (deepgram-sdk 7.17, ``listen/v1``).

The end of an utterance is ours: ``Finalize`` asks for its last words, and a socket that answered it (``from_finalize``)
waits for the next utterance. Deepgram need not answer it where hardly any sound is left; then ``CloseStream`` is sent,
which it always answers, and the socket is used no more. So is one about which there is any doubt.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

from esl_agent import secret
from esl_agent.audio.g711 import LAWS
from esl_agent.audio.pieces import begun
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity, Transcript
from esl_agent.providers.deepgram_words import Words
from esl_agent.providers.languages import short_language
from esl_agent.providers.sockets import ProviderSocket, Sending, SpareSockets, open_socket
from esl_agent.providers.utterance import PATIENCE, UNHEARD, Partials, as_object, sound
from esl_agent.setting import STRICT, setting

KEEP_ALIVE = '{"type":"KeepAlive"}'
FINALIZE = '{"type":"Finalize"}'
CLOSE_STREAM = '{"type":"CloseStream"}'
#: Deepgram closes after ten seconds without sound or this.
KEEP_ALIVE_EVERY = 4.0


@dataclass(frozen=True, slots=True)
class DeepgramOptions:
    """Deepgram's streaming recognition (Nova)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting("wss://api.deepgram.com", "The host: wss://api.eu.deepgram.com, your own.", pattern="^wss?://")
    model: str = setting("nova-3", "The model's name.")
    language: str = setting("", "As Deepgram has it: `en-GB`, `multi`. Empty: the DID's language without its region.")
    encoding: Literal["linear16", "mulaw"] = setting("linear16", "mulaw: half the bytes, for calls at 8000 Hz.")
    phrases: bool = setting(False, "Tell it as keyterms what callers are expected to say. Nova-3.")
    parameters: dict[str, str] = setting(dict, 'Further parameters of the address: `{smart_format: "true"}`.')
    end_early: bool = setting(False, "Let its own end of speech (speech_final) end the caller's utterance.")
    endpointing_ms: int = setting(0, "Silence that is its end of speech. 0: not sent.", ge=0, le=10000)
    finalize_wait: float = setting(
        0.7,
        "Seconds for last words by Finalize; then the stream is closed, which brings them for sure.",
        gt=0.0,
        le=5.0,
    )
    keep_open: float = setting(
        60.0, "Seconds that a connection is kept open for the next utterance. 0: one for each utterance.", ge=0.0
    )
    api_key_env: str = setting("DEEPGRAM_API_KEY", "Environment variable with the key.")
    api_key_file: str = setting("", "File with the key, where the variable is not set.")
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    at_once: int = setting(0, "Streams that the account may have at a time, of all calls. 0: no limit.", ge=0)

    def __post_init__(self) -> None:
        if self.end_early and not self.endpointing_ms:
            raise ValueError("end_early needs endpointing_ms: Deepgram's own is 10 ms, which cuts every sentence")


class Deepgram:
    streaming = True

    def __init__(self, options: DeepgramOptions, context: EngineContext) -> None:
        key = secret.required("stt: engine deepgram", options.api_key_env, options.api_key_file)
        self.identity = Identity(f"deepgram/{options.model}", account(options.url, key), options.at_once)
        self._options = options
        self._key = key
        self._language = options.language or short_language(context.language)
        self._keyterms = context.phrases if options.phrases else ()
        self._spares: dict[int, SpareSockets] = {}
        self._heard: WeakKeyDictionary[ProviderSocket, float] = WeakKeyDictionary()
        """Seconds of earlier utterances on a socket; its results count time from its very first sound."""

    def prepare(self) -> None:
        """A call begins: have a socket for each rate that calls have had."""
        for spare in list(self._spares.values()) if self._options.keep_open else ():
            spare.warm()

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        """Partial transcripts while ``audio`` comes, then the final one."""
        begun_sound = begun(audio)
        if begun_sound is None:
            yield UNHEARD
            return
        wanted = 8000 if self._options.encoding == "mulaw" else rate
        spare = self._spare(wanted)
        socket: ProviderSocket | None = spare.take()[0] if self._options.keep_open else self._open(wanted)
        assert socket is not None
        try:
            stream = _Stream(self._heard.get(socket, 0.0), self._options)
            yield from stream.hear(socket, sound(begun_sound, rate, wanted), wanted)
            if stream.is_reusable:
                self._heard[socket] = stream.offset + stream.seconds
                spare.give_back(socket)
                socket = None
            yield stream.words.final()
        finally:
            if socket is not None:
                socket.close()

    def _spare(self, rate: int) -> SpareSockets:
        return self._spares.setdefault(
            rate,
            SpareSockets(
                lambda: self._open(rate),
                max_idle=self._options.keep_open,
                keep_alive=KEEP_ALIVE,
                every=KEEP_ALIVE_EVERY,
            ),
        )

    def _open(self, rate: int) -> ProviderSocket:
        options = self._options
        parameters = [
            ("model", options.model),
            ("language", self._language),
            ("encoding", options.encoding),
            ("sample_rate", str(rate)),
            ("channels", "1"),
            ("interim_results", "true"),
            *options.parameters.items(),
            *(("keyterm", each) for each in self._keyterms),
        ]
        if options.endpointing_ms:
            parameters.append(("endpointing", str(options.endpointing_ms)))
        return open_socket(
            "stt",
            f"{options.url.rstrip('/')}/v1/listen?{urlencode(parameters)}",
            headers={"Authorization": f"Token {self._key}"},
            secrets=(self._key,),
            ca_file=options.ca_file,
        )


class _Stream:
    """One utterance on a socket that may have heard others before."""

    def __init__(self, offset: float, options: DeepgramOptions) -> None:
        self.offset = offset
        self.seconds = 0.0
        self.words = Words(offset)
        self.is_reusable = False
        self._options = options
        self._is_finalizing = False
        self._is_closing = False
        self._answered = threading.Event()

    def hear(self, socket: ProviderSocket, pieces: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        """The partial transcripts; at its end ``words`` are final."""
        partials = Partials()
        try:
            with Sending(socket, self._messages(pieces, rate)):
                for message in socket.messages(PATIENCE):
                    found = as_object(message, socket.error)
                    if self._ends(found, socket):
                        return
                    yield from partials.new(self.words.text)
                if not self._is_closing:
                    raise socket.error("closed before the utterance had ended")
        finally:
            self._answered.set()

    def _ends(self, found: dict[str, Any], socket: ProviderSocket) -> bool:
        """Whether nothing of this utterance will follow ``found``."""
        kind = found.get("type")
        if kind == "Error":
            raise socket.error(f"it says: {found.get('description') or found.get('message') or found.get('variant')}")
        if kind == "Metadata":
            return self._is_closing
        if kind != "Results" or not self.words.take(found, socket.error):
            return False
        if self._is_finalizing and found.get("from_finalize") is True:
            self.is_reusable = not self._is_closing
            return self.is_reusable
        return self._options.end_early and found.get("speech_final") is True and bool(self.words.text)

    def _messages(self, pieces: Iterator[bytes], rate: int) -> Iterator[str | bytes]:
        encode = LAWS["PCMU"].encode if self._options.encoding == "mulaw" else bytes
        for piece in pieces:
            self.seconds += len(piece) / 2 / rate
            yield encode(piece)
        if self._options.keep_open:
            self._is_finalizing = True
            yield FINALIZE
            if self._answered.wait(self._options.finalize_wait):
                return
        self._is_closing = True
        yield CLOSE_STREAM
