"""Placeholders of a number's texts are checked when its file is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from esl_agent.dialogue.template import NAMES
from tests.test_config_files import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path)


def test_a_prompt_and_a_greeting_may_hold_call_data(settings: Settings) -> None:
    text = "".join("{{" + name + "}} " for name in NAMES)
    settings.did(f"did: 5000\nprompt: '{text}'\nphrases: {{greeting: '{text}'}}\n")
    assert settings.problems() == []


def test_a_placeholder_that_does_not_exist_is_told_with_its_line_and_what_was_meant(settings: Settings) -> None:
    settings.did("did: 5000\nlanguage: en\nprompt: |\n  You help.\n  {{calller}}\nphrases:\n  greeting: 'Hi {{'\n")
    first, second = settings.problems()
    assert first.startswith("dids/a.yaml:5: prompt: expected one of {{caller}}, {{caller_name}}, ")
    assert "got '{{calller}}'; did you mean '{{caller}}'?" in first
    assert second.startswith("dids/a.yaml:7: phrases.greeting: expected one of ")


def test_a_mistake_in_the_defaults_is_told_once_and_with_its_own_file(settings: Settings) -> None:
    settings.agent("defaults:\n  prompt: '{{nobody}}'\n")
    settings.did("did: 5000\nlanguages: {de: {template: {unknown: unbekannt}}}\n")
    [line] = settings.problems()
    assert line.startswith("agent.yaml:2: defaults.prompt: expected one of ")


def test_a_mistake_in_the_text_of_another_language_is_told_with_its_line(settings: Settings) -> None:
    settings.did("did: 5000\nlanguages:\n  de:\n    prompt: '{{anrufer}}'\n")
    [line] = settings.problems()
    assert line.startswith("dids/a.yaml:4: languages.de.prompt: expected one of ")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("phrases: {goodbye: 'Bye {{caller}}.'}", "phrases.goodbye"),
        ("phrases: {filler: ['Moment.', 'Yes {{caller}}.']}", "phrases.filler[1]"),
        ("destinations: {shop: {number: 1, say: 'Now {{did}}'}}", "destinations.shop.say"),
        ("last_resort: {say: '{{time}}'}", "last_resort.say"),
    ],
)
def test_a_phrase_that_is_prepared_before_the_call_may_hold_none(settings: Settings, text: str, where: str) -> None:
    settings.did(f"did: 5000\n{text}\n")
    [line] = settings.problems()
    assert line.startswith(f"dids/a.yaml:2: {where}: call data may stand in prompt and phrases.greeting only")


def test_a_number_may_be_in_another_time_zone_than_the_system(settings: Settings) -> None:
    settings.did("did: 5000\ntimezone: Asia/Kathmandu\n")
    did = settings.load().find("5000")
    assert did is not None
    assert str(did.zone) == "Asia/Kathmandu"
    other = settings.load().find("1")
    assert other is not None
    assert other.zone is None


@pytest.mark.parametrize("zone", ["Europe/Bremen", "../../etc/passwd", "/etc/localtime", "Europe", "x\\0y"])
def test_a_time_zone_that_nobody_knows_is_a_mistake(settings: Settings, zone: str) -> None:
    settings.did(f'did: 5000\ntimezone: "{zone}"\n')
    [line] = settings.problems()
    assert line.startswith("dids/a.yaml:2: timezone: expected a time zone of the IANA database")
