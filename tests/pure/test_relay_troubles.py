"""What a caller of a speech-to-speech agent would suffer from: silence, a word said twice, a word cut off, and tools
done twice or never; one situation at a time."""

from __future__ import annotations

import pytest

from esl_agent.audio.pcm import SoundStream
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Message, ToolCall
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.relay_settings import RelaySettings
from esl_agent.dialogue.relay_state import MAX_TEXT, Item
from esl_agent.dialogue.settings import BargeInSettings, CascadeSettings, FillerSettings, LimitSettings, Phrases
from esl_agent.dialogue.tool_settings import BUILTINS, HttpToolSettings, ToolsSettings
from esl_agent.dialogue.tool_turns import ONE_AT_A_TIME
from tests.pure.relay_world import RelayWorld
from tests.pure.test_relay import greeted, replying, world
from tests.pure.test_relay_duties import ORDER, PEOPLE, TOOLS, working
from tests.pure.test_relay_waiting import FILLER, voice
from tests.pure.world import RATE, sound

QUIET = FillerSettings(after=0.0)
LONG = "This is the answering service of the bakery at the harbour which is open from six to six"


def in_its_first_word() -> RelayWorld:
    """The agent has begun to greet."""
    it = world()
    it.answer()
    it.connect()
    it.post(ev.AgentResponding(1, "r1"))
    it.say("r1", "i", "Hel")
    return it


def answering(**changes) -> RelayWorld:
    """The agent has said a second of an answer, and is to say more."""
    it = greeted(**changes)
    it.caller_says("Tell me.")
    it.post(ev.AgentResponding(1, "r1"))
    it.say("r1", "i", "One two.", 1.0)
    return it


def asked(it: RelayWorld) -> list[str]:
    return [each.instructions for each in it.all(act.AskAgent)]


def spoken(it: RelayWorld) -> list[str]:
    """What the DID's own voice was asked for."""
    return [each.text for each in it.all(act.Synthesise)]


# Silence


def test_a_caller_whose_answer_stops_is_apologised_to_without_waiting_for_its_end():
    it = answering(filler=QUIET, limits=LimitSettings(retries=0))
    it.listen(1.0)
    it.tick()
    assert it.last(act.CancelReply).response == "r1"
    assert "technical problem" in it.last(act.Synthesise).text


def test_after_an_apology_the_agent_is_asked_when_that_was_heard():
    it = greeted(filler=QUIET, limits=LimitSettings(retries=0))
    it.caller_says("Hello?")
    it.tick()
    count = len(asked(it))
    it.voice_all()
    assert len(asked(it)) == count
    it.voice_all()
    it.listen(2.5)
    assert len(asked(it)) == count + 1


def test_a_long_answer_in_many_parts_is_not_given_up():
    it = answering(limits=LimitSettings(call=600.0))
    for part in range(1, 8):
        it.listen(5.0)
        it.post(ev.AgentSpeaks(1, "r1", "i", sound(1.0), part, float(part)))
    assert it.all(act.CancelReply) == []


def test_an_answer_that_is_thought_about_in_words_is_not_given_up():
    it = greeted(filler=QUIET)
    it.caller_says("Tell me.")
    it.post(ev.AgentResponding(1, "r1"))
    for _ in range(4):
        it.listen(5.0)
        it.post(ev.AgentText(1, "r1", "i", " More."))
    assert it.all(act.CancelReply) == []


@pytest.mark.parametrize("grows", [True, False])
def test_a_stream_that_grows_is_an_answer_under_way_and_one_that_does_not_is_none(grows: bool):
    it = RelayWorld(streams=True)
    it.answer()
    it.connect()
    stream = SoundStream(RATE)
    stream.append(bytes(2 * RATE))
    it.post(ev.AgentResponding(1, "r1"))
    it.post(ev.AgentSpeaks(1, "r1", "i", stream))
    for _ in range(5):
        if grows:
            stream.append(bytes(2 * RATE))
        it.listen(5.0)
    assert bool(it.all(act.CancelReply)) is not grows


def test_a_response_that_says_nothing_is_asked_for_again():
    it = greeted()
    it.caller_says("Hello?")
    count = len(asked(it))
    it.respond(name="r1")
    assert len(asked(it)) == count + 1


def test_an_answer_that_fails_in_the_middle_goes_on_and_does_not_begin_again():
    it = in_its_first_word()
    it.post(ev.AgentResponded(1, "r1", "failed", error="server_error"))
    assert len(asked(it)) == 2
    assert asked(it)[1] == ""


def test_a_service_that_never_ends_what_was_cancelled_is_connected_anew():
    it = answering()
    it.post(ev.CallerSpeaks(1, "c2"))
    it.report()
    it.now += 1.0
    it.post(ev.CallerPaused(1, "c2"))
    while it.session == 1:
        it.tick()
    assert it.all(act.CloseAgent) == [act.CloseAgent(1)]
    assert it.session == 2
    it.connect()
    assert it.last(act.AskAgent) == act.AskAgent(2)


