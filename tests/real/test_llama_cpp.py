"""The OpenAI-compatible model against llama.cpp's own server, and OpenAI's client beside it at the same server."""

from __future__ import annotations

import json
import signal
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import gevent
import openai
import pytest

from esl_agent.dialogue.actions import Message, ToolCall
from esl_agent.dialogue.settings import LimitSettings
from esl_agent.errors import ProviderError
from esl_agent.providers.accounts import Accounts
from esl_agent.providers.base import ToolCallPart, UsagePart
from esl_agent.providers.resilience_settings import ResilienceSettings
from esl_agent.providers.resilient import ResilientModel
from tests.real.replies import HELLO, PATIENCE, PRICE, TRANSFER, asked, is_idle, said
from tests.real.servers import Running, engine
from tests.real.tap import Tap

pytestmark = pytest.mark.system


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch, llama_key: str) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", llama_key)
    return llama_key


@pytest.fixture
def tap(llama: Running, key: str) -> Iterator[Tap]:
    with Tap(f"{llama.url}/v1") as wire:
        yield wire


def model(url: str, **options: Any) -> Any:
    return engine("llm", "openai", url=url, model="chain", api_key_env="OPENAI_API_KEY", **options)


def test_a_reply_comes_word_by_word_and_ends_with_what_it_cost(tap: Tap) -> None:
    parts = list(model(tap.url).reply(asked("hello")))
    words = [part.text for part in parts[:-1]]
    assert words == ["Good", " day", ",", " this", " line", " is", " answered", " by", " a real", " server."]
    assert isinstance(parts[-1], UsagePart)
    assert parts[-1].usage.output_tokens == len(words) + 1
    assert parts[-1].usage.input_tokens > 20


def test_a_character_of_several_bytes_comes_whole(tap: Tap) -> None:
    assert said(list(model(tap.url).reply(asked("What is the price?")))) == PRICE


@pytest.mark.parametrize("separation", ["auto", "none"])
def test_what_a_model_thinks_is_not_said_whether_the_server_takes_it_out_or_not(tap: Tap, separation: str) -> None:
    speaker = model(tap.url, extra_body={"reasoning_format": separation})
    assert said(list(speaker.reply(asked("Tell me a joke")))) == "No jokes here."


def test_a_tool_that_the_model_calls_is_called_and_its_result_is_told(tap: Tap) -> None:
    parts = list(model(tap.url).reply(asked("sales, please"), (TRANSFER,)))
    calls = [part.call for part in parts if isinstance(part, ToolCallPart)]
    assert [(call.name, dict(call.arguments)) for call in calls] == [("transfer", {"to": "sales"})]
    assert said(parts) == ""
    told = (*asked("sales, please"), Message("assistant", "", tuple(calls)), Message("tool", "price", (), calls[0].id))
    assert said(list(model(tap.url).reply(told, (TRANSFER,)))) == PRICE


def test_a_model_can_be_made_to_call_a_tool(tap: Tap) -> None:
    speaker = model(tap.url, extra_body={"tool_choice": "required"}, max_completion_tokens=50)
    parts = list(speaker.reply(asked("sales"), (TRANSFER,)))
    assert [part.call.arguments for part in parts if isinstance(part, ToolCallPart)] == [{"to": "sales"}]


def test_a_result_of_a_tool_that_nobody_called_is_no_crash(tap: Tap) -> None:
    lost = (
        *asked("hello"),
        Message("assistant", "", (ToolCall("c", "gone", {"x": 'ü"'}),)),
        Message("tool", "", (), "c"),
    )
    assert said(list(model(tap.url).reply(lost)))


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
    parts = list(model(tap.url, max_completion_tokens=3).reply(asked("count")))
    assert said(parts).split() == ["one", "two", "three"]
    assert parts[-1].usage.output_tokens == 3


def test_replies_in_quick_succession_do_not_meet_the_connection_that_the_server_drops(llama: Running, key: str) -> None:
    """After every streamed reply llama.cpp drops the connection that its header promised to keep: whoever asks at once
    may still be given it, and is answered at the second try."""
    stage = ResilientModel([model(f"{llama.url}/v1")], ResilienceSettings(), LimitSettings(), Accounts())
    for _ in range(100):
        assert said(list(stage.reply(asked("hello")))) == HELLO


def test_the_connection_that_was_made_ready_is_used(tap: Tap) -> None:
    speaker = model(tap.url)
    speaker.prepare()
    assert tap.open == 1
    assert said(list(speaker.reply(asked("hello")))) == HELLO
    assert tap.made == 1


