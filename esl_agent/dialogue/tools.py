"""The tools a model may call: what it is told of them, and what its calls mean. Nothing is believed unchecked.

    toolbox = Toolbox(settings.tools, Policy(settings.destinations, settings.transfer), languages)
    AskModel(turn, messages, toolbox.specs)
    ToolCalled(turn, call):  match toolbox.check(call):
        ToolError(text)                    give ``text`` to the model as the tool's (failed) result
        TransferRequest(destination, summary, briefing)  say destination.say and end the turn; when all was heard: speak
                                           ``briefing`` into a Sound if there is one, then Transfer(name, target, mode,
                                           sound); Transferred / TransferFailed becomes transfer_result(...)
        HangUpRequest()                    as ReplyEnded(hang_up=True)
        SendDigitsRequest(digits)          SendDigits(digits), result DONE
        CollectDigitsRequest(...)          speak ``prompt``, gather with digits.Collector, result digits_result(digits)
        HoldRequest(seconds)               nobody is asked anything for so long, or until the caller speaks; DONE
        SetVariableRequest(name, value)    SetVariable(name, value), result DONE
        SetLanguageRequest(language)       SwitchLanguage(language), result DONE
        HttpRequest(call, say)             speak ``say`` if there is one, RunTool(turn, call); ToolReturned follows

The history then gets Message("assistant", text, tool_calls=(call,)) and
Message("tool", tool_message(result, failed), tool_call_id=call.id), and the model is asked again in the same turn, at
most ``tools.max_per_turn`` times. It may answer nothing at all, which is no failure after a tool.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esl_agent.dialogue import tool_specs
from esl_agent.dialogue.actions import ToolCall, ToolSpec
from esl_agent.dialogue.destinations import Destination, Policy, Refusal
from esl_agent.dialogue.tool_settings import HttpParameter, HttpToolSettings, ToolsSettings
from esl_agent.wire.esl_commands import safe_text

#: What a model reads when a tool did what it was told.
DONE = "done"
#: How the message of a tool that failed begins.
FAILED = "failed: "
#: An argument of this name holds what nobody could read: the call was cut short, or is no JSON.
UNREADABLE = "(unreadable)"
#: Channel variables that a model may set begin so: none of FreeSWITCH's own does.
VARIABLE_PREFIX = "agent_"
MAX_SEND_DIGITS = 32
MAX_SUMMARY = 300
MAX_PROMPT = 500
MAX_VALUE = 200
MAX_HOLD = 300.0

_VARIABLE = re.compile(r"agent_[a-z0-9_]{1,40}")
_SEND = re.compile(r"[0-9*#w]+")
_FAILURES = {
    "busy": "the line is busy",
    "no_answer": "nobody answered",
    "declined": "they cannot take the call now",
    "unreachable": "they cannot be reached",
    "limit": "no more transfers are possible now",
    "refused": "the telephone system refused it",
}


@dataclass(frozen=True, slots=True)
class ToolError:
    """The call cannot be carried out; ``text`` tells the model why."""

    text: str


@dataclass(frozen=True, slots=True)
class TransferRequest:
    """``briefing`` is what is said to whoever answers; empty for a blind transfer, or if none is wanted."""

    destination: Destination
    summary: str = ""
    briefing: str = ""


@dataclass(frozen=True, slots=True)
class HangUpRequest:
    """The call is to end when everything was heard."""


@dataclass(frozen=True, slots=True)
class SendDigitsRequest:
    digits: str


@dataclass(frozen=True, slots=True)
class CollectDigitsRequest:
    """None: as the DID's ``dtmf`` settings say."""

    prompt: str = ""
    max_digits: int | None = None
    terminator: str | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class HoldRequest:
    seconds: float


@dataclass(frozen=True, slots=True)
class SetVariableRequest:
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class SetLanguageRequest:
    language: str


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A tool of the DID's own; ``call.arguments`` holds what was checked and nothing else."""

    call: ToolCall
    say: str = ""


