"""Turn taking with a speech-to-speech agent, one situation at a time."""

from __future__ import annotations

import dataclasses

from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Message, ToolCall
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.relay_settings import RelaySettings
from esl_agent.dialogue.settings import CascadeSettings, FillerSettings, Phrases
from tests.pure.relay_world import RelayWorld

GREETED = Phrases(greeting="Hello.")


def world(relay: RelaySettings | None = None, **changes) -> RelayWorld:
    return RelayWorld(dataclasses.replace(CascadeSettings(prompt="Be kind.", phrases=GREETED), **changes), relay)


def greeted(relay: RelaySettings | None = None, **changes) -> RelayWorld:
    """A call whose greeting was heard."""
    it = world(relay, **changes)
    it.answer()
    it.connect()
    it.respond("Hello.", name="greeting")
    it.listen(3.0)
    assert it.phase is Phase.LISTENING
    return it


def replying(*words: str, **changes) -> RelayWorld:
    """A call in which the agent has answered with ``words`` and nothing of it was heard yet."""
    it = greeted(**changes)
    it.caller_says("What are your hours?")
    it.respond(*words)
    return it


def test_no_agent_is_connected_before_the_call_is_answered():
    it = world()
    it.post(ev.MediaStarted(8000))
    it.frames(1.0)
    assert it.all(act.ConnectAgent) == []
    it.post(ev.Answered())
    assert it.last(act.ConnectAgent).instructions == "Be kind."


def test_the_agent_is_asked_for_the_greeting_when_it_is_connected():
    it = world()
    it.answer()
    assert it.all(act.AskAgent) == []
    it.connect()
    assert it.last(act.AskAgent).instructions.endswith("Hello.")


def test_the_voice_greets_while_the_agent_is_being_connected():
    it = world(RelaySettings(greeting="voice"))
    it.answer()
    assert it.last(act.Synthesise).text == "Hello."
    assert "Hello." in it.last(act.ConnectAgent).instructions
    it.voice_all()
    it.connect()
    it.listen(2.0)
    assert it.phase is Phase.LISTENING
    assert it.all(act.AskAgent) == []


def test_the_callers_sound_goes_to_the_agent_once_it_is_connected():
    it = world()
    it.answer()
    it.frames(0.1)
    assert it.all(act.SendToAgent) == []
    it.connect()
    it.frames(0.1)
    assert len(it.all(act.SendToAgent)) == 5


def test_what_the_caller_says_over_the_voices_greeting_is_not_lost():
    it = world(RelaySettings(greeting="voice"))
    it.answer()
    it.frames(3.0)
    it.connect()
    assert len(it.all(act.SendToAgent)) == 100


def test_the_caller_asks_and_hears_the_answer():
    it = greeted()
    it.post(ev.CallerSpeaks(1, "c1"))
    assert it.phase is Phase.HEARING
    it.now += 1.0
    it.post(ev.CallerPaused(1, "c1"))
    assert it.phase is Phase.THINKING
    it.respond("From nine to five.")
    assert it.phase is Phase.SPEAKING
    it.post(ev.CallerSaid(1, "c1", "What are your hours?"))
    it.listen(3.0)
    assert it.phase is Phase.LISTENING
    measured = it.last(act.Measured)
    assert (measured.agent, measured.interrupted, measured.kind) == ("From nine to five.", False, "reply")
    assert {"speech_ended", "first_audio", "play", "heard"} <= measured.steps.keys()
    assert it.dialogue.transcript.messages() == (
        Message("assistant", "Hello."),
        Message("user", "What are your hours?"),
        Message("assistant", "From nine to five."),
    )


def test_a_caller_who_speaks_over_the_agent_stops_it_and_it_is_told_what_was_heard():
    it = replying("One two three four.")
    it.listen(1.0)
    it.post(ev.CallerSpeaks(1, "c2"))
    assert it.last(act.StopPlayback)
    assert it.all(act.TruncateReply) == []
    it.report()
    assert it.last(act.TruncateReply) == act.TruncateReply(1, "r1-0", 1.0)
    assert it.last(act.Measured).agent == "One two"
    assert it.phase is Phase.HEARING


def test_only_the_item_that_was_heard_in_part_is_truncated():
    it = replying("One two.", "Three four.", "Five six.")
    it.listen(3.0)
    it.post(ev.CallerSpeaks(1, "c2"))
    it.report()
    assert it.all(act.TruncateReply) == [act.TruncateReply(1, "r1-1", 1.0)]


