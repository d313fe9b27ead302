"""What the agent owes a caller besides answers: a word while it takes long, a warning before the time is up."""

from __future__ import annotations

from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import FillerSettings, LimitSettings, Phrases
from tests.pure.test_cascade import greeted
from tests.pure.world import QUIET, VOICED, World, sound

FILLED = Phrases(greeting="Hello.", filler=("One moment.", "Still looking."))


def asked(**changes) -> World:
    """The model thinks."""
    changes.setdefault("phrases", FILLED)
    it = greeted(**changes)
    it.caller_says("What are your hours?")
    return it


def texts(it: World) -> list[str]:
    turn = it.last(act.AskModel).turn
    return [clause.text for clause in it.all(act.Synthesise) if clause.turn == turn]


def test_a_caller_who_waits_for_the_answer_is_told_so_once():
    it = asked()
    it.frames(QUIET, 0.3)
    assert texts(it) == []
    it.frames(QUIET, 0.3)
    assert texts(it) == ["One moment."]
    it.hear_all()
    it.frames(QUIET, 4.0)
    assert texts(it) == ["One moment."]


def test_the_answer_waits_until_the_filler_was_heard_and_is_all_that_the_model_sees():
    it = asked()
    it.frames(QUIET, 1.0)
    turn = it.last(act.AskModel).turn
    filler = it.last(act.Synthesise)
    it.post(ev.Synthesised(turn, filler.clip, sound(1.0)))
    it.post(ev.ReplyText(turn, "Nine to five."))
    it.post(ev.ReplyEnded(turn))
    answer = it.last(act.Synthesise)
    it.post(ev.Synthesised(turn, answer.clip, sound(1.0)))
    assert [p.clip for p in it.all(act.Play) if p.turn == turn] == [filler.clip, answer.clip]
    assert it.all(act.StopPlayback) == []
    it.hear_all()
    assert it.dialogue.transcript.messages()[-1].content == "Nine to five."
    assert it.last(act.Measured).agent == "Nine to five."


def test_a_filler_comes_before_a_clause_whose_sound_takes_long():
    it = asked()
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, "Nine to five. And "))
    it.frames(QUIET, 1.0)
    assert texts(it) == ["Nine to five.", "One moment."]
    it.post(ev.Synthesised(turn, it.last(act.Synthesise).clip, sound(1.0)))
    assert it.last(act.Play).clip == it.last(act.Synthesise).clip
    it.post(ev.Synthesised(turn, 0, sound(1.0)))
    assert it.last(act.Play).clip == 0


def test_a_filler_whose_own_sound_comes_too_late_is_left_out():
    it = asked()
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, "Nine to five. And "))
    it.frames(QUIET, 1.0)
    filler = it.last(act.Synthesise).clip
    it.post(ev.Synthesised(turn, 0, sound(1.0)))
    it.post(ev.Synthesised(turn, filler, sound(1.0)))
    assert [p.clip for p in it.all(act.Play) if p.turn == turn] == [0]


def test_fillers_take_turns():
    it = asked()
    it.frames(QUIET, 1.0)
    it.hear_all()
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, "Nine to five."))
    it.post(ev.ReplyEnded(turn))
    it.hear_all()
    it.caller_says("And on Sunday?")
    it.frames(QUIET, 1.0)
    assert texts(it) == ["Still looking."]


def test_a_model_that_fails_after_the_filler_is_asked_again_without_another_one_and_without_cutting_it():
    it = asked()
    it.frames(QUIET, 1.0)
    first = it.last(act.AskModel).turn
    it.post(ev.Synthesised(first, it.last(act.Synthesise).clip, sound(1.0)))
    it.post(ev.ProviderFailed("llm", first, "503", retryable=True))
    assert it.last(act.AskModel).turn > first
    assert it.all(act.StopPlayback) == []
    it.frames(QUIET, 3.0)
    assert texts(it) == []


def test_an_answer_of_which_only_the_filler_was_heard_has_failed():
    it = asked(limits=LimitSettings(retries=0))
    it.frames(QUIET, 1.0)
    it.hear_all()
    it.post(ev.ReplyEnded(it.last(act.AskModel).turn))
    assert "technical problem" in it.last(act.Synthesise).text


def test_a_voice_that_cannot_say_the_filler_does_not_cost_the_answer():
    it = asked(limits=LimitSettings(retries=0))
    it.frames(QUIET, 1.0)
    turn = it.last(act.AskModel).turn
    it.post(ev.ProviderFailed("tts", turn, "down", clip=it.last(act.Synthesise).clip))
    it.post(ev.ReplyText(turn, "Nine to five."))
    it.post(ev.ReplyEnded(turn))
    it.hear_all()
    assert it.last(act.Measured).agent == "Nine to five."


def test_no_filler_where_it_is_switched_off():
    it = asked(filler=FillerSettings(after=0.0))
    it.frames(QUIET, 5.0)
    assert texts(it) == []


def test_a_caller_is_warned_once_in_a_pause_before_the_time_is_up():
    it = greeted(limits=LimitSettings(call=60.0, warn=40.0))
    it.frames(VOICED, 0.6)
    it.frames(QUIET, 0.8)
    it.frames(VOICED, 20.0)
    assert not any("almost up" in s.text for s in it.all(act.Synthesise))
    it.frames(QUIET, 0.8)
    for close in it.all(act.CloseUtterance):
        it.post(ev.Transcribed(close.utterance, "words"))
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, "Good."))
    it.post(ev.ReplyEnded(turn))
    it.hear_all()
    it.frames(QUIET, 0.5)
    assert it.phase is Phase.LISTENING
    it.frames(QUIET, 0.6)
    assert "almost up" in it.last(act.Synthesise).text
    it.hear_all()
    it.frames(QUIET, 5.0)
    assert len([s for s in it.all(act.Synthesise) if "almost up" in s.text]) == 1