def test_nobody_apologises_over_a_caller_who_speaks():
    it = greeted(barge_in=BargeInSettings(enabled=False), filler=QUIET, limits=LimitSettings(retries=0))
    it.caller_says("Hello?")
    it.post(ev.AgentResponding(1, "r1"))
    it.post(ev.CallerSpeaks(1, "c2"))
    it.post(ev.AgentResponded(1, "r1", "failed", error="server_error"))
    assert spoken(it) == []


def test_a_caller_is_told_to_wait_while_the_agent_is_connected_again():
    it = greeted()
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    it.tick()
    assert spoken(it) == [FILLER]


def test_the_agent_was_heard_so_whoever_waits_again_is_told_so_soon():
    it = working("I will look.")
    it.listen(2.0)
    for _ in range(3):
        it.tick()
        voice(it)
        it.listen(1.0)
    it.post(ev.ToolReturned(it.last(act.RunTool).turn, "t1", "shipped"))
    it.respond("Now the other one.", name="r2", calls=(ToolCall("t2", "order", {}),))
    it.listen(2.0)
    heard = it.now
    it.tick()
    assert it.now == pytest.approx(heard + 1.5)
    assert spoken(it) == [FILLER] * 4


def test_a_caller_whose_answer_has_begun_and_has_no_sound_is_told_to_wait():
    it = greeted()
    it.caller_says("Hello?")
    it.post(ev.AgentResponding(1, "r1"))
    it.listen(2.0)
    assert spoken(it) == [FILLER]


def test_who_is_being_listened_to_is_not_told_to_wait():
    it = answering(barge_in=BargeInSettings(enabled=False))
    it.listen(1.0)
    it.post(ev.CallerSpeaks(1, "c2"))
    it.listen(5.0)
    assert spoken(it) == []


# Twice


def test_a_greeting_that_was_half_heard_when_the_connection_broke_is_not_said_again():
    it = in_its_first_word()
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    it.connect()
    assert asked(it)[-1] == ""


def test_a_greeting_of_which_nothing_came_before_the_connection_broke_is_said():
    it = world()
    it.answer()
    it.connect()
    it.post(ev.AgentResponding(1, "r1"))
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    it.connect()
    assert asked(it)[-1].endswith("Hello.")


def test_only_the_first_agent_of_a_call_is_told_that_the_caller_is_being_greeted():
    it = world(RelaySettings(greeting="voice"))
    it.answer()
    it.voice_all()
    it.listen(2.0)
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    assert it.last(act.ConnectAgent).instructions == "Be kind."
    assert it.last(act.ConnectAgent).history == (Message("assistant", "Hello."),)


def test_a_response_that_is_told_to_begin_again_when_it_is_over_is_none():
    it = greeted()
    it.caller_says("Hello?")
    it.post(ev.AgentResponding(1, "r1"))
    it.post(ev.AgentResponding(1, "r2"))
    it.say("r2", "i", "Yes?")
    it.post(ev.AgentResponding(1, "r1"))
    it.say("r1", "j", "What?")
    assert len(it.all(act.Play)) == 2  # the greeting, and r2


def test_a_part_that_comes_twice_is_heard_once():
    it = answering()
    plays = len(it.all(act.Play))
    it.post(ev.AgentSpeaks(1, "r1", "i", sound(1.0), 0, 0.0))
    assert len(it.all(act.Play)) == plays


def test_a_goodbye_that_was_heard_in_part_is_not_said_again_by_the_voice():
    it = greeted()
    it.post(ev.EndRequested("drain"))
    it.post(ev.AgentResponding(1, "r2"))
    it.say("r2", "i", "Goodbye")
    it.post(ev.AgentResponded(1, "r2", "failed", error="server_error"))
    it.listen(2.5)
    assert spoken(it) == []
    assert it.phase is Phase.OVER


# Cut off


@pytest.mark.parametrize("when", ["while it is heard", "before anything came"])
def test_a_connection_that_breaks_in_the_goodbye_does_not_cut_it(when: str):
    it = greeted()
    it.post(ev.EndRequested("drain"))
    it.post(ev.AgentResponding(1, "r2"))
    if when == "while it is heard":
        it.say("r2", "i", "Goodbye.")
    it.listen(1.0)
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    assert it.all(act.StopPlayback) == []
    assert bool(spoken(it)) is (when == "before anything came")
    assert len(it.all(act.ConnectAgent)) == 1
    for _ in range(4):
        it.voice_all()
        it.listen(1.1)
    assert it.phase is Phase.OVER


