"""What kind of answer the agent's last words ask for."""

from __future__ import annotations

import pytest

from esl_agent.dialogue.endpointing import Mode
from esl_agent.dialogue.questions import expected


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("We close at five. Shall I book it for you?", "en"),
        ("And is that all?", "en-GB"),
        ("Don\u2019t you like it?", "en"),
        ("Passt Ihnen das?", "de-AT"),
    ],
)
def test_a_question_that_begins_with_its_verb_is_answered_by_yes_or_no(text, language):
    assert expected(text, language) is Mode.SHORT


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is your phone number?", "en"),
        ("Can you spell that?", "en"),
        ("Please tell me your address.", "en"),
        ("Wie lautet Ihre E-Mail-Adresse?", "de"),
    ],
)
def test_numbers_and_addresses_are_dictated(text, language):
    assert expected(text, language) is Mode.DICTATION


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", "en"),
        ("What can I do for you?", "en"),
        ("Do you want tea or coffee?", "en"),
        ("Your number is known to us.", "en"),
        ("Is it good? Fine. We are open.", "en"),
        ("Is it good?", "tlh"),
    ],
)
def test_anything_else_may_be_answered_by_anything(text, language):
    assert expected(text, language) is Mode.NORMAL
