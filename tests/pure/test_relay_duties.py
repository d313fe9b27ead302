"""What a speech-to-speech agent does beside talking, and what happens when it fails, one situation at a time."""

from __future__ import annotations

import pytest

from esl_agent.audio.pcm import SoundStream
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import ToolCall
from esl_agent.dialogue.destinations import DestinationSettings
from esl_agent.dialogue.digits import DtmfSettings
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.relay_agent import MAX_ITEMS
from esl_agent.dialogue.relay_deadlines import MAX_SPEECH
from esl_agent.dialogue.relay_settings import RelaySettings
from esl_agent.dialogue.settings import BargeInSettings, FillerSettings, LastResortSettings, LimitSettings
from esl_agent.dialogue.tool_settings import BUILTINS, HttpToolSettings, ToolsSettings
from esl_agent.dialogue.transcript import INTERRUPTED, UNHEARD
from tests.pure.relay_world import RelayWorld
from tests.pure.test_relay import greeted, replying, world
from tests.pure.world import RATE

PEOPLE = {
    "desk": DestinationSettings(number="1000", say="To the desk."),
    "sales": DestinationSettings(dial="user/1010", mode="warm", briefing="A call."),
}
TOOLS = ToolsSettings(
    builtin=BUILTINS, http={"order": HttpToolSettings("Looks it up.", "https://a.example/")}, max_per_turn=2
)
ORDER = ToolCall("t1", "order", {})


def working(*words: str, call: ToolCall = ORDER, **changes) -> RelayWorld:
    """A call in which the agent has said ``words`` and called a tool."""
    it = greeted(tools=TOOLS, destinations=PEOPLE, **changes)
    it.caller_says("Please.")
    it.respond(*words, calls=(call,))
    return it


# Tools


def test_a_tool_runs_while_the_words_before_it_are_heard_and_the_answer_follows_in_the_same_turn():
    it = working("I will look.")
    run = it.last(act.RunTool)
    assert it.phase is Phase.SPEAKING
    it.post(ev.ToolReturned(run.turn, "t1", "shipped"))
    assert it.last(act.ReturnTools) == act.ReturnTools(1, (("t1", "shipped"),))
    assert it.last(act.AskAgent) == act.AskAgent(1)
    it.respond("It is shipped.", name="r2")
    it.listen(5.0)
    assert it.last(act.Measured).agent == "I will look. It is shipped."
    assert it.phase is Phase.LISTENING


def test_a_tool_that_does_not_come_back_is_answered_for_in_time():
    it = working("I will look.")
    it.listen(31.0)
    assert it.last(act.ReturnTools).results == (("t1", "failed: no answer in time"),)
    assert it.last(act.AskAgent) == act.AskAgent(1)


def test_a_caller_who_speaks_while_a_tool_runs_is_answered_with_its_result_known():
    it = working("I will look.")
    asked = len(it.all(act.AskAgent))
    it.post(ev.CallerSpeaks(1, "c2"))
    it.report()
    it.post(ev.ToolReturned(it.last(act.RunTool).turn, "t1", "shipped"))
    assert it.last(act.ReturnTools).results == (("t1", "shipped"),)
    it.post(ev.CallerPaused(1, "c2"))
    assert len(it.all(act.AskAgent)) == asked
    it.respond("It is shipped.", name="r2")
    assert it.phase is Phase.SPEAKING


def test_the_tools_of_a_response_that_the_caller_interrupted_are_not_run():
    it = greeted(tools=TOOLS)
    it.caller_says("Please.")
    it.post(ev.AgentResponding(1, "r1"))
    it.say("r1", "i", "I will look.")
    it.post(ev.CallerSpeaks(1, "c2"))
    it.report()
    it.post(ev.AgentResponded(1, "r1", "completed", (ORDER,)))
    assert it.all(act.RunTool) == []
    assert it.last(act.ReturnTools).results == (("t1", INTERRUPTED),)


def test_an_agent_in_a_loop_of_tools_is_apologised_for():
    it = working("I will look.")
    for number in range(2, 12):
        for run in it.all(act.RunTool):
            it.post(ev.ToolReturned(run.turn, run.call.id, "again"))
        if any("technical problem" in each.text for each in it.all(act.Synthesise)):
            return
        it.respond(name=f"r{number}", calls=(ToolCall(f"t{number}", "order", {}),))
        it.listen(3.0)
    raise AssertionError("it goes on for ever")


