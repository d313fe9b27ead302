"""The model is asked before the caller has ended."""

from __future__ import annotations

import pytest

from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.early_reply import MAX_GUESSES
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import EarlyReplySettings, LimitSettings
from tests.pure.test_cascade import greeted
from tests.pure.world import QUIET, VOICED, World, sound


def heard(text: str, **changes) -> World:
    """The caller has said ``text`` and pauses; the recogniser has it as a partial transcript."""
    it = greeted(early_reply=EarlyReplySettings(enabled=True), **changes)
    it.frames(VOICED, 0.6)
    partial(it, text)
    return it


def partial(it: World, text: str) -> None:
    it.post(ev.Transcribed(it.last(act.OpenUtterance).utterance, text, final=False))


def final(it: World, text: str) -> None:
    it.frames(QUIET, 0.8)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, text))


def answer(it: World, text: str = "Nine to five.") -> int:
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, text))
    it.post(ev.ReplyEnded(turn))
    it.voice_all()
    return turn


def test_words_that_stay_the_same_are_asked_before_the_caller_has_ended():
    it = heard("what are your hours")
    it.frames(QUIET, 0.2)
    assert it.all(act.AskModel) == []
    it.frames(QUIET, 0.1)
    assert it.last(act.AskModel).messages[-1].content == "what are your hours"
    assert it.phase is Phase.HEARING


def test_nothing_is_asked_early_while_the_caller_is_heard():
    it = heard("what are your hours")
    it.frames(VOICED, 0.5)
    assert it.all(act.AskModel) == []


def test_nothing_is_asked_early_unless_it_is_switched_on():
    it = greeted()
    it.frames(VOICED, 0.6)
    partial(it, "what are your hours")
    it.frames(QUIET, 0.5)
    assert it.all(act.AskModel) == []


def test_an_early_answer_is_heard_once_the_words_turn_out_to_be_all():
    it = heard("what are your hours")
    it.frames(QUIET, 0.4)
    turn = answer(it)
    assert it.last(act.Play).turn != turn
    final(it, "What are your hours?")
    assert it.last(act.Play).turn == turn
    assert len(it.all(act.AskModel)) == 1
    it.hear_all()
    steps = it.last(act.Measured).steps
    assert steps["asked"] < steps["endpoint"] <= steps["transcript"] <= steps["play"]
    assert [m.content for m in it.dialogue.transcript.messages()[-2:]] == ["What are your hours?", "Nine to five."]


def test_an_early_answer_to_words_that_went_on_is_thrown_away():
    it = heard("what are your hours")
    it.frames(QUIET, 0.4)
    turn = answer(it)
    it.frames(VOICED, 0.4)
    partial(it, "what are your hours on sunday")
    assert it.last(act.AbandonTurn).turn == turn
    final(it, "What are your hours on Sunday?")
    assert it.last(act.AskModel).messages[-1].content.lower().startswith("what are your hours on sunday")
    assert all(play.turn != turn for play in it.all(act.Play))


def test_a_final_transcript_of_other_words_is_asked_anew():
    it = heard("what are your powers")
    it.frames(QUIET, 0.4)
    turn = answer(it)
    final(it, "What are your hours?")
    assert it.last(act.AbandonTurn).turn == turn
    assert it.last(act.AskModel).messages[-1].content == "What are your hours?"


@pytest.mark.parametrize("stage", ["llm", "tts"])
def test_an_early_answer_that_fails_is_not_apologised_for(stage):
    it = heard("what are your hours", limits=LimitSettings(retries=0, failures=1))
    it.frames(QUIET, 0.4)
    turn = it.last(act.AskModel).turn
    if stage == "tts":
        it.post(ev.ReplyText(turn, "Nine. And "))
    it.post(ev.ProviderFailed(stage, turn, "503", clip=0))
    assert it.phase is Phase.HEARING
    final(it, "What are your hours?")
    assert it.last(act.AskModel).turn > turn
    assert not any("technical" in s.text for s in it.all(act.Synthesise))


def test_a_goodbye_that_was_guessed_does_not_end_the_call_before_it_is_known():
    it = heard("goodbye")
    it.frames(QUIET, 0.4)
    it.post(ev.ReplyEnded(it.last(act.AskModel).turn, hang_up=True))
    assert it.phase is Phase.HEARING
    final(it, "Goodbye.")
    assert it.phase is Phase.CLOSING


def test_a_recogniser_that_fails_at_the_end_leaves_the_words_it_had():
    it = heard("what are your hours")
    it.frames(QUIET, 0.4)
    turn = answer(it)
    it.frames(QUIET, 0.8)
    it.post(ev.ProviderFailed("stt", it.last(act.CloseUtterance).utterance, "died"))
    assert it.last(act.Play).turn == turn


def test_a_caller_who_goes_on_after_the_pause_is_answered_for_all_of_it():
    it = heard("what are your hours")
    it.frames(QUIET, 1.0)
    turn = answer(it)
    it.frames(VOICED, 0.4)
    assert it.last(act.AbandonTurn).turn == turn
    it.post(ev.Transcribed(1, "What are your hours?"))
    it.frames(QUIET, 1.0)
    final(it, "On Sunday.")
    assert it.last(act.AskModel).messages[-1].content == "What are your hours? On Sunday."


def test_guesses_are_not_made_for_ever():
    it = heard("a")
    for words in "bcdefgh":
        it.frames(QUIET, 0.3)
        it.frames(VOICED, 0.1)
        partial(it, words)
    assert len(it.all(act.AskModel)) == MAX_GUESSES


def test_an_early_answer_is_silent_also_when_its_sound_is_ready():
    it = heard("what are your hours")
    it.frames(QUIET, 0.4)
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, "Nine. Five. "))
    it.post(ev.Synthesised(turn, 0, sound(1.0)))
    it.frames(QUIET, 0.5)
    assert it.phase is Phase.THINKING
    assert all(play.turn != turn for play in it.all(act.Play))


def test_nothing_is_asked_early_before_it_is_known_what_was_heard_of_the_turn_before():
    it = heard("what are your hours")
    final(it, "what are your hours")
    turn = answer(it)
    it.frames(VOICED, 0.8)
    partial(it, "no the address")
    asks = len(it.all(act.AskModel))
    it.frames(QUIET, 0.3)
    assert len(it.all(act.AskModel)) == asks
    it.post(ev.Played(turn, 0, 0.5))
    it.frames(QUIET, 0.1)
    assert [message.content for message in it.last(act.AskModel).messages[-2:]] == ["Nine", "no the address"]
