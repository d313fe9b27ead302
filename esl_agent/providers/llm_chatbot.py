"""LLM ``chatbot``: the older bridge's chatbot service, by WebSocket, and by HTTP where that fails.

    {"type": "user_message", "text": "...", "session_id": "<call>"}
    {"messages": ["...", "..."]}  or  {"message": "..."}  or  {"text": "..."}

The service keeps the conversation itself, under the call's id; it is told what the caller said and nothing else, and
each thing once: where its answer broke off, the rest of that is said again without asking it. A socket serves one call,
and after a question that was not answered in time, or not waited for, no other question: what comes late on it answers
nobody.

The log lines ``[CHATBOT] WS send:`` and ``[CHATBOT] WebSocket response:`` are looked for by older tools. What is said
stands in them only with ``log_text``.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent import secret
from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.errors import ProviderError
from esl_agent.providers.account import account
from esl_agent.providers.base import CallContext, EngineContext, Identity, ReplyPart
from esl_agent.providers.exchanges import Conversation
from esl_agent.providers.http import HttpServer
from esl_agent.providers.llm_answer import reported
from esl_agent.providers.llm_said import texts
from esl_agent.providers.quotes import shape
from esl_agent.providers.sockets import ProviderSocket, open_socket
from esl_agent.setting import STRICT, setting
from esl_agent.wire.esl_commands import safe_text
from esl_agent.wire.outside_json import loads

log = logging.getLogger(__name__)

#: Seconds between two tries, so that a service which restarts has a moment.
PAUSE = 0.1
#: The part of the time that the WebSocket may use up in silence where there is HTTP to fall back to.
WEBSOCKET_SHARE = 2 / 3
#: Messages that are no reply, whatever stands in them.
_NO_REPLY = frozenset({"user_message", "ping", "pong", "ack", "connected", "connection", "status"})


@dataclass(frozen=True, slots=True)
class ChatbotOptions:
    """A chatbot service by the older bridge's contract. It keeps the conversation itself; the DID's prompt and tools
    are not used."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    ws_url: str = setting(
        "", "Its WebSocket, tried first. Empty: HTTP alone.", pattern="^(wss?://.+)?$", env="CHATBOT_WS_URL"
    )
    api_url: str = setting(
        "",
        "Its HTTP address, for when the WebSocket fails. Empty: none.",
        pattern="^(https?://.+)?$",
        env="CHATBOT_API_URL",
    )
    timeout: float = setting(
        30.0,
        "Seconds for a reply, all tries together. Of them the WebSocket has two thirds where there is an api_url.",
        gt=0.0,
        le=300.0,
    )
    tries: int = setting(
        3, "How often the WebSocket is tried for one question: if it fails, not if it is slow.", ge=1, le=10
    )
    session_id: str = setting("", "One session for all callers, if only one calls at a time. Empty: the call's id.")
    hang_up_on: str = setting("", "Text of the service that is not said but hangs up, such as `[HANGUP]`.")
    log_text: bool = setting(False, "Write what is said into the `[CHATBOT]` log lines. Off: the number of its words.")
    api_key_env: str = setting("", "Environment variable of a key, where the service wants one as `Bearer`.")
    api_key_file: str = setting("", "File that holds the key, if no variable does.")
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    at_once: int = setting(0, "Requests that the service may have at a time, over all calls. 0: no limit.", ge=0)

    def __post_init__(self) -> None:
        if not self.ws_url and not self.api_url:
            raise ValueError("expected ws_url, api_url or both (environment CHATBOT_WS_URL, CHATBOT_API_URL)")


class Chatbot:
    """The service; each call talks to it by a ``ChatbotCall``."""

    def __init__(self, options: ChatbotOptions, context: EngineContext) -> None:
        key = secret.secret(options.api_key_env, options.api_key_file) or ""
        self.options = options
        self.identity = Identity("chatbot", account(options.ws_url or options.api_url, key), options.at_once)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._secrets = (key,) if key else ()
        self.http: HttpServer | None = None
        if options.api_url:
            self.http = HttpServer(
                "llm", options.api_url, headers=self._headers, secrets=self._secrets, ca_file=options.ca_file
            )
        self._nobody = ChatbotCall(self, options.session_id or str(uuid.uuid4()))

    def for_call(self, context: CallContext) -> ChatbotCall:
        """One session of the service's is one call."""
        return ChatbotCall(self, self.options.session_id or context.id)

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        """Without a call: one session for all that is said."""
        return self._nobody.reply(messages, tools)

    def open(self) -> ProviderSocket:
        """Another WebSocket to the service."""
        return open_socket(
            "llm", self.options.ws_url, headers=self._headers, secrets=self._secrets, ca_file=self.options.ca_file
        )

    def shown(self, text: str) -> str:
        """What people say, as it may stand in a log."""
        return safe_text(text, 500) if self.options.log_text else f"<{len(text.split())} words>"