def test_a_frame_that_was_not_heard_of_an_answer_is_no_interruption_of_it():
    it = replying("One two.")
    it.listen(1.99)
    it.post(ev.CallerSpeaks(1, "c2"))
    it.report()
    assert it.all(act.TruncateReply) == []
    assert it.last(act.Measured).agent == "One two."


def test_what_is_still_being_said_is_truncated_where_the_caller_took_the_floor():
    it = answering()
    it.listen(1.0)
    it.post(ev.CallerSpeaks(1, "c2"))
    assert it.all(act.TruncateReply) == [act.TruncateReply(1, "i", 1.0)]


def test_more_than_there_is_was_never_heard():
    it = answering()
    play = it.last(act.Play)
    it.post(ev.Played(play.turn, play.clip, 99.0))
    it.post(ev.CallerSpeaks(1, "c2"))
    assert it.all(act.TruncateReply) == [act.TruncateReply(1, "i", 1.0)]


def test_an_item_has_so_many_words_and_no_more():
    item = Item(1, "r", "i", 1, 0)
    for _ in range(3):
        item.say("x" * (MAX_TEXT - 1))
    assert len(item.text) == MAX_TEXT


def test_words_whose_sound_came_too_late_were_not_heard():
    it = answering()
    it.post(ev.AgentText(1, "r1", "i", " Three four."))
    it.listen(0.9)
    it.post(ev.CallerSpeaks(1, "c2"))
    it.post(ev.AgentSpeaks(1, "r1", "i", sound(1.0), 1, 1.0))
    it.report()
    assert it.last(act.TruncateReply).heard == pytest.approx(0.9)
    assert it.last(act.Measured).agent == "One"


def test_what_was_heard_to_the_end_of_what_came_in_time_was_not_heard_to_its_end():
    it = answering()
    it.listen(0.99)
    it.post(ev.CallerSpeaks(1, "c2"))
    it.post(ev.AgentSpeaks(1, "r1", "i", sound(1.0), 1, 1.0))
    it.post(ev.AgentSpoke(1, "r1", "i"))
    it.report()
    assert [each.heard for each in it.all(act.TruncateReply)] == [pytest.approx(0.99)]


def test_a_greeting_that_the_voice_was_still_making_is_made_no_further():
    it = world(RelaySettings(greeting="voice"))
    it.answer()
    it.connect()
    it.post(ev.CallerSpeaks(1, "c1"))
    assert it.all(act.AbandonTurn) == [act.AbandonTurn(it.last(act.Synthesise).turn)]


def test_of_a_phrase_that_the_voice_was_still_making_what_was_heard_is_known():
    it = RelayWorld(CascadeSettings(phrases=Phrases(greeting=LONG)), RelaySettings(greeting="voice"), streams=True)
    it.answer()
    it.connect()
    stream = SoundStream(RATE)
    stream.append(bytes(2 * RATE))
    clause = it.last(act.Synthesise)
    it.post(ev.Synthesised(clause.turn, clause.clip, stream))
    it.listen(1.0)
    it.post(ev.CallerSpeaks(1, "c1"))
    it.report()
    [greeted] = it.dialogue.transcript.messages()
    assert LONG.startswith(greeted.content)
    assert len(greeted.content) < len(LONG) / 2


def test_who_hangs_up_over_the_agent_leaves_an_account_of_what_it_said():
    it = replying("One two three four.")
    it.listen(1.0)
    it.post(ev.CallerSpeaks(1, "c2"))
    it.post(ev.HungUp("NORMAL_CLEARING"))
    assert [each.interrupted for each in it.all(act.Measured)] == [False, True]


def test_a_service_that_stops_for_a_caller_has_not_failed():
    it = greeted(barge_in=BargeInSettings(enabled=False), limits=LimitSettings(failures=1))
    it.caller_says("Hello?")
    it.post(ev.AgentResponding(1, "r1"))
    it.post(ev.CallerSpeaks(1, "c2"))
    it.post(ev.AgentResponded(1, "r1", "cancelled"))
    assert it.phase is Phase.HEARING


# Somebody else has the call


def test_an_agent_that_speaks_up_while_the_call_is_handed_over_is_not_heard():
    it = working("I put you through.", call=ToolCall("t1", "transfer", {"to": "sales"}))
    it.listen(3.0)
    it.voice_all()
    assert it.phase is Phase.TRANSFERRING
    plays = len(it.all(act.Play))
    it.post(ev.AgentResponding(1, "r9"))
    it.say("r9", "i", "By the way.")
    assert it.last(act.CancelReply) == act.CancelReply(1, "r9")
    assert len(it.all(act.Play)) == plays


def test_what_a_caller_said_before_a_transfer_is_not_heard_by_an_agent_that_comes_back_during_it():
    it = working("I put you through.", call=ToolCall("t1", "transfer", {"to": "sales"}))
    it.listen(1.0)
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    it.frames(0.1)
    it.listen(2.0)
    assert it.phase is Phase.TRANSFERRING
    it.connect()
    assert it.all(act.SendToAgent) == []