Request = (
    TransferRequest
    | HangUpRequest
    | SendDigitsRequest
    | CollectDigitsRequest
    | HoldRequest
    | SetVariableRequest
    | SetLanguageRequest
    | HttpRequest
)


class Toolbox:
    """The tools of one DID. Never changes; shared by its calls."""

    def __init__(self, settings: ToolsSettings, policy: Policy, languages: Sequence[str] = ()) -> None:
        self.max_per_turn = settings.max_per_turn
        self.policy = policy
        self._http = settings.http
        self._languages = tuple(languages)
        can_transfer = bool(policy.names) or policy.allows_numbers
        self._builtin = tuple(
            name
            for name in dict.fromkeys(settings.builtin)
            if (name != "transfer" or can_transfer) and (name != "set_language" or len(self._languages) > 1)
        )
        self.specs: tuple[ToolSpec, ...] = (
            *(tool_specs.builtin(name, policy, self._languages) for name in self._builtin),
            *(tool_specs.http(name, tool) for name, tool in settings.http.items()),
        )

    def check(self, call: ToolCall) -> Request | ToolError:
        """What ``call`` (outside text) asks for, or what to tell the model. Never raises."""
        if isinstance(call.arguments, Mapping) and UNREADABLE in call.arguments:
            return ToolError("the arguments could not be read; send them again, as a JSON object")
        if call.name in self._http:
            return self._http_call(call, self._http[call.name])
        if call.name not in self._builtin:
            return ToolError("there is no such tool")
        if not isinstance(call.arguments, Mapping):
            return ToolError("the arguments must be an object")
        try:
            return self._request(call.name, call.arguments)
        except _Wrong as wrong:
            return ToolError(str(wrong))

    def _request(self, name: str, arguments: Mapping[str, Any]) -> Request:
        match name:
            case "transfer":
                return self._transfer(arguments)
            case "hang_up":
                return HangUpRequest()
            case "send_dtmf":
                return SendDigitsRequest(_digits(arguments))
            case "collect_digits":
                return CollectDigitsRequest(
                    _text(arguments, "prompt", MAX_PROMPT),
                    None if (most := _number(arguments, "max_digits", 1, 64)) is None else int(most),
                    _terminator(arguments),
                    _number(arguments, "timeout", 0.3, 30.0),
                )
            case "hold":
                return HoldRequest(_number(arguments, "seconds", 1.0, MAX_HOLD) or 60.0)
            case "set_variable":
                return SetVariableRequest(_variable(arguments), _text(arguments, "value", MAX_VALUE))
            case _:
                return self._language(arguments)

    def _transfer(self, arguments: Mapping[str, Any]) -> Request:
        asked = arguments.get("to")
        if isinstance(asked, int) and not isinstance(asked, bool):
            asked = str(asked)
        if not isinstance(asked, str):
            raise _Wrong("to: expected the name of a destination")
        found = self.policy.resolve(asked)
        if isinstance(found, Refusal):
            raise _Wrong(found.reason)
        summary = _text(arguments, "summary", MAX_SUMMARY)
        return TransferRequest(found, summary, " ".join(found.briefing.replace("{summary}", summary).split()))

    def _language(self, arguments: Mapping[str, Any]) -> Request:
        asked = str(arguments.get("language", ""))[:40].lower()
        for language in self._languages:
            if asked in (language.lower(), language.lower().partition("-")[0]):
                return SetLanguageRequest(language)
        raise _Wrong(f"language: expected one of {', '.join(self._languages)}")

    def _http_call(self, call: ToolCall, tool: HttpToolSettings) -> Request | ToolError:
        given = call.arguments if isinstance(call.arguments, Mapping) else {}
        try:
            arguments = {
                name: value
                for name, parameter in tool.parameters.items()
                if (value := _parameter(name, parameter, given.get(name))) is not None
            }
        except _Wrong as wrong:
            return ToolError(str(wrong))
        return HttpRequest(ToolCall(call.id, call.name, arguments), tool.say_meanwhile)


