"""Keys, moments of silence and languages, one situation at a time."""

from __future__ import annotations

import dataclasses

import pytest

from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Message
from esl_agent.dialogue.cascade import Cascade
from esl_agent.dialogue.digits import DtmfSettings
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import CascadeSettings, LimitSettings, Phrases, SilenceSettings
from tests.pure.test_interruption import speaking
from tests.pure.test_tool_turns import TOOLS, asked, calls, says, spoken
from tests.pure.world import QUIET, VOICED, MarkedFrames, World


def listening(**settings) -> World:
    """The caller was answered, and nobody speaks."""
    it = asked(**settings)
    says(it, "It was sent.")
    it.hear_all()
    assert it.phase is Phase.LISTENING
    return it


def press(it: World, keys: str) -> None:
    for key in keys:
        it.now += 0.1
        it.post(ev.DigitPressed(key))


def last_words(it: World) -> Message:
    return it.last(act.AskModel).messages[-1]


# Keys that nobody asked for


def test_keys_become_a_callers_turn_when_no_more_come():
    it = listening(dtmf=DtmfSettings(timeout=2.0))
    press(it, "123")
    it.tick()
    assert last_words(it) == Message("user", "(pressed 1 2 3)")
    assert it.last(act.Gathered).digits == "123"


def test_the_terminator_completes_an_entry_at_once():
    it = listening()
    press(it, "12#")
    assert last_words(it) == Message("user", "(pressed 1 2)")


def test_a_terminator_alone_is_no_turn():
    it = listening()
    asks = len(it.all(act.AskModel))
    press(it, "#")
    assert len(it.all(act.AskModel)) == asks
    assert it.phase is Phase.LISTENING


def test_nobody_is_asked_whether_they_are_there_between_two_keys():
    it = listening(dtmf=DtmfSettings(timeout=10.0), silence=SilenceSettings(prompt_after=3.0))
    press(it, "1")
    it.tick()
    assert last_words(it) == Message("user", "(pressed 1)")


def test_a_key_stops_the_agent_which_answers_the_whole_entry():
    it = speaking()
    press(it, "1")
    assert it.all(act.StopPlayback)
    for clip, heard in enumerate((1.0, 0.0)):
        it.post(ev.Played(it.last(act.AskModel).turn, clip, heard))
    press(it, "2#")
    assert last_words(it) == Message("user", "(pressed 1 2)")


def test_a_key_does_not_stop_the_agent_where_the_operator_said_so():
    it = speaking()
    it.dialogue._settings = dataclasses.replace(it.dialogue._settings, dtmf=DtmfSettings(barge_in=False))
    press(it, "1#")
    assert not it.all(act.StopPlayback)
    it.hear_all()
    assert last_words(it) == Message("user", "(pressed 1)")


def test_keys_pressed_while_the_model_thinks_are_answered_too():
    it = asked()
    press(it, "1#")
    assert it.last(act.AskModel).messages[-1] == Message("user", "where is my order (pressed 1)")


def test_a_key_that_no_telephone_has_is_nothing():
    it = speaking()
    it.post(ev.DigitPressed(""))
    it.post(ev.DigitPressed("x"))
    assert not it.all(act.StopPlayback)


# Keys that were asked for


def questioned(**arguments) -> World:
    it = asked(dtmf=DtmfSettings(timeout=2.0, first=5.0))
    calls(it, "collect_digits", prompt="Press it now.", **arguments)
    it.hear_all()
    assert spoken(it) == ["Press it now."]
    return it


def test_keys_that_were_asked_for_are_the_tools_answer():
    it = questioned(max_digits=3)
    press(it, "123")
    assert last_words(it) == Message("tool", "the caller pressed 1 2 3", tool_call_id="1")


def test_a_key_over_the_question_is_answered_with_what_was_heard_of_the_question():
    it = asked()
    calls(it, "collect_digits", prompt="Press one now.", max_digits=1)
    it.voice_all(3.0)
    press(it, "1")
    assert len(it.all(act.AskModel)) == 1
    it.post(ev.Played(it.last(act.AskModel).turn, 0, 2.0))
    assert [message.content for message in it.last(act.AskModel).messages[-2:]] == [
        "Press one",
        "the caller pressed 1",
    ]


def test_a_caller_who_presses_nothing_is_waited_for_as_long_as_it_says():
    it = questioned()
    heard = it.now
    it.tick()
    assert it.now - heard == pytest.approx(5.0, abs=0.1)
    assert last_words(it).content == "the caller pressed nothing"


def test_a_caller_who_says_it_instead_has_answered():
    it = questioned()
    it.caller_says("one two three")
    assert last_words(it) == Message("tool", "the caller said: one two three", tool_call_id="1")


