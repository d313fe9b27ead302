"""What goes wrong between a real Asterisk and the agent, and what the caller notices of it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest
from gevent import socket

from esl_agent.testing.caller import PretendCaller, Say
from esl_agent.testing.providers import GOODBYE
from tests.asterisk.agent import DOORS, GREETING, REPLY, Agent, until, voice_of, write_conf
from tests.asterisk.likeness import likeness
from tests.asterisk.switch import REPOSITORY
from tests.asterisk.test_calls import DIDS, uses
from tests.asterisk.test_dialplan import hears_the_apology

pytestmark = pytest.mark.system


@pytest.fixture
def made(asterisk, tmp_path):
    """Makes an agent with settings of a test's own."""
    with ExitStack() as stack:

        def make(**conf: object) -> Agent:
            agent = Agent(tmp_path, asterisk, **conf)
            stack.callback(agent.close)
            until(lambda: agent.is_connected)
            return agent

        yield make


def test_the_callers_of_an_agent_that_is_killed_hear_why_at_every_door(asterisk, caller, tmp_path, made):
    """The dialplan knows that it had AMI: no goodbye, then. Who is in Stasis is sent on when an agent is back."""
    conf, log = tmp_path / "killed", tmp_path / "log"
    conf.mkdir()
    long = "Good day, this is the voice of a telephone that has very much to say before it lets you speak at all."
    write_conf(conf, asterisk, greeting=long)
    with log.open("wb") as out:  # a process of its own, with the engines it has by itself
        process = subprocess.Popen(
            [sys.executable, "-m", "esl_agent", "sidecar", "--conf", conf],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=REPOSITORY, env=os.environ | {"LOG_LEVEL": "INFO"},
        )  # fmt: skip
    try:
        until(lambda: len(found(log, "connected as", "is connected to")) == 2, 40, why=log.read_text)
        calls = {door: caller.dial(f"{prefix}{DIDS[door]}") for door, prefix in DOORS.items()}
        until(lambda: all(len(call.sound.loud()) > 30 for call in calls.values()), 30, why=log.read_text)
    finally:
        process.kill()
        process.wait()
    made()
    assert all(call.is_up for call in calls.values())
    for door, call in calls.items():
        assert hears_the_apology(call), door


def found(path: Path, *words: str) -> set[str]:
    """Those of ``words`` that a log has."""
    text = path.read_text()
    return {word for word in words if word in text}


def test_without_ami_and_ari_a_call_is_taken_and_ended_all_the_same(made, caller):
    """Its number is asterisk.did; a transfer is refused; goodbye is the line's, and the dialplan hangs up."""
    agent = made(ami=False, ari=False, more='did: "5003"')
    agent.serve("5003", uses("transfer", "One moment.", to="desk"), GOODBYE)
    call = caller.dial(f"9{agent.audiosocket}5000", PretendCaller([Say("digits-1", pause=0.2)]))
    assert call.wait_over(20), agent.story()
    assert "cause=16" in call.facts[-1][2]
    (only,) = agent.calls_to("5003")
    assert [fact["reason"] for fact in agent.facts(only, "transfer_failed")] == ["refused"], agent.story()
    for text in (GREETING, "Goodbye."):
        assert likeness(call.sound.heard(), voice_of(text))[0] > 0.95, text


def test_one_call_more_than_may_be_is_the_dialplans(made, asterisk, caller):
    """And is not answered by us: the port is closed."""
    agent = made(more="max_calls: 1")
    first, second = caller.dial("5000"), None
    assert first.wait_up(10)
    until(lambda: agent.calls_to("5000"))
    second = caller.dial("5001")
    assert hears_the_apology(second)
    assert agent.calls_to("5001") == []
    told = [line for line in asterisk.log.splitlines() if "5001@ai-unavailable:1" in line][-1]
    assert "DIALSTATUS=CHANUNAVAIL" in told
    assert first.is_up
    first.hang_up()


def test_a_stranger_on_the_line_is_no_call_and_harms_none(made, caller):
    agent = made(ari=False, more="unknown: refuse")
    agent.serve("5000", REPLY)
    call = caller.dial("5000", PretendCaller([Say("digits-1", pause=0.3)]))
    assert call.wait_up(10)
    with ExitStack() as stack:
        strangers = [stack.enter_context(socket.create_connection(("127.0.0.1", agent.audiosocket))) for _ in range(3)]
        strangers[0].sendall(b"\x01\x00\x10" + uuid.uuid4().bytes)
        strangers[1].sendall(b"GET / HTTP/1.1\r\n\r\n")
        strangers[2].sendall(b"\x01\x00")
        for stranger in strangers[:2]:
            stranger.settimeout(5)
            while stranger.recv(100):
                pass
    until(lambda: likeness(call.sound.heard(), voice_of(REPLY))[0] > 0.95, 20, why=agent.story, every=0.3)
    assert len(agent.notes) == 1, agent.story()
    call.hang_up()


def test_a_web_socket_also_carries_the_calls_of_ari(made, asterisk, caller):
    agent = made(ari_more=", media: websocket")
    ear = agent.serve("5004", GOODBYE)
    call = caller.dial("ari.5004", PretendCaller([Say("digits-1", pause=0.2)]))
    until(lambda: "WebSocket/esl_agent" in " ".join(asterisk.channels()), why=agent.story)
    assert call.wait_over(15), agent.story()
    for text in (GREETING, "Goodbye."):
        assert likeness(call.sound.heard(), voice_of(text))[0] > 0.95, text
    assert ear.heard[0].rate == 24000
    until(lambda: not asterisk.channels())


def test_a_number_that_nobody_answers_is_refused_at_every_door(made, caller):
    """With chan_websocket it is not answered before: the dialplan dials with ``n``."""
    agent = made()
    calls = {door: caller.dial(f"{prefix}4711") for door, prefix in DOORS.items()}
    for door, call in calls.items():
        assert call.wait_over(15), (door, agent.story())
        assert call.up.is_set() == (door != "websocket"), (door, call.facts)
        assert not call.sound.loud(), door
    assert "cause=1" in calls["audiosocket"].facts[-1][2]
    assert all(agent.facts(call, "answered") == [] for call in agent.notes)
