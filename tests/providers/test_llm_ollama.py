"""A model on an Ollama server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from esl_agent import config
from esl_agent.dialogue.actions import Message, ToolCall, ToolSpec
from esl_agent.errors import ProviderError
from esl_agent.providers.base import HangUpPart, TextPart, ToolCallPart, Usage, UsagePart
from esl_agent.testing.pretend_model import Called
from esl_agent.testing.pretend_ollama import PretendOllama
from esl_agent.testing.web import Fault, Reply
from tests.providers.contract_llm import refused, said, until
from tests.providers.test_llm_contract import engine

HELLO = (Message("system", "Be kind."), Message("user", "hello"))
CALL = ToolCall("call-2-0", "transfer", {"to": "reception"})
TOOLS = (ToolSpec("transfer", "Hand over."), ToolSpec("hang_up", "End."))


@pytest.fixture
def llama() -> Iterator[PretendOllama]:
    with PretendOllama() as pretend:
        yield pretend


def ours(llama: PretendOllama, **options: Any) -> Any:
    return engine("ollama", url=llama.url, model=llama.model, **options)


def test_words_tools_and_the_count_come_in_order_and_thoughts_are_not_said(llama):
    llama.thoughts = "The caller says hello."
    llama.texts = ["<think>so", " it is</think>", "Hello", " there."]
    llama.calls = [Called("", "transfer", {"to": "reception"}), Called("", "hang_up")]
    assert list(ours(llama).reply(HELLO, TOOLS)) == [
        TextPart("Hello"),
        TextPart(" there."),
        ToolCallPart(CALL),
        ToolCallPart(ToolCall("call-2-1", "hang_up", {})),
        UsagePart(Usage(input_tokens=9, output_tokens=4)),
    ]


def test_a_tool_s_answer_names_its_tool(llama):
    history = (*HELLO, Message("assistant", "", (CALL,)), Message("tool", "failed: busy", tool_call_id=CALL.id))
    list(ours(llama).reply(history, TOOLS))
    assert llama.bodies[0]["messages"][2:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "transfer", "arguments": {"to": "reception"}}}],
        },
        {"role": "tool", "content": "failed: busy", "tool_name": "transfer"},
    ]


def test_two_rounds_of_tools_have_different_ids(llama):
    llama.calls = [Called("", "transfer")]
    model = ours(llama)
    first = next(part.call for part in model.reply(HELLO, TOOLS) if isinstance(part, ToolCallPart))
    history = (*HELLO, Message("assistant", "", (first,)), Message("tool", "done", tool_call_id=first.id))
    second = next(part.call for part in model.reply(history, TOOLS) if isinstance(part, ToolCallPart))
    assert first.id != second.id


def test_a_model_that_refuses_tools_is_asked_without_them_from_then_on(llama, caplog):
    llama.knows_tools = False
    model = ours(llama)
    for _ in range(2):
        assert said(list(model.reply(HELLO, TOOLS))) == "Hello there. How are you?"
    assert len(llama.http.requests) == 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_only_what_is_configured_is_sent(llama):
    list(ours(llama, tools=False).reply(HELLO, TOOLS))
    assert set(llama.bodies[0]) == {"model", "messages", "stream", "keep_alive"}
    list(ours(llama, think=False, options={"num_ctx": 4096}, keep_alive="-1m").reply(HELLO))
    assert (llama.bodies[1]["think"], llama.bodies[1]["options"]) == (False, {"num_ctx": 4096})


def test_the_model_is_loaded_when_the_service_starts_and_when_a_call_begins(llama):
    model = ours(llama)
    model.warm()
    assert until(lambda: llama.loaded == 1)
    model.prepare()
    assert llama.loaded == 2
    assert llama.bodies == []


def test_a_model_that_was_never_pulled_is_told_at_the_start_and_kills_no_call(llama, caplog):
    model = engine("ollama", url=llama.url, model="nobody-has-this")
    model.warm()
    assert until(lambda: "nobody-has-this" in caplog.text)
    model.prepare()
    with pytest.raises(ProviderError) as caught:
        list(model.reply(HELLO))
    assert (caught.value.retryable, caught.value.blame) == (False, "setup")


def test_warming_waits_for_nobody(llama):
    llama.http.faults = [Fault(before=1.0)]
    with gevent.Timeout(0.2):
        ours(llama).warm()


def test_a_full_queue_is_worth_another_try(llama):
    llama.http.faults = [refused(503, {"error": "server busy, please try again.  maximum pending requests exceeded"})]
    with pytest.raises(ProviderError) as caught:
        list(ours(llama).reply(HELLO))
    assert (caught.value.retryable, caught.value.blame) == (True, "service")


def test_the_sign_hangs_up(llama):
    llama.texts = ["Goodbye.", " [HANGUP]"]
    found = list(ours(llama, hang_up_on="[HANGUP]").reply(HELLO))
    assert [type(part) for part in found] == [TextPart, TextPart, HangUpPart, UsagePart]


def test_a_reply_in_one_piece_is_understood(llama):
    llama.texts = ["Hello."]
    whole = llama.pieces()[0].replace(b'"done": false', b'"done": true')
    llama.http.faults = [Fault(instead=Reply(whole))]
    assert said(list(ours(llama).reply(HELLO))) == "Hello."


@pytest.mark.parametrize("address", ["{}", "{}/", "{}/api/chat", "{}/api/chat/"])
def test_the_older_variable_holds_the_address_with_or_without_its_path(llama, tmp_path, address):
    (tmp_path / "dids").mkdir()
    (tmp_path / "agent.yaml").write_text("")
    (tmp_path / "dids" / "a.yaml").write_text(f"default: true\nllm: {{engine: ollama, model: {llama.model}}}\n")
    loaded = config.load(tmp_path, environment={"LLM_API_URL": address.format(llama.url)})
    options = loaded.dids[0].engines.llm[0].options
    assert said(list(engine("ollama", url=options.url, model=options.model).reply(HELLO)))
