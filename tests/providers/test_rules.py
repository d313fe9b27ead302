from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.dialogue.actions import Message, ToolCall, ToolSpec
from esl_agent.dialogue.tools import tool_message
from esl_agent.dialogue.transcript import UNHEARD
from esl_agent.providers.base import EngineContext, HangUpPart, ReplyPart, TextPart, ToolCallPart
from esl_agent.providers.exchanges import normalised
from esl_agent.providers.rules import AfterTool, Rule, Rules, RulesOptions, match
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


def test_the_rest_of_a_model_s_answer_is_the_rule_s_answer_to_what_the_caller_said() -> None:
    assert replied("hello", "Good d", UNHEARD) == "Hello. How are you?"
    assert replied("thank you", "Not at", UNHEARD, "all, ", UNHEARD) == "You are welcome."
    assert replied("elephants", "They are", UNHEARD) == "Pardon?"


def test_what_was_heard_of_a_rule_s_own_answer_is_not_said_twice() -> None:
    assert replied("hello", "Hello. How", UNHEARD) == "How are you?"
    assert replied("hello", "Hello. How are you?", UNHEARD) == "Hello. How are you?"


def test_an_answer_that_broke_off_is_one_answer_in_what_follows() -> None:
    assert replied("hello", "Hello. How", UNHEARD, "How are you?", "hello") == "Hello again."
    assert replied("hello", "Hello. How", UNHEARD, "How are you?", "fine thank you") == "Good to hear."
    assert replied("hello", "Hi. Fi", UNHEARD + " fine thank you") == "Good to hear."


PERSON = RulesOptions(
    rules=(
        Rule(
            when=("speak to a person", "put me through to *"),
            say="Of course, one moment.",
            tool="transfer",
            arguments={"to": "reception", "summary": "{heard}", "urgent": True},
            after_tool=AfterTool(failed="I am sorry, nobody answers there. Can I help?"),
        ),
        Rule(
            when=("where is order *",),
            say="Let me see.",
            tool="order_status",
            arguments={"number": "{1}"},
            after_tool=AfterTool(ok="It is {result.status}. I mean {result}.", failed="I cannot find it."),
        ),
        Rule(when=("thank you",), say="You are welcome."),
    ),
)
TOOLS = [ToolSpec("transfer", "x"), ToolSpec("order_status", "x")]


def parts(*messages: Message, tools: list[ToolSpec] = TOOLS) -> list[ReplyPart]:
    return list(Rules(PERSON, EngineContext()).reply(messages, tools))


def after(said: str, result: str, tool: str = "transfer") -> list[ReplyPart]:
    call = ToolCall("c", tool)
    return parts(Message("user", said), Message("assistant", "x", (call,)), Message("tool", result, tool_call_id="c"))


def test_a_rule_speaks_and_then_calls_its_tool() -> None:
    said, called = parts(Message("user", "Speak to a person, please"))
    assert said == TextPart("Of course, one moment.")
    assert isinstance(called, ToolCallPart)
    assert called.call.name == "transfer"
    assert called.call.arguments == {"to": "reception", "summary": "Speak to a person, please", "urgent": True}


def test_two_calls_of_a_tool_in_one_conversation_have_different_names() -> None:
    first = parts(Message("user", "speak to a person"))[-1]
    second = parts(
        Message("user", "speak to a person"),
        Message("assistant", "Of course."),
        Message("user", "speak to a person"),
    )[-1]
    assert isinstance(first, ToolCallPart)
    assert isinstance(second, ToolCallPart)
    assert first.call.id != second.call.id


def test_the_words_of_a_star_reach_the_tool() -> None:
    called = parts(Message("user", "Where is order 4711?"))[-1]
    assert isinstance(called, ToolCallPart)
    assert called.call.arguments == {"number": "4711"}


def test_a_tool_that_failed_is_apologised_for_and_not_called_again() -> None:
    found = after("speak to a person", tool_message("reception was not reached: the line is busy", failed=True))
    assert found == [TextPart("I am sorry, nobody answers there. "), TextPart("Can I help?")]


def test_what_a_tool_found_out_is_told_field_by_field() -> None:
    found = after("where is order 7", '{"status":"on its way {result}"}', "order_status")
    assert "".join(part.text for part in found if isinstance(part, TextPart)) == (
        'It is on its way {result}. I mean {"status":"on its way {result}"}.'
    )


def test_after_a_tool_there_may_be_nothing_to_say() -> None:
    assert after("speak to a person", "reception has the call") == []


def test_a_tool_that_is_not_there_is_a_tool_that_failed() -> None:
    found = parts(Message("user", "speak to a person"), tools=[])
    assert [type(part) for part in found] == [TextPart, TextPart, TextPart]


def test_after_a_tool_the_conversation_goes_on() -> None:
    call = ToolCall("c", "transfer")
    history = (
        Message("user", "speak to a person"),
        Message("assistant", "Of course, one moment.", (call,)),
        Message("tool", "failed: no", tool_call_id="c"),
        Message("assistant", "I am sorry."),
        Message("user", "thank you"),
    )
    assert parts(*history) == [TextPart("You are welcome.")]


def test_words_after_a_tool_that_broke_off_are_said_again_and_the_tool_is_not_run_again() -> None:
    call = ToolCall("c", "transfer")
    found = parts(
        Message("user", "speak to a person"),
        Message("assistant", "Of course, one moment.", (call,)),
        Message("tool", "failed: no", tool_call_id="c"),
        Message("assistant", "I am sorry, nobody"),
        Message("user", UNHEARD),
    )
    assert found == [TextPart("I am sorry, nobody answers there. "), TextPart("Can I help?")]


def test_a_tool_that_another_model_ran_is_not_taken_for_the_rule_s_own() -> None:
    assert after("thank you", "42", "look_up") == [TextPart("You are welcome.")]


def test_arguments_without_a_tool_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="with a tool"):
        RulesOptions(rules=(Rule(when=("a",), say="b", arguments={"to": "x"}),))
