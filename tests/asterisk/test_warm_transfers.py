"""Warm transfers through a real Asterisk: a caller, the agent, and somebody at the trunk whom the agent calls."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from esl_agent.audio.pcm import Sound
from esl_agent.testing.caller import HangUp, Press, PretendCaller, Say, Step, Wait
from esl_agent.testing.providers import GOODBYE
from esl_agent.testing.sip_phone import Answer, SipCall, SipPhone
from tests.asterisk.agent import BRIEFING, DOORS, Agent, assert_they_hear, until, voice_of
from tests.asterisk.likeness import likeness
from tests.asterisk.test_calls import DIDS, TALK, only_call, uses

pytestmark = pytest.mark.system

#: Each door has a callee of its own, so that callers are not mixed up.
NUMBERS = {door: f"300{n}" for n, door in enumerate(DOORS)}
DESTINATIONS = "".join(
    f"""
  warm {door}: {{dial: "PJSIP/{number}@trunk", mode: warm, timeout: 3, briefing: "{BRIEFING}"}}
  unannounced {door}: {{dial: "PJSIP/{number}@trunk", mode: warm, timeout: 3, briefing: ""}}
  nobody {door}: {{dial: PJSIP/nosuchendpoint, mode: warm, timeout: 3, briefing: "{BRIEFING}"}}
  freeswitch {door}: {{dial: user/{number}, mode: warm, timeout: 3, briefing: "{BRIEFING}"}}
"""
    for door, number in NUMBERS.items()
)
RINGS = (0.0, 180)


@pytest.fixture(scope="module")
def _agent(asterisk, tmp_path_factory) -> Iterator[Agent]:
    made = Agent(tmp_path_factory.mktemp("agent"), asterisk, destinations=DESTINATIONS)
    try:
        until(lambda: made.is_connected)
        yield made
    finally:
        made.close()


def dial_every_door(agent: Agent, phone: SipPhone, to: str, *more: Step) -> dict[str, SipCall]:
    """At once: each call has the others beside it."""
    calls = {}
    for door in DOORS:
        agent.serve(DIDS[door], uses("transfer", "One moment.", to=f"{to} {door}"), GOODBYE)
        script: list[Step] = [Say("digits-1", pause=0.2), *(more or (Say("digits-2", pause=0.4),))]
        calls[door] = phone.dial(f"{DOORS[door]}{DIDS[door]}", PretendCaller(script))
    return calls


def callees(agent: Agent, carrier: SipPhone) -> dict[str, SipCall]:
    """Whoever is called for the caller at each door."""
    until(lambda: len(carrier.calls) == len(DOORS), 15, why=agent.story)
    found = {door: carrier.called(number=number) for door, number in NUMBERS.items()}
    return {door: call for door, call in found.items() if call is not None}


def has(agent: Agent, what: str) -> bool:
    return all(agent.facts(only_call(agent, door), what) for door in DOORS)


def answers(*script: Step, after: float = 0.5) -> Answer:
    return Answer((RINGS, (after, 200)), lambda: PretendCaller(list(script)))


def reasons(agent: Agent, door: str) -> list[str]:
    return [fact["reason"] for fact in agent.facts(only_call(agent, door), "transfer_failed")]


def hears(call: SipCall, sound: Sound) -> float:
    return likeness(call.sound.heard(), sound)[0]


def test_whoever_presses_1_is_briefed_and_gets_the_caller_at_every_door(agent, asterisk, caller, carrier):
    carrier.answers = {"": answers(Wait(4.0), Press("1"), after=1.0)}
    calls = dial_every_door(agent, caller, "warm", Wait(60.0))
    called = callees(agent, carrier)
    until(lambda: has(agent, "transferred"), 20, why=agent.story)
    for door, call in calls.items():
        callee = called[door]
        assert call.is_up, door
        assert callee.is_up, door
        assert hears(callee, voice_of(BRIEFING)) > 0.9, door
        assert call.sound.loud(callee.at("got", "INVITE") + 0.3, callee.at("sent", "200")), "the caller hears it ring"
    assert_they_hear(*calls.values(), *called.values(), sound=TALK)
    assert not any(name.startswith(("AudioSocket", "WebSocket")) for name in asterisk.channels()), asterisk.channels()
    assert len(agent.server.reception.calls) == len(DOORS), "the calls are not over for us"
    for door, call in calls.items():
        before = time.monotonic()
        called[door].hang_up()
        assert call.wait_over(10), door
        assert not call.sound.loud(before + 0.3), "no apology for an agent that is not dead"
    until(lambda: agent.is_idle, why=agent.story)


def test_a_caller_who_hangs_up_after_it_frees_the_callee_at_every_door(agent, caller, carrier):
    carrier.answers = {"": answers(Wait(60.0), after=0.2)}
    calls = dial_every_door(agent, caller, "unannounced", Wait(60.0))
    called = callees(agent, carrier)
    until(lambda: has(agent, "transferred"), 20, why=agent.story)
    assert_they_hear(*calls.values(), *called.values(), sound=TALK)
    for door, call in calls.items():
        assert called[door].is_up, door
        call.hang_up()
        assert called[door].wait_over(5), door
    until(lambda: agent.is_idle, why=agent.story)
    for door in DOORS:
        assert [fact["cause"] for fact in agent.facts(only_call(agent, door), "hung_up")] == ["NORMAL_CLEARING"], door


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
def test_whoever_does_not_take_it_leaves_the_caller_with_the_agent_at_every_door(agent, caller, carrier, what):
    to, carrier.answers[""], reason = NOT_TAKEN[what]
    for door, call in dial_every_door(agent, caller, to).items():
        assert call.wait_over(40), (door, agent.story())
        assert reasons(agent, door) == [reason], (door, agent.story())
        assert hears(call, voice_of("Goodbye.")) > 0.95, door
    for callee in carrier.calls:
        assert callee.wait_over(10), "whoever was called is free again"


@pytest.mark.parametrize("when", ["it rings", "the briefing"])
def test_a_caller_who_gives_up_ends_the_callees_call_at_once_at_every_door(agent, caller, carrier, when):
    carrier.answers = {"": Answer((RINGS,)) if when == "it rings" else answers(Wait(60.0), after=0.1)}
    calls = dial_every_door(agent, caller, "warm", Wait(60.0))
    called = callees(agent, carrier)
    if when == "the briefing":
        until(lambda: all(callee.sound.loud() for callee in called.values()))
    else:
        until(lambda: all(callee.at("sent", "180") for callee in called.values()))
    for door, call in calls.items():
        call.hang_up()
        assert called[door].wait_over(5), door
    until(lambda: agent.is_idle, why=agent.story)
    for door in DOORS:
        assert reasons(agent, door) == [], door
