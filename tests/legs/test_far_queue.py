"""Our idea of a queue far away, against the queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.legs.far_queue import FarQueue

FRAME = 0.02


class Far:
    """A queue that gives a frame out at every 20 ms of its own."""

    def __init__(self, phase: float) -> None:
        self.next_tick = phase
        self.frames: list[int] = []
        self.gone: list[int] = []

    def until(self, now: float, mine: FarQueue | None = None) -> None:
        while self.next_tick <= now:
            if self.frames:
                self.gone.append(self.frames.pop(0))
                if mine is not None:
                    mine.marked(self.gone[-1], self.next_tick)
            self.next_tick += FRAME


@given(
    st.floats(0.0, 0.0199),
    st.lists(st.tuples(st.floats(0.001, 0.3), st.integers(0, 6), st.booleans()), max_size=40),
)
def test_with_every_frame_marked_nobody_is_wrong_about_what_has_left(phase, steps):
    mine, far, now = FarQueue(0.0), Far(phase), 0.0
    far.frames.append(mine.send(now))
    for pause, count, is_flushed in [(0.02, 0, False), *steps]:
        now += pause
        far.until(now, mine)
        if min(far.next_tick - now, now - far.next_tick + FRAME) < 1e-4:
            now += 2e-4  # in the moment itself either is right
            far.until(now, mine)
        assert mine.left(now) == mine.sent - len(far.frames)
        if is_flushed:
            assert mine.flush(now) == mine.sent - len(far.frames)
            far.frames.clear()
            assert mine.waiting(now) == 0
        far.frames += [mine.send(now) for _ in range(count)]


@given(st.floats(0.0, 0.0199), st.lists(st.tuples(st.floats(0.001, 0.3), st.integers(0, 6)), max_size=40))
def test_without_any_mark_it_is_wrong_by_no_more_than_a_frame(phase, steps):
    mine, far, now = FarQueue(0.0), Far(phase), 0.0
    for pause, count in steps:
        now += pause
        far.until(now)
        assert abs(mine.waiting(now) - len(far.frames)) <= 1
        far.frames += [mine.send(now) for _ in range(count)]


def test_a_mark_of_what_was_thrown_away_says_nothing():
    mine = FarQueue(0.0)
    for _ in range(10):
        mine.send(0.0)
    assert mine.flush(0.05) == 2
    mine.send(0.05)
    mine.marked(4, 0.06)
    assert mine.waiting(0.055) == 1
    assert mine.waiting(0.07) == 0


def test_a_far_clock_that_is_slow_is_believed():
    mine = FarQueue(0.0)
    for _ in range(100):
        mine.send(0.0)
    mine.marked(10, 1.0)
    assert mine.left(1.0) == 11
    assert mine.waiting(1.01) == 89


def test_a_mark_that_we_read_late_is_not_taken_for_a_slow_queue():
    mine = FarQueue(0.0)
    for _ in range(100):
        mine.send(0.0)
    mine.marked(0, 0.01)
    mine.marked(25, 0.51 + 0.015)
    assert mine.leaves(26) == pytest.approx(0.53, abs=0.002)
    mine.marked(50, 1.01)
    assert mine.leaves(51) == pytest.approx(1.03)
