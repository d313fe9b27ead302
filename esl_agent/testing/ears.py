"""What pretend recognisers have in common: they understand a word for each stretch of sound, and nothing in silence."""

from __future__ import annotations

import email.parser
import email.policy
import io
import json
import wave
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from websockets.sync.server import ServerConnection

from esl_agent.testing.web import PretendWebSocket, Request

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
#: Seconds of sound that make a word.
WORD = 0.4


def understood(pcm: bytes, rate: int, after: int = 0) -> str:
    """A word for each WORD begun of ``pcm`` (PCM16) that is no digital silence; ``after`` so many other words."""
    step = rate // 50 * 2
    loud = sum(any(pcm[at : at + step]) for at in range(0, len(pcm), step)) * 0.02
    return " ".join(WORDS[(after + n) % len(WORDS)] for n in range(round(loud / WORD + 0.49)))


def words(text: str, start: float) -> list[dict[str, Any]]:
    return [
        {"word": word, "start": start + n * WORD, "end": start + (n + 1) * WORD, "confidence": 0.9}
        for n, word in enumerate(text.split())
    ]


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart body (RFC 7578): text fields in order, and files by field."""

    fields: list[tuple[str, str]]
    files: dict[str, tuple[str, bytes]]
    """Field -> (file name, content)."""

    def one(self, name: str) -> str:
        return next((value for field, value in self.fields if field == name), "")


def form_of(request: Request) -> Form | None:
    """None for a body that is no form."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        return None
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + request.body)
    fields, files = [], {}
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if (filename := part.get_filename()) is not None:
            files[name] = (filename, content)
        else:
            fields.append((name, content.decode()))
    return Form(fields, files)


def read_wav(file: bytes) -> tuple[bytes, int] | None:
    """(PCM16 mono, rate), or None for what is no such file or lies about its length."""
    try:
        with wave.open(io.BytesIO(file)) as found:
            if (found.getnchannels(), found.getsampwidth()) != (1, 2) or found.getnframes() * 2 != len(file) - 44:
                return None
            return found.readframes(found.getnframes()), found.getframerate()
    except (wave.Error, EOFError):
        return None


class PretendEars(PretendWebSocket):
    """A recogniser's WebSocket service. ``heard`` has what each connection sent as sound, ``told`` its text messages.

    ``trouble["sound"] = drop`` strikes once when the first sound has come, ``"open"`` when a connection begins,
    ``"end"`` when the sound is over.
    """

    def __init__(self, handler: Callable[[ServerConnection], None]) -> None:
        super().__init__(handler, close_timeout=0.2)
        self.heard: list[bytearray] = []
        self.told: list[list[str]] = []
        self.trouble: dict[str, Callable[[ServerConnection], None]] = {}
        self._struck: set[Any] = set()

    def new_connection(self, connection: ServerConnection) -> tuple[bytearray, list[str]]:
        self.heard.append(bytearray())
        self.told.append([])
        self.strike("open", connection)
        return self.heard[-1], self.told[-1]

    def strike(self, point: str, connection: ServerConnection) -> None:
        """Once for each connection: one that was dropped still reads what had come, and takes no trouble of others."""
        if connection.id not in self._struck and (trouble := self.trouble.pop(point, None)):
            self._struck.add(connection.id)
            trouble(connection)

    def stall(self, connection: ServerConnection) -> None:
        """Silence until the test is over; what comes in is not looked at."""
        self._stopping.wait()


def say(connection: ServerConnection, message: dict[str, Any]) -> None:
    connection.send(json.dumps(message, ensure_ascii=False))
