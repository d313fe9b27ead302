"""Somebody is called for a caller over ARI, and the two go on together in the dialplan; against the pretend ARI."""

from __future__ import annotations

from typing import Any

import pytest
from ari_lab import AriLab, Found, Told

from esl_agent.errors import LegError
from esl_agent.legs import ari, ari_sweep
from esl_agent.legs.outbound import CalleeAnswered, CallFailed, Rang
from esl_agent.testing.pretend_ari import PretendChannel
from esl_agent.testing.pretend_ari_http import Trouble

LINE = "62726965-0000-8000-8000-000000000001"
CALLEE = f"esl-agent.esl_agent.o.{LINE}"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(ari_sweep, "GRACE", 0.01)
    monkeypatch.setattr(ari_sweep, "AGAIN", 0.01)
    monkeypatch.setattr(ari, "AGAIN", (0.01, 0.01))
    monkeypatch.setattr(ari, "BACK_OFF", (0.01, 0.02))


class Lab(AriLab):
    """The line with the callee is the briefing's, not a caller's."""

    def take(self, found: Found, line: str) -> None:
        if line == LINE:
            self.calls.line_came(line)
        else:
            super().take(found, line)

    def ring(self, endpoint: str = "PJSIP/1002", **caller: Any) -> tuple[PretendChannel, Any, Any, list[Any]]:
        """(the caller's channel, what we have of him, the callee, the news of it)"""
        channel, found = self.talking(**caller)
        news: list[Any] = []
        assert found.control is not None
        callee = found.control.ring(endpoint, LINE, 7.0, news.append)
        return channel, found, callee, news

    def answer(self, news: list[Any]) -> PretendChannel:
        """The callee answers and hears us."""
        assert self.until(lambda: CALLEE in self.asterisk.channels)
        self.asterisk.rings(CALLEE)
        self.asterisk.answers(CALLEE)
        assert self.until(lambda: news == [Rang(), CalleeAnswered(CALLEE)])
        callee = self.asterisk.channels[CALLEE]
        assert self.until(lambda: bool(callee.bridge))
        return callee


@pytest.fixture
def lab():
    with Lab() as lab:
        yield lab.connected()


def connected(lab: Lab) -> tuple[PretendChannel, Any, PretendChannel]:
    channel, found, callee, news = lab.ring()
    other = lab.answer(news)
    done = Told()
    callee.connect(done)
    assert done.wait() is None
    return channel, found, other


def test_the_callee_is_rung_and_gets_the_briefings_line(lab):
    _, _, _, news = lab.ring(number="4930555")
    lab.answer(news)
    originate = next(each for each in lab.asterisk.asked if each.of("endpoint"))
    assert (originate.of("endpoint"), originate.of("timeout"), originate.of("callerId")) == (
        "PJSIP/1002",
        "7",
        "4930555",
    )
    media = [each for each in lab.asterisk.asked if each.of("data") == LINE]
    assert [each.of("encapsulation") for each in media] == ["audiosocket"]
    assert lab.until(lambda: any(each.line == LINE for each in lab.found))


def test_the_two_go_on_together_in_the_dialplan_and_nothing_of_ours_is_left(lab):
    channel, found, other = connected(lab)
    assert (channel.went_to, other.went_to) == ("ai-briefing,connect,1", "ai-briefing,wait,1")
    assert channel.variables["ESL_AGENT_CALLEE"] == other.name
    assert lab.until(lab.is_clean)
    assert found.causes == [], "the caller talks"
    assert lab.until(lambda: all(each.is_ended for each in lab.found))


def test_the_callers_end_is_told_although_he_has_left_us(lab):
    channel, found, _ = connected(lab)
    assert lab.until(lab.is_clean)
    assert lab.calls.handed_over
    lab.asterisk.ends_in_dialplan(channel.id, 19)
    assert lab.until(lambda: found.causes == [19])
    assert not lab.calls.handed_over


def test_a_callers_end_is_told_that_comes_while_we_free_what_we_had(lab):
    lab.asterisk.troubles.append(Trouble(lambda asked: asked.method == "DELETE", before=0.1, times=2))
    channel, found, _ = connected(lab)
    lab.asterisk.ends_in_dialplan(channel.id, 17)
    assert lab.until(lambda: found.causes == [17])
    assert lab.until(lab.is_clean)
    assert not lab.calls.handed_over


