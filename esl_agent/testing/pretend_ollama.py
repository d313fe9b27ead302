"""A pretend Ollama: ``POST /api/chat``, one JSON object a line, strict about what it is asked.

Checked against the ollama SDK 0.6: its client reads these lines, its request types take what this takes. The server
itself ignores fields that it does not know; this one does not.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from esl_agent.testing.pretend_model import PretendModel, Refused, body_like
from esl_agent.testing.web import Reply, Request

_STRICT = ConfigDict(extra="forbid", strict=True)


class _Function(BaseModel):
    model_config = _STRICT
    name: str = Field(min_length=1)
    arguments: dict[str, Any]


class _Call(BaseModel):
    model_config = _STRICT
    function: _Function


class _Message(BaseModel):
    model_config = _STRICT
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: list[_Call] | None = None
    tool_name: str | None = Field(None, min_length=1)


class _Definition(BaseModel):
    model_config = _STRICT
    name: str
    description: str
    parameters: dict[str, Any]


class _Tool(BaseModel):
    model_config = _STRICT
    type: Literal["function"]
    function: _Definition


class _Chat(BaseModel):
    model_config = _STRICT
    model: str
    messages: list[_Message]
    stream: bool = True
    think: bool | str | None = None
    keep_alive: str | float | None = None
    options: dict[str, Any] | None = None
    tools: list[_Tool] | None = None


class PretendOllama(PretendModel):
    content_type = "application/x-ndjson"
    model = "llama3.2"

    def __init__(self, key: str = "", tls: tuple[str, str] | None = None) -> None:
        """``key``: what a proxy before the server wants; empty for none."""
        super().__init__("POST", "/api/chat", key, tls)
        self.thoughts = ""
        self.knows_tools = True
        self.loaded = 0
        """How often it was asked to load the model and nothing else."""

    @property
    def url(self) -> str:
        return self.http.url

    def pieces(self) -> list[bytes]:
        lines: list[dict[str, Any]] = [{"role": "assistant", "content": text} for text in self.texts]
        if self.thoughts:
            lines.insert(0, {"role": "assistant", "content": "", "thinking": self.thoughts})
        lines += [
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": call.name, "arguments": dict(call.arguments)}}],
            }
            for call in self.calls
        ]
        last = {"done_reason": "stop", "prompt_eval_count": 9, "eval_count": 4, "total_duration": 1200000000}
        end = {"role": "assistant", "content": ""}
        return [*(self._line(message) for message in lines), self._line(end, done=True, **last)]

    def failing(self) -> bytes:
        error = {"error": f"llama runner process has terminated, says {self.key}"}
        return b"".join(self.pieces()[:1]) + json.dumps(error).encode() + b"\n"

    def check(self, request: Request) -> dict[str, Any]:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.key and given != self.key:
            raise Refused(401, "", f"unauthorized: {given}")
        body = body_like(_Chat, request)
        if body["model"] != self.model:
            raise Refused(404, "", f"model '{body['model']}' not found")
        if body.get("tools") and not self.knows_tools:
            raise Refused(400, "", f"registry.ollama.ai/library/{self.model}:latest does not support tools")
        return body

    def refusal(self, refused: Refused) -> Reply:
        return Reply.json({"error": str(refused)}, refused.status)

    def _answered(self, request: Request) -> Reply:
        found = super()._answered(request)
        if found.status == 200 and not self.bodies[-1]["messages"]:
            self.bodies.pop()
            self.loaded += 1
            line = self._line({"role": "assistant", "content": ""}, done=True, done_reason="load")
            return Reply(line, content_type="application/json")
        return found

    def _line(self, message: dict[str, Any], *, done: bool = False, **more: Any) -> bytes:
        found = {"model": self.model, "created_at": "2026-11-20T10:00:00Z", "message": message, "done": done, **more}
        return json.dumps(found, ensure_ascii=False).encode() + b"\n"
