from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from esl_agent.providers.spoken import parts, speakable


def test_a_long_text_is_cut_where_a_speaker_would_breathe():
    text = "One two three. Four five, six seven eight nine ten eleven! Twelve thirteen"
    assert parts(text, 40) == ["One two three.", "Four five, six seven eight nine ten", "eleven! Twelve thirteen"]
    assert parts("一二三四。五六七八九十。", 6) == ["一二三四。", "五六七八九十", "。"][:2]
    assert parts("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]
    assert parts("", 10) == []


@given(st.text(max_size=300), st.integers(5, 60))
def test_no_word_is_lost_and_no_part_too_long(text, limit):
    spoken = speakable(text)
    found = parts(spoken, limit)
    assert all(len(part) <= limit for part in found)
    assert [c for part in found for c in part if c.isalnum()] == [c for c in spoken if c.isalnum()]


def test_the_joiners_that_persian_spells_with_are_kept():
    assert speakable("می\u200cخواهم\u200e") == "می\u200cخواهم"
