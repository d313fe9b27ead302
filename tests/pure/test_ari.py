"""ARI as text, and the steps of one call, without any I/O."""

from __future__ import annotations

import itertools

import pytest

from esl_agent.errors import UnsafeText, WireError
from esl_agent.wire.ari import (
    MAX_ARGS,
    MAX_EVENT,
    MAX_TEXT,
    MAX_VARIABLES,
    Reply,
    Request,
    channel_of,
    did_and_variables,
    event_of,
    message_of,
)
from esl_agent.wire.ari_call import Names, Phase, StasisCall

# As Asterisk 22.10.1 sent them.
STASIS_START = (
    '{"type":"StasisStart","timestamp":"2026-11-20T17:58:41.025+0000","args":["arg1","arg2"],"channel":{"id":'
    '"1795197521.763","name":"PJSIP/sipp-in-00000066","state":"Up","protocol_id":"c533250987@127.0.0.1","caller":{"name":'
    '"","number":"sipp"},"connected":{"name":"","number":""},"accountcode":"","dialplan":{"context":"from-phone","exten":'
    '"5004","priority":2,"app_name":"Stasis","app_data":"voiceagent,arg1,arg2"},"creationtime":'
    '"2026-11-20T17:58:41.021+0000","language":"en"},"asterisk_id":"02:fc:00:00:00:01","application":"voiceagent"}'
)
DESTROYED = (
    '{"type":"ChannelDestroyed","timestamp":"2026-11-20T18:52:10.933+0000","cause":17,"cause_txt":"User busy",'
    '"tech_cause":486,"channel":{"id":"o-uas486","name":"PJSIP/carrier-00000004","state":"Ringing","protocol_id":'
    '"f90ffaa6-8a7c-4431-bb42-28a9c693ecc9","caller":{"name":"Agent","number":"5550001"},"connected":{"name":"Agent",'
    '"number":"5550001"},"accountcode":"","dialplan":{"context":"from-phone","exten":"s","priority":1,"app_name":'
    '"AppDial2","app_data":"(Outgoing Line)"},"creationtime":"2026-11-20T18:52:10.122+0000","language":"en"},'
    '"asterisk_id":"02:fc:00:00:00:01","application":"voiceagent"}'
)
SOFT = (
    '{"cause":32,"soft":true,"type":"ChannelHangupRequest","channel":{"id":"em-80239b5e","name":"AudioSocket/'
    '127.0.0.1:9092-80239b5e-1e25-4539-9e7d-42ce025498e7","state":"Up"},"application":"voiceagent"}'
)
DIAL = (
    '{"type":"Dial","dialstatus":"RINGING","forward":"","dialstring":"1555@carrier","peer":{"id":"o-uas486","name":'
    '"PJSIP/carrier-00000004","state":"Ringing"},"asterisk_id":"02:fc:00:00:00:01","application":"voiceagent"}'
)
DIGIT = (
    '{"type":"ChannelDtmfReceived","timestamp":"2026-11-20T17:58:43.205+0000","digit":"4","duration_ms":160,"channel":'
    '{"id":"1795197521.763","name":"PJSIP/sipp-in-00000066","state":"Up"},"application":"voiceagent"}'
)


def test_a_caller_is_who_asterisk_says():
    event = event_of(STASIS_START)
    assert event is not None
    assert (event.kind, event.args) == ("StasisStart", ("arg1", "arg2"))
    channel = event.channel
    assert (channel.id, channel.name, channel.number) == ("1795197521.763", "PJSIP/sipp-in-00000066", "sipp")
    assert channel.is_up
    assert channel.exten == "5004"
    assert channel.is_in("voiceagent")
    assert not channel.is_in("voice")


def test_a_busy_callee_has_a_cause_and_a_sip_status():
    event = event_of(DESTROYED)
    assert event is not None
    assert (event.cause, event.sip) == (17, 486)


def test_the_number_of_a_soft_hang_up_request_is_no_cause():
    event = event_of(SOFT)
    assert event is not None
    assert event.cause == 0


