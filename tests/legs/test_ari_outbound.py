"""Calls that we make over ARI, over a pretend Asterisk."""

from __future__ import annotations

import pytest
from ari_lab import AriLab, Told

from esl_agent.errors import LegError
from esl_agent.legs import ari, ari_outbound, ari_sweep
from esl_agent.legs.outbound import CalleeAnswered, CallFailed, CallOut, EarlyMediaBegan, Rang
from esl_agent.testing.pretend_ari_http import Trouble


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(ari_sweep, "GRACE", 0.01)
    monkeypatch.setattr(ari, "AGAIN", (0.01,))
    monkeypatch.setattr(ari, "BACK_OFF", (0.01, 0.02))


@pytest.fixture
def lab():
    with AriLab() as lab:
        yield lab.connected()


class Called:
    def __init__(self, lab: AriLab, number: str = "+4930555", **options) -> None:
        self.news = []
        call = CallOut(number, **{"did": "4930123", "trunk": "trunk", "timeout": 30.0, **options})
        self.outgoing = lab.calls.originate(call, self.news.append)
        self.id = self.outgoing.id


def rung(lab: AriLab, **options) -> Called:
    called = Called(lab, **options)
    assert lab.until(lambda: called.id in lab.asterisk.channels and called.outgoing.is_dialled)
    lab.asterisk.rings(called.id)
    assert lab.until(lambda: called.news == [Rang()])
    return called


def test_the_sound_is_made_when_the_callee_answers_and_not_before(lab):
    called = rung(lab, caller_id="+4930111", variables={"ORDER": "7"})
    lab.asterisk.early_media(called.id)
    assert lab.until(lambda: called.news[-1] == EarlyMediaBegan())
    assert not lab.asterisk.asked_for("externalMedia")
    lab.asterisk.answers(called.id)
    assert lab.until(lambda: called.news[-1] == CalleeAnswered(called.id))
    assert lab.until(lambda: bool(lab.found) and lab.found[0].is_known)
    caller = lab.found[0].caller
    assert (caller.did, caller.number, caller.variables) == ("4930123", "+4930555", {"ORDER": "7"})
    assert not lab.asterisk.asked_for("/answer")
    (asked,) = [each for each in lab.asterisk.asked if (each.method, each.path) == ("POST", ("channels",))]
    assert (asked.of("endpoint"), asked.of("timeout"), asked.of("callerId")) == (
        "PJSIP/+4930555@trunk",
        "30",
        "+4930111",
    )
    assert asked.body == {"variables": {"ORDER": "7"}}
    lab.asterisk.hang_up(called.id)
    assert lab.until(lambda: lab.is_clean() and lab.found[0].causes == [16])
    assert len(called.news) == 3


@pytest.mark.parametrize(
    ("cause", "sip", "status", "reason"),
    [(17, 486, "BUSY", "busy"), (21, 603, "NOANSWER", "declined"), (1, 404, "NOANSWER", "unknown_number"),
     (34, 503, "CONGESTION", "congestion"), (19, 480, "NOANSWER", "no_answer")],
)  # fmt: skip
def test_a_refusal_has_its_reason(lab, cause, sip, status, reason):
    called = rung(lab)
    lab.asterisk.fails(called.id, cause, sip, status)
    assert lab.until(lambda: called.news[-1] == CallFailed(reason, cause, sip))
    assert lab.until(lab.is_clean)
    assert not lab.asterisk.asked_for("externalMedia")


def test_a_callee_who_does_not_answer_in_time_rang(lab):
    called = rung(lab)
    lab.asterisk.fails(called.id, 19, 480)
    assert lab.until(lambda: called.news[1:] == [CallFailed("no_answer", 19, 480)])


def test_a_callee_of_whom_nothing_was_heard_is_unreachable(lab):
    called = Called(lab)
    assert lab.until(lambda: called.id in lab.asterisk.channels)
    lab.asterisk.fails(called.id, 19, 480)
    assert lab.until(lambda: called.news == [CallFailed("unreachable", 19, 480)])


def test_a_trunk_that_is_not_there_is_unreachable(lab):
    called = Called(lab, trunk="nosuch")
    assert lab.until(lambda: bool(called.news))
    assert called.news[0].reason == "unreachable"
    assert lab.until(lab.is_clean)


