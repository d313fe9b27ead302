"""Who is behind a line, what can be done with the caller, and calls we make; against the pretend AMI."""

from __future__ import annotations

import gc
import time
import uuid
import weakref
from functools import partial

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esl_agent.errors import LegError
from esl_agent.legs import ami_calls, ami_control, ami_originate
from esl_agent.legs.ami import AmiClient
from esl_agent.legs.ami_calls import AmiCalls
from esl_agent.legs.ami_originate import AmiDialler
from esl_agent.legs.asterisk import NotControlled
from esl_agent.legs.late_control import LateControl
from esl_agent.legs.outbound import CalleeAnswered, CallFailed, CallOut, EarlyMediaBegan, Rang
from esl_agent.legs.plain_value import MAX_VALUE_BYTES, plain
from esl_agent.testing.pretend_ami import PretendAmi
from tests.legs.until import until

PATIENCE = 10.0


def a_line() -> tuple[str, str]:
    """A UUID and the name of its channel."""
    line = str(uuid.uuid4())
    return line, f"AudioSocket/127.0.0.1:9092-{line}"


@pytest.fixture
def server():
    server = PretendAmi().start()
    server.extensions.add(("ai-transfer", "100"))
    yield server
    server.stop()
    assert server.complaints == []


@pytest.fixture
def calls(server):
    client = AmiClient(*server.address, server.user, server.secret, timeout=1.0, first_retry=0.005, last_retry=0.02)
    calls = AmiCalls(client, "ai-transfer")
    calls.client, calls.dialler = client, AmiDialler(client)  # for the tests
    client.start()
    until(lambda: client.is_connected)
    yield calls
    client.close()


def call_in(server, calls, **facts):
    """(caller's channel, Caller, Control) of a call whose line was dialled."""
    caller = server.call_in(**facts)
    line, name = a_line()
    server.dial(caller, name)
    return caller, *calls.find(line, PATIENCE)


def did(command, *arguments):
    """What a command was answered."""
    found = []
    command(*arguments, found.append)
    until(lambda: found)
    assert len(found) == 1
    return found[0]


# Who calls


def test_a_line_that_was_dialled_is_its_callers(server, calls):
    channel, caller, _ = call_in(server, calls, number="+4930123", name="Ada", did="4930555", LANGUAGE="de")
    assert caller.channel == channel.name
    assert (caller.did, caller.number, caller.name) == ("4930555", "+4930123", "Ada")
    assert caller.variables["LANGUAGE"] == "de"


def test_the_line_may_be_there_before_its_news(server, calls):
    line, name = a_line()
    found = []
    waiting = gevent.spawn(lambda: found.append(calls.find(line, PATIENCE)))
    gevent.sleep(0.005)
    assert not found
    server.dial(server.call_in(number="1"), name)
    waiting.join(1)
    assert found[0][0].number == "1"
    assert calls._news == {}


def test_the_application_is_seen_too(server, calls):
    caller = server.call_in(number="1", did="5002")
    line, _ = a_line()
    server.run_app(caller, line)
    found = calls.find(line.upper(), PATIENCE)
    assert (found[0].channel, found[0].did) == (caller.name, "5002")


def test_a_websocket_line_is_known_by_its_channel(server, calls):
    caller = server.call_in(number="1")
    server.dial(caller, "WebSocket/agentws/0x7f1c5c01b2a0")
    assert calls.find("WebSocket/agentws/0x7f1c5c01b2a0", PATIENCE)[0].channel == caller.name
    assert calls.find("WebSocket/agentws/0x7f1c5c01b2a1", 0.0) is None


def test_what_the_dialplan_calls_the_did_is_the_did(server, calls):
    _, caller, _ = call_in(server, calls, did="s", ESL_AGENT_DID="4930777")
    assert caller.did == "4930777"


def test_a_goto_does_not_change_what_was_dialled(server, calls):
    caller = server.call_in(did="4930555")
    caller.exten = "agent"
    line, name = a_line()
    server.dial(caller, name)
    assert calls.find(line, PATIENCE)[0].did == "4930555"


def test_without_dnid_the_extension_has_to_do(server, calls):
    caller = server.call_in(did="4930555")
    caller.dnid = ""
    line, name = a_line()
    server.dial(caller, name)
    assert calls.find(line, PATIENCE)[0].did == "4930555"


