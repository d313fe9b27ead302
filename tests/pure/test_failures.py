"""Each stage dies at each point: what the caller hears, and when. docs/failures.md tells it in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from esl_agent.audio.pcm import SoundStream
from esl_agent.config import load
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Message, ToolCall
from esl_agent.dialogue.clauses import cut
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import (
    CascadeSettings,
    EarlyReplySettings,
    LimitSettings,
    Phrases,
)
from esl_agent.dialogue.transcript import UNHEARD
from tests.pure.line import REPLY, Line, Script
from tests.pure.test_cascade import greeted, replying, world
from tests.pure.test_tool_turns import asked, calls, returns
from tests.pure.world import QUIET, RATE, VOICED, World, sound

#: Nobody is left in silence for longer than this after a failure.
SENSIBLE = 3.0
HALF = "We are open from nine to five. On Satur"
APOLOGY, FILLER = Phrases().apology, Phrases().filler[0]


def spoken(it: World) -> list[str]:
    return [clause.text for clause in it.all(act.Synthesise)]


def told(it: World, text: str) -> list[act.Action]:
    ask = it.last(act.AskModel)
    return it.post(ev.ReplyText(ask.turn, text, ask.ask))


def dies(it: World, *, retryable: bool = True) -> list[act.Action]:
    """The model that was asked last fails."""
    ask = it.last(act.AskModel)
    return it.post(ev.ProviderFailed("llm", ask.turn, "gone", retryable, ask=ask.ask))


def ends(it: World) -> None:
    ask = it.last(act.AskModel)
    it.post(ev.ReplyEnded(ask.turn, ask=ask.ask))


def questioned(**changes) -> World:
    it = greeted(**changes)
    it.caller_says("When are you open?")
    return it


# A model that fails in the middle of its answer


def test_a_model_that_fails_midway_is_asked_for_the_rest_while_what_it_finished_is_spoken():
    it = questioned()
    told(it, HALF)
    first = it.last(act.AskModel)
    dies(it)
    second = it.last(act.AskModel)
    assert (second.turn, second.ask) == (first.turn, 1)
    assert second.messages[-3:] == (
        Message("user", "When are you open?"),
        Message("assistant", "We are open from nine to five."),
        Message("user", UNHEARD),
    )
    told(it, "On Saturday we close at noon.")
    ends(it)
    it.hear_all()
    assert spoken(it)[1:] == ["We are open from nine to five.", "On Saturday we close at noon."]
    assert it.phase is Phase.LISTENING
    assert it.dialogue.transcript.messages()[-1].content == (
        "We are open from nine to five. On Saturday we close at noon."
    )
    assert it.last(act.Measured).agent.endswith("at noon.")


def test_a_whole_sentence_at_the_break_is_spoken_though_nothing_follows_it():
    it = questioned()
    told(it, 'We are open. He said "yes!"')
    dies(it)
    assert it.last(act.AskModel).messages[-2].content == 'We are open. He said "yes!"'


@pytest.mark.parametrize("text", ["We are op", "It costs 3.", "Please ask Dr.", "Yes, we"])
def test_a_fragment_is_worse_than_nothing_and_asked_for_again(text):
    it = questioned()
    told(it, text)
    dies(it)
    again = it.last(act.AskModel)
    assert len(it.all(act.AskModel)) == 2
    assert again.messages[-1] == Message("user", "When are you open?")
    assert spoken(it) == ["Hello."]


def test_what_a_model_that_was_given_up_writes_late_is_never_spoken():
    it = questioned()
    told(it, HALF)
    old = it.last(act.AskModel)
    dies(it)
    for late in (
        ev.ReplyText(old.turn, "day we. Late words are here. ", old.ask),
        ev.ToolCalled(old.turn, ToolCall("1", "hang_up"), old.ask),
        ev.HangUpWanted(old.turn, old.ask),
        ev.ProviderFailed("llm", old.turn, "gone", ask=old.ask),
        ev.ReplyEnded(old.turn, ask=old.ask),
    ):
        it.post(late)
    assert len(it.all(act.AskModel)) == 2
    told(it, "On Saturday we close at noon.")
    ends(it)
    it.hear_all()
    assert spoken(it)[-1] == "On Saturday we close at noon."
    assert not it.all(act.HangUp)


def test_a_model_that_always_fails_midway_is_given_up_after_its_words_were_heard():
    it = questioned(limits=LimitSettings(failures=3))
    for number in range(3):
        told(it, f"Sentence {number} is here. And")
        dies(it)
    assert len(it.all(act.AskModel)) == 3
    assert it.phase is Phase.THINKING
    it.hear_all()
    assert spoken(it)[1:4] == [f"Sentence {number} is here." for number in range(3)]
    assert spoken(it)[4].startswith("I am sorry, I cannot go on")
    assert it.phase is Phase.OVER


def test_an_answer_that_was_heard_in_the_end_forgives_its_failures():
    it = questioned(limits=LimitSettings(failures=2))
    for _ in range(3):
        told(it, HALF)
        dies(it)
        told(it, "That is all.")
        ends(it)
        it.hear_all()
        assert it.phase is Phase.LISTENING
        it.caller_says("When are you open?")


def test_a_rest_that_does_not_come_is_apologised_for_when_the_rest_was_heard_and_asked_for_again():
    it = questioned(limits=LimitSettings(retries=1))
    told(it, HALF)
    dies(it)
    dies(it)
    assert len(it.all(act.AskModel)) == 3
    assert it.last(act.AskModel).messages[-1].content == UNHEARD
    dies(it)
    assert len(it.all(act.AskModel)) == 3
    it.hear_all()
    assert spoken(it)[1:] == ["We are open from nine to five.", APOLOGY.split(". ")[0] + ".", "One moment please."]
    assert [m.content for m in it.last(act.AskModel).messages[-2:]] == ["We are open from nine to five.", UNHEARD]
    assert len(it.all(act.AskModel)) == 4


def test_a_caller_who_takes_the_floor_meanwhile_is_answered_with_what_they_heard():
    it = questioned()
    told(it, "We are open from nine to five. On Saturday we close at noon. And")
    turn = it.last(act.AskModel).turn
    it.voice_all(2.0)
    it.voice_all(2.0)
    dies(it)
    it.frames(VOICED, 1.0)
    it.post(ev.Played(turn, 0, 1.0))
    it.post(ev.Played(turn, 1, 0.0))
    it.frames(QUIET, 1.0)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "Stop."))
    assert [m.content for m in it.last(act.AskModel).messages[-2:]] == ["We are open", "Stop."]


def test_a_wish_to_hang_up_is_granted_though_the_model_fails_behind_it():
    it = questioned()
    told(it, "Goodbye to you. I")
    it.post(ev.HangUpWanted(it.last(act.AskModel).turn))
    dies(it)
    assert len(it.all(act.AskModel)) == 1
    it.hear_all()
    assert spoken(it)[1:] == ["Goodbye to you."]
    assert it.all(act.HangUp) == [act.HangUp("NORMAL_CLEARING")]


def test_a_wish_to_hang_up_without_a_word_gets_the_goodbye():
    it = questioned()
    it.post(ev.HangUpWanted(it.last(act.AskModel).turn))
    dies(it)
    it.hear_all()
    assert spoken(it)[-1] == "Goodbye."
    assert it.phase is Phase.OVER


def test_a_model_that_fails_in_the_answer_to_its_tool_does_not_run_it_again():
    it = asked()
    calls(it, "order", number="1")
    returns(it, "sent")
    told(it, "It was sent. It will")
    dies(it)
    ask = it.last(act.AskModel)
    assert [(m.role, m.content) for m in ask.messages[-4:]] == [
        ("assistant", "I will look."),
        ("tool", "sent"),
        ("assistant", "It was sent."),
        ("user", UNHEARD),
    ]
    told(it, "It will come.")
    ends(it)
    it.hear_all()
    assert len(it.all(act.RunTool)) == 1
    assert spoken(it) == ["I will look.", "It was sent.", "It will come."]


def test_words_before_a_tool_are_heard_though_the_model_fails_behind_it():
    it = asked()
    calls(it, "order", say="One moment.", number="1")
    returns(it, "sent")
    dies(it)
    assert it.last(act.AskModel).messages[-1] == Message("tool", "sent", tool_call_id="1")
    assert not it.all(act.AbandonTurn)
    told(it, "It was sent.")
    ends(it)
    it.hear_all()
    assert spoken(it) == ["One moment.", "I will look.", "It was sent."]
    assert len(it.all(act.RunTool)) == 1


def test_a_guess_that_fails_is_noticed_by_nobody():
    it = greeted(early_reply=EarlyReplySettings(enabled=True), limits=LimitSettings(failures=1))
    it.frames(VOICED, 0.6)
    it.post(ev.Transcribed(it.last(act.OpenUtterance).utterance, "when are you open", final=False))
    it.frames(QUIET, 0.3)
    told(it, HALF)
    dies(it)
    assert it.phase is Phase.HEARING
    it.frames(QUIET, 1.0)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "When are you open?"))
    assert it.last(act.AskModel).messages[-1].role == "user"
    told(it, REPLY)
    ends(it)
    it.hear_all()
    assert spoken(it)[-3:] == cut(REPLY)
    assert not any("problem" in text for text in spoken(it))


# A voice that fails


def streamed(seconds: float) -> SoundStream:
    stream = SoundStream(RATE)
    stream.append(bytes(int(RATE * seconds) * 2))
    return stream


def half_a_clip(*, is_ended: bool) -> tuple[World, int, SoundStream]:
    """A clip of some four seconds is being made, and plays; its voice fails after one of them."""
    it = replying("One two three four five six seven eight nine ten eleven twelve thirteen.", streams=True)
    turn = it.last(act.AskModel).turn
    stream = streamed(0.2)
    it.post(ev.Synthesised(turn, 0, stream))
    stream.append(bytes(int(RATE * 0.8) * 2))
    if is_ended:
        stream.end()
    it.post(ev.ProviderFailed("tts", turn, "gone", True, clip=0))
    return it, turn, stream


def test_half_a_clip_is_heard_to_where_it_goes_and_counts_no_further():
    it, turn, stream = half_a_clip(is_ended=True)
    assert not it.all(act.StopPlayback)
    assert spoken(it)[2:] == []
    it.now += 1.0
    it.post(ev.Played(turn, 0, stream.seconds))
    assert spoken(it)[2] == APOLOGY.split(". ")[0] + "."
    heard = it.dialogue.transcript.agent_text(turn)
    assert heard == "One two three"
    it.hear_all()
    assert [m.content for m in it.last(act.AskModel).messages[-2:]] == [heard, UNHEARD]


def test_a_voice_that_is_slower_than_expected_does_not_count_as_said_where_it_breaks():
    it, turn, stream = replying("One two three.", streams=True), 2, streamed(0.2)
    it.post(ev.Synthesised(turn, 0, stream))
    stream.append(bytes(RATE * 4))
    stream.end()
    it.post(ev.ProviderFailed("tts", turn, "gone", True, clip=0))
    it.post(ev.Played(turn, 0, stream.seconds))
    assert it.dialogue.transcript.agent_text(turn) == "One two"


def test_a_stream_that_stalls_is_cut_and_apologised_for():
    it, turn, _ = half_a_clip(is_ended=False)
    assert it.all(act.StopPlayback)
    assert spoken(it)[2] == APOLOGY.split(". ")[0] + "."
    it.post(ev.Played(turn, 0, 1.0))
    it.hear_all()
    assert it.last(act.AskModel).messages[-1].content == UNHEARD


def test_the_clauses_before_the_one_without_a_voice_are_heard_to_their_end():
    it = replying("One is here. Two is here. Three is here.", limits=LimitSettings(retries=0))
    turn = it.last(act.AskModel).turn
    it.post(ev.Synthesised(turn, 0, sound(2.0)))
    it.post(ev.Synthesised(turn, 1, sound(2.0)))
    it.post(ev.ProviderFailed("tts", turn, "down", clip=2))
    assert not it.all(act.StopPlayback)
    it.post(ev.Played(turn, 0, 2.0))
    assert spoken(it)[-1] == "Three is here."
    it.post(ev.Played(turn, 1, 2.0))
    it.hear_all()
    assert [m.content for m in it.last(act.AskModel).messages[-2:]] == ["One is here. Two is here.", UNHEARD]
    assert act.AbandonTurn(turn) in it.all(act.AbandonTurn)


def test_a_tool_that_answers_while_a_broken_answer_is_heard_to_its_end_asks_nobody():
    it = asked(limits=LimitSettings(retries=0))
    calls(it, "order", say="One moment.", number="1")
    turn = it.last(act.AskModel).turn
    it.post(ev.Synthesised(turn, 0, sound(2.0)))
    it.post(ev.ProviderFailed("tts", turn, "down", clip=1))
    returns(it, "sent")
    assert len(it.all(act.AskModel)) == 1
    it.post(ev.Played(turn, 0, 2.0))
    it.hear_all()
    assert it.last(act.AskModel).messages[-1] == Message("tool", "sent", tool_call_id="1")
    assert len(it.all(act.RunTool)) == 1


def test_last_words_are_heard_as_far_as_they_have_a_voice():
    it = world(limits=LimitSettings(retries=0), phrases=Phrases(greeting="", ended="I have to go. Goodbye."))
    it.answer()
    it.post(ev.EndRequested("drain"))
    closing = it.last(act.Synthesise)
    it.post(ev.Synthesised(closing.turn, 0, sound(2.0)))
    it.post(ev.ProviderFailed("tts", closing.turn, "down", clip=1))
    assert not it.all(act.HangUp)
    it.post(ev.Played(closing.turn, 0, 2.0))
    assert it.all(act.HangUp)


# A recogniser that fails


def test_a_caller_whose_recogniser_fails_may_finish_before_they_are_asked_to_say_it_again():
    it = greeted(limits=LimitSettings(retries=0))
    it.frames(VOICED, 0.6)
    it.post(ev.ProviderFailed("stt", it.last(act.OpenUtterance).utterance, "died"))
    assert it.phase is Phase.HEARING
    it.frames(VOICED, 1.0)
    assert spoken(it) == ["Hello."]
    it.frames(QUIET, 1.0)
    assert "did not catch" in spoken(it)[1]


def test_a_recogniser_that_fails_again_and_again_leaves_no_caller_in_silence():
    it = greeted(limits=LimitSettings(retries=0, failures=5))
    for number in range(5):
        it.frames(VOICED, 0.6)
        it.frames(QUIET, 2.0)
        it.post(ev.ProviderFailed("stt", it.last(act.CloseUtterance).utterance, "died"))
        it.hear_all()
        assert any(("did not catch" if number < 4 else "cannot go on") in text for text in spoken(it)[-3:])
    assert it.phase is Phase.OVER


def test_a_caller_waits_for_their_words_with_a_filler_and_is_answered_over_its_end():
    it = greeted()
    it.frames(VOICED, 0.6)
    it.frames(QUIET, 1.0)
    ended = it.now
    it.tick()
    assert it.now - ended < 1.5
    assert spoken(it)[1] == FILLER
    it.voice_all(2.0)
    assert it.last(act.Play)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "When are you open?"))
    assert it.last(act.AskModel).messages == (
        Message("system", "Be kind."),
        Message("assistant", "Hello."),
        Message("user", "When are you open?"),
    )
    assert not it.all(act.StopPlayback)


def test_a_caller_who_speaks_over_a_filler_is_listened_to_whatever_they_say():
    it = greeted()
    it.frames(VOICED, 0.6)
    it.frames(QUIET, 1.0)
    it.tick()
    it.voice_all(2.0)
    filler = it.last(act.Play)
    it.frames(VOICED, 0.6)
    assert it.all(act.StopPlayback)
    assert it.phase is Phase.HEARING
    it.post(ev.Played(filler.turn, filler.clip, 0.3))
    it.frames(QUIET, 1.0)
    first, second = (each.utterance for each in it.all(act.CloseUtterance))
    it.post(ev.Transcribed(first, "When are you open?"))
    it.post(ev.Transcribed(second, "mhm"))
    assert it.last(act.AskModel).messages[-1].content == "When are you open? mhm"


# A model or a voice that is slow in the middle of an answer


def test_an_answer_that_stops_in_the_middle_is_covered_for_once():
    it = questioned()
    told(it, "One is here. Two")
    it.hear_all()
    heard = it.now
    it.tick()
    assert it.now - heard < 1.6
    assert spoken(it)[1:] == ["One is here.", FILLER]
    it.hear_all()
    told(it, " is here. Three")
    it.hear_all()
    told(it, " is here.")
    ends(it)
    it.hear_all()
    assert spoken(it)[1:] == ["One is here.", FILLER, "Two is here.", "Three is here."]


def test_a_caller_who_waits_long_is_told_so_three_times_at_most():
    it = questioned(limits=LimitSettings(llm=60.0))
    since = it.now
    for number in range(3):
        it.tick()
        assert spoken(it)[1:] == [FILLER] * (number + 1)
        assert it.now - since <= 3.001
        it.hear_all()
        since = it.now
    it.tick()
    assert it.now - since > 30.0


# Every death, in time


def line(script: Script, *, streams: bool = False, **changes) -> Line:
    it = Line(dataclasses.replace(CascadeSettings(), **changes), script, streams=streams)
    it.answer()
    it.run(5.0)
    it.ask()
    return it


def llm_given_up(after: float):
    """As one that is alone in its list fails: its own tries are used up."""
    return lambda ask: [(after, ev.ProviderFailed("llm", ask.turn, "gone", False, ask=ask.ask))]


def llm_hangs(ask: act.AskModel) -> list[tuple[float, ev.Event]]:
    """Not a word, and no failure either: the dialogue's own limit is what ends it."""
    return []