def test_a_caller_is_handed_over_when_the_agents_and_the_operators_words_were_heard():
    it = working("I put you through.", call=ToolCall("t1", "transfer", {"to": "desk"}))
    assert "To the desk." in it.last(act.AskAgent).instructions
    it.respond("To the desk.", name="r2")
    it.listen(3.0)
    assert it.all(act.Transfer) == []
    it.listen(1.5)
    assert it.last(act.Transfer).name == "desk"
    frames = len(it.all(act.SendToAgent))
    it.frames(0.1)
    assert len(it.all(act.SendToAgent)) == frames
    it.post(ev.Transferred("desk"))
    assert it.phase is Phase.HANDED_OVER
    assert it.last(act.CloseAgent).session == 1


def test_an_agent_has_a_caller_back_whom_nobody_took():
    it = working("I put you through.", call=ToolCall("t1", "transfer", {"to": "sales", "summary": "Bob."}))
    it.listen(3.0)
    it.voice_all()
    assert it.last(act.Transfer).briefing is not None
    it.post(ev.TransferFailed("sales", "busy"))
    assert it.last(act.ReturnTools).results == (("t1", "failed: sales was not reached: the line is busy"),)
    assert it.last(act.AskAgent) == act.AskAgent(1)


def test_a_caller_who_interrupts_a_transfer_is_not_transferred():
    it = working("I put you through.", call=ToolCall("t1", "transfer", {"to": "sales"}))
    it.listen(1.0)
    it.post(ev.CallerSpeaks(1, "c2"))
    it.report()
    assert it.last(act.ReturnTools).results == (("t1", INTERRUPTED),)
    it.post(ev.CallerPaused(1, "c2"))
    it.respond("What else?", name="r2")
    it.listen(3.0)
    assert it.all(act.Transfer) == []


def test_a_caller_who_asked_for_a_moment_is_left_alone():
    it = working("Of course.", call=ToolCall("t1", "hold", {"seconds": 30}))
    asked = len(it.all(act.AskAgent))
    it.listen(3.0)
    assert it.phase is Phase.HOLDING
    assert it.last(act.ReturnTools).results == (("t1", "done"),)
    it.listen(25.0)
    assert len(it.all(act.AskAgent)) == asked
    it.listen(8.0)
    assert "still there" in it.last(act.AskAgent).instructions


# Keys


def test_keys_that_nobody_asked_for_are_told_to_the_agent_after_the_gap():
    it = greeted()
    it.post(ev.DigitPressed("4"))
    it.post(ev.DigitPressed("2"))
    assert it.all(act.TellAgent) == []
    it.listen(2.6)
    assert it.last(act.TellAgent) == act.TellAgent(1, "(pressed 4 2)")
    assert isinstance(it.log[-1][1], act.AskAgent)


@pytest.mark.parametrize("barge_in", [True, False])
def test_a_key_stops_the_agent_if_it_may(barge_in: bool):
    it = replying("One two three.", dtmf=DtmfSettings(barge_in=barge_in))
    it.post(ev.DigitPressed("4"))
    assert bool(it.all(act.StopPlayback)) is barge_in


def test_a_caller_who_speaks_instead_of_pressing_keys_is_answered():
    it = working("Press them.", call=ToolCall("t1", "collect_digits", {}))
    it.listen(3.0)
    it.post(ev.DigitPressed("4"))
    it.post(ev.CallerSpeaks(1, "c2"))
    assert it.last(act.ReturnTools).results == (("t1", "the caller pressed 4 and speaks instead"),)
    it.post(ev.CallerPaused(1, "c2"))
    it.respond("Say them, then.", name="r2")
    assert it.phase is Phase.SPEAKING


# Silence, and the end


def test_a_silent_caller_is_asked_and_then_said_goodbye_to():
    it = greeted()
    it.listen(8.0)
    assert "Are you still there?" in it.last(act.AskAgent).instructions
    it.respond("Are you still there?", name="r2")
    it.listen(2.0)
    it.listen(8.0)
    assert it.phase is Phase.CLOSING
    assert "Goodbye." in it.last(act.AskAgent).instructions
    assert [ask.is_last for ask in it.all(act.AskAgent)] == [False, False, True]
    it.respond("Goodbye.", name="r3")
    assert it.all(act.HangUp) == []
    it.listen(2.0)
    assert it.phase is Phase.OVER


