"""Chat completions, also of servers that only imitate them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from esl_agent.dialogue.actions import Message, ToolCall, ToolSpec
from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers.base import HangUpPart, TextPart, ToolCallPart, Usage, UsagePart
from esl_agent.testing.pretend_model import KEY, Called, events
from esl_agent.testing.pretend_openai_chat import PretendChatCompletions
from esl_agent.testing.web import FOREVER, Fault, Reply
from tests.providers.contract_llm import VARIABLE, said, until
from tests.providers.test_llm_contract import engine

HELLO = (Message("system", "Be kind."), Message("user", "hello"))
TOOLS = (ToolSpec("transfer", "Hand over."), ToolSpec("hang_up", "End."))
DONE = b"data: [DONE]\n\n"


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendChatCompletions]:
    monkeypatch.setenv(VARIABLE, KEY)
    with PretendChatCompletions() as pretend:
        yield pretend


def ours(chat: PretendChatCompletions, **options: Any) -> Any:
    return engine("openai", url=chat.url, api_key_env=VARIABLE, **options)


def parts(chat: PretendChatCompletions, *chunks: dict[str, Any], end: bytes = DONE, **options: Any) -> list[Any]:
    """What is made of a stream of ``chunks``."""
    chat.http.faults = [Fault(instead=Reply([*events(*chunks), end], content_type="text/event-stream"))]
    return list(ours(chat, **options).reply(HELLO, TOOLS))


def test_words_come_first_then_tools_then_the_count(chat):
    chat.calls = [Called("t1", "transfer", {"to": "reception"}), Called("t2", "hang_up")]
    assert list(ours(chat).reply(HELLO, TOOLS)) == [
        TextPart("Hello"),
        TextPart(" there."),
        TextPart(" How are you?"),
        ToolCallPart(ToolCall("t1", "transfer", {"to": "reception"})),
        ToolCallPart(ToolCall("t2", "hang_up", {})),
        UsagePart(Usage(input_tokens=9, cached_tokens=2, output_tokens=4)),
    ]
    assert [tool["function"]["name"] for tool in chat.bodies[0]["tools"]] == ["transfer", "hang_up"]


def test_calls_count_whatever_reason_the_server_gives_for_its_end(chat):
    chat.calls, chat.finish_reason = [Called("t1", "hang_up")], "stop"
    assert any(isinstance(part, ToolCallPart) for part in ours(chat).reply(HELLO, TOOLS))


def test_only_what_is_configured_is_sent(chat):
    list(ours(chat).reply(HELLO))
    assert set(chat.bodies[0]) == {"model", "messages", "stream", "stream_options"}
    list(ours(chat, stream_usage=False, tools=False, extra_body={"top_p": 0.5, "model": "x"}).reply(HELLO, TOOLS))
    assert {**chat.bodies[1], "messages": []} == {"model": chat.model, "messages": [], "stream": True, "top_p": 0.5}


def test_neither_thinking_nor_unknown_fields_are_said(chat):
    found = parts(
        chat,
        chat.chunk({"role": "assistant", "content": None, "reasoning_content": "The caller says hello."}),
        {**chat.chunk({"reasoning": "hm"}), "obfuscation": "xyz"},
        chat.chunk({"content": "<think>so"}),
        chat.chunk({"content": " what</think>He"}),
        chat.chunk({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "llo."}]}),
        {"choices": [], "prompt_filter_results": []},
        chat.chunk({}, "stop"),
    )
    assert said(found) == "Hello."


def test_thoughts_whose_opening_sign_the_server_leaves_out_are_not_said(chat):
    found = parts(chat, *(chat.chunk({"content": t}) for t in ("hm, so</th", "ink>Hello", ".")), chat.chunk({}, "stop"))
    assert "hm" in said(found)
    chat.texts = ["hm, so</th", "ink>Hello", "."]
    assert said(list(ours(chat, begins_thinking=True).reply(HELLO))) == "Hello."


def test_a_refusal_is_said(chat):
    assert said(parts(chat, chat.chunk({"refusal": "I can not."}), chat.chunk({}, "stop"))) == "I can not."


def test_the_sign_hangs_up_when_the_words_before_it_were_said(chat):
    chat.texts = ["Good", "bye. [HANG", "UP]"]
    found = list(ours(chat, hang_up_on="[HANGUP]", tools=False).reply(HELLO, TOOLS))
    assert [type(part) for part in found] == [TextPart, TextPart, HangUpPart, UsagePart]
    assert said(found) == "Goodbye. "


@pytest.mark.parametrize(
    ("reason", "end"), [("stop", b""), (None, DONE), ("length", DONE), ("function_call", b": no [DONE] comes\n\n")]
)
def test_a_stream_may_end_with_a_reason_or_with_done(chat, reason, end):
    assert said(parts(chat, chat.chunk({"content": "Hello."}), chat.chunk({}, reason), end=end)) == "Hello."


def test_a_server_that_neither_ends_its_stream_nor_speaks_keeps_nobody_waiting(chat, monkeypatch):
    monkeypatch.setattr("esl_agent.providers.llm_openai.AFTERWARDS", 0.02)
    pieces = [b"".join(events(chat.chunk({"content": "Hello."}), chat.chunk({}, "stop"))), DONE]
    chat.pieces = lambda: pieces  # type: ignore[method-assign]
    chat.http.faults = [Fault(after_first=FOREVER)]
    with gevent.Timeout(1.0):
        assert said(list(ours(chat).reply(HELLO))) == "Hello."
    assert until(lambda: chat.http.open_connections == 0)


def test_a_server_that_does_not_stream_is_understood(chat):
    whole = {"choices": [{"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}]}
    chat.http.faults = [Fault(instead=Reply.json({**whole, "usage": {"prompt_tokens": 3, "completion_tokens": 1}}))]
    assert list(ours(chat).reply(HELLO)) == [TextPart("Hello."), UsagePart(Usage(input_tokens=3, output_tokens=1))]


def test_lines_that_end_as_on_windows_and_comments_are_understood(chat):
    stream = b": hello\r\n\r\n" + b"".join(events(chat.chunk({"content": "Hi."}, "stop"))).replace(b"\n", b"\r\n")
    chat.http.faults = [Fault(instead=Reply([stream, DONE], content_type="text/event-stream; charset=utf-8"))]
    assert said(list(ours(chat).reply(HELLO))) == "Hi."


@pytest.mark.parametrize(
    ("error", "retryable", "blame"),
    [
        ({"error": {"message": "slow", "type": "requests", "code": "rate_limit_exceeded"}}, True, "service"),
        ({"error": {"message": "pay", "type": "insufficient_quota", "code": "insufficient_quota"}}, False, "setup"),
        ({"error": {"message": "no", "type": "invalid_request_error", "code": None}}, False, "request"),
        ({"error": {"message": "bad gateway", "code": 502}}, True, "service"),
        ({"error": {"message": "key", "code": 401}}, False, "setup"),
        ({"error": "something"}, True, "service"),
        ({"object": "error", "message": "too long", "code": 400}, False, "request"),
    ],
)
def test_an_error_inside_the_stream_says_whom_to_blame(chat, error, retryable, blame):
    with pytest.raises(ProviderError) as caught:
        parts(chat, chat.chunk({"content": "He"}), error)
    assert (caught.value.retryable, caught.value.blame) == (retryable, blame)


def test_a_filter_that_stops_the_reply_is_a_matter_of_this_request(chat):
    chat.finish_reason = "content_filter"
    reply = ours(chat).reply(HELLO)
    assert next(reply) == TextPart("Hello")
    with pytest.raises(ProviderError) as caught:
        list(reply)
    assert (caught.value.retryable, caught.value.blame) == (False, "request")


def test_no_key_is_found_out_at_the_start(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=VARIABLE):
        engine("openai", api_key_env=VARIABLE)


def test_the_key_may_be_in_a_file_and_goes_into_the_header_that_azure_wants(chat, tmp_path):
    (tmp_path / "key").write_text(f"{KEY}\n")
    options = {"key_header": "api-key", "query": {"api-version": "1"}, "headers": {"X-Team": "phones"}}
    model = engine("openai", url=chat.url, api_key_env="", api_key_file=str(tmp_path / "key"), **options)
    assert said(list(model.reply(HELLO)))
    request = chat.http.requests[-1]
    assert (request.headers["api-key"], request.headers["x-team"]) == (KEY, "phones")
    assert "authorization" not in request.headers
    assert request.query == {"api-version": ["1"]}


def test_a_connection_is_ready_before_the_first_question(chat):
    model = ours(chat)
    model.warm()
    assert until(lambda: len(chat.http.requests) == 1)
    model.prepare()
    list(model.reply(HELLO))
    assert chat.http.requests[-1].connection in {each.connection for each in chat.http.requests[:-1]}
