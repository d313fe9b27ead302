"""What a caller hears while a speech-to-speech agent takes its time, one situation at a time."""

from __future__ import annotations

import pytest

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.settings import FillerSettings, LimitSettings
from tests.pure.relay_world import RelayWorld
from tests.pure.test_relay import greeted
from tests.pure.test_relay_duties import working
from tests.pure.world import sound

FILLER = "One moment please."


def asking(**changes) -> RelayWorld:
    """A caller who has asked and waits for the answer."""
    it = greeted(**changes)
    it.caller_says("Please.")
    return it


def voice(it: RelayWorld, seconds: float = 1.0) -> None:
    """The newest phrase gets its sound."""
    clause = it.last(act.Synthesise)
    it.post(ev.Synthesised(clause.turn, clause.clip, sound(seconds)))


def test_a_caller_who_waits_for_an_answer_is_told_so_and_hears_it_behind_that():
    it = asking()
    paused = it.now
    it.tick()
    assert it.now == pytest.approx(paused + 1.5)
    assert it.last(act.Synthesise).text == FILLER
    voice(it)
    it.listen(0.5)
    it.respond("From nine to five.")
    it.listen(3.0)
    measured = it.last(act.Measured)
    assert (measured.kind, measured.agent) == ("reply", "From nine to five.")
    assert measured.steps["speech_ended"] == paused
    assert it.dialogue.transcript.messages()[-1].content == "From nine to five."


def test_an_answer_that_comes_before_the_fillers_sound_is_heard_at_once():
    it = asking()
    it.tick()
    it.respond("From nine to five.")
    plays = len(it.all(act.Play))
    voice(it)
    assert plays == len(it.all(act.Play)) == 2
    it.listen(2.0)
    assert it.last(act.Measured).agent == "From nine to five."


def test_a_caller_whose_tool_is_slow_is_told_so_three_times_and_no_more():
    it = working("I will look.")
    began = it.now
    it.listen(2.0)
    for silent_until in (began + 2.0 + 1.5, began + 4.5 + 3.0, began + 8.5 + 3.0):
        it.tick()
        assert it.now == pytest.approx(silent_until)
        assert it.last(act.Synthesise).text == FILLER
        voice(it)
        it.listen(1.0)
    assert it.dialogue.next_deadline == pytest.approx(began + 30.0)  # the tool's
    it.post(ev.ToolReturned(it.last(act.RunTool).turn, "t1", "shipped"))
    it.respond("It is shipped.", name="r2")
    it.listen(3.0)
    measured = it.last(act.Measured)
    assert (measured.kind, measured.agent) == ("reply", "I will look. It is shipped.")
    assert len([each for each in it.all(act.Synthesise) if each.text == FILLER]) == 3


def test_who_waits_again_is_told_again():
    it = working("I will look.")
    it.listen(2.0)
    it.tick()
    voice(it)
    it.listen(1.0)
    it.post(ev.ToolReturned(it.last(act.RunTool).turn, "t1", "shipped"))
    it.respond("It is shipped.", name="r2")
    it.listen(2.0)
    it.caller_says("When?", "c2")
    paused = it.now
    it.tick()
    assert it.now == pytest.approx(paused + 1.5)
    assert len(it.all(act.Synthesise)) == 2


def test_a_filler_that_the_voice_cannot_say_is_not_missed():
    it = asking()
    it.tick()
    clause = it.last(act.Synthesise)
    it.post(ev.ProviderFailed("tts", clause.turn, "broken", clip=clause.clip))
    it.respond("From nine to five.")
    it.listen(2.0)
    assert it.last(act.Measured).agent == "From nine to five."
    assert [each.text for each in it.all(act.Synthesise)] == [FILLER]


def test_a_caller_who_speaks_over_a_filler_stops_it():
    it = asking()
    it.tick()
    voice(it)
    it.post(ev.CallerSpeaks(1, "c2"))
    assert isinstance(it.all(act.StopPlayback)[-1], act.StopPlayback)
    it.report()
    assert (it.last(act.Measured).kind, it.last(act.Measured).interrupted) == ("filler", True)
    it.post(ev.CallerPaused(1, "c2"))
    it.respond("Yes?")
    assert isinstance(it.last(act.Play).audio, Sound)
    it.listen(2.0)
    assert it.last(act.Measured).agent == "Yes?"


@pytest.mark.parametrize("after", [0.0, 1.5])
def test_who_speaks_or_is_silent_is_not_told_to_wait(after: float):
    it = greeted(filler=FillerSettings(after=after), limits=LimitSettings(call=600.0))
    it.post(ev.CallerSpeaks(1, "c1"))
    it.listen(5.0)
    it.post(ev.CallerPaused(1, "c1"))
    it.respond("From nine to five.")
    it.listen(2.0)
    it.listen(7.0)
    assert it.all(act.Synthesise) == []


def test_where_fillers_are_off_a_slow_tool_is_waited_for_in_silence():
    it = working("I will look.", filler=FillerSettings(after=0.0))
    it.listen(20.0)
    assert it.all(act.Synthesise) == []
