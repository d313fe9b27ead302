"""Somebody is called for a caller over AMI, and the two are connected; against the pretend AMI."""

from __future__ import annotations

import pytest

from esl_agent.errors import CommandRefused, LegClosed, LegError
from esl_agent.legs.ami import AmiClient
from esl_agent.legs.ami_callee import AmiBeside
from esl_agent.legs.ami_calls import AmiCalls
from esl_agent.legs.ami_originate import AmiDialler
from esl_agent.legs.outbound import CalleeAnswered, CallFailed, Rang
from esl_agent.testing.pretend_ami import PretendAmi
from tests.legs.test_ami_calls import call_in, did
from tests.legs.until import until

LINE = "62726965-0000-8000-8000-000000000001"


@pytest.fixture
def server():
    server = PretendAmi().start()
    server.endpoints.add("1002")
    yield server
    server.stop()
    assert server.complaints == []


@pytest.fixture
def made(server):
    """Makes the directory whose callers may have people called."""
    clients = []

    def make(**options: str) -> AmiCalls:
        client = AmiClient(*server.address, server.user, server.secret, timeout=1.0)
        clients.append(client)
        calls = AmiCalls(client, "ai-transfer", AmiBeside(AmiDialler(client), "ai-briefing", **options))
        client.start()
        until(lambda: client.is_connected)
        return calls

    yield make
    for client in clients:
        client.close()


def ring(server, calls, endpoint="PJSIP/1002", **caller):
    """(the caller's channel, its control, the callee, the news of it)"""
    channel, _, control = call_in(server, calls, **caller)
    news: list = []
    callee = control.ring(endpoint, LINE, 7.0, news.append)
    return channel, control, callee, news


def answered(server, news):
    until(lambda: Rang() in news)
    channel = server.called()
    server.answer(channel)
    until(lambda: news[-1] == CalleeAnswered(channel.name))
    return channel


def test_the_callee_is_rung_for_the_caller_and_answers_into_the_briefing(server, made):
    _, _, _, news = ring(server, made(), number="+4930123")
    channel = answered(server, news)
    (asked,) = server.asked("Originate")
    wanted = {"Channel": "PJSIP/1002", "Context": "ai-briefing", "Exten": "briefing", "Timeout": "7000"}
    assert wanted.items() <= asked.items()
    assert asked["CallerID"] == "+4930123"
    assert channel.variables == {"ESL_AGENT_LINE": LINE}


@pytest.mark.parametrize("number", ["anonymous", "", "+49\u0663\u0660", "1" * 30, '"Ada" <1>'])
def test_what_is_no_number_is_shown_to_nobody(server, made, number):
    ring(server, made(), number=number)
    until(lambda: server.asked("Originate"))
    assert "CallerID" not in server.asked("Originate")[0]


def test_the_operators_number_and_address_come_first(server, made):
    _, _, _, news = ring(server, made(caller_id="4930999", address="10.0.0.5:9092"), number="1001")
    channel = answered(server, news)
    assert server.asked("Originate")[0]["CallerID"] == "4930999"
    assert channel.variables["AUDIOSOCKET_ADDR"] == "10.0.0.5:9092"


def test_the_two_are_connected_and_our_lines_end(server, made):
    channel, _, callee, news = ring(server, made())
    other = answered(server, news)
    callees_line = server.dial(other, f"AudioSocket/127.0.0.1:9092-{LINE}")
    assert did(callee.connect) is None
    assert channel.bridge == other.bridge
    assert channel.variables["ESL_AGENT_TRANSFERRED"] == "1"
    assert set(server.channels) == {channel.name, other.name}
    assert callees_line.name not in server.channels


def test_a_callee_who_has_gone_cannot_be_connected_and_the_caller_is_told_of_no_transfer(server, made):
    channel, _, callee, news = ring(server, made())
    other = answered(server, news)
    server.hang_up(other.name)
    assert isinstance(did(callee.connect), CommandRefused)
    until(lambda: channel.variables["ESL_AGENT_TRANSFERRED"] == "")
    assert channel.name in server.channels


def test_a_caller_who_has_gone_is_connected_with_nobody(server, made):
    channel, control, callee, news = ring(server, made())
    answered(server, news)
    causes: list[int] = []
    control.watch(causes.append)
    server.hang_up(channel.name)
    until(lambda: causes)
    assert isinstance(did(callee.connect), LegClosed)
    assert server.asked("Bridge") == []


def test_nobody_is_connected_before_the_answer(server, made):
    _, _, callee, _ = ring(server, made())
    assert isinstance(did(callee.connect), LegError)


def test_a_phone_that_rings_for_nobody_any_more_is_silent(server, made):
    _, _, callee, news = ring(server, made())
    until(lambda: Rang() in news)
    callee.hang_up()
    callee.hang_up()
    until(lambda: not any(each.uniqueid.startswith("esl-agent") for each in server.channels.values()))
    assert len(news) == 1, "whoever hangs up knows"


def test_a_callee_who_has_answered_is_hung_up_on(server, made):
    _, _, callee, news = ring(server, made())
    other = answered(server, news)
    callee.hang_up()
    until(lambda: other.name not in server.channels)


def test_why_nobody_answers_is_told(server, made):
    server.callees["1002"] = 486
    _, _, _, news = ring(server, made())
    until(lambda: news and isinstance(news[-1], CallFailed))
    assert news[-1].reason == "busy"


@pytest.mark.parametrize("endpoint", ["", "1002", "PJSIP/", "PJSIP/1,2", "pjsip/1", "PJSIP/1\r\nA: b", "PJSIP/1/2"])
def test_what_is_no_endpoint_is_not_asked_for(server, made, endpoint):
    with pytest.raises(LegError):
        ring(server, made(), endpoint)
    assert server.asked("Originate") == []


def test_without_a_connection_nobody_is_called(server, made):
    calls = made()
    _, _, control = call_in(server, calls)
    server.stop()
    until(lambda: not calls._client.is_connected)
    with pytest.raises(LegError):
        control.ring("PJSIP/1002", LINE, 7.0, lambda _: None)
    server.start()
