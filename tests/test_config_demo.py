"""The demo number: what its caller says, in order, makes a sensible conversation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from esl_agent.config import DidConfig, load
from esl_agent.demo.colleague import COLLEAGUE
from esl_agent.dialogue.actions import Message
from esl_agent.dialogue.destinations import Policy
from esl_agent.dialogue.tools import Toolbox, TransferRequest
from esl_agent.providers.base import HangUpPart, TextPart, ToolCallPart
from esl_agent.providers.rules import Rules

CONF = Path(__file__).parent.parent / "conf"

#: What the recordings say, in this order, and words of the answer that belongs to it.
CONVERSATION = (
    ("Something is terribly wrong!", "sorry to hear that"),
    ("Weasels have eaten our phone system", "an engineer can come"),
    ("They have been carried away by monkeys", "a ladder"),
    ("The number is not answering.", "mark the order as urgent"),
    ("Information about your last call.", "last called us on Monday"),
    ("The person at extension two", "Of course."),
    ("Thank you for your patience", "most welcome"),
    ("Goodbye", "Goodbye."),
)
#: Words a second of a fast telephone voice: what takes this long at that speed takes longer at any other.
FAST = 200 / 60


@pytest.fixture(scope="module")
def demo() -> DidConfig:
    did = load(CONF, environment={}).find("5000")
    assert did is not None
    return did


def answers(did: DidConfig, said: list[str]) -> list[tuple[str, bool]]:
    """(text, whether the call ends) of the agent's answer to each."""
    rules = Rules(did.engines.llm[0].options, did.context)
    messages: list[Message] = []
    found = []
    for words in said:
        messages.append(Message("user", words))
        parts = list(rules.reply(messages))
        text = "".join(part.text for part in parts if isinstance(part, TextPart))
        messages.append(Message("assistant", text))
        found.append((text, any(isinstance(part, HangUpPart) for part in parts)))
    return found


def test_every_sentence_of_the_caller_gets_the_answer_meant_for_it(demo: DidConfig) -> None:
    found = answers(demo, [said for said, _ in CONVERSATION])
    for (said, wanted), (answer, _) in zip(CONVERSATION, found, strict=True):
        assert wanted in answer, said


def test_the_call_ends_with_the_goodbye_and_not_before(demo: DidConfig) -> None:
    assert [ends for _, ends in answers(demo, [said for said, _ in CONVERSATION])] == [False] * 7 + [True]


def test_the_answer_to_the_weasels_is_long_enough_to_talk_over(demo: DidConfig) -> None:
    [_, (answer, _), *_] = answers(demo, [said for said, _ in CONVERSATION])
    assert len(answer.split()) / FAST > 12
    assert 3 <= len(re.findall(r"[.!?]", answer)) <= 4


def test_the_recogniser_may_lean_towards_what_the_caller_says(demo: DidConfig) -> None:
    def plain(text: str) -> str:
        return re.sub(r"[^a-z ]", "", text.lower())

    assert {plain(said) for said, _ in CONVERSATION} <= {plain(phrase) for phrase in demo.context.phrases}


def test_a_caller_who_asks_for_a_person_is_put_through_to_a_destination_there_is(demo: DidConfig) -> None:
    cascade = demo.cascade
    toolbox = Toolbox(cascade.tools, Policy(cascade.destinations, cascade.transfer), ())
    rules = Rules(demo.engines.llm[0].options, demo.context)
    for said in ("The person at extension two", "I want to speak to a person please"):
        parts = list(rules.reply([Message("user", said)], toolbox.specs))
        [call] = [part.call for part in parts if isinstance(part, ToolCallPart)]
        request = toolbox.check(call)
        assert isinstance(request, TransferRequest)
        assert (request.destination.name, request.destination.mode) == ("workshop", "warm")
        assert request.destination.target.endswith(f"user/{COLLEAGUE}")
        assert "Weasels" in request.briefing


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("what are your opening hours", "eight to six"),
        ("how much does it cost", "free of charge"),
        ("I want to speak to a person please", "call you back"),
        ("no thank you", "All right"),
        ("bla bla bla", "not sure I can help"),
    ],
)
def test_what_a_curious_caller_asks_is_answered_too(demo: DidConfig, said: str, wanted: str) -> None:
    [(answer, _)] = answers(demo, [said])
    assert wanted in answer


@pytest.mark.parametrize("number", ["5000", "any other"])
def test_what_a_plain_voice_speaks_holds_no_digits_or_signs(number: str) -> None:
    did = load(CONF, environment={}).find(number)
    assert did is not None
    options = did.engines.llm[0].options
    lines = [rule.say for rule in options.rules] + [options.otherwise, did.cascade.phrases.greeting]
    lines += [rule.after_tool.failed for rule in options.rules if rule.tool]
    for destination in did.cascade.destinations.values():
        lines += [destination.say, destination.briefing.replace("{summary}", "")]
    for line in lines:
        assert re.fullmatch(r"[A-Za-z ,.?!']+", str(line)), line
