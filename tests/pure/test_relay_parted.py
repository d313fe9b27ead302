"""A speech-to-speech agent and its call come together and are parted at odd moments."""

from __future__ import annotations

import pytest

from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import ToolCall
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.relay_sessions import AGAIN
from esl_agent.dialogue.relay_settings import RelaySettings
from esl_agent.dialogue.settings import LastResortSettings, LimitSettings, SilenceSettings
from tests.pure.relay_world import RelayWorld
from tests.pure.test_relay import greeted, replying, world
from tests.pure.test_relay_duties import PEOPLE, working


def growing_old() -> RelayWorld:
    """A quiet call whose session is old: another one is being connected."""
    patient = SilenceSettings(prompt_after=120.0)
    it = greeted(RelaySettings(session=30.0), silence=patient, limits=LimitSettings(call=600.0))
    it.listen(31.0)
    assert (it.session, it.phase) == (2, Phase.LISTENING)
    return it


def test_who_comes_back_from_a_transfer_to_an_agent_that_is_gone_gets_another_one():
    it = working("I put you through.", call=ToolCall("t1", "transfer", {"to": "sales"}))
    it.listen(3.0)
    it.voice_all()
    it.post(ev.AgentClosed(1, "gone", retryable=True))
    assert len(it.all(act.ConnectAgent)) == 1
    it.post(ev.TransferFailed("sales", "busy"))
    assert it.session == 2
    it.connect()
    assert "busy" in it.last(act.TellAgent).text
    assert it.last(act.AskAgent) == act.AskAgent(2)


def test_nobody_talks_over_the_words_before_the_last_resort():
    it = greeted(destinations=PEOPLE, last_resort=LastResortSettings(transfer="desk", say="One moment."))
    it.post(ev.AgentClosed(1, "no such key"))
    it.voice_all()
    it.listen(0.3)
    it.post(ev.CallerSpeaks(1, "c1"))
    it.post(ev.DigitPressed("1"))
    assert it.all(act.StopPlayback) == []
    it.listen(1.5)
    assert it.last(act.Transfer).name == "desk"


@pytest.mark.parametrize("retryable", [True, False])
def test_a_session_that_was_to_take_over_and_cannot_be_made_is_no_fault_and_tried_later(retryable: bool):
    it = growing_old()
    it.post(ev.AgentClosed(2, "not now", retryable=retryable))
    assert it.phase is Phase.LISTENING
    assert it.session == 2
    it.frames(0.1)
    assert it.last(act.SendToAgent).session == 1
    it.listen(AGAIN - 1.0)
    assert it.session == 2
    it.listen(2.0)
    assert it.session == 3


def test_an_agent_that_cannot_be_reached_when_the_call_is_to_end_is_not_tried_again():
    it = world()
    it.answer()
    it.post(ev.EndRequested("drain"))
    assert it.phase is Phase.CLOSING
    it.post(ev.AgentClosed(1, "not reached", retryable=True))
    assert len(it.all(act.ConnectAgent)) == 1


def test_an_agent_that_was_interrupted_is_told_where_and_not_in_words():
    it = replying("One two three four.")
    it.listen(1.0)
    it.post(ev.CallerSpeaks(1, "c2"))
    it.report()
    assert it.all(act.TruncateReply)
    assert it.all(act.TellAgent) == []


def test_speech_that_is_told_to_begin_twice_began_once():
    it = greeted()
    it.caller_says("Hello?")
    it.respond("Yes?")
    it.post(ev.CallerSpeaks(1, "c1"))
    assert it.all(act.StopPlayback) == []
    assert it.phase is Phase.SPEAKING
