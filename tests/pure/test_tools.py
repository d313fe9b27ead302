"""What a model may call, and that nothing it writes is believed unchecked."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.dialogue.actions import ToolCall
from esl_agent.dialogue.destinations import DestinationSettings, Policy, TransferSettings
from esl_agent.dialogue.tool_settings import BUILTINS, HttpHeader, HttpParameter, HttpToolSettings, ToolsSettings
from esl_agent.dialogue.tools import (
    UNREADABLE,
    CollectDigitsRequest,
    HangUpRequest,
    HoldRequest,
    HttpRequest,
    SendDigitsRequest,
    SetLanguageRequest,
    SetVariableRequest,
    Toolbox,
    ToolError,
    TransferRequest,
    digits_result,
    tool_message,
    transfer_result,
)

NAMED = {
    "reception": DestinationSettings(number="1000", description="opening hours only"),
    "sales": DestinationSettings(dial="user/2000", mode="warm", briefing="A call about {summary}. Press one."),
}
ORDERS = HttpToolSettings(
    description="Where an order is.",
    url="https://crm.example.com/orders/{number}",
    parameters={
        "number": HttpParameter(pattern="[0-9]{1,8}", description="as on the letter"),
        "urgent": HttpParameter(type="boolean", required=False),
        "days": HttpParameter(type="integer", required=False),
        "kind": HttpParameter(enum=("new", "old"), required=False),
    },
    say_meanwhile="One moment.",
)


def toolbox(
    builtin: Any = BUILTINS,
    named: Any = NAMED,
    allow: tuple[str, ...] = (),
    languages: tuple[str, ...] = ("en", "de-AT"),
) -> Toolbox:
    settings = ToolsSettings(builtin=builtin, http={"order_status": ORDERS})
    return Toolbox(settings, Policy(named, TransferSettings(allow=allow)), languages)


def check(tool: str, /, **arguments: Any) -> Any:
    return toolbox(allow=("+4930",)).check(ToolCall("1", tool, arguments))


def spec(box: Toolbox, name: str) -> dict[str, Any]:
    [found] = [dict(each.parameters) for each in box.specs if each.name == name]
    return found


def test_every_tool_is_described_by_a_schema():
    box = toolbox()
    assert [each.name for each in box.specs] == [*BUILTINS, "order_status"]
    for each in box.specs:
        jsonschema.Draft202012Validator.check_schema(dict(each.parameters))
        assert each.description


def test_the_model_chooses_among_the_destinations_by_name():
    to = spec(toolbox(), "transfer")["properties"]["to"]
    assert to["enum"] == ["reception", "sales"]
    assert "reception: opening hours only" in to["description"]


def test_where_numbers_are_allowed_the_model_may_name_one():
    to = spec(toolbox(allow=("+49",)), "transfer")["properties"]["to"]
    assert "enum" not in to
    assert "telephone number" in to["description"]


def test_a_tool_that_can_do_nothing_is_not_offered():
    names = [each.name for each in toolbox(named={}, languages=("en",)).specs]
    assert "transfer" not in names
    assert "set_language" not in names
    assert toolbox(named={}).check(ToolCall("1", "transfer", {"to": "reception"})) == ToolError("there is no such tool")


def test_a_tool_the_did_does_not_offer_is_not_run():
    box = toolbox(builtin=("hang_up",))
    assert isinstance(box.check(ToolCall("1", "send_dtmf", {"digits": "1"})), ToolError)
    assert box.check(ToolCall("1", "hang_up")) == HangUpRequest()


def test_a_warm_transfer_brings_its_briefing():
    found = check("transfer", to="Sales", summary="a broken\n${line}")
    assert isinstance(found, TransferRequest)
    assert found.destination.target == "{leg_timeout=25}user/2000"
    assert found.briefing == "A call about a broken $(line}. Press one."


def test_a_blind_transfer_has_no_briefing():
    assert check("transfer", to="reception", summary="x").briefing == ""


@pytest.mark.parametrize("to", ["boss", "", None, ["reception"], {"name": "reception"}, "user/2000", True, 112])
def test_a_transfer_to_somebody_else_is_refused_with_words_for_the_model(to):
    assert isinstance(check("transfer", to=to), ToolError)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("hang_up", {}, HangUpRequest()),
        ("send_dtmf", {"digits": "1 2-3w#"}, SendDigitsRequest("123w#")),
        ("collect_digits", {}, CollectDigitsRequest()),
        (
            "collect_digits",
            {"prompt": "Your number?", "max_digits": 8, "terminator": "*", "timeout": 4},
            CollectDigitsRequest("Your number?", 8, "*", 4.0),
        ),
        ("collect_digits", {"max_digits": 9999, "timeout": 0}, CollectDigitsRequest("", 64, None, 0.3)),
        ("hold", {}, HoldRequest(60.0)),
        ("hold", {"seconds": 1e9}, HoldRequest(300.0)),
        ("set_variable", {"name": "ticket", "value": 42}, SetVariableRequest("agent_ticket", "42")),
        ("set_variable", {"name": "agent_x", "value": "a\n${b}"}, SetVariableRequest("agent_x", "a $(b}")),
        ("set_language", {"language": "de"}, SetLanguageRequest("de-AT")),
    ],
)
def test_a_sound_call_is_understood(name, arguments, expected):
    assert check(name, **arguments) == expected


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("send_dtmf", {}),
        ("send_dtmf", {"digits": "12a"}),
        ("send_dtmf", {"digits": "1" * 33}),
        ("send_dtmf", {"digits": "1@500"}),
        ("collect_digits", {"max_digits": "four"}),
        ("collect_digits", {"terminator": "##"}),
        ("collect_digits", {"timeout": float("nan")}),
        ("hold", {"seconds": True}),
        ("set_variable", {"value": "x"}),
        ("set_variable", {"name": "sip_h_X", "value": "x"}),
        ("set_variable", {"name": "agent_x=1;sip_h_y", "value": "x"}),
        ("set_variable", {"name": "agent_ünicode", "value": "x"}),
        ("set_variable", {"name": "agent_x", "value": {}}),
        ("set_language", {"language": "tlh"}),
        ("order_status", {}),
        ("order_status", {"number": "../7"}),
        ("order_status", {"number": "7", "days": 1.5}),
        ("order_status", {"number": "7", "days": 10**400}),
        ("order_status", {"number": "7", "days": float("inf")}),
        ("order_status", {"number": "7", "urgent": "yes"}),
        ("order_status", {"number": "7", "kind": "other"}),
        ("format_disk", {}),
    ],
)
def test_nonsense_gets_an_answer_and_nothing_happens(name, arguments):
    assert isinstance(check(name, **arguments), ToolError)


def test_a_number_that_no_float_holds_is_taken_to_the_limit_like_any_other():
    assert check("hold", seconds=10**400) == HoldRequest(300.0)
    assert check("collect_digits", max_digits=10**400, timeout=-(10**400)) == CollectDigitsRequest("", 64, None, 0.3)


def test_an_http_tool_gets_what_was_checked_and_nothing_more():
    found = check("order_status", number=4711, urgent=True, host="evil.example.com")
    assert found == HttpRequest(ToolCall("1", "order_status", {"number": "4711", "urgent": True}), "One moment.")


ARGUMENTS = st.dictionaries(
    st.sampled_from(["to", "digits", "name", "value", "seconds", "prompt", "max_digits", "language", "number", "x"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    ),
)


@given(st.sampled_from([*BUILTINS, "order_status", "other"]), ARGUMENTS)
def test_whatever_a_model_calls_the_answer_is_a_request_or_words(name, arguments):
    found = toolbox(allow=("+49",)).check(ToolCall("1", name, arguments))
    if isinstance(found, SetVariableRequest):
        assert found.name.startswith("agent_")
        assert found.name.isascii()
        assert not set("\r\n\0") & set(found.value)
        assert "${" not in found.value
    if isinstance(found, SendDigitsRequest):
        assert set(found.digits) <= set("0123456789*#w")
    if isinstance(found, ToolError):
        assert found.text


def test_what_a_tool_answered_reads_like_a_sentence():
    assert transfer_result("sales", "busy") == "sales was not reached: the line is busy"
    assert transfer_result("sales") == "sales has the call"
    assert digits_result("12") == "the caller pressed 1 2"
    assert tool_message("no", failed=True) == "failed: no"
    assert tool_message("") == "done"


@pytest.mark.parametrize(
    "change",
    [
        {"url": "ftp://crm.example.com/"},
        {"url": "https://{number}.example.com/"},
        {"url": "https://user:word@crm.example.com/"},
        {"url": "https://crm.example.com:{number}/"},
        {"url": "https:///orders"},
        {"url": "https://crm.example.com/{other}"},
        {"url": "https://crm.example.com/{number"},
        {"url": "https://crm.example.com\\@evil/{number}"},
        {"url": "https://crm.example.com/a b"},
        {"body": {"a": 1}},
        {"headers": {"Host": HttpHeader(value="x")}},
        {"headers": {"X: y": HttpHeader(value="x")}},
        {"parameters": {"Number": HttpParameter()}},
    ],
    ids=lambda change: json.dumps(change, default=str)[:50],
)
def test_an_http_tool_that_could_lead_elsewhere_is_a_mistake_of_its_settings(change):
    with pytest.raises(ValueError, match=r"url|header|body|parameters"):
        HttpToolSettings(**{"description": "x", "url": "https://crm.example.com/{number}", **NUMBER, **change})


NUMBER = {"parameters": {"number": HttpParameter()}}


def test_an_http_tool_cannot_take_the_name_of_a_builtin():
    with pytest.raises(ValueError, match="built-in"):
        ToolsSettings(http={"transfer": ORDERS})


def test_a_call_whose_arguments_were_cut_short_is_not_carried_out() -> None:
    found = toolbox().check(ToolCall("1", "hang_up", {UNREADABLE: '{"rea'}))
    assert isinstance(found, ToolError)
