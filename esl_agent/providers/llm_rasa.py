"""LLM ``rasa``: a Rasa assistant by its REST channel.

    POST /webhooks/rest/webhook {"sender": "<call>", "message": "..."}
    [{"recipient_id": "<call>", "text": "..."}, {"recipient_id": "<call>", "image": "..."}]

The assistant keeps the conversation itself, under the call's id; it is told what the caller said and nothing else,
and each thing once: where its answer broke off, the rest of that is said again without asking it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote, quote_plus

from esl_agent import secret
from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.providers.account import account, parts_of
from esl_agent.providers.base import CallContext, EngineContext, Identity, ReplyPart
from esl_agent.providers.exchanges import Conversation
from esl_agent.providers.http import HttpServer
from esl_agent.providers.llm_answer import reported
from esl_agent.providers.llm_said import texts
from esl_agent.providers.quotes import shape
from esl_agent.setting import STRICT, setting

_WEBHOOK = "/webhooks/rest/webhook"


@dataclass(frozen=True, slots=True)
class RasaOptions:
    """A Rasa assistant. It keeps the conversation itself; the DID's prompt and tools are not used."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting(
        "http://localhost:5005", f"The server, or the whole address of `{_WEBHOOK}`.", pattern="^https?://"
    )
    empty: str = setting(
        "Please go on.",
        "Said when the assistant answers nothing. Empty: then that counts as a failure, with a retry and an apology.",
    )
    hang_up_on: str = setting("", "Text of the assistant that is not said but hangs up, such as `[HANGUP]`.")
    token_env: str = setting("", "Environment variable of the token, where the server asks for one (`--auth-token`).")
    token_file: str = setting("", "File that holds the token, if no variable does.")
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    at_once: int = setting(0, "Requests that the server may have at a time, over all calls. 0: no limit.", ge=0)


class Rasa:
    def __init__(self, options: RasaOptions, context: EngineContext) -> None:
        token = secret.secret(options.token_env, options.token_file) or ""
        url = options.url.rstrip("/")
        url = url + _WEBHOOK if parts_of(url).path == "" else url
        self._options = options
        self._token = token
        self.identity = Identity("rasa", account(url, token), options.at_once)
        # The token stands in the address, where it may be written in either of these ways.
        hidden = {token, quote(token, safe=""), quote_plus(token), quote(token)} if token else ()
        self._server = HttpServer("llm", url, secrets=hidden, ca_file=options.ca_file)
        self._nobody = str(uuid.uuid4())

    def for_call(self, context: CallContext) -> RasaCall:
        """One conversation of the assistant's is one call."""
        return RasaCall(self, context.id)

    def prepare(self) -> None:
        """A call begins: have a connection ready."""
        self._server.connect()

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        """Without a call: one conversation for all that is said."""
        return self.conversation(self._nobody).reply(messages)

    def conversation(self, sender: str) -> Conversation:
        """That of ``sender``."""
        return Conversation(lambda words: self._answer(words, sender), self._options.hang_up_on)

    def _answer(self, words: str, sender: str) -> list[str]:
        query = {"token": self._token} if self._token else None
        body = {"sender": sender, "message": words}
        with self._server.ask("POST", json=body, params=query, expect="application/json") as answer:
            found = answer.json()
        if isinstance(found, dict) and (error := reported(self._server, found)):
            raise error
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise self._server.error(f"expected a list of objects, got {shape(found)}")
        return texts([each.get("text") for each in found]) or texts(self._options.empty)


class RasaCall:
    """The assistant as one call uses it."""

    def __init__(self, rasa: Rasa, call_id: str) -> None:
        self.identity = rasa.identity
        self._conversation = rasa.conversation(call_id)
        self.prepare = rasa.prepare

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        return self._conversation.reply(messages)