def test_the_voice_says_the_last_words_if_the_agent_does_not_begin_to():
    it = greeted()
    it.post(ev.EndRequested("drain"))
    assert it.all(act.Synthesise) == []
    it.tick()
    assert it.last(act.CloseAgent).session == 1
    it.voice_all()
    it.voice_all()
    it.listen(10.0)
    assert it.last(act.HangUp).cause == "NORMAL_CLEARING"


def test_a_response_under_way_has_ended_before_the_last_words_are_asked_for():
    it = greeted()
    it.caller_says("Tell me.")
    it.post(ev.AgentResponding(1, "r1"))
    it.say("r1", "i", "Well.")
    asked = len(it.all(act.AskAgent))
    it.post(ev.EndRequested("drain"))
    it.report()
    assert len(it.all(act.AskAgent)) == asked
    it.post(ev.AgentResponded(1, "r1", "cancelled"))
    assert len(it.all(act.AskAgent)) == asked + 1


def test_last_words_are_not_interrupted():
    it = greeted()
    it.post(ev.EndRequested("drain"))
    it.respond("Goodbye.", name="r2")
    it.post(ev.CallerSpeaks(1, "c2"))
    assert it.all(act.StopPlayback) == []
    it.listen(2.0)
    assert it.phase is Phase.OVER


def test_last_words_beyond_the_budget_are_the_voices():
    it = greeted()
    it.post(ev.BudgetSpent("call"))
    assert it.last(act.CloseAgent).session == 1
    assert "time is up" in it.last(act.Synthesise).text


# The caller's words


def test_words_stand_where_their_speech_began_however_late_they_come():
    it = greeted()
    it.post(ev.CallerSpeaks(1, "c1"))
    it.post(ev.CallerPaused(1, "c1"))
    it.respond("Nine to five.")
    it.listen(3.0)
    it.post(ev.CallerSpeaks(1, "c2"))
    it.post(ev.CallerPaused(1, "c2"))
    it.post(ev.CallerSaid(1, "c2", "Thanks."))
    it.post(ev.CallerSaid(1, "c1", "Your hours?"))
    assert [m.content for m in it.dialogue.transcript.messages()] == [
        "Hello.",
        "Your hours?",
        "Nine to five.",
        "Thanks.",
    ]


def test_a_caller_may_not_interrupt_where_the_did_says_so():
    it = replying("One two three.", barge_in=BargeInSettings(enabled=False))
    assert not it.last(act.ConnectAgent).interruptible
    it.post(ev.CallerSpeaks(1, "c2"))
    assert it.all(act.StopPlayback) == []
    it.post(ev.CallerPaused(1, "c2"))
    it.respond("Four.", name="r2")
    it.listen(4.5)
    assert it.last(act.Measured).agent == "One two three. Four."


def test_a_caller_who_speaks_before_a_greeting_that_is_always_said_hears_it_and_is_answered():
    it = world(barge_in=BargeInSettings(greeting=False))
    it.answer()
    it.connect()
    assert [ask.interruptible for ask in it.all(act.AskAgent)] == [False]
    it.post(ev.CallerSpeaks(1, "c1"))
    it.post(ev.AgentResponding(1, "r1"))
    it.say("r1", "r1-0", "Hello.")
    it.post(ev.AgentSpoke(1, "r1", "r1-0"))
    assert it.all(act.CancelReply) == []
    assert len(it.all(act.Play)) == 1
    it.post(ev.CallerPaused(1, "c1"))
    it.post(ev.AgentResponded(1, "r1"))
    assert it.last(act.AskAgent) == act.AskAgent(1)
    it.respond("Yes?", name="r2")
    it.listen(5.0)
    assert it.phase is Phase.LISTENING
    assert [each.kind for each in it.all(act.Measured)] == ["greeting"]
    assert [each.agent for each in it.all(act.Measured)] == ["Hello. Yes?"]


def test_a_caller_who_says_something_short_before_such_a_greeting_begins_is_answered_behind_it():
    it = world(barge_in=BargeInSettings(uninterruptible=("greeting",)))
    it.answer()
    it.connect()
    it.caller_says("Hello?")
    assert len(it.all(act.AskAgent)) == 1
    it.respond("Hello.", name="r1")
    assert len(it.all(act.AskAgent)) == 2
    assert it.last(act.AskAgent) == act.AskAgent(1)


