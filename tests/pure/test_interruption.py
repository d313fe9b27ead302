"""The caller speaks over the agent, one situation at a time."""

from __future__ import annotations

import pytest

from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Message
from esl_agent.dialogue.clauses import cut
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import BargeInSettings, LimitSettings
from esl_agent.dialogue.transcript import UNHEARD
from tests.pure.test_cascade import greeted, replying, world
from tests.pure.world import QUIET, VOICED, World, sound

TWO = "First thing to say. Second thing to say."


def speaking(text: str = TWO, seconds: float = 2.0, *, streams: bool = False, **barge_in) -> World:
    """The agent says ``text``; every clip of it is with the leg."""
    it = replying(text, streams=streams, barge_in=BargeInSettings(**barge_in))
    for _ in range(3):
        it.voice_all(seconds)
    assert it.phase is Phase.SPEAKING
    return it


def spoken_over(it: World, voice: float = 0.2, quiet: float = 0.8) -> int:
    """Somebody speaks over the agent, for a while; the utterance's number."""
    it.frames(VOICED, voice)
    it.frames(QUIET, quiet)
    return it.last(act.OpenUtterance).utterance


def paused(it: World, *heard: float) -> None:
    """The stopped clips are reported."""
    for clip, seconds in enumerate(heard):
        it.post(ev.Played(it.all(act.AskModel)[0].turn, clip, seconds))


def spoken(it: World) -> list[str]:
    return [clause.text for clause in it.all(act.Synthesise)]


def plays(it: World) -> list[tuple[int, float]]:
    turn = it.last(act.AskModel).turn
    return [(play.clip, play.start) for play in it.all(act.Play) if play.turn == turn]


def test_a_cough_pauses_the_agent_who_then_goes_on_where_it_stopped():
    it = speaking()
    it.frames(VOICED, 0.2)
    paused(it, 0.7, 0.0)
    it.frames(QUIET, 0.8)
    assert plays(it) == [(0, 0.0), (1, 0.0)]
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, ""))
    assert it.phase is Phase.SPEAKING
    assert plays(it) == [(0, 0.0), (1, 0.0), (0, 0.7), (1, 0.0)]
    paused(it, 2.0, 2.0)
    measured = it.last(act.Measured)
    assert (measured.interrupted, measured.false_interruptions, measured.agent) == (False, 1, TWO)
    assert measured.steps["resumed"] > measured.steps["interrupted"] > measured.steps["interrupted_onset"]


def test_when_the_agent_fell_silent_is_the_first_report_after_it_yielded():
    it = speaking()
    it.frames(VOICED, 0.2)
    steps = it.dialogue._turn.steps
    paused(it, 0.7)
    silent = it.now
    it.frames(QUIET, 0.1)
    it.post(ev.Played(it.all(act.AskModel)[0].turn, 1, 0.0))
    assert steps["interrupted"] < steps["silent"] == silent


@pytest.mark.parametrize("words", ["Mm-hm.", "Okay, yeah."])
def test_a_back_channel_neither_stops_the_agent_nor_enters_the_history(words):
    it = speaking()
    number = spoken_over(it)
    paused(it, 0.7, 0.0)
    it.post(ev.Transcribed(number, words, final=False))
    it.post(ev.Transcribed(number, words))
    paused(it, 2.0, 2.0)
    assert it.phase is Phase.LISTENING
    assert len(it.all(act.AskModel)) == 1
    assert it.dialogue.transcript.messages()[-1] == Message("assistant", TWO)


def test_words_of_a_partial_transcript_take_the_floor_at_once():
    it = speaking()
    it.frames(VOICED, 0.3)
    it.post(ev.Transcribed(it.last(act.OpenUtterance).utterance, "stop", final=False))
    assert it.phase is Phase.HEARING
    paused(it, 0.7, 0.0)
    measured = it.last(act.Measured)
    assert measured.interrupted
    assert measured.steps["confirmed"] == it.now
    assert measured.steps["interrupted"] < it.now


def test_words_that_take_the_floor_are_answered_with_what_was_heard_before_them():
    it = speaking()
    number = spoken_over(it)
    paused(it, 1.0, 0.0)
    it.post(ev.Transcribed(number, "No, Sunday."))
    assert it.last(act.AskModel).messages[-2:] == (
        Message("assistant", "First thing"),
        Message("user", "No, Sunday."),
    )