def test_a_callers_end_while_we_were_away_is_found_out(lab):
    _, found, _ = connected(lab)
    assert lab.until(lab.is_clean)
    lab.asterisk.drop_events()
    assert lab.until(lambda: found.causes == [16])


def test_who_talks_with_somebody_else_may_still_be_hung_up_on(lab):
    channel, found, _ = connected(lab)
    assert lab.until(lab.is_clean)
    lab.asterisk.channels[channel.id] = channel
    done = Told()
    found.control.hang_up(16, done)
    assert done.wait() is None
    assert channel.hung_up == 16


def test_two_who_talk_are_left_alone_by_an_agent_that_starts_anew(lab):
    talking = PretendChannel("esl-agent.esl_agent.o.old", "PJSIP/1002-1", "Up")
    ringing = PretendChannel("esl-agent.esl_agent.o.older", "PJSIP/1002-2", "Ringing")
    lab.asterisk.channels |= {talking.id: talking, ringing.id: ringing}
    lab.asterisk.drop_events()
    assert lab.until(lambda: set(lab.asterisk.channels) == {talking.id})
    lab.asterisk.channels.clear()


def test_a_dialplan_that_cannot_connect_them_leaves_the_caller_with_the_agent(lab):
    lab.asterisk.extensions.clear()
    channel, found, callee, news = lab.ring()
    other = lab.answer(news)
    done = Told()
    callee.connect(done)
    assert isinstance(done.wait(), LegError)
    assert channel.bridge
    assert other.bridge
    callee.hang_up()
    assert lab.until(lambda: CALLEE in lab.asterisk.gone)
    assert channel.id in lab.asterisk.channels
    found.control.close()


def test_a_callee_who_has_gone_is_not_connected(lab):
    channel, _, callee, news = lab.ring()
    lab.answer(news)
    lab.asterisk.troubles.append(Trouble(lambda asked: CALLEE in asked.path and "continue" in asked.path, status=404))
    done = Told()
    callee.connect(done)
    assert isinstance(done.wait(), LegError)
    assert channel.id in lab.asterisk.channels
    callee.hang_up()
    assert lab.until(lambda: CALLEE in lab.asterisk.gone)


def test_a_caller_who_goes_meanwhile_leaves_no_callee_waiting(lab):
    channel, _, callee, news = lab.ring()
    other = lab.answer(news)
    lab.asterisk.troubles.append(
        Trouble(lambda asked: channel.id in asked.path and "continue" in asked.path, status=404)
    )
    done = Told()
    callee.connect(done)
    assert isinstance(done.wait(), LegError)
    assert other.went_to == "ai-briefing,wait,1"
    lab.asterisk.channels[CALLEE] = other
    callee.hang_up()
    assert lab.until(lambda: other.hung_up == 16)


@pytest.mark.parametrize("when", ["it rings", "the briefing"])
def test_a_callee_whom_nobody_needs_any_more_is_hung_up_on(lab, when):
    channel, _, callee, news = lab.ring()
    if when == "the briefing":
        lab.answer(news)
    else:
        assert lab.until(lambda: CALLEE in lab.asterisk.channels)
    callee.hang_up()
    assert lab.until(lambda: CALLEE in lab.asterisk.gone)
    assert channel.id in lab.asterisk.channels


def test_why_nobody_answers_is_told(lab):
    _, _, _, news = lab.ring()
    assert lab.until(lambda: CALLEE in lab.asterisk.channels)
    lab.asterisk.fails(CALLEE, 17, 486, "BUSY")
    assert lab.until(lambda: news == [CallFailed("busy", 17, 486)])


@pytest.mark.parametrize("endpoint", ["", "1002", "PJSIP/", "PJSIP/1,2", "pjsip/1", "PJSIP/1&app=x"])
def test_what_is_no_endpoint_is_not_asked_for(lab, endpoint):
    with pytest.raises(LegError):
        lab.ring(endpoint)
    assert not any(each.of("endpoint") for each in lab.asterisk.asked)