def test_a_greeting_that_is_always_said_and_failed_while_the_caller_spoke_is_said_behind_the_answer():
    """As of a service that is asked too much at once. Such a greeting may be what the law wants said."""
    it = world(barge_in=BargeInSettings(greeting=False))
    it.answer()
    it.connect()
    it.post(ev.CallerSpeaks(1, "c1"))
    it.post(ev.AgentResponding(1, "r1"))
    it.post(ev.AgentResponded(1, "r1", "failed", error="rate_limit_exceeded"))
    it.post(ev.CallerPaused(1, "c1"))
    it.respond("Yes?", name="r2")
    asked = it.all(act.AskAgent)
    assert [each.interruptible for each in asked] == [False, False]
    assert asked[0].instructions == asked[1].instructions


def test_a_greeting_that_may_be_interrupted_is_not_said_over_who_speaks_first():
    it = world()
    it.answer()
    it.connect()
    assert [ask.interruptible for ask in it.all(act.AskAgent)] == [True]
    it.post(ev.CallerSpeaks(1, "c1"))
    it.post(ev.AgentResponding(1, "r1"))
    assert it.last(act.CancelReply) == act.CancelReply(1, "r1")


def test_the_speech_that_another_session_heard_interrupts_nobody():
    it = replying("One two three.")
    it.post(ev.CallerSpeaks(7, "c9"))
    assert it.all(act.StopPlayback) == []


def test_a_report_that_comes_twice_counts_once():
    it = replying("One two three four.")
    it.listen(1.0)
    it.post(ev.CallerSpeaks(1, "c2"))
    play = it.last(act.Play)
    it.report()
    it.post(ev.Played(play.turn, play.clip, 2.0))
    assert it.all(act.TruncateReply) == [act.TruncateReply(1, "r1-0", 1.0)]
    assert it.dialogue.transcript.agent_text(play.turn) == "One two"


def test_where_the_leg_streams_an_item_is_one_clip_that_is_cut_where_it_was_heard():
    it = RelayWorld(streams=True)
    it.answer()
    it.connect()
    it.post(ev.AgentResponding(1, "r1"))
    stream = SoundStream(RATE)
    stream.append(bytes(RATE * 2))
    it.post(ev.AgentText(1, "r1", "i", "One two three four."))
    it.post(ev.AgentSpeaks(1, "r1", "i", stream))
    stream.append(bytes(RATE * 6))
    stream.end()
    it.post(ev.AgentSpoke(1, "r1", "i"))
    it.post(ev.AgentResponded(1, "r1"))
    it.listen(2.0)
    it.post(ev.CallerSpeaks(1, "c1"))
    it.report()
    assert len(it.all(act.Play)) == 1
    assert it.last(act.TruncateReply) == act.TruncateReply(1, "i", 2.0)
    assert it.last(act.Measured).agent == "One two"


# It fails


def test_an_agent_that_does_not_answer_is_asked_again_then_apologised_for_then_given_up():
    it = greeted(filler=FillerSettings(after=0.0))
    it.caller_says("Hello?")
    asked = len(it.all(act.AskAgent))
    it.tick()
    assert it.now == pytest.approx(it.dialogue._asked_at)
    assert len(it.all(act.AskAgent)) == asked + 1
    it.tick()
    assert "technical problem" in it.last(act.Synthesise).text
    it.voice_all()
    it.voice_all()
    it.listen(2.1)
    assert len(it.all(act.AskAgent)) == asked + 2
    it.tick()
    assert it.phase is Phase.CLOSING


def test_a_response_that_fails_is_asked_for_again():
    it = greeted()
    it.caller_says("Hello?")
    it.post(ev.AgentResponding(1, "r1"))
    it.post(ev.AgentResponded(1, "r1", "failed", error="overloaded"))
    assert it.last(act.AskAgent) == act.AskAgent(1)
    it.respond("Hello.", name="r2")
    it.listen(3.0)
    assert it.phase is Phase.LISTENING


