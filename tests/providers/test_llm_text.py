"""What of a model's text is said, however it was cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.providers.llm_text import THOUGHTS, Speakable

SIGN = "[HANGUP]"


def spoken(pieces: list[str], sign: str = SIGN) -> tuple[str, bool]:
    speakable = Speakable(sign)
    text = "".join(speakable.feed(piece) for piece in pieces) + speakable.end()
    return text, speakable.hang_up


@pytest.mark.parametrize(
    ("text", "said", "hangs_up"),
    [
        ("Hello.", "Hello.", False),
        ("<think>The caller is rude.</think>Hello.", "Hello.", False),
        ("<THINK>x</Think>Hello.", "Hello.", False),
        ("[THINK]x[/THINK]Hello.", "Hello.", False),
        ("Well <thinking>a </think> b</thinking>then.", "Well then.", False),
        ("<think>It never ends", "", False),
        ("Goodbye. [HANGUP]", "Goodbye. ", True),
        ("[hangup]", "", True),
        ("<think>shall I [HANGUP]?</think>No.", "No.", False),
        ("a < b and [HANG", "a < b and [HANG", False),
        ("2 <3", "2 <3", False),
        ("İ<think>ı</think>ş", "İş", False),
    ],
)
def test_thoughts_are_not_said_and_the_sign_hangs_up_however_the_text_is_cut(text, said, hangs_up):
    assert spoken([text]) == (said, hangs_up)
    assert spoken(list(text)) == (said, hangs_up)


@given(
    st.lists(
        st.sampled_from(["a", " ", "<", "[", "Hello.", SIGN, SIGN.lower(), *(tag for pair in THOUGHTS for tag in pair)])
    ).map("".join),
    st.data(),
)
def test_where_a_text_is_cut_changes_nothing(text, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert spoken(pieces) == spoken([text])


def test_text_that_can_be_no_sign_is_said_at_once():
    speakable = Speakable(SIGN)
    assert [speakable.feed(piece) for piece in ("One", " two", " [", "three")] == ["One", " two", " ", "[three"]


def test_without_a_sign_nothing_hangs_up():
    assert spoken(["[HANGUP]"], "") == ("[HANGUP]", False)


def test_a_thought_without_end_does_not_fill_the_memory():
    speakable = Speakable()
    speakable.feed("<think>")
    for _ in range(100):
        speakable.feed("hm " * 1000)
    assert len(speakable._held) < 20
