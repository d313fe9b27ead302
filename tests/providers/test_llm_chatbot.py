"""The older bridge's chatbot: a WebSocket for each call, HTTP where that fails, and no answer to an older question."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import gevent
import pytest

from esl_agent import config
from esl_agent.dialogue.actions import Message
from esl_agent.dialogue.transcript import UNHEARD
from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers.base import CallContext, HangUpPart, TextPart
from esl_agent.providers.llm_chatbot import ChatbotOptions
from esl_agent.testing.pretend_chatbot import PretendChatbotHttp, PretendChatbotSocket, hangs_up, says, typing, waits
from esl_agent.testing.pretend_model import KEY
from esl_agent.testing.web import FOREVER, drop
from tests.providers.contract_llm import VARIABLE, certificate, until
from tests.providers.test_llm_contract import engine

__all__ = ["certificate"]

ANSWER = {"message": "We open at nine."}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esl_agent.providers.llm_chatbot.PAUSE", 0.0)


def service(stack: ExitStack, *script: Any) -> PretendChatbotSocket:
    return stack.enter_context(PretendChatbotSocket(*script))


def call(pretend: PretendChatbotSocket | None, id: str = "call-1", **options: Any) -> Any:
    """The chatbot as call ``id`` uses it."""
    url = f"{pretend.url}/ws/chat" if pretend else "ws://127.0.0.1:9/ws/chat"
    return engine("chatbot", ws_url=url, **options).for_call(CallContext(id, print))


def ask(chatbot: Any, words: str = "when do you open?") -> str:
    parts = list(chatbot.reply((Message("system", "x"), Message("assistant", "Good day."), Message("user", words))))
    return " ".join(part.text.strip() for part in parts if isinstance(part, TextPart))


# It answers


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({"messages": ["We open at nine.", "On Sundays at ten."]}, "We open at nine. On Sundays at ten."),
        ({"messages": [{"text": "We open at nine."}, {"message": "Bye."}]}, "We open at nine. Bye."),
        ({"message": "We open at nine."}, "We open at nine."),
        ({"text": "We open at nine."}, "We open at nine."),
        ({"type": "bot_message", "text": "Günaydın ☀", "session_id": "call-1", "typing": False}, "Günaydın ☀"),
        ([{"recipient_id": "1", "text": "We open at nine."}], "We open at nine."),
    ],
)
def test_every_shape_of_a_reply_is_said_and_what_is_no_reply_is_not(stack, reply, said):
    pretend = service(stack, [typing, says(reply)])
    assert ask(call(pretend)) == said
    assert pretend.questions == [{"type": "user_message", "text": "when do you open?", "session_id": "call-1"}]


def test_each_call_has_a_socket_and_a_session_of_its_own(stack):
    pretend = service(stack)
    chatbot = engine("chatbot", ws_url=pretend.url)
    calls = [chatbot.for_call(CallContext(id, print)) for id in ("call-1", "call-2")]
    for _ in range(2):
        for each in calls:
            ask(each)
    assert pretend.sockets == [1, 2, 1, 2]
    assert [question["session_id"] for question in pretend.questions] == ["call-1", "call-2"] * 2


def test_one_session_for_all_is_there_for_whoever_wants_it(stack):
    pretend = service(stack)
    ask(call(pretend, session_id="freeswitch_session"))
    assert pretend.questions[0]["session_id"] == "freeswitch_session"


def test_the_rest_of_an_answer_that_broke_off_is_said_without_asking_again(stack):
    pretend = service(stack, [says({"message": "We open at nine. On Sundays at ten."})])
    of_call = call(pretend)
    assert ask(of_call) == "We open at nine. On Sundays at ten."
    broken = (Message("user", "when do you open?"), Message("assistant", "We open at nine."), Message("user", UNHEARD))
    assert [part.text.strip() for part in of_call.reply(broken)] == ["On Sundays at ten."]
    assert [each["text"] for each in pretend.questions] == ["when do you open?"]


def test_the_socket_is_open_before_the_first_question_and_closed_with_the_call(stack):
    pretend = service(stack)
    chatbot = call(pretend)
    chatbot.prepare()
    assert pretend.connections == 1
    ask(chatbot)
    assert pretend.connections == 1
    chatbot.close()
    chatbot.close()
    assert until(lambda: pretend.open_connections == 0)
    with pytest.raises(ProviderError):
        ask(chatbot)


def test_the_sign_hangs_up(stack):
    chatbot = call(service(stack, [says({"messages": ["Goodbye.", "[HANGUP]"]})]), hang_up_on="[HANGUP]")
    assert [type(part) for part in chatbot.reply((Message("user", "bye"),))] == [TextPart, HangUpPart]


# What comes late


def test_a_late_answer_to_a_question_that_was_given_up_answers_nothing(stack):
    pretend = service(stack, [waits(0.02), says({"text": "late"})], [says(ANSWER)])
    chatbot = call(pretend, timeout=0.01, tries=1)
    with pytest.raises(ProviderError) as caught:
        ask(chatbot, "first")
    assert caught.value.retryable
    assert ask(chatbot, "second") == ANSWER["message"]
    assert pretend.sockets == [1, 2]


def test_a_late_answer_to_a_question_that_nobody_waits_for_answers_nothing(stack):
    pretend = service(stack, [waits(0.02), says({"text": "late"})], [says(ANSWER)])
    chatbot = call(pretend)
    asking = gevent.spawn(ask, chatbot, "first")
    assert until(lambda: len(pretend.questions) == 1)
    asking.kill(timeout=1.0)
    assert asking.dead
    assert ask(chatbot, "second") == ANSWER["message"]
    assert pretend.sockets == [1, 2]


def test_a_second_message_to_one_question_does_not_answer_the_next(stack):
    pretend = service(stack, [says(ANSWER), says({"text": "Anything else?"})], [says({"text": "Yes."})])
    chatbot = call(pretend)
    assert ask(chatbot) == ANSWER["message"]
    gevent.sleep(0.005)
    assert ask(chatbot) == "Yes."
    assert pretend.connections == 1


def test_two_questions_at_once_have_two_sockets(stack):
    pretend = service(stack, [waits(0.01), says({"text": "slow"})], [says(ANSWER)])
    chatbot = call(pretend)
    slow = gevent.spawn(ask, chatbot, "first")
    assert until(lambda: len(pretend.questions) == 1)
    assert ask(chatbot, "second") == ANSWER["message"]
    assert slow.get(timeout=1.0) == "slow"
    chatbot.close()
    assert until(lambda: pretend.open_connections == 0)


# It fails


@pytest.mark.parametrize("fails", [hangs_up, lambda connection, question: drop(connection)], ids=["politely", "not"])
def test_a_connection_that_breaks_is_made_again_three_times_in_all(stack, fails):
    pretend = service(stack, [fails], [fails], [says(ANSWER)])
    assert ask(call(pretend)) == ANSWER["message"]
    assert pretend.connections == 3
    pretend = service(stack, [fails])
    with pytest.raises(ProviderError) as caught:
        ask(call(pretend))
    assert (pretend.connections, caught.value.retryable, caught.value.blame) == (3, True, "service")


def test_a_socket_that_died_while_nobody_spoke_costs_no_try(stack):
    pretend = service(stack, [says(ANSWER), hangs_up], [says(ANSWER)])
    chatbot = call(pretend, tries=1)
    assert ask(chatbot) == ANSWER["message"]
    assert until(lambda: pretend.open_connections == 0)
    assert ask(chatbot) == ANSWER["message"]
    assert pretend.connections == 2


def test_what_fails_by_websocket_is_asked_by_http(stack):
    http = stack.enter_context(PretendChatbotHttp())
    assert ask(call(None, api_url=http.url)) == "Hello there. How are you?"
    assert http.bodies == [{"text": "when do you open?", "session_id": "call-1"}]


def test_a_service_that_is_silent_is_asked_once_and_then_by_http(stack):
    http = stack.enter_context(PretendChatbotHttp())
    pretend = service(stack, [typing, waits(FOREVER)])
    assert ask(call(pretend, api_url=http.url, timeout=0.03)) == "Hello there. How are you?"
    assert (len(pretend.questions), len(http.bodies)) == (1, 1)


def test_silence_without_http_ends_with_the_timeout(stack):
    with pytest.raises(ProviderError) as caught:
        ask(call(service(stack, [waits(FOREVER)]), timeout=0.02))
    assert (caught.value.retryable, caught.value.blame) == (True, "service")


@pytest.mark.parametrize("error", [{"type": "error", "message": "out of memory"}, {"error": "out of memory"}])
def test_an_error_is_not_said(stack, error):
    with pytest.raises(ProviderError, match="out of memory"):
        ask(call(service(stack, [says(error)]), tries=1))


@pytest.mark.parametrize(("status", "blame"), [(401, "setup"), (503, "service")])
def test_a_refused_handshake_says_whom_to_blame_and_tells_no_key(stack, monkeypatch, status, blame):
    monkeypatch.setenv(VARIABLE, KEY)
    pretend = service(stack)
    pretend.refuse = (status, f"who is {KEY}?".encode())
    with pytest.raises(ProviderError) as caught:
        ask(call(pretend, api_key_env=VARIABLE, tries=1))
    assert caught.value.blame == blame
    assert KEY not in str(caught.value)


def test_a_server_nobody_vouches_for_is_told_nothing(stack, certificate):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    pretend = stack.enter_context(PretendChatbotSocket(ssl=tls))
    url = pretend.url.replace("ws://", "wss://")
    with pytest.raises(ProviderError) as caught:
        ask(engine("chatbot", ws_url=url))
    assert (caught.value.retryable, caught.value.blame) == (False, "setup")
    assert ask(engine("chatbot", ws_url=url, ca_file=certificate[0])) == "Hello there. How are you?"
    assert len(pretend.questions) == 1


@pytest.mark.parametrize("url", ["ws://no-such-host.invalid/ws", "ws://127.0.0.1:9/ws"])
def test_a_server_that_is_not_there_is_worth_another_try(url):
    with pytest.raises(ProviderError) as caught:
        ask(engine("chatbot", ws_url=url))
    assert (caught.value.retryable, caught.value.blame) == (True, "service")


def test_a_hang_up_in_the_middle_of_a_question_closes_the_socket(stack):
    pretend = service(stack, [waits(0.05)])
    chatbot = call(pretend)
    asking = gevent.spawn(ask, chatbot)
    assert until(lambda: len(pretend.questions) == 1)
    chatbot.close()
    asking.kill(timeout=1.0)
    assert asking.dead
    assert until(lambda: pretend.open_connections == 0)


# What operators see


@pytest.mark.parametrize(
    ("log_text", "asked", "answered"),
    [(False, "<4 words>", "<4 words>"), (True, "when do you open?", ANSWER["message"])],
)
def test_the_lines_that_older_tools_look_for_are_there_and_tell_words_only_on_request(
    stack, caplog, log_text, asked, answered
):
    caplog.set_level(logging.INFO)
    ask(call(service(stack, [says(ANSWER)]), log_text=log_text))
    assert [record.getMessage() for record in caplog.records if "[CHATBOT]" in record.getMessage()] == [
        f"[CHATBOT] WS send: {asked}",
        f"[CHATBOT] WebSocket response: {answered}",
    ]


def test_what_is_logged_stays_on_one_line(stack, caplog):
    caplog.set_level(logging.INFO)
    ask(call(service(stack, [says({"text": "a\n2026-11-21 00:00:00 | forged"})]), log_text=True), "b\r\nc")
    assert not any("\n" in record.getMessage() or "\r" in record.getMessage() for record in caplog.records)


def test_the_older_variables_say_where_it_is(tmp_path):
    (tmp_path / "dids").mkdir()
    (tmp_path / "agent.yaml").write_text("")
    (tmp_path / "dids" / "a.yaml").write_text("default: true\nllm: {engine: chatbot}\n")
    environment = {"CHATBOT_WS_URL": "ws://bot/ws/chat", "CHATBOT_API_URL": "http://bot/api/chat"}
    options = config.load(tmp_path, environment=environment).dids[0].engines.llm[0].options
    assert (options.ws_url, options.api_url) == ("ws://bot/ws/chat", "http://bot/api/chat")
    with pytest.raises(ConfigError, match="CHATBOT_WS_URL"):
        config.load(tmp_path, environment={})


def test_a_service_without_an_address_is_a_mistake_of_its_settings():
    with pytest.raises(ValueError, match="ws_url"):
        ChatbotOptions()