def test_a_setup_that_is_wrong_is_not_tried_twice():
    it = world()
    it.answer()
    it.post(ev.AgentClosed(1, "no such key"))
    assert len(it.all(act.ConnectAgent)) == 1
    assert it.phase is Phase.CLOSING


def test_the_last_resort_gets_a_call_whose_agent_cannot_be_reached():
    it = world(destinations=PEOPLE, last_resort=LastResortSettings(transfer="desk", say="One moment."))
    it.answer()
    it.post(ev.AgentClosed(1, "no such key"))
    it.voice_all()
    it.listen(1.5)
    assert it.last(act.Transfer).name == "desk"


def test_a_connection_that_breaks_in_an_answer_lets_what_came_be_heard_and_the_next_one_goes_on():
    it = greeted()
    it.caller_says("Tell me.")
    it.post(ev.AgentResponding(1, "r1"))
    it.say("r1", "i", "One two.")
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    assert it.all(act.StopPlayback) == []
    assert it.last(act.ConnectAgent).history[-1].content == "One two."
    it.connect()
    assert it.last(act.TellAgent) == act.TellAgent(2, UNHEARD)
    assert it.last(act.AskAgent) == act.AskAgent(2)
    it.respond("Three four.", name="r2")
    it.listen(5.0)
    assert it.last(act.Measured).agent == "One two. Three four."


def test_an_agent_that_took_over_is_told_of_words_that_were_interrupted_after_all():
    it = replying("One two three four.")
    it.listen(1.0)
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    it.connect()
    it.post(ev.CallerSpeaks(2, "c2"))
    it.report()
    assert it.all(act.TruncateReply) == []
    assert it.last(act.TellAgent).text.endswith("no more than: One two)")


def test_a_connection_that_breaks_too_often_ends_the_call_in_words():
    it = greeted()
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    it.connect()
    it.post(ev.AgentClosed(2, "gone", retryable=True))
    assert it.phase is Phase.CLOSING
    assert it.all(act.ConnectAgent)[-1].session == 2


def test_what_the_caller_says_while_nobody_is_connected_is_not_lost():
    it = greeted()
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    it.frames(0.1)
    it.connect()
    assert [each.session for each in it.all(act.SendToAgent)] == [2] * 5


def test_an_agent_that_says_things_without_end_fills_no_memory():
    it = greeted()
    it.caller_says("Hello?")
    it.post(ev.AgentResponding(1, "r1"))
    for number in range(1000):
        it.post(ev.AgentText(1, "r1", f"i{number}", "Word."))
    assert len(it.dialogue._items) == MAX_ITEMS
    it.post(ev.CallerSpeaks(1, "c2"))
    for number in range(1000):
        it.post(ev.AgentText(1, "r1", f"j{number}", "Word."))
    it.post(ev.AgentResponded(1, "r1", "cancelled"))
    assert len(it.all(act.ForgetReply)) == MAX_ITEMS


# Before it is too old


def test_another_session_takes_over_at_a_pause_before_the_first_is_too_old():
    it = greeted(RelaySettings(session=30.0), limits=LimitSettings(call=600.0))
    it.now += 31.0
    it.post(ev.CallerSpeaks(1, "c1"))
    it.post(ev.CallerPaused(1, "c1"))
    assert len(it.all(act.ConnectAgent)) == 1
    it.respond("Well.")
    it.listen(2.5)
    assert it.session == 2
    it.frames(0.1)
    assert it.last(act.SendToAgent).session == 1
    it.connect()
    assert it.last(act.CloseAgent).session == 1
    it.frames(0.1)
    assert it.last(act.SendToAgent).session == 2


def test_a_session_that_was_to_take_over_while_the_caller_begins_to_speak_does_not():
    it = greeted(RelaySettings(session=30.0))
    it.now += 31.0
    it.caller_says("Hello?")
    it.respond("Well.")
    it.listen(2.5)
    assert it.session == 2
    it.post(ev.CallerSpeaks(1, "c2"))
    it.connect()
    assert it.last(act.CloseAgent).session == 2
    it.post(ev.CallerPaused(1, "c2"))
    it.post(ev.AgentResponding(1, "r2"))
    it.post(ev.AgentText(1, "r2", "i", "Yes?"))
    assert it.dialogue.turn_number == 3


