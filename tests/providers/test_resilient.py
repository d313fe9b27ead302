"""How a stage survives its providers: tries, deadlines, who is asked next, and what is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.queue import Queue

from esl_agent.errors import ProviderError
from esl_agent.providers.accounts import Accounts
from esl_agent.providers.base import CallContext, Identity, Switched, TextPart, Transcript, Usage, UsagePart, Used
from esl_agent.providers.feed import Feed
from esl_agent.providers.resilience_settings import VoicePatience
from esl_agent.providers.resilient import _limit
from esl_agent.testing.providers import Trouble
from tests.providers.stages import (
    CLAUSE,
    FAST,
    LIMITS,
    QUESTION,
    RATE,
    STAGES,
    Clock,
    Desk,
    Pulse,
    answer,
    asked,
    engine,
    nothing_is_left,
    partial,
    resting,
)


class Scripted:
    """A provider of any stage that does ``make(request)``; ``closed`` counts answers that were let go of."""

    rate, voice = RATE, "scripted"

    def __init__(self, name: str, make: Callable[[Any], Iterator[Any]], *, streaming: bool = True) -> None:
        self.identity = Identity(name)
        self.streaming = streaming
        self.closed = 0
        self.begun = 0
        self._make = make

    def _run(self, request: Any) -> Iterator[Any]:
        self.begun += 1
        try:
            yield from self._make(request)
        finally:
            self.closed += 1

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Any]:
        return self._run(audio)

    def reply(self, messages: Any, tools: Any = ()) -> Iterator[Any]:
        return self._run(messages)

    def speak(self, text: str) -> Iterator[Any]:
        return self._run(text)


def until(condition: Callable[[], Any]) -> None:
    with gevent.Timeout(5.0, AssertionError("never came true")):
        while not condition():
            gevent.sleep(0.001)


# Tries


@pytest.mark.parametrize("stage", STAGES)
def test_a_dropped_connection_is_tried_again_with_the_same_provider(stage: str) -> None:
    desk = Desk(stage, [engine(stage, "A", Trouble(fail=1)), engine(stage, "B")])
    assert desk.ask() == answer(stage, "A")
    assert desk.switches == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_provider_is_not_asked_more_often_than_it_may(stage: str) -> None:
    settings = replace(FAST, **{name: replace(getattr(FAST, name), tries=3) for name in ("stt", "llm", "tts")})
    first = engine(stage, "A", Trouble(fail=3, retry_after=0.0))
    assert Desk(stage, [first, engine(stage, "B")], settings=settings).ask() == answer(stage, "B")
    assert asked(first) == 3


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(fail=9, retryable=False),
        Trouble(fail=9, blame="request"),
        Trouble(fail=9, blame="setup"),
        Trouble(fail=9, retry_after=60.0),
    ],
)
def test_where_another_try_is_of_no_use_the_next_provider_is_asked_at_once(stage: str, trouble: Trouble) -> None:
    first = engine(stage, "A", replace(trouble))
    assert Desk(stage, [first, engine(stage, "B")]).ask() == answer(stage, "B")
    assert asked(first) == 1


def test_a_server_that_says_when_to_come_again_is_asked_again_then() -> None:
    settings = replace(FAST, llm=replace(FAST.llm, first=1.0))
    first = engine("llm", "A", Trouble(fail=1, retry_after=0.005))
    assert Desk("llm", [first, engine("llm", "B")], settings=settings).ask() == answer("llm", "A")


@pytest.mark.parametrize("stage", STAGES)
def test_all_tries_together_take_no_longer_than_the_callers_patience(stage: str) -> None:
    """The last provider has what is left; none is asked once nothing is."""
    limits = replace(LIMITS, stt=0.05, llm=0.05, tts=0.05)
    settings = replace(FAST, **{name: replace(getattr(FAST, name), first=1.0) for name in ("stt", "llm", "tts")})
    stalled, last = engine(stage, "A", Trouble(never=True)), engine(stage, "B")
    with pytest.raises(ProviderError, match="no answer in time"):
        Desk(stage, [stalled, last], settings=settings, limits=limits).ask()
    assert asked(last) == 0


def test_a_provider_that_lets_a_timeout_of_gevents_out_has_failed() -> None:
    def late(text: Any) -> Iterator[bytes]:
        raise gevent.Timeout(1.0)
        yield b""

    assert Desk("tts", [Scripted("A", late), engine("tts", "B")]).ask() == answer("tts", "B")
    with pytest.raises(ProviderError, match="timed out"):
        Desk("tts", [Scripted("A", late)]).ask()


def test_a_provider_with_a_bug_has_failed() -> None:
    desk = Desk("llm", [Scripted("A", lambda messages: iter(1)), engine("llm", "B")])  # type: ignore[call-overload]
    assert desk.ask() == answer("llm", "B")


@pytest.mark.parametrize("stage", STAGES)
def test_a_provider_that_ends_without_an_answer_has_failed(stage: str) -> None:
    empty = Scripted("A", lambda request: iter(()))
    assert Desk(stage, [empty, engine(stage, "B")]).ask() == answer(stage, "B")
    assert empty.begun == 2


def test_a_voice_that_never_stops_is_replaced() -> None:
    def endless(text: Any) -> Iterator[bytes]:
        while True:
            yield bytes(RATE * 10)

    assert Desk("clip", [Scripted("A", endless), engine("clip", "B")]).ask() == answer("clip", "B")


def test_a_clause_that_comes_in_drops_is_given_up_when_the_caller_has_waited_long_enough() -> None:
    def drips(text: Any) -> Iterator[bytes]:
        while True:
            gevent.sleep(0.005)
            yield bytes(2)

    with pytest.raises(ProviderError, match="no more of its answer in time"):
        Desk("clip", [Scripted("A", drips)], replace(FAST, tts=VoicePatience()), replace(LIMITS, tts=0.2)).ask()


def test_we_give_up_before_the_dialogue_does() -> None:
    assert [_limit(seconds) for seconds in (0.5, 5.0, 60.0)] == [0.45, 4.75, 59.75]


def test_text_without_a_word_is_silence_and_no_fault() -> None:
    quiet = Scripted("A", lambda text: iter(()))
    desk = Desk("tts", [quiet, engine("tts", "B")])
    assert list(desk.wrapped.speak("... ?!")) == []
    assert quiet.begun == 1


# Breakers and accounts


@pytest.mark.parametrize("stage", STAGES)
def test_after_enough_failures_no_call_waits_for_a_provider_any_more(stage: str) -> None:
    first = engine(stage, "A", Trouble(never=True))
    desk = Desk(stage, [first, engine(stage, "B")], settings=resting(failures=3))
    for _ in range(5):
        desk.wrapped = desk.new_call()
        assert desk.ask() == answer(stage, "B")
    assert asked(first) <= 3
    assert desk.shared._accounts.breaker(desk.shared.stage, first.identity, getattr(first, "voice", "")).is_open


def test_a_voice_that_does_not_exist_is_no_reason_to_leave_other_voices_of_its_model_alone() -> None:
    accounts = Accounts()
    gone, there = engine("tts", "A", Trouble(fail=9, blame="setup"), account="x"), engine("tts", "A", account="x")
    there.voice = "another"
    with pytest.raises(ProviderError):
        Desk("tts", [gone], accounts=accounts).ask()
    assert Desk("tts", [there, engine("tts", "B")], accounts=accounts).ask() == answer("tts", "A")
    with pytest.raises(ProviderError, match="rests"):
        Desk("tts", [gone], accounts=accounts).shared.preferred(CLAUSE)
    assert Desk("tts", [there], accounts=accounts).shared.preferred(CLAUSE)


def test_a_call_is_never_refused_because_everybody_rests() -> None:
    engines = [engine("llm", name, Trouble(fail=1, blame="setup")) for name in "AB"]
    desk = Desk("llm", engines)
    with pytest.raises(ProviderError):
        desk.ask()
    engines[0].trouble.fail = 1
    desk.wrapped = desk.new_call()
    with pytest.raises(ProviderError):
        desk.ask()
    assert [asked(each) for each in engines] == [2, 1]
    assert desk.ask() == answer("llm", "A")


def test_a_full_account_is_left_to_those_who_have_it() -> None:
    gate = Event()

    def slow(text: Any) -> Iterator[bytes]:
        gate.wait()
        yield bytes(320)

    first = Scripted("A", slow)
    first.identity = Identity("A", "vendor#1", 2)
    settings = replace(resting(failures=1), tts=replace(FAST.tts, first=5.0))
    desk = Desk("clip", [first, engine("clip", "B")], settings=settings)
    calls = [gevent.spawn(desk.new_call().whole, CLAUSE) for _ in range(5)]
    until(lambda: sum(call.ready() for call in calls) == 3)
    assert not desk.accounts.breaker("tts", first.identity, first.voice).is_open
    gate.set()
    gevent.joinall(calls, raise_error=True)
    assert first.begun == 2


def test_a_service_is_not_blamed_for_an_account_that_stays_full() -> None:
    only = Scripted("A", lambda text: iter(gevent.sleep, 0))
    only.identity = Identity("A", "vendor#1", 1)
    desk = Desk("clip", [only], settings=resting(failures=1), limits=replace(LIMITS, tts=0.03))
    with desk.accounts.slots("tts", only.identity).one("tts", 1, 0.0), pytest.raises(ProviderError, match="free slot"):
        desk.ask()
    assert only.begun == 0
    assert not desk.accounts.breaker("tts", only.identity, only.voice).is_open


def test_the_last_provider_waits_for_its_account_as_long_as_the_caller_does() -> None:
    gate = Event()

    def slow(text: Any) -> Iterator[bytes]:
        gate.wait()
        yield bytes(320)

    only = Scripted("A", slow)
    only.identity = Identity("A", "vendor#1", 1)
    desk = Desk("clip", [only])
    calls = [gevent.spawn(desk.new_call().whole, CLAUSE) for _ in range(2)]
    gevent.sleep(0.03)
    assert only.begun == 1
    gate.set()
    gevent.joinall(calls, raise_error=True)
    assert only.begun == 2


# Within a call


def test_a_model_comes_back_to_a_call_after_its_rest() -> None:
    clock = Clock()
    first = engine("llm", "A", Trouble(fail=2))
    desk = Desk("llm", [first, engine("llm", "B")], settings=resting(rest=15.0), accounts=Accounts(clock))
    assert [desk.ask(), desk.ask()] == [answer("llm", "B")] * 2
    assert asked(first) == 2
    clock.now += 15
    assert desk.ask() == answer("llm", "A")
    assert desk.switches == [("A", "B"), ("B", "A")]


def test_a_voice_changes_only_once_in_a_call() -> None:
    clock = Clock()
    first = engine("tts", "A", Trouble(fail=2))
    desk = Desk("tts", [first, engine("tts", "B")], accounts=Accounts(clock))
    assert desk.ask() == answer("tts", "B")
    clock.now += 10_000
    assert desk.ask() == answer("tts", "B")
    desk.wrapped = desk.new_call()
    assert desk.ask() == answer("tts", "A")


def test_a_voice_comes_back_where_its_replacement_fails_too() -> None:
    desk = Desk("clip", [engine("clip", "A", Trouble(fail=2)), engine("clip", "B", Trouble())])
    assert desk.ask() == answer("clip", "B")
    desk.engines[1]._tone.trouble.fail = 2
    assert desk.ask() == answer("clip", "A")
    assert desk.switches == [("A", "B"), ("B", "A")]


def test_a_request_at_fault_changes_nothing_for_the_next_one() -> None:
    desk = Desk("llm", [engine("llm", "A", Trouble(fail=1, blame="request")), engine("llm", "B")])
    assert [desk.ask(), desk.ask()] == [answer("llm", "B"), answer("llm", "A")]


def test_a_budget_that_is_spent_chooses_the_cheaper_engine() -> None:
    may: list[tuple[str, ...]] = [("A", "B")]
    desk = Desk("llm", [engine("llm", "A"), engine("llm", "B")], affordable=lambda stage, names: may[0])
    assert desk.ask() == answer("llm", "A")
    may[0] = ("B",)
    assert desk.ask() == answer("llm", "B")
    assert [(told.before, told.after, told.reason) for told in desk.told if isinstance(told, Switched)] == [
        ("A", "B", "the budget")
    ]


def test_a_fallbacks_voice_is_made_to_fit_the_rate_of_the_preferred_one() -> None:
    trouble = Trouble(fail=9)
    desk = Desk("clip", [Pulse(65, trouble, 24000), Pulse(66, Trouble(), 8000)])
    assert (desk.wrapped.rate, desk.wrapped.voice) == (24000, "pulse-65")
    assert abs(len(desk.ask()) - 3 * 4800) <= 20
    assert all(len(piece) % 2 == 0 for piece in desk.pieces)


def test_a_phrase_that_is_kept_is_the_preferred_voices_or_nobodys() -> None:
    desk = Desk("clip", [engine("clip", "A", Trouble(fail=2)), engine("clip", "B")])
    with pytest.raises(ProviderError):
        desk.shared.preferred(CLAUSE)
    assert b"".join(desk.shared.preferred(CLAUSE)) == answer("clip", "A")


def test_two_engines_of_one_name_are_told_apart() -> None:
    desk = Desk("llm", [engine("llm", "A", Trouble(fail=2), account="x"), engine("llm", "A", account="y")])
    assert desk.ask() == answer("llm", "A")
    assert desk.switches == [("A", "A (number 2)")]
    assert desk.used == ["A"]


# While the caller speaks


class Spoken:
    """A caller's sound, a piece at a time."""

    def __init__(self) -> None:
        self._pieces: Queue[bytes | None] = Queue()

    def say(self, *words: bytes) -> None:
        for word in words:
            self._pieces.put(word)

    def stop(self) -> None:
        self._pieces.put(None)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces.get, None)


