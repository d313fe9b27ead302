"""Calls that the agent makes through a real Asterisk; at the other end of the trunk somebody who does as told."""

from __future__ import annotations

import pytest

from esl_agent.legs.outbound import CalleeAnswered, CallFailed, EarlyMediaBegan, OutboundNews, Rang
from esl_agent.testing.caller import PretendCaller, Say
from esl_agent.testing.providers import GOODBYE
from esl_agent.testing.sip_phone import Answer
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
    agent = Agent(tmp_path, asterisk, ari=over == "ari", more="outbound: {timeout: 3, caller_id: '4930123'}")
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
        until(lambda: all(told and isinstance(told[-1], CalleeAnswered | CallFailed) for told in news.values()), 12)
        assert [type(each) for each in news["3183"]] == [Rang, EarlyMediaBegan, CalleeAnswered]
        for number, (reason, sip) in REFUSED.items():
            failed = news[number][-1]
            assert (failed.reason, failed.sip) == (reason, sip), (number, failed)
        assert news["3480"][-1].reason == news["3000"][-1].reason == "no_answer"
        assert carrier.called(number="3000").at("got", "CANCEL") is not None

        assert answered.wait_over(15), agent.story()
        assert not answered.sound.loud(before=answered.at("sent", "200"))
        for text in (GREETING, "Goodbye."):
            assert likeness(answered.sound.heard(), voice_of(text))[0] > 0.95, (text, agent.story())
        assert len(agent.calls_to("5005")) == 1
        until(lambda: not asterisk.channels())
    finally:
        agent.close()
