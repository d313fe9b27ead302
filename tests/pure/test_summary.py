"""The older part of a long call is summarised by the model, and nobody hears of it."""

from __future__ import annotations

from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Message, ToolCall
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import CascadeSettings, HistorySettings, LimitSettings, Phrases
from esl_agent.dialogue.summary import MAX_CHARACTERS, REST, SECONDS
from esl_agent.dialogue.tool_settings import BUILTINS, ToolsSettings
from esl_agent.dialogue.transcript import NOTES
from tests.pure.world import QUIET, VOICED, World

SHORT = HistorySettings(summarise_after=60, keep=4, prompt="Note it in {language}.")


def called(**changes) -> World:
    changes = {"history": SHORT, "prompt": "Be kind.", "phrases": Phrases(greeting="Hello.")} | changes
    it = World(CascadeSettings(**changes))
    it.answer()
    it.hear_all()
    return it


def says(it: World, text: str) -> None:
    """Slowly: after many pauses more of them are waited for."""
    it.frames(VOICED, 0.6)
    it.frames(QUIET, 2.0)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, text))


def exchange(it: World, number: int) -> None:
    """The caller asks, and is answered."""
    says(it, f"This is question number {number}.")
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, f"And this is answer number {number}."))
    it.post(ev.ReplyEnded(turn))
    it.hear_all()


def long_call(**changes) -> World:
    """A call that has just become long."""
    it = called(**changes)
    for number in range(20):
        exchange(it, number)
        if it.all(act.Summarise):
            return it
    raise AssertionError("no summary is made")


def done(it: World, text: str = "Ann wants a horse.") -> list[act.Action]:
    return it.post(ev.Summarised(it.last(act.Summarise).number, text))


def test_a_long_call_is_summarised_but_for_its_newest_messages():
    it = long_call()
    assert it.phase is Phase.LISTENING
    system, text = it.last(act.Summarise).messages
    assert system == Message("system", "Note it in en.")
    assert text.role == "user"
    assert text.content.startswith("Agent: Hello.\nCaller: This is question number 0.\nAgent: And this is answer")
    count = len(it.all(act.AskModel))
    assert f"question number {count - 3}." in text.content
    assert f"question number {count - 2}." not in text.content
    assert done(it) == []
    exchange(it, 99)
    messages = it.last(act.AskModel).messages
    assert messages[0] == Message("system", f"Be kind.\n\n{NOTES}\nAnn wants a horse.")
    assert [m.role for m in messages[1:]] == ["user", "assistant", "user", "assistant", "user"]
    assert messages[1].content == f"This is question number {count - 2}."


def test_the_next_summary_is_made_of_the_last_one_and_what_came_since():
    it = long_call()
    done(it)
    first = len(it.all(act.AskModel))
    for number in range(100, 120):
        exchange(it, number)
        if len(it.all(act.Summarise)) == 2:
            break
    text = it.last(act.Summarise).messages[1].content
    assert text.startswith("What you noted before:\nAnn wants a horse.\n\nWhat was said since:\nCaller: ")
    assert f"question number {first - 3}." not in text
    done(it, "Ann wants two horses.")
    assert it.dialogue.transcript.summary == "Ann wants two horses."


def test_no_summary_is_made_unless_it_is_switched_on():
    it = called(history=HistorySettings(), limits=LimitSettings(history=4))
    for number in range(10):
        exchange(it, number)
    assert not it.all(act.Summarise)


def test_what_would_be_cut_is_summarised_before():
    it = called(history=HistorySettings(summarise_after=100_000, keep=4), limits=LimitSettings(history=10))
    for number in range(6):
        exchange(it, number)
    assert "question number 0" in it.last(act.Summarise).messages[1].content


def test_a_model_that_is_wanted_for_an_answer_is_freed_first():
    it = long_call()
    summary = it.last(act.Summarise).number
    says(it, "And now?")
    orders = [a for _, a in it.log if isinstance(a, act.AbandonSummary | act.AskModel)][-2:]
    assert orders[0] == act.AbandonSummary(summary)
    assert isinstance(orders[1], act.AskModel)
    it.post(ev.Summarised(summary, "Too late."))
    assert it.dialogue.transcript.summary == ""


def test_a_summary_that_came_to_nothing_is_tried_again_some_turns_later():
    it = long_call()
    assert done(it, " \n") == []
    before = it.dialogue.transcript.messages()
    for number in range(REST):
        assert len(it.all(act.Summarise)) == 1
        exchange(it, number)
    assert len(it.all(act.Summarise)) == 2
    assert it.dialogue.transcript.messages()[: len(before)] == before


def test_a_summary_that_is_never_made_is_given_up():
    it = long_call()
    began = it.now
    while it.now < began + SECONDS:
        it.frames(QUIET, 0.5)
        if it.phase is Phase.OVER:
            break
    assert it.all(act.AbandonSummary)
    assert done(it) == []
    assert it.dialogue.transcript.summary == ""


def test_a_summary_is_given_up_when_the_call_ends():
    for end in (ev.HungUp("NORMAL_CLEARING"), ev.EndRequested("drain")):
        it = long_call()
        it.post(end)
        assert len(it.all(act.AbandonSummary)) == 1


def test_a_summary_is_cut_to_its_limit_and_to_one_line():
    it = long_call()
    done(it, "\nNew\n\nlines " + "x" * 2 * MAX_CHARACTERS)
    assert it.dialogue.transcript.summary.startswith("New lines x")
    assert len(it.dialogue.transcript.summary) == MAX_CHARACTERS


def test_a_summary_that_is_made_while_the_caller_speaks_leaves_their_words_alone():
    it = long_call()
    it.frames(VOICED, 0.6)
    assert done(it) == []
    it.frames(QUIET, 2.0)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "A third one."))
    messages = it.last(act.AskModel).messages
    assert NOTES in messages[0].content
    assert messages[-1].content == "A third one."


def test_a_tool_and_its_answer_are_summarised_together():
    it = called(tools=ToolsSettings(builtin=BUILTINS))
    says(it, "My name is Ann.")
    turn = it.last(act.AskModel).turn
    it.post(ev.ToolCalled(turn, ToolCall("1", "set_variable", {"name": "name", "value": "Ann"})))
    it.post(ev.ReplyEnded(turn))
    it.post(ev.ReplyText(turn, "Thank you, Ann."))
    it.post(ev.ReplyEnded(turn))
    it.hear_all()
    for number in range(10):
        exchange(it, number)
        if it.all(act.Summarise):
            break
    text = it.last(act.Summarise).messages[1].content
    assert "Caller: My name is Ann.\nTool: set_variable {'name': 'name', 'value': 'Ann'}\nResult: done\nAgent:" in text
    done(it)
    assert all(m.role != "tool" for m in it.dialogue.transcript.messages())
