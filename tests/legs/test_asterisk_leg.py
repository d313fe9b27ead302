"""A call of Asterisk's as the call sees it: what its line and its control make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from esl_agent.dialogue.events import Answered, CommandFailed, DigitPressed, HungUp, TransferFailed, Transferred
from esl_agent.errors import CommandRefused, LegError
from esl_agent.legs.asterisk import AsteriskLeg, Caller, Done, NoControl, cause_name, cause_number

CALLER = Caller("PJSIP/1001-0000002a", "5000", "1001", "Ann", {"PLAN": "gold"})


class ScriptedLine:
    def __init__(self) -> None:
        self.id = "a-line"
        self.did: list[str] = []

    def answer(self) -> None:
        self.did.append("answer")

    def hang_up(self) -> None:
        self.did.append("hang_up")

    def close(self) -> None:
        self.did.append("close")


class ScriptedControl:
    """Answers with ``error``, at once or (``is_slow``) when ``answer`` is called."""

    def __init__(self, error: LegError | None = None, is_slow: bool = False) -> None:
        self.error = error
        self.is_slow = is_slow
        self.asked: list[tuple[Any, ...]] = []
        self.waiting: list[Done] = []
        self.hung_up: Callable[[int], None] | None = None

    def _ask(self, done: Done, *what: Any) -> None:
        self.asked.append(what)
        self.waiting.append(done)
        if not self.is_slow:
            self.answer()

    def answer(self) -> None:
        for done in self.waiting:
            done(self.error)
        self.waiting.clear()

    def watch(self, hung_up: Callable[[int], None]) -> None:
        self.hung_up = hung_up

    def hang_up(self, cause: int, done: Done) -> None:
        self._ask(done, "hang_up", cause)

    def redirect(self, number: str, done: Done) -> None:
        self._ask(done, "redirect", number)

    def send_digits(self, digits: str, done: Done) -> None:
        self._ask(done, "send_digits", digits)

    def set_variable(self, name: str, value: str, done: Done) -> None:
        self._ask(done, "set_variable", name, value)

    def announce(self, name: str, facts: Mapping[str, str]) -> None:
        self.asked.append(("announce", name, dict(facts)))

    def close(self) -> None:
        self.asked.append(("close",))


class Met:
    """A leg, what is behind it, and what it posted."""

    def __init__(self, control: Any = None) -> None:
        self.line = ScriptedLine()
        self.control = control or ScriptedControl()
        self.posted: list[Any] = []
        self.leg = AsteriskLeg(self.line, CALLER, self.control, self.posted.append)


def refusing() -> ScriptedControl:
    return ScriptedControl(CommandRefused("Redirect", "No such channel"))


def test_the_caller_is_who_the_switch_says():
    leg = Met().leg
    assert (leg.id, leg.did, leg.caller, leg.caller_name) == ("a-line", "5000", "1001", "Ann")
    assert (leg.variable("PLAN"), leg.variable("NONE")) == ("gold", "")


def test_a_call_counts_as_answered_when_its_line_was_told():
    it = Met()
    it.leg.answer()
    assert it.line.did == ["answer"]
    assert it.posted == [Answered()]


def test_the_agent_hangs_up_the_callers_channel_with_its_cause():
    it = Met()
    it.leg.hang_up("USER_BUSY")
    assert it.control.asked == [("hang_up", 17)]
    assert it.line.did == []


@pytest.mark.parametrize("control", [refusing, NoControl])
def test_where_the_channel_cannot_be_hung_up_the_line_says_goodbye(control):
    it = Met(control())
    it.leg.hang_up("NORMAL_CLEARING")
    assert it.line.did == ["hang_up"]


def test_the_lines_end_is_the_hang_up_told_once():
    it = Met()
    it.leg.ended()
    it.leg.ended()
    assert it.posted == [HungUp("NORMAL_CLEARING")]


def test_the_hang_ups_cause_is_the_switchs():
    it = Met()
    it.control.hung_up(19)
    it.leg.ended()
    assert it.posted == [HungUp("NO_ANSWER")]


def test_a_transfer_is_told_before_the_line_ends():
    it = Met()
    it.leg.transfer("desk", "7000 XML default", "blind", None)
    it.leg.ended()
    assert it.control.asked == [("redirect", "7000")]
    assert it.posted == [Transferred("desk"), HungUp("BLIND_TRANSFER")]


def test_a_line_that_ends_before_its_transfer_is_confirmed_waits_for_that():
    it = Met(ScriptedControl(is_slow=True))
    it.leg.transfer("desk", "7000", "blind", None)
    it.leg.ended()
    assert it.posted == []
    it.control.answer()
    assert it.posted == [Transferred("desk"), HungUp("BLIND_TRANSFER")]


def test_a_transfer_that_is_refused_comes_back_and_the_call_goes_on():
    it = Met(refusing())
    it.leg.transfer("desk", "7000", "blind", None)
    assert it.posted == [TransferFailed("desk", "unreachable")]
    it.leg.ended()
    assert it.posted[1:] == [HungUp("NORMAL_CLEARING")]


def test_a_caller_who_hangs_up_during_a_transfer_that_fails_has_hung_up():
    control = refusing()
    control.is_slow = True
    it = Met(control)
    it.leg.transfer("desk", "7000", "blind", None)
    it.leg.ended()
    control.answer()
    assert it.posted == [TransferFailed("desk", "unreachable"), HungUp("NORMAL_CLEARING")]


def test_keys_are_told():
    it = Met()
    it.leg.digit("5")
    assert it.posted == [DigitPressed("5")]


def test_what_the_switch_refuses_is_told_but_not_of_what_only_watchers_see():
    it = Met(refusing())
    it.leg.send_digits("12")
    it.leg.set_variable("RESULT", "ok")
    it.leg.show({"esl_agent_state": "LISTENING"})
    assert [event.what for event in it.posted if isinstance(event, CommandFailed)] == ["send_digits", "set_variable"]
    assert [what for what, *_ in it.control.asked] == ["send_digits", "set_variable", "set_variable"]


@pytest.mark.parametrize("name", ["", "a b", "X=1", "CALLERID(num)", "a\r\nAction: Hangup", "x" * 65, "1X"])
def test_a_variable_with_another_name_than_a_name_is_not_set(name):
    it = Met()
    with pytest.raises(LegError):
        it.leg.set_variable(name, "x")
    assert it.control.asked == []


def test_closing_lets_go_of_line_and_control():
    it = Met()
    it.leg.close()
    assert it.line.did == ["close"]
    assert it.control.asked == [("close",)]


def test_causes_have_the_same_names_as_with_freeswitch():
    assert (cause_number("NORMAL_TEMPORARY_FAILURE"), cause_name(41)) == (41, "NORMAL_TEMPORARY_FAILURE")
    assert (cause_number("WHATEVER"), cause_name(99)) == (16, "Q850_99")
