"""The one clock of all streamed calls: fifty frames a second each, whatever the hub does."""

from __future__ import annotations

from typing import Any

import pytest

from esl_agent.legs import playout_clock as module
from esl_agent.legs.playout_clock import MAX_BEHIND, STEP, PlayoutClock


class Timer:
    is_running = False

    def start(self, fire: Any) -> None:
        self.is_running = True

    def stop(self) -> None:
        self.is_running = False

    def close(self) -> None: ...


class Stage:
    def __init__(self) -> None:
        self.now = 100.0
        self.timer = Timer()
        self.delays: list[float] = []
        self.clock = PlayoutClock(lambda: self.now)

    def timers(self, delay: float, repeat: float = 0.0) -> Timer:
        self.delays.append(delay)
        return self.timer

    def until(self, now: float, step: float = STEP) -> None:
        while self.now < now - 1e-9:
            self.now = min(now, self.now + step)
            self.clock._fire()


@pytest.fixture
def stage(monkeypatch) -> Stage:
    made = Stage()
    monkeypatch.setattr(module, "get_hub", lambda: type("Hub", (), {"loop": type("Loop", (), {"timer": made.timers})}))
    return made


def test_every_call_gets_fifty_frames_a_second_and_never_drifts(stage):
    ticks = [0, 0, 0]

    def count(call: int) -> None:
        ticks[call] += 1

    for call in range(3):
        stage.clock.add(lambda call=call: count(call))
        stage.until(stage.now + 0.007, 0.0013)
    stage.until(200.0, 0.0049)
    assert all(abs(each - 5000) <= 2 for each in ticks)


def test_the_first_frame_after_joining_comes_20_ms_later(stage):
    at = []
    stage.clock.add(lambda: None)
    stage.until(100.033)
    stage.clock.add(lambda: at.append(stage.now))
    stage.until(100.2, 0.001)
    assert 0.0149 <= at[0] - 100.033 <= 0.0211


def test_a_frame_that_left_late_does_not_make_the_next_one_late(stage):
    stage.clock.add(lambda: None)
    stage.until(100.0 + STEP + 0.0008, 1.0)
    assert stage.delays[-1] == pytest.approx(STEP - 0.0008)
    stage.now -= 0.001  # the loop's idea of the time is old: it wakes us too soon
    stage.until(100.0 + 2 * STEP - 0.0003, 1.0)
    assert stage.delays[-1] == pytest.approx(0.0003)


def test_a_busy_hub_is_caught_up_with_but_not_for_ever(stage):
    at = []
    stage.clock.add(lambda: at.append(stage.now))
    stage.until(101.0)
    before = len(at)
    stage.until(101.04, 0.04)
    assert len(at) == before + 2
    stage.until(111.04, 10.0)
    assert len(at) <= before + 2 + round(MAX_BEHIND / 0.02)
    assert stage.clock.skipped > 0


def test_a_call_that_fails_is_dropped_and_the_others_go_on(stage, caplog):
    ticks = []
    stage.clock.add(lambda: 1 / 0)
    stage.clock.add(lambda: ticks.append(1))
    stage.until(101.0)
    assert len(ticks) in (49, 50)
    assert caplog.text.count("ZeroDivisionError: ") == 1


def test_without_calls_there_is_no_timer(stage):
    number = stage.clock.add(lambda: None)
    assert stage.timer.is_running
    stage.clock.remove(number)
    stage.clock.remove(number)
    assert not stage.timer.is_running


def test_a_call_may_leave_from_within_its_frame(stage):
    ticks = []

    def leave() -> None:
        ticks.append(1)
        stage.clock.remove(number)

    number = stage.clock.add(leave)
    stage.until(101.0)
    assert ticks == [1]
