"""STT ``whisper_live``: a WhisperLive server (collabora/WhisperLive, ``server.py`` and ``backend/base.py``).

The server transcribes what it has again and again, a second of sound at the least, and sends what it has found after
each time. At ``END_OF_AUDIO`` it stops at once, whatever is still unheard. So after the caller's last word a second of
silence goes out; the second message after that comes from a pass that has heard everything.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from esl_agent import secret
from esl_agent.audio.pieces import begun, floats
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
    sound,
    spoken,
    text_of,
)
from esl_agent.setting import STRICT, setting

RATE = 16000
#: A binary message; the server does not know a text one.
END = b"END_OF_AUDIO"
#: Seconds of silence after the utterance: less than a second of sound is not looked at.
PADDING = 1.0
#: Messages after the end of the sound until one comes from a pass that began after it.
ENOUGH = 2
#: Segments of one utterance, which lasts a minute at most.
MAX_SEGMENTS = 500


@dataclass(frozen=True, slots=True)
class WhisperLiveOptions:
    """A WhisperLive server. One connection for each utterance; it hears along and tells what it understands."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting("ws://127.0.0.1:9090", "Where it listens.", pattern="^wss?://")
    model: str = setting("small", "The model that it is asked for; a server with a model of its own ignores it.")
    language: str = setting("", "ISO 639-1. Empty: from the DID's language; `auto`: the model finds out.")
    samples: Literal["float32", "int16"] = setting("float32", "How sound is sent. Only newer servers know int16.")
    use_vad: bool = setting(True, "Let the server look for voice before it transcribes.")
    settle: float = setting(
        1.5, "Seconds that last words are waited for at most, where the server says nothing more.", gt=0.0, le=10.0
    )
    api_key_env: str = setting("WHISPER_LIVE_API_KEY", "Environment variable with the key, if the server wants one.")
    api_key_file: str = setting("", "File with the key, where the variable is not set.")
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    at_once: int = setting(0, "Utterances the server may hear at a time (its --max_clients). 0: no limit.", ge=0)


class WhisperLive:
    streaming = True

    def __init__(self, options: WhisperLiveOptions, context: EngineContext) -> None:
        self._key = secret.secret(options.api_key_env, options.api_key_file) or ""
        self.identity = Identity(f"whisper_live/{options.model}", account(options.url, self._key), options.at_once)
        self._options = options
        language = options.language or short_language(context.language)
        self._language = None if language == "auto" else language

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        """Partial transcripts while ``audio`` comes, then the final one."""
        begun_sound = begun(audio)
        if begun_sound is None:
            yield UNHEARD
            return
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        secrets = (self._key,) if self._key else ()
        socket = open_socket("stt", self._options.url, headers=headers, secrets=secrets, ca_file=self._options.ca_file)
        try:
            socket.send(json.dumps(self._hello()))
            self._wait_until_ready(socket)
            yield from self._hear(socket, sound(begun_sound, rate, RATE))
        finally:
            socket.close()

    def _hello(self) -> dict[str, Any]:
        hello: dict[str, Any] = {
            "uid": uuid.uuid4().hex,
            "language": self._language,
            "task": "transcribe",
            "model": self._options.model,
            "use_vad": self._options.use_vad,
        }
        if self._options.samples != "float32":
            hello["audio_format"] = self._options.samples
        return hello

    def _wait_until_ready(self, socket: ProviderSocket) -> None:
        for message in socket.messages(PATIENCE):
            found = as_object(message, socket.error)
            if found.get("message") == "SERVER_READY":
                return
            _complain(found, socket)
        raise socket.error("closed before it was ready")

    def _hear(self, socket: ProviderSocket, pieces: Iterator[bytes]) -> Iterator[Transcript]:
        segments, partials, end = _Segments(), Partials(), _End(self._options.settle)
        to_wire = floats if self._options.samples == "float32" else bytes
        with Sending(socket, _messages(pieces, to_wire, end)):
            for message in socket.messages(PATIENCE):
                found = as_object(message, socket.error)
                _complain(found, socket)
                if "segments" not in found:
                    continue
                text = segments.take(found, socket)
                end.message_came()
                if end.is_heard:
                    break
                yield from partials.new(text)
            if not end.has_begun:
                raise socket.error("closed before the utterance had ended")
        yield Transcript(segments.text, final=True)


class _End:
    """The sound is over, and whether the server has heard it. Set by the sender, counted by the receiver."""

    def __init__(self, settle: float) -> None:
        self.has_begun = False
        self._settle = settle
        self._left = ENOUGH
        self._heard = threading.Event()

    @property
    def is_heard(self) -> bool:
        return self._heard.is_set()

    def message_came(self) -> None:
        if self.has_begun:
            self._left -= 1
            if self._left <= 0:
                self._heard.set()

    def wait(self) -> None:
        self._heard.wait(self._settle)


def _messages(pieces: Iterator[bytes], to_wire: Any, end: _End) -> Iterator[bytes]:
    for piece in pieces:
        yield to_wire(piece)
    yield to_wire(bytes(int(PADDING * RATE) * 2))
    end.has_begun = True
    end.wait()
    yield END


class _Segments:
    """What was understood. Every message repeats the last segments; those that are completed stay as they are."""

    def __init__(self) -> None:
        self._completed: dict[str, str] = {}
        self._open: list[str] = []

    @property
    def text(self) -> str:
        return spoken(*self._completed.values(), *self._open)

    def take(self, found: dict[str, Any], socket: ProviderSocket) -> str:
        self._open = []
        for each in objects_in(found, "segments"):
            text = text_of(each, "text", socket.error)
            if each.get("completed") is True and len(self._completed) < MAX_SEGMENTS:
                self._completed[str(each.get("start"))] = text
            elif str(each.get("start")) not in self._completed:
                self._open.append(text)
        return self.text


def _complain(found: dict[str, Any], socket: ProviderSocket) -> None:
    """Raises for what ends a connection; a WARNING is none."""
    status = found.get("status")
    if status == "WAIT":
        raise socket.error(f"it has no place free for another {found.get('message')} minutes")
    if status == "ERROR":
        raise socket.error(f"it says: {found.get('message')}")
    if found.get("message") == "DISCONNECT":
        raise socket.error("it ended the connection: too long")
