"""Turn taking, one situation at a time."""

from __future__ import annotations

import dataclasses

import pytest

from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Message
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import BargeInSettings, CascadeSettings, LimitSettings, Phrases
from esl_agent.dialogue.transcript import UNHEARD
from tests.pure.world import QUIET, VOICED, World, sound

GREETED = Phrases(greeting="Hello.")


def world(*, streams: bool = False, **changes) -> World:
    config = dataclasses.replace(CascadeSettings(prompt="Be kind.", phrases=GREETED), **changes)
    return World(config, streams=streams)


def greeted(**changes) -> World:
    """A call whose greeting was heard."""
    it = world(**changes)
    it.answer()
    it.hear_all()
    assert it.phase is Phase.LISTENING
    return it


def replying(text: str, **changes) -> World:
    """A call in which the model has written ``text`` and nothing of it was heard yet."""
    it = greeted(**changes)
    it.caller_says("What are your hours?")
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, text))
    it.post(ev.ReplyEnded(turn))
    return it


def test_the_greeting_is_spoken_when_the_call_is_answered():
    it = world()
    assert it.all(act.Synthesise) == []
    it.post(ev.Answered())
    assert it.last(act.Synthesise).text == "Hello."


def test_the_caller_is_heard_and_answered_with_the_history_so_far():
    it = greeted()
    it.caller_says("What are your hours?")
    assert it.last(act.AskModel).messages == (
        Message("system", "Be kind."),
        Message("assistant", "Hello."),
        Message("user", "What are your hours?"),
    )


def test_the_recogniser_gets_the_sound_before_the_onset_too():
    it = greeted()
    it.frames(QUIET, 1.0)
    it.frames(VOICED, 0.3)
    first = it.all(act.SendAudio)[0]
    assert len(first.pcm) >= len(QUIET) * 15
    assert first.pcm.endswith(VOICED)


def test_a_cough_of_one_frame_is_no_utterance():
    it = greeted()
    it.frames(VOICED, 0.02)
    it.frames(QUIET, 1.0)
    assert it.all(act.OpenUtterance) == []


def test_two_clips_at_most_are_with_the_switch_at_a_time():
    it = replying("One is here. Two is here. Three is here. Four is here.")
    turn = it.last(act.AskModel).turn
    for clip in range(4):
        it.post(ev.Synthesised(turn, clip, sound(1.0)))
    assert [p.clip for p in it.all(act.Play) if p.turn == turn] == [0, 1]
    it.post(ev.Played(turn, 0, 1.0))
    assert [p.clip for p in it.all(act.Play) if p.turn == turn] == [0, 1, 2]


def test_a_short_clip_behind_a_long_one_has_its_own_time():
    it = replying("One is here. Two is here. Three is here.")
    turn = it.last(act.AskModel).turn
    for clip, seconds in enumerate((2.0, 9.0, 1.0)):
        it.post(ev.Synthesised(turn, clip, sound(seconds)))
    it.now += 2.0
    it.post(ev.Played(turn, 0, 2.0))
    it.now += 9.0
    it.post(ev.Played(turn, 1, 9.0))
    assert it.phase is Phase.SPEAKING
    it.now += 1.0
    it.post(ev.Played(turn, 2, 1.0))
    assert it.phase is Phase.LISTENING
    assert it.last(act.Measured).agent == "One is here. Two is here. Three is here."


def test_a_second_sound_for_the_same_clip_is_ignored():
    it = replying("One is here. Two is here. Three is here.")
    turn = it.last(act.AskModel).turn
    first, second = sound(1.0), sound(2.0)
    it.post(ev.Synthesised(turn, 0, sound(1.0)))
    it.post(ev.Synthesised(turn, 1, sound(1.0)))
    it.post(ev.Synthesised(turn, 2, first))
    it.post(ev.Synthesised(turn, 2, second))
    it.post(ev.Played(turn, 0, 1.0))
    assert it.last(act.Play).audio is first


def test_speech_over_the_agent_stops_it_within_120_ms_of_voice():
    it = replying("A long answer is here.")
    it.voice_all(10.0)
    assert it.phase is Phase.SPEAKING
    it.frames(QUIET, 0.5)
    it.frames(VOICED, 0.1)
    assert it.all(act.StopPlayback) == []
    it.frames(VOICED, 0.02)
    assert it.all(act.StopPlayback) == [act.StopPlayback()]
    assert it.phase is Phase.YIELDING
    assert it.all(act.AbandonTurn) == []