def echo(audio: Any) -> Iterator[Transcript]:
    """Understands the sound as its text."""
    heard = b""
    for piece in audio:
        heard += piece
        yield partial(heard.decode())
    yield Transcript(heard.decode(), final=True)


def test_a_recogniser_that_fails_while_the_caller_speaks_is_replaced_at_once_with_the_sound_so_far() -> None:
    def dies(audio: Any) -> Iterator[Transcript]:
        for number, piece in enumerate(audio):
            if number == 2:
                raise ProviderError("stt", "gone")
            yield partial(f"({piece.decode()})")

    spoken, second = Spoken(), Scripted("B", echo)
    desk = Desk("stt", [Scripted("A", dies), second])
    listening = gevent.spawn(desk.ask, iter(spoken))
    spoken.say(b"one ", b"two ")
    until(lambda: len(desk.pieces) == 2)
    spoken.say(b"three ")
    until(lambda: desk.pieces[-1].text == "one two three ")
    assert not listening.ready()
    spoken.say(b"four")
    spoken.stop()
    assert listening.get(timeout=5.0) == "one two three four"
    assert [each.text for each in desk.pieces[:2]] == ["(one )", "(two )"]
    assert "(" not in "".join(each.text for each in desk.pieces[2:])


def test_a_silent_recogniser_is_no_fault_while_the_caller_speaks() -> None:
    def at_the_end(audio: Any) -> Iterator[Transcript]:
        yield Transcript(b"".join(audio).decode(), final=True)

    spoken, second = Spoken(), Scripted("B", echo)
    desk = Desk("stt", [Scripted("A", at_the_end), second])
    listening = gevent.spawn(desk.ask, iter(spoken))
    spoken.say(b"a long story")
    gevent.sleep(0.08)  # more than twice its patience
    spoken.stop()
    assert listening.get(timeout=5.0) == "a long story"
    assert second.begun == 0


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True)])
def test_recognisers_that_stream_and_that_do_not_replace_each_other(before: bool, after: bool) -> None:
    def dies(audio: Any) -> Iterator[Transcript]:
        next(audio)
        raise ProviderError("stt", "gone")
        yield

    spoken, second = Spoken(), Scripted("B", echo, streaming=after)
    desk = Desk("stt", [Scripted("A", dies, streaming=before), second])
    assert desk.wrapped.streaming is before
    listening = gevent.spawn(desk.ask, iter(spoken))
    spoken.say(b"one ")
    gevent.sleep(0.005)
    assert second.begun == 0 or after
    spoken.say(b"two")
    spoken.stop()
    assert listening.get(timeout=5.0) == "one two"
    assert desk.wrapped.streaming is after


