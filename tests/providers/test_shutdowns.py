"""Announced shutdowns: the dates are those of the vendors' own clients, and the operator is told in time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import openai.types.audio.speech_model as speech_model
import openai.types.audio_model as audio_model
import openai.types.realtime.realtime_session_create_request as realtime
import openai.types.shared.chat_model as chat_model
import pytest
from anthropic.resources.messages.messages import DEPRECATED_MODELS

from esl_agent.providers.shutdowns import SHUTDOWNS, announced

OURS = {(each.host, model): each.on for each in SHUTDOWNS for model in each.models}
GPT_4O = next(each for each in SHUTDOWNS if "gpt-4o" in each.models)


@dataclass(frozen=True)
class Options:
    model: str = "gpt-4o"
    url: str = "https://api.openai.com/v1"


def said_by_openai() -> dict[str, date]:
    """model -> shutdown date, from the prose of the vendor's own client."""
    found: dict[str, date] = {}
    for module in (chat_model, audio_model, speech_model, realtime):
        with open(module.__file__, encoding="utf-8") as file:
            text = " ".join(file.read().split())
        for names, day in re.findall(r'((?:"[\w.-]+",? ?)+): Announced shutdown date: (\d{4}-\d\d-\d\d)', text):
            found |= {name: date.fromisoformat(day) for name in re.findall(r'"([\w.-]+)"', names)}
    return found


def test_openais_own_client_gives_the_same_dates() -> None:
    theirs = said_by_openai()
    assert len(theirs) > 40
    ours = {model: on for (host, model), on in OURS.items() if host == "api.openai.com"}
    assert ours == {model: theirs.get(model) for model in ours}


def test_no_model_that_openais_client_says_will_end_is_missing() -> None:
    of_no_use_on_a_call = re.compile(r"codex|audio-preview|search-preview|vision|^o1-mini|^o1-preview")
    coming = {model for model, on in said_by_openai().items() if on >= date(2026, 7, 1)}
    missing = {model for model in coming if ("api.openai.com", model) not in OURS}
    assert {model for model in missing if not of_no_use_on_a_call.search(model)} == set()


def test_anthropics_own_client_gives_the_same_dates() -> None:
    def day(text: str) -> date:
        return datetime.strptime(re.sub(r"(?<=\d)(st|nd|rd|th)", "", text), "%B %d, %Y").date()

    theirs = {model: day(text) for model, text in DEPRECATED_MODELS.items() if day(text).year >= 2026}
    assert theirs == {model: on for (host, model), on in OURS.items() if host == "api.anthropic.com"}


def test_a_model_with_an_announced_end_is_known_on_its_vendors_host() -> None:
    assert announced(Options()) == ("gpt-4o", GPT_4O)


@pytest.mark.parametrize(
    "options",
    [
        Options(model="gpt-6-luna"),
        Options(url="http://127.0.0.1:8000/v1"),
        Options(url="https://api.openai.com.example.net/v1"),
        Options(url="http://[half/v1"),
        object(),
    ],
)
def test_a_model_of_another_name_or_another_host_is_none_of_our_business(options: object) -> None:
    assert announced(options) is None


def test_the_operator_is_told_the_date_what_is_left_and_what_to_use_instead() -> None:
    sentence = GPT_4O.sentence("gpt-4o", GPT_4O.on - timedelta(days=54))
    assert "no longer from 2027-01-14 on, in 54 days" in sentence
    assert "instead: gpt-6-luna" in sentence
    assert "developers.openai.com" in sentence
    assert "tomorrow" in GPT_4O.sentence("gpt-4o", GPT_4O.on - timedelta(days=1))


@pytest.mark.parametrize("days", [0, 1, 400])
def test_from_the_day_itself_on_the_wording_is_stronger(days: int) -> None:
    sentence = GPT_4O.sentence("gpt-4o", GPT_4O.on + timedelta(days=days))
    assert "NO MORE" in sentence
    assert "Expect every request to fail" in sentence
    assert "\n" not in sentence