# Tools


def test_a_tool_of_an_answer_that_was_cut_short_is_not_run():
    it = greeted(tools=TOOLS)
    it.caller_says("Please.")
    it.post(ev.AgentResponding(1, "r1"))
    it.say("r1", "i", "I will look.")
    it.post(ev.AgentResponded(1, "r1", "incomplete", (ORDER,)))
    assert it.all(act.RunTool) == []


def test_a_call_that_is_told_twice_is_run_once():
    it = greeted(tools=TOOLS)
    it.caller_says("Please.")
    it.respond("I will look.", calls=(ORDER, ORDER))
    assert len(it.all(act.RunTool)) == 1


def test_so_many_tools_as_there_may_be_are_run_and_no_more():
    it = greeted(tools=TOOLS)
    it.caller_says("Please.")
    it.respond("I will look.", calls=tuple(ToolCall(f"t{n}", "order", {}) for n in range(3)))
    assert [each.call.id for each in it.all(act.RunTool)] == ["t0", "t1"]


def test_of_two_transfers_at_once_one_is_done():
    it = greeted(tools=TOOLS, destinations=PEOPLE)
    it.caller_says("Please.")
    calls = (ToolCall("t1", "transfer", {"to": "sales"}), ToolCall("t2", "hang_up", {}))
    it.respond("I put you through.", calls=calls)
    it.listen(3.0)
    it.voice_all()
    assert it.last(act.Transfer).name == "sales"
    it.post(ev.TransferFailed("sales", "busy"))
    assert dict(it.last(act.ReturnTools).results)["t2"].endswith(ONE_AT_A_TIME)


SLOW = ToolsSettings(
    builtin=BUILTINS, http={"order": HttpToolSettings("Looks.", "https://a.example/", say_meanwhile="I look.")}
)


@pytest.mark.parametrize("words", [(), ("Let me see.",)])
def test_the_operators_words_are_said_where_the_agent_has_none(words: tuple[str, ...]):
    it = greeted(tools=SLOW)
    it.caller_says("Please.")
    it.respond(*words, calls=(ORDER,))
    assert any("I look." in each for each in asked(it)) is (not words)


def test_words_that_are_due_are_not_lost_when_the_tool_is_quick():
    it = greeted(tools=SLOW, destinations=PEOPLE)
    it.caller_says("Please.")
    transfer = ToolCall("t2", "transfer", {"to": "desk"})
    it.post(ev.AgentResponding(1, "r1"))
    it.post(ev.AgentResponded(1, "r1", calls=(ORDER, transfer)))
    assert "To the desk." in asked(it)[-1]


def test_what_a_tool_found_is_told_to_the_agent_that_took_over():
    it = working("I will look.")
    run = it.last(act.RunTool)
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    it.connect()
    it.post(ev.ToolReturned(run.turn, "t1", "shipped"))
    assert it.all(act.ReturnTools) == []
    assert it.last(act.TellAgent) == act.TellAgent(2, "(order: shipped)")
    assert it.last(act.AskAgent) == act.AskAgent(2)


# Connections


def test_an_agent_that_is_not_connected_in_time_is_let_go():
    it = world(filler=QUIET)
    it.answer()
    it.tick()
    assert it.all(act.CloseAgent) == [act.CloseAgent(1)]
    assert it.session == 2
    it.post(ev.AgentConnected(1))
    assert it.dialogue._sessions.serving is None


def test_an_hour_ends_a_session_and_not_a_call_whatever_the_service_says_of_trying_again():
    it = greeted()
    it.post(ev.AgentClosed(1, "session_expired", retryable=False, expired=True))
    assert it.session == 2
    it.connect()
    assert it.phase is Phase.LISTENING


def test_a_caller_who_spoke_when_the_connection_broke_is_answered():
    it = greeted()
    it.post(ev.CallerSpeaks(1, "c1"))
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    it.connect()
    assert it.last(act.AskAgent) == act.AskAgent(2)


def test_a_connection_that_broke_long_ago_does_not_count():
    it = greeted(RelaySettings(reconnect_window=30.0), limits=LimitSettings(call=600.0))
    for number in (1, 2, 3):
        it.post(ev.AgentClosed(number, "gone", retryable=True))
        assert it.session == number + 1
        it.connect()
        it.now += 31.0


def test_each_time_an_agent_is_lost_it_is_tried_as_often():
    it = greeted(RelaySettings(reconnects=5), filler=QUIET)
    for number in (1, 3, 5):
        it.post(ev.AgentClosed(number, "gone", retryable=True))
        it.post(ev.AgentClosed(number + 1, "not reached", retryable=True))
        it.connect()
        assert it.dialogue._sessions.serving == number + 2
