"""A pretend OpenAI-compatible server: ``POST /v1/chat/completions``, streamed, strict about what it is asked.

Checked against the openai SDK 3.54: its client reads these streams, its request types take what this takes.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from esl_agent.testing.pretend_model import KEY, PretendModel, Refused, body_like, events
from esl_agent.testing.web import Reply, Request

_STRICT = ConfigDict(extra="forbid", strict=True)


class _Function(BaseModel):
    model_config = _STRICT
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    arguments: str


class _ToolCall(BaseModel):
    model_config = _STRICT
    id: str = Field(min_length=1, max_length=40)
    type: Literal["function"]
    function: _Function


class _Spoken(BaseModel):
    model_config = _STRICT
    role: Literal["system", "developer", "user"]
    content: str


class _Assistant(BaseModel):
    model_config = _STRICT
    role: Literal["assistant"]
    content: str | None = None
    tool_calls: list[_ToolCall] | None = Field(None, min_length=1)


class _Tool(BaseModel):
    model_config = _STRICT
    role: Literal["tool"]
    content: str
    tool_call_id: str = Field(min_length=1, max_length=40)


class _Definition(BaseModel):
    model_config = _STRICT
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, Any] = {}


class _Offered(BaseModel):
    model_config = _STRICT
    type: Literal["function"]
    function: _Definition


class _StreamOptions(BaseModel):
    model_config = _STRICT
    include_usage: bool = False


_Message = Annotated[_Spoken | _Assistant | _Tool, Field(discriminator="role")]


class _Completion(BaseModel):
    model_config = _STRICT
    model: str
    messages: list[_Message] = Field(min_length=1)
    stream: Literal[True]
    stream_options: _StreamOptions | None = None
    tools: list[_Offered] | None = Field(None, min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    reasoning_effort: str | None = None
    top_p: float | None = None


class PretendChatCompletions(PretendModel):
    content_type = "text/event-stream"
    model = "gpt-6-luna"

    def __init__(self, key: str = KEY, tls: tuple[str, str] | None = None) -> None:
        """``key``: empty for a server that wants none."""
        super().__init__("POST", "/v1/chat/completions", key, tls)
        self.finish_reason: str | None = None
        """Instead of the one that fits."""

    @property
    def url(self) -> str:
        return f"{self.http.url}/v1"

    def pieces(self) -> list[bytes]:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": t} for t in self.texts)]
        for index, call in enumerate(self.calls):
            text = json.dumps(dict(call.arguments))
            head = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
            deltas.append({"tool_calls": [head]})
            for piece in (text[: len(text) // 2], text[len(text) // 2 :]):
                deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        reason = self.finish_reason or ("tool_calls" if self.calls else "stop")
        usage = {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 2},
        }
        chunks = [self.chunk(delta) for delta in deltas] + [self.chunk({}, reason)]
        return [*events(*chunks, {**self.chunk(), "usage": usage}), b"data: [DONE]\n\n"]

    def chunk(self, delta: dict[str, Any] | None = None, reason: str | None = None) -> dict[str, Any]:
        """A chunk; without ``delta`` one without choices."""
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
        return {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1763720000,
            "model": self.model,
            "choices": choices,
        }

    def unended(self) -> bytes:
        return b"".join(self.pieces()[:2])

    def failing(self) -> bytes:
        error = {"error": {"message": f"overloaded, says {self.key}", "type": "server_error", "code": None}}
        return b"".join([*self.pieces()[:2], *events(error)])

    def check(self, request: Request) -> dict[str, Any]:
        given = request.headers.get("api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.key and given != self.key:
            raise Refused(401, "invalid_api_key", f"Incorrect API key provided: {given}.")
        body = body_like(_Completion, request)
        if body["model"] != self.model:
            raise Refused(404, "model_not_found", f"The model `{body['model']}` does not exist")
        _calls_are_answered(body["messages"])
        return body

    def refusal(self, refused: Refused) -> Reply:
        error = {"message": str(refused), "type": "invalid_request_error", "param": None, "code": refused.code}
        return Reply.json({"error": error}, refused.status)


def _calls_are_answered(messages: list[dict[str, Any]]) -> None:
    open_calls: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise Refused(400, "invalid_request_error", "a tool message must follow the call that it answers")
            open_calls.remove(message["tool_call_id"])
        elif open_calls:
            raise Refused(400, "invalid_request_error", f"no tool message answers {open_calls}")
        else:
            open_calls = [call["id"] for call in message.get("tool_calls") or ()]
    if open_calls:
        raise Refused(400, "invalid_request_error", f"no tool message answers {open_calls}")
