"""Calls that the agent makes through a real Asterisk; at the other end of the trunk somebody who does as told."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from esl_agent.legs.outbound import CalleeAnswered, CallFailed, EarlyMediaBegan, OutboundNews, Rang
from esl_agent.testing.caller import HangUp, PretendCaller, Say, Wait
from esl_agent.testing.providers import GOODBYE
from esl_agent.testing.sip_phone import Answer, SipCall, SipPhone
from tests.asterisk.agent import GREETING, Agent, until, voice_of
from tests.asterisk.likeness import likeness

pytestmark = pytest.mark.system

ANSWERS = {
    "3183": Answer(((0.0, 180), (0.2, 183), (1.5, 200)), lambda: PretendCaller([Say("digits-1", pause=0.2)])),
    "3486": Answer(((0.0, 180), (0.2, 486))),
    "3603": Answer(((0.0, 180), (0.2, 603))),
    "3404": Answer(((0.0, 404),)),
    "3503": Answer(((0.0, 503),)),
    "3480": Answer(((0.0, 183), (0.5, 480))),
    "3000": Answer(((0.0, 180),)),
}
REFUSED = {
    "3486": ("busy", 486),
    "3603": ("declined", 603),
    "3404": ("unknown_number", 404),
    "3503": ("congestion", 503),
}


@pytest.mark.parametrize("over", ["ari", "ami"])
def test_what_becomes_of_each_call_is_told_once_and_the_agent_speaks_to_who_answers(asterisk, carrier, tmp_path, over):
    """Nothing of the agent begins before the answer: early media is none."""
    carrier.answers = ANSWERS
    agent = Agent(tmp_path, asterisk, ari=over == "ari", more="outbound: {timeout: 5, caller_id: '4930123'}")
    try:
        until(lambda: agent.is_connected)
        agent.serve("5005", GOODBYE)
        news: dict[str, list[OutboundNews]] = {number: [] for number in ANSWERS}
        for number, told in news.items():
            agent.server.asterisk.originate(number, "5005", told.append)
        answered = carrier.called(number="3183")
        assert answered is not None
        until(lambda: answered.at("sent", "183"))
        assert agent.calls_to("5005") == []
        until(lambda: all(told and isinstance(told[-1], CalleeAnswered | CallFailed) for told in news.values()), 30)
        assert [type(each) for each in news["3183"]] == [Rang, EarlyMediaBegan, CalleeAnswered]
        for number, (reason, sip) in REFUSED.items():
            failed = news[number][-1]
            assert (failed.reason, failed.sip) == (reason, sip), (number, failed)
        assert news["3480"][-1].reason == news["3000"][-1].reason == "no_answer"
        assert carrier.called(number="3000").at("got", "CANCEL") is not None

        assert answered.wait_over(30), agent.story()
        assert not answered.sound.loud(before=answered.at("sent", "200"))
        for text in (GREETING, "Goodbye."):
            assert likeness(answered.sound.heard(), voice_of(text))[0] > 0.95, (text, agent.story())
        assert len(agent.calls_to("5005")) == 1
        until(lambda: not asterisk.channels())
    finally:
        agent.close()


@pytest.mark.parametrize("over", ["ari", "ami"])
def test_calls_that_are_cancelled_cut_short_or_answered_twice_leave_nothing_behind(asterisk, carrier, tmp_path, over):
    """A machine that hangs up at once, one whom we call no more, one who says 200 OK again and again."""
    carrier.answers = {
        "3000": Answer(((0.0, 180),)),
        "3201": Answer(((0.0, 200),), lambda: PretendCaller([HangUp()])),
        "3202": Answer(((0.0, 180), (0.2, 200), (0.3, 200), (0.6, 200)), lambda: PretendCaller([Say("digits-1")])),
        "3203": Answer(((0.0, 180), (0.5, 200)), lambda: PretendCaller([Wait(60.0)])),
    }
    agent = Agent(tmp_path, asterisk, ari=over == "ari", more="outbound: {timeout: 20}")
    try:
        until(lambda: agent.is_connected)
        agent.serve("5005", GOODBYE)
        news: dict[str, list[OutboundNews]] = {number: [] for number in carrier.answers}
        calls = {n: agent.server.asterisk.originate(n, "5005", told.append) for n, told in news.items() if n != "3203"}
        until(lambda: Rang() in news["3000"])
        calls["3000"].cancel()
        ringing = called(carrier, "3000")
        until(lambda: ringing.at("got", "CANCEL"))
        assert [type(each) for each in news["3000"]] == [Rang, CallFailed]
        assert news["3000"][-1].reason == "cancelled"

        short, twice = called(carrier, "3201"), called(carrier, "3202")
        assert short.wait_over(20)
        assert twice.wait_over(30), agent.story()
        assert [type(each) for each in news["3201"]] == [CalleeAnswered]
        assert [type(each) for each in news["3202"]] == [Rang, CalleeAnswered]
        assert likeness(twice.sound.heard(), voice_of("Goodbye."))[0] > 0.95, agent.story()
        until(lambda: agent.is_idle and not asterisk.channels(), why=agent.story)
        assert len(agent.calls_to("5005")) in (1, 2), "one that was answered may have begun; no other has"

        # Our CANCEL and the callee's 200 cross.
        crossing = agent.server.asterisk.originate("3203", "5005", news["3203"].append)
        until(lambda: carrier.called(number="3203"))
        other = called(carrier, "3203")
        until(lambda: other.at("sent", "200"), every=0.0)
        crossing.cancel()
        assert other.wait_over(20)
        until(lambda: agent.is_idle and not asterisk.channels(), why=agent.story)
        ends = [each for each in news["3203"] if isinstance(each, CallFailed | CalleeAnswered)]
        assert len(ends) == 1, ends
    finally:
        agent.close()


def test_the_command_says_what_becomes_of_its_call(asterisk, carrier, tmp_path):
    carrier.answers = ANSWERS
    agent = Agent(tmp_path, asterisk, more="outbound: {timeout: 5}")
    told = {
        "3183": (0, r"it rings\n.*early media.*\n.*answered: PJSIP/trunk-"),
        "3603": (1, r"it rings\n.*declined \(SIP 603, "),
        "3000": (1, r"it rings\n.*no answer"),
    }
    try:
        until(lambda: agent.is_connected)
        agent.serve("5005", GOODBYE)
        for number, (status, said) in told.items():
            command = [sys.executable, "-m", "esl_agent", "call", number, "--did", "5005", "--conf", str(tmp_path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode, done.stderr) == (status, ""), (number, done)
            assert re.search(said, done.stdout), (number, done)
        until(lambda: agent.is_idle and not asterisk.channels(), why=agent.story)
    finally:
        agent.close()


def called(carrier: SipPhone, number: str) -> SipCall:
    """The call that came to ``number``."""
    until(lambda: carrier.called(number=number) is not None)
    found = carrier.called(number=number)
    assert found is not None
    return found
