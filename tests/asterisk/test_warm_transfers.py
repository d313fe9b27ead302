"""Warm transfers through a real Asterisk: a caller, the agent, and somebody at the trunk whom the agent calls."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from esl_agent.audio.pcm import Sound
from esl_agent.testing.caller import HangUp, Press, PretendCaller, Say, Step, Wait, recording
from esl_agent.testing.line import telephone, trim
from esl_agent.testing.providers import GOODBYE
from esl_agent.testing.sip_phone import Answer, SipCall
from tests.asterisk.agent import BRIEFING, DOORS, Agent, until, voice_of
from tests.asterisk.likeness import likeness
from tests.asterisk.test_calls import DIDS, TALK, only_call, uses

pytestmark = pytest.mark.system

DESTINATIONS = f"""
  warm: {{dial: "PJSIP/3001@trunk", mode: warm, timeout: 3, briefing: "{BRIEFING}"}}
  unannounced: {{dial: "PJSIP/3001@trunk", mode: warm, timeout: 3, briefing: ""}}
  nobody: {{dial: PJSIP/nosuchendpoint, mode: warm, timeout: 3, briefing: "{BRIEFING}"}}
  freeswitch: {{dial: user/1000, mode: warm, timeout: 3, briefing: "{BRIEFING}"}}
"""
RINGS = (0.0, 180)


@pytest.fixture(scope="module")
def _agent(asterisk, tmp_path_factory) -> Iterator[Agent]:
    made = Agent(tmp_path_factory.mktemp("agent"), asterisk, destinations=DESTINATIONS)
    try:
        until(lambda: made.is_connected)
        yield made
    finally:
        made.close()


def dial(agent: Agent, caller, door: str, to: str, *more: Step) -> SipCall:
    agent.serve(DIDS[door], uses("transfer", "One moment.", to=to), GOODBYE)
    script: list[Step] = [Say("digits-1", pause=0.2), *(more or (Say("digits-2", pause=0.4),))]
    return caller.dial(f"{DOORS[door]}{DIDS[door]}", PretendCaller(script))


def answers(*script: Step, after: float = 0.5) -> Answer:
    return Answer((RINGS, (after, 200)), lambda: PretendCaller(list(script)))


def reasons(agent: Agent, door: str) -> list[str]:
    return [fact["reason"] for fact in agent.facts(only_call(agent, door), "transfer_failed")]


def hears(call: SipCall, sound: Sound) -> float:
    return likeness(call.sound.heard(), sound)[0]


@pytest.fixture(params=DOORS)
def door(request) -> str:
    return request.param


def test_whoever_presses_1_is_briefed_and_gets_the_caller(agent, asterisk, caller, carrier, door):
    carrier.answers = {"3001": answers(Wait(4.0), Press("1"), after=1.0)}
    call = dial(agent, caller, door, "warm", Wait(60.0))
    until(lambda: carrier.calls, 10, why=agent.story)
    (callee,) = carrier.calls
    until(lambda: callee.is_up)
    until(lambda: agent.facts(only_call(agent, door), "transferred"), 20, why=agent.story)
    assert hears(callee, voice_of(BRIEFING)) > 0.9
    assert call.is_up
    assert callee.is_up
    ringing = call.sound.loud(callee.at("got", "INVITE") + 0.3, callee.at("sent", "200"))
    assert ringing, "the caller hears it ring"
    for each in (call, callee):
        each.sound.say(TALK)
    gevent.sleep(TALK.seconds + 0.5)
    for each in (call, callee):
        assert hears(each, TALK) > 0.95, agent.story()
    assert not any(name.startswith(("AudioSocket", "WebSocket")) for name in asterisk.channels()), asterisk.channels()
    assert not agent.is_idle, "the call is not over for us"
    callee.hang_up()
    assert call.wait_over(5)
    assert not hears_apology(call)
    until(lambda: agent.is_idle, why=agent.story)


def hears_apology(call: SipCall) -> bool:
    sound = trim(recording("something-terribly-wrong"))
    return likeness(call.sound.heard(), telephone(sound, 8000))[0] > 0.9


def test_a_caller_who_hangs_up_after_it_frees_the_callee(agent, asterisk, caller, carrier, door):
    carrier.answers = {"3001": answers(Wait(60.0), after=0.2)}
    call = dial(agent, caller, door, "unannounced", Wait(60.0))
    until(lambda: carrier.calls, 10, why=agent.story)
    (callee,) = carrier.calls
    until(lambda: agent.facts(only_call(agent, door), "transferred"), 20, why=agent.story)
    gevent.sleep(0.5)
    assert callee.is_up
    call.hang_up()
    assert callee.wait_over(3)
    until(lambda: agent.is_idle, why=agent.story)
    (gone,) = agent.facts(only_call(agent, door), "hung_up")
    assert gone["cause"] == "NORMAL_CLEARING"


NOT_TAKEN = {
    "declined": ("warm", answers(Wait(1.0), Press("2")), "declined"),
    "hung up in the briefing": ("warm", answers(Wait(1.0), HangUp()), "declined"),
    "busy": ("warm", Answer((RINGS, (0.2, 486))), "busy"),
    "silent": ("warm", answers(Wait(60.0)), "declined"),
    "no answer": ("warm", Answer((RINGS,)), "no_answer"),
    "refused": ("warm", Answer((RINGS, (0.2, 603))), "declined"),
    "wrong number": ("warm", Answer(((0.0, 404),)), "unreachable"),
    "unknown endpoint": ("nobody", Answer(((0.0, 404),)), "unreachable"),
    "a dial string of FreeSWITCH's": ("freeswitch", Answer(((0.0, 404),)), "refused"),
}


@pytest.mark.parametrize("what", NOT_TAKEN)
def test_whoever_does_not_take_it_leaves_the_caller_with_the_agent(agent, caller, carrier, door, what):
    to, carrier.answers[""], reason = NOT_TAKEN[what]
    call = dial(agent, caller, door, to)
    assert call.wait_over(40), agent.story()
    assert reasons(agent, door) == [reason], agent.story()
    assert hears(call, voice_of("Goodbye.")) > 0.95
    for callee in carrier.calls:
        assert callee.wait_over(3), "whoever was called is free again"


@pytest.mark.parametrize("when", ["it rings", "the briefing"])
def test_a_caller_who_gives_up_ends_the_callees_call_at_once(agent, caller, carrier, door, when):
    carrier.answers = {"": Answer((RINGS,)) if when == "it rings" else answers(Wait(60.0), after=0.1)}
    call = dial(agent, caller, door, "warm", Wait(60.0))
    until(lambda: carrier.calls, 10, why=agent.story)
    (callee,) = carrier.calls
    if when == "the briefing":
        until(lambda: callee.sound.loud(), 5)
    else:
        gevent.sleep(0.5)
    call.hang_up()
    assert callee.wait_over(2)
    until(lambda: agent.is_idle, why=agent.story)
    assert reasons(agent, door) == []
