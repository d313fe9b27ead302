"""The vendors' own SDKs talk to our pretend services, and their types take what our engines send: so that no mistake
of an engine is made again in the service that it is tested with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import ollama
import openai
import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from ollama._types import ChatRequest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

from esl_agent.dialogue.actions import ToolSpec
from esl_agent.dialogue.destinations import DestinationSettings, Policy, TransferSettings
from esl_agent.dialogue.tool_settings import BUILTINS
from esl_agent.dialogue.tool_specs import builtin
from esl_agent.testing.pretend_anthropic import PretendAnthropic
from esl_agent.testing.pretend_model import KEY, Called
from esl_agent.testing.pretend_ollama import PretendOllama
from esl_agent.testing.pretend_openai_chat import PretendChatCompletions
from tests.providers.contract_llm import HISTORIES, VARIABLE
from tests.providers.sdk_types import problems
from tests.providers.test_llm_contract import engine

SAYS = ["Günaydın", ", what", " can I do?"]
CALLS = [Called("call_1", "transfer", {"to": "reception"}), Called("call_2", "hang_up")]
POLICY = Policy({"reception": DestinationSettings(number="100")}, TransferSettings())
TOOLS: tuple[ToolSpec, ...] = tuple(builtin(name, POLICY, ("en", "de")) for name in BUILTINS)
ASKED = [
    pytest.param(history, tools, id=f"{name}, {len(tools)} tools")
    for name, history in HISTORIES.items()
    for tools in ((), TOOLS)
]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture
def chat() -> Iterator[PretendChatCompletions]:
    with PretendChatCompletions() as pretend:
        pretend.texts, pretend.calls = SAYS, CALLS
        yield pretend


@pytest.fixture
def claude() -> Iterator[PretendAnthropic]:
    with PretendAnthropic() as pretend:
        pretend.texts, pretend.calls, pretend.thoughts = SAYS, CALLS, "hm"
        yield pretend


@pytest.fixture
def llama() -> Iterator[PretendOllama]:
    with PretendOllama() as pretend:
        pretend.texts, pretend.calls, pretend.thoughts = SAYS, CALLS, "hm"
        yield pretend


# OpenAI


def test_the_openai_client_understands_the_pretend_server(chat):
    client = openai.OpenAI(api_key=KEY, base_url=chat.url, max_retries=0)
    with client.chat.completions.stream(
        model=chat.model,
        messages=[{"role": "user", "content": "hello"}],
        stream_options={"include_usage": True},
    ) as stream:
        done = stream.get_final_completion()
    message = done.choices[0].message
    assert message.content == "".join(SAYS)
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls] == [
        ("call_1", "transfer", '{"to": "reception"}'),
        ("call_2", "hang_up", "{}"),
    ]
    assert (done.usage.prompt_tokens, done.usage.prompt_tokens_details.cached_tokens) == (9, 2)


def test_the_openai_client_reads_the_pretend_server_s_refusals(chat):
    with pytest.raises(openai.AuthenticationError):
        _ask_openai(chat, "wrong", chat.model)
    with pytest.raises(openai.NotFoundError) as caught:
        _ask_openai(chat, KEY, "gpt-0")
    assert caught.value.code == "model_not_found"


def _ask_openai(chat: PretendChatCompletions, key: str, model: str) -> None:
    client = openai.OpenAI(api_key=key, base_url=chat.url, max_retries=0)
    list(client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}], stream=True))


@pytest.mark.parametrize(("history", "tools"), ASKED)
def test_what_we_ask_openai_is_what_its_sdk_would_ask(chat, history, tools):
    more = {"max_completion_tokens": 5, "temperature": 0.5, "reasoning_effort": "low", "extra_body": {"top_p": 0.5}}
    for options in ({}, more):
        list(engine("openai", url=chat.url, api_key_env=VARIABLE, **options).reply(history, tools))
    assert [problems(CompletionCreateParamsStreaming, body) for body in chat.bodies] == [[], []]
    assert len(chat.bodies[0].get("tools", ())) == len(tools)


# Anthropic


def test_the_anthropic_client_understands_the_pretend_service(claude):
    client = anthropic.Anthropic(api_key=KEY, base_url=claude.url, max_retries=0)
    with client.messages.stream(
        model=claude.model, max_tokens=50, messages=[{"role": "user", "content": "hello"}]
    ) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert message.content[1].text == "".join(SAYS)
    assert [(block.id, block.name, block.input) for block in message.content[2:]] == [
        ("call_1", "transfer", {"to": "reception"}),
        ("call_2", "hang_up", {}),
    ]
    assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 4)


def test_the_anthropic_client_reads_the_pretend_service_s_refusals(claude):
    for key, model, kind in (("x", claude.model, anthropic.AuthenticationError), (KEY, "m", anthropic.NotFoundError)):
        client = anthropic.Anthropic(api_key=key, base_url=claude.url, max_retries=0)
        with pytest.raises(kind):
            client.messages.create(model=model, max_tokens=5, messages=[{"role": "user", "content": "x"}], stream=True)


@pytest.mark.parametrize(("history", "tools"), ASKED)
def test_what_we_ask_anthropic_is_what_its_sdk_would_ask(claude, history, tools):
    more = {"prompt_cache": True, "thinking": "disabled", "effort": "low"}
    more["extra_body"] = {"service_tier": "standard_only"}
    for options in ({}, more):
        list(engine("anthropic", url=claude.url, api_key_env=VARIABLE, **options).reply(history, tools))
    assert [problems(MessageCreateParamsStreaming, body) for body in claude.bodies] == [[], []]


# Ollama


def test_the_ollama_client_understands_the_pretend_server(llama):
    answers = list(ollama.Client(llama.url).chat(llama.model, [{"role": "user", "content": "hello"}], stream=True))
    assert "".join(answer.message.content for answer in answers) == "".join(SAYS)
    assert [call.function.name for answer in answers for call in answer.message.tool_calls or ()] == [
        "transfer",
        "hang_up",
    ]
    assert answers[0].message.thinking == "hm"
    assert (answers[-1].done, answers[-1].done_reason, answers[-1].eval_count) == (True, "stop", 4)
    assert ollama.Client(llama.url).chat(llama.model, []).done_reason == "load"


def test_the_ollama_client_reads_the_pretend_server_s_refusals(llama):
    with pytest.raises(ollama.ResponseError) as caught:
        ollama.Client(llama.url).chat("other", [{"role": "user", "content": "hello"}])
    assert caught.value.status_code == 404


@pytest.mark.parametrize(("history", "tools"), ASKED)
def test_what_we_ask_ollama_is_what_its_sdk_would_ask(llama, history, tools):
    more: dict[str, Any] = {"think": "low", "options": {"temperature": 0.5, "num_ctx": 4096}}
    for options in ({}, more):
        list(engine("ollama", model=llama.model, url=llama.url, **options).reply(history, tools))
    for body in llama.bodies:
        again = ChatRequest(**body).model_dump(exclude_none=True)
        assert again.keys() == body.keys()
        for ours, theirs in zip(body["messages"], again["messages"], strict=True):
            assert ours == {key: theirs[key] for key in ours}
