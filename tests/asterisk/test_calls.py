"""Whole calls through a real Asterisk: a caller at the end of RTP, the agent behind each door of conf/asterisk."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from esl_agent.dialogue.actions import ToolCall
from esl_agent.providers.base import ReplyPart, TextPart, ToolCallPart
from esl_agent.testing.caller import BargeIn, HangUp, Press, PretendCaller, Say, Step, Wait, recording
from esl_agent.testing.line import telephone, trim
from esl_agent.testing.providers import GOODBYE
from esl_agent.testing.sip_phone import Answer, SipCall, SipPhone
from tests.asterisk.agent import DOORS, GREETING, LONG, REPLY, Agent, assert_they_hear, until, voice_of
from tests.asterisk.likeness import likeness
from tests.asterisk.switch import RealAsterisk
from tests.system.service import Traces

pytestmark = pytest.mark.system

#: Each door has a DID and a caller of its own, so that a sound in the wrong call is found.
DIDS = {door: f"500{n}" for n, door in enumerate(DOORS)}
WORDS = dict(zip(DOORS, ("queue-thankyou", "hello-world", "number-not-answering"), strict=True))


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(asterisk: RealAsterisk) -> Iterator[None]:
    """Of the agent and all its calls, in this process."""
    traces = Traces()
    yield
    traces.assert_nothing_was_left()


#: What caller and callee say to one another.
TALK = telephone(trim(recording("vm-goodbye")), 8000)


def call_every_door(phone: SipPhone, script: Callable[[str], list[Step]]) -> dict[str, SipCall]:
    """At once: each call has the others beside it."""
    return {door: phone.dial(f"{DOORS[door]}{DIDS[door]}", PretendCaller(script(door))) for door in DOORS}


def serve_every_door(agent: Agent, *replies):
    return {door: agent.serve(DIDS[door], *replies) for door in DOORS}


def uses(tool: str, say: str, **arguments: object) -> tuple[ReplyPart, ...]:
    return TextPart(say), ToolCallPart(ToolCall("1", tool, arguments))


def only_call(agent: Agent, door: str) -> str:
    (call,) = agent.calls_to(DIDS[door])
    return call


def digits(agent: Agent, call: str) -> str:
    return "".join(fact["digit"].text for fact in agent.facts(call, "digit"))


def test_each_side_hears_what_the_other_said_at_every_door(agent, caller):
    ears = serve_every_door(agent, REPLY, GOODBYE)
    calls = call_every_door(caller, lambda door: [Say(WORDS[door], pause=0.2), Say("digits-1", pause=0.8)])
    for door, call in calls.items():
        assert call.wait_over(15), (door, agent.story())
        assert "cause=16" in call.facts[-1][2], (door, call.facts)
        heard = call.sound.heard()
        places = []
        for text in (GREETING, REPLY, "Goodbye."):
            score, place = likeness(heard, voice_of(text))
            assert score > 0.95, (door, text, score)
            places.append(place)
        assert places == sorted(places)
        understood = ears[door].heard[0]
        assert understood.rate == 24000
        for other, name in WORDS.items():
            score, _ = likeness(understood, telephone(trim(recording(name)), 8000))
            assert score > 0.9 if other == door else score < 0.5, (door, other, score)
        (facts,) = agent.facts(only_call(agent, door), "call")
        assert (facts["caller"].text, facts["name"].text) == (caller.number, caller.name), door


def test_the_agent_falls_silent_for_a_caller_who_talks_over_it_at_every_door(agent, caller):
    """At the caller's ear, packet by packet. How fast is a matter of bench/, not of a test."""
    serve_every_door(agent, LONG, REPLY)
    script: list[Step] = [Say("digits-1", pause=0.2), BargeIn("number-not-answering", after=1.0), Wait(3.2), HangUp()]
    calls = call_every_door(caller, lambda door: list(script))
    for door, call in calls.items():
        assert call.wait_over(20), (door, agent.story())
        _, over = call.sound.caller.spoken
        assert over.purpose == "barge_in"
        before = call.sound.loud(over.began - 1.5, over.began)
        meanwhile = call.sound.loud(over.began, over.ended)
        assert len(before) > 10, "the agent was speaking"
        assert meanwhile, "it could not know before"
        assert meanwhile[-1].at < over.ended - 0.3, (door, over.ended - meanwhile[-1].at)
        after = call.sound.loud(over.ended)
        assert after, "it answers the caller"
        score, _ = likeness(call.sound.heard(), voice_of(REPLY))
        assert score > 0.95, (door, score)
        assert likeness(call.sound.heard(), voice_of(LONG))[0] < 0.9, "the rest was never heard"


