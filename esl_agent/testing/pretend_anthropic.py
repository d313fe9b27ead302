"""A pretend Anthropic service: ``POST /v1/messages`` in version 2026-10-21, streamed, strict about what it is asked.

Checked against the anthropic SDK 2.12: its client reads these streams, its request types take what this takes.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from esl_agent.testing.pretend_model import KEY, PretendModel, Refused, body_like, events
from esl_agent.testing.web import Reply, Request

_STRICT = ConfigDict(extra="forbid", strict=True)
_ERRORS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}


class _Text(BaseModel):
    model_config = _STRICT
    type: Literal["text"]
    text: str = Field(pattern=r"\S")


class _ToolUse(BaseModel):
    model_config = _STRICT
    type: Literal["tool_use"]
    id: str = Field(pattern=r"^[a-zA-Z0-9_-]+$")
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")
    input: dict[str, Any]


class _ToolResult(BaseModel):
    model_config = _STRICT
    type: Literal["tool_result"]
    tool_use_id: str = Field(pattern=r"^[a-zA-Z0-9_-]+$")
    content: str


class _Message(BaseModel):
    model_config = _STRICT
    role: Literal["user", "assistant"]
    content: str | list[Annotated[_Text | _ToolUse | _ToolResult, Field(discriminator="type")]]


class _Tool(BaseModel):
    model_config = _STRICT
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")
    description: str = ""
    input_schema: dict[str, Any]


class _Choice(BaseModel):
    model_config = _STRICT
    type: Literal["auto", "any", "none"]


class _Cache(BaseModel):
    model_config = _STRICT
    type: Literal["ephemeral"]


class _Thinking(BaseModel):
    model_config = _STRICT
    type: Literal["adaptive", "between_tools", "disabled"]


class _Output(BaseModel):
    model_config = _STRICT
    effort: Literal["low", "medium", "high", "xhigh", "max"]


class _Create(BaseModel):
    model_config = _STRICT
    model: str
    max_tokens: int = Field(ge=1)
    messages: list[_Message] = Field(min_length=1)
    stream: Literal[True]
    system: str | None = Field(None, pattern=r"\S")
    thinking: _Thinking | None = None
    output_config: _Output | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    cache_control: _Cache | None = None


class PretendAnthropic(PretendModel):
    content_type = "text/event-stream"
    model = "claude-haiku-5-5"

    def __init__(self, key: str = KEY, tls: tuple[str, str] | None = None) -> None:
        super().__init__("POST", "/v1/messages", key, tls)
        self.thoughts = ""
        self.stop_reason: str | None = None
        """Instead of the one that fits."""

    @property
    def url(self) -> str:
        return self.http.url

    def pieces(self) -> list[bytes]:
        usage = {"input_tokens": 7, "cache_read_input_tokens": 2, "output_tokens": 1}
        message: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        found: list[dict[str, Any]] = [{"type": "message_start", "message": message}, {"type": "ping"}]
        thought = [{"type": "thinking_delta", "thinking": self.thoughts}, {"type": "signature_delta", "signature": "c"}]
        said = [{"type": "text_delta", "text": text} for text in self.texts]
        blocks: list[tuple[dict[str, Any], list[dict[str, str]]]] = [
            ({"type": "thinking", "thinking": "", "signature": ""}, thought if self.thoughts else []),
            ({"type": "text", "text": ""}, said),
        ]
        for call in self.calls:
            text = json.dumps(dict(call.arguments)) if call.arguments else ""
            deltas = [{"type": "input_json_delta", "partial_json": t} for t in ("", text[:5], text[5:])]
            blocks.append(({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, deltas))
        for index, (block, deltas) in enumerate(block for block in blocks if block[1]):
            found.append({"type": "content_block_start", "index": index, "content_block": block})
            found += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
            found.append({"type": "content_block_stop", "index": index})
        reason = self.stop_reason or ("tool_use" if self.calls else "end_turn")
        delta = {"stop_reason": reason, "stop_sequence": None}
        found.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 4}})
        return events(*found, {"type": "message_stop"}, name=lambda event: str(event["type"]))

    def unended(self) -> bytes:
        return b"".join(self.pieces()[:4])

    def failing(self) -> bytes:
        error = {"type": "error", "error": {"type": "overloaded_error", "message": f"Overloaded, says {self.key}"}}
        return b"".join([*self.pieces()[:4], *events(error, name=lambda event: "error")])

    def check(self, request: Request) -> dict[str, Any]:
        given = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get("x-api-key")
        if given != self.key:
            raise Refused(401, "authentication_error", f"invalid API key {given}")
        if request.headers.get("anthropic-version") != "2026-10-21":
            raise Refused(400, "invalid_request_error", "anthropic-version: header is required")
        body = body_like(_Create, request)
        if body["model"] != self.model:
            raise Refused(404, "not_found_error", f"model: {body['model']}")
        _turns_fit(body)
        return body

    def refusal(self, refused: Refused) -> Reply:
        error = {"type": _ERRORS.get(refused.status, "api_error"), "message": str(refused)}
        return Reply.json({"type": "error", "error": error}, refused.status)


def _turns_fit(body: dict[str, Any]) -> None:
    """What the service says no to although each part of it is well-formed."""
    messages = body["messages"]
    if messages[0]["role"] != "user":
        raise Refused(400, "invalid_request_error", "messages: first message must use the user role")
    if messages[-1]["role"] != "user":
        raise Refused(400, "invalid_request_error", "This model does not support assistant message prefill")
    open_calls: list[str] = []
    for message in messages:
        blocks = message["content"] if isinstance(message["content"], list) else []
        if not message["content"]:
            raise Refused(400, "invalid_request_error", "messages: content must not be empty")
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if sorted(results) != sorted(open_calls) or any(b["type"] != "tool_result" for b in blocks[: len(results)]):
            raise Refused(400, "invalid_request_error", "tool_use ids need tool_result blocks immediately after")
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if (results or open_calls) and not body.get("tools"):
            raise Refused(400, "invalid_request_error", "Requests which include tool_use must define tools")