def test_a_recogniser_that_waits_for_the_end_of_the_sound_leaves_its_account_to_others_meanwhile() -> None:
    def dies(audio: Any) -> Iterator[Transcript]:
        next(audio)
        raise ProviderError("stt", "gone")
        yield

    spoken = Spoken()
    patient = Scripted("B", echo, streaming=False)
    patient.identity = Identity("B", "x", at_once=1)
    desk = Desk("stt", [Scripted("A", dies), patient])
    listening = gevent.spawn(desk.ask, iter(spoken))
    spoken.say(b"one ")
    gevent.sleep(0.01)
    slots = desk.accounts.slots("stt", patient.identity)
    assert (slots.taken, listening.ready()) == (0, False)
    with slots.one("stt", 1, 0.0):
        spoken.stop()
        gevent.sleep(0.001)
    assert listening.get(timeout=5.0) == "one "


def test_a_thread_that_sends_the_sound_to_a_recogniser_that_was_given_up_comes_to_its_end() -> None:
    ended = Event()

    def sends(audio: Any) -> Iterator[Transcript]:
        def send() -> None:
            for _ in audio:
                pass
            ended.set()

        gevent.spawn(send)
        gevent.sleep(0)
        raise ProviderError("stt", "gone")
        yield

    spoken = Spoken()
    desk = Desk("stt", [Scripted("A", sends), Scripted("B", echo)])
    listening = gevent.spawn(desk.ask, iter(spoken))
    spoken.say(b"one")
    assert ended.wait(5.0)
    spoken.stop()
    assert listening.get(timeout=5.0) == "one"