def test_keys_reach_the_agent_in_order_at_every_door(agent, caller):
    serve_every_door(agent, REPLY)
    script: list[Step] = [Wait(0.5), *(Press(digit) for digit in "19*#"), Wait(2.0), HangUp()]
    calls = call_every_door(caller, lambda door: list(script))
    for door, call in calls.items():
        assert call.wait_over(10)
        until(lambda: agent.is_idle)
        assert digits(agent, only_call(agent, door)) == "19*#", (door, agent.story())


def test_a_caller_may_hang_up_mid_word_at_every_door(agent, asterisk, caller):
    serve_every_door(agent, LONG)
    calls = call_every_door(caller, lambda door: [Say("digits-1", pause=0.2), Wait(1.5), HangUp()])
    for door, call in calls.items():
        assert call.wait_over(10), door
    until(lambda: agent.is_idle, why=agent.story)
    for door in DOORS:
        (gone,) = agent.facts(only_call(agent, door), "hung_up")
        assert gone["cause"] == "NORMAL_CLEARING", door
    until(lambda: not asterisk.channels())
    assert asterisk.cli("bridge show all").count("bridge") <= 1, asterisk.cli("bridge show all")


def test_a_caller_who_asks_for_a_person_is_put_through_at_every_door(agent, caller, carrier):
    """The agent is gone then, and caller and callee hear one another."""
    carrier.answers = {"2001": Answer(((0.0, 180), (0.2, 200)))}
    serve_every_door(agent, uses("transfer", "One moment.", to="desk"))
    calls = call_every_door(caller, lambda door: [Say("digits-1", pause=0.2)])
    until(lambda: len(carrier.calls) == len(DOORS), 20, why=agent.story)
    until(lambda: all(call.is_up for call in carrier.calls))
    until(lambda: agent.is_idle, why=agent.story)
    for door in DOORS:
        assert agent.facts(only_call(agent, door), "transferred") == [{"name": "desk"}], door
    assert all(call.is_up for call in calls.values()), "the caller is still there"
    assert_they_hear(*calls.values(), *carrier.calls, sound=TALK)
    for call in carrier.calls:
        call.hang_up()
    assert all(call.wait_over(10) for call in calls.values())


def test_where_a_transfer_leads_nowhere_the_agent_goes_on_at_every_door(agent, caller):
    serve_every_door(agent, uses("transfer", "One moment.", to="nowhere"), GOODBYE)
    calls = call_every_door(caller, lambda door: [Say("digits-1", pause=0.2), Say("digits-2", pause=0.4)])
    for door, call in calls.items():
        assert call.wait_over(15), (door, agent.story())
        assert agent.facts(only_call(agent, door), "transfer_failed") != [], (door, agent.story())
        assert likeness(call.sound.heard(), voice_of("Goodbye."))[0] > 0.95, door


def test_a_callers_name_is_data_to_the_dialplan_at_every_door(agent, caller):
    caller.name = "Bobby, 1) ${SHELL(id)} & $[1+1] ;--"
    serve_every_door(agent, REPLY)
    calls = call_every_door(caller, lambda door: [Wait(1.0), HangUp()])
    for door, call in calls.items():
        assert call.wait_over(10)
        until(lambda: agent.is_idle)
        (facts,) = agent.facts(only_call(agent, door), "call")
        assert facts["name"].text == caller.name, door
        assert facts["caller"].text == caller.number, door
