"""A call is handed over, or comes back, one situation at a time."""

from __future__ import annotations

import pytest

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Message
from esl_agent.dialogue.destinations import DestinationSettings
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import BargeInSettings, LastResortSettings, LimitSettings
from tests.pure.test_tool_turns import asked, calls, says, spoken
from tests.pure.world import QUIET, RATE, VOICED, World, sound

PEOPLE = {
    "desk": DestinationSettings(number="1000", say="I will put you through."),
    "sales": DestinationSettings(dial="user/1010", mode="warm", briefing="A call. {summary}", timeout=20.0),
}


def transferring(to: str = "sales", say: str = "Of course.", **settings) -> World:
    """The words before a transfer were heard."""
    it = asked(destinations=PEOPLE, **settings)
    calls(it, "transfer", say=say, to=to, summary="About prices.")
    it.hear_all()
    assert it.phase is Phase.TRANSFERRING
    return it


def briefed(it: World) -> World:
    clause = it.last(act.Synthesise)
    it.post(ev.Synthesised(clause.turn, clause.clip, sound(2.0)))
    return it


def test_a_blind_transfer_begins_when_the_words_before_it_were_heard():
    it = asked(destinations=PEOPLE)
    calls(it, "transfer", say="Of course.", to="desk")
    it.voice_all()
    assert not it.all(act.Transfer)
    it.hear_all()
    assert spoken(it) == ["Of course.", "I will put you through."]
    assert it.all(act.Transfer) == [act.Transfer("desk", "1000 XML default", "blind", None)]


def test_whoever_answers_a_warm_transfer_is_briefed_and_the_caller_does_not_hear_it():
    it = briefed(transferring_before_briefing())
    [transfer] = it.all(act.Transfer)
    assert (transfer.name, transfer.number, transfer.mode) == ("sales", "{leg_timeout=20}user/1010", "warm")
    assert transfer.briefing is not None
    assert transfer.briefing.seconds == 2.0
    assert spoken(it)[-1] == "A call. About prices."
    assert it.last(act.Synthesise).turn not in [play.turn for play in it.all(act.Play)]


def transferring_before_briefing(**settings) -> World:
    it = asked(destinations=PEOPLE, **settings)
    calls(it, "transfer", say="Of course.", to="sales", summary="About prices.")
    clause = it.last(act.Synthesise)
    it.post(ev.Synthesised(clause.turn, clause.clip, sound(1.0)))
    play = it.last(act.Play)
    it.now += 1.0
    it.post(ev.Played(play.turn, play.clip, 1.0))
    assert it.phase is Phase.TRANSFERRING
    assert not it.all(act.Transfer)
    return it


def test_a_briefing_that_streams_is_waited_for():
    it = transferring_before_briefing()
    clause = it.last(act.Synthesise)
    stream = SoundStream(RATE)
    stream.append(bytes(RATE))
    it.post(ev.Synthesised(clause.turn, clause.clip, stream))
    assert not it.all(act.Transfer)
    stream.append(bytes(RATE))
    stream.end()
    it.post(ev.SynthesisEnded(clause.turn, clause.clip))
    assert it.last(act.Transfer).briefing == Sound(bytes(2 * RATE), RATE)


def no_voice(it: World, *, silent: bool) -> None:
    if silent:
        it.tick()
    else:
        it.post(ev.ProviderFailed("tts", it.last(act.Synthesise).turn, "broken", clip=0))


@pytest.mark.parametrize("silent", [True, False])
def test_a_briefing_that_gets_no_voice_is_replaced_by_the_words_that_are_known_before_the_call(silent):
    it = transferring_before_briefing()
    no_voice(it, silent=silent)
    assert not it.all(act.Transfer)
    clause = it.last(act.Synthesise)
    assert clause.text == "A call."
    assert clause.text in it.dialogue._settings.clauses()
    it.post(ev.Synthesised(clause.turn, clause.clip, sound(1.0)))
    assert it.last(act.Transfer).briefing == sound(1.0)


