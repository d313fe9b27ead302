"""How tools are described to a model: names, when to use them, and a JSON Schema of their arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from esl_agent.dialogue.actions import ToolSpec
from esl_agent.dialogue.destinations import Policy
from esl_agent.dialogue.tool_settings import Builtin, HttpToolSettings


def builtin(name: Builtin, policy: Policy, languages: Sequence[str]) -> ToolSpec:
    """A tool of the telephone, as this DID has it."""
    if name == "transfer":
        return _transfer(policy)
    if name == "set_language":
        return _language(languages)
    return _SPECS[name]


def _schema(required: Sequence[str] = (), **properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _transfer(policy: Policy) -> ToolSpec:
    to: dict[str, Any] = {"type": "string"}
    told = [f"{name}: {policy.describe(name)}" for name in policy.names if policy.describe(name)]
    if policy.allows_numbers:
        known = f"one of {', '.join(policy.names)}, or " if policy.names else ""
        told.insert(0, f"{known}a telephone number")
    else:
        to["enum"] = list(policy.names)
    if told:
        to["description"] = "; ".join(told)
    summary = {"type": "string", "description": "Who calls and what about, in one sentence, for whoever answers."}
    return ToolSpec(
        "transfer",
        "Hand the caller over to a person. Tell the caller before; if nobody takes the call you have the caller back.",
        _schema(["to"], to=to, summary=summary),
    )


def _language(languages: Sequence[str]) -> ToolSpec:
    return ToolSpec(
        "set_language",
        "Go on in another language, when the caller speaks it or asks for it.",
        _schema(["language"], language={"type": "string", "enum": list(languages)}),
    )


def http(name: str, tool: HttpToolSettings) -> ToolSpec:
    """A tool of the DID's own."""
    properties: dict[str, dict[str, Any]] = {}
    for key, parameter in tool.parameters.items():
        found: dict[str, Any] = {"type": parameter.type}
        if parameter.description:
            found["description"] = parameter.description
        if parameter.type == "string" and parameter.pattern:
            found["pattern"] = parameter.pattern
        if parameter.type == "string" and parameter.enum:
            found["enum"] = list(parameter.enum)
        properties[key] = found
    required = [key for key, parameter in tool.parameters.items() if parameter.required]
    return ToolSpec(name, tool.description, _schema(required, **properties))


_SPECS = {
    "hang_up": ToolSpec("hang_up", "End the call, once the caller has said goodbye. Say goodbye first.", _schema()),
    "send_dtmf": ToolSpec(
        "send_dtmf",
        "Press keys of the telephone, for a machine at the other end.",
        _schema(["digits"], digits={"type": "string", "description": "0-9, *, # and w for half a second's pause."}),
    ),
    "collect_digits": ToolSpec(
        "collect_digits",
        "Ask the caller to press keys, and get them: numbers that are long or hard to hear.",
        _schema(
            prompt={"type": "string", "description": "What the caller is asked, in one sentence."},
            max_digits={"type": "integer", "description": "How many keys at most."},
            terminator={"type": "string", "description": "The key that ends the entry; # if not given."},
            timeout={"type": "number", "description": "Seconds after the last key that end the entry."},
        ),
    ),
    "hold": ToolSpec(
        "hold",
        "Wait in silence because the caller asked for a moment.",
        _schema(seconds={"type": "number", "description": "How long at most; the caller may speak before."}),
    ),
    "set_variable": ToolSpec(
        "set_variable",
        "Note something for the telephone system and its call records.",
        _schema(
            ["name", "value"],
            name={"type": "string", "description": "Lower case letters, digits and _."},
            value={"type": "string"},
        ),
    ),
}