def tool_message(result: str, failed: bool = False) -> str:
    """What a tool answered, as it stands in the history."""
    return f"{FAILED}{result}" if failed else result or DONE


def transfer_result(name: str, reason: str = "") -> str:
    """What the model reads of a transfer: of one that failed for ``reason`` (TransferFailed), or that went well."""
    return f"{name} was not reached: {_FAILURES.get(reason, 'it failed')}" if reason else f"{name} has the call"


def digits_result(digits: str) -> str:
    """What the model reads of the keys it asked for."""
    return f"the caller pressed {' '.join(digits)}" if digits else "the caller pressed nothing"


class _Wrong(Exception):
    """An argument that cannot be used; its text is for the model."""


def _text(arguments: Mapping[str, Any], name: str, limit: int) -> str:
    value = arguments.get(name, "")
    if isinstance(value, bool | int | float):
        value = str(value)
    if not isinstance(value, str):
        raise _Wrong(f"{name}: expected text")
    return safe_text(value, limit)


def _number(arguments: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    value = arguments.get(name)
    if value is None:
        return None
    if not _is_number(value):
        raise _Wrong(f"{name}: expected a number from {least:g} to {most:g}")
    return float(min(max(value, least), most))


def _is_number(value: Any) -> bool:
    """Neither a boolean, nor infinite; a whole number of a thousand digits, which no float holds, is one."""
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and math.isfinite(value)
    )


def _digits(arguments: Mapping[str, Any]) -> str:
    value = arguments.get("digits")
    digits = re.sub(r"[\s-]", "", str(value)[: 4 * MAX_SEND_DIGITS]) if isinstance(value, str | int) else ""
    if not _SEND.fullmatch(digits) or len(digits) > MAX_SEND_DIGITS:
        raise _Wrong(f"digits: expected at most {MAX_SEND_DIGITS} of 0-9, *, # and w for a pause")
    return digits


def _terminator(arguments: Mapping[str, Any]) -> str | None:
    value = arguments.get("terminator")
    if value is None or (isinstance(value, str) and value in ("", *"0123456789*#")):
        return value
    raise _Wrong("terminator: expected one key, or empty text for none")


def _variable(arguments: Mapping[str, Any]) -> str:
    value = arguments.get("name")
    name = value if isinstance(value, str) else ""
    if not name.startswith(VARIABLE_PREFIX):
        name = VARIABLE_PREFIX + name
    if not _VARIABLE.fullmatch(name):
        raise _Wrong("name: expected lower case letters, digits and _, at most 40")
    return name


def _parameter(name: str, parameter: HttpParameter, value: Any) -> str | int | float | bool | None:
    """A checked value of an HTTP tool; None if it is not given and need not be."""
    if value is None:
        if parameter.required:
            raise _Wrong(f"{name}: is required")
        return None
    if parameter.type == "boolean":
        if not isinstance(value, bool):
            raise _Wrong(f"{name}: expected true or false")
        return value
    if parameter.type in ("integer", "number"):
        is_whole = parameter.type == "number" or (_is_number(value) and value == int(value))
        if not _is_number(value) or not is_whole or abs(value) > 1e15:
            raise _Wrong(f"{name}: expected a {'whole number' if parameter.type == 'integer' else 'number'}")
        return int(value) if parameter.type == "integer" else float(value)
    text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(text, str) or len(text) > parameter.max_length:
        raise _Wrong(f"{name}: expected text of at most {parameter.max_length} characters")
    text = safe_text(text, parameter.max_length)
    if parameter.enum and text not in parameter.enum:
        raise _Wrong(f"{name}: expected one of {', '.join(parameter.enum)}")
    if parameter.pattern and not re.fullmatch(parameter.pattern, text):
        raise _Wrong(f"{name}: expected text like {parameter.pattern}")
    return text