def test_nobody_is_called_unknown(server, calls):
    _, caller, _ = call_in(server, calls, number="", name="")
    assert (caller.number, caller.name) == ("", "")


def test_a_line_nobody_dialled_is_given_up_when_patience_ends(server, calls):
    assert calls.find(str(uuid.uuid4()), 0.01) is None
    assert calls._news == {}


def test_a_call_that_comes_before_we_are_connected_again_is_known(server, monkeypatch):
    """Asterisk was started anew, and the next try is a minute away."""
    monkeypatch.setattr(ami_calls, "LOGIN_PATIENCE", PATIENCE)
    client = AmiClient(*server.address, server.user, server.secret, timeout=1.0, first_retry=60.0, last_retry=60.0)
    calls = AmiCalls(client, "ai-transfer")
    client.start()
    until(lambda: client.is_connected)
    server.stop()
    until(lambda: not client.is_connected)
    server.start()
    line, name = a_line()
    server.dial(server.call_in(number="1"), name)
    found = calls.find(line, PATIENCE)
    assert found is not None
    assert found[0].number == "1"
    client.close()


def test_a_call_that_was_taken_without_its_caller_is_controlled_as_soon_as_he_is_known(server, calls):
    """AMI was away when it came."""
    caller = server.call_in(number="+4930123")
    line, name = a_line()
    control = LateControl(partial(calls.known, line))
    causes = []
    control.watch(causes.append)
    assert isinstance(did(control.redirect, "100"), NotControlled)
    server.dial(caller, name)
    until(lambda: line in calls._lines)
    assert did(control.send_digits, "1") is None
    server.hang_up(caller.name)
    until(lambda: causes == [16])
    control.close()
    assert calls._controls == {}


def test_without_a_connection_nobody_waits(server, calls):
    server.stop()
    until(lambda: not calls.client.is_connected)
    before = time.monotonic()
    assert calls.find(str(uuid.uuid4()), 60.0) is None
    assert time.monotonic() - before < 30


def test_an_asterisk_that_says_nothing_more_leaves_what_the_event_said(server, calls):
    server.mute.add("Status")
    caller = server.call_in(number="1", did="5001")
    line, name = a_line()
    server.dial(caller, name)
    until(lambda: line in calls._lines)
    found = calls.find(line, 0.01)
    assert (found[0].number, found[0].did, dict(found[0].variables)) == ("1", "5001", {})


@pytest.mark.parametrize("how", ["dial", "app", "websocket"])
def test_calls_that_are_up_when_we_connect_are_found(server, calls, how):
    server.stop()
    until(lambda: not calls.client.is_connected)
    caller = server.call_in(number="1", did="5001")
    server.call_in(number="2")
    line, name = a_line()
    if how == "app":
        server.run_app(caller, line)
    elif how == "dial":
        server.dial(caller, name)
    else:
        line = "WebSocket/agentws/0x7f1c"
        server.dial(caller, line)
    server.start()
    until(lambda: calls.client.is_connected)
    assert calls.find(line, PATIENCE)[0].channel == caller.name


def test_who_may_not_see_the_dialplan_finds_the_application_by_asking(server, calls):
    calls._scanned_at = float("-inf")
    caller = server.call_in(number="1")
    line, _ = a_line()
    server.sessions[0].mask.discard("dialplan")
    server.run_app(caller, line)
    assert calls.find(line, PATIENCE)[0].channel == caller.name


def test_strangers_who_open_lines_cost_one_question_a_second(server, calls, monkeypatch):
    monkeypatch.setattr(ami_calls, "SCAN_AFTER", 0.001)
    until(lambda: not calls._is_scanning)
    asked = len(server.asked("Status"))
    for _ in range(3):
        gevent.joinall([gevent.spawn(calls.find, str(uuid.uuid4()), 0.01) for _ in range(20)])
    assert len(server.asked("Status")) - asked <= 1


def test_a_line_that_is_not_answered_yet_belongs_to_who_dials_it(server, calls):
    server.stop()
    until(lambda: not calls.client.is_connected)
    caller = server.call_in(number="1")
    ours = server.dial(caller, "WebSocket/agentws/0x7f1c")
    caller.bridge = ours.bridge = ""
    server.start()
    until(lambda: calls.client.is_connected)
    assert calls.find("WebSocket/agentws/0x7f1c", PATIENCE)[0].channel == caller.name