def test_the_agent_goes_on_when_no_words_come_soon():
    it = speaking()
    spoken_over(it, quiet=1.0)
    paused(it, 0.7, 0.0)
    it.tick()
    while it.phase is Phase.YIELDING:
        it.tick()
    assert plays(it)[2:] == [(0, 0.7), (1, 0.0)]
    steps = it.dialogue._turn.steps
    assert steps["resumed"] - (steps["interrupted_onset"] + 0.2) == pytest.approx(1.2, abs=0.03)


def test_the_model_is_asked_with_what_was_heard_of_the_turn_before():
    it = speaking(hesitate="keep")
    number = spoken_over(it)
    it.post(ev.Transcribed(number, "Wait a moment!"))
    assert len(it.all(act.AskModel)) == 1, "asked before the stopped clips were reported"
    paused(it, 2.0, 1.0)
    heard = [message.content for message in it.last(act.AskModel).messages]
    assert heard[-2:] == ["First thing to say. Second thing", "Wait a moment!"]


def test_clips_that_are_never_reported_hold_the_answer_up_for_a_bounded_time():
    it = speaking(hesitate="keep")
    it.post(ev.Transcribed(spoken_over(it), "Wait a moment!"))
    it.tick()
    assert len(it.all(act.AskModel)) == 2


def test_a_cough_still_counts_when_another_interruption_of_the_turn_is_meant():
    it = speaking()
    it.frames(VOICED, 0.2)
    paused(it, 0.7, 0.0)
    it.frames(QUIET, 0.8)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, ""))
    it.frames(VOICED, 0.2)
    it.post(ev.Transcribed(it.last(act.OpenUtterance).utterance, "Wait a moment!", final=False))
    paused(it, 1.0, 0.0)
    measured = it.last(act.Measured)
    assert (measured.interrupted, measured.false_interruptions) == (True, 1)
    assert "resumed" not in measured.steps


def test_real_words_that_come_after_the_agent_went_on_still_take_the_floor():
    it = speaking()
    number = spoken_over(it, quiet=1.3)
    paused(it, 0.7, 0.0)
    assert it.phase is Phase.SPEAKING
    it.post(ev.Transcribed(number, "Wait a moment!"))
    assert it.last(act.AbandonTurn).turn == it.all(act.AskModel)[0].turn
    assert len(it.all(act.StopPlayback)) == 2
    paused(it, 1.0, 0.0)
    measured = it.last(act.Measured)
    assert (measured.interrupted, measured.false_interruptions) == (True, 0)
    assert it.last(act.AskModel).messages[-1] == Message("user", "Wait a moment!")


def test_a_late_back_channel_changes_nothing():
    it = speaking()
    number = spoken_over(it, quiet=1.3)
    paused(it, 0.7, 0.0)
    ordered = len(it.log)
    it.post(ev.Transcribed(number, "mhm"))
    assert len(it.log) == ordered
    assert it.phase is Phase.SPEAKING


def test_the_agent_does_not_go_on_before_it_is_known_where_it_stopped():
    it = speaking()
    number = spoken_over(it)
    it.post(ev.Transcribed(number, ""))
    assert len(plays(it)) == 2
    it.post(ev.Played(it.last(act.AskModel).turn, 0, 0.7))
    assert len(plays(it)) == 2
    it.post(ev.Played(it.last(act.AskModel).turn, 1, 0.0))
    assert plays(it)[2:] == [(0, 0.7), (1, 0.0)]


def test_a_switch_that_never_says_where_it_stopped_is_not_waited_for_for_ever():
    it = speaking("First thing to say. Second thing to say. Third thing to say.")
    number = spoken_over(it)
    it.post(ev.Transcribed(number, ""))
    for _ in range(4):
        it.tick()
    assert plays(it)[2:] == [(2, 0.0)]


def test_what_was_said_over_the_last_syllable_answers_it():
    it = speaking("Shall I book it?")
    it.frames(VOICED, 0.2)
    paused(it, 1.9)
    assert it.phase is Phase.HEARING
    assert not it.last(act.Measured).interrupted
    it.frames(QUIET, 0.8)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "Yes."))
    assert it.last(act.AskModel).messages[-2:] == (
        Message("assistant", "Shall I book it?"),
        Message("user", "Yes."),
    )