class ChatbotCall:
    """The service as one call uses it."""

    def __init__(self, chatbot: Chatbot, session_id: str) -> None:
        self.identity = chatbot.identity
        self._chatbot = chatbot
        self._session_id = session_id
        self._conversation = Conversation(self._answer, chatbot.options.hang_up_on)
        # The socket that is free for the next question; whoever asks takes it away, so that two never share one.
        self._free: ProviderSocket | None = None
        self._is_over = False

    def prepare(self) -> None:
        """The call begins: have the WebSocket open."""
        if self._free is not None or not self._chatbot.options.ws_url:
            return
        try:
            self._give_back(self._chatbot.open())
        except ProviderError:
            return  # and is found out when it is needed

    def close(self) -> None:
        """The call is over. Idempotent."""
        self._is_over = True
        socket, self._free = self._free, None
        if socket is not None:
            socket.close()

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        """The whole reply at once, a part for each of its texts."""
        yield from self._conversation.reply(messages)

    def _answer(self, words: str) -> list[str]:
        options, http = self._chatbot.options, self._chatbot.http
        began = time.monotonic()
        until = began + options.timeout * (WEBSOCKET_SHARE if http is not None else 1.0)
        failed: ProviderError | None = None
        for number in range(options.tries if options.ws_url else 0):
            if number:
                time.sleep(PAUSE)
            try:
                return self._by_socket(words, until)
            except ProviderError as error:
                failed = error
                if not error.retryable or time.monotonic() >= until:
                    break
        if http is not None:
            if failed is not None:
                log.warning("[CHATBOT] falls back to HTTP: %s", safe_text(str(failed), 300))
            return self._by_http(http, words, max(1.0, began + options.timeout - time.monotonic()))
        assert failed is not None
        raise failed

    def _by_socket(self, words: str, until: float) -> list[str]:
        """What the service answers. A socket that did not is never used again."""
        socket = self._take()
        try:
            log.info("[CHATBOT] WS send: %s", self._chatbot.shown(words))
            message = {"type": "user_message", "text": words, "session_id": self._session_id}
            socket.send(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace").decode())
            said: list[str] = []
            while not said:
                received = socket.receive(max(0.0, until - time.monotonic()))
                if received is None:
                    raise socket.error("closed before it had answered")
                said = self._said(socket, received)
            log.info("[CHATBOT] WebSocket response: %s", self._chatbot.shown(" ".join(said)))
        except BaseException:
            socket.close()
            raise
        self._give_back(socket)
        return said

    def _by_http(self, server: HttpServer, words: str, patience: float) -> list[str]:
        body = {"text": words, "session_id": self._session_id}
        with server.ask("POST", json=body, expect="application/json", read_timeout=patience) as answer:
            found = answer.json()
        if said := texts(found):
            return said
        if isinstance(found, dict) and (error := reported(server, found)):
            raise error
        raise server.error(f"expected messages, a message or a text, got {shape(found)}")

    def _said(self, socket: ProviderSocket, message: str | bytes) -> list[str]:
        """The reply in a message (outside text); none in typing indicators, echoes and the like, and in another
        session's. Raises ProviderError for an error."""
        try:
            found = loads(message)
        except ValueError:
            return []
        if not isinstance(found, dict):
            return texts(found) if isinstance(found, list) else []
        kind, said = str(found.get("type", "")).lower(), texts(found)
        if "error" in kind or (found.get("error") and not said):
            raise socket.error(f"the service says: {str(found.get('error') or ' '.join(said))[:200]}")
        is_typing = "typing" in kind or found.get("typing") is True or found.get("is_typing") is True
        if is_typing or kind in _NO_REPLY or found.get("session_id") not in (None, "", self._session_id):
            return []
        return said

    def _take(self) -> ProviderSocket:
        """The free socket, without what came on it since its last answer, or a new one."""
        socket, self._free = self._free, None
        if socket is not None:
            try:
                while socket.receive(0.0) is not None:
                    pass
            except ProviderError:  # nothing waits there; or it has ended
                if socket.is_open:
                    return socket
            socket.close()
        if self._is_over:
            raise ProviderError("llm", "the call is over")
        return self._chatbot.open()

    def _give_back(self, socket: ProviderSocket) -> None:
        if self._free is None and not self._is_over:
            self._free = socket
        else:
            socket.close()
