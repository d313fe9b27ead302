"""LLM ``ollama``: a model on a server of your own, by ``POST /api/chat``, one JSON object a line.

Shapes: ollama SDK 0.6 (_types.ChatRequest, ChatResponse) and the server's api/types.go.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent import secret
from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.errors import ProviderError
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, HangUpPart, Identity, ReplyPart, TextPart, Usage, UsagePart
from esl_agent.providers.http import Answer, HttpServer
from esl_agent.providers.llm_answer import count, ended_early, parsed
from esl_agent.providers.llm_calls import CallPieces, functions, told_name, without_tools
from esl_agent.providers.llm_text import Speakable
from esl_agent.setting import STRICT, setting

log = logging.getLogger(__name__)

_CHAT = "/api/chat"
#: What a server says of a model that cannot call tools (ollama server/routes.go).
_NO_TOOLS = "does not support tools"
#: Seconds that a model may take to load.
LOADING = 300.0


@dataclass(frozen=True, slots=True)
class OllamaOptions:
    """A model that Ollama serves."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    model: str = setting(doc="The model, as `ollama list` calls it.")
    url: str = setting(
        "http://localhost:11434", "The server, with or without `/api/chat`.", pattern="^https?://", env="LLM_API_URL"
    )
    keep_alive: str = setting(
        "30m",
        "How long the server keeps the model loaded after a request; `-1m`: for ever.",
        pattern=r"^-?([0-9]+(\.[0-9]+)?(ms|s|m|h))+$",
    )
    think: bool | str | None = setting(
        None, "Let the model think first, or a level such as low. What it thinks is never said."
    )
    options: dict[str, Any] = setting(dict, "Options of the model: `{temperature: 0.6, num_ctx: 8192}`.")
    tools: bool = setting(True, "Whether the model can call tools. One that refuses them is not offered any again.")
    hang_up_on: str = setting("", "Text of the model that is not said but hangs up, such as `[HANGUP]`.")
    api_key_env: str = setting("", "Environment variable of a key, where a proxy wants one as `Bearer`.")
    api_key_file: str = setting("", "File that holds the key, if no variable does.")
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    at_once: int = setting(0, "Requests that the server may have at a time, over all calls. 0: no limit.", ge=0)


class OllamaModel:
    def __init__(self, options: OllamaOptions, context: EngineContext) -> None:
        key = secret.secret(options.api_key_env, options.api_key_file) or ""
        url = options.url.rstrip("/").removesuffix(_CHAT)
        self._options = options
        self.identity = Identity(f"ollama/{options.model}", account(url, key), options.at_once)
        self._has_tools = options.tools
        self._server = HttpServer(
            "llm",
            url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            secrets=(key,) if key else (),
            ca_file=options.ca_file,
        )

    def warm(self) -> None:
        """Have the model loaded; returns at once. What goes wrong is logged, because it goes wrong on calls too."""

        def load() -> None:
            try:
                self._load()
            except ProviderError as error:
                log.warning("%s", error)

        threading.Thread(target=load, name="llm warming", daemon=True).start()

    def prepare(self) -> None:
        """A call begins: have the model loaded. Blocks until it is."""
        try:
            self._load()
        except ProviderError:
            return  # and is found out when it is needed

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        """The reply as it comes."""
        offered = tools if self._has_tools else ()
        calls = CallPieces(offered, f"call-{len(messages)}")
        try:
            answer = self._ask(self._body(messages, offered))
        except ProviderError as error:
            if not offered or _NO_TOOLS not in str(error):
                raise
            log.warning("%s: goes on without tools", error)
            self._has_tools = False
            answer = self._ask(self._body(messages, ()))
        with answer:
            yield from self._parts(answer, calls)

    def _load(self) -> None:
        body = {"model": self._options.model, "messages": [], "stream": False, "keep_alive": self._options.keep_alive}
        wanted = "application/json"
        with self._server.ask("POST", _CHAT, json=body, expect=wanted, read_timeout=LOADING) as answer:
            answer.json()

    def _ask(self, body: dict[str, Any]) -> Answer:
        wanted = ("application/x-ndjson", "application/json")
        return self._server.ask("POST", _CHAT, json=body, expect=wanted)

    def _body(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> dict[str, Any]:
        options = self._options
        body: dict[str, Any] = {
            "model": options.model,
            "messages": _messages(messages if self._has_tools else without_tools(messages)),
            "stream": True,
            "keep_alive": options.keep_alive,
        }
        if options.think is not None:
            body["think"] = options.think
        if options.options:
            body["options"] = options.options
        if tools:
            body["tools"] = functions(tools)
        return body

    def _parts(self, answer: Answer, calls: CallPieces) -> Iterator[ReplyPart]:
        text = Speakable(self._options.hang_up_on)
        last: dict[str, Any] | None = None
        for line in answer.lines():
            found = parsed(self._server, line)
            message = found.get("message")
            if isinstance(message, dict):
                if isinstance(piece := message.get("content"), str) and (said := text.feed(piece)):
                    yield TextPart(said)
                entries = message.get("tool_calls")
                for entry in entries if isinstance(entries, list) else ():
                    calls.add(entry)
            if found.get("done") is True:
                last = found
                answer.drain()
                break
        if last is None:
            raise ended_early(self._server)
        if said := text.end():
            yield TextPart(said)
        yield from calls.parts()
        if text.hang_up:
            yield HangUpPart()
        yield UsagePart(
            Usage(input_tokens=count(last.get("prompt_eval_count")), output_tokens=count(last.get("eval_count")))
        )


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The history. A tool's answer names its tool, because calls have no ids here."""
    names = {call.id: told_name(call.name) for message in messages for call in message.tool_calls}
    found = []
    for message in messages:
        entry: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.role == "tool":
            entry["tool_name"] = names.get(message.tool_call_id, "")
        if message.tool_calls:
            entry["tool_calls"] = [
                {"function": {"name": told_name(call.name), "arguments": dict(call.arguments)}}
                for call in message.tool_calls
            ]
        found.append(entry)
    return found