@pytest.mark.parametrize(
    ("number", "options"),
    [
        ("", {}),
        ("1 2", {}),
        ("1@evil", {}),
        ("1&PJSIP/2", {}),
        ("1\r\n", {}),
        ("1", {"trunk": "a/b"}),
        ("1", {"caller_id": '"x"'}),
    ],
)
def test_what_is_no_number_is_not_dialled(lab, number, options):
    with pytest.raises(LegError):
        Called(lab, number, **options)
    assert not lab.calls.outgoing


def test_a_call_that_is_cancelled_rings_no_longer(lab):
    called = rung(lab)
    called.outgoing.cancel()
    called.outgoing.cancel()
    assert called.news[-1] == CallFailed("cancelled")
    assert lab.until(lambda: lab.is_clean() and not lab.asterisk.channels)
    assert len(called.news) == 2


def test_a_callee_who_answers_while_being_cancelled_is_hung_up_on(lab):
    called = rung(lab)
    lab.asterisk.troubles.append(Trouble(lambda each: each.method == "DELETE", before=0.05))
    called.outgoing.cancel()
    lab.asterisk.answers(called.id)
    assert lab.until(lambda: not lab.asterisk.channels and lab.is_clean())
    assert called.news[-1] == CallFailed("cancelled")


def test_an_asterisk_that_never_ends_the_ringing_does_not_hold_the_call(lab, monkeypatch):
    called = rung(lab)
    called.outgoing._overdue()
    assert [each.reason for each in called.news[1:]] == ["no_answer"]
    assert lab.until(lambda: not lab.asterisk.channels)
    monkeypatch.setattr(ari_outbound, "GRACE", -1.0)
    called = Called(lab, timeout=1.0)
    assert lab.until(lambda: bool(called.news))
    assert called.news[0].reason == "unreachable"
    assert lab.until(lambda: not lab.asterisk.channels)


def test_whom_we_called_is_hung_up_on_when_the_sound_dies(lab):
    called = rung(lab)
    lab.asterisk.answers(called.id)
    assert lab.until(lambda: bool(lab.found) and lab.found[0].is_known)
    channel = lab.asterisk.channels[called.id]
    lab.found[0].die()
    assert lab.until(lambda: lab.is_clean() and not lab.asterisk.channels)
    assert (channel.hung_up, channel.went_to) == (16, "")


def test_whom_we_called_is_hung_up_on_with_a_cause(lab):
    called = rung(lab)
    lab.asterisk.answers(called.id)
    assert lab.until(lambda: bool(lab.found) and lab.found[0].is_known)
    done = Told()
    lab.found[0].control.hang_up(16, done)
    assert done.wait() is None
    assert lab.until(lab.is_clean)


@pytest.mark.parametrize("what", ["answers", "fails"])
def test_what_happens_while_events_are_lost_is_noticed(lab, what):
    called = rung(lab)
    lab.asterisk.refuse_events = 2
    lab.asterisk.drop_events()
    if what == "answers":
        lab.asterisk.answers(called.id)
        assert lab.until(lambda: called.news[-1] == CalleeAnswered(called.id))
        assert lab.until(lambda: bool(lab.found) and lab.found[0].is_known)
    else:
        lab.asterisk.fails(called.id, 17, 486, "BUSY")
        assert lab.until(lambda: isinstance(called.news[-1], CallFailed))
        assert lab.until(lab.is_clean)


def test_a_call_that_rings_outlives_a_lost_connection(lab):
    called = rung(lab)
    lab.asterisk.drop_events()
    assert lab.until(lambda: lab.asterisk.handshakes == 2 and lab.client.is_connected)
    assert lab.until(lambda: lab.calls._sweep._running.dead)
    assert called.news == [Rang()]
    lab.asterisk.answers(called.id)
    assert lab.until(lambda: called.news[-1] == CalleeAnswered(called.id))


def test_an_answer_that_is_seen_before_it_is_told_is_one_answer(lab):
    """A look at Asterisk's channels may be faster than the event."""
    called = rung(lab)
    lab.asterisk.held = []
    lab.asterisk.answers(called.id)
    lab.calls._sweep.soon()
    assert lab.until(lambda: called.news[-1] == CalleeAnswered(called.id))
    lab.asterisk.release()
    assert lab.until(lambda: bool(lab.found) and lab.found[0].is_known)
    assert lab.until(lambda: bool(lab.asterisk.channels[called.id].bridge))
    assert not [each for each in lab.asterisk.asked if each.method == "DELETE"]
    assert called.news == [Rang(), CalleeAnswered(called.id)]