def test_while_the_agent_pauses_the_model_and_the_voice_go_on():
    it = greeted()
    it.caller_says("What are your hours?")
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, "One is here. "))
    it.post(ev.ReplyText(turn, "Two "))
    it.voice_all(3.0)
    it.frames(VOICED, 0.2)
    it.post(ev.ReplyText(turn, "is here. Three is here."))
    it.post(ev.ReplyEnded(turn))
    assert it.last(act.Synthesise).clip == 1
    it.post(ev.Synthesised(turn, 1, sound(1.0)))
    assert plays(it) == [(0, 0.0)]
    paused(it, 1.0)
    it.frames(QUIET, 1.3)
    assert plays(it)[1:] == [(0, 1.0), (1, 0.0)]


def test_a_recogniser_that_fails_lets_the_agent_go_on():
    it = speaking()
    number = spoken_over(it)
    paused(it, 0.7, 0.0)
    it.post(ev.ProviderFailed("stt", number, "died", retryable=False))
    assert it.phase is Phase.SPEAKING
    assert plays(it)[2:] == [(0, 0.7), (1, 0.0)]


def voice_fails_in_a_pause() -> World:
    """The first of two clips was stopped after 0.3 s, and the second gets no voice."""
    it = replying(TWO, limits=LimitSettings(retries=0))
    turn = it.last(act.AskModel).turn
    it.post(ev.Synthesised(turn, 0, sound(2.0)))
    it.frames(VOICED, 0.3)
    it.post(ev.ProviderFailed("tts", turn, "down", clip=1))
    assert it.phase is Phase.YIELDING
    paused(it, 0.3)
    it.frames(QUIET, 0.5)
    return it


def test_a_voice_that_fails_while_the_agent_pauses_leaves_the_floor_to_the_caller():
    it = voice_fails_in_a_pause()
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "Wait."))
    assert it.last(act.AskModel).messages[-1].content.endswith("Wait.")
    assert spoken(it) == ["Hello.", *cut(TWO)]


def test_a_voice_that_fails_while_the_agent_pauses_for_nothing_is_apologised_for_when_the_rest_was_heard():
    it = voice_fails_in_a_pause()
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "mhm"))
    assert plays(it)[-1] == (0, 0.3)
    it.post(ev.Played(it.last(act.Play).turn, 0, 2.0))
    assert "technical problem" in spoken(it)[-1]
    it.hear_all()
    assert it.last(act.AskModel).messages[-1].content == UNHEARD


def test_the_agent_speaks_softly_while_it_hesitates_where_the_media_stream():
    it = speaking(streams=True, hesitate="duck", duck=0.2)
    number = spoken_over(it)
    assert it.all(act.SetVolume) == [act.SetVolume(0.2)]
    it.post(ev.Transcribed(number, ""))
    assert it.all(act.SetVolume) == [act.SetVolume(0.2), act.SetVolume(1.0)]
    assert it.all(act.StopPlayback) == []


def test_a_caller_who_takes_the_floor_leaves_the_agent_as_loud_as_ever():
    it = speaking(streams=True, hesitate="duck")
    it.frames(VOICED, 1.0)
    kinds = [type(a) for _, a in it.log if isinstance(a, act.SetVolume | act.StopPlayback)]
    assert kinds == [act.SetVolume, act.StopPlayback, act.SetVolume]
    assert it.last(act.SetVolume).gain == 1.0


@pytest.mark.parametrize("hesitate", ["duck", "keep"])
def test_without_streaming_media_an_agent_that_does_not_pause_speaks_on(hesitate):
    it = speaking(hesitate=hesitate)
    spoken_over(it)
    assert it.all(act.SetVolume) == it.all(act.StopPlayback) == []
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "Stop it!"))
    assert it.all(act.StopPlayback) == [act.StopPlayback()]
    paused(it, 1.0, 0.0)
    measured = it.last(act.Measured)
    assert measured.steps["interrupted"] == measured.steps["confirmed"] == it.now


