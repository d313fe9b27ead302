"""When an utterance has ended."""

from __future__ import annotations

import pytest

from esl_agent.dialogue.endpointing import Change, Endpointer, Mode
from esl_agent.dialogue.open_ends import OPEN_ENDS, digits_in
from esl_agent.dialogue.settings import BargeInSettings, EndpointingSettings

FRAME = bytes(320)


class Caller:
    """Speaks and pauses; knows when an utterance of his was held for ended."""

    def __init__(self, *, over_agent: bool = False, **settings) -> None:
        self.endpointer = Endpointer(EndpointingSettings(**settings), BargeInSettings())
        self.over_agent = over_agent
        self.now = 10.0
        self.ended: float | None = None

    def _frames(self, voiced: bool, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now += 0.02
            if self.endpointer.feed(FRAME, voiced, self.now, over_agent=self.over_agent) is Change.ENDED:
                self.ended = self.now

    def speaks(self, seconds: float = 0.6, words: str = "") -> Caller:
        self.ended = None
        self._frames(True, seconds)
        if words:
            self.endpointer.understood(words)
        return self

    def wait(self) -> float:
        """How long a silence ends the utterance."""
        began = self.now
        while self.ended is None and self.now < began + 20:
            self._frames(False, 0.02)
        assert self.ended is not None
        return self.ended - began

    def pauses(self, seconds: float) -> Caller:
        self._frames(False, seconds)
        return self


def test_without_knowing_anything_the_plain_silence_ends_an_utterance():
    assert Caller(silence=0.7).speaks().wait() == pytest.approx(0.7)


@pytest.mark.parametrize("words", ["I would like to", "my number is the", "Monday and", "it is, um", "well"])
def test_a_sentence_that_must_go_on_is_waited_for(words):
    assert Caller().speaks(words=words).wait() == pytest.approx(1.6)


def test_words_that_can_end_are_answered_sooner():
    assert Caller(silence=0.7).speaks(words="I would like to book a table").wait() < 0.6


def test_a_yes_is_answered_at_once_when_one_was_asked_for():
    caller = Caller(min_silence=0.4)
    caller.endpointer.listen_for(Mode.SHORT)
    for words in ("yes", "no", "yes I do", "yes please"):
        assert caller.speaks(0.3, words).wait() == pytest.approx(0.4)
        caller.pauses(1.0)


def test_words_that_may_end_or_not_are_waited_for_a_little_longer():
    assert 0.7 < Caller(silence=0.7).speaks(words="yes I do").wait() < 1.2


def test_digits_are_waited_for():
    caller = Caller(dictation=2.0)
    caller.endpointer.listen_for(Mode.DICTATION)
    assert caller.speaks(words="five five").wait() == pytest.approx(2.0)


def test_a_telephone_number_that_is_complete_is_not_waited_for():
    caller = Caller()
    caller.endpointer.listen_for(Mode.DICTATION)
    assert caller.speaks(words="oh three oh five five five one two three four").wait() == pytest.approx(0.7)


def test_the_rhythm_of_a_dictation_shortens_the_wait_for_its_end():
    caller = Caller()
    caller.endpointer.listen_for(Mode.DICTATION)
    for _ in range(4):
        caller.speaks(0.4).pauses(0.5)
    caller.speaks(0.4)
    assert 0.7 < caller.wait() < 1.2


def test_a_caller_who_pauses_is_given_more_time():
    caller = Caller(silence=0.7)
    for _ in range(5):
        caller.speaks().pauses(0.64).speaks().wait()
    assert caller.speaks().wait() > 0.75


def test_a_caller_who_never_pauses_is_answered_sooner():
    caller = Caller(silence=0.7, min_silence=0.4)
    for _ in range(30):
        caller.speaks(1.0).wait()
        caller.pauses(2.0)
    assert caller.speaks().wait() == pytest.approx(0.4)


def test_a_caller_who_goes_on_after_he_was_held_for_finished_is_given_more_time():
    caller = Caller(silence=0.7)
    assert caller.speaks().wait() == pytest.approx(0.7)
    caller.pauses(0.4)
    assert caller.speaks().wait() > 0.8


def test_no_wait_is_longer_than_the_longest():
    caller = Caller(max_silence=1.0)
    for _ in range(10):
        caller.speaks().wait()
        caller.pauses(0.5)
    assert caller.speaks().wait() == pytest.approx(1.0)


def test_with_adapt_off_only_the_plain_silence_counts():
    caller = Caller(adapt=False, silence=0.7)
    assert caller.speaks(words="and").wait() == pytest.approx(0.7)
    caller.speaks().pauses(0.6).speaks().wait()
    assert caller.speaks().wait() == pytest.approx(0.7)


def test_a_word_over_the_agent_is_judged_soon():
    assert Caller(over_agent=True).speaks(0.3).wait() == pytest.approx(BargeInSettings().settle, abs=0.021)


def test_long_speech_over_the_agent_is_waited_for_like_any_other():
    assert Caller(over_agent=True).speaks(1.0).wait() == pytest.approx(0.7)
    assert Caller(over_agent=True).speaks(0.4, "can I just say and").wait() == pytest.approx(1.6)


def test_digits_are_counted_in_figures_and_in_words():
    assert digits_in("0 3 0, five five 12") == 7
    assert digits_in("for a table") == 0


def test_every_language_has_its_open_ends_as_recognisers_write_them():
    for words in OPEN_ENDS.values():
        assert len(words) > 15
        assert all(word == word.lower() for word in words)


def test_after_a_change_of_language_its_words_count():
    caller = Caller()
    caller.endpointer.speaks("de-AT")
    assert caller.speaks(words="ich hätte gern eine").wait() == pytest.approx(1.6)
    caller.pauses(2.0)
    assert caller.speaks(words="the").wait() < 0.7
