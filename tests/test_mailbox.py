"""A call's mailbox: control is never lost, sound keeps the newest second, deadlines are kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esl_agent.dialogue.events import Audio, DigitPressed, Event, HungUp, Tick
from esl_agent.mailbox import SOUND_LIMIT, Mailbox

PATIENCE = 5.0
FAR = 1e9


def sound(number: int) -> Audio:
    return Audio(number.to_bytes(4, "big"))


class Reader:
    """A greenlet that reads until it gets HungUp, or ``deadline`` says None."""

    def __init__(self, mailbox: Mailbox, deadline: Callable[[], float | None] = lambda: FAR) -> None:
        self.got: list[Event] = []
        self.on_event: Callable[[Event], None] = lambda event: None
        self._mailbox = mailbox
        self._deadline = deadline
        self._is_over = False
        self.greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        for event in self._mailbox.until(lambda: None if self._is_over else self._deadline()):
            self.got.append(event)
            self._is_over = isinstance(event, HungUp)
            self.on_event(event)

    def finish(self) -> list[Event]:
        self.greenlet.get(timeout=PATIENCE)
        return self.got


def read_all(mailbox: Mailbox) -> list[Event]:
    mailbox.post(HungUp("end"))
    return Reader(mailbox).finish()


def test_a_hang_up_overtakes_sound_that_waits():
    mailbox = Mailbox()
    mailbox.post(sound(1))
    mailbox.post(DigitPressed("1"))
    mailbox.post(HungUp("x"))
    assert Reader(mailbox).finish() == [DigitPressed("1"), HungUp("x")]


def test_a_call_that_cannot_keep_up_loses_old_sound_and_no_control():
    mailbox = Mailbox()
    for number in range(SOUND_LIMIT * 3):
        mailbox.post(sound(number))
        mailbox.post(DigitPressed("1"))
    reader = Reader(mailbox)
    reader.on_event = lambda event: mailbox.post(HungUp("end")) if event == sound(SOUND_LIMIT * 3 - 1) else None
    got = reader.finish()
    assert got.count(DigitPressed("1")) == SOUND_LIMIT * 3
    assert [event for event in got if isinstance(event, Audio)] == [
        sound(number) for number in range(SOUND_LIMIT * 2, SOUND_LIMIT * 3)
    ]
    assert mailbox.dropped_frames == SOUND_LIMIT * 2


def test_a_sleeping_reader_is_woken_by_every_kind_of_writer():
    mailbox = Mailbox()
    reader = Reader(mailbox)
    gevent.sleep(0)
    mailbox.post(sound(1))
    gevent.sleep(0)
    gevent.get_hub().loop.run_callback(mailbox.post, sound(2))
    gevent.get_hub().loop.run_callback(mailbox.post, DigitPressed("3"))
    gevent.sleep(0)
    gevent.sleep(0)
    gevent.spawn(mailbox.post, HungUp("x"))
    assert set(reader.finish()) == {sound(1), sound(2), DigitPressed("3"), HungUp("x")}


def test_a_passed_deadline_is_told_until_it_moves():
    mailbox, due = Mailbox(), [time.monotonic() + 0.02]
    reader = Reader(mailbox, lambda: due[0])
    early = []

    def on_event(event: Event) -> None:
        early.append(time.monotonic() < due[0])
        due[0] = due[0] + 0.02 if len(early) < 5 else None

    reader.on_event = on_event
    assert reader.finish() == [Tick()] * 5
    assert early == [False] * 5


def test_a_deadline_is_never_told_early():
    mailbox = Mailbox()
    due = time.monotonic() + 0.05
    reader = Reader(mailbox, lambda: due if not reader.got else None)
    reader.finish()
    assert time.monotonic() >= due


def test_a_deadline_that_moves_closer_while_the_reader_works_is_kept():
    mailbox, due = Mailbox(), [FAR]
    reader = Reader(mailbox, lambda: due[0])
    gevent.sleep(0)

    def on_event(event: Event) -> None:
        due[0] = time.monotonic() + 0.02 if isinstance(event, DigitPressed) else None

    reader.on_event = on_event
    mailbox.post(DigitPressed("1"))
    assert reader.finish() == [DigitPressed("1"), Tick()]


def test_a_deadline_that_moved_away_is_not_told_when_it_would_have_been():
    mailbox, began = Mailbox(), time.monotonic()
    due = [began + 0.03]
    reader = Reader(mailbox, lambda: due[0])
    gevent.sleep(0)

    def on_event(event: Event) -> None:
        due[0] = began + 0.1 if isinstance(event, DigitPressed) else None

    reader.on_event = on_event
    mailbox.post(DigitPressed("1"))
    assert reader.finish() == [DigitPressed("1"), Tick()]
    assert time.monotonic() >= began + 0.1


def test_a_deadline_in_the_past_is_told_at_once():
    mailbox = Mailbox()
    reader = Reader(mailbox, lambda: None if reader.got else -math.inf)
    assert reader.finish() == [Tick()]


def test_after_the_end_nothing_is_kept():
    mailbox = Mailbox()
    read_all(mailbox)
    mailbox.post(sound(1))
    mailbox.post(HungUp("late"))
    mailbox.close()
    assert (len(mailbox._control), len(mailbox._sound), mailbox._timer) == (0, 0, None)


def test_a_killed_reader_leaves_no_timer_and_takes_no_more_post():
    mailbox = Mailbox()
    reader = Reader(mailbox, lambda: time.monotonic() + 3600.0)
    gevent.sleep(0)
    assert mailbox._timer is not None
    reader.greenlet.kill(timeout=PATIENCE)
    assert mailbox._timer is None
    mailbox.post(HungUp("late"))
    gevent.sleep(0)
    assert reader.got == []


def test_a_reader_killed_right_after_post_is_not_woken_again():
    mailbox = Mailbox()
    reader = Reader(mailbox)
    gevent.sleep(0)
    mailbox.post(DigitPressed("1"))
    reader.greenlet.kill(timeout=PATIENCE)
    gevent.sleep(0)
    assert reader.greenlet.dead


def test_an_error_in_the_reader_closes_the_mailbox():
    mailbox = Mailbox()
    reader = Reader(mailbox)
    reader.on_event = lambda event: 1 / 0
    mailbox.post(sound(1))
    with pytest.raises(ZeroDivisionError):
        reader.greenlet.get(timeout=PATIENCE)
    mailbox.post(DigitPressed("1"))
    assert len(mailbox._control) == 0


@settings(max_examples=50)
@given(plan=st.lists(st.lists(st.tuples(st.sampled_from("csh"), st.integers(0, 2)), max_size=15), max_size=5))
def test_however_writers_and_reader_take_turns_nothing_is_lost(plan):
    """c: control, s: sound, h: sound from the hub; the number: how often the writer steps aside afterwards."""
    mailbox, posted = Mailbox(), []
    reader = Reader(mailbox)

    def write(steps: list[tuple[str, int]]) -> None:
        for kind, pauses in steps:
            event = DigitPressed(str(len(posted))) if kind == "c" else sound(len(posted))
            posted.append(event)
            if kind == "h":
                gevent.get_hub().loop.run_callback(mailbox.post, event)
            else:
                mailbox.post(event)
            for _ in range(pauses):
                gevent.sleep(0)

    gevent.joinall([gevent.spawn(write, steps) for steps in plan], timeout=PATIENCE, raise_error=True)
    with gevent.Timeout(PATIENCE):
        while len(reader.got) < len(posted):
            gevent.sleep(0)
    mailbox.post(HungUp("end"))
    got = reader.finish()
    assert sorted(map(repr, got[:-1])) == sorted(map(repr, posted))
    digits = [event for event in got if isinstance(event, DigitPressed)]
    assert digits == [event for event in posted if isinstance(event, DigitPressed)]