@pytest.mark.parametrize("silent", [True, False])
def test_no_voice_at_all_does_not_stop_the_transfer(silent):
    it = transferring_before_briefing()
    no_voice(it, silent=silent)
    no_voice(it, silent=silent)
    assert it.last(act.Transfer).briefing is None


def test_nobody_is_listened_to_and_nothing_is_said_while_it_rings():
    it = briefed(transferring_before_briefing())
    before = len(it.log)
    it.frames(VOICED, 1.0)
    it.frames(QUIET, 10.0)
    it.post(ev.DigitPressed("1"))
    assert len(it.log) == before


def test_whoever_has_been_handed_over_is_not_spoken_to_until_the_call_ends():
    it = briefed(transferring_before_briefing(limits=LimitSettings(call=60.0, transferred=3600.0)))
    it.post(ev.Transferred("sales"))
    assert it.phase is Phase.HANDED_OVER
    before = len(it.log)
    it.frames(VOICED, 1.0)
    it.post(ev.MediaLost("closed", final=True))
    it.now += 1000.0
    it.post(ev.Tick())
    assert len(it.log) == before
    it.post(ev.HungUp("NORMAL_CLEARING"))
    assert it.phase is Phase.OVER


def test_a_conversation_that_never_ends_is_ended():
    it = briefed(transferring_before_briefing(limits=LimitSettings(transferred=3600.0)))
    it.post(ev.Transferred("sales"))
    began = it.now
    it.tick()
    assert it.all(act.HangUp)
    assert it.now - began == 3600.0


def test_a_transfer_that_nobody_took_is_told_to_the_model_which_goes_on():
    it = briefed(transferring_before_briefing())
    it.post(ev.TransferFailed("sales", "busy"))
    ask = it.last(act.AskModel)
    assert ask.messages[-1] == Message("tool", "failed: sales was not reached: the line is busy", tool_call_id="1")
    says(it, "Nobody is free.")
    it.hear_all()
    assert it.phase is Phase.LISTENING
    assert spoken(it)[-1] == "Nobody is free."


def test_news_of_a_transfer_count_once():
    it = briefed(transferring_before_briefing())
    it.post(ev.TransferFailed("sales", "busy"))
    before = len(it.log)
    it.post(ev.TransferFailed("sales", "busy"))
    assert len(it.log) == before


def test_a_transfer_of_which_nobody_ever_hears_again_has_failed():
    it = briefed(transferring_before_briefing())
    began = it.now
    it.tick()
    assert 20.0 < it.now - began < 60.0
    assert "nobody answered" in it.last(act.AskModel).messages[-1].content


def test_somebody_who_takes_the_call_late_has_it():
    it = briefed(transferring_before_briefing())
    it.tick()
    it.post(ev.Transferred("sales"))
    assert it.phase is Phase.HANDED_OVER
    assert it.last(act.AskModel).turn in [given_up.turn for given_up in it.all(act.AbandonTurn)]


def test_somebody_who_takes_the_call_while_another_is_tried_has_it():
    it = briefed(transferring_before_briefing())
    it.tick()
    calls(it, "transfer", id="2", to="desk")
    it.hear_all()
    assert it.last(act.Transfer).name == "desk"
    it.post(ev.Transferred("sales"))
    assert it.phase is Phase.HANDED_OVER
    it.post(ev.TransferFailed("desk", "refused"))
    assert it.phase is Phase.HANDED_OVER


def test_a_caller_who_comes_back_to_a_service_that_stops_is_told_so():
    it = briefed(transferring_before_briefing())
    it.post(ev.EndRequested("drain"))
    assert it.phase is Phase.TRANSFERRING
    it.post(ev.TransferFailed("sales", "busy"))
    assert it.phase is Phase.CLOSING
    assert "have to end our call" in it.last(act.Synthesise).text


