"""A pretend FreeSWITCH bridges and transfers as captures 61 and 62 show a real one to do."""

from __future__ import annotations

import pytest
from virtual_agent import FILES, Agent, app

from esl_agent.audio.pcm import Sound
from esl_agent.testing.fs_bridge import Callee
from esl_agent.testing.fs_channel import Party
from esl_agent.testing.fs_machine import Options

BRIDGE = "sofia/agents/bleg@127.0.0.1:5080"
CONFIRMED = "{group_confirm_key=1,group_confirm_file=/b.wav}" + BRIDGE


def agent(callee: Callee) -> Agent:
    found = Agent(Party("u"), Options(callees={"bleg": callee}))
    found.answered()
    return found


def bridged(callee: Callee, *variables: str, argument: str = BRIDGE, seconds: float = 30.0) -> Agent:
    found = agent(callee)
    found.say(*(f"api uuid_setvar u {variable}" for variable in variables), app("bridge", argument))
    found.until(1.0 + seconds)
    return found


def test_a_callee_who_hangs_up_ends_the_call_where_the_agent_said_so():
    """Capture 61."""
    found = bridged(Callee(rings=0.02, talks=2.0), "hangup_after_bridge true")
    names = [line.split(" ", 1)[1] for line in found.story()]
    assert names[:9] == [
        "EXECUTE bridge",
        "BRIDGE",
        "UNBRIDGE",
        "HANGUP",
        "COMPLETE bridge _none_",
        "UNPARK",
        "COMPLETE socket _none_",
        "STATE CS_HANGUP",
        "STATE CS_REPORTING",
    ]


def test_otherwise_the_call_comes_back_to_the_agent():
    found = bridged(Callee(rings=0.02, talks=2.0))
    assert [line.split(" ", 1)[1] for line in found.story()][-2:] == ["UNBRIDGE", "COMPLETE bridge _none_"]
    assert found.machine.is_up


def test_a_bridge_names_both_its_legs_behind_the_events_own_headers():
    found = bridged(Callee(), seconds=3.0)
    lines = found.event("CHANNEL_BRIDGE").decode().split("\n")
    at = [line.partition(":")[0] for line in lines].index("Bridge-A-Unique-ID")
    assert lines[at] == "Bridge-A-Unique-ID: u"
    assert lines[at - 1].startswith("Event-Sequence")
    assert lines[at + 1].startswith("Bridge-B-Unique-ID: ")
    assert lines[at + 2].startswith("Channel-State: ")
    assert "variable_originate_disposition: SUCCESS" in lines


@pytest.mark.parametrize(
    ("callee", "argument", "disposition", "status"),
    [
        (Callee("busy"), BRIDGE, "USER_BUSY", "BUSY"),
        (Callee("no_answer"), "{originate_timeout=2}" + BRIDGE, "NO_ANSWER", "NOANSWER"),
        (Callee("no_answer"), "{leg_timeout=6}" + BRIDGE, "ALLOTTED_TIMEOUT", "ALLOTTED_TIMEOUT"),
        (Callee("unreachable"), BRIDGE, "NORMAL_TEMPORARY_FAILURE", "NORMAL_TEMPORARY_FAILURE"),
        (Callee("declines"), BRIDGE, "CALL_REJECTED", "DONTCALL"),
        (Callee("declines"), CONFIRMED.replace("key=1", "key=exec"), "CALL_REJECTED", "DONTCALL"),
        (Callee("declines"), CONFIRMED, "NORMAL_CLEARING", "NORMAL_CLEARING"),
    ],
)
def test_a_call_that_nobody_takes_keeps_the_caller_and_says_why(callee, argument, disposition, status):
    """Capture 62; the last two as measured with group_confirm_key."""
    found = bridged(callee, "continue_on_fail true", argument=argument)
    said = found.event("CHANNEL_EXECUTE_COMPLETE").decode()
    assert f"variable_originate_disposition: {disposition}\n" in said
    assert f"variable_DIALSTATUS: {status}\n" in said
    assert found.machine.is_up


def test_a_busy_callee_without_continue_on_fail_hangs_up_the_caller():
    found = bridged(Callee("busy"))
    assert not found.machine.is_up
    assert found.machine.channel.cause == "USER_BUSY"


def test_who_is_not_there_is_unreachable():
    found = bridged(Callee(), "continue_on_fail true", argument="user/nobody")
    assert "NORMAL_TEMPORARY_FAILURE" in found.event("CHANNEL_EXECUTE_COMPLETE").decode()


def test_a_caller_who_hangs_up_while_it_rings_ends_the_bridge():
    found = agent(Callee(rings=20.0))
    found.say(app("bridge", BRIDGE))
    found.until(3.0)
    found.machine.caller_hangs_up(3.0)
    found.until(40.0)
    names = [line.split(" ", 1)[1] for line in found.story(3.0)]
    assert names[:3] == ["HANGUP", "COMPLETE bridge _none_", "UNPARK"]
    assert "BRIDGE" not in names


def test_an_agent_that_leaves_during_a_bridge_does_not_end_it():
    found = agent(Callee(rings=0.5, talks=10.0))
    found.say("api uuid_setvar u hangup_after_bridge true", app("bridge", BRIDGE))
    found.until(3.0)
    found.say("exit")
    found.machine.peer_closed(3.1)
    found.until(9.0)
    assert found.machine.is_up
    found.until(20.0)
    assert not found.machine.is_up


def test_an_agent_may_leave_a_call_it_has_transferred():
    found = agent(Callee())
    assert b"+OK" in found.say("api uuid_transfer u queue XML agents")[0]
    found.until(2.0)
    assert [line.split(" ", 1)[1] for line in found.story()] == ["UNPARK", "COMPLETE socket _none_", "STATE CS_ROUTING"]
    found.say("exit")
    found.machine.peer_closed(2.5)
    found.until(10.0)
    assert found.machine.is_up
    found.machine.caller_hangs_up(10.0)
    found.until(11.0)
    assert not found.machine.is_up


def test_the_caller_hears_ringing_then_whoever_took_the_call_and_then_nothing():
    words = Sound(b"\x01\x02" * 800, 8000)
    found = agent(Callee(rings=1.0, decides=2.0, talks=5.0, says=words))
    found.say("api uuid_setvar u ringback %(1000,500,440)", app("bridge", CONFIRMED.replace("/b.wav", "/b2.wav")))
    bridges = found.machine.bridges
    assert bridges.take_frame(320) == b""
    heard = {}
    for step in range(50, 500):
        found.until(step / 50)
        heard[step / 50] = bridges.take_frame(320)
    rings = [at for at, frame in heard.items() if at < 4.0 and frame.strip(b"\0")]
    assert rings[0] < 1.1
    assert rings[-1] > 3.5
    answered = next(at for at, frame in heard.items() if frame == words.pcm[:320])
    assert answered == pytest.approx(4.04, abs=0.05)
    assert b"".join(frame for at, frame in heard.items() if at >= answered) == words.pcm
    assert bridges.briefing == FILES["/b2.wav"]
