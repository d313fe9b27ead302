from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.dialogue.actions import Message
from esl_agent.providers.base import EngineContext, HangUpPart, TextPart
from esl_agent.providers.rules import Rule, Rules, RulesOptions, match, normalised
from tests.providers.contract import LanguageModelContract

OPTIONS = RulesOptions(
    rules=(
        Rule(when=("hello", "good morning"), say=("Hello. How are you?", "Hello again."), name="hello"),
        Rule(when=("fine thank you",), say="Good to hear.", after="hello"),
        Rule(when=("fine thank you", "thank you"), say="You are welcome."),
        Rule(when=("my name is *",), say="Nice to meet you, {1}. You said {heard}."),
        Rule(when=("the number is not answering",), say="I see."),
        Rule(when=("goodbye",), say="Goodbye.", hang_up=True),
    ),
    otherwise=("Pardon?", "What?"),
)


def replied(*said: str, options: RulesOptions = OPTIONS) -> str:
    """The reply to the last of ``said``: caller and agent in turn."""
    messages = [Message("assistant" if n % 2 else "user", text) for n, text in enumerate(said)]
    parts = Rules(options, EngineContext()).reply([Message("system", "x"), *messages])
    return "".join(part.text for part in parts if isinstance(part, TextPart))


class TestContract(LanguageModelContract):
    def make(self) -> Rules:
        return Rules(OPTIONS, EngineContext())


def test_a_reply_comes_sentence_by_sentence_and_loses_nothing() -> None:
    parts = list(Rules(OPTIONS, EngineContext()).reply([Message("user", "Hello!")]))
    assert parts == [TextPart("Hello. "), TextPart("How are you?")]


def test_the_call_ends_after_the_goodbye() -> None:
    parts = list(Rules(OPTIONS, EngineContext()).reply([Message("user", "Goodbye")]))
    assert parts == [TextPart("Goodbye."), HangUpPart()]


def test_a_transcript_with_a_word_missing_or_too_many_still_finds_its_rule() -> None:
    assert replied("number is not answering") == "I see."
    assert replied("uh the number is not answering you know") == "I see."
    assert replied("the the number this not answering") == "I see."


def test_what_no_rule_knows_gets_the_answers_for_that_in_turn() -> None:
    assert replied("elephants") == "Pardon?"
    assert replied("elephants", "Pardon?", "zebras") == "What?"
    assert replied("elephants", "Pardon?", "zebras", "What?", "lions") == "Pardon?"


def test_a_caller_who_repeats_himself_hears_the_variants_in_turn() -> None:
    assert replied("hello", "Hello. How are you?", "hello") == "Hello again."


def test_a_reply_that_was_never_heard_does_not_use_up_a_variant() -> None:
    model = Rules(OPTIONS, EngineContext())
    parts = list(model.reply([Message("user", "hello"), Message("user", "hello")]))
    assert parts[0] == TextPart("Hello. ")


def test_a_follow_up_is_understood_only_after_its_question() -> None:
    assert replied("hello", "Hello. How are", "fine thank you") == "Good to hear."
    assert replied("fine thank you") == "You are welcome."


def test_the_words_of_a_star_are_repeated_and_their_braces_mean_nothing() -> None:
    assert (
        replied("My name is Bobby {heard} {1}!")
        == "Nice to meet you, bobby heard 1. You said My name is Bobby {heard} {1}!."
    )


def test_the_recogniser_is_told_what_to_expect() -> None:
    assert OPTIONS.expected_phrases()[:3] == ("hello", "good morning", "fine thank you")
    assert "my name is" in OPTIONS.expected_phrases()


def test_a_follow_up_of_a_rule_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        RulesOptions(rules=(Rule(when=("a",), say="b", after="nowhere"),))


@given(st.text(max_size=80))
def test_whatever_was_heard_there_is_an_answer(heard: str) -> None:
    assert replied(heard)


@given(st.lists(st.sampled_from(["we", "have", "no", "sound", "here"]), min_size=1, max_size=8))
def test_a_phrase_said_word_for_word_matches_best_of_all(words: list[str]) -> None:
    assert match(" ".join(words), words, 0.5)[0] == 1.0
    assert match(" ".join([*words, "else"]), words, 0.5)[0] < 1.0
    assert normalised(" ".join(words).upper()) == words
