"""Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from esl_agent.dialogue.actions import Message, ToolCall, ToolSpec
from esl_agent.dialogue.tools import UNREADABLE
from esl_agent.errors import ProviderError
from esl_agent.providers.base import TextPart, ToolCallPart, Usage, UsagePart
from esl_agent.providers.llm_anthropic import CALL_BEGINS
from esl_agent.testing.pretend_anthropic import PretendAnthropic
from esl_agent.testing.pretend_model import KEY, Called, events
from esl_agent.testing.web import Fault, Reply
from tests.providers.contract_llm import VARIABLE, refused, said
from tests.providers.test_llm_contract import engine

HELLO = (Message("system", "Be kind."), Message("user", "hello"))
CALL = ToolCall("call.1:x", "transfer", {"to": "reception"})
TOOLS = (ToolSpec("transfer", "Hand over.", {"type": "object"}), ToolSpec("hang_up", "End."))


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendAnthropic]:
    monkeypatch.setenv(VARIABLE, KEY)
    with PretendAnthropic() as pretend:
        yield pretend


def ours(claude: PretendAnthropic, **options: Any) -> Any:
    return engine("anthropic", url=claude.url, api_key_env=VARIABLE, **options)


def streamed(claude: PretendAnthropic, *found: dict[str, Any]) -> Iterator[Any]:
    """What is made of a stream of ``found``."""
    claude.http.faults = [Fault(instead=Reply(events(*found), content_type="text/event-stream"))]
    return ours(claude).reply(HELLO)


def text(value: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": value}}


def end(reason: str) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 4}}


def test_words_tools_and_the_count_come_in_order_and_thoughts_are_not_said(claude):
    claude.thoughts = "The caller says hello."
    claude.calls = [Called("toolu_1", "transfer", {"to": "reception"}), Called("toolu_2", "hang_up")]
    assert list(ours(claude).reply(HELLO, TOOLS)) == [
        TextPart("Hello"),
        TextPart(" there."),
        TextPart(" How are you?"),
        ToolCallPart(ToolCall("toolu_1", "transfer", {"to": "reception"})),
        ToolCallPart(ToolCall("toolu_2", "hang_up", {})),
        UsagePart(Usage(input_tokens=9, cached_tokens=2, output_tokens=4)),
    ]


def test_only_what_is_configured_is_sent(claude):
    list(ours(claude).reply(HELLO))
    assert claude.bodies[0] == {
        "model": claude.model,
        "max_tokens": 1024,
        "system": "Be kind.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "stream": True,
    }
    options = {"thinking": "disabled", "effort": "low", "prompt_cache": True, "key_header": "x-api-key"}
    list(ours(claude, **options).reply(HELLO))
    more = {key: claude.bodies[1][key] for key in ("thinking", "output_config", "cache_control")}
    assert more == {
        "thinking": {"type": "disabled"},
        "output_config": {"effort": "low"},
        "cache_control": {"type": "ephemeral"},
    }
    assert claude.http.requests[-1].headers["x-api-key"] == KEY


def test_a_history_that_begins_with_the_greeting_begins_with_the_call(claude):
    list(ours(claude).reply((Message("assistant", "Good day. "), Message("user", "hello"))))
    turns = [(turn["role"], turn["content"][0]["text"]) for turn in claude.bodies[0]["messages"]]
    assert turns == [("user", CALL_BEGINS), ("assistant", "Good day."), ("user", "hello")]


def test_what_tools_answered_stands_first_and_a_call_of_another_model_keeps_its_answer(claude):
    history = (
        Message("user", "reception"),
        Message("assistant", "One moment.", (CALL,)),
        Message("tool", "failed: busy", tool_call_id=CALL.id),
        Message("user", "and now?"),
    )
    list(ours(claude).reply(history))
    turns = claude.bodies[0]["messages"]
    assert turns[1]["content"][1] == {
        "type": "tool_use",
        "id": "call_1_x",
        "name": "transfer",
        "input": {"to": "reception"},
    }
    assert [block["type"] for block in turns[2]["content"]] == ["tool_result", "text"]
    assert turns[2]["content"][0]["tool_use_id"] == "call_1_x"


def test_a_model_that_may_call_no_more_tools_knows_those_that_it_called(claude):
    history = (Message("user", "x"), Message("assistant", "", (CALL,)), Message("tool", "done", tool_call_id=CALL.id))
    list(ours(claude).reply(history))
    assert [tool["name"] for tool in claude.bodies[0]["tools"]] == ["transfer"]
    assert claude.bodies[0]["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize("reason", ["refusal", "model_context_window_exceeded"])
def test_a_refusal_is_a_matter_of_this_request(claude, reason):
    reply = streamed(claude, text("I"), end(reason), {"type": "message_stop"})
    assert next(reply) == TextPart("I")
    with pytest.raises(ProviderError, match=reason) as caught:
        list(reply)
    assert (caught.value.retryable, caught.value.blame) == (False, "request")


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "stop_sequence", "pause_turn", "something_new"])
def test_any_other_reason_ends_the_reply_also_where_the_last_event_is_missing(claude, reason):
    assert said(list(streamed(claude, text("Hello."), {"type": "something_new"}, end(reason)))) == "Hello."


def test_a_call_that_the_limit_of_tokens_cut_off_can_not_be_read(claude):
    block = {"type": "tool_use", "id": "toolu_1", "name": "transfer", "input": {}}
    delta = {"type": "input_json_delta", "partial_json": '{"to": "rec'}
    found = list(
        streamed(
            claude,
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            end("max_tokens"),
        )
    )
    assert found[0] == ToolCallPart(ToolCall("toolu_1", "transfer", {UNREADABLE: '{"to": "rec'}))


@pytest.mark.parametrize(
    ("kind", "retryable", "blame"),
    [
        ("overloaded_error", True, "service"),
        ("rate_limit_error", True, "service"),
        ("api_error", True, "service"),
        ("timeout_error", True, "service"),
        ("authentication_error", False, "setup"),
        ("permission_error", False, "setup"),
        ("billing_error", False, "setup"),
        ("not_found_error", False, "setup"),
        ("invalid_request_error", False, "request"),
        ("request_too_large", False, "request"),
    ],
)
def test_every_error_inside_the_stream_says_whom_to_blame(claude, kind, retryable, blame):
    with pytest.raises(ProviderError) as caught:
        list(streamed(claude, text("He"), {"type": "error", "error": {"type": kind, "message": "m"}}))
    assert (caught.value.retryable, caught.value.blame) == (retryable, blame)


def test_no_credit_left_is_a_matter_of_setup(claude):
    message = "Your credit balance is too low to access the Anthropic API."
    claude.http.faults = [
        refused(400, {"type": "error", "error": {"type": "invalid_request_error", "message": message}})
    ]
    with pytest.raises(ProviderError) as caught:
        list(ours(claude).reply(HELLO))
    assert (caught.value.retryable, caught.value.blame) == (False, "setup")


def test_the_address_may_end_in_v1(claude):
    assert said(list(engine("anthropic", url=f"{claude.url}/v1/", api_key_env=VARIABLE).reply(HELLO)))
