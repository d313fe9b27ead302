"""The tools that a model calls: put together from the pieces in which chat completions stream them.

By the standard (openai SDK 3.54, types/chat/chat_completion_chunk) a call has an ``index``, gets its ``id`` and name
once and its arguments in pieces of JSON. Servers that imitate it leave out the index, give every call the index 0,
repeat the name, send the arguments as an object, or give no id.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esl_agent.dialogue.actions import Message, ToolCall, ToolSpec
from esl_agent.dialogue.tools import UNREADABLE
from esl_agent.providers.base import ToolCallPart
from esl_agent.wire.outside_json import loads

#: Calls of one reply, characters of one call's arguments, of its id, and of its name.
MAX_CALLS = 32
MAX_ARGUMENTS = 64 * 1024
MAX_ID = 128
MAX_NAME = 64
#: Characters of an id that OpenAI reads again.
_LONGEST_ID = 40


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""

    @property
    def is_whole(self) -> bool:
        try:
            loads(self.arguments)
        except ValueError:
            return False
        return True


class CallPieces:
    """Feed it every entry of ``tool_calls``; at the end it knows the calls."""

    def __init__(self, tools: Sequence[ToolSpec], ids: str) -> None:
        """``ids``: how the ids of calls begin that come without one; no other request of the call has the same."""
        self._names = frozenset(tool.name for tool in tools)
        self._ids = ids
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    def add(self, entry: Any) -> None:
        """One entry (outside text). What makes no sense is passed over."""
        function = entry.get("function") if isinstance(entry, dict) else None
        if not isinstance(function, dict):
            return
        id, name, arguments = _text(entry.get("id")), _text(function.get("name")), function.get("arguments")
        call = self._call_of(entry.get("index"), id, name)
        if call is None:
            return
        call.id = call.id or id
        if name and name != call.name and call.name not in self._names:
            call.name = (call.name + name)[:MAX_NAME]
        if isinstance(arguments, dict):
            arguments, call.arguments = json.dumps(arguments), ""
        if isinstance(arguments, str):
            call.arguments += arguments[: MAX_ARGUMENTS + 1 - len(call.arguments)]

    def parts(self) -> Iterator[ToolCallPart]:
        """The calls in the order in which they began, each with an id of its own."""
        seen: set[str] = set()
        for number, call in enumerate(self._calls):
            if call.name:
                id = call.id[:MAX_ID]
                if not id or id in seen:
                    id = f"{self._ids}-{number}"
                seen.add(id)
                yield ToolCallPart(ToolCall(id, call.name, arguments_of(call.arguments)))

    def _call_of(self, index: Any, id: str, name: str) -> _Call | None:
        """The call that an entry belongs to; None for one too many."""
        if isinstance(index, int):
            found = self._by_index.get(index)
        elif id:
            found = next((call for call in self._calls if call.id == id), None)
        else:
            found = self._calls[-1] if self._calls else None
        if found is not None and not self._begins_another(found, index, id, name):
            return found
        if len(self._calls) >= MAX_CALLS:
            return None
        self._calls.append(call := _Call())
        if isinstance(index, int):
            self._by_index[index] = call
        return call

    def _begins_another(self, found: _Call, index: Any, id: str, name: str) -> bool:
        """An entry that would continue ``found`` has a name and another id, or neither index nor id."""
        if not name or not found.name or (id == found.id and (id or isinstance(index, int))):
            return False
        return found.is_whole or (not found.arguments and name != found.name and found.name in self._names)


def arguments_of(given: Any) -> Mapping[str, Any]:
    """Arguments from their JSON, or as they are. What cannot be read stands under a name that no tool lets through."""
    found = given
    for _ in range(2):  # some servers encode them twice
        if isinstance(found, str) and len(found) <= MAX_ARGUMENTS:
            try:
                found = loads(found) if found.strip() else {}
            except ValueError:
                break
    if found is None:
        return {}
    return found if isinstance(found, dict) else {UNREADABLE: str(given)[:200]}


def told_name(name: str) -> str:
    """The name of a tool that was called as services take it back: of one that a model made up, too."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:MAX_NAME] or "unnamed"


def told_id(id: str) -> str:
    """The id of a call as services take it back: of a call that another model made, too."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", id) or "call"
    return (
        plain if len(plain) <= _LONGEST_ID else hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()[:_LONGEST_ID]
    )


def functions(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """The tools as chat completions, and Ollama, are told of them."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": schema_of(tool)},
        }
        for tool in tools
    ]


def schema_of(tool: ToolSpec) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments."""
    return dict(tool.parameters) or {"type": "object", "properties": {}}


def without_tools(messages: Sequence[Message]) -> list[Message]:
    """The history for a model that knows no tools: what was said, each speaker's words in one message."""
    found: list[Message] = []
    for message in messages:
        if message.role == "tool" or not message.content.strip():
            continue
        if found and found[-1].role == message.role:
            found[-1] = Message(message.role, f"{found[-1].content} {message.content}")
        else:
            found.append(Message(message.role, message.content))
    return found


def names_called(messages: Sequence[Message]) -> Collection[str]:
    """The tools that were called in a history, by ``told_name``, each once and in order."""
    return dict.fromkeys(told_name(call.name) for message in messages for call in message.tool_calls)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
