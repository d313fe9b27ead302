"""LLM ``llama3_api``: the older IVR's contract, one JSON request and one JSON answer.

    {"system_prompt": "...", "conversation_history": [{"role": "user", "content": "..."}, ...], "user_message": "..."}
    {"response": "..."}

The history is left out where there is none. The contract knows no streaming, no tools and no shape of errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent import secret
from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity, ReplyPart
from esl_agent.providers.http import HttpServer
from esl_agent.providers.llm_calls import without_tools
from esl_agent.providers.llm_said import parts
from esl_agent.providers.quotes import shape
from esl_agent.setting import STRICT, setting


@dataclass(frozen=True, slots=True)
class Llama3ApiOptions:
    """The language model of the older IVR, by its own small contract."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting("http://localhost:8001/llama3", "The whole address.", pattern="^https?://", env="LLAMA3_API_URL")
    timeout: float = setting(30.0, "Seconds for an answer, at the very most.", gt=0.0, le=300.0, env="LLAMA3_TIMEOUT")
    history: int = setting(
        10, "Messages sent besides the last, beginning with one of the caller.", ge=0, env="MAX_CONVERSATION_HISTORY"
    )
    hang_up_on: str = setting("", "Text of the model that is not said but hangs up, such as `[HANGUP]`.")
    api_key_env: str = setting("", "Environment variable of a key, where a proxy wants one as `Bearer`.")
    api_key_file: str = setting("", "File that holds the key, if no variable does.")
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    at_once: int = setting(0, "Requests that the server may have at a time, over all calls. 0: no limit.", ge=0)


class Llama3Api:
    def __init__(self, options: Llama3ApiOptions, context: EngineContext) -> None:
        key = secret.secret(options.api_key_env, options.api_key_file) or ""
        self._options = options
        self.identity = Identity("llama3_api", account(options.url, key), options.at_once)
        self._server = HttpServer(
            "llm",
            options.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            secrets=(key,) if key else (),
            ca_file=options.ca_file,
            read_timeout=options.timeout,
        )

    def prepare(self) -> None:
        """A call begins: have a connection ready."""
        self._server.connect()

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        """The whole reply in one part."""
        with self._server.ask("POST", json=self._body(messages), expect="application/json") as answer:
            found = answer.json()
        response = found.get("response") if isinstance(found, dict) else None
        if not isinstance(response, str):
            raise self._server.error(f"expected an object with a response, got {shape(found)}")
        yield from parts([response], self._options.hang_up_on)

    def _body(self, messages: Sequence[Message]) -> dict[str, Any]:
        said = without_tools([each for each in messages if each.role != "system"])
        while said and said[-1].role != "user":
            said.pop()
        history = said[:-1][-self._options.history :] if self._options.history else []
        while history and history[0].role != "user":
            history.pop(0)
        body: dict[str, Any] = {
            "system_prompt": "\n\n".join(each.content for each in messages if each.role == "system"),
            "user_message": said[-1].content if said else "",
        }
        if history:
            body["conversation_history"] = [{"role": each.role, "content": each.content} for each in history]
        return body
