"""Warm transfers through a real Asterisk when the agent stops or dies, and over other media than the usual."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from esl_agent.testing.caller import Press, PretendCaller, Say, Wait
from esl_agent.testing.sip_phone import SipCall
from tests.asterisk.agent import DOORS, Agent, assert_they_hear, until
from tests.asterisk.test_calls import DIDS, TALK, only_call, uses
from tests.asterisk.test_dialplan import hears_the_apology
from tests.asterisk.test_warm_transfers import DESTINATIONS, answers

pytestmark = pytest.mark.system


@pytest.fixture
def made(asterisk, tmp_path) -> Iterator:
    """Makes an agent; what is left of it is stopped."""
    with ExitStack() as stack:

        def make(**conf: object) -> Agent:
            agent = Agent(tmp_path, asterisk, destinations=DESTINATIONS, **conf)
            stack.callback(agent.server.stop)
            until(lambda: agent.is_connected)
            return agent

        yield make


def calls_both(agent: Agent, caller, carrier, door: str, to: str, *script) -> tuple[SipCall, SipCall]:
    carrier.answers = {"": answers(*script, after=0.2)}
    agent.serve(DIDS[door], uses("transfer", "One moment.", to=f"{to} {door}"))
    call = caller.dial(f"{DOORS[door]}{DIDS[door]}", PretendCaller([Say("digits-1", pause=0.2), Wait(60.0)]))
    until(lambda: carrier.calls, 20, why=agent.story)
    (callee,) = carrier.calls
    until(lambda: callee.is_up)
    return call, callee


@pytest.mark.parametrize("door", DOORS)
def test_two_who_talk_need_no_agent_any_more(made, asterisk, caller, carrier, door):
    agent = made()
    call, callee = calls_both(agent, caller, carrier, door, "unannounced", Wait(60.0))
    until(lambda: agent.facts(only_call(agent, door), "transferred"), 20, why=agent.story)
    agent.server.stop()
    assert_they_hear(call, callee, sound=TALK)
    callee.hang_up()
    assert call.wait_over(10)
    until(lambda: not asterisk.channels())


def test_an_agent_that_starts_anew_parts_nobody(made, asterisk, caller, carrier):
    agent = made()
    call, callee = calls_both(agent, caller, carrier, "ari", "unannounced", Wait(60.0))
    until(lambda: agent.facts(only_call(agent, "ari"), "transferred"), 20, why=agent.story)
    sweep = agent.server.asterisk.ari_calls._sweep
    sweep.soon()
    agent.server.asterisk.ari_calls.calls.clear()
    until(lambda: sweep._running.dead)
    assert_they_hear(call, callee, sound=TALK)
    call.hang_up()
    assert callee.wait_over(10)
    until(lambda: not asterisk.channels())


def test_an_agent_that_dies_in_a_briefing_frees_the_callee_and_the_dialplan_has_the_caller(
    made, asterisk, caller, carrier
):
    """As the kernel closes what a killed process had open."""
    agent = made()
    call, callee = calls_both(agent, caller, carrier, "audiosocket", "warm", Wait(60.0))
    until(lambda: callee.sound.loud())
    door = agent.server.asterisk
    door.ami.close()
    for line in list(door.audiosocket._connections):
        line.drop("killed")
    assert callee.wait_over(5)
    assert call.is_up
    assert hears_the_apology(call)
    until(lambda: not asterisk.channels())


def test_a_caller_of_aris_whose_sound_comes_by_web_socket_is_handed_over_too(made, asterisk, caller, carrier):
    agent = made(ari_more=", media: websocket")
    call, callee = calls_both(agent, caller, carrier, "ari", "warm", Wait(1.5), Press("1"))
    until(lambda: agent.facts(only_call(agent, "ari"), "transferred"), 20, why=agent.story)
    assert_they_hear(call, callee, sound=TALK)
    call.hang_up()
    assert callee.wait_over(10)
    until(lambda: agent.is_idle, why=agent.story)


def test_over_ari_alone_without_ami_it_is_the_same(made, asterisk, caller, carrier):
    agent = made(ami=False)
    call, callee = calls_both(agent, caller, carrier, "ari", "warm", Wait(1.5), Press("1"))
    until(lambda: agent.facts(only_call(agent, "ari"), "transferred"), 20, why=agent.story)
    call.hang_up()
    assert callee.wait_over(10)
    until(lambda: agent.is_idle, why=agent.story)


@pytest.mark.parametrize("door", ["audiosocket", "ari"])
@pytest.mark.parametrize("why", ["full", "draining"])
def test_a_call_that_runs_is_handed_over_where_no_other_would_be_taken(made, asterisk, caller, carrier, door, why):
    """The callee's line comes to a server that is closed to calls."""
    agent = made(more="max_calls: 1" if why == "full" else "")
    carrier.answers = {"": answers(Wait(1.5), Press("1"), after=0.2)}
    agent.serve(DIDS[door], uses("transfer", "One moment.", to=f"warm {door}"))
    call = caller.dial(f"{DOORS[door]}{DIDS[door]}", PretendCaller([Say("digits-1", pause=0.2), Wait(60.0)]))
    until(lambda: agent.calls_to(DIDS[door]), why=agent.story)
    if why == "draining":
        agent.server.asterisk.turn_away()
    until(lambda: agent.facts(only_call(agent, door), "transferred"), 20, why=agent.story)
    assert_they_hear(call, *carrier.calls, sound=TALK)
    call.hang_up()
    until(lambda: agent.is_idle and not asterisk.channels(), why=agent.story)
