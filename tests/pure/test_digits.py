"""Keys the caller presses become one entry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.dialogue.digits import MAX_DIGITS, Collector, DtmfSettings, words

SETTINGS = DtmfSettings()


def pressed(keys: str, collector: Collector, step: float = 0.3) -> float:
    """Press ``keys`` one after the other from time 0; the time of the last."""
    for count, key in enumerate(keys):
        if collector.press(key, count * step):
            return count * step
    return (len(keys) - 1) * step


def test_an_entry_ends_with_the_terminator_which_is_no_part_of_it():
    collector = Collector(SETTINGS)
    pressed("4711#", collector)
    assert (collector.is_done, collector.digits, collector.deadline) == (True, "4711", None)


def test_an_entry_ends_when_no_key_follows_in_time():
    collector = Collector(SETTINGS)
    last = pressed("47", collector)
    assert collector.deadline == last + SETTINGS.timeout
    assert not collector.expire(last + SETTINGS.timeout - 0.01)
    assert collector.expire(last + SETTINGS.timeout)
    assert collector.digits == "47"


def test_an_entry_ends_with_its_last_key():
    collector = Collector(SETTINGS, max_digits=4)
    assert [collector.press(key, 0.0) for key in "12345"] == [False, False, False, True, True]
    assert collector.digits == "1234"


def test_the_first_key_has_a_time_of_its_own_and_nothing_may_come():
    collector = Collector(SETTINGS)
    assert collector.deadline is None
    collector.wait(10.0)
    assert collector.deadline == 10.0 + SETTINGS.first
    assert collector.expire(10.0 + SETTINGS.first)
    assert collector.digits == ""


def test_keys_pressed_while_the_question_is_still_heard_count():
    collector = Collector(SETTINGS)
    collector.press("7", 1.0)
    collector.wait(9.0)
    assert collector.deadline == 1.0 + SETTINGS.timeout


def test_a_terminator_alone_is_an_empty_entry():
    collector = Collector(SETTINGS)
    assert collector.press("#", 1.0)
    assert collector.take() == ""


def test_without_a_terminator_the_hash_is_a_key_like_others():
    collector = Collector(SETTINGS, terminator="")
    pressed("#1*", collector)
    assert (collector.is_done, collector.digits) == (False, "#1*")


def test_what_is_no_key_is_not_collected():
    collector = Collector(SETTINGS)
    pressed("1x\n", collector)
    assert collector.digits == "1"


def test_a_taken_entry_makes_room_for_the_next():
    collector = Collector(SETTINGS, terminator="*")
    pressed("12*", collector)
    assert collector.take() == "12"
    pressed("3*", collector)
    assert collector.take() == "3"


@pytest.mark.parametrize(("digits", "text"), [("123", "(pressed 1 2 3)"), ("", "")])
def test_a_model_reads_keys_as_words(digits, text):
    assert words(digits) == text


@given(st.text(max_size=200), st.integers(1, 200))
def test_whatever_is_pressed_an_entry_has_a_limit_and_a_deadline_or_is_done(keys, most):
    collector = Collector(SETTINGS, max_digits=most)
    pressed(keys, collector)
    assert len(collector.digits) <= min(most, MAX_DIGITS)
    assert collector.is_done or not collector.digits or collector.deadline is not None