def test_a_transcript_before_the_end_of_the_sound_is_the_answer() -> None:
    spoken = Spoken()
    desk = Desk("stt", [Scripted("A", lambda audio: iter([Transcript("enough", final=True)]))])
    assert desk.ask(iter(spoken)) == "enough"


def test_an_utterance_that_ended_long_ago_is_recognised_with_new_patience() -> None:
    feed = Feed(lambda: 0.0)
    feed.add(b"once upon a time")
    feed.end()
    assert Desk("stt", [Scripted("A", slowly)]).ask(iter(feed)) == "once upon a time"


def slowly(audio: Any) -> Iterator[Transcript]:
    gevent.sleep(0.005)
    yield from echo(audio)


def test_a_recogniser_that_has_answered_may_say_goodbye_in_peace() -> None:
    said: list[str] = []

    def polite(audio: Any) -> Iterator[Transcript]:
        try:
            yield Transcript("enough", final=True)
        finally:
            try:
                gevent.sleep(0.005)
                said.append("goodbye")
            except gevent.GreenletExit:
                said.append("killed")

    assert Desk("stt", [Scripted("A", polite)]).ask() == "enough"
    until(lambda: said)
    assert said == ["goodbye"]


# A second request beside the first


def hedging(*engines: Any) -> Desk:
    settings = replace(FAST, llm=replace(FAST.llm, first=5.0, hedge=0.005))
    return Desk("llm", engines, settings=settings)


