from __future__ import annotations

import os
from collections.abc import Iterator

import gevent
import pytest

from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers import embedded_tts
from esl_agent.providers.base import EngineContext
from esl_agent.providers.embedded_tts import EmbeddedVoice, EmbeddedVoiceOptions
from esl_agent.providers.spoken import MAX_TEXT, speakable
from esl_agent.providers.worker_pool import WorkerPool
from tests.providers.contract import TextToSpeechContract


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    made = WorkerPool("tts", "esl_agent.providers.speech_worker", 1)
    monkeypatch.setattr(embedded_tts, "shared_pool", lambda *_: made)
    yield made
    made.close()


class TestEspeakContract(TextToSpeechContract):
    def make(self) -> EmbeddedVoice:
        return EmbeddedVoice(EmbeddedVoiceOptions(synthesiser="espeak", workers=1), EngineContext("en"))


class TestAutoContract(TextToSpeechContract):
    def make(self) -> EmbeddedVoice:
        return EmbeddedVoice(EmbeddedVoiceOptions(workers=1), EngineContext("en"))


@pytest.mark.parametrize("language", ["tr", "ru", "de-AT", "nb"])
def test_a_caller_is_spoken_to_in_the_language_of_the_number(language: str) -> None:
    voice = EmbeddedVoice(EmbeddedVoiceOptions(workers=1), EngineContext(language))
    assert b"".join(voice.speak("1 2 3"))


def test_an_unknown_voice_is_an_error_and_the_next_clause_is_spoken() -> None:
    odd = EmbeddedVoice(EmbeddedVoiceOptions(synthesiser="espeak", voice="nobody", workers=1), EngineContext("en"))
    with pytest.raises(ProviderError, match="nobody") as failure:
        list(odd.speak("hello"))
    assert not failure.value.retryable
    good = EmbeddedVoice(EmbeddedVoiceOptions(synthesiser="espeak", workers=1), EngineContext("en"))
    assert b"".join(good.speak("hello"))


def test_a_clause_that_is_not_wanted_any_more_ends_the_process_that_speaks_it(pool: WorkerPool) -> None:
    voice = EmbeddedVoice(EmbeddedVoiceOptions(synthesiser="espeak"), EngineContext("en"))
    clause = voice.speak("a long story, " * 100)
    next(clause)
    (speaking,) = pool.pids
    clause.close()
    assert pool.busy == 0
    assert speaking not in pool.pids
    with pytest.raises(ProcessLookupError):
        os.kill(speaking, 0)
    assert b"".join(voice.speak("hello"))


def test_a_clause_that_nobody_closed_costs_the_pool_no_process(pool: WorkerPool) -> None:
    """It is closed where it is let go of, and that may be gevent's hub, where nobody can wait."""
    voice = EmbeddedVoice(EmbeddedVoiceOptions(synthesiser="espeak"), EngineContext("en"))
    clauses = [voice.speak("a long story, " * 100)]
    next(clauses[0])
    (speaking,) = pool.pids
    gevent.get_hub().loop.run_callback(clauses.clear)
    gevent.sleep(0)
    assert (clauses, pool.busy) == ([], 0)
    assert speaking not in pool.pids
    with gevent.Timeout(10.0):
        assert b"".join(voice.speak("hello"))


def test_voices_that_sound_different_have_different_names() -> None:
    def named(**options: object) -> str:
        return EmbeddedVoice(EmbeddedVoiceOptions(synthesiser="espeak", **options), EngineContext("en")).voice  # type: ignore[arg-type]

    assert len({named(), named(voice="en-gb"), named(speed=200), named(pitch=80)}) == 4


def test_flite_is_refused_for_a_language_it_does_not_speak() -> None:
    with pytest.raises(ConfigError, match="English only"):
        EmbeddedVoice(EmbeddedVoiceOptions(synthesiser="flite"), EngineContext("tr"))


def test_what_is_spoken_is_one_line_of_limited_length() -> None:
    assert speakable("a\x00b\r\nc\u2028d") == "a b c d"
    assert len(speakable("word " * 5000)) <= MAX_TEXT
    assert len(speakable("x" * 50000)) <= MAX_TEXT
