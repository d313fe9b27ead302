"""STT ``deepgram_flux``: Deepgram's recogniser that finds the end of a turn itself, ``/v2/listen`` (deepgram-sdk 7.17,
``listen/v2``).

``EndOfTurn`` ends the caller's utterance before our own silence would. Where our silence comes first, ``CloseStream``
makes it decode what it has; no ``EndOfTurn`` follows then, and the newest text is the final one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from esl_agent import secret
from esl_agent.audio.pieces import begun
from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity, Transcript
from esl_agent.providers.languages import short_language
from esl_agent.providers.sockets import ProviderSocket, Sending, open_socket
from esl_agent.providers.utterance import (
    PATIENCE,
    UNHEARD,
    Partials,
    as_object,
    objects_in,
    share_of,
    sound,
    spoken,
    text_of,
)
from esl_agent.setting import STRICT, setting

CLOSE_STREAM = '{"type":"CloseStream"}'
#: Seconds of sound in one message, as Deepgram advises for Flux.
CHUNK = 0.08
#: Turns of one utterance, which lasts a minute at most.
MAX_TURNS = 500


@dataclass(frozen=True, slots=True)
class DeepgramFluxOptions:
    """Deepgram Flux: recognition and the end of the caller's turn in one."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting("wss://api.deepgram.com", "The host: wss://api.eu.deepgram.com, your own.", pattern="^wss?://")
    model: str = setting("", "Empty: `english_model` for English, `multi_model` for others.")
    english_model: str = setting("flux-general-en", "The model for English.")
    multi_model: str = setting("flux-general-multi", "The model for the other languages; the language is its hint.")
    languages: tuple[str, ...] = setting(
        ("en", "es", "fr", "de", "hi", "ru", "pt", "ja", "it", "nl"), "What multi_model knows; others are refused."
    )
    end_early: bool = setting(True, "Let its end of turn end the caller's utterance. Off: only our own silence does.")
    eot_threshold: float | None = setting(None, "How sure of an end of turn it must be. Sent when set.", ge=0.5, le=1.0)
    eager_eot_threshold: float | None = setting(
        None,
        "Above it guesses an end of turn, which is a partial transcript. Sent when set.",
        ge=0.3,
        le=0.9,
    )
    eot_timeout_ms: int | None = setting(None, "Silence that always ends a turn. Sent when set.", ge=500, le=60000)
    phrases: bool = setting(False, "Tell it as keyterms what callers are expected to say.")
    parameters: dict[str, str] = setting(dict, 'Further parameters of the address: `{mip_opt_out: "true"}`.')
    api_key_env: str = setting("DEEPGRAM_API_KEY", "Environment variable with the key.")
    api_key_file: str = setting("", "File with the key, where the variable is not set.")
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    at_once: int = setting(0, "Streams that the account may have at a time, of all calls. 0: no limit.", ge=0)


class DeepgramFlux:
    streaming = True

    def __init__(self, options: DeepgramFluxOptions, context: EngineContext) -> None:
        language = short_language(context.language)
        if not options.model and language not in options.languages:
            raise ConfigError(
                [
                    f"stt: engine deepgram_flux knows {', '.join(options.languages)}, the language is "
                    f"{context.language!r}; engine deepgram knows more"
                ]
            )
        self._key = secret.required("stt: engine deepgram_flux", options.api_key_env, options.api_key_file)
        self._model = options.model or (options.english_model if language == "en" else options.multi_model)
        self.identity = Identity(f"deepgram_flux/{self._model}", account(options.url, self._key), options.at_once)
        self._options = options
        self._hints = (language,) if self._model == options.multi_model else ()
        self._keyterms = context.phrases if options.phrases else ()

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        """Partial transcripts while ``audio`` comes; the final one may come before it ends."""
        begun_sound = begun(audio)
        if begun_sound is None:
            yield UNHEARD
            return
        socket = self._open(rate)
        try:
            yield from self._hear(socket, sound(begun_sound, rate, chunk=CHUNK))
        finally:
            socket.close()

    def _hear(self, socket: ProviderSocket, pieces: Iterator[bytes]) -> Iterator[Transcript]:
        turns, partials, is_closing = _Turns(), Partials(), False

        def messages() -> Iterator[str | bytes]:
            nonlocal is_closing
            yield from pieces
            is_closing = True
            yield CLOSE_STREAM

        with Sending(socket, messages()):
            try:
                for message in socket.messages(PATIENCE):
                    found = as_object(message, socket.error)
                    if found.get("type") == "Error":
                        raise socket.error(f"it says: {found.get('code')}: {found.get('description')}")
                    if found.get("type") != "TurnInfo":
                        continue
                    is_over = turns.take(found, socket)
                    if is_over and self._options.end_early and turns.text:
                        break
                    yield from partials.new(turns.text)
                else:
                    if not is_closing:
                        raise socket.error("closed before the utterance had ended")
            except ProviderError:
                # Flux ends a stream that was asked to close without a status; a plain end of TCP is no fault then.
                if not is_closing or socket.closed_with is None or socket.closed_with[0] != 1006:
                    raise
        yield turns.final()

    def _open(self, rate: int) -> ProviderSocket:
        options = self._options
        parameters = [
            ("model", self._model),
            ("encoding", "linear16"),
            ("sample_rate", str(rate)),
            *(("language_hint", each) for each in self._hints),
            *(("keyterm", each) for each in self._keyterms),
            *options.parameters.items(),
        ]
        for name in ("eot_threshold", "eager_eot_threshold", "eot_timeout_ms"):
            if (value := getattr(options, name)) is not None:
                parameters.append((name, f"{value:g}"))
        return open_socket(
            "stt",
            f"{options.url.rstrip('/')}/v2/listen?{urlencode(parameters)}",
            headers={"Authorization": f"Token {self._key}"},
            secrets=(self._key,),
            ca_file=options.ca_file,
        )


class _Turns:
    """What was said, turn by turn: each message has its turn's whole text anew."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}
        self._words: dict[int, list[float]] = {}

    @property
    def text(self) -> str:
        return spoken(*self._texts.values())

    def take(self, found: dict[str, Any], socket: ProviderSocket) -> bool:
        """Whether this was an end of turn."""
        number = found.get("turn_index")
        if not isinstance(number, int):
            raise socket.error("expected a number in 'turn_index'")
        if len(self._texts) >= MAX_TURNS and number not in self._texts:
            raise socket.error(f"more than {MAX_TURNS} turns in one utterance", retryable=False)
        self._texts[number] = text_of(found, "transcript", socket.error)
        sure = [share_of(each.get("confidence")) for each in objects_in(found, "words")]
        self._words[number] = [each for each in sure if each is not None]
        return found.get("event") == "EndOfTurn"

    def final(self) -> Transcript:
        sure = [each for words in self._words.values() for each in words]
        return Transcript(self.text, final=True, confidence=sum(sure) / len(sure) if sure else None)
