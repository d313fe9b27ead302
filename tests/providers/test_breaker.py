"""A provider that keeps failing is left alone, and asked again when it may be well."""

from __future__ import annotations

import logging

import pytest

from esl_agent.errors import Blame
from esl_agent.providers.breaker import Breaker
from esl_agent.providers.resilience_settings import BreakerSettings
from tests.providers.stages import Clock

SETTINGS = BreakerSettings(failures=3, window=60.0, rest=15.0, setup_rest=300.0)


class Ward:
    def __init__(self) -> None:
        self.clock = Clock()
        self.breaker = Breaker("tts voice", self.clock)

    def fail(self, times: int = 1, blame: Blame = "service") -> None:
        for _ in range(times):
            self.breaker.failed(self.breaker.begin(), blame, "down", SETTINGS)

    def succeed(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.succeeded(self.breaker.begin())

    def admits_after(self, seconds: float) -> bool:
        self.clock.now += seconds
        return self.breaker.admits


@pytest.fixture
def ward() -> Ward:
    return Ward()


def test_so_many_failures_in_a_row_open_it(ward: Ward) -> None:
    ward.fail(2)
    assert ward.breaker.admits
    ward.fail()
    assert not ward.breaker.admits


def test_a_success_between_them_starts_the_row_again(ward: Ward) -> None:
    ward.fail(2)
    ward.succeed()
    ward.fail(2)
    assert ward.breaker.admits


def test_failures_of_long_ago_do_not_count(ward: Ward) -> None:
    ward.fail(2)
    ward.clock.now += 61
    ward.fail()
    assert ward.breaker.admits


def test_one_that_fails_every_other_time_is_open_in_the_end(ward: Ward) -> None:
    for _ in range(5):
        ward.fail()
        ward.succeed()
    assert ward.breaker.admits
    ward.fail()
    assert not ward.breaker.admits


def test_a_few_failures_among_many_successes_do_not_open_it(ward: Ward) -> None:
    for _ in range(10):
        ward.succeed(5)
        ward.fail()
    assert ward.breaker.admits


def test_a_request_at_fault_says_nothing_about_the_provider(ward: Ward) -> None:
    ward.fail(20, "request")
    assert ward.breaker.admits


def test_a_wrong_key_opens_it_at_once_and_for_long(ward: Ward) -> None:
    ward.fail(1, "setup")
    assert not ward.admits_after(299)
    assert ward.admits_after(2)


def test_after_its_rest_one_request_at_a_time_probes_it(ward: Ward) -> None:
    ward.fail(3)
    assert not ward.admits_after(14)
    assert ward.admits_after(2)
    is_probe = ward.breaker.begin()
    assert is_probe
    assert not ward.breaker.admits
    assert not ward.breaker.begin()
    ward.breaker.succeeded(is_probe)
    assert ward.breaker.admits
    assert not ward.breaker.is_open


def test_a_probe_that_nobody_waited_for_lets_the_next_one_probe(ward: Ward) -> None:
    ward.fail(3)
    ward.clock.now += 15
    ward.breaker.let_go(ward.breaker.begin())
    assert ward.breaker.admits


def test_each_probe_that_fails_doubles_the_rest_up_to_a_limit(ward: Ward) -> None:
    ward.fail(3)
    rests = []
    for _ in range(6):
        before = ward.clock.now
        while not ward.breaker.admits:
            ward.clock.now += 1
        rests.append(ward.clock.now - before)
        ward.fail()
    assert rests == [15, 30, 60, 120, 120, 120]
    ward.clock.now += 120
    ward.succeed()
    ward.fail(3)
    assert ward.admits_after(15)


def test_a_failure_that_began_before_it_opened_does_not_prolong_its_rest(ward: Ward) -> None:
    ward.fail(3)
    ward.clock.now += 10
    ward.breaker.failed(False, "service", "late", SETTINGS)
    assert ward.admits_after(5)


def test_the_log_says_when_it_opens_and_closes(ward: Ward, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ward.fail(3)
        ward.clock.now += 15
        ward.succeed(2)
    assert caplog.messages == ["tts voice rests for 15 s: down", "tts voice works again"]
