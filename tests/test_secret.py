"""Keys stay out of what is told, however a service quotes them."""

from __future__ import annotations

import pytest

from esl_agent.secret import scrubbed

KEY = "sk-proj-0123456789abcdefghij"


@pytest.mark.parametrize("shown", [KEY, KEY[:20], KEY[:12], f"{KEY[:15]}...", f"{KEY} {KEY[:18]} and {KEY}"])
def test_a_key_is_not_told_not_even_its_beginning(shown):
    told = scrubbed(f"the key {shown} is wrong", (KEY, ""))
    assert KEY[:12] not in told
    assert told.startswith("the key ***")
    assert told.endswith(" is wrong")


def test_what_is_no_key_is_told():
    assert scrubbed("sk-proj- 0123 abc", (KEY, "abc")) == "sk-proj- 0123 abc"
