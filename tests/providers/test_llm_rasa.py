"""A Rasa assistant: one conversation a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from esl_agent.dialogue.actions import Message
from esl_agent.dialogue.transcript import UNHEARD
from esl_agent.errors import ProviderError
from esl_agent.providers.base import CallContext, HangUpPart, TextPart
from esl_agent.testing.pretend_model import KEY
from esl_agent.testing.pretend_rasa import PretendRasa
from esl_agent.testing.web import Fault, Reply
from tests.providers.contract_llm import VARIABLE
from tests.providers.test_llm_contract import engine

HISTORY = (
    Message("system", "x"),
    Message("user", "hello"),
    Message("assistant", "Hi."),
    Message("user", "opening hours"),
)


@pytest.fixture
def rasa(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendRasa]:
    monkeypatch.setenv(VARIABLE, KEY)
    with PretendRasa() as pretend:
        yield pretend


def ours(rasa: PretendRasa, **options: Any) -> Any:
    return engine("rasa", url=rasa.url, token_env=VARIABLE, **options)


def test_it_is_told_the_last_words_under_the_call_s_id(rasa):
    assistant = ours(rasa)
    for call in ("call-1", "call-2"):
        parts = list(assistant.for_call(CallContext(call, print)).reply(HISTORY))
        assert [part.text.strip() for part in parts] == ["Hello there.", "How are you?"]
    assert rasa.bodies == [{"sender": call, "message": "opening hours"} for call in ("call-1", "call-2")]


def test_the_texts_are_apart_so_that_sentences_do_not_run_into_each_other(rasa):
    rasa.texts = ["Yes", "We are open"]
    assert "".join(part.text for part in ours(rasa).reply(HISTORY)).split() == ["Yes", "We", "are", "open"]


def test_an_assistant_that_says_nothing_is_not_heard_as_silence(rasa):
    rasa.texts = []
    assert [part.text.strip() for part in ours(rasa).reply(HISTORY)] == ["Please go on."]
    assert list(ours(rasa, empty="").reply(HISTORY)) == []


def test_pictures_and_buttons_are_not_said(rasa):
    found = [{"recipient_id": "1", "image": "x"}, {"recipient_id": "1", "text": "Yes.", "buttons": [{"title": "no"}]}]
    rasa.http.faults = [Fault(instead=Reply.json(found))]
    assert [part.text.strip() for part in ours(rasa).reply(HISTORY)] == ["Yes."]


def test_the_sign_hangs_up(rasa):
    rasa.texts = ["Goodbye.", "[hangup]"]
    found = list(ours(rasa, hang_up_on="[HANGUP]").reply(HISTORY))
    assert [type(part) for part in found] == [TextPart, HangUpPart]


@pytest.mark.parametrize("body", [{"text": "x"}, ["x"], None, "x"])
def test_anything_but_a_list_of_objects_is_a_failure(rasa, body):
    rasa.http.faults = [Fault(instead=Reply.json(body))]
    with pytest.raises(ProviderError):
        list(ours(rasa).reply(HISTORY))


@pytest.mark.parametrize("address", ["{}", "{}/", "{}/webhooks/rest/webhook"])
def test_the_address_may_have_the_path_or_not(rasa, address):
    assert list(engine("rasa", url=address.format(rasa.url), token_env=VARIABLE).reply(HISTORY))


def test_without_a_token_none_is_sent():
    with PretendRasa(key="") as rasa:
        assert list(engine("rasa", url=rasa.url).reply(HISTORY))
        assert rasa.http.requests[0].query == {}


def said(parts: Any) -> str:
    return " ".join(part.text.strip() for part in parts if isinstance(part, TextPart))


def broken(heard: str, words: str = "yes") -> tuple[Message, ...]:
    return (Message("user", words), Message("assistant", heard), Message("user", UNHEARD))


def test_the_rest_of_its_answer_is_said_without_answering_its_next_question(rasa):
    rasa.texts = ["Two pizzas, then.", "Which size? There are three."]
    of_call = ours(rasa).for_call(CallContext("call-1", print))
    assert said(of_call.reply((Message("user", "yes"),))) == "Two pizzas, then. Which size? There are three."
    assert said(of_call.reply(broken("Two pizzas, then. Which"))) == "Which size? There are three."
    assert [body["message"] for body in rasa.bodies] == ["yes"]


def test_what_another_model_began_it_is_asked_in_the_caller_s_words(rasa):
    of_call = ours(rasa).for_call(CallContext("call-1", print))
    assert said(of_call.reply(broken("We open", "opening hours"))) == "Hello there. How are you?"
    list(of_call.reply((*broken("We open", "opening hours")[:2], Message("user", f"{UNHEARD} and on Sunday?"))))
    assert [body["message"] for body in rasa.bodies] == ["opening hours", "and on Sunday?"]


def test_the_same_words_about_another_answer_are_asked(rasa):
    of_call = ours(rasa).for_call(CallContext("call-1", print))
    list(of_call.reply((Message("user", "yes"),)))
    list(of_call.reply((Message("user", "yes"), Message("assistant", "Fine."), *broken("Then I will"))))
    assert [body["message"] for body in rasa.bodies] == ["yes", "yes"]