def test_a_cough_is_no_answer_and_the_question_stands():
    it = questioned()
    it.caller_says("")
    assert it.phase is Phase.LISTENING
    assert len(it.all(act.AskModel)) == 1
    press(it, "7#")
    assert last_words(it).content == "the caller pressed 7"


def test_a_caller_who_knows_the_question_presses_over_it():
    it = asked()
    calls(it, "collect_digits", prompt="Your number?")
    it.voice_all(2.0)
    press(it, "4")
    assert it.all(act.StopPlayback)
    it.post(ev.Played(it.last(act.AskModel).turn, 0, 1.0))
    press(it, "2#")
    assert last_words(it).content == "the caller pressed 4 2"


# A moment


def holding(**limits) -> World:
    it = asked(silence=SilenceSettings(prompt_after=3.0), limits=LimitSettings(**limits))
    calls(it, "hold", say="Take your time.", seconds=20)
    it.hear_all()
    assert it.phase is Phase.HOLDING
    return it


def test_a_caller_who_asked_for_a_moment_is_left_alone_and_then_asked():
    it = holding()
    began = it.now
    it.tick()
    assert it.now - began == pytest.approx(20.0, abs=0.1)
    it.hear_all()
    assert spoken(it)[-1] == "Are you still there?"


def test_a_moment_is_not_longer_than_the_operator_allows():
    it = holding(hold=10.0)
    began = it.now
    it.tick()
    assert it.now - began == pytest.approx(10.0, abs=0.1)


def test_a_caller_who_speaks_again_is_answered_and_no_longer_left_alone():
    it = holding()
    it.caller_says("here I am")
    assert last_words(it) == Message("user", "here I am")
    says(it, "Good.")
    it.hear_all()
    assert it.phase is Phase.LISTENING


def test_a_cough_does_not_end_the_moment():
    it = holding()
    it.caller_says("")
    assert it.phase is Phase.HOLDING


def test_keys_pressed_before_the_moment_began_are_answered_in_it():
    it = asked(dtmf=DtmfSettings(barge_in=False))
    calls(it, "hold", say="Take your time.", seconds=20)
    it.voice_all()
    press(it, "1")
    it.hear_all()
    assert it.phase is Phase.HOLDING
    it.tick()
    assert last_words(it) == Message("user", "(pressed 1)")
    assert it.phase is Phase.THINKING


def test_a_key_ends_the_moment():
    it = holding()
    press(it, "1#")
    assert last_words(it) == Message("user", "(pressed 1)")


# Languages


def test_a_call_goes_on_in_another_language():
    settings = CascadeSettings(prompt="Be brief.", phrases=Phrases(greeting=""), tools=TOOLS)
    german = dataclasses.replace(
        settings, prompt="Sei kurz.", phrases=Phrases(greeting="", not_understood="Wie bitte?")
    )
    it = World(settings)
    it.dialogue = Cascade(
        settings, it.now, make_detector=lambda *_: MarkedFrames(), language="en", languages={"de": german}
    )
    it.answer()
    it.caller_says("auf deutsch bitte")
    calls(it, "set_language", say="Of course.", language="de")
    assert not it.all(act.SwitchLanguage)
    it.hear_all()
    assert it.all(act.SwitchLanguage) == [act.SwitchLanguage("de")]
    assert it.last(act.AskModel).messages[0].content == "Sei kurz."
    assert last_words(it).content == "done"
    says(it, "Guten Tag.")
    it.hear_all()
    it.caller_says("")
    assert spoken(it)[-1] == "Wie bitte?"


# What is said over the agent's last words


def answered_over(text: str, heard: float, words: str = "Okay.") -> World:
    it = speaking(text)
    it.frames(QUIET, heard)
    it.frames(VOICED, 0.2)
    it.frames(QUIET, 0.8)
    turn = it.last(act.AskModel).turn
    it.post(ev.Played(turn, 0, heard + 0.1))
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, words))
    return it


def test_yes_over_the_last_second_of_a_question_is_an_answer():
    it = answered_over("Shall I send it to you?", heard=1.3)
    assert last_words(it) == Message("user", "Okay.")


def test_yes_in_the_middle_of_it_is_not():
    it = answered_over("Shall I send it to you?", heard=0.4)
    assert it.phase is Phase.SPEAKING
    assert len(it.all(act.AskModel)) == 1


def test_a_noise_over_the_last_second_is_no_answer():
    it = answered_over("Shall I send it to you?", heard=1.3, words="")
    assert it.phase is Phase.SPEAKING
    assert len(it.all(act.AskModel)) == 1