def test_the_caller_has_the_floor_after_700_ms_of_voice():
    it = replying("A long answer is here.")
    it.voice_all(10.0)
    it.frames(VOICED, 0.68)
    assert it.all(act.AbandonTurn) == []
    it.frames(VOICED, 0.02)
    assert it.phase is Phase.HEARING
    assert it.last(act.AbandonTurn).turn == it.last(act.AskModel).turn
    assert it.all(act.StopPlayback) == [act.StopPlayback()]


def test_a_reply_that_arrives_after_barge_in_is_never_spoken():
    it = greeted()
    it.caller_says("What are your hours?")
    old = it.last(act.AskModel).turn
    it.post(ev.ReplyText(old, "We are open. And then "))
    it.voice_all(5.0)
    it.frames(VOICED, 0.8)
    ordered = len(it.log)
    it.post(ev.ReplyText(old, "some more. "))
    it.post(ev.ReplyEnded(old, hang_up=True))
    it.post(ev.Synthesised(old, 1, sound(1.0)))
    assert len(it.log) == ordered


def test_history_is_cut_to_the_words_that_were_heard():
    it = replying("First thing to say. Second thing to say. Third thing to say.")
    turn = it.last(act.AskModel).turn
    for clip in range(3):
        it.post(ev.Synthesised(turn, clip, sound(2.0)))
    it.post(ev.Played(turn, 0, 2.0))
    it.frames(VOICED, 0.2)
    it.post(ev.Played(turn, 1, 1.0))
    it.post(ev.Played(turn, 2, 0.0))
    it.frames(QUIET, 1.0)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "Wait."))
    assert it.last(act.AskModel).messages[-2:] == (
        Message("assistant", "First thing to say. Second thing"),
        Message("user", "Wait."),
    )
    measured = next(m for m in it.all(act.Measured) if m.turn == turn)
    assert measured.interrupted
    assert measured.agent == "First thing to say. Second thing"


def test_the_first_report_of_a_clip_counts():
    it = replying("First thing to say.")
    turn = it.last(act.AskModel).turn
    it.post(ev.Synthesised(turn, 0, sound(2.0)))
    it.frames(VOICED, 0.2)
    it.post(ev.Played(turn, 0, 1.0))
    it.post(ev.Played(turn, 0, 2.0))
    assert it.dialogue.transcript.agent_text(turn) == "First thing"


def test_a_clip_that_was_lost_does_not_hide_the_one_that_was_heard():
    it = replying("Lost words are here. Heard words are here.")
    turn = it.last(act.AskModel).turn
    for clip in range(2):
        it.post(ev.Synthesised(turn, clip, sound(1.0)))
    it.post(ev.Played(turn, 0, 0.0))
    it.post(ev.Played(turn, 1, 1.0))
    assert it.dialogue.transcript.agent_text(turn) == "Heard words are here."


def test_with_barge_in_off_the_agent_finishes_and_then_answers_what_was_said_meanwhile():
    it = replying("A long answer is here.", barge_in=BargeInSettings(enabled=False))
    it.voice_all(5.0)
    it.frames(VOICED, 0.5)
    it.frames(QUIET, 1.0)
    assert it.all(act.StopPlayback) == []
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "And on Sunday?"))
    assert len(it.all(act.AskModel)) == 1
    turn = it.last(act.Play)
    it.post(ev.Played(turn.turn, turn.clip, 5.0))
    assert it.last(act.AskModel).messages[-1] == Message("user", "And on Sunday?")


def test_a_greeting_that_may_not_be_interrupted_is_finished():
    it = world(barge_in=BargeInSettings(greeting=False))
    it.answer()
    it.voice_all(5.0)
    it.frames(VOICED, 0.5)
    assert it.all(act.StopPlayback) == []
    it.hear_all()
    assert it.phase is Phase.HEARING


def test_a_caller_who_goes_on_while_we_think_is_answered_once_with_both_sentences():
    it = greeted()
    it.caller_says("I have a question.")
    first = it.last(act.AskModel).turn
    it.caller_says("It is about weasels.")
    assert act.AbandonTurn(first) in it.all(act.AbandonTurn)
    assert it.last(act.AskModel).messages[-1].content == "I have a question. It is about weasels."


def test_words_of_an_earlier_utterance_are_waited_for():
    it = greeted()
    it.frames(VOICED, 0.4)
    it.frames(QUIET, 0.8)
    first = it.last(act.CloseUtterance).utterance
    it.frames(VOICED, 0.4)
    it.frames(QUIET, 0.8)
    second = it.last(act.CloseUtterance).utterance
    it.post(ev.Transcribed(second, "about weasels"))
    assert it.all(act.AskModel) == []
    it.post(ev.Transcribed(first, "A question"))
    assert it.last(act.AskModel).messages[-1].content == "A question about weasels"


