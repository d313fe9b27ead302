"""Whatever goes wrong at whichever request of a call: nothing is left of it in Asterisk, and no caller forgotten.

Each way a call can go is gone once to see what it asks for, then once for every request and every trouble with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ari_lab import AriLab, Found

from esl_agent.legs import ari, ari_call, ari_sweep
from esl_agent.legs.outbound import CalleeAnswered, CallFailed, CallOut
from esl_agent.testing.pretend_ari import PretendChannel
from esl_agent.testing.pretend_ari_http import Asked, Trouble

LINE = "62726965-0000-8000-8000-00000000%04x"
#: Refused without effect.
REFUSED = (400, 404, 409, 412, 422, 500, 503)
#: The reply is lost, the request was heeded; before that the events' connection ends, in the middle of an event or not.
LOST = ("no reply", "no events", "half an event")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(ari_sweep, "GRACE", 0.01)
    monkeypatch.setattr(ari_sweep, "AGAIN", 0.01)
    monkeypatch.setattr(ari, "AGAIN", (0.001, 0.001))
    monkeypatch.setattr(ari, "BACK_OFF", (0.005, 0.01))
    monkeypatch.setattr(ari_call, "SETUP_SECONDS", 5.0)


class Lab(AriLab):
    """``count``: ways that were gone."""

    count = 0

    def take(self, found: Found, line: str) -> None:
        if line.startswith("62726965-"):
            self.calls.line_came(line)
        else:
            super().take(found, line)

    def comes(self) -> tuple[PretendChannel, Found | None]:
        """A caller, until he talks with us (then he is found) or is let go."""
        channel = self.asterisk.call(args=("4930123",))
        mine: list[Found] = []

        def is_settled() -> bool:
            mine[:] = [each for each in self.found if each.caller.channel == channel.id]
            return bool(mine) or channel.id not in self.asterisk.channels

        assert self.until(is_settled)
        return channel, (mine or [None])[0]

    def goes(self, channel: PretendChannel) -> None:
        if channel.id in self.asterisk.channels:
            self.asterisk.hang_up(channel.id)


def hangs_up(lab: Lab) -> None:
    channel, _ = lab.comes()
    lab.goes(channel)


def is_hung_up_on(lab: Lab) -> None:
    _, found = lab.comes()
    if found is not None and found.control is not None:
        told: list[Any] = []
        found.control.hang_up(17, told.append)
        assert lab.until(lambda: bool(told))


def is_let_go_of(lab: Lab) -> None:
    _, found = lab.comes()
    if found is not None and found.control is not None:
        found.control.close()


def loses_the_sound(lab: Lab) -> None:
    _, found = lab.comes()
    if found is not None:
        found.die()


def is_transferred(lab: Lab) -> None:
    channel, found = lab.comes()
    if found is not None and found.control is not None:
        told: list[Any] = []
        found.control.redirect("800", told.append)
        assert lab.until(lambda: bool(told))
        if told[0] is not None:
            lab.goes(channel)


def is_called(lab: Lab) -> None:
    news: list[Any] = []
    outgoing = lab.calls.originate(CallOut("4930999", "4930123", "trunk"), news.append)
    assert lab.until(lambda: outgoing.id in lab.asterisk.channels or bool(news))
    if outgoing.id in lab.asterisk.channels:
        lab.asterisk.rings(outgoing.id)
        lab.asterisk.answers(outgoing.id)
    assert lab.until(lambda: any(isinstance(each, CalleeAnswered | CallFailed) for each in news))
    ends = [each for each in news if isinstance(each, CalleeAnswered | CallFailed)]
    assert len(ends) == 1
    mine: list[Found] = []

    def is_settled() -> bool:
        mine[:] = [each for each in lab.found if each.caller.channel == outgoing.id]
        return bool(mine) or outgoing.id not in lab.asterisk.channels

    assert lab.until(is_settled)
    if outgoing.id in lab.asterisk.channels:
        lab.asterisk.hang_up(outgoing.id)


def is_handed_over_warm(lab: Lab) -> None:
    channel, found = lab.comes()
    if found is None or found.control is None:
        return
    lab.count += 1
    line, news, told = LINE % lab.count, [], []
    callee = found.control.ring("PJSIP/1002", line, 7.0, news.append)
    other = f"esl-agent.esl_agent.o.{line}"
    assert lab.until(lambda: other in lab.asterisk.channels or bool(news))
    if other in lab.asterisk.channels:
        lab.asterisk.answers(other)
    assert lab.until(lambda: any(isinstance(each, CalleeAnswered | CallFailed) for each in news))
    callee.connect(told.append)
    assert lab.until(lambda: bool(told))
    if told[0] is not None:  # as WarmTransfer does
        callee.hang_up()
        lab.goes(channel)
    assert lab.until(lambda: channel.id not in lab.asterisk.channels and other not in lab.asterisk.channels)


WAYS = (hangs_up, is_hung_up_on, is_let_go_of, loses_the_sound, is_transferred, is_called, is_handed_over_warm)


def trouble(lab: Lab, what: int | str, matches: Callable[[Asked], bool]) -> Trouble:
    if isinstance(what, int):
        return Trouble(matches, status=what)
    if what == "no reply":
        return Trouble(matches, drops=True)

    def loses_events(asked: Asked) -> bool:
        if not matches(asked):
            return False
        if what == "half an event" and lab.asterisk._events is not None:
            lab.asterisk._events[0].sendall(b'\x81\x7e\x01\x00{"type": "StasisSta')
        lab.asterisk.drop_events()
        return True

    return Trouble(loses_events)


def is_owed(asked: Asked) -> bool:
    """Of those a 404 says that there is nothing to be freed: it is none of a trouble's."""
    return asked.method == "DELETE" or asked.path[2:] == ("continue",)


def is_of_a_call(asked: Asked) -> bool:
    return asked.path not in (("channels",), ("bridges",)) or asked.method == "POST"


@pytest.mark.parametrize("what", [*REFUSED, *LOST], ids=str)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_nothing_is_left_of_a_call_whichever_of_its_requests_goes_wrong(way, what):
    with Lab() as lab:
        lab.connected()
        way(lab)
        assert lab.until(lab.is_clean)
        requests = [each for each in lab.asterisk.asked if is_of_a_call(each)][1:]  # the first is the event filter
        assert len(requests) > 6
        for place, request in enumerate(requests):
            if is_owed(request) and what in (404, 409, 422):
                continue
            lab.asterisk.troubles.clear()
            left = [place + 1]

            def is_its_turn(asked: Asked, left: list[int] = left) -> bool:
                if not is_of_a_call(asked) or "eventFilter" in asked.path:
                    return False
                left[0] -= 1
                return left[0] == 0

            lab.asterisk.troubles.append(trouble(lab, what, is_its_turn))
            way(lab)
            left_over = (place, str(request), lab.asterisk.bridges, lab.asterisk.channels, lab.calls.calls)
            assert lab.until(lambda: lab.is_clean() and not lab.asterisk.channels), left_over
            assert lab.until(lambda: lab.client.is_connected)
            assert left[0] <= 0, "it went wrong"
