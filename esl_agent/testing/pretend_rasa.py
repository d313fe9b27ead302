"""A pretend Rasa assistant: its REST channel, as ``rasa run --enable-api --auth-token`` has it.

By Rasa's documentation, "Connecting to your own website"; no Rasa was run against it.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from esl_agent.testing.pretend_model import KEY, PretendModel, Refused, body_like
from esl_agent.testing.web import Reply, Request


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    sender: str = Field(min_length=1)
    message: str
    metadata: dict[str, Any] | None = None


class PretendRasa(PretendModel):
    def __init__(self, key: str = KEY, tls: tuple[str, str] | None = None) -> None:
        super().__init__("POST", "/webhooks/rest/webhook", key, tls)
        self.texts = ["Hello there.", "How are you?"]
        self._sender = ""

    @property
    def url(self) -> str:
        return self.http.url

    def pieces(self) -> list[bytes]:
        said: list[dict[str, Any]] = [{"recipient_id": self._sender, "text": text} for text in self.texts]
        if said:
            said.append({"recipient_id": self._sender, "image": "https://example.com/map.png"})
        data = json.dumps(said, ensure_ascii=False).encode()
        return [data[: len(data) // 2], data[len(data) // 2 :]]

    def failing(self) -> bytes:
        error = {"status": "failure", "error": f"the tracker is locked, says {self.key}", "code": 500}
        return json.dumps(error).encode()

    def check(self, request: Request) -> dict[str, Any]:
        given = (request.query.get("token") or [""])[0]
        if self.key and given != self.key:
            raise Refused(401, "NotAuthenticated", f"User is not authenticated: {given}")
        body = body_like(_Said, request)
        self._sender = body["sender"]
        return body

    def refusal(self, refused: Refused) -> Reply:
        failure = {"version": "3.6.21", "status": "failure", "message": str(refused), "reason": refused.code}
        return Reply.json({**failure, "details": {}, "code": refused.status}, refused.status)
