"""One connection to the Realtime API: an ``AgentSession``.

One greenlet reads ``parts``, another calls the rest. They share the numbers below and no lock: neither waits between
looking at one and changing it. What is sent goes out whole, whoever sends it (``ProviderSocket``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esl_agent.audio.pcm import SoundFormat
from esl_agent.dialogue.actions import Message
from esl_agent.errors import Blame, ProviderError
from esl_agent.providers import realtime_messages as messages
from esl_agent.providers.base import AgentPart, CallerBegan, CallerEnded, ResponseBegan, ResponseEnded
from esl_agent.providers.http import MAX_TOLD, one_line
from esl_agent.providers.quotes import unquoted
from esl_agent.providers.realtime_parts import Reading, plain_id, plain_name, read
from esl_agent.providers.sockets import ProviderSocket

logger = logging.getLogger(__name__)

#: Characters of what a tool has answered.
MAX_RESULT = 64_000
#: Seconds after which a response that was asked for, and neither began nor was refused, counts as never asked for.
ASKED = 10.0
#: ... and how many of them are remembered, should they be refused.
MAX_ASKS = 8
#: Seconds that the caller may speak, and then until the service begins the answer that it gives by itself; after that
#: it is thought to have none.
SPEECH = 60.0
ANSWER = 3.0
#: After these nothing of the session will work: somebody has to act ...
_SETUP = frozenset(
    {
        "beta_api_shape_disabled",
        "invalid_api_key",
        "incorrect_api_key",
        "model_not_found",
        "invalid_model",
        "insufficient_quota",
        "billing_hard_limit_reached",
        "account_deactivated",
        "authentication_error",
        "permission_error",
    }
)
#: ... or a new one has to be made.
_PASSING = frozenset({"session_expired", "session_not_found", "server_shutdown"})
_IS_ACTIVE = "conversation_already_has_active_response"
#: Of two things that crossed on the way, one came too late.
_HARMLESS = frozenset(
    {
        "response_cancel_not_active",
        _IS_ACTIVE,
        "item_truncate_invalid_item_id",
        "item_delete_invalid_item_id",
        "input_audio_buffer_commit_empty",
    }
)


@dataclass(frozen=True, slots=True)
class Setup:
    """How a session is to be. ``said``: how the agent's own words are told; ``transcriber``: whose usage that of
    transcripts is."""

    session: Mapping[str, Any]
    history: Sequence[Message]
    said: str
    sound: SoundFormat
    transcriber: str
    interruptible: bool = True


@dataclass(frozen=True, slots=True)
class _Wish:
    """A response that is to be asked for. ``instructions``: "" for none; ``interruptible``: the caller's speech is to
    end it."""

    instructions: str
    interruptible: bool


class RealtimeSession:
    def __init__(self, socket: ProviderSocket, setup: Setup) -> None:
        self._socket = socket
        self._setup = setup
        self._reading = Reading(setup.sound, setup.transcriber)
        self._number = 0
        self._is_closed = False
        self._asked: float | None = None
        """Since when (monotonic) a response is asked for that has not begun."""
        self._asks: dict[str, _Wish] = {}
        """Events that asked for a response: the last few, any of which may yet be refused. Which response was whose the
        service does not say."""
        self._wish: _Wish | None = None
        """What is to be asked for when no response is under way."""
        self._answer_due = 0.0
        """Until then (monotonic) the service may begin an answer to the caller's words by itself."""
        self._is_interruptible = setup.interruptible
        """Whether the caller's speech ends a response now."""
        self._is_last = False

    # Before it can be used

    def get_ready(self, until: float) -> None:
        """Through the steps of connecting, by ``until`` (monotonic). Raises ProviderError."""
        self._await({"session.created"}, until)
        update = self._id()
        self._send(messages.update(update, self._setup.session))
        updated = self._await({"session.updated"}, until, update)
        self._check(updated.get("session"))
        for message in self._setup.history:
            self._send(messages.said_before(self._id(), message, self._setup.said))
        self._await_history(until)

    def _await_history(self, until: float) -> None:
        """Until each entry is in the conversation, or was refused; some servers tell of each twice."""
        told: set[str] = set()
        while len(told) < len(self._setup.history):
            event = self._await({"conversation.item.added", "error"}, until)
            if event["type"] == "error":
                logger.warning("agent %s: an entry of the history was refused: %s", self._socket.where, _names(event))
                told.add(f"refused {len(told)}")
            else:
                item = event.get("item")
                told.add(plain_id(item.get("id")) if isinstance(item, dict) else f"unnamed {len(told)}")

    def _await(self, kinds: set[str], until: float, update: str = "") -> dict[str, Any]:
        """The next event of ``kinds``; others say nothing yet. An error is raised unless it is one of them."""
        while (left := until - time.monotonic()) > 0:
            event = self._next(left)
            if event["type"] == "error":
                self._raise_fatal(event)
                if "error" not in kinds:
                    raise self._refused(event, update)
            if event["type"] in kinds:
                return event
        raise self._socket.error(f"not ready in time: no {' or '.join(sorted(kinds))}")

    def _next(self, patience: float | None = None) -> dict[str, Any]:
        message = self._socket.receive(patience)
        if message is None:
            code, reason = self._socket.closed_with or (1000, "")
            raise self._socket.error(f"it closed the connection: {code} {reason}")
        try:
            return read(message)
        except ValueError as error:
            raise self._socket.error(str(error)) from None

    def _check(self, got: Any) -> None:
        """What the service says that it does, against what it was asked to do."""
        wrong = messages.differences(self._setup.session, got)
        if formats := [each for each in wrong if "format" in each or each == "session"]:
            raise self._failure(f"it does not do as asked: {', '.join(formats)}", blame="setup")
        if wrong:
            logger.warning("agent %s: it does otherwise than asked: %s", self._socket.where, ", ".join(wrong))

    # What it does

    def parts(self) -> Iterator[AgentPart]:
        """What it does, until ``close``. Raises ProviderError for any other end."""
        while not self._is_closed:
            try:
                event = self._next()
                is_error = event["type"] == "error"
                found = self._error(event) if is_error else tuple(self._reading.parts(event))
                for part in found:
                    self._note(part)
                if self._wish is not None:
                    self._fulfil()
                else:
                    self._yield_again()
            except ProviderError:
                if self._is_closed:
                    return
                raise
            except ValueError as error:
                if self._is_closed:
                    return
                raise self._socket.error(str(error)) from None
            yield from found

    def _note(self, part: AgentPart) -> None:
        """What of it decides whether a response may be asked for."""
        if isinstance(part, ResponseBegan):
            if self._wish is not None and self._is_met(self._wish):
                self._wish = None
            self._asked, self._answer_due = None, 0.0
        elif isinstance(part, CallerBegan):
            self._answer_due = time.monotonic() + SPEECH
        elif isinstance(part, CallerEnded):
            # While it responds to something else (speech did not end that) it begins no answer: ServerVad of the SDK.
            is_busy = not self._is_interruptible and bool(self._reading.response)
            self._answer_due = 0.0 if is_busy else time.monotonic() + ANSWER

    def _is_met(self, wish: _Wish) -> bool:
        """By a response that begins: it answers that together with what the caller said, or was asked for once already
        and took so long."""
        if self._answer_due and not wish.instructions:
            return True
        asked = next(reversed(self._asks.values()), None) if self._asked is not None else None
        return asked is not None and asked.instructions == wish.instructions

    def _error(self, event: dict[str, Any]) -> tuple[AgentPart, ...]:
        """Most errors are about one message, and leave the session as it was."""
        self._raise_fatal(event)
        code = _code(event)
        is_harmless = code in _HARMLESS
        logger.log(
            logging.DEBUG if is_harmless else logging.WARNING,
            "agent %s: it refused a message: %s",
            self._socket.where,
            _names(event),
        )
        id = _error(event).get("event_id")
        if not isinstance(id, str) or (wish := self._asks.pop(id, None)) is None:
            return ()
        self._asked = None
        if code == _IS_ACTIVE:
            self._wish = wish if self._wish is None else self._wish
            return ()
        if self._reading.response:  # whoever waits for one has that of the service
            return ()
        refused = f"refused.{id}"
        return (ResponseBegan(refused), ResponseEnded(refused, "failed", error=code))

    # What it is told

    def hear(self, sound: bytes) -> None:
        if sound and not self._is_closed:
            if self._wish is not None:
                self._fulfil()
            self._number += 1
            self._socket.send(messages.append(self._number, sound))

    def respond(self, instructions: str = "", *, is_last: bool = False, interruptible: bool = True) -> None:
        """At once, or when the response that is under way has ended; of several that wait the last counts. What the
        caller is saying is answered anyhow, together with whatever else there is to answer: without instructions it is
        then asked for only if no answer comes. Where the service refuses to have words heard out, they are asked for
        all the same."""
        if is_last:
            self._is_last = True
            self._turns(create_response=False, interrupt_response=False)
        self._wish = _Wish(instructions, interruptible and self._setup.interruptible)
        self._fulfil()

    def _turns(self, **changes: bool) -> None:
        self._send(messages.update(self._id(), messages.turns(self._setup.session, **changes)))

    def _yield(self, is_interruptible: bool) -> None:
        """Whether the caller's speech is to end a response from now on."""
        if is_interruptible is not self._is_interruptible and not self._is_last:
            self._is_interruptible = is_interruptible
            self._turns(interrupt_response=is_interruptible)

    def _yield_again(self) -> None:
        """What was to be heard out is whole. Nothing is changed while the caller speaks, lest half of it be lost."""
        is_under_way = bool(self._reading.response) or self._is_asking()
        if not is_under_way and not self._reading.is_caller_speaking:
            self._yield(self._setup.interruptible)

    def _fulfil(self) -> None:
        """Ask for the response that is wished for, if none is under way or about to be."""
        if self._wish is None or self._reading.response or self._is_asking():
            return
        now = time.monotonic()
        if not self._wish.instructions and now < self._answer_due:
            return
        wish, self._wish = self._wish, None
        id = self._id()
        self._asked = now
        if len(self._asks) >= MAX_ASKS:
            del self._asks[next(iter(self._asks))]
        self._asks[id] = wish
        self._yield(wish.interruptible)  # sending may wait: by now it is known that a response is asked for
        self._send(messages.respond(id, wish.instructions))

    def _is_asking(self) -> bool:
        return self._asked is not None and time.monotonic() - self._asked < ASKED

    def tell(self, text: str) -> None:
        self._send(messages.said_before(self._id(), Message("user", text)))

    def return_tools(self, results: Sequence[tuple[str, str]]) -> None:
        for call, result in results:
            self._send(messages.tool_result(self._id(), call, result[:MAX_RESULT]))

    def cancel(self, response: str) -> None:
        under_way = self._reading.response
        if under_way and response in ("", under_way):
            self._send(messages.cancel(self._id(), under_way))

    def truncate(self, item: str, heard: float) -> None:
        """Never to nothing, nor to more than there is or a second time to more: the service refuses that."""
        found = self._reading.items.get(item)
        if found is None:
            return
        all_of_it = self._reading.milliseconds(found)
        until = min(int(heard * 1000), all_of_it)
        is_all_heard = found.is_whole and until >= all_of_it
        if until <= 0 or is_all_heard or (found.cut is not None and until >= found.cut):
            return
        found.cut = until
        self._send(messages.truncate(self._id(), item, found.content_index, until))

    def forget(self, item: str) -> None:
        """The service refuses to truncate an item to nothing: it goes as a whole."""
        found = self._reading.items.get(item)
        if found is not None and found.cut is None:
            found.cut = 0
            self._send(messages.delete(self._id(), item))

    def close(self) -> None:
        self._is_closed = True
        self._socket.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        if not self._is_closed:
            self._socket.send(messages.encoded(message))

    def _id(self) -> str:
        self._number += 1
        return f"e{self._number}"

    # How it fails

    def _raise_fatal(self, event: dict[str, Any]) -> None:
        """Raises ProviderError for an error after which the session is over."""
        found = _error(event)
        codes = [plain_name(found.get("code")), plain_name(found.get("type"))]
        for code in filter(None, codes):
            if code in _SETUP:
                raise self._failure(self._sentence(event), code=code, blame="setup")
            if code in _PASSING:
                raise self._failure(code, code=code, retryable=True)

    def _refused(self, event: dict[str, Any], update: str) -> ProviderError:
        """Connecting came to nothing."""
        code = _code(event)
        is_ours = bool(update) and _error(event).get("event_id") == update
        blame: Blame = "setup" if is_ours or code.startswith("invalid_") else "service"
        if plain_name(_error(event).get("type")) == "server_error":
            blame = "service"
        return self._failure(self._sentence(event), code=code, blame=blame, retryable=blame == "service")

    def _sentence(self, event: dict[str, Any]) -> str:
        """What an error says while the session is set up, without what it quotes of prompt and history."""
        message = _error(event).get("message")
        tools = self._setup.session.get("tools", ())
        texts = [str(self._setup.session.get("instructions", "")), *(each.content for each in self._setup.history)]
        texts += [str(each.get("description", "")) for each in tools]
        told = unquoted(one_line(message), texts) if isinstance(message, str) else ""
        return " ".join(filter(None, (_names(event), told)))[:MAX_TOLD]

    def _failure(
        self, message: str, *, code: str = "", blame: Blame = "service", retryable: bool = False
    ) -> ProviderError:
        failed = self._socket.error(message, retryable=retryable, blame=blame)
        failed.code = code
        return failed


def _error(event: Mapping[str, Any]) -> Mapping[str, Any]:
    found = event.get("error")
    return found if isinstance(found, dict) else {}


def _code(event: Mapping[str, Any]) -> str:
    found = _error(event)
    return plain_name(found.get("code")) or plain_name(found.get("type")) or "error"


def _names(event: Mapping[str, Any]) -> str:
    """The code and what of the message it is about: names, and none of the sentences, which may quote anything."""
    return f"{_code(event)} {plain_name(_error(event).get('param'))}".strip()