def test_a_line_in_a_conference_belongs_to_nobody_in_particular(server, calls):
    server.stop()
    until(lambda: not calls.client.is_connected)
    line, name = a_line()
    ours = server.dial(server.call_in(), name)
    server.call_in().bridge = ours.bridge
    server.start()
    until(lambda: calls.client.is_connected)
    assert calls.find(line, 0.1) is None


def test_a_call_that_ended_is_forgotten(server, calls):
    _, _, control = call_in(server, calls)
    assert calls._lines
    server.hang_up(control.channel)
    until(lambda: not calls._lines)
    control.close()
    assert (calls._lines, calls._lines_of, calls._controls, calls._news) == ({}, {}, {}, {})


def test_calls_that_ended_while_we_were_away_are_forgotten(server, calls):
    _, _, control = call_in(server, calls)
    server.stop()
    until(lambda: not calls.client.is_connected)
    server.hang_up(control.channel)
    server.start()
    until(lambda: not calls._lines)
    assert "hung up" in str(did(control.hang_up, 16))
    assert server.asked("Hangup") == []


def test_there_is_a_most_of_lines(server, calls, monkeypatch):
    monkeypatch.setattr(ami_calls, "MAX_LINES", 3)
    caller = server.call_in()
    lines = [a_line() for _ in range(5)]
    for _, name in lines:
        server.dial(caller, name)
    until(lambda: lines[-1][0] in calls._lines)
    assert list(calls._lines) == [line for line, _ in lines[2:]]


def test_lines_whose_end_never_came_are_too_old_one_day(server, calls, monkeypatch):
    monkeypatch.setattr(ami_calls, "MAX_AGE", 0.0)
    first, second = a_line(), a_line()
    server.dial(server.call_in(), first[1])
    until(lambda: calls._lines)
    gevent.sleep(0.002)
    server.dial(server.call_in(), second[1])
    until(lambda: second[0] in calls._lines)
    assert first[0] not in calls._lines


