"""The money of a call is spent: it ends at the next pause, and nobody's sentence is cut for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.destinations import DestinationSettings
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import CascadeSettings, LastResortSettings, Phrases
from tests.pure.world import QUIET, RATE, VOICED, World, sound

PHRASES = Phrases(greeting="Hello.", budget="We have to end here.", failure="It is out of order.")
DESK = {"desk": DestinationSettings(number="1000")}
PLAIN = CascadeSettings(phrases=PHRASES)
WITH_A_DESK = CascadeSettings(
    phrases=PHRASES, destinations=DESK, last_resort=LastResortSettings(transfer="desk", say="I put you through.")
)


def greeted(settings: CascadeSettings = PLAIN) -> World:
    it = World(settings)
    it.answer()
    it.hear_all()
    assert it.phase is Phase.LISTENING
    return it


def said(it: World) -> list[str]:
    return [action.text for action in it.all(act.Synthesise)]


def test_a_call_whose_budget_is_passed_in_mid_turn_finishes_its_sentence():
    it = greeted()
    it.caller_says("What are your hours?")
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, "We open at nine. "))
    it.voice_all()
    it.post(ev.BudgetSpent("call"))
    it.post(ev.ReplyText(turn, "We close at five."))
    it.post(ev.ReplyEnded(turn))
    assert it.phase is Phase.SPEAKING
    assert not it.all(act.StopPlayback)
    it.hear_all()
    assert said(it) == ["Hello.", "We open at nine.", "We close at five.", "We have to end here."]
    assert it.last(act.HangUp).cause == "NORMAL_CLEARING"


def test_in_a_pause_it_ends_at_once_and_with_the_words_of_a_long_call_if_it_has_none_of_its_own():
    it = greeted(CascadeSettings(phrases=Phrases(greeting="Hello.", too_long="Time is up.")))
    it.post(ev.BudgetSpent("call"))
    assert it.phase is Phase.CLOSING
    assert said(it)[-1] == "Time is up."


def test_a_caller_who_speaks_is_heard_out_and_the_model_is_not_asked_any_more():
    it = greeted()
    it.frames(VOICED, 0.6)
    it.post(ev.BudgetSpent("call"))
    assert it.phase is Phase.HEARING
    it.frames(QUIET, 1.0)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "What are your hours?"))
    assert it.phase is Phase.CLOSING
    assert not it.all(act.AskModel)
    assert said(it)[-1] == "We have to end here."


def test_a_failed_answer_is_not_paid_for_twice():
    it = greeted()
    it.caller_says("What are your hours?")
    it.post(ev.BudgetSpent("call"))
    it.post(ev.ProviderFailed("llm", it.last(act.AskModel).turn, "down", True))
    assert it.phase is Phase.CLOSING
    assert len(it.all(act.AskModel)) == 1


def test_where_the_day_is_spent_the_last_resort_gets_the_caller():
    it = greeted(WITH_A_DESK)
    it.post(ev.BudgetSpent("day"))
    it.hear_all()
    assert said(it)[-1] == "I put you through."
    assert it.last(act.Transfer).name == "desk"


def test_a_call_that_alone_was_too_dear_is_not_given_to_a_person():
    it = greeted(WITH_A_DESK)
    it.post(ev.BudgetSpent("call"))
    it.hear_all()
    assert said(it)[-1] == "We have to end here."
    assert not it.all(act.Transfer)


def test_a_caller_whom_the_last_resort_does_not_take_either_hears_last_words():
    it = greeted(WITH_A_DESK)
    it.post(ev.BudgetSpent("day"))
    it.hear_all()
    it.post(ev.TransferFailed("desk", "busy"))
    it.hear_all()
    assert said(it)[-1] == PHRASES.failure
    assert it.phase is Phase.OVER


def test_a_new_caller_on_a_spent_day_hears_no_greeting_that_promises_help():
    it = World(WITH_A_DESK)
    it.post(ev.BudgetSpent("day"))
    assert it.phase is Phase.WAITING
    it.post(ev.Answered())
    it.post(ev.MediaStarted(RATE))
    it.hear_all()
    assert said(it) == ["I put you through."]
    assert it.last(act.Transfer).name == "desk"


def test_without_the_callers_sound_nobody_is_put_through():
    it = World(WITH_A_DESK)
    it.post(ev.BudgetSpent("day"))
    it.post(ev.Answered())
    it.tick()
    assert said(it) == [PHRASES.failure]


def test_whoever_is_with_somebody_else_stays_there():
    it = greeted(WITH_A_DESK)
    it.post(ev.BudgetSpent("day"))
    it.hear_all()
    it.post(ev.Transferred("desk"))
    it.post(ev.BudgetSpent("call"))
    assert it.phase is Phase.HANDED_OVER


@hypothesis_settings(max_examples=100)
@given(st.floats(0.0, 6.0), st.sampled_from(["call", "day"]), st.sampled_from([PLAIN, WITH_A_DESK]))
def test_whenever_it_comes_the_call_ends_and_no_new_question_is_asked(at, scope, config):
    it = World(config)
    it.answer()
    it.voice_all()
    posted_at, questions = it.now + at, None

    def maybe_post() -> None:
        nonlocal questions
        if questions is None and it.now >= posted_at:
            it.post(ev.BudgetSpent(scope))
            questions = len(it.all(act.AskModel))

    for step in range(400):
        it.frames(VOICED if 60 < step < 90 else QUIET, 0.02)
        maybe_post()
        for action in it.all(act.CloseUtterance):
            it.post(ev.Transcribed(action.utterance, "words"))
        for action in it.all(act.AskModel):
            it.post(ev.ReplyText(action.turn, "An answer."))
            it.post(ev.ReplyEnded(action.turn))
        for action in it.all(act.Synthesise):
            it.post(ev.Synthesised(action.turn, action.clip, sound(0.2)))
        for action in it.all(act.Play):
            it.post(ev.Played(action.turn, action.clip, action.audio.seconds))
    assert questions is not None
    assert len(it.all(act.AskModel)) == questions
    assert it.phase in (Phase.OVER, Phase.TRANSFERRING)
