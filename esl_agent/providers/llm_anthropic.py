"""LLM ``anthropic``: the Messages API, streamed, in its version 2026-10-21.

Shapes: anthropic SDK 2.12, types/message_create_params and raw_message_stream_event; headers: its ``_client``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent import secret
from esl_agent.dialogue.actions import Message, ToolCall, ToolSpec
from esl_agent.errors import ProviderError
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity, ReplyPart, TextPart, ToolCallPart, Usage, UsagePart
from esl_agent.providers.http import Answer, HttpServer
from esl_agent.providers.llm_answer import count, ended_early, key_header, parsed
from esl_agent.providers.llm_calls import (
    MAX_ARGUMENTS,
    MAX_CALLS,
    MAX_ID,
    MAX_NAME,
    arguments_of,
    names_called,
    schema_of,
    told_id,
    told_name,
)
from esl_agent.setting import STRICT, setting

#: What stands where a history begins with the agent's words: the service wants the caller's first.
CALL_BEGINS = "(the telephone rings)"
#: A stop for reasons of this one request.
_REFUSALS = ("refusal", "model_context_window_exceeded")


@dataclass(frozen=True, slots=True)
class AnthropicOptions:
    """Anthropic's Messages API."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    model: str = setting("claude-haiku-5-5", "The model, as the service calls it.")
    max_tokens: int = setting(1024, "Length of a reply, and of the thinking before it. The service wants one.", ge=1)
    url: str = setting("https://api.anthropic.com", "Where `/v1/messages` is.", pattern="^https?://")
    version: str = setting(
        "2026-10-21", "Version of the API, as the header `anthropic-version` names it. The one before: `2023-06-01`."
    )
    thinking: str = setting(
        "",
        "Whether the model thinks before its first word: `disabled`, `between_tools`, `adaptive`, as far as it takes "
        "them. Empty: as the model has it; those of 2026 do think.",
    )
    effort: str = setting("", "How much it thinks and says: low, medium, high, xhigh, max. Empty: as the model has it.")
    api_key_env: str = setting("ANTHROPIC_API_KEY", "Environment variable that holds the key.")
    api_key_file: str = setting("", "File that holds the key, if no variable does.")
    key_header: str = setting(
        "Authorization",
        "Header the key goes into, there as `Bearer`. Some proxies: `x-api-key`.",
        pattern="^[A-Za-z-]+$",
    )
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    prompt_cache: bool = setting(
        False, "Let the service keep what it has read: cheaper and sooner for prompts of 500 to 1000 tokens or more."
    )
    extra_body: dict[str, Any] = setting(dict, "Anything else of the request: `{service_tier: standard_only}`.")
    at_once: int = setting(0, "Requests that the account may have at a time, over all calls. 0: no limit.", ge=0)


