"""The Anthropic model against llama.cpp's server, which has that interface too; Anthropic's own client beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from esl_agent.dialogue.actions import Message
from esl_agent.errors import ProviderError
from esl_agent.providers.base import ToolCallPart, UsagePart
from tests.real.replies import HELLO, PATIENCE, PRICE, TRANSFER, asked, is_idle, said
from tests.real.servers import Running, engine
from tests.real.tap import Tap

pytestmark = pytest.mark.system


@pytest.fixture
def tap(llama: Running, llama_key: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tap]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", llama_key)
    with Tap(llama.url) as wire:
        yield wire


def model(url: str, **options: Any) -> Any:
    return engine("llm", "anthropic", url=url, model="chain", **options)


def test_a_reply_comes_in_pieces_and_ends_with_what_it_cost(tap: Tap) -> None:
    parts = list(model(tap.url).reply(asked("hello")))
    assert said(parts) == HELLO
    assert len(parts) > 8
    assert isinstance(parts[-1], UsagePart)
    assert parts[-1].usage.output_tokens == len(parts)
    assert parts[-1].usage.input_tokens > 20


def test_what_a_model_thinks_is_not_said(tap: Tap) -> None:
    assert said(list(model(tap.url).reply(asked("Tell me a joke")))) == "No jokes here."


def test_a_tool_that_the_model_calls_is_called_and_its_result_is_told(tap: Tap) -> None:
    parts = list(model(tap.url).reply(asked("sales, please"), (TRANSFER,)))
    calls = [part.call for part in parts if isinstance(part, ToolCallPart)]
    assert [(call.name, dict(call.arguments)) for call in calls] == [("transfer", {"to": "sales"})]
    told = (*asked("sales, please"), Message("assistant", "", tuple(calls)), Message("tool", "price", (), calls[0].id))
    assert said(list(model(tap.url).reply(told, (TRANSFER,)))) == PRICE


def test_every_one_of_several_calls_after_words_is_called(tap: Tap) -> None:
    parts = list(model(tap.url).reply(asked("everybody"), (TRANSFER,)))
    assert said(parts).strip() == "One moment."
    calls = [part.call for part in parts if isinstance(part, ToolCallPart)]
    assert [(call.name, dict(call.arguments)) for call in calls] == [
        ("transfer", {"to": "sales"}),
        ("transfer", {"to": "support"}),
    ]
    assert len({call.id for call in calls}) == 2


def test_a_reply_is_no_longer_than_it_may_be(tap: Tap) -> None:
    parts = list(model(tap.url, max_tokens=3).reply(asked("count")))
    assert said(parts).split() == ["one", "two", "three"]


def test_the_connection_that_was_made_ready_is_used(tap: Tap) -> None:
    speaker = model(tap.url)
    speaker.prepare()
    assert tap.open == 1
    assert said(list(speaker.reply(asked("hello")))) == HELLO
    assert tap.made == 1


def test_a_reply_that_is_given_up_is_not_generated_any_further(llama: Running, tap: Tap, llama_key: str) -> None:
    reply = model(tap.url).reply(asked("count"))
    next(reply)
    reply.close()
    assert tap.has_let_go()
    assert is_idle(llama, llama_key)


def test_a_wrong_key_is_the_setups_fault(llama: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-not-the-right-one-at-all")
    with pytest.raises(ProviderError, match="401") as caught:
        list(model(llama.url).reply(asked("hello")))
    assert caught.value.blame == "setup"
    assert "not-the-right" not in str(caught.value)


@pytest.mark.parametrize("text", ["hello", "price", "sales", "everybody"])
def test_anthropics_own_client_hears_the_same(tap: Tap, llama_key: str, text: str) -> None:
    client = anthropic.Anthropic(base_url=tap.url, api_key=llama_key, max_retries=0, timeout=PATIENCE)
    tool: Any = {"name": TRANSFER.name, "description": TRANSFER.description, "input_schema": dict(TRANSFER.parameters)}
    with client.messages.stream(
        model="chain",
        max_tokens=100,
        system="You answer the telephone.",
        messages=[{"role": "user", "content": text}],
        tools=[tool],
    ) as stream:
        theirs = stream.get_final_message()
    parts = list(model(tap.url).reply(asked(text), (TRANSFER,)))
    assert said(parts) == "".join(block.text for block in theirs.content if block.type == "text")
    ours = [(part.call.name, dict(part.call.arguments)) for part in parts if isinstance(part, ToolCallPart)]
    assert ours == [(block.name, block.input) for block in theirs.content if block.type == "tool_use"]
    assert parts[-1].usage.output_tokens == theirs.usage.output_tokens
