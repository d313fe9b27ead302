"""Speech over the agent: what takes the floor and what does not."""

from __future__ import annotations

import pytest

from esl_agent.dialogue.barge_in import BACKCHANNELS, BargeIn, Verdict
from esl_agent.dialogue.settings import BargeInSettings


def judge(language: str = "en", **settings) -> BargeIn:
    it = BargeIn(BargeInSettings(**settings), language)
    it.begin(6)
    return it


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Mm-hm."),
        ("en", "okay, I see"),
        ("en", "All right, got it."),
        ("en-GB", "yes yes yes"),
        ("en", "that’s right"),
        ("de", "Ach so, ja, alles klar."),
        ("de-CH", "mhm, genau"),
        ("fr", "D’accord, je vois."),
        ("es", "Sí, claro que sí"),
        ("it", "va bene, ho capito"),
        ("nl", "ja ja, ik snap het"),
        ("tr", "hı hı, tamam"),
        ("xx", ""),
    ],
)
def test_a_back_channel_does_not_take_the_floor(language, text):
    assert judge(language).words(text, final=False) is None
    assert judge(language).words(text, final=True) is Verdict.DISMISS


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "stop"),
        ("en", "no"),
        ("en", "I want to speak to somebody"),
        ("en", "see"),
        ("en", "okay but wait"),
        ("de", "Nein, Moment"),
        ("de", "okay, aber ich"),
        ("fr", "non"),
        ("xx", "okay"),
    ],
)
def test_words_that_are_no_back_channel_take_the_floor_at_once(language, text):
    assert judge(language).words(text, final=False) is Verdict.CONFIRM


def test_an_operator_adds_phrases_of_his_callers():
    assert judge(backchannels=("roger that",)).words("Roger that, okay", final=True) is Verdict.DISMISS
    assert judge(backchannels=("roger that",)).words("that roger", final=True) is Verdict.CONFIRM


def test_more_words_can_be_asked_for():
    assert judge(min_words=2).words("well okay", final=False) is None
    assert judge(min_words=2).words("well then okay", final=False) is Verdict.CONFIRM


def test_long_speech_takes_the_floor_whatever_is_said():
    it = judge(sure=0.7)
    verdicts = [it.frame(True) for _ in range(29)]
    assert verdicts == [None] * 28 + [Verdict.CONFIRM]


def test_silence_takes_no_floor():
    it = judge()
    assert [it.frame(False) for _ in range(100)] == [None] * 100


def test_every_language_has_its_phrases_in_lower_case():
    for phrases in BACKCHANNELS.values():
        assert list(phrases) == [phrase.lower() for phrase in phrases]
        assert len(phrases) > 20
