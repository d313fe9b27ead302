"""STT ``vosk``: vosk-server over its WebSocket (``websocket/asr_server.py``, and its C++ twin)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from esl_agent.audio.pieces import begun
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity, Transcript
from esl_agent.providers.sockets import ProviderSocket, open_socket
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

#: The server compares it letter by letter, blanks and all; anything else is taken for sound and kills the connection.
EOF = '{"eof" : 1}'


@dataclass(frozen=True, slots=True)
class VoskOptions:
    """A Vosk server. One connection for each utterance; it hears along and tells what it understands."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting("ws://127.0.0.1:2700", "Where it listens.", pattern="^wss?://")
    rate: Literal[0, 8000, 16000] = setting(0, "Samples a second that it is sent. 0: as the call has it.")
    send_config: bool = setting(
        True, "Tell it the rate first. Off for the C++ server: it takes that for sound, and has its rate on start."
    )
    phrases: bool = setting(
        False, "Let it know nothing but what callers are expected to say. For models with a dynamic graph."
    )
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    at_once: int = setting(0, "Utterances that the server may hear at a time, of all calls. 0: no limit.", ge=0)


class Vosk:
    streaming = True

    def __init__(self, options: VoskOptions, context: EngineContext) -> None:
        self.identity = Identity("vosk", account(options.url), options.at_once)
        self._options = options
        self._phrases = [*context.phrases, "[unk]"] if options.phrases and context.phrases else []

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        """In lock step: the server answers each piece of sound exactly once, and ``EOF`` with the last words."""
        begun_sound = begun(audio)
        if begun_sound is None:
            yield UNHEARD
            return
        at = self._options.rate or rate
        socket = open_socket("stt", self._options.url, ca_file=self._options.ca_file)
        try:
            if self._options.send_config:
                socket.send(self._config(at))
            words, partials = _Words(socket), Partials()
            for chunk in sound(begun_sound, rate, at):
                socket.send(chunk)
                yield from partials.new(words.after(_first(self._answer(socket))))
            socket.send(EOF)
            yield words.final(_first(self._answer(socket)))
        finally:
            socket.close()

    def _config(self, rate: int) -> str:
        config: dict[str, Any] = {"sample_rate": rate, "words": True, "max_alternatives": 0}
        if self._phrases:
            config["phrase_list"] = self._phrases
        return json.dumps({"config": config}, ensure_ascii=False)

    def _answer(self, socket: ProviderSocket) -> dict[str, Any]:
        message = socket.receive(PATIENCE)
        if message is None:
            raise socket.error("closed before the last words")
        return as_object(message, socket.error)


def _first(found: dict[str, Any]) -> dict[str, Any]:
    """The best result, where the server was started to tell several."""
    return next(iter(objects_in(found, "alternatives")), {"text": ""}) if "alternatives" in found else found


class _Words:
    """What was said so far: the server ends a stretch of speech at each longer pause and begins anew."""

    def __init__(self, socket: ProviderSocket) -> None:
        self._socket = socket
        self._said: list[str] = []
        self._sure: list[float] = []

    def after(self, found: dict[str, Any]) -> str:
        if "partial" in found:
            return spoken(*self._said, text_of(found, "partial", self._socket.error))
        self._said.append(text_of(found, "text", self._socket.error))
        self._sure += [sure for each in objects_in(found, "result") if (sure := share_of(each.get("conf"))) is not None]
        return spoken(*self._said)

    def final(self, found: dict[str, Any]) -> Transcript:
        confidence = None
        text = self.after({"text": text_of(found, "text", self._socket.error), "result": found.get("result")})
        if self._sure:
            confidence = sum(self._sure) / len(self._sure)
        return Transcript(text, final=True, confidence=confidence)
