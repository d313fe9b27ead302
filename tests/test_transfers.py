"""Caps on transfers, over all calls of the process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from esl_agent.dialogue.actions import Transfer
from esl_agent.dialogue.destinations import Destination, DestinationSettings, Policy, Refusal, TransferSettings
from esl_agent.dialogue.events import TransferFailed, Transferred
from esl_agent.transfers import HOUR, CallTransfers, Permit, Totals, TransferLedger

BLIND = Destination("desk", "1000 XML default", "blind", cost_per_minute=0.1)
WARM = replace(BLIND, target="user/1000", mode="warm")
CAPS = TransferSettings(max_per_call=100, max_per_hour=100, max_at_once=100, assumed_minutes=5.0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def granted(ledger: TransferLedger, caps: TransferSettings, call: str = "a", did: str = "5000", where=BLIND) -> Permit:
    permit = ledger.ask(did, call, caps, where)
    assert isinstance(permit, Permit), permit
    return permit


def refused(ledger: TransferLedger, caps: TransferSettings, call: str = "a", did: str = "5000", where=BLIND) -> str:
    found = ledger.ask(did, call, caps, where)
    assert isinstance(found, Refusal), found
    return found.reason


def test_one_caller_may_try_so_often_whatever_became_of_it(clock):
    ledger, caps = TransferLedger(clock), replace(CAPS, max_per_call=2)
    for _ in range(2):
        granted(ledger, caps).end()
    assert "this call" in refused(ledger, caps)
    granted(ledger, caps, call="b")


def test_so_many_an_hour_for_a_did_and_the_hour_moves_on(clock):
    ledger, caps = TransferLedger(clock), replace(CAPS, max_per_hour=2)
    for call in "ab":
        granted(ledger, caps, call).end()
    assert "hour" in refused(ledger, caps, "c")
    granted(ledger, caps, "c", did="6000")
    clock.now += HOUR
    granted(ledger, caps, "c")


def test_so_many_at_one_time(clock):
    ledger, caps = TransferLedger(clock), replace(CAPS, max_at_once=1)
    first = granted(ledger, caps)
    first.connected()
    clock.now += 2 * HOUR
    assert "under way" in refused(ledger, caps, "b")
    first.end()
    granted(ledger, caps, "b")


def test_what_may_be_spent_within_an_hour_counts_what_is_about_to_be_spent(clock):
    ledger, caps = TransferLedger(clock), replace(CAPS, max_cost_per_hour=1.0)
    for call in "ab":
        permit = granted(ledger, caps, call)  # 5 minutes at 0.1: 0.5 each
        permit.connected()
        permit.end()
    assert "cost" in refused(ledger, caps, "c")


def test_a_transfer_that_failed_costs_nothing(clock):
    ledger, caps = TransferLedger(clock), replace(CAPS, max_cost_per_hour=0.5)
    for call in "abc":
        granted(ledger, caps, call, where=WARM).failed()
        granted(ledger, caps, call, where=BLIND).failed()


def test_a_caller_who_hangs_up_while_it_rings_costs_nothing(clock):
    ledger, caps = TransferLedger(clock), replace(CAPS, max_cost_per_hour=0.5)
    for call in "abc":
        granted(ledger, caps, call, where=WARM)
        ledger.forget_call(call)


def test_a_blind_transfer_is_believed_connected_for_as_long_as_it_is_assumed_to_last(clock):
    """Its end is never seen; the end of our part of the call is not the end of the conversation."""
    ledger, caps = TransferLedger(clock), replace(CAPS, max_at_once=1, max_cost_per_hour=0.5)
    granted(ledger, caps)
    ledger.forget_call("a")
    assert "under way" in refused(ledger, caps, "b")
    clock.now += 301
    assert "cost" in refused(ledger, caps, "b")
    granted(ledger, replace(caps, max_cost_per_hour=0.0), "b")


def test_a_conversation_we_saw_the_end_of_costs_what_it_lasted(clock):
    ledger, caps = TransferLedger(clock), replace(CAPS, max_cost_per_hour=1.0)
    permit = granted(ledger, caps, where=WARM)
    permit.connected()
    clock.now += 60
    permit.end()
    permit.end()
    assert permit.cost == pytest.approx(0.1)


def test_a_long_conversation_costs_more_than_was_assumed_while_it_goes_on(clock):
    ledger, caps = TransferLedger(clock), replace(CAPS, max_cost_per_hour=1.0)
    permit = granted(ledger, caps, where=WARM)
    permit.connected()
    assert permit.cost == pytest.approx(0.5)
    clock.now += 600
    assert permit.cost == pytest.approx(1.0)
    assert "cost" in refused(ledger, caps, "b", where=WARM)


def test_the_end_of_a_call_ends_what_is_open_of_it(clock):
    ledger, caps = TransferLedger(clock), replace(CAPS, max_at_once=1)
    permit = granted(ledger, caps, where=WARM)
    ledger.forget_call("another")
    assert permit.is_open
    ledger.forget_call("a")
    assert not permit.is_open


@pytest.mark.parametrize(
    ("totals", "word"),
    [(Totals(max_per_hour=1), "hour"), (Totals(max_at_once=1), "under way"), (Totals(max_cost_per_hour=0.9), "cost")],
)
def test_the_process_has_caps_of_its_own_over_all_dids(clock, totals, word):
    ledger = TransferLedger(clock, totals)
    granted(ledger, CAPS).connected()
    assert word in refused(ledger, CAPS, "b", did="6000")


def test_a_did_that_may_transfer_nothing_transfers_nothing(clock):
    assert refused(TransferLedger(clock), replace(CAPS, max_per_call=0))


def test_old_permits_are_forgotten(clock):
    ledger = TransferLedger(clock)
    for count in range(500):
        granted(ledger, CAPS, str(count)).end()
        clock.now += 60
    assert len(ledger._permits) <= 61


class Leg:
    id = "a"

    def __init__(self) -> None:
        self.transfers: list[Any] = []

    def transfer(self, *asked: Any) -> None:
        self.transfers.append(asked)


class Stage:
    def __init__(self, clock: Clock, **caps: Any) -> None:
        self.ledger = TransferLedger(clock)
        self.leg = Leg()
        self.posted: list[Any] = []
        settings = replace(CAPS, **caps)
        policy = Policy({"desk": DestinationSettings(dial="user/1000", mode="warm")}, settings)
        self.transfers = CallTransfers(self.ledger, "5000", self.leg, policy, settings, self.posted.append)  # type: ignore[arg-type]
        found = policy.resolve("desk")
        assert isinstance(found, Destination)
        self.action = Transfer(found.name, found.target, found.mode)


def test_a_transfer_that_is_allowed_reaches_the_leg(clock):
    stage = Stage(clock)
    stage.transfers.start(stage.action)
    assert stage.leg.transfers == [("desk", "{leg_timeout=25}user/1000", "warm", None)]
    assert stage.posted == []


def test_a_transfer_over_a_cap_comes_back_at_once(clock):
    stage = Stage(clock, max_per_call=1)
    stage.transfers.start(stage.action)
    stage.transfers.on_event(TransferFailed("desk", "busy"))
    stage.transfers.start(stage.action)
    assert stage.posted == [TransferFailed("desk", "limit")]
    assert len(stage.leg.transfers) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"name": "boss"},
        {"number": "user/0900"},
        {"number": "{leg_timeout=25}user/1000,sofia/gateway/pstn/0900"},
        {"mode": "blind"},
    ],
)
def test_a_transfer_the_policy_does_not_know_never_reaches_the_leg(clock, change):
    stage = Stage(clock)
    action = replace(stage.action, **change)
    stage.transfers.start(action)
    assert stage.leg.transfers == []
    assert stage.posted == [TransferFailed(action.name, "refused")]


def test_a_transferred_call_is_open_until_it_is_over(clock):
    stage = Stage(clock, max_at_once=1)
    stage.transfers.start(stage.action)
    stage.transfers.on_event(Transferred("desk"))
    clock.now += 60
    assert "under way" in refused(stage.ledger, replace(CAPS, max_at_once=1), "b")
    stage.transfers.close()
    stage.transfers.close()
    granted(stage.ledger, replace(CAPS, max_at_once=1), "b")


@pytest.mark.parametrize("caps", [{}, {"max_per_call": 1}])
def test_a_second_transfer_beside_one_that_rings_is_refused_and_takes_nothing_from_its_account(clock, caps):
    stage = Stage(clock, max_cost_per_hour=1.0, **caps)
    stage.transfers.start(stage.action)
    stage.transfers.start(stage.action)
    assert stage.posted == [TransferFailed("desk", "refused")]
    assert len(stage.leg.transfers) == 1
    stage.transfers.on_event(stage.posted[0])
    (permit,) = stage.ledger._permits
    assert permit.is_open
    stage.transfers.on_event(Transferred("desk"))
    clock.now += 600
    stage.transfers.close()
    assert permit.minutes == 10.0