def test_a_caller_who_says_wait_is_not_put_through():
    it = asked(destinations=PEOPLE)
    calls(it, "transfer", say="Of course.", to="desk")
    it.voice_all(2.0)
    it.frames(VOICED, 1.0)
    it.post(ev.Played(it.last(act.AskModel).turn, 0, 0.5))
    it.frames(QUIET, 1.0)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "wait please"))
    assert not it.all(act.Transfer)
    assert it.last(act.AskModel).messages[-1] == Message("user", "wait please")


def test_no_call_is_transferred_while_its_sound_is_lost():
    it = asked(destinations=PEOPLE)
    calls(it, "transfer", say="Of course.", to="desk")
    it.post(ev.MediaLost("gone"))
    it.hear_all()
    assert not it.all(act.Transfer)
    assert "the telephone system refused it" in it.last(act.AskModel).messages[-1].content


def test_a_destination_that_the_operator_did_not_write_is_never_called():
    it = asked(destinations=PEOPLE)
    calls(it, "transfer", say="Of course.", to="+49301234567")
    it.hear_all()
    assert not it.all(act.Transfer)
    assert it.last(act.AskModel).messages[-1].content.startswith("failed: ")


def test_a_model_that_transfers_again_and_again_must_speak_in_the_end():
    it = asked(destinations=PEOPLE)
    for number in range(10):
        if not it.last(act.AskModel).tools:
            break
        calls(it, "transfer", id=str(number), to="desk")
        it.hear_all()
        it.post(ev.TransferFailed("desk", "limit"))
    assert len(it.all(act.Transfer)) == 3


def test_a_caller_who_was_speaking_when_it_began_to_ring_is_heard_when_they_come_back():
    it = asked(destinations=PEOPLE, barge_in=BargeInSettings(enabled=False))
    calls(it, "transfer", say="Of course.", to="desk")
    it.voice_all()
    it.frames(VOICED, 0.5)
    it.hear_all()
    assert it.phase is Phase.TRANSFERRING
    it.post(ev.TransferFailed("desk", "busy"))
    opened = len(it.all(act.OpenUtterance))
    it.frames(VOICED, 0.5)
    assert len(it.all(act.OpenUtterance)) == opened + 1


# The last resort


def broken(**settings) -> World:
    """The model fails, for good."""
    it = asked(
        destinations=PEOPLE,
        last_resort=LastResortSettings(transfer="desk", say="I will get help."),
        limits=LimitSettings(retries=0, failures=2),
    )
    for _ in range(2):
        it.post(ev.ProviderFailed("llm", it.last(act.AskModel).turn, "broken"))
        if it.last(act.Synthesise).text != "I will get help.":
            it.hear_all()
    assert spoken(it)[-1] == "I will get help."
    return it


def test_when_nothing_else_works_the_last_resort_gets_the_call():
    it = broken()
    it.hear_all()
    assert it.all(act.Transfer) == [act.Transfer("desk", "1000 XML default", "blind", None)]
    it.post(ev.Transferred("desk"))
    assert it.phase is Phase.HANDED_OVER


def test_a_voice_that_fails_does_not_stop_the_last_resort():
    it = broken()
    it.post(ev.ProviderFailed("tts", it.last(act.Synthesise).turn, "broken", clip=0))
    assert it.all(act.Transfer)


def test_a_last_resort_that_fails_too_is_the_end_of_the_call():
    it = broken()
    it.hear_all()
    it.post(ev.TransferFailed("desk", "unreachable"))
    assert it.phase is Phase.CLOSING
    it.hear_all()
    assert it.all(act.HangUp)
    assert len(it.all(act.Transfer)) == 1


def test_the_words_before_the_last_resort_are_not_talked_over():
    it = broken()
    it.voice_all(2.0)
    it.frames(VOICED, 1.0)
    assert not it.all(act.StopPlayback)
