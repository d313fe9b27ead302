"""The older IVR's language model contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from esl_agent import config
from esl_agent.dialogue.actions import Message
from esl_agent.dialogue.transcript import UNHEARD
from esl_agent.errors import ProviderError
from esl_agent.providers.base import HangUpPart, TextPart
from esl_agent.testing.pretend_llama3_api import PretendLlama3Api
from esl_agent.testing.web import Fault, Reply
from tests.providers.test_llm_contract import engine

PROMPT = Message("system", "Be kind.")
GREETING = Message("assistant", "Good day.")


def turns(*words: str) -> list[Message]:
    """The caller and the agent in turn, the caller first."""
    return [Message(("user", "assistant")[n % 2], text) for n, text in enumerate(words)]  # type: ignore[arg-type]


@pytest.fixture
def llama() -> Iterator[PretendLlama3Api]:
    with PretendLlama3Api() as pretend:
        yield pretend


def asked(llama: PretendLlama3Api, *messages: Message, **options: Any) -> dict[str, Any]:
    list(engine("llama3_api", url=llama.url, **options).reply(messages))
    return llama.bodies[-1]


@pytest.mark.parametrize("before", [(), (GREETING,)])
def test_on_the_first_turn_the_history_is_left_out(llama, before):
    assert asked(llama, PROMPT, *before, *turns("hello")) == {"system_prompt": "Be kind.", "user_message": "hello"}


def test_later_the_history_begins_with_the_caller_and_lacks_the_last_words(llama):
    body = asked(llama, PROMPT, GREETING, *turns("hello", "How can I help?", "when are you open?"))
    assert body["user_message"] == "when are you open?"
    assert body["conversation_history"] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "How can I help?"},
    ]


def test_it_goes_on_with_an_answer_that_broke_off(llama):
    body = asked(llama, PROMPT, *turns("when are you open?", "From nine", UNHEARD))
    assert body["user_message"] == UNHEARD
    assert [turn["content"] for turn in body["conversation_history"]] == ["when are you open?", "From nine"]


@pytest.mark.parametrize(("most", "kept"), [(0, 0), (1, 0), (2, 2), (3, 2), (4, 4), (10, 10), (100, 12)])
def test_the_history_has_so_many_messages_at_most(llama, most, kept):
    words = [f"word {n}" for n in range(13)]
    body = asked(llama, *turns(*words), history=most)
    assert [turn["content"] for turn in body.get("conversation_history", [])] == words[12 - kept : 12]


@pytest.mark.parametrize("body", [{"answer": "x"}, {"response": None}, {"response": ["x"]}, "x", None])
def test_an_answer_without_a_response_is_a_failure(llama, body):
    llama.http.faults = [Fault(instead=Reply.json(body))]
    with pytest.raises(ProviderError) as caught:
        asked(llama, *turns("hello"))
    assert (caught.value.retryable, caught.value.blame) == (True, "service")


def test_the_sign_hangs_up(llama):
    llama.texts = ["Goodbye. [HANGUP]"]
    found = list(engine("llama3_api", url=llama.url, hang_up_on="[HANGUP]").reply(turns("bye")))
    assert [type(part) for part in found] == [TextPart, HangUpPart]
    assert found[0].text.strip() == "Goodbye."


def test_the_older_variables_win_over_the_file(tmp_path):
    (tmp_path / "dids").mkdir()
    (tmp_path / "agent.yaml").write_text("")
    (tmp_path / "dids" / "a.yaml").write_text(
        "default: true\nllm: {engine: llama3_api, url: http://file, history: 2}\n"
    )
    environment = {
        "LLAMA3_API_URL": "http://10.0.0.7:8001/llama3",
        "LLAMA3_TIMEOUT": "12",
        "MAX_CONVERSATION_HISTORY": "6",
    }
    options = config.load(tmp_path, environment=environment).dids[0].engines.llm[0].options
    assert (options.url, options.timeout, options.history) == ("http://10.0.0.7:8001/llama3", 12.0, 6)