def test_a_session_that_takes_over_does_not_wait_for_the_end_of_what_the_one_before_it_said():
    it = greeted(RelaySettings(session=30.0))
    it.caller_says("Hi.")
    it.post(ev.AgentResponding(1, "r1"))
    it.say("r1", "i", "A long story.", 60.0)
    it.listen(40.0)
    it.post(ev.DigitPressed("1"))
    it.report()
    it.connect()
    assert it.all(act.CloseAgent) == [act.CloseAgent(1)]
    it.tick()
    assert it.last(act.TellAgent) == act.TellAgent(2, "(pressed 1)")
    assert it.last(act.AskAgent) == act.AskAgent(2)


def test_a_session_that_is_as_old_as_it_may_be_is_replaced_and_that_is_no_fault():
    it = greeted(RelaySettings(reconnects=0))
    it.post(ev.AgentClosed(1, "session_expired", retryable=True, expired=True))
    it.connect()
    assert it.phase is Phase.LISTENING


# What crosses on the way


def test_a_response_that_took_too_long_runs_no_tools_any_more():
    it = greeted(tools=TOOLS)
    it.caller_says("Please.")
    it.post(ev.AgentResponding(1, "r1"))
    it.say("r1", "i", "I will look.", seconds=20.0)
    while not it.all(act.CancelReply):
        it.tick()
    assert it.phase is Phase.SPEAKING
    it.post(ev.AgentResponded(1, "r1", "completed", (ORDER,)))
    assert it.all(act.RunTool) == []
    assert it.last(act.ReturnTools).results == (("t1", INTERRUPTED),)


def test_a_goodbye_that_has_begun_in_time_is_heard_to_its_end():
    it = greeted()
    it.post(ev.EndRequested("drain"))
    it.respond("Goodbye, and thank you for calling.", name="r2", seconds=8.0)
    it.listen(7.5)
    assert it.all(act.Synthesise) == it.all(act.HangUp) == []
    it.listen(1.0)
    assert it.last(act.Measured).agent == "Goodbye, and thank you for calling."
    assert it.phase is Phase.OVER


def test_an_answer_that_begins_when_the_call_is_to_end_is_not_heard():
    it = greeted()
    it.post(ev.CallerSpeaks(1, "c1"))
    it.post(ev.CallerPaused(1, "c1"))
    it.post(ev.AgentResponding(1, "r1"))
    it.post(ev.EndRequested("drain"))
    it.post(ev.AgentResponding(1, "r2"))
    it.say("r2", "i", "One more thing.")
    assert [cancel.response for cancel in it.all(act.CancelReply)] == ["r1", "r2"]
    assert len(it.all(act.Play)) == 1


def test_a_goodbye_without_end_is_cut_short():
    it = greeted()
    it.post(ev.EndRequested("drain"))
    begun = it.now
    it.respond("Goodbye, and thank you for calling.", name="r2", seconds=60.0)
    while it.phase is not Phase.OVER:
        it.tick()
    assert it.now == pytest.approx(begun + LimitSettings().goodbye)


def test_speech_that_nobody_ends_is_taken_for_ended():
    it = greeted()
    it.post(ev.CallerSpeaks(1, "c1"))
    begun = it.now
    it.tick()
    assert it.now == pytest.approx(begun + MAX_SPEECH)
    assert it.phase is Phase.THINKING


def test_what_the_caller_said_to_nobody_is_told_once():
    it = greeted(RelaySettings(reconnects=2))
    for session in (1, 2):
        it.post(ev.AgentClosed(session, "gone", retryable=True))
        if session == 1:
            it.frames(0.1)
        it.connect()
    assert [each.session for each in it.all(act.SendToAgent)] == [2] * 5


def test_who_could_not_interrupt_is_answered_when_a_response_that_was_given_up_has_ended():
    it = greeted(barge_in=BargeInSettings(enabled=False), filler=FillerSettings(after=0.0))
    it.caller_says("Please.")
    it.post(ev.AgentResponding(1, "r1"))
    it.say("r1", "i", "One.", seconds=20.0)
    while not it.all(act.CancelReply):
        it.tick()
    it.post(ev.CallerSpeaks(1, "c2"))
    it.post(ev.CallerPaused(1, "c2"))
    asked = len(it.all(act.AskAgent))
    it.post(ev.AgentResponded(1, "r1", "cancelled"))
    assert len(it.all(act.AskAgent)) == asked + 1
