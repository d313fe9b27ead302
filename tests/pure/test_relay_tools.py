"""Tools of a speech-to-speech agent that cross with the caller, with keys and with one another."""

from __future__ import annotations

from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import ToolCall
from esl_agent.dialogue.tool_turns import ONE_AT_A_TIME
from esl_agent.dialogue.transcript import INTERRUPTED
from tests.pure.test_relay import greeted
from tests.pure.test_relay_duties import PEOPLE, TOOLS, working

KEYS = ToolCall("t1", "collect_digits", {"prompt": "Press it now.", "max_digits": 2})
TRANSFER = ToolCall("t1", "transfer", {"to": "sales"})


def test_a_tool_that_returns_when_the_service_is_about_to_answer_is_not_answered_twice():
    it = working("I will look.")
    it.caller_says("Hurry up.", "c2")
    count = len(it.all(act.AskAgent))
    it.post(ev.ToolReturned(it.last(act.RunTool).turn, "t1", "shipped"))
    it.respond("It is shipped.", name="r2")
    it.listen(3.0)
    assert len(it.all(act.AskAgent)) == count


def test_keys_over_the_words_that_ask_for_them_are_their_answer():
    it = working("Press your number.", call=KEYS)
    it.listen(0.5)
    it.post(ev.DigitPressed("1"))
    it.report()
    it.post(ev.DigitPressed("2"))
    [returned] = it.all(act.ReturnTools)
    assert dict(returned.results)["t1"].endswith("pressed 1 2")


def test_the_prompt_for_keys_is_said_where_the_agent_has_not_asked():
    for words in ((), ("Press your number.",)):
        it = greeted(tools=TOOLS, destinations=PEOPLE)
        it.caller_says("Please.")
        it.respond(*words, calls=(KEYS,))
        assert any("Press it now." in each.instructions for each in it.all(act.AskAgent)) is (not words)


def test_a_key_over_the_words_before_a_transfer_is_told_to_the_agent_and_it_is_asked_once():
    it = working("I put you through.", call=TRANSFER)
    it.listen(0.5)
    count = len(it.all(act.AskAgent))
    it.post(ev.DigitPressed("1"))
    it.report()
    assert dict(it.last(act.ReturnTools).results) == {"t1": INTERRUPTED}
    assert len(it.all(act.AskAgent)) == count
    it.tick()
    assert it.last(act.TellAgent).text == "(pressed 1)"
    assert len(it.all(act.AskAgent)) == count + 1
    assert it.all(act.Transfer) == []


def test_a_second_end_of_the_call_behind_the_first_is_not_done():
    it = working("I put you through.", call=ToolCall("t1", "transfer", {"to": "desk"}))
    it.respond("To the desk.", name="r2", calls=(ToolCall("t2", "hang_up", {}),))
    assert dict(it.last(act.ReturnTools).results)["t2"].endswith(ONE_AT_A_TIME)
    it.respond(name="r3")
    it.listen(5.0)
    assert it.last(act.Transfer).name == "desk"
    assert it.all(act.HangUp) == []


def test_a_caller_who_speaks_over_the_words_before_the_hang_up_is_not_hung_up_on():
    it = working("Goodbye.", call=ToolCall("t1", "hang_up", {}))
    it.listen(1.0)
    it.post(ev.CallerSpeaks(1, "c2"))
    it.report()
    assert dict(it.last(act.ReturnTools).results) == {"t1": INTERRUPTED}
    it.now += 1.0
    it.post(ev.CallerPaused(1, "c2"))
    it.respond("Yes?", name="r2")
    it.listen(3.0)
    assert it.all(act.HangUp) == []


def test_a_transfer_that_is_asked_for_while_the_caller_speaks_is_not_done():
    it = greeted(tools=TOOLS, destinations=PEOPLE)
    it.caller_says("Please.")
    it.post(ev.AgentResponding(1, "r1"))
    it.post(ev.CallerSpeaks(1, "c2"))
    it.post(ev.AgentResponded(1, "r1", "completed", (TRANSFER,)))
    assert dict(it.last(act.ReturnTools).results) == {"t1": INTERRUPTED}
    it.listen(5.0)
    assert it.all(act.Transfer) == []


def test_what_a_tool_of_another_turn_returned_is_not_this_ones():
    it = working("I will look.")
    first = it.last(act.RunTool).turn
    it.post(ev.CallerSpeaks(1, "c2"))
    it.report()
    it.post(ev.CallerPaused(1, "c2"))
    it.post(ev.ToolReturned(first, "t1", "one"))
    it.respond("I look again.", name="r2", calls=(ToolCall("t1", "order", {}),))
    count = len(it.all(act.ReturnTools))
    it.post(ev.ToolReturned(first, "t1", "late"))
    assert len(it.all(act.ReturnTools)) == count
    it.post(ev.ToolReturned(it.last(act.RunTool).turn, "t1", "two"))
    assert it.last(act.ReturnTools).results == (("t1", "two"),)
