"""LLM ``openai``: chat completions, streamed, of OpenAI and of everything that imitates it (vLLM, llama.cpp, Azure,
OpenRouter, Groq, LM Studio ...).

Shapes: openai SDK 3.54, types/chat/completion_create_params and chat_completion_chunk. Imitations differ from them in
small things, which are taken as they come.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.errors import ProviderError
from esl_agent.providers import openai_key
from esl_agent.providers.account import account
from esl_agent.providers.base import (
    EngineContext,
    HangUpPart,
    Identity,
    ReplyPart,
    TextPart,
    Usage,
    UsagePart,
)
from esl_agent.providers.http import Answer, HttpServer
from esl_agent.providers.llm_answer import count, ended_early, key_header, parsed
from esl_agent.providers.llm_calls import CallPieces, functions, told_id, told_name, without_tools
from esl_agent.providers.llm_text import Speakable
from esl_agent.setting import STRICT, setting

#: Seconds that what follows a reply's last word may take: a count of tokens and the stream's end.
AFTERWARDS = 1.0
_DONE: dict[str, Any] = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


@dataclass(frozen=True, slots=True)
class OpenAiModelOptions:
    """OpenAI's chat completions, and every server that speaks them."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    model: str = setting("gpt-6-luna", "The model, as the server calls it.")
    url: str = setting("https://api.openai.com/v1", "Where `/chat/completions` is.", pattern="^https?://")
    api_key_env: str = setting("", openai_key.DOC)
    api_key_file: str = setting("", "File that holds the key, if no variable does.")
    key_header: str = setting(
        "Authorization", "Header the key goes into, there as `Bearer`. Azure: `api-key`.", pattern="^[A-Za-z-]+$"
    )
    headers: dict[str, str] = setting(dict, "Further headers of every request. No secrets.")
    query: dict[str, str] = setting(dict, "Added to the address: `{api-version: ...}` for Azure.")
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    max_completion_tokens: int | None = setting(None, "Length of a reply, and of the thinking before it.", ge=1)
    temperature: float | None = setting(None, "Reasoning models refuse it.", ge=0.0, le=2.0)
    reasoning_effort: str = setting("", "How long a reasoning model thinks before its first word: none, low ...")
    extra_body: dict[str, Any] = setting(dict, "Anything else of the request: `{max_tokens: 200, top_p: 0.9}`.")
    stream_usage: bool = setting(True, "Ask for a count of tokens; off for servers that refuse `stream_options`.")
    tools: bool = setting(True, "Whether the model can call tools; off for one that cannot.")
    begins_thinking: bool = setting(
        False,
        "Whether a reply begins with thoughts that only `</think>` ends: some servers leave out the opening sign.",
    )
    hang_up_on: str = setting("", "Text of the model that is not said but hangs up, such as `[HANGUP]`.")
    at_once: int = setting(0, "Requests that the account may have at a time, over all calls. 0: no limit.", ge=0)

    def __post_init__(self) -> None:
        openai_key.check_url(self.url, "chat/completions")


class OpenAiModel:
    def __init__(self, options: OpenAiModelOptions, context: EngineContext) -> None:
        """Raises ConfigError without a key, where one is needed."""
        key = openai_key.key("llm: engine openai", options.url, options.api_key_env, options.api_key_file)
        self._options = options
        self.identity = Identity(f"openai/{options.model}", account(options.url, key), options.at_once)
        self._server = HttpServer(
            "llm",
            options.url,
            headers={**options.headers, **key_header(options.key_header, key)},
            secrets=(key,) if key else (),
            ca_file=options.ca_file,
        )

    def warm(self) -> None:
        """Have a connection ready; returns at once."""
        threading.Thread(target=self.prepare, name="llm warming", daemon=True).start()

    def prepare(self) -> None:
        """A call begins: have a connection ready."""
        self._server.connect("models")

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        """The reply as it comes. Tools are called when all was said."""
        wanted = ("text/event-stream", "application/json")
        body = self._body(messages, tools)
        calls = CallPieces(tools, f"call-{len(messages)}")
        query = self._options.query or None
        with self._server.ask("POST", "chat/completions", json=body, params=query, expect=wanted) as answer:
            yield from self._parts(answer, calls)

    def _body(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> dict[str, Any]:
        options = self._options
        body: dict[str, Any] = {
            **options.extra_body,
            "model": options.model,
            "messages": [_message(each) for each in (messages if options.tools else without_tools(messages))],
            "stream": True,
        }
        if options.stream_usage:
            body["stream_options"] = {"include_usage": True}
        if options.max_completion_tokens is not None:
            body["max_completion_tokens"] = options.max_completion_tokens
        if options.temperature is not None:
            body["temperature"] = options.temperature
        if options.reasoning_effort:
            body["reasoning_effort"] = options.reasoning_effort
        if tools and options.tools:
            body["tools"] = functions(tools)
        return body

    def _parts(self, answer: Answer, calls: CallPieces) -> Iterator[ReplyPart]:
        text = Speakable(self._options.hang_up_on, self._options.begins_thinking)
        usage: Any = None
        reason = ""
        try:
            for chunk in self._chunks(answer):
                usage = chunk.get("usage") or usage
                for choice in chunk.get("choices") or ():
                    delta = choice.get("delta") or choice.get("message") or {}
                    if said := text.feed(_words(delta.get("content")) + _words(delta.get("refusal"))):
                        yield TextPart(said)
                    for entry in delta.get("tool_calls") or ():
                        calls.add(entry)
                    if not reason and (reason := choice.get("finish_reason") or ""):
                        answer.hurry(AFTERWARDS)
        except ProviderError:
            if not reason:
                raise
        except (AttributeError, TypeError):
            raise self._server.error("the stream has another shape than chat completions") from None
        if not reason:
            raise ended_early(self._server)
        if reason == "content_filter":
            raise self._server.error("the reply was stopped by a filter", retryable=False, blame="request")
        if said := text.end():
            yield TextPart(said)
        yield from calls.parts()
        if text.hang_up:
            yield HangUpPart()
        if isinstance(usage, dict):
            yield UsagePart(_usage(usage))

    def _chunks(self, answer: Answer) -> Iterator[dict[str, Any]]:
        """The stream's chunks; a server that does not stream gives one."""
        if answer.content_type == "application/json":
            yield parsed(self._server, answer.whole().decode("utf-8", "replace"))
            return
        for event in answer.events():
            if event.data.strip() == "[DONE]":
                answer.drain()
                yield _DONE
                return
            yield parsed(self._server, event.data)


def _message(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.role == "tool":
        found["tool_call_id"] = told_id(message.tool_call_id)
    if message.tool_calls:
        found["tool_calls"] = [
            {
                "id": told_id(call.id),
                "type": "function",
                "function": {
                    "name": told_name(call.name),
                    "arguments": json.dumps(dict(call.arguments), ensure_ascii=False),
                },
            }
            for call in message.tool_calls
        ]
    return found


def _words(content: Any) -> str:
    """The text of ``content``: a string, nothing, or parts of which those of type text count (Mistral)."""
    if isinstance(content, list):
        return "".join(_words(part.get("text")) for part in content if part.get("type") == "text")
    return content if isinstance(content, str) else ""


def _usage(found: dict[str, Any]) -> Usage:
    details = found.get("prompt_tokens_details")
    return Usage(
        input_tokens=count(found.get("prompt_tokens")),
        cached_tokens=count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
        output_tokens=count(found.get("completion_tokens")),
    )