ONE_LINE = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=80)
HOSTILE = ONE_LINE | st.sampled_from(
    ["Event: Hangup", "x" * 20_000, "${SHELL(id)}", "a\\r\\nAction: Logoff", "\u202egnp.exe", "\0", ": ", " "]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(HOSTILE, HOSTILE, HOSTILE)
def test_whatever_callers_are_called_the_call_is_theirs(server, calls, number, name, value):
    channel = server.call_in(number=number, name=name, X=value)
    line, ours = a_line()
    server.dial(channel, ours)
    caller, control = calls.find(line, PATIENCE)
    assert caller.channel == channel.name
    assert len(caller.name) <= ami_calls.MAX_NAME
    assert len(caller.number) <= ami_calls.MAX_NAME
    assert caller.variables["X"] == value[: ami_calls.MAX_VALUE]
    control.close()
    server.hang_up(channel.name)


def test_a_caller_with_variables_without_end_costs_nobody_the_connection(server, calls):
    many = {f"V{number}": "y" * 1000 for number in range(100)}
    _, caller, _ = call_in(server, calls, number="4930123", BIG="x" * 200_000, **many)
    assert (caller.number, len(caller.variables["BIG"])) == ("4930123", ami_calls.MAX_VALUE)
    assert len(caller.variables) > 100
    assert (calls.client.is_connected, server.logins) == (True, 1)


@pytest.mark.parametrize("name", ["O'Brien", 'Bob "Bobby" Smith', "Who?", "a\\b", "a\\tb", "tab\tbed", "nothing odd"])
def test_a_name_is_the_callers_however_asterisk_writes_it(server, calls, name):
    _, caller, _ = call_in(server, calls, number="1", name=name)
    assert caller.name == name


# What can be done


def test_a_hang_up_has_its_cause_and_is_told(server, calls):
    _, _, control = call_in(server, calls)
    causes = []
    control.watch(causes.append)
    assert did(control.hang_up, 17) is None
    assert server.asked("Hangup")[0]["Cause"] == "17"
    until(lambda: causes)
    assert causes == [17]


def test_a_caller_who_hung_up_before_anybody_watched_is_told_too(server, calls):
    _, _, control = call_in(server, calls)
    server.hang_up(control.channel, 16)
    until(lambda: control._cause is not None)
    causes = []
    control.watch(causes.append)
    assert causes == [16]


def test_after_the_hang_up_nothing_reaches_who_may_have_the_channels_name_now(server, calls):
    _, _, control = call_in(server, calls)
    server.hang_up(control.channel)
    until(lambda: control._cause is not None)
    for command, arguments in (
        (control.hang_up, (16,)),
        (control.redirect, ("100",)),
        (control.send_digits, ("1",)),
        (control.set_variable, ("A", "1")),
    ):
        assert isinstance(did(command, *arguments), LegError)
    control.announce("esl_agent", {})
    assert not server.asked("UserEvent")


def test_a_transfer_sends_the_caller_on(server, calls):
    channel, _, control = call_in(server, calls)
    assert did(control.redirect, "100") is None
    assert (channel.context, channel.exten) == ("ai-transfer", "100")
    assert channel.name in server.channels


def test_a_transfer_to_no_extension_is_refused_and_the_caller_stays(server, calls):
    channel, _, control = call_in(server, calls)
    assert "no extension" in str(did(control.redirect, "999"))
    assert server.asked("Redirect") == []
    assert channel.name in server.channels


def test_an_asterisk_that_cannot_say_what_extensions_it_has_is_believed(server, calls):
    server.has_func_dialplan = False
    channel, _, control = call_in(server, calls)
    assert did(control.redirect, "100") is None
    assert channel.exten == "100"


@pytest.mark.parametrize("number", ["", "1,2", "1&2", "1\r\nAction: Hangup", "${EXTEN}", "a b", "1)", "x" * 80, "ä"])
def test_a_target_that_is_no_extension_is_refused(server, calls, number):
    _, _, control = call_in(server, calls)
    assert isinstance(did(control.redirect, number), LegError)
    assert not server.asked("Redirect")
    assert not server.asked("Getvar")


def test_keys_are_pressed_one_after_the_other(server, calls, monkeypatch):
    monkeypatch.setattr(ami_control, "BETWEEN_DIGITS", 0.0)
    monkeypatch.setattr(ami_control, "PAUSE", 0.0)
    channel, _, control = call_in(server, calls)
    assert did(control.send_digits, "1w2*#") is None
    assert channel.digits == "12*#"
    assert all(len(each["Digit"]) == 1 for each in server.asked("PlayDTMF"))


@pytest.mark.parametrize("digits", ["", "x", "1\r\n", "1" * 65])
def test_what_is_no_key_is_refused(server, calls, digits):
    _, _, control = call_in(server, calls)
    assert isinstance(did(control.send_digits, digits), LegError)


def test_keys_end_with_the_call(server, calls, monkeypatch):
    monkeypatch.setattr(ami_control, "PAUSE", 60.0)
    channel, _, control = call_in(server, calls)
    control.send_digits("1w2", lambda _: None)
    until(lambda: channel.digits)
    assert isinstance(did(control.send_digits, "3"), LegError)
    control.close()
    gevent.sleep(0.002)
    assert channel.digits == "1"


def test_a_variable_is_set_in_one_line_with_nothing_to_expand(server, calls):
    channel, _, control = call_in(server, calls)
    assert did(control.set_variable, "SUMMARY", "wants\r\nAction: Hangup ${SHELL(id)} $[1+1]") is None
    assert channel.variables["SUMMARY"] == "wants Action: Hangup (SHELL(id)} [1+1]"
    assert isinstance(did(control.set_variable, "CALLERID(name)", "x"), LegError)


@given(st.text(max_size=2000) | st.text("$[({}", max_size=9))
def test_a_plain_value_is_a_line_that_fits_and_holds_nothing_to_expand(text):
    value = plain(text)
    assert len(value.encode()) <= MAX_VALUE_BYTES
    assert not set(value) & set("\r\n\0")
    assert not any(each in value for each in ("${", "$[", "$("))


def test_an_announcement_is_an_event_without_headers_of_others(server, calls):
    _, _, control = call_in(server, calls)
    control.announce("esl_agent::turn", {"text": "a\r\nEvent: Hangup", "Channel": "PJSIP/x", "a b": "1", "1": "no"})
    until(lambda: server.asked("UserEvent"))
    sent = server.asked("UserEvent")[0]
    assert sent["UserEvent"] == "esl_agent::turn"
    assert sent["text"] == "a Event: Hangup"
    assert sent["Channel"] == control.channel
    assert sent["a-b"] == "1"


def test_what_is_asked_while_the_connection_is_lost_fails(server, calls):
    _, _, control = call_in(server, calls)
    server.mute.add("Hangup")
    found = []
    control.hang_up(16, found.append)
    until(lambda: server.asked("Hangup"))
    server.drop()
    until(lambda: found)
    assert isinstance(found[0], LegError)


def test_a_call_that_is_over_is_freed_without_the_collector(server, calls):
    _, _, control = call_in(server, calls)
    control.watch(lambda cause: None)
    server.hang_up(control.channel)
    until(lambda: not calls._lines)
    gc.collect()
    gc.disable()
    try:
        gone = weakref.ref(control)
        control.close()
        del control
        assert gone() is None
    finally:
        gc.enable()


# Calls we make


def dial(calls, news, number="4930123", context="ai-outbound", **options):
    call = CallOut(number, **{"did": "4930555", "trunk": "trunk", **options})
    return calls.dialler.originate(call, news.append, context=context)


@pytest.mark.parametrize("hangup_comes_first", [False, True])
@pytest.mark.parametrize(
    ("status", "reason"),
    [(486, "busy"), (603, "declined"), (404, "unknown_number"), (480, "no_answer"), (503, "congestion")],
)
def test_a_refusal_is_told_by_its_status(server, calls, status, reason, hangup_comes_first):
    server.callees["4930123"] = status
    server.hangup_comes_first = hangup_comes_first
    news = []
    dial(calls, news)
    until(lambda: news)
    assert [(each.reason, each.sip) for each in news] == [(reason, status)]


def test_a_call_rings_has_early_media_and_is_answered(server, calls):
    news = []
    outgoing = dial(calls, news)
    until(lambda: news)
    server.progress(server.called())
    until(lambda: len(news) == 2)
    assert news == [Rang(), EarlyMediaBegan()]
    channel = server.called()
    server.answer(channel)
    until(lambda: len(news) == 3)
    assert news[2] == CalleeAnswered(channel.name)
    server.hang_up(channel.name)
    gevent.sleep(0.005)
    assert len(news) == 3
    assert outgoing.id == channel.uniqueid


def test_what_is_asked_of_asterisk_is_what_was_wanted(server, calls):
    news = []
    dial(calls, news, caller_id="+49301", timeout=20.5, variables={"NAME": 'Ada, "x" (1) \\ ${EXTEN}\r\nb'})
    until(lambda: news)
    asked = server.asked("Originate")[0]
    assert asked["Channel"] == "PJSIP/4930123@trunk"
    assert (asked["Context"], asked["Exten"], asked["Priority"]) == ("ai-outbound", "4930555", "1")
    assert (asked["CallerID"], asked["Timeout"], asked["Async"]) == ("+49301", "20500", "true")
    assert "EarlyMedia" not in asked
    assert server.called().variables == {"NAME": 'Ada, "x" (1) \\ (EXTEN} b', "ESL_AGENT_DID": "4930555"}


def test_nobody_answers_before_the_timeout(server, calls):
    news = []
    dial(calls, news)
    until(lambda: news)
    server.ring_out(server.called())
    until(lambda: len(news) == 2)
    assert (news[1].reason, news[1].sip) == ("no_answer", 480)


def test_nobody_there_is_not_the_same_as_no_answer(server, calls):
    server.callees["4930123"] = "silent"
    news = []
    dial(calls, news)
    until(lambda: server.channels)
    server.ring_out(server.called())
    until(lambda: news)
    assert news[0].reason == "unreachable"


def test_an_endpoint_that_is_not_configured_is_unreachable(server, calls):
    news = []
    dial(calls, news, trunk="nosuch")
    until(lambda: news)
    assert (news[0].reason, news[0].sip) == ("unreachable", 0)


def test_a_cancelled_call_rings_no_more(server, calls):
    news = []
    outgoing = dial(calls, news)
    until(lambda: news)
    outgoing.cancel()
    outgoing.cancel()
    assert [type(each) for each in news] == [Rang, CallFailed]
    assert news[1].reason == "cancelled"
    until(lambda: not server.channels)


def test_a_call_cancelled_before_asterisk_made_its_channel_is_hung_up_on_as_soon_as_it_has(server, calls):
    server.held = []
    news = []
    outgoing = dial(calls, news)
    outgoing.cancel()
    until(lambda: server.asked("Hangup"))
    server.release()
    until(lambda: len(server.asked("Hangup")) >= 2)
    until(lambda: not server.channels)
    assert [each.reason for each in news] == ["cancelled"]


def test_an_asterisk_that_never_ends_a_call_does_not_keep_it(server, calls, monkeypatch):
    monkeypatch.setattr(ami_originate, "GRACE", 0.0)
    news = []
    dial(calls, news, timeout=0.02)
    until(lambda: CallFailed in map(type, news))
    assert (news[-1].reason, news[-1].detail) == ("no_answer", "Asterisk did not end it in time")
    until(lambda: not server.channels)


def test_one_event_of_the_end_that_never_comes_is_not_waited_for_long(server, calls, monkeypatch):
    monkeypatch.setattr(ami_originate, "SETTLE", 0.0)
    server.callees["4930123"] = "silent"
    news = []
    outgoing = dial(calls, news)
    until(lambda: server.channels)
    server.emit([("Event", "Hangup"), ("Channel", "x"), ("Uniqueid", outgoing.id), ("Cause", "17")])
    until(lambda: news)
    assert news[0].cause == 17


def test_an_answer_while_we_were_away_is_found_out(server, calls):
    news = []
    dial(calls, news)
    until(lambda: news)
    channel = server.called()
    server.stop()
    until(lambda: not calls.client.is_connected)
    server.answer(channel)
    server.start()
    until(lambda: len(news) == 2)
    assert news[1] == CalleeAnswered(channel.name)


def test_an_end_while_we_were_away_is_found_out(server, calls):
    news = []
    dial(calls, news)
    until(lambda: news)
    channel = server.called()
    server.stop()
    until(lambda: not calls.client.is_connected)
    server.hang_up(channel.name)
    server.start()
    until(lambda: len(news) == 2)
    assert news[1].reason == "failed"


def test_without_a_connection_nothing_is_dialled(server, calls):
    server.stop()
    until(lambda: not calls.client.is_connected)
    with pytest.raises(LegError):
        dial(calls, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": "1@evil"},
        {"number": "1,2"},
        {"number": "1\r\nX: y"},
        {"number": ""},
        {"number": "sip:1"},
        {"trunk": "a/b"},
        {"trunk": ""},
        {"caller_id": '"x" <1>'},
        {"did": "a,b"},
        {"context": "a b"},
        {"variables": {"CALLERID(num)": "1"}},
        {"variables": {f"V{number}": "" for number in range(61)}},
    ],
)
def test_what_cannot_be_dialled_is_refused_and_nothing_is_sent(server, calls, wrong):
    with pytest.raises(LegError):
        dial(calls, [], **wrong)
    assert not server.asked("Originate")