def test_what_could_not_be_understood_is_asked_for_twice_and_then_left_alone():
    it = greeted()
    for _ in range(2):
        it.caller_says("")
        assert it.last(act.Synthesise).text.startswith("I am sorry, I did not catch that")
        it.hear_all()
    spoken = len(it.all(act.Synthesise))
    it.caller_says("")
    assert it.phase is Phase.LISTENING
    assert len(it.all(act.Synthesise)) == spoken


def test_a_failed_model_is_asked_again_then_apologised_for_then_given_up():
    it = greeted(limits=LimitSettings(retries=1, failures=2))
    it.caller_says("Hello?")
    it.post(ev.ProviderFailed("llm", it.last(act.AskModel).turn, "503", retryable=True))
    assert len(it.all(act.AskModel)) == 2
    it.post(ev.ProviderFailed("llm", it.last(act.AskModel).turn, "503", retryable=True))
    assert "technical problem" in it.last(act.Synthesise).text
    it.hear_all()
    assert len(it.all(act.AskModel)) == 3
    it.post(ev.ProviderFailed("llm", it.last(act.AskModel).turn, "gone", retryable=False))
    assert it.phase is Phase.CLOSING
    assert it.all(act.HangUp) == []
    it.hear_all()
    assert it.phase is Phase.OVER
    assert it.last(act.HangUp).cause == "NORMAL_CLEARING"


def test_a_failed_recogniser_gets_the_utterance_once_more():
    it = greeted()
    it.frames(VOICED, 0.6)
    it.frames(QUIET, 1.0)
    number = it.last(act.CloseUtterance).utterance
    it.post(ev.ProviderFailed("stt", number, "died", retryable=True))
    assert it.last(act.RetryUtterance).utterance == number
    it.post(ev.ProviderFailed("stt", number, "died", retryable=True))
    assert "did not catch" in it.last(act.Synthesise).text


def test_a_voice_that_fails_for_good_ends_the_call_instead_of_leaving_it_silent():
    it = world(limits=LimitSettings(retries=0, failures=2))
    it.answer()
    for _ in range(6):
        if it.phase is Phase.OVER:
            break
        clause = it.last(act.Synthesise)
        it.post(ev.ProviderFailed("tts", clause.turn, "down", clip=clause.clip))
    assert it.phase is Phase.OVER
    assert it.last(act.HangUp).cause == "NORMAL_TEMPORARY_FAILURE"


def test_a_clip_the_switch_could_not_play_counts_as_a_failure_not_as_said():
    it = world()
    it.answer()
    it.voice_all()
    play = it.last(act.Play)
    it.post(ev.Played(play.turn, play.clip, 0.0))
    assert "technical problem" in it.last(act.Synthesise).text


def test_a_silent_caller_is_asked_then_bidden_goodbye_which_is_heard_before_the_hang_up():
    it = greeted()
    it.tick()
    assert it.last(act.Synthesise).text == "Are you still there?"
    it.hear_all()
    it.tick()
    it.voice_all()
    assert it.phase is Phase.CLOSING
    assert it.all(act.HangUp) == []
    it.hear_all()
    assert it.phase is Phase.OVER


def test_a_caller_who_speaks_again_is_not_counted_as_silent():
    it = greeted()
    it.tick()
    it.hear_all()
    it.caller_says("Yes.")
    it.post(ev.ReplyText(it.last(act.AskModel).turn, "Good. "))
    it.post(ev.ReplyEnded(it.last(act.AskModel).turn))
    it.hear_all()
    it.tick()
    assert it.last(act.Synthesise).text == "Are you still there?"


def test_the_model_ends_the_call_once_its_last_words_were_heard():
    it = greeted()
    it.caller_says("Goodbye.")
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, "Goodbye to you. "))
    it.post(ev.ReplyEnded(turn, hang_up=True))
    it.voice_all()
    assert it.all(act.HangUp) == []
    it.post(ev.Played(turn, 0, 1.0))
    assert it.all(act.HangUp) == [act.HangUp("NORMAL_CLEARING")]


def test_a_call_that_is_too_long_is_ended_politely():
    it = greeted(limits=LimitSettings(call=20.0))
    it.frames(QUIET, 5.0)
    it.frames(VOICED, 20.0)
    assert it.phase is Phase.CLOSING
    assert "time is up" in it.last(act.Synthesise).text


def test_a_call_without_the_callers_sound_is_told_so_and_ended():
    it = world()
    it.post(ev.Answered())
    it.hear_all()
    for _ in range(20):
        if it.phase is Phase.OVER:
            break
        it.tick()
        it.hear_all()
    assert any("cannot go on" in s.text for s in it.all(act.Synthesise))
    assert it.phase is Phase.OVER