def test_a_dial_is_about_who_is_called():
    event = event_of(DIAL)
    assert event is not None
    assert (event.channel.id, event.status) == ("o-uas486", "RINGING")


def test_a_key_is_not_heard_here_for_it_comes_with_the_sound():
    assert event_of(DIGIT) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '"StasisStart"', "{}", '{"type":7}', '{"type":"StasisStart"}', "[" * 5000,
     '{"type":"StasisEnd","channel":[]}', '{"type":"StasisEnd","channel":{"id":7}}',
     '{"type":"Dial","channel":{"id":"x"}}',
     " " * (MAX_EVENT + 1)],
)  # fmt: skip
def test_garbage_is_a_wire_error(text):
    with pytest.raises(WireError):
        event_of(text)


def test_a_caller_cannot_fill_our_memory():
    text = "x" * 5000
    variables = {f"V{n}": text for n in range(500)}
    channel = channel_of({"id": text, "name": 7, "caller": {"name": text}, "dialplan": "s", "channelvars": variables})
    assert channel is not None
    assert len(channel.id) == len(channel.caller_name) == MAX_TEXT
    assert channel.name == ""
    assert len(channel.variables) == MAX_VARIABLES
    event = event_of(
        '{"type":"StasisStart","channel":{"id":"1"},"cause":-4,"args":[' + ",".join(["7", '"a"'] * 90) + "]}"
    )
    assert event is not None
    assert len(event.args) == MAX_ARGS
    assert event.cause == 0


def test_outside_text_stays_where_it_was_put():
    request = Request("POST", ("channels", "a/../b?c", "variable"), {"value": "x&variable=y #%41\r\nHost: ü"})
    assert request.target == (
        "/channels/a%2F..%2Fb%3Fc/variable?value=x%26variable%3Dy%20%23%2541%0D%0AHost%3A%20%C3%BC"
    )
    assert "variable=y" not in str(request)


@pytest.mark.parametrize("path", [("channels", ".."), ("channels", "."), ("channels", ""), ("channels", "x" * 5000)])
def test_what_cannot_be_a_path_is_not_sent(path):
    with pytest.raises(UnsafeText):
        _ = Request("DELETE", path).target


def test_stasis_arguments_may_name_the_did_and_variables():
    assert did_and_variables(()) == ("", {})
    assert did_and_variables(("4930123", "CUSTOMER=Ann=x", "junk")) == ("4930123", {"CUSTOMER": "Ann=x"})
    assert did_and_variables(("CUSTOMER=",)) == ("", {"CUSTOMER": ""})


def test_a_refusal_is_one_line():
    assert message_of({"message": "no\r\nsuch\x1b[31m thing"}, "Not Found") == "no such [31m thing"
    assert message_of([], "Not Found") == "Not Found"


# The steps of one call

NAMES = Names("app", "u")
OK = Reply(204)


def call(*, is_up=False, is_ours=False) -> StasisCall:
    media = {"encapsulation": "audiosocket", "data": "u"}
    return StasisCall(NAMES, "caller", is_up=is_up, is_ours=is_ours, media=media, variables={"ESL_AGENT_CALL": "u"})


def shown(requests) -> list[str]:
    return [str(each).replace("/esl-agent.app.", "/") for each in requests]


SETUP = [
    "POST /bridges/b.u",
    "POST /channels/externalMedia",
    "POST /bridges/b.u/addChannel",
    "POST /channels/caller/answer",
    "POST /bridges/b.u/addChannel",
]


def test_the_caller_is_answered_when_everything_else_is_ready():
    steps = call()
    sent = steps.begin()
    sent += steps.replied(sent[-1], OK)
    assert sent[-1].query["channelId"] == NAMES.media
    assert sent[-1].query["data"] == "u"
    assert steps.replied(sent[-1], OK) == []
    assert steps.media_began() == []
    sent += steps.line_came()
    assert sent[-1].query == {"channel": NAMES.media}
    for _ in range(2):
        sent += steps.replied(sent[-1], OK)
    assert sent[-1].query == {"channel": "caller"}
    assert steps.replied(sent[-1], OK) == []
    assert shown(sent) == SETUP
    assert steps.phase is Phase.TALKING