def test_there_is_a_most_of_calls_under_way(server, calls, monkeypatch):
    monkeypatch.setattr(ami_originate, "MAX_DIALLING", 2)
    for _ in range(2):
        dial(calls, [])
    with pytest.raises(LegError):
        dial(calls, [])


def test_a_call_of_another_who_uses_the_same_asterisk_is_none_of_ours(server, calls):
    news = []
    dial(calls, news)
    until(lambda: news)
    server.emit([("Event", "OriginateResponse"), ("ActionID", "1"), ("Response", "Failure"), ("Reason", "0")])
    gevent.sleep(0.005)
    assert news == [Rang()]


@pytest.mark.parametrize("ending", ["answered", "refused", "cancelled"])
def test_a_call_we_made_is_freed_without_the_collector(server, calls, ending, monkeypatch):
    monkeypatch.setattr(ami_originate, "GRACE", 0.0)
    news = []
    outgoing = dial(calls, news)
    until(lambda: news)
    gc.collect()
    gc.disable()
    try:
        gone = weakref.ref(outgoing)
        if ending == "answered":
            server.answer(server.called())
        elif ending == "refused":
            server.refuse(server.called(), 486)
        else:
            outgoing.cancel()
        until(lambda: len(news) == 2)
        del outgoing
        until(lambda: gone() is None)
    finally:
        gc.enable()