def stt_fails(after: float):
    return lambda number: [(after, ev.ProviderFailed("stt", number, "gone", True))]


def llm_fails(after: float, text: str = ""):
    def answer(ask: act.AskModel) -> list[tuple[float, ev.Event]]:
        words = [(min(0.5, after), ev.ReplyText(ask.turn, text, ask.ask))] if text else []
        return [*words, (after, ev.ProviderFailed("llm", ask.turn, "gone", True, ask=ask.ask))]

    return answer


def tts_fails(after: float):
    return lambda clause: [(after, ev.ProviderFailed("tts", clause.turn, "gone", True, clip=clause.clip))]


def tts_breaks(after: float, seconds: float = 0.8):
    """Some of a clause's sound comes after 0.3 s, and no more."""
    return lambda clause: [
        (0.3, ev.Synthesised(clause.turn, clause.clip, streamed(seconds))),
        (0.3 + after, ev.ProviderFailed("tts", clause.turn, "gone", True, clip=clause.clip)),
    ]


def tts_works(clause: act.Synthesise):
    return [(0.4, ev.Synthesised(clause.turn, clause.clip, sound(0.06 * len(clause.text))))]


DEATHS = {
    "recogniser at once": Script(stt=[stt_fails(0.0)]),
    "recogniser silent": Script(stt=[stt_fails(5.0)]),
    "recogniser silent twice": Script(stt=[stt_fails(5.0), stt_fails(5.0)]),
    "model before its first word": Script(llm=[llm_fails(0.1)]),
    "model silent": Script(llm=[llm_fails(8.0)]),
    "model silent twice": Script(llm=[llm_fails(8.0), llm_fails(8.0)]),
    "model silent, alone in its list": Script(llm=[llm_given_up(7.75)]),
    "model silent for ever, alone in its list, dead": Script(llm=[llm_given_up(7.75)] * 20),
    "model hangs": Script(llm=[llm_hangs]),
    "model hangs for ever": Script(llm=[llm_hangs] * 20),
    "model dead": Script(llm=[llm_fails(0.1)] * 20),
    "model in its first clause": Script(llm=[llm_fails(1.0, "We are")]),
    "model behind a clause": Script(llm=[llm_fails(1.0, HALF)]),
    "model stalls behind a clause": Script(llm=[llm_fails(4.5, HALF)]),
    "model stalls behind a clause, and again": Script(llm=[llm_fails(4.5, HALF), llm_fails(4.5)]),
    "model stalls behind a clause for ever": Script(llm=[llm_fails(4.5, HALF)] * 20),
    "voice before its first sound": Script(tts=[tts_fails(0.1)]),
    "voice silent": Script(tts=[tts_fails(5.0)]),
    "voice silent twice": Script(tts=[tts_fails(5.0), tts_fails(5.0)]),
    "voice in its second clause": Script(tts=[tts_works, tts_fails(5.0), tts_fails(5.0)]),
    "voice dead": Script(tts=[tts_fails(0.1)] * 40),
    "stream breaks": Script(tts=[tts_breaks(0.2)]),
    "stream stalls": Script(tts=[tts_breaks(1.5)]),
    "stream breaks in the second clause": Script(tts=[tts_works, tts_breaks(1.5)]),
}


