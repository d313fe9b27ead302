"""A pretend chatbot service by the older bridge's contract: a WebSocket, and HTTP beside it.

The contract says neither what typing indicators look like nor what HTTP answers; here they are as services of the kind
have them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from esl_agent.testing.pretend_model import PretendModel, Refused, body_like
from esl_agent.testing.web import PretendWebSocket, Reply, Request

_STRICT = ConfigDict(extra="forbid", strict=True)


class _UserMessage(BaseModel):
    model_config = _STRICT
    type: Literal["user_message"]
    text: str
    session_id: str = Field(min_length=1)


class _Question(BaseModel):
    model_config = _STRICT
    text: str
    session_id: str = Field(min_length=1)


class PretendChatbotHttp(PretendModel):
    """Its HTTP half."""

    def __init__(self, key: str = "", tls: tuple[str, str] | None = None) -> None:
        super().__init__("POST", "/api/chat", key, tls)
        self.texts = ["Hello there.", "How are you?"]

    @property
    def url(self) -> str:
        return f"{self.http.url}/api/chat"

    def pieces(self) -> list[bytes]:
        data = json.dumps({"messages": self.texts}, ensure_ascii=False).encode()
        return [data[: len(data) // 2], data[len(data) // 2 :]]

    def failing(self) -> bytes:
        return json.dumps({"error": f"the model is gone, says {self.key}"}).encode()

    def check(self, request: Request) -> dict[str, Any]:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.key and given != self.key:
            raise Refused(401, "", f"wrong key {given}")
        return body_like(_Question, request)

    def refusal(self, refused: Refused) -> Reply:
        return Reply.json({"detail": str(refused)}, refused.status)


#: What a step of a script does with the question: sends text, waits, or ends the connection.
Step = Callable[[ServerConnection, dict[str, Any]], None]


class PretendChatbotSocket(PretendWebSocket):
    """Its WebSocket half. Each question is answered by the steps that ``script`` has for it, in turn; the last script
    serves all that follow. ``questions`` keeps them, ``sockets`` on which connection each came."""

    def __init__(self, *script: list[Step], **options: Any) -> None:
        super().__init__(self._talk, **options)
        self.script = list(script) or [[typing, says({"messages": ["Hello there.", "How are you?"]})]]
        self.questions: list[dict[str, Any]] = []
        self.sockets: list[int] = []

    def _talk(self, connection: ServerConnection) -> None:
        number = self.connections
        try:
            for message in connection:
                question = TypeAdapter(_UserMessage).validate_json(message, strict=True).model_dump()
                self.questions.append(question)
                self.sockets.append(number)
                steps = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                for step in steps:
                    step(connection, question)
        except ConnectionClosed:
            return


def says(found: Any) -> Step:
    """A message of JSON."""
    return lambda connection, question: connection.send(json.dumps(found, ensure_ascii=False))


def waits(seconds: float) -> Step:
    """So long, or until the client has left; nothing that it sends meanwhile is heard."""

    def step(connection: ServerConnection, question: dict[str, Any]) -> None:
        with contextlib.suppress(TimeoutError):
            connection.recv(seconds)

    return step


def typing(connection: ServerConnection, question: dict[str, Any]) -> None:
    """What comes before a reply and is none: an echo, an acknowledgement, typing indicators of several kinds."""
    for found in (
        question,
        {"type": "ack", "message": "received"},
        {"type": "typing_indicator", "text": "..."},
        {"type": "bot", "is_typing": True, "message": "the agent is typing"},
        {"typing": False},
        {"type": "ping"},
        {"text": "for somebody else", "session_id": "another call"},
    ):
        connection.send(json.dumps(found))
    connection.send("no JSON")


def hangs_up(connection: ServerConnection, question: dict[str, Any]) -> None:
    """The connection ends, politely."""
    connection.close()