def test_sound_that_comes_back_in_time_saves_the_call():
    it = greeted()
    it.post(ev.MediaLost("closed"))
    it.now += 3.0
    it.post(ev.MediaStarted(8000))
    it.frames(QUIET, 4.0)
    assert it.phase is Phase.LISTENING


def test_a_call_that_is_never_answered_is_let_go():
    it = world()
    it.tick()
    assert it.phase is Phase.OVER
    assert it.all(act.Synthesise) == []


def test_an_utterance_whose_sound_stops_coming_is_ended_anyway():
    it = greeted()
    it.frames(VOICED, 1.0)
    assert it.phase is Phase.HEARING
    it.tick()  # the deadline of the first frame, which the later ones have moved
    it.tick()
    assert it.all(act.CloseUtterance)


def test_a_drain_ends_the_call_with_a_goodbye():
    it = greeted()
    it.post(ev.EndRequested("drain"))
    assert it.phase is Phase.CLOSING
    assert "have to end our call" in it.last(act.Synthesise).text
    it.hear_all()
    assert it.phase is Phase.OVER


def test_a_turn_tells_how_long_each_of_its_steps_took():
    it = replying("Nine to five.")
    it.now += 0.2
    it.voice_all()
    play = it.last(act.Play)
    it.now += 0.03
    it.post(ev.PlaybackBegan(play.turn, play.clip))
    it.post(ev.Played(play.turn, play.clip, 1.0))
    steps = it.last(act.Measured).steps
    order = ["speech_ended", "endpoint", "transcript", "asked", "first_text", "first_clause", "first_audio", "play"]
    assert [steps[name] for name in order] == sorted(steps[name] for name in order)
    assert steps["endpoint"] - steps["speech_ended"] == pytest.approx(0.7, abs=0.001)
    assert steps["began"] - steps["play"] == pytest.approx(0.03)


def test_a_caller_who_speaks_over_words_that_fail_is_not_apologised_to_but_answered():
    it = world(barge_in=BargeInSettings(greeting=False))
    it.answer()
    it.voice_all(5.0)
    it.frames(VOICED, 0.5)
    it.post(ev.Played(1, 0, 0.0))
    assert it.phase is Phase.HEARING
    assert len(it.all(act.Synthesise)) == 1
    it.frames(QUIET, 1.0)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "Hello?"))
    assert it.last(act.AskModel).messages[-1] == Message("user", "Hello?")


def test_an_answer_whose_voice_fails_midway_is_gone_on_with_after_the_apology():
    it = replying("One is here. Two is here.", limits=LimitSettings(retries=0))
    turn = it.last(act.AskModel).turn
    it.post(ev.Synthesised(turn, 0, sound(1.0)))
    it.post(ev.ProviderFailed("tts", turn, "down", clip=1))
    it.post(ev.Played(turn, 0, 1.0))
    it.hear_all()
    assert [message.content for message in it.last(act.AskModel).messages[-3:]] == [
        "What are your hours?",
        "One is here.",
        UNHEARD,
    ]


def test_last_words_that_nobody_reports_do_not_keep_the_caller_in_silence():
    it = greeted(phrases=Phrases(greeting="Hello.", ended="Goodbye."))
    it.post(ev.EndRequested("drain"))
    it.voice_all(1.0)
    began = it.now
    while it.phase is not Phase.OVER:
        it.tick()
    assert it.now - began == pytest.approx(4.0)
    assert it.last(act.HangUp).cause == "NORMAL_CLEARING"


def test_last_words_whose_voice_does_not_answer_are_tried_again_then_done_without():
    it = greeted(limits=LimitSettings(tts=2.0))
    it.post(ev.EndRequested("drain"))
    began = it.now
    while it.phase is not Phase.OVER:
        it.tick()
    assert it.now - began == pytest.approx(4.0)


def test_an_utterance_that_its_recogniser_ends_early_is_answered_and_the_rest_is_heard():
    it = greeted()
    it.frames(VOICED, 0.6)
    it.post(ev.Transcribed(it.last(act.OpenUtterance).utterance, "What are your hours?"))
    assert it.all(act.CloseUtterance)
    assert it.last(act.AskModel).messages[-1] == Message("user", "What are your hours?")
    it.frames(VOICED, 0.3)
    assert it.phase is Phase.HEARING
    it.frames(QUIET, 1.0)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "On Sunday."))
    assert it.last(act.AskModel).messages[-1].content == "What are your hours? On Sunday."