def test_a_goodbye_that_is_spoken_over_ends_the_call_only_if_nothing_was_said():
    it = greeted(barge_in=BargeInSettings(hesitate="keep"))
    it.caller_says("Goodbye.")
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, "Goodbye to you. "))
    it.post(ev.ReplyEnded(turn, hang_up=True))
    it.voice_all()
    number = spoken_over(it)
    paused(it, 1.0)
    assert it.all(act.HangUp) == []
    it.post(ev.Transcribed(number, "mhm"))
    assert it.all(act.HangUp) == [act.HangUp("NORMAL_CLEARING")]


def test_with_resume_off_a_cough_costs_the_agent_its_turn():
    it = speaking(resume=False)
    number = spoken_over(it)
    paused(it, 0.7, 0.0)
    it.frames(QUIET, 1.0)
    assert it.phase is Phase.YIELDING
    it.post(ev.Transcribed(number, ""))
    assert it.last(act.Measured).interrupted
    assert "did not catch" in it.last(act.Synthesise).text


def test_a_phrase_that_may_not_be_interrupted_is_finished():
    it = world(barge_in=BargeInSettings(uninterruptible=("greeting",)))
    it.answer()
    it.voice_all(5.0)
    it.frames(VOICED, 0.5)
    assert it.phase is Phase.SPEAKING
    assert it.all(act.StopPlayback) == []


def test_a_call_that_is_drained_while_the_agent_pauses_is_bidden_goodbye():
    it = speaking(streams=True, hesitate="duck")
    it.frames(VOICED, 0.2)
    it.post(ev.EndRequested("drain"))
    assert it.phase is Phase.CLOSING
    assert it.last(act.SetVolume).gain == 1.0
    it.hear_all()
    assert it.phase is Phase.OVER


def test_two_coughs_in_a_row_are_waited_for_both():
    it = speaking()
    first = spoken_over(it)
    paused(it, 0.7, 0.0)
    it.frames(VOICED, 0.2)
    it.post(ev.Transcribed(first, ""))
    assert it.phase is Phase.YIELDING
    it.frames(QUIET, 0.8)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, ""))
    assert plays(it)[2:] == [(0, 0.7), (1, 0.0)]


def test_words_from_before_the_agent_spoke_do_not_leave_it_waiting_for_more():
    it = world(barge_in=BargeInSettings(greeting=False, resume=False))
    it.answer()
    it.voice_all(5.0)
    first = spoken_over(it)
    it.post(ev.Played(1, 0, 0.0))
    it.voice_all(5.0)
    second = spoken_over(it)
    it.post(ev.Transcribed(second, ""))
    assert it.phase is Phase.YIELDING
    it.post(ev.Transcribed(first, "Hello?"))
    it.post(ev.Played(it.last(act.Play).turn, 0, 1.0))
    assert it.last(act.AskModel).messages[-1] == Message("user", "Hello?")


@pytest.mark.parametrize(("words", "ends"), [("No, wait!", False), ("mhm", True)])
def test_a_goodbye_is_not_the_end_while_words_that_were_said_over_it_are_awaited(words, ends):
    it = greeted()
    it.caller_says("Goodbye.")
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, "Goodbye to you. "))
    it.post(ev.ReplyEnded(turn, hang_up=True))
    it.voice_all(2.0)
    number = spoken_over(it, quiet=1.3)
    paused(it, 0.7)
    assert it.phase is Phase.SPEAKING
    it.post(ev.Played(turn, 0, 2.0))
    assert it.all(act.HangUp) == []
    it.post(ev.Transcribed(number, words))
    assert bool(it.all(act.HangUp)) is ends
    assert ends or it.last(act.AskModel).messages[-1] == Message("user", words)


def test_a_yes_to_the_last_words_is_an_answer_also_when_its_words_are_late():
    it = speaking("Shall I book it?")
    number = spoken_over(it, quiet=1.3)
    paused(it, 1.2)
    it.now += 0.8
    paused(it, 2.0)
    assert it.phase is Phase.THINKING
    it.post(ev.Transcribed(number, "Yes."))
    assert it.last(act.AskModel).messages[-1] == Message("user", "Yes.")


def test_a_back_channel_from_long_before_the_last_words_does_not_answer_them():
    it = speaking("Shall I book it?", 5.0)
    number = spoken_over(it, quiet=1.3)
    paused(it, 1.2)
    it.now += 3.8
    paused(it, 5.0)
    it.post(ev.Transcribed(number, "Yes."))
    assert it.phase is Phase.LISTENING
