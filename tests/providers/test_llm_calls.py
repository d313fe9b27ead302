"""Tool calls in the pieces in which servers of every kind stream them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from esl_agent.dialogue.actions import Message, ToolCall, ToolSpec
from esl_agent.dialogue.tools import UNREADABLE
from esl_agent.providers.llm_calls import MAX_ARGUMENTS, MAX_CALLS, MAX_NAME, CallPieces, arguments_of, without_tools

TOOLS = (ToolSpec("transfer", ""), ToolSpec("hang_up", ""), ToolSpec("hold", ""))
TRANSFER = ("t1", "transfer", {"to": "reception"})
HANG_UP = ("t2", "hang_up", {})


def entry(
    arguments: Any = None, name: str | None = None, id: str | None = None, index: int | None = None
) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    found: dict[str, Any] = {"function": function}
    return found | {key: value for key, value in (("id", id), ("index", index)) if value is not None}


def merged(*entries: Any) -> list[tuple[str, str, Any]]:
    calls = CallPieces(TOOLS, "call-3")
    for each in entries:
        calls.add(each)
    return [(part.call.id, part.call.name, dict(part.call.arguments)) for part in calls.parts()]


WHOLE = '{"to": "reception"}'


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        pytest.param(
            [entry("", "transfer", "t1", 0), entry('{"to": ', index=0), entry('"reception"}', index=0)],
            [TRANSFER],
            id="as OpenAI streams it",
        ),
        pytest.param(
            [
                entry("", "transfer", "t1", 0),
                entry("", "hang_up", "t2", 1),
                entry(WHOLE, index=0),
                entry("{}", index=1),
            ],
            [TRANSFER, HANG_UP],
            id="two calls woven together",
        ),
        pytest.param([entry(WHOLE, "transfer", "t1", 0)], [TRANSFER], id="whole in one piece"),
        pytest.param([entry({"to": "reception"}, "transfer", "t1")], [TRANSFER], id="arguments as an object"),
        pytest.param([entry(json.dumps(WHOLE), "transfer", "t1", 0)], [TRANSFER], id="arguments encoded twice"),
        pytest.param(
            [entry('{"to": ', "transfer", "t1", 0), entry('"reception"}', "transfer", "t1", 0)],
            [TRANSFER],
            id="name and id repeated",
        ),
        pytest.param(
            [entry('{"to": ', "transfer", "t1", 0), entry('"reception"}', "transfer", "other", 0)],
            [TRANSFER],
            id="another id with each piece",
        ),
        pytest.param([entry("", "trans", "t1", 0), entry(WHOLE, "fer", index=0)], [TRANSFER], id="the name in pieces"),
        pytest.param(
            [entry('{"to": ', "transfer", "t1"), entry('"reception"}'), entry("{}", "hang_up", "t2")],
            [TRANSFER, HANG_UP],
            id="no index",
        ),
        pytest.param(
            [entry(WHOLE, "transfer", "t1", 0), entry("{}", "hang_up", "t2", 0)],
            [TRANSFER, HANG_UP],
            id="every index is 0",
        ),
        pytest.param(
            [entry("", "hang_up", "t2", 0), entry(WHOLE, "transfer", "t1", 0)],
            [HANG_UP, TRANSFER],
            id="every index is 0, and one has no arguments",
        ),
        pytest.param(
            [entry(WHOLE, "transfer"), entry("{}", "hang_up")],
            [("call-3-0", *TRANSFER[1:]), ("call-3-1", *HANG_UP[1:])],
            id="neither index nor id",
        ),
        pytest.param(
            [entry(WHOLE, "transfer", "t", 0), entry("{}", "hang_up", "t", 1)],
            [("t", *TRANSFER[1:]), ("call-3-1", *HANG_UP[1:])],
            id="the same id twice",
        ),
        pytest.param([entry(name="hang_up", id="t2", index=0)], [HANG_UP], id="no arguments"),
        pytest.param([entry("null", "hang_up", "t2", 0)], [HANG_UP], id="null for none"),
        pytest.param([entry("{}", index=0), None, 5, {}, {"function": None}, {"function": 1}], [], id="nonsense"),
        pytest.param(
            [entry('{"to": "rec', "transfer", "t1", 0)],
            [("t1", "transfer", {UNREADABLE: '{"to": "rec'})],
            id="cut short",
        ),
        pytest.param([entry("[1]", "transfer", "t1", 0)], [("t1", "transfer", {UNREADABLE: "[1]"})], id="no object"),
    ],
)
def test_a_call_is_put_together_from_whatever_pieces_a_server_makes(entries, found):
    assert merged(*entries) == found


def test_a_model_in_a_loop_fills_no_memory():
    assert len(merged(*(entry("{}", "hold", f"t{n}", n) for n in range(1000)))) == MAX_CALLS
    pieces = [entry("x" * 10000, "hold", "t", 0)] + [entry("x" * 10000, index=0)] * 100
    calls = CallPieces(TOOLS, "call")
    for each in pieces:
        calls.add(each)
    assert len(calls._calls[0].arguments) < 2 * MAX_ARGUMENTS


def test_deep_nesting_is_only_unreadable():
    assert UNREADABLE in arguments_of("[" * 100000)
    assert UNREADABLE in arguments_of('{"a":' * 500 + "1" + "}" * 500)


@pytest.mark.parametrize("size", [MAX_ARGUMENTS, 10_000_000])
def test_arguments_that_are_too_long_are_unreadable_however_they_come(size):
    whole = json.dumps({"to": "x" * size})
    for entries in (
        [entry(whole, "transfer", "t", 0)],
        [entry("", "transfer", "t", 0), entry(whole[:1000], index=0), entry(whole[1000:], index=0)],
        [entry({"to": "x" * size}, "transfer", "t", 0)],
    ):
        ((_, _, arguments),) = merged(*entries)
        assert list(arguments) == [UNREADABLE]
        assert len(arguments[UNREADABLE]) <= 200


def test_a_name_that_never_ends_is_cut():
    ((_, name, _),) = merged(*(entry(name=str(n) * 1000, id="t", index=0) for n in range(100)))
    assert len(name) == MAX_NAME


def test_a_model_without_tools_reads_what_was_said_and_no_more():
    call = ToolCall("t1", "transfer", {})
    history = (
        Message("user", "reception"),
        Message("assistant", "One moment.", (call,)),
        Message("tool", "failed: busy", tool_call_id="t1"),
        Message("assistant", "They are busy."),
        Message("user", "then later"),
    )
    assert [(each.role, each.content) for each in without_tools(history)] == [
        ("user", "reception"),
        ("assistant", "One moment. They are busy."),
        ("user", "then later"),
    ]
