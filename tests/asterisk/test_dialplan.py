"""conf/asterisk's dialplan with real callers; in place of the agent something that sends back what it hears."""

from __future__ import annotations

import pytest

from esl_agent.audio.pcm import Sound
from esl_agent.testing.caller import recording
from esl_agent.testing.line import resample, telephone
from esl_agent.testing.sip_phone import SipCall
from tests.asterisk.agent import until
from tests.asterisk.likeness import likeness
from tests.asterisk.switch import REPOSITORY

pytestmark = pytest.mark.system
APOLOGY = recording(REPOSITORY / "freeswitch/sounds/unavailable.wav")
#: Enough of it to know it by.
ITS_BEGIN = Sound(APOLOGY.pcm[: round(1.5 * APOLOGY.rate) * 2], APOLOGY.rate)
WORDS = telephone(recording("hello-world"), 8000)


def hears_the_apology(call: SipCall) -> bool:
    until(lambda: likeness(call.sound.heard(), ITS_BEGIN)[0] > 0.9, 25, every=0.3)
    return True


def test_a_call_over_the_trunk_reaches_the_agent_at_24_khz_and_hears_it(caller, stand_in):
    call = caller.dial(f"9{stand_in.port}5000")
    assert call.wait_up(10)
    assert call.status == 200
    assert call.at("got", "180") is None, "nobody rings: the agent is there"
    call.sound.say(WORDS)
    until(lambda: call.sound.heard().seconds > WORDS.seconds + 0.5)
    call.hang_up()
    assert stand_in.eof.wait(10)
    assert set(stand_in.frames) == {(0x13, 960)}
    assert len(set(stand_in.ids)) == 1
    score, _ = likeness(call.sound.heard(), WORDS)
    assert score > 0.95


def test_keys_reach_the_agent_in_order(caller, stand_in):
    call = caller.dial(f"9{stand_in.port}5000")
    assert call.wait_up(10)
    for key in "17*#":
        call.sound.press(key)
    until(lambda: stand_in.keys == "17*#")


def test_where_no_agent_listens_the_caller_hears_why_at_every_door(asterisk, caller):
    """The calls were not answered before: they could have gone to a person instead."""
    calls = [caller.dial(number) for number in ("9000095000", "ari.5000", "ws.5000")]
    assert all(hears_the_apology(call) for call in calls)
    assert "DIALSTATUS=CHANUNAVAIL HANGUPCAUSE=38" in asterisk.log


def test_an_agent_that_says_goodbye_ends_the_call(caller, stand_in):
    call = caller.dial(f"9{stand_in.port}5000")
    assert call.wait_up(10)
    until(lambda: stand_in.frames)
    stand_in.goodbye()
    assert call.wait_over(10)
    assert "cause=16" in call.facts[-1][2]


def test_the_caller_of_an_agent_that_died_is_released(caller, stand_in):
    """Without AMI the dialplan cannot tell death from goodbye."""
    call = caller.dial(f"9{stand_in.port}5000")
    assert call.wait_up(10)
    until(lambda: stand_in.frames)
    stand_in.die()
    assert call.wait_over(10)
    assert "cause=16" in call.facts[-1][2]


def test_nothing_is_left_of_calls_that_are_over(asterisk, caller, stand_in):
    calls = [caller.dial(f"9{stand_in.port}500{n}") for n in range(2)]
    assert all(call.wait_up(10) for call in calls)
    until(lambda: len(set(stand_in.ids)) == 2)
    for call in calls:
        call.hang_up()
    until(lambda: not asterisk.channels())


def test_nobody_gets_from_the_trunk_to_the_telephones(asterisk, caller):
    """From outside, their numbers are like any others: for the agent."""
    call = caller.dial("1001")
    assert call.wait_up(10)
    assert "[1001@ai-inbound:1]" in asterisk.log
    other = caller.dial("phone")
    assert other.wait_over(10)
    assert other.status == 404


def test_what_is_no_digit_of_a_number_means_nothing_to_the_dialplan(asterisk, caller):
    call = caller.dial("5007x.$(id)&1001")
    assert call.wait_up(10)
    assert "Goto (ai-inbound,50071001,1)" in asterisk.log


def test_wide_sound_loses_nothing_a_telephone_can_carry():
    """The comparison itself: another recording is not alike."""
    assert likeness(resample(recording("tt-weasels"), 8000), ITS_BEGIN)[0] < 0.3