def test_a_second_request_beside_a_slow_one_is_heard_where_it_begins_first() -> None:
    def stalls(messages: Any) -> Iterator[TextPart]:
        gevent.sleep(60)
        yield TextPart("never")

    slow = Scripted("A", stalls)
    desk = hedging(slow, engine("llm", "B"))
    assert desk.ask() == answer("llm", "B")
    until(lambda: slow.closed == 1)
    assert sorted(desk.used) == ["A", "B"]
    assert desk.switches == []  # it was slow once: the next request goes to it again


def test_a_slow_request_that_begins_first_is_heard_and_the_second_one_closed() -> None:
    gate = Event()

    def slow(messages: Any) -> Iterator[TextPart]:
        gate.wait()
        yield TextPart("at last")

    def never(messages: Any) -> Iterator[TextPart]:
        gate.set()
        gevent.sleep(60)
        yield TextPart("never")

    second = Scripted("B", never)
    desk = hedging(Scripted("A", slow), second)
    assert desk.ask() == "at last"
    until(lambda: second.closed == 1)


def test_of_two_that_begin_in_the_same_moment_one_is_heard() -> None:
    gate = Event()

    def waits(messages: Any) -> Iterator[TextPart]:
        gevent.spawn_later(0.02, gate.set)
        gate.wait()
        yield TextPart("one ")
        gevent.sleep(0.002)
        yield TextPart("answer")

    assert hedging(Scripted("A", waits), Scripted("B", waits)).ask() == "one answer"


def test_a_model_that_is_alone_is_asked_twice_itself() -> None:
    requests: list[int] = []

    def slow_once(messages: Any) -> Iterator[TextPart]:
        requests.append(1)
        gevent.sleep(60 if len(requests) == 1 else 0)
        yield TextPart("second")

    assert hedging(Scripted("A", slow_once)).ask() == "second"


def test_a_second_request_that_fails_leaves_the_first_alone() -> None:
    gate = Event()

    def slow(messages: Any) -> Iterator[TextPart]:
        gate.wait()
        yield TextPart("at last")

    def fails(messages: Any) -> Iterator[TextPart]:
        gevent.spawn_later(0.005, gate.set)
        raise ProviderError("llm", "no")
        yield

    assert hedging(Scripted("A", slow), Scripted("B", fails)).ask() == "at last"


