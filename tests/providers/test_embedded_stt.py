from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import gevent
import pytest

from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers import embedded_stt
from esl_agent.providers.base import EngineContext
from esl_agent.providers.embedded_stt import EmbeddedRecogniser, EmbeddedRecogniserOptions
from esl_agent.providers.worker_pool import WorkerPool
from tests.providers.contract import SpeechToTextContract
from tests.providers.sounds import telephone

PHRASES = (
    "Something is terribly wrong!",
    "I have a problem",
    "Weasels have eaten our phone system",
    "Our phone system is broken",
    "The phone does not work",
    "The number is not answering.",
    "Nobody is answering",
    "The line is dead",
    "Please try your call again later.",
    "Information about your last call.",
    "Information about my last call",
    "Thank you for your patience",
    "Thank you",
    "Opening hours",
    "When are you open",
    "How much does it cost",
    "Speak to a person",
    "Another day",
    "Change the appointment",
    "Yes please",
    "No thank you",
    "Goodbye",
)


def recogniser(phrases: tuple[str, ...] = PHRASES) -> EmbeddedRecogniser:
    return EmbeddedRecogniser(EmbeddedRecogniserOptions(workers=1), EngineContext("en", phrases))


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    """A pool of one worker that this test may maltreat."""
    made = WorkerPool("stt", "esl_agent.providers.pocketsphinx_worker", 1)
    monkeypatch.setattr(embedded_stt, "shared_pool", lambda *_: made)
    yield made
    made.close()


class TestContract(SpeechToTextContract):
    def make(self) -> EmbeddedRecogniser:
        return recogniser()

    def speech(self) -> tuple[bytes, int]:
        return telephone("number-not-answering"), 8000


@pytest.mark.parametrize(
    ("recording", "said"),
    [
        ("something-terribly-wrong", "Something is terribly wrong!"),
        ("tt-weasels", "Weasels have eaten our phone system"),
        ("number-not-answering", "The number is not answering."),
        ("please-try-call-later", "Please try your call again later."),
        ("info-about-last-call", "Information about your last call."),
        ("queue-thankyou", "Thank you for your patience"),
        ("vm-goodbye", "Goodbye"),
    ],
)
def test_a_caller_who_says_what_is_expected_is_understood_over_the_telephone(recording: str, said: str) -> None:
    (found,) = recogniser().recognise(iter([telephone(recording)]), 8000)
    assert found.text == said


@pytest.mark.parametrize("recording", ["vm-whichbox", "vm-savefolder", "feature-not-avail-line"])
def test_a_caller_who_says_something_else_is_not_understood_rather_than_misunderstood(recording: str) -> None:
    (found,) = recogniser().recognise(iter([telephone(recording)]), 8000)
    assert found.text == ""


def test_a_phrase_with_an_unknown_word_is_skipped_and_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    engine = recogniser(("Goodbye", "frobnicate the qwyjibo", "]; public <x> = y;"))
    with caplog.at_level(logging.WARNING):
        (found,) = engine.recognise(iter([telephone("vm-goodbye")]), 8000)
    assert found.text == "Goodbye"
    assert "frobnicate the qwyjibo" in caplog.text


def test_a_worker_killed_in_the_middle_is_a_retryable_failure_and_the_next_caller_is_understood(
    pool: WorkerPool,
) -> None:
    pool.warm()
    os.kill(pool.pids[0], signal.SIGSTOP)
    engine, pcm = recogniser(), telephone("number-not-answering")
    stuck = gevent.spawn(lambda: list(engine.recognise(iter([pcm]), 8000)))
    while not pool.busy:
        gevent.sleep(0)
    os.kill(pool.pids[0], signal.SIGKILL)
    with pytest.raises(ProviderError) as failure:
        stuck.get()
    assert failure.value.retryable
    assert list(engine.recognise(iter([pcm]), 8000))[-1].text == "The number is not answering."


def test_a_caller_who_hangs_up_while_being_recognised_leaves_no_busy_worker(pool: WorkerPool) -> None:
    engine, pcm = recogniser(), telephone("tt-weasels")
    listening = gevent.spawn(lambda: list(engine.recognise(iter([pcm]), 8000)))
    while not pool.busy:
        gevent.sleep(0)
    listening.kill()
    assert pool.busy == 0
    assert list(engine.recognise(iter([pcm]), 8000))[-1].text == "Weasels have eaten our phone system"


def test_the_hub_serves_everybody_else_while_a_caller_is_recognised(pool: WorkerPool) -> None:
    turns = 0

    def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0.001)

    other = gevent.spawn(others)
    list(recogniser().recognise(iter([telephone("tt-weasels")]), 8000))
    other.kill()
    assert turns > 20


def test_more_callers_than_workers_are_all_understood(pool: WorkerPool) -> None:
    engine, pcm = recogniser(), telephone("queue-thankyou")
    callers = [gevent.spawn(lambda: list(engine.recognise(iter([pcm]), 8000))[-1].text) for _ in range(4)]
    assert [caller.get() for caller in callers] == ["Thank you for your patience"] * 4
    assert len(pool.pids) == 1


def test_another_language_is_refused_before_anybody_calls() -> None:
    with pytest.raises(ConfigError, match="English only"):
        EmbeddedRecogniser(EmbeddedRecogniserOptions(), EngineContext("de", ("hallo",)))