def test_an_item_of_which_nothing_was_heard_was_never_said():
    it = replying("One two.", "Three four.", "Five six.")
    it.listen(1.0)
    it.post(ev.CallerSpeaks(1, "c2"))
    assert it.all(act.ForgetReply) == []
    it.report()
    assert it.all(act.TruncateReply) == [act.TruncateReply(1, "r1-0", 1.0)]
    assert it.all(act.ForgetReply) == [act.ForgetReply(1, "r1-1"), act.ForgetReply(1, "r1-2")]


def test_what_was_never_said_is_taken_back_when_its_response_is_over():
    it = greeted()
    it.caller_says("Tell me everything.")
    it.post(ev.AgentResponding(1, "r1"))
    it.say("r1", "i", "One.")
    it.post(ev.CallerSpeaks(1, "c2"))
    it.report()
    it.say("r1", "late", "Two.")
    assert it.all(act.ForgetReply) == []
    it.post(ev.AgentResponded(1, "r1", "cancelled"))
    assert it.all(act.ForgetReply) == [act.ForgetReply(1, "i"), act.ForgetReply(1, "late")]


def test_an_item_whose_report_never_comes_may_have_been_heard():
    it = replying("One two.")
    it.listen(1.0)
    it.post(ev.CallerSpeaks(1, "c2"))
    it.tick()
    assert it.last(act.Measured).interrupted
    assert it.all(act.ForgetReply) == []


def test_the_rest_of_an_interrupted_response_is_cancelled_and_never_heard():
    it = greeted()
    it.caller_says("Tell me everything.")
    it.post(ev.AgentResponding(1, "r1"))
    it.say("r1", "i", "One.", part=0)
    it.listen(1.0)
    it.post(ev.CallerSpeaks(1, "c2"))
    assert it.last(act.CancelReply) == act.CancelReply(1, "r1")
    plays = len(it.all(act.Play))
    it.say("r1", "i", "Two.", part=1)
    it.report()
    assert it.last(act.TruncateReply) == act.TruncateReply(1, "i", 1.0)
    it.post(ev.AgentResponded(1, "r1", "cancelled"))
    it.say("r1", "i", "Three.", part=2)
    assert len(it.all(act.Play)) == plays


def test_a_tool_is_run_and_its_result_is_given_back_before_the_agent_is_asked():
    it = greeted()
    it.caller_says("Wait a moment.")
    it.respond("Of course.", calls=(ToolCall("t1", "collect_digits", {}), ToolCall("t2", "nonsense", {})))
    it.listen(2.0)
    for digit in "12#":
        it.post(ev.DigitPressed(digit))
    returned, asked = it.log[-2][1], it.log[-1][1]
    assert isinstance(returned, act.ReturnTools)
    assert [id for id, _ in returned.results] == ["t1", "t2"]
    assert returned.results[0][1] == "the caller pressed 1 2"
    assert asked == act.AskAgent(1)


def test_the_agent_hangs_up_when_its_goodbye_was_heard():
    it = greeted()
    it.caller_says("Bye.")
    it.respond("Goodbye.", calls=(ToolCall("t1", "hang_up", {}),))
    assert it.all(act.HangUp) == []
    it.listen(2.5)
    assert it.last(act.HangUp).cause == "NORMAL_CLEARING"
    assert it.last(act.CloseAgent).session == 1


def test_a_connection_that_breaks_is_replaced_and_the_new_agent_knows_what_was_said():
    it = replying("From nine to five.")
    it.listen(3.0)
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    assert it.last(act.ConnectAgent).history == (
        Message("assistant", "Hello."),
        Message("user", "What are your hours?"),
        Message("assistant", "From nine to five."),
    )
    it.connect()
    assert it.phase is Phase.LISTENING


def test_an_agent_that_cannot_be_connected_is_apologised_for_and_the_call_ends():
    it = world(filler=FillerSettings(after=0.0))
    it.answer()
    it.tick()
    assert it.now == 105.0
    assert it.session == 2
    it.tick()
    assert it.last(act.Synthesise).text == it.dialogue._phrases.failure.split(".")[0] + "."
    assert it.phase is Phase.CLOSING


def test_a_caller_who_waits_for_the_agent_is_told_so_once_by_the_voice():
    it = world()
    it.answer()
    it.tick()
    assert it.now == 101.5
    assert it.last(act.Synthesise).text == "One moment please."
    it.voice_all()
    it.listen(1.0)
    it.tick()
    assert it.now == 105.0
    assert len(it.all(act.Synthesise)) == 1
    it.connect()
    assert it.last(act.AskAgent).instructions.endswith("Hello.")
    assert it.dialogue.transcript.messages() == ()
