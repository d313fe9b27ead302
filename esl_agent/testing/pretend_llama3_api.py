"""A pretend server of the older IVR's language model contract, strict about the history that is left out."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from esl_agent.testing.pretend_model import PretendModel, Refused, body_like
from esl_agent.testing.web import Reply, Request

_STRICT = ConfigDict(extra="forbid", strict=True)


class _Turn(BaseModel):
    model_config = _STRICT
    role: Literal["user", "assistant"]
    content: str = Field(min_length=1)


class _Question(BaseModel):
    model_config = _STRICT
    system_prompt: str
    conversation_history: list[_Turn] = Field(default=[], min_length=1)
    user_message: str


class PretendLlama3Api(PretendModel):
    def __init__(self, key: str = "", tls: tuple[str, str] | None = None) -> None:
        super().__init__("POST", "/llama3", key, tls)

    @property
    def url(self) -> str:
        return f"{self.http.url}/llama3"

    def pieces(self) -> list[bytes]:
        data = json.dumps({"response": "".join(self.texts)}, ensure_ascii=False).encode()
        return [data[: len(data) // 2], data[len(data) // 2 :]]

    def check(self, request: Request) -> dict[str, Any]:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.key and given != self.key:
            raise Refused(401, "", f"wrong key {given}")
        body = body_like(_Question, request)
        history = body.get("conversation_history") or []
        if any(turn["role"] != ("user", "assistant")[number % 2] for number, turn in enumerate(history)):
            raise Refused(422, "", "conversation_history: user and assistant in alternation, the user first")
        return body

    def refusal(self, refused: Refused) -> Reply:
        return Reply.json({"detail": str(refused)}, refused.status)