def test_a_reply_that_is_given_up_is_not_generated_any_further(llama: Running, tap: Tap, key: str) -> None:
    speaker = model(tap.url)
    reply = speaker.reply(asked("count"))
    assert next(reply).text
    reply.close()
    assert tap.has_let_go()
    assert is_idle(llama, key)
    assert said(list(speaker.reply(asked("hello")))) == HELLO


def test_a_reply_whose_call_ends_is_not_generated_any_further(llama: Running, tap: Tap, key: str) -> None:
    heard: list[str] = []

    def listen() -> None:
        for part in model(tap.url).reply(asked("count")):
            heard.append(part.text)

    call = gevent.spawn(listen)
    with gevent.Timeout(PATIENCE):
        while len(heard) < 20:
            gevent.sleep(0.001)
    call.kill(timeout=1.0)
    assert call.dead
    assert tap.has_let_go()
    assert is_idle(llama, key)


def test_calls_that_ask_at_once_are_all_answered(tap: Tap) -> None:
    speaker = model(tap.url)
    calls = [gevent.spawn(lambda: said(list(speaker.reply(asked("hello"))))) for _ in range(8)]
    gevent.joinall(calls, PATIENCE)
    assert {call.value for call in calls} == {HELLO}


def test_a_wrong_key_is_the_setups_fault_and_is_told_to_nobody(llama: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-the-right-one-at-all")
    with pytest.raises(ProviderError, match="401") as caught:
        list(model(f"{llama.url}/v1").reply(asked("hello")))
    assert (caught.value.blame, caught.value.retryable) == ("setup", False)
    assert "not-the-right" not in str(caught.value)


def test_a_wrong_path_is_the_setups_fault(tap: Tap) -> None:
    with pytest.raises(ProviderError, match="404") as caught:
        list(model(f"{tap.url}/v2").reply(asked("hello")))
    assert (caught.value.blame, caught.value.retryable) == ("setup", False)


def test_a_history_that_is_too_long_is_that_requests_fault_alone(tap: Tap) -> None:
    with pytest.raises(ProviderError, match="context size") as caught:
        list(model(tap.url).reply(asked("long " * 10000)))
    assert (caught.value.blame, caught.value.retryable) == ("request", False)


def test_a_server_that_dies_in_the_middle_of_a_reply_is_told(other_llama: Running, key: str) -> None:
    reply = model(f"{other_llama.url}/v1").reply(asked("count"))
    assert next(reply).text
    other_llama.process.kill()
    with pytest.raises(ProviderError) as caught:
        for _ in reply:
            pass
    assert (caught.value.blame, caught.value.retryable) == ("service", True)


def test_a_server_that_stalls_in_the_middle_of_a_reply_can_be_left(other_llama: Running, key: str) -> None:
    heard: list[str] = []

    def listen() -> None:
        for part in model(wire.url).reply(asked("count")):
            heard.append(part.text)

    with Tap(f"{other_llama.url}/v1") as wire:
        call = gevent.spawn(listen)
        with gevent.Timeout(PATIENCE):
            while len(heard) < 5:
                gevent.sleep(0.001)
            other_llama.process.send_signal(signal.SIGSTOP)
            while (before := len(heard)) >= 0:
                gevent.sleep(0.05)
                if len(heard) == before:
                    break
        call.kill(timeout=1.0)
        assert call.dead
        assert wire.has_let_go()
        other_llama.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("text", ["hello", "price", "sales", "everybody"])
def test_openais_own_client_hears_the_same(tap: Tap, key: str, text: str) -> None:
    client = openai.OpenAI(base_url=tap.url, api_key=key, max_retries=0)
    chunks = client.chat.completions.create(
        model="chain",
        messages=[{"role": "system", "content": "You answer the telephone."}, {"role": "user", "content": text}],
        tools=[{"type": "function", "function": {"name": "transfer", "description": TRANSFER.description,
                                                  "parameters": dict(TRANSFER.parameters)}}],
        stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    words, cost = "", None
    arguments: dict[int, str] = defaultdict(str)
    for chunk in chunks:
        cost = chunk.usage or cost
        for choice in chunk.choices:
            words += choice.delta.content or ""
            for call in choice.delta.tool_calls or ():
                arguments[call.index] += (call.function and call.function.arguments) or ""
    parts = list(model(tap.url).reply(asked(text), (TRANSFER,)))
    calls = [dict(part.call.arguments) for part in parts if isinstance(part, ToolCallPart)]
    assert said(parts) == words
    assert calls == [json.loads(each) for each in arguments.values()]
    assert cost is not None
    assert parts[-1].usage.output_tokens == cost.completion_tokens
    assert parts[-1].usage.input_tokens == cost.prompt_tokens
