"""What becomes of a call that we make, told by the events of a real Asterisk, in any order."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.legs.ami_dial import AmiDial
from esl_agent.legs.outbound import CalleeAnswered, CallFailed, EarlyMediaBegan, OutboundNews, Rang, reason_of
from esl_agent.wire.ami import Message, Parser

CORPUS = Path(__file__).parent.parent / "corpus" / "ami"
KINDS = ("DialBegin", "DialState", "DialEnd", "Newstate", "Hangup", "OriginateResponse")
TOLD: dict[str, list[tuple[type, str, int]]] = {
    "out_486": [(Rang, "", 0), (CallFailed, "busy", 486)],
    "out_603": [(CallFailed, "declined", 603)],
    "out_404": [(CallFailed, "unknown_number", 404)],
    "out_480": [(CallFailed, "no_answer", 480)],
    "out_503": [(CallFailed, "congestion", 503)],
    "out_183_480": [(EarlyMediaBegan, "", 0), (CallFailed, "no_answer", 480)],
    "out_never": [(Rang, "", 0), (CallFailed, "no_answer", 480)],
    "out_nobody": [(CallFailed, "unreachable", 480)],
    "out_nobody_408": [(CallFailed, "unreachable", 408)],
    "out_no_endpoint": [(CallFailed, "unreachable", 0)],
    "out_183_200": [(Rang, "", 0), (EarlyMediaBegan, "", 0), (CalleeAnswered, "", 0)],
}


def events(name: str) -> list[Message]:
    """Those of our call that a dialler gets to see."""
    found = Parser().feed((CORPUS / f"{name}.bin").read_bytes())
    return [
        each
        for each in found
        if each.event in KINDS
        and (each.event == "OriginateResponse" or (each.get("DestUniqueid") or each.get("Uniqueid")) == "out-1")
    ]


def play(those: list[Message]) -> tuple[AmiDial, list[OutboundNews]]:
    dial = AmiDial()
    return dial, [news for each in those for news in dial.receive(each)]


def summary(news: list[OutboundNews]) -> list[tuple[type, str, int]]:
    return [(type(each), getattr(each, "reason", ""), getattr(each, "sip", 0)) for each in news]


@pytest.mark.parametrize("name", sorted(TOLD))
def test_every_ending_of_a_real_call_is_told(name):
    dial, news = play(events(name))
    assert summary(news) == TOLD[name]
    assert dial.is_over


@given(st.sampled_from(sorted(TOLD)), st.randoms(use_true_random=False))
def test_in_any_order_a_call_ends_once_and_an_answer_is_no_failure(name, random):
    those = events(name) * 2
    random.shuffle(those)
    dial, news = play(those)
    news += dial.settle()
    last = [each for each in news if isinstance(each, CalleeAnswered | CallFailed)]
    assert len(last) == 1
    assert news[-1] is last[0]
    assert isinstance(last[0], CalleeAnswered) == (name == "out_183_200")
    assert len({type(each) for each in news}) == len(news)


@given(st.sampled_from([each for each in sorted(TOLD) if each != "out_no_endpoint"]), st.randoms(use_true_random=False))
def test_in_any_order_after_the_first_ring_the_reason_is_the_same(name, random):
    """The end's three events come in any order; what came before it has come."""
    those = events(name)
    end = [each for each in those if each.event in ("DialEnd", "Hangup", "OriginateResponse")]
    random.shuffle(end)
    dial, news = play([each for each in those if each not in end] + end)
    news += dial.settle()
    assert summary(news)[-1][1:] == TOLD[name][-1][1:]


def test_early_media_is_no_answer():
    those = events("out_183_200")
    up_to = next(place for place, each in enumerate(those) if each.get("DialStatus") == "PROGRESS")
    dial, news = play(those[: up_to + 1])
    assert summary(news) == TOLD["out_183_200"][:2]
    assert not dial.is_over


def test_one_event_of_the_end_is_waited_for_and_then_has_to_do():
    dial, news = play([each for each in events("out_486") if each.event != "OriginateResponse"])
    assert dial.is_unsettled
    assert summary(news + dial.settle()) == TOLD["out_486"]
    assert not dial.is_unsettled
    assert dial.settle() == []


def test_a_call_that_is_over_tells_nothing_more():
    dial, news = play(events("out_183_200"))
    channel = news[-1].channel
    assert channel.startswith("PJSIP/carrier-")
    assert dial.receive(events("out_486")[-1]) == []
    assert dial.fail("cancelled", "") == []


def test_a_call_we_give_up_is_told_as_ours():
    dial, _ = play(events("out_183_200")[:3])
    assert dial.fail("cancelled", "x") == [CallFailed("cancelled", 0, 0, "x")]


def test_a_status_shows_an_answer_that_was_missed():
    dial = AmiDial()
    up = (("Event", "Status"), ("Channel", "PJSIP/trunk-1"), ("ChannelState", "6"))
    assert dial.receive(Message(up)) == [CalleeAnswered("PJSIP/trunk-1")]


@given(
    st.lists(st.tuples(st.sampled_from(["Event", "DialStatus", "Cause", "TechCause", "Response"]), st.text(max_size=6)))
)
def test_nonsense_raises_nothing(headers):
    dial = AmiDial()
    for kind in KINDS:
        dial.receive(Message((("Event", kind), *headers)))
    dial.settle()


@pytest.mark.parametrize(
    ("cause", "sip", "reason"),
    [
        (17, 0, "busy"),
        (21, 0, "declined"),
        (19, 0, "no_answer"),
        (1, 0, "unknown_number"),
        (34, 0, "congestion"),
        (3, 0, "unreachable"),
        (19, 486, "busy"),
        (0, 403, "rejected"),
        (0, 0, "failed"),
        (127, 699, "failed"),
    ],
)
def test_a_cause_without_a_status_has_a_reason(cause, sip, reason):
    assert reason_of(cause, sip) == reason
