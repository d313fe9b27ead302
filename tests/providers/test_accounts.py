"""What all calls share of a provider: its account's slots and its health."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event

from esl_agent.providers.accounts import Accounts, Busy, Slots
from esl_agent.providers.base import Identity


def test_an_account_has_no_more_requests_at_a_time_than_it_may() -> None:
    slots, most = Slots(), 0

    def request() -> None:
        nonlocal most
        with slots.one("tts", 3, 5.0):
            most = max(most, slots.taken)
            gevent.sleep(0.001)

    gevent.joinall([gevent.spawn(request) for _ in range(20)], raise_error=True)
    assert (most, slots.taken) == (3, 0)


def test_a_request_waits_no_longer_than_it_may_and_first_come_is_first_served() -> None:
    slots, gate, order = Slots(), Event(), []

    def request(name: str, patience: float) -> None:
        try:
            with slots.one("tts", 1, patience):
                order.append(name)
                gate.wait()
        except Busy:
            order.append(f"{name} went")

    greenlets = [gevent.spawn(request, name, 0.005 if name == "b" else 5.0) for name in "abcd"]
    while "b went" not in order:
        gevent.sleep(0.001)
    gate.set()
    gevent.joinall(greenlets, raise_error=True)
    assert order == ["a", "b went", "c", "d"]
    assert slots.taken == 0


@pytest.mark.parametrize("is_its_turn", [True, False])
def test_a_request_that_is_killed_while_it_waits_takes_no_slot(is_its_turn: bool) -> None:
    slots, gate = Slots(), Event()

    def request(wait: bool) -> None:
        with slots.one("tts", 1, 5.0):
            if wait:
                gate.wait()

    holder, waiting = gevent.spawn(request, True), gevent.spawn(request, False)
    gevent.sleep(0)
    if is_its_turn:
        gate.set()
        while slots._waiting:
            gevent.sleep(0)
    waiting.kill()
    gate.set()
    holder.join()
    gevent.sleep(0)
    assert slots.taken == 0
    with slots.one("tts", 1, 0.0):
        assert slots.taken == 1


def test_slots_belong_to_the_account_and_health_to_each_engine_on_it() -> None:
    accounts = Accounts()
    big, small = Identity("openai/big", "api#1", 5), Identity("openai/small", "api#1", 9)
    assert accounts.slots("llm", big) is accounts.slots("llm", small) is accounts.slots("tts", big)
    assert accounts.breaker("llm", big) is not accounts.breaker("llm", small)
    assert accounts.breaker("llm", big) is accounts.breaker("llm", Identity("openai/big", "api#1"))
    assert accounts.breaker("llm", big) is not accounts.breaker("llm", Identity("openai/big", "api#2"))


def test_engines_without_an_account_share_nothing_but_their_name() -> None:
    accounts = Accounts()
    assert accounts.slots("stt", Identity("embedded")) is not accounts.slots("tts", Identity("embedded"))
    assert accounts.slots("tts", Identity("embedded")) is accounts.slots("tts", Identity("embedded"))