def test_of_two_models_the_one_that_failed_midway_is_set_back_and_no_other() -> None:
    def midway(request: Any) -> Iterator[Any]:
        yield TextPart("half a ")
        raise ProviderError("llm", "B: gone", retryable=True)

    def slow_once(request: Any) -> Iterator[Any]:
        if first.begun == 1:
            gevent.sleep(10.0)
        yield TextPart("A says this")

    first, second = Scripted("A", slow_once), Scripted("B", midway)
    desk = hedging(first, second)
    with pytest.raises(ProviderError):
        desk.ask()
    assert desk.ask() == "A says this"


def test_a_quick_model_is_asked_once() -> None:
    second = engine("llm", "B")
    assert hedging(engine("llm", "A"), second).ask() == answer("llm", "A")
    assert asked(second) == 0


# What is told


def test_what_a_model_counted_is_told_and_said_by_nobody() -> None:
    usage = Usage(input_tokens=7, cached_tokens=3, output_tokens=2)
    desk = Desk("llm", [Scripted("A", lambda messages: iter([TextPart("hi"), UsagePart(usage)]))])
    assert desk.ask() == "hi"
    assert desk.pieces == [TextPart("hi")]
    assert desk.told == [Used("llm", "A", usage)]


def test_what_a_model_did_not_count_is_estimated() -> None:
    desk = Desk("llm", [engine("llm", "A")])
    desk.ask()
    assert desk.told == [Used("llm", "A", Usage(input_tokens=2, output_tokens=3, is_estimate=True))]


@pytest.mark.parametrize(
    "usage", [Usage(), Usage(input_tokens=10**18), Usage(output_tokens="9"), Usage(input_tokens=-1), "much", None]
)
def test_a_count_that_cannot_be_is_estimated(usage: Any) -> None:
    desk = Desk("llm", [Scripted("A", lambda messages: iter([TextPart("hello you"), UsagePart(usage)]))])
    desk.ask()
    assert desk.told == [Used("llm", "A", Usage(input_tokens=2, output_tokens=3, is_estimate=True))]


def test_a_voice_is_paid_by_the_character_and_a_recogniser_by_the_second() -> None:
    for stage, usage in (("clip", Usage(characters=len(CLAUSE))), ("stt", Usage(seconds=0.1))):
        desk = Desk(stage, [engine(stage, "A")])
        desk.ask()
        assert [told.usage for told in desk.told] == [usage]


@pytest.mark.parametrize("stage", STAGES)
def test_a_request_that_was_refused_costs_nothing_and_one_that_was_given_up_does(stage: str) -> None:
    for trouble, names in ((Trouble(fail=9), ["B"]), (Trouble(never=True), ["A", "B"])):
        desk = Desk(stage, [engine(stage, "A", trouble), engine(stage, "B")])
        desk.ask()
        assert desk.used == names


@pytest.mark.parametrize("stage", STAGES)
def test_what_the_end_of_a_call_cut_off_is_told_before_it_is_closed(stage: str) -> None:
    desk = Desk(stage, [engine(stage, "A", Trouble(stalls_after=1))])
    worker = gevent.spawn(desk._asked, None)
    until(lambda: desk.pieces or (stage == "clip" and asked(desk.engines[0])))
    worker.kill(block=False)
    desk.wrapped.close()
    assert desk.used == ["A"]
    gevent.sleep(0)
    assert desk.used == ["A"]


# What a call has of its own


class Bound:
    """A model that each call has for itself."""

    identity = Identity("bound")

    def __init__(self, log: list[str], call: str = "") -> None:
        self._log, self._call = log, call

    def for_call(self, context: CallContext) -> Bound:
        self._log.append(f"bound to {context.id}")
        return Bound(self._log, context.id)

    def prepare(self) -> None:
        self._log.append(f"prepared for {self._call}")

    def warm(self) -> None:
        self._log.append("warm")

    def close(self) -> None:
        self._log.append(f"closed for {self._call}")

    def reply(self, messages: Any, tools: Any = ()) -> Iterator[TextPart]:
        yield TextPart(f"for {self._call or 'nobody'}")


def test_a_call_has_its_own_of_a_provider_and_closes_what_it_was_given() -> None:
    log: list[str] = []
    desk = Desk("llm", [Bound(log)])
    assert desk.ask() == "for one"
    desk.wrapped.close()
    assert log == ["bound to one", "prepared for one", "closed for one"]


