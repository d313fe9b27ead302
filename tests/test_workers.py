"""The greenlets that listen, think and speak for a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from esl_agent.dialogue.actions import Message
from esl_agent.dialogue.events import (
    HangUpWanted,
    ProviderFailed,
    ReplyEnded,
    ReplyText,
    Summarised,
    Synthesised,
    SynthesisEnded,
    Transcribed,
)
from esl_agent.errors import ProviderError
from esl_agent.providers.base import Engines, HangUpPart, ReplyPart, TextPart, Transcript
from esl_agent.speech_cache import SpeechCache
from esl_agent.testing.providers import GOODBYE, CannedLlm, CannedStt, ToneTts, Trouble
from esl_agent.workers import (
    MAX_CLIP_SECONDS,
    MAX_REPLY_CHARACTERS,
    MAX_SUMMARY_CHARACTERS,
    MAX_TRANSCRIPT,
    Workers,
)

PATIENCE = 5.0
QUESTION = (Message("user", "hello"),)


class Scripted:
    """An engine of any stage whose answer is ``make()``; ``closed`` counts generators that were let go."""

    streaming, rate, voice = True, 8000, "scripted"

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        self._make = make
        self.closed = 0

    def _run(self) -> Iterator[Any]:
        try:
            yield from self._make()
        finally:
            self.closed += 1

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Any]:
        return self._run()

    def reply(self, messages: Any, tools: Any = ()) -> Iterator[Any]:
        return self._run()

    speak = reply


class Desk:
    def __init__(self, stt: Any = None, llm: Any = None, tts: Any = None, *, streams: bool = False) -> None:
        self.posted: list[Any] = []
        self.cache = SpeechCache()
        self.engines = Engines(
            stt or CannedStt(["hello"], sleep=gevent.sleep),
            llm or CannedLlm(["hi there"], sleep=gevent.sleep),
            tts or ToneTts(8000, sleep=gevent.sleep),
        )
        self.workers = Workers(self.engines, self.cache, 8000, self.posted.append, "one", streams=streams)

    def until(self, condition: Callable[[], Any]) -> None:
        with gevent.Timeout(PATIENCE, AssertionError(f"only {self.posted}")):
            while not condition():
                gevent.sleep(0)

    def idle(self) -> list[Any]:
        self.until(lambda: not self.workers._running)
        return self.posted

    def all(self, stage: str) -> None:
        """Give each stage something to do; only ``stage`` is looked at."""
        if stage == "stt":
            self.workers.open_utterance(1)
            self.workers.close_utterance(1)
        elif stage == "llm":
            self.workers.ask_model(1, QUESTION)
        else:
            self.workers.synthesise(1, 0, "hello")


def endless(piece: Any) -> Callable[[], Iterator[Any]]:
    def make() -> Iterator[Any]:
        while True:
            yield piece

    return make


def silent() -> Iterator[Any]:
    gevent.sleep(3600.0)
    yield None


def test_an_utterance_is_heard_while_it_is_spoken():
    desk = Desk()
    desk.workers.open_utterance(1)
    for _ in range(10):
        desk.workers.send_audio(1, bytes(320))
        gevent.sleep(0)
    desk.workers.close_utterance(1)
    assert desk.idle() == [Transcribed(1, "hello", True)]
    assert desk.engines.stt.heard == [3200]


def test_a_failed_recogniser_gets_the_whole_utterance_again():
    desk = Desk(stt=CannedStt(["hello"], trouble=Trouble(fail=1), sleep=gevent.sleep))
    desk.workers.open_utterance(1)
    desk.workers.send_audio(1, bytes(320))
    desk.workers.close_utterance(1)
    assert isinstance(desk.idle()[0], ProviderFailed)
    desk.workers.retry_utterance(1)
    assert desk.idle()[1:] == [Transcribed(1, "hello", True)]
    assert desk.engines.stt.heard == [320, 320]


def test_a_reply_comes_in_pieces_and_ends_once():
    desk = Desk(llm=CannedLlm(["one two"], word_by_word=True, sleep=gevent.sleep))
    desk.workers.ask_model(3, QUESTION)
    assert desk.idle() == [ReplyText(3, "one"), ReplyText(3, " two"), ReplyEnded(3, False)]


def test_a_reply_that_wants_to_hang_up_says_so():
    desk = Desk(llm=CannedLlm([GOODBYE], sleep=gevent.sleep))
    desk.workers.ask_model(3, QUESTION)
    assert desk.idle()[-2:] == [HangUpWanted(3), ReplyEnded(3)]


def test_a_known_phrase_is_not_spoken_again():
    desk = Desk()
    desk.workers.synthesise(1, 0, "hello")
    sound = desk.idle()[0].audio
    desk.cache.put(desk.engines.tts.voice, "hello", sound)
    desk.workers.synthesise(2, 0, "hello")
    assert desk.posted[1:] == [Synthesised(2, 0, sound)]
    assert desk.engines.tts.said == ["hello"]


@pytest.mark.parametrize("stage", ["stt", "llm", "tts"])
@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (ProviderError("llm", "busy", retryable=True), True),
        (ProviderError("llm", "no"), False),
        (ValueError("a bug"), False),
        (gevent.Timeout(0.0), True),
    ],
)
def test_whatever_goes_wrong_in_a_provider_is_told_once(stage, error, retryable):
    def broken() -> Iterator[Any]:
        raise error
        yield

    engine = Scripted(broken)
    desk = Desk(**{stage: engine})
    desk.all(stage)
    (failure,) = desk.idle()
    assert (failure.stage, failure.number, failure.retryable) == (stage, 1, retryable)
    assert engine.closed == 1


def test_a_recogniser_that_ends_without_a_last_word_failed():
    desk = Desk(stt=Scripted(lambda: iter([Transcript("hel", False)])))
    desk.all("stt")
    assert [type(event) for event in desk.idle()] == [Transcribed, ProviderFailed]


def test_a_voice_without_sound_failed():
    desk = Desk(tts=Scripted(lambda: iter([b"", b""])))
    desk.all("tts")
    assert [type(event) for event in desk.idle()] == [ProviderFailed]


def test_half_a_sample_at_the_end_of_a_voices_sound_is_cut():
    desk = Desk(tts=Scripted(lambda: iter([b"abc", b"de"])))
    desk.all("tts")
    assert desk.idle()[0].audio.pcm == b"abcd"


def test_the_silence_a_voice_begins_with_is_not_played():
    voice = ToneTts(8000, sleep=gevent.sleep)
    tone = b"".join(voice.speak("hello"))
    desk = Desk(tts=Scripted(lambda: iter([bytes(3200), bytes(3200) + tone])))
    desk.all("tts")
    assert desk.idle()[0].audio.pcm[-len(tone) :] == tone
    assert desk.posted[0].audio.seconds < voice.seconds("hello") + 0.02


def test_a_voice_that_never_stops_is_stopped():
    desk = Desk(tts=Scripted(endless(bytes(16000))))
    desk.all("tts")
    assert [type(event) for event in desk.idle()] == [ProviderFailed]
    assert f"{MAX_CLIP_SECONDS:g} s" in desk.posted[0].error


def test_a_recogniser_whose_guesses_never_end_is_stopped():
    desk = Desk(stt=Scripted(endless(Transcript("well", final=False))))
    desk.all("stt")
    assert desk.idle()[-1] == ProviderFailed("stt", 1, "stt: no final transcript from the recogniser", True, clip=0)


def test_a_model_that_never_stops_is_stopped():
    engine = Scripted(endless(TextPart("word " * 100)))
    desk = Desk(llm=engine)
    desk.all("llm")
    assert desk.idle()[-1] == ReplyEnded(1, False)
    assert sum(len(event.text) for event in desk.posted[:-1]) <= MAX_REPLY_CHARACTERS + 500
    assert engine.closed == 1


def test_a_piece_of_a_reply_that_is_a_book_is_cut_before_anybody_looks_at_it():
    desk = Desk(llm=Scripted(lambda: iter([TextPart("word " * 1_000_000), TextPart("more")])))
    desk.workers.ask_model(1, QUESTION)
    said = [posted.text for posted in desk.idle() if isinstance(posted, ReplyText)]
    assert [len(text) for text in said] == [MAX_REPLY_CHARACTERS]
    assert desk.posted[-1] == ReplyEnded(1)


def test_a_model_that_sends_empty_pieces_for_ever_is_stopped():
    desk = Desk(llm=Scripted(endless(TextPart(""))))
    desk.all("llm")
    assert desk.idle()[-1] == ReplyEnded(1, False)


@pytest.mark.parametrize("stage", ["stt", "llm", "tts"])
def test_an_abandoned_worker_lets_go_of_its_provider_and_says_nothing_more(stage):
    engine = Scripted(silent)
    desk = Desk(**{stage: engine})
    desk.all(stage)
    gevent.sleep(0)
    desk.workers.abandon_utterance(1) if stage == "stt" else desk.workers.abandon_turn(1)
    desk.until(lambda: engine.closed)
    assert desk.idle() == []


def test_abandoning_a_turn_leaves_the_caller_s_utterance_and_other_turns_alone():
    desk = Desk(stt=Scripted(silent), llm=Scripted(silent))
    desk.all("stt")
    desk.all("llm")
    desk.workers.ask_model(2, QUESTION)
    gevent.sleep(0)
    desk.workers.abandon_turn(1)
    assert sorted(desk.workers._running) == [("llm", 2, 0), ("stt", 1, 0)]
    desk.workers.close()


@pytest.mark.parametrize("begun", [True, False])
def test_the_end_of_a_call_stops_everything(begun):
    engines = [Scripted(silent) for _ in range(3)]
    desk = Desk(*engines)
    for stage in ("stt", "llm", "tts"):
        desk.all(stage)
    if begun:
        gevent.sleep(0)
    desk.workers.close()
    desk.workers.close()
    desk.until(lambda: sum(engine.closed for engine in engines) == 3 * begun)
    assert desk.idle() == []
    desk.workers.send_audio(1, bytes(320))
    desk.workers.close_utterance(1)
    desk.workers.retry_utterance(1)
    assert desk.idle() == []


def test_sound_for_an_utterance_that_is_over_is_dropped():
    desk = Desk()
    desk.all("stt")
    desk.idle()
    desk.workers.send_audio(1, bytes(320))
    assert desk.workers._feeds == {}


def test_a_hang_up_between_words_keeps_the_words():
    desk = Desk(llm=Scripted(lambda: iter([TextPart("bye"), HangUpPart(), TextPart(" bye")])))
    desk.all("llm")
    assert desk.idle() == [ReplyText(1, "bye"), HangUpWanted(1), ReplyText(1, " bye"), ReplyEnded(1)]


def test_a_model_that_fails_says_which_request_failed_and_what_it_wanted_before():
    def fails() -> Iterator[ReplyPart]:
        yield TextPart("bye")
        yield HangUpPart()
        raise ProviderError("llm", "gone", retryable=True)

    desk = Desk(llm=Scripted(fails))
    desk.workers.ask_model(1, QUESTION, ask=2)
    assert desk.idle() == [
        ReplyText(1, "bye", 2),
        HangUpWanted(1, 2),
        ProviderFailed("llm", 1, "llm: gone", True, ask=2),
    ]


def test_a_model_that_is_asked_again_in_a_turn_is_not_listened_to_any_more_in_what_it_was_asked_before():
    def hangs() -> Iterator[ReplyPart]:
        gevent.sleep(3600)
        yield TextPart("late")

    replies = iter([hangs, lambda: iter([TextPart("again")])])
    desk = Desk(llm=Scripted(lambda: next(replies)()))
    desk.workers.ask_model(1, QUESTION)
    gevent.sleep(0)
    desk.workers.ask_model(1, QUESTION, ask=1)
    assert desk.idle() == [ReplyText(1, "again", 1), ReplyEnded(1, ask=1)]
    assert list(desk.workers._running) == []


def test_the_cache_keeps_what_was_used_last_within_its_size():
    from esl_agent.audio.pcm import Sound

    cache = SpeechCache(max_bytes=1000)
    for text in "abc":
        cache.put("v", text, Sound(bytes(400), 8000))
        assert cache.get("v", "a") is not None
    assert cache.get("v", "b") is None
    assert cache.get("v", "c") is not None
    assert cache.get("w", "a") is None
    cache.put("v", "a", Sound(bytes(900), 8000))
    assert cache.get("v", "c") is None
    assert cache.get("v", "a") is not None


def voice(*pieces: bytes, then: Exception | None = None) -> Callable[[], Iterator[bytes]]:
    def make() -> Iterator[bytes]:
        for piece in pieces:
            gevent.sleep(0)
            yield piece
        if then is not None:
            raise then

    return make


LOUD = b"\x00\x20" * 400


def test_where_the_leg_streams_a_clip_is_handed_over_before_it_is_whole():
    gate = Event()

    def slowly() -> Iterator[bytes]:
        yield LOUD
        yield LOUD[:-1]
        yield LOUD[-1:] + LOUD
        gate.wait()
        yield LOUD

    desk = Desk(tts=Scripted(slowly), streams=True)
    desk.workers.synthesise(1, 0, "hello")
    desk.until(lambda: desk.posted)
    stream = desk.posted[0].audio
    assert (stream.seconds >= 0.1, stream.is_ended) == (True, False)
    gate.set()
    assert desk.idle() == [Synthesised(1, 0, stream), SynthesisEnded(1, 0)]
    assert bytes(stream.pcm) == LOUD * 4
    assert stream.is_ended


def test_a_clip_shorter_than_the_first_sound_comes_whole():
    desk = Desk(tts=Scripted(voice(LOUD)), streams=True)
    desk.workers.synthesise(1, 0, "hello")
    (posted,) = desk.idle()
    assert posted.audio.pcm == LOUD


@pytest.mark.parametrize("pieces", [0, 3])
def test_a_voice_that_fails_midway_ends_its_stream(pieces):
    error = ProviderError("tts", "gone", retryable=True)
    desk = Desk(tts=Scripted(voice(*[LOUD] * pieces, then=error)), streams=True)
    desk.workers.synthesise(1, 0, "hello")
    *posted, failed = desk.idle()
    assert isinstance(failed, ProviderFailed)
    assert [event.audio.is_ended for event in posted] == [True] * bool(pieces)


def test_a_turn_that_is_abandoned_ends_its_stream():
    desk = Desk(tts=Scripted(endless(LOUD)), streams=True)
    desk.workers.synthesise(1, 0, "hello")
    desk.until(lambda: desk.posted)
    desk.workers.abandon_turn(1)
    desk.until(lambda: desk.posted[0].audio.is_ended)


def test_an_utterance_during_which_the_language_changed_is_recognised():
    german = Engines(CannedStt(["hallo"], sleep=gevent.sleep), CannedLlm(["ja"]), ToneTts(8000))
    patient = CannedStt(["hello"], streaming=False, sleep=gevent.sleep)
    desk = Desk(stt=patient)
    workers = Workers(desk.engines, desk.cache, 8000, desk.posted.append, "one", languages={"de": german})
    workers.open_utterance(1)
    workers.send_audio(1, bytes(320))
    workers.switch_language("de")
    workers.close_utterance(1)
    desk.until(lambda: desk.posted)
    assert desk.posted == [Transcribed(1, "hallo", True)]


@pytest.mark.parametrize("streams", [True, False])
def test_what_was_asked_for_before_the_language_changed_is_done_in_the_old_one(streams):
    desk = Desk(streams=streams)
    german = Engines(CannedStt(["hallo"]), CannedLlm(["ja"]), ToneTts(16000, sleep=gevent.sleep))
    workers = Workers(
        desk.engines, desk.cache, 8000, desk.posted.append, "one", streams=streams, languages={"de": german}
    )
    workers.synthesise(1, 0, "one moment please")
    workers.ask_model(1, QUESTION)
    workers.open_utterance(1)
    workers.close_utterance(1)
    workers.switch_language("de")
    desk.until(lambda: not workers._running)
    assert [posted.audio.rate for posted in desk.posted if isinstance(posted, Synthesised)] == [8000]
    assert [posted.text for posted in desk.posted if isinstance(posted, ReplyText)] == ["hi there"]
    assert [posted.text for posted in desk.posted if isinstance(posted, Transcribed)][-1] == "hello"


class TwoThreaded(Scripted):
    """A recogniser that reads the sound in a greenlet of its own, as those over a WebSocket do."""

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        super().__init__(make)
        self.readers: list[gevent.Greenlet] = []
        self.heard: list[bytes] = []

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Any]:
        self.readers.append(gevent.spawn(lambda: self.heard.extend(audio)))
        return self._run()


@pytest.mark.parametrize("end", ["abandoned", "early final", "call over"])
def test_whoever_still_reads_the_sound_of_an_utterance_that_is_over_comes_to_its_end(end):
    stt = TwoThreaded(lambda: iter([Transcript("yes", True)]) if end == "early final" else silent())
    desk = Desk(stt=stt)
    desk.workers.open_utterance(1)
    desk.workers.send_audio(1, bytes(320))
    desk.until(lambda: stt.readers)
    if end == "abandoned":
        desk.workers.abandon_utterance(1)
    elif end == "call over":
        desk.workers.close()
    with gevent.Timeout(PATIENCE):
        gevent.joinall(stt.readers)
    assert stt.readers


def test_a_reader_left_over_from_a_failed_try_takes_no_sound_from_the_next():
    stt = TwoThreaded(lambda: iter([]))
    desk = Desk(stt=stt)
    desk.workers.open_utterance(1)
    desk.until(lambda: desk.posted)
    desk.workers.retry_utterance(1)
    for _ in range(4):
        desk.workers.send_audio(1, b"\1\0")
        gevent.sleep(0)
    desk.workers.close_utterance(1)
    with gevent.Timeout(PATIENCE):
        gevent.joinall(stt.readers)
    assert stt.heard == [b"\1\0"] * 8


def test_a_summary_is_what_the_model_writes_and_no_turn_hears_of_it():
    desk = Desk(llm=Scripted(lambda: iter([TextPart("Ann wants"), HangUpPart(), TextPart(" a horse.")])))
    desk.workers.summarise(4, QUESTION)
    desk.workers.abandon_turn(4)
    assert desk.idle() == [Summarised(4, "Ann wants a horse.")]


@pytest.mark.parametrize("error", [ProviderError("llm", "gone"), ValueError("odd")])
def test_a_summary_that_fails_is_empty_and_no_failure_of_the_call(error):
    def fails() -> Iterator[ReplyPart]:
        yield TextPart("Ann")
        raise error

    desk = Desk(llm=Scripted(fails))
    desk.workers.summarise(4, QUESTION)
    assert desk.idle() == [Summarised(4, "")]


def test_a_summary_without_end_is_cut_and_one_that_nobody_wants_says_nothing():
    llm = Scripted(lambda: iter(lambda: TextPart("words " * 100), None))
    desk = Desk(llm=llm)
    desk.workers.summarise(1, QUESTION)
    [event] = desk.idle()
    assert len(event.text) < MAX_SUMMARY_CHARACTERS + 1000
    gevent.sleep(0)
    desk.workers.summarise(2, QUESTION)
    desk.workers.abandon_summary()
    assert desk.idle() == [event]


def test_a_transcript_without_end_is_cut():
    desk = Desk(stt=CannedStt(["word " * 100_000], sleep=gevent.sleep))
    desk.all("stt")
    assert [len(event.text) for event in desk.idle()] == [MAX_TRANSCRIPT]