class AnthropicModel:
    def __init__(self, options: AnthropicOptions, context: EngineContext) -> None:
        """Raises ConfigError without a key."""
        key = secret.required("llm: engine anthropic", options.api_key_env, options.api_key_file)
        self._options = options
        self.identity = Identity(f"anthropic/{options.model}", account(options.url, key), options.at_once)
        self._server = HttpServer(
            "llm",
            options.url.rstrip("/").removesuffix("/v1"),
            headers={**key_header(options.key_header, key), "anthropic-version": options.version},
            secrets=(key,),
            ca_file=options.ca_file,
        )

    def warm(self) -> None:
        """Have a connection ready; returns at once."""
        threading.Thread(target=self.prepare, name="llm warming", daemon=True).start()

    def prepare(self) -> None:
        """A call begins: have a connection ready."""
        self._server.connect("v1/models")

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        """The reply as it comes; a tool is called as soon as its arguments are whole."""
        body = self._body(messages, tools)
        with self._server.ask("POST", "v1/messages", json=body, expect="text/event-stream") as answer:
            yield from _Reply(self._server, answer, f"call-{len(messages)}").parts()

    def _body(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> dict[str, Any]:
        options = self._options
        body: dict[str, Any] = {
            **options.extra_body,
            "model": options.model,
            "max_tokens": options.max_tokens,
            "messages": _turns(messages),
            "stream": True,
        }
        if system := "\n\n".join(each.content for each in messages if each.role == "system" and each.content.strip()):
            body["system"] = system
        if options.thinking:
            body["thinking"] = {"type": options.thinking}
        if options.effort:
            body["output_config"] = {"effort": options.effort}
        if options.prompt_cache:
            body["cache_control"] = {"type": "ephemeral"}
        if tools:
            body["tools"] = [
                {"name": each.name, "description": each.description, "input_schema": schema_of(each)} for each in tools
            ]
        elif called := names_called(messages):
            # A history with calls is refused where no tools are defined.
            body["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in called]
            body["tool_choice"] = {"type": "none"}
        return body


class _Reply:
    """One streamed answer."""

    def __init__(self, server: HttpServer, answer: Answer, ids: str) -> None:
        """``ids``: how the ids of calls begin that come without one."""
        self._ids = ids
        self._server = server
        self._answer = answer
        self._open: dict[Any, tuple[dict[str, Any], list[str]]] = {}
        """Calls that are not whole yet, by the number of their block: llama.cpp's blocks overlap."""
        self._tools = 0
        self._size = 0
        """Characters of all their arguments."""
        self._ended = 0
        self._reason = ""
        self._usage: dict[str, Any] = {}

    def parts(self) -> Iterator[ReplyPart]:
        try:
            for event in self._answer.events():
                found = parsed(self._server, event.data)
                if found.get("type") == "message_stop":
                    self._answer.drain()
                    break
                yield from self._part(found)
        except ProviderError:
            if not self._reason:
                raise
        except (AttributeError, TypeError):
            raise self._server.error("the stream has another shape than messages") from None
        if not self._reason:
            raise ended_early(self._server)
        if self._reason in _REFUSALS:
            raise self._server.error(f"the model stopped: {self._reason}", retryable=False, blame="request")
        if self._usage:
            yield UsagePart(_usage(self._usage))

    def _part(self, found: dict[str, Any]) -> Iterator[ReplyPart]:
        match found.get("type"):
            case "message_start":
                self._count(found["message"].get("usage") if isinstance(found.get("message"), dict) else None)
            case "content_block_start":
                block = found.get("content_block") or {}
                if block.get("type") == "tool_use" and self._tools < MAX_CALLS:
                    self._tools += 1
                    self._open[found.get("index")] = (block, [])
                if block.get("type") == "text" and block.get("text"):
                    yield TextPart(str(block["text"]))
            case "content_block_delta":
                delta = found.get("delta") or {}
                if delta.get("type") == "text_delta" and delta.get("text"):
                    yield TextPart(str(delta["text"]))
                elif delta.get("type") == "input_json_delta" and found.get("index") in self._open:
                    piece = str(delta.get("partial_json") or "")[: MAX_CALLS * MAX_ARGUMENTS - self._size]
                    self._size += len(piece)
                    self._open[found.get("index")][1].append(piece)
            case "content_block_stop":
                if found.get("index") in self._open:
                    block, pieces = self._open.pop(found.get("index"))
                    self._ended += 1
                    yield ToolCallPart(_call(block, "".join(pieces), f"{self._ids}-{self._ended}"))
            case "message_delta":
                delta = found.get("delta") or {}
                self._reason = str(delta.get("stop_reason") or self._reason)
                self._count(found.get("usage"))

    def _count(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self._usage.update({name: value for name, value in usage.items() if value is not None})


def _call(block: dict[str, Any], text: str, id: str) -> ToolCall:
    given = text if text.strip() else block.get("input") or {}
    return ToolCall(str(block.get("id") or id)[:MAX_ID], str(block.get("name") or "")[:MAX_NAME], arguments_of(given))


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Caller and agent in alternation, the caller first; what tools answered stands first in the caller's part."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        if message.role == "system" or not (blocks := _blocks(message)):
            continue
        if not turns and role == "assistant":
            turns.append({"role": "user", "content": [{"type": "text", "text": CALL_BEGINS}]})
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message) -> list[dict[str, Any]]:
    """Empty text is refused by the service."""
    if message.role == "tool":
        return [
            {"type": "tool_result", "tool_use_id": told_id(message.tool_call_id), "content": message.content or "-"}
        ]
    text = message.content.rstrip() if message.role == "assistant" else message.content
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text.strip() else []
    blocks += [
        {"type": "tool_use", "id": told_id(call.id), "name": told_name(call.name), "input": dict(call.arguments)}
        for call in message.tool_calls
    ]
    return blocks


def _usage(found: dict[str, Any]) -> Usage:
    cached = count(found.get("cache_read_input_tokens"))
    fresh = count(found.get("input_tokens")) + count(found.get("cache_creation_input_tokens"))
    return Usage(input_tokens=fresh + cached, cached_tokens=cached, output_tokens=count(found.get("output_tokens")))
