"""Canned engines keep to the contract of providers/base.py and fail to order."""

from __future__ import annotations

import pytest

from esl_agent.dialogue.actions import Message
from esl_agent.errors import ProviderError
from esl_agent.providers.base import Engines, HangUpPart, TextPart, Transcript
from esl_agent.testing.providers import GOODBYE, CannedLlm, CannedStt, ToneTts, Trouble

ASK = (Message("user", "hello"),)


def test_the_recogniser_understands_its_texts_in_turn_and_over_again() -> None:
    stt = CannedStt(["one", "two"])
    texts = [list(stt.recognise(iter([b"\0" * 640, b"\0" * 320]), 16000)) for _ in range(3)]
    assert [text[-1].text for text in texts] == ["one", "two", "one"]
    assert stt.heard == [960, 960, 960]


def test_partials_grow_by_a_word_and_the_last_is_final() -> None:
    parts = list(CannedStt(["a b c"], partials=True).recognise(iter([]), 8000))
    assert [part.text for part in parts] == ["a", "a b", "a b c"]
    assert [part.final for part in parts] == [False, False, True]


def test_the_model_streams_word_by_word_and_loses_no_blank() -> None:
    slept: list[float] = []
    model = CannedLlm(["good morning to you"], word_by_word=True, per_word=0.05, sleep=slept.append)
    parts = list(model.reply(ASK))
    assert "".join(part.text for part in parts if isinstance(part, TextPart)) == "good morning to you"
    assert len(parts) == 4
    assert slept == [0.05] * 3
    assert model.asked == [ASK]


def test_the_model_can_end_the_call() -> None:
    assert isinstance(list(CannedLlm([GOODBYE]).reply(ASK))[-1], HangUpPart)


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_a_tone_is_as_long_as_its_text(rate: int) -> None:
    tts = ToneTts(rate)
    pcm = b"".join(tts.speak("x" * 50))
    assert len(pcm) == 2 * rate * 3
    assert tts.seconds("x" * 50) == 3.0


def test_a_failing_engine_recovers_after_so_many_requests() -> None:
    tts = ToneTts(trouble=Trouble(fail=2, retryable=False))
    for _ in range(2):
        with pytest.raises(ProviderError) as failure:
            list(tts.speak("x"))
        assert (failure.value.stage, failure.value.retryable) == ("tts", False)
    assert list(tts.speak("x"))


def test_an_engine_stalls_before_and_after_its_first_piece() -> None:
    slept: list[float] = []
    model = CannedLlm(["a b"], word_by_word=True, trouble=Trouble(before=2.0, after_first=3.0), sleep=slept.append)
    assert len(list(model.reply(ASK))) == 2
    assert slept == [2.0, 3.0]


def test_an_engine_that_never_answers_sleeps_until_it_is_killed() -> None:
    class Killed(Exception):
        pass

    def sleep(seconds: float) -> None:
        raise Killed

    with pytest.raises(Killed):
        list(CannedStt([""], trouble=Trouble(never=True), sleep=sleep).recognise(iter([]), 8000))


def test_they_fit_where_engines_go() -> None:
    engines = Engines(CannedStt(["x"]), CannedLlm(["y"]), ToneTts())
    assert list(engines.stt.recognise(iter([]), 8000)) == [Transcript("x", True, 1.0)]