def test_a_fallback_is_bound_when_it_is_needed_and_closed_with_the_call() -> None:
    log: list[str] = []
    desk = Desk("llm", [engine("llm", "A", Trouble(fail=2)), Bound(log)])
    assert log == []
    assert desk.ask() == "for one"
    desk.wrapped.close()
    assert log == ["bound to one", "closed for one"]


def test_what_belongs_to_no_call_is_asked_as_it_is() -> None:
    log: list[str] = []
    desk = Desk("llm", [Bound(log)])
    desk.wrapped.close()
    log.clear()
    desk.shared.warm()
    assert list(desk.shared.reply(QUESTION)) == [TextPart("for nobody")]
    desk.shared.close()
    assert log == ["warm"]


def test_a_provider_that_cannot_be_prepared_is_asked_all_the_same() -> None:
    class Unprepared(Bound):
        def for_call(self, context: CallContext) -> Bound:
            return self

        def prepare(self) -> None:
            raise ProviderError("llm", "not now")

    desk = Desk("llm", [Unprepared([])])
    gevent.sleep(0)
    assert desk.ask() == "for nobody"
    assert nothing_is_left(10_000)


class Careless(Bound):
    """It cannot be bound to a call, or not be closed."""

    def __init__(self, log: list[str], name: str, *, binds: bool) -> None:
        super().__init__(log, name)
        self.identity = Identity(name)
        self._binds = binds

    def for_call(self, context: CallContext) -> Bound:
        if self._binds:
            return self
        raise KeyError(context.id)

    def close(self) -> None:
        super().close()
        raise RuntimeError("cannot be closed")


def test_a_provider_that_cannot_be_bound_to_a_call_has_failed() -> None:
    desk = Desk("llm", [Careless([], "A", binds=False), engine("llm", "B")])
    assert desk.ask() == "B says this"
    assert desk.switches == [("A", "B")]
    desk.wrapped.close()


def test_a_recogniser_that_cannot_be_bound_to_a_call_has_failed() -> None:
    class Unbound(Scripted):
        def for_call(self, context: CallContext) -> Any:
            raise KeyError(context.id)

    desk = Desk("stt", [Unbound("A", lambda audio: iter([])), engine("stt", "B")])
    assert desk.wrapped.streaming
    assert desk.ask() == answer("stt", "B")


def test_a_provider_that_cannot_be_closed_leaves_nobody_else_open() -> None:
    log: list[str] = []
    desk = Desk("llm", [Careless(log, "A", binds=True), Careless(log, "B", binds=True)])
    desk.ask()
    desk.wrapped._choice._candidates[1].provider.prepare()
    desk.wrapped.close()
    assert log[-2:] == ["closed for A", "closed for B"]


# A provider that does not stop


def stubborn(request: Any) -> Iterator[Any]:
    """It goes on, whatever it is told."""
    while True:
        try:
            gevent.sleep(0.001)
            yield TextPart("and another thing ")
        except gevent.GreenletExit:
            continue


def hanging(request: Any) -> Iterator[Any]:
    """It begins its answer, and never ends saying goodbye."""
    try:
        yield TextPart("hello")
        gevent.sleep(1000.0)
    finally:
        Event().wait()


@pytest.mark.parametrize("make", [stubborn, hanging])
def test_a_provider_that_does_not_stop_gives_its_slot_back(
    make: Callable[[Any], Iterator[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esl_agent.providers.attempt.GOODBYE", 0.01)
    provider = Scripted("A", make)
    provider.identity = Identity("A", "account", at_once=1)
    desk = Desk("llm", [provider])
    reply = desk.wrapped.reply(QUESTION)
    next(reply)
    reply.close()
    slots = desk.accounts.slots("llm", provider.identity)
    until(lambda: not slots.taken)


def test_a_call_ends_though_one_of_its_providers_never_ends_being_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Bound):
        def for_call(self, context: CallContext) -> Bound:
            return self

        def close(self) -> None:
            super().close()
            Event().wait()

    monkeypatch.setattr("esl_agent.providers.choice.CLOSING", 0.01)
    log: list[str] = []
    desk = Desk("llm", [Slow(log)])
    with gevent.Timeout(5.0, AssertionError("it hangs")):
        desk.wrapped.close()
    assert log[-1] == "closed for "