@pytest.mark.parametrize("name", DEATHS)
def test_after_every_failure_the_caller_hears_something_within_three_seconds(name):
    deaths = DEATHS[name]
    script = Script(list(deaths.stt), list(deaths.llm), list(deaths.tts))
    it = line(script, streams="stream" in name)
    asked_at = it.dialogue._ear.last_voiced
    it.run(120.0)
    assert it.failed_at or "hangs" in name
    for at in (asked_at, *it.failed_at):
        assert it.silence_after(at) <= SENSIBLE, f"{at - asked_at:.1f} s after the question: {it.heard}"
    assert it.longest_silence(asked_at) <= SENSIBLE + 0.001, it.heard
    if "dead" in name or "for ever" in name:
        assert it.phase is Phase.OVER
        assert Phrases().failure.startswith(it.words[-3])
    elif name == "recogniser silent twice":
        assert "I am sorry, I did not catch that." in it.words
    else:
        assert any(REPLY.endswith(words) for words in it.words), f"the rest was never said: {it.words}"


@pytest.mark.parametrize("hangs", [llm_given_up(7.75), llm_fails(8.0), llm_hangs])
def test_a_caller_of_the_demo_s_number_is_told_of_a_hung_model_all_the_time_that_it_hangs(hangs):
    did = load(Path(__file__).parents[2] / "conf", environment={}).find("5000")
    assert did is not None
    it = Line(did.cascade, Script(llm=[hangs] * 20))
    it.answer()
    it.run(8.0)
    it.ask()
    asked_at = it.dialogue._ear.last_voiced
    it.run(120.0)
    assert it.words.count(FILLER) >= 6
    assert it.phase is Phase.OVER
    assert it.longest_silence(asked_at) <= SENSIBLE + 0.001, it.heard