@pytest.mark.parametrize("order", list(itertools.permutations(["reply", "StasisStart", "line"])))
def test_the_reply_the_event_and_the_line_come_in_any_order(order):
    steps = call()
    media = steps.replied(steps.begin()[0], OK)[0]
    for number, what in enumerate(order):
        news = {"reply": lambda: steps.replied(media, OK), "StasisStart": steps.media_began, "line": steps.line_came}
        assert len(news[what]()) == (number == 2)
    assert steps.phase is Phase.MIXING


def test_a_caller_who_is_answered_is_not_answered_again():
    steps = call(is_up=True)
    assert "POST /channels/caller/answer" not in shown(talking(steps))


def talking(steps: StasisCall) -> list[Request]:
    steps.media_began()
    steps.line_came()
    sent = steps.begin()
    while more := steps.replied(sent[-1], OK):
        sent += more
    assert steps.phase is Phase.TALKING
    return sent


FREE = ["DELETE /channels/m.u", "DELETE /bridges/b.u"]


@pytest.mark.parametrize("step", range(5))
@pytest.mark.parametrize("status", [0, 400, 404, 409, 422, 500])
def test_whatever_fails_the_caller_goes_on_in_the_dialplan_and_everything_is_freed(step, status):
    steps = call()
    steps.media_began()
    steps.line_came()
    sent = steps.begin()
    for _ in range(step):
        sent += steps.replied(sent[-1], OK)
    freed = steps.replied(sent[-1], Reply(status, "no"))
    assert shown(freed) == ["POST /channels/caller/continue", *(FREE if step else FREE[1:])]
    assert all(each.is_owed for each in freed)
    for each in freed:
        assert steps.phase is Phase.LEAVING
        assert steps.replied(each, Reply(404)) == []
    assert steps.phase is Phase.OVER
    assert steps.why
    assert not steps.has_litter


@pytest.mark.parametrize(
    ("end", "first"),
    [
        (lambda steps: steps.media_ended(), ["POST /channels/caller/continue"]),
        (lambda steps: steps.leave("continue"), ["POST /channels/caller/continue"]),
        (lambda steps: steps.leave("hang_up", cause=17), ["DELETE /channels/caller"]),
        (lambda steps: steps.leave("gone"), []),
    ],
)
@pytest.mark.parametrize("step", range(6))
def test_every_way_out_frees_everything_once(end, first, step):
    steps = call()
    steps.media_began()
    steps.line_came()
    sent = steps.begin()
    for _ in range(step):
        sent += steps.replied(sent[-1], OK)
    freed = end(steps)
    assert shown(freed) == [*first, *(FREE if step else FREE[1:])]
    assert steps.replied(sent[-1], OK) == []  # the late reply to what was under way
    for late in (steps.media_began, steps.line_came, steps.media_ended, steps.overdue):
        assert late() == []
    assert steps.leave("hang_up") == []


def test_our_hang_up_has_its_cause():
    steps = call()
    talking(steps)
    assert steps.leave("hang_up", cause=17)[0].query == {"reason_code": "17"}


def test_whom_we_have_called_has_no_dialplan_to_go_on_in():
    steps = call(is_up=True, is_ours=True)
    talking(steps)
    assert shown(steps.media_ended()) == ["DELETE /channels/caller", *FREE]


@pytest.mark.parametrize(("news", "why"), [([], "externalMedia"), (["reply"], "its sound's channel never came")])
def test_nobody_waits_for_ever_for_sound(news, why):
    steps = call()
    media = steps.replied(steps.begin()[0], OK)[0]
    if news:
        steps.replied(media, OK)
    assert shown(steps.overdue()) == ["POST /channels/caller/continue", *FREE]
    assert why in steps.why


def test_what_could_not_be_freed_is_remembered():
    steps = call()
    talking(steps)
    for each in steps.leave("gone"):
        steps.replied(each, Reply(0, "no answer"))
    assert steps.phase is Phase.OVER
    assert steps.has_litter
