"""The demo's verdict on a call, for calls that did not go as they should."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from esl_agent.audio.pcm import Sound
from esl_agent.demo.findings import verdicts
from esl_agent.demo.resumed import joint, only
from esl_agent.demo.story import Handover, Pause, tell
from esl_agent.demo.voice import Samples, listen
from esl_agent.journal import Note, Private
from esl_agent.testing.caller import Spoken

RATE = 8000


def notes(*, stops_at: float, hang_up: bool = True) -> list[Note]:
    """A caller asks at 3 s, is answered from 5 s, talks over that at 7 s, and hears a goodbye from 10 s to 12 s."""
    found = [
        Note(0.0, "clause", {"turn": 1, "clip": 0, "text": Private("Hello.")}),
        Note(0.0, "began", {"turn": 1, "clip": 0}),
        Note(2.0, "played", {"turn": 1, "clip": 0, "heard": 2.0}),
        Note(2.0, "turn", {"turn": 1, "kind": "greeting", "interrupted": False, "agent": Private("Hello.")}),
        Note(3.1, "speech", {"utterance": 1}),
        Note(4.7, "speech_ended", {"utterance": 1}),
        Note(4.8, "caller", {"utterance": 1, "text": Private("weasels")}),
        Note(4.9, "clause", {"turn": 2, "clip": 0, "text": Private("Oh dear me.")}),
        Note(5.0, "began", {"turn": 2, "clip": 0}),
        Note(stops_at, "stop_playback", {}),
        Note(stops_at, "speech", {"utterance": 2}),
        Note(stops_at, "played", {"turn": 2, "clip": 0, "heard": 2.0}),
        Note(
            stops_at, "turn", {"turn": 2, "kind": "reply", "interrupted": True, "agent": Private("Oh"), "latency": 1.0}
        ),
        Note(9.0, "speech_ended", {"utterance": 2}),
        Note(9.1, "caller", {"utterance": 2, "text": Private("goodbye")}),
        Note(9.2, "clause", {"turn": 3, "clip": 0, "text": Private("Bye.")}),
        Note(10.0, "began", {"turn": 3, "clip": 0}),
        Note(12.0, "played", {"turn": 3, "clip": 0, "heard": 2.0}),
        Note(
            12.0, "turn", {"turn": 3, "kind": "reply", "interrupted": False, "agent": Private("Bye."), "latency": 1.0}
        ),
    ]
    return [*found, Note(12.0, "hang_up", {"cause": "NORMAL_CLEARING"})] if hang_up else found


SPOKEN = [Spoken("tt-weasels", 3.0, 4.0), Spoken("vm-goodbye", 7.0, 8.3, "barge_in")]


def recorded(path: Path, caller: list[tuple[float, float]], agent: list[tuple[float, float]]) -> Path:
    """A tone on each side at the given times, in 12.5 s."""
    sides = []
    for times in (caller, agent):
        at = np.arange(int(12.5 * RATE)) / RATE
        on = sum(((at >= began) & (at < ended) for began, ended in times), np.zeros(len(at), bool))
        sides.append(np.where(on, 5000 * np.sin(2 * np.pi * 440 * at), 0))
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        file.writeframes(np.stack(sides, axis=1).astype("<i2").tobytes())
    return path


CALLER = [(3.0, 4.0), (7.0, 8.3)]
AGENT = [(0.0, 2.0), (5.0, 7.2), (10.0, 12.0)]


def judged(
    path: Path,
    caller: list[tuple[float, float]] = CALLER,
    agent: list[tuple[float, float]] = AGENT,
    wanted: int = 2,
    hang_up: bool = True,
) -> list[bool]:
    story = tell(notes(stops_at=7.15, hang_up=hang_up), SPOKEN, 12.5)
    return [is_so for is_so, _ in verdicts(story, listen(recorded(path, caller, agent)), wanted)]


def test_a_call_that_went_well_passes(tmp_path: Path) -> None:
    assert judged(tmp_path / "call.wav") == [True] * 4


def test_fewer_answers_than_wanted_fail(tmp_path: Path) -> None:
    assert judged(tmp_path / "call.wav", wanted=3)[0] is False


def test_an_agent_that_goes_on_talking_was_not_interrupted_whatever_the_journal_says(tmp_path: Path) -> None:
    assert judged(tmp_path / "call.wav", agent=[(0.0, 2.0), (5.0, 9.0), (10.0, 12.0)])[1] is False


@pytest.mark.parametrize(("caller", "agent"), [([], AGENT), (CALLER, [])])
def test_a_side_that_is_not_on_the_recording_fails(
    tmp_path: Path, caller: list[tuple[float, float]], agent: list[tuple[float, float]]
) -> None:
    assert judged(tmp_path / "call.wav", caller, agent)[2] is False


def test_a_goodbye_that_is_not_on_the_recording_was_not_heard(tmp_path: Path) -> None:
    assert judged(tmp_path / "call.wav", agent=AGENT[:2])[3] is False


def test_last_words_that_never_played_were_not_heard(tmp_path: Path) -> None:
    lost = [
        Note(12.0, "clause", {"turn": 4, "clip": 0, "text": Private("Farewell.")}),
        Note(12.0, "turn", {"turn": 4, "kind": "reply", "interrupted": False, "agent": Private("")}),
    ]
    story = tell([*notes(stops_at=7.15, hang_up=False), *lost, Note(12.1, "hang_up", {})], SPOKEN, 12.5)
    found = verdicts(story, listen(recorded(tmp_path / "call.wav", CALLER, AGENT)), 2)
    assert found[3][0] is False


def test_a_call_that_the_agent_did_not_end_fails(tmp_path: Path) -> None:
    assert judged(tmp_path / "call.wav", hang_up=False)[3] is False


def test_a_pause_between_words_is_not_silence(tmp_path: Path) -> None:
    path = recorded(tmp_path / "call.wav", [], [(0.0, 1.0), (1.2, 2.0)])
    assert listen(path).agent.silent_from(0.5) == pytest.approx(2.0, abs=0.02)


# The agent yields, and goes on


def ended(at: float, heard: str, *, interrupted: bool = False) -> Note:
    return Note(at, "turn", {"turn": 1, "kind": "reply", "interrupted": interrupted, "agent": Private(heard)})


def murmured(*, resumed: bool) -> list[Note]:
    """A turn from 1 s to 6 s, over which the caller says "oh" at 3 s."""
    found = [
        Note(0.9, "clause", {"turn": 1, "clip": 0, "text": Private("A long story.")}),
        Note(1.0, "began", {"turn": 1, "clip": 0}),
        Note(3.2, "stop_playback", {}),
        Note(3.2, "speech", {"utterance": 1}),
        Note(3.2, "yield", {"turn": 1}),
        Note(3.3, "played", {"turn": 1, "clip": 0, "heard": 2.2}),
        Note(3.9, "speech_ended", {"utterance": 1}),
    ]
    if not resumed:
        return [*found, ended(4.0, "A long", interrupted=True)]
    return [
        *found,
        Note(4.0, "caller", {"utterance": 1, "text": Private("oh")}),
        Note(4.0, "resumed", {"turn": 1}),
        Note(4.1, "began", {"turn": 1, "clip": 0}),
        Note(4.1, "clause", {"turn": 1, "clip": 1, "text": Private("The end.")}),
        Note(5.9, "played", {"turn": 1, "clip": 0, "heard": 4.0}),
        ended(6.0, "A long story. The end."),
    ]


OH = [Spoken("digits-oh", 3.0, 3.5, "over")]


def speech(seconds: float, seed: int = 1) -> Samples:
    """Something that is nowhere like itself."""
    return np.rint(np.random.default_rng(seed).normal(0.0, 3000.0, round(seconds * RATE)))


def written(path: Path, agent: Samples) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        file.writeframes(np.stack([np.zeros(len(agent)), agent], axis=1).astype("<i2").tobytes())
    return path


def with_pause(path: Path, stops: float, goes_on: float) -> Path:
    """The agent tells 4 s from 1 s on, is silent from 3.2 s to 4.1 s, and has told ``stops`` of them, goes on there."""
    told = speech(4.0)
    until, onwards = round(stops * RATE), round(goes_on * RATE)
    before, pause, after = (np.zeros(round(seconds * RATE)) for seconds in (3.2 - stops, 0.9, 1.0))
    return written(path, np.concatenate([before, told[:until], pause, told[onwards:], after]))


def verdict_on_oh(path: Path, *, resumed: bool = True) -> tuple[bool, str]:
    story = tell(murmured(resumed=resumed), OH, 7.0)
    return verdicts(story, listen(path), 0, {(1, 0): speech(4.0)})[2]


def test_an_agent_that_goes_on_where_it_stopped_passes(tmp_path: Path) -> None:
    is_so, text = verdict_on_oh(with_pause(tmp_path / "call.wav", 2.2, 2.2))
    assert is_so, text
    assert "silent for 0.90 s" in text
    assert "0.00 s lost" in text


@pytest.mark.parametrize(("goes_on", "what"), [(2.6, "0.40 s are missing"), (1.7, "0.50 s were said twice")])
def test_an_agent_that_goes_on_elsewhere_fails(tmp_path: Path, goes_on: float, what: str) -> None:
    is_so, text = verdict_on_oh(with_pause(tmp_path / "call.wav", 2.2, goes_on))
    assert not is_so
    assert what in text


def test_an_agent_that_falls_silent_for_a_murmur_and_stays_so_fails(tmp_path: Path) -> None:
    assert verdict_on_oh(with_pause(tmp_path / "call.wav", 2.2, 2.2), resumed=False)[0] is False


def test_silence_between_words_is_not_missed(tmp_path: Path) -> None:
    told = np.concatenate([speech(2.0), np.zeros(RATE), speech(1.0, seed=2)])
    heard = np.concatenate([speech(2.0), np.zeros(RATE * 2), speech(1.0, seed=2)])
    found = joint(listen(written(tmp_path / "call.wav", heard)).agent, Pause(0, 1.9, 4.0, True), {0: told})
    assert found is not None
    assert (found.silence, found.missing) == (pytest.approx(2.0, abs=0.02), pytest.approx(0.0, abs=0.02))


def test_an_answer_that_goes_on_is_no_answer_to_the_murmur() -> None:
    story = tell(murmured(resumed=True), OH, 7.0)
    assert story.answered_by(story.caller[0]) is None


# A colleague takes the call


def handed_over(path: Path, after: Samples, *, decided: float | None = 3.0, briefing: float = 0.7) -> list[bool]:
    """The agent speaks until 1 s; at 1.1 s it rings, from 2 s the briefing is heard; from 3 s ``after`` is."""
    words = speech(1.0, seed=5)
    notes = [
        Note(0.0, "clause", {"turn": 1, "clip": 0, "text": Private("One moment.")}),
        Note(0.0, "began", {"turn": 1, "clip": 0}),
        Note(1.0, "played", {"turn": 1, "clip": 0, "heard": 1.0}),
        ended(1.0, "One moment."),
    ]
    told = Sound(np.concatenate([speech(briefing), np.zeros(RATE)]).astype("<i2").tobytes(), RATE)
    says = Sound(words.astype("<i2").tobytes(), RATE)
    story = tell(notes, [], 6.0, Handover("1002", 1.1, 2.0, decided, told, says))
    heard = np.concatenate([speech(1.0), np.zeros(RATE * 2), after, np.zeros(RATE)])
    return [is_so for is_so, _ in verdicts(story, listen(written(path, heard)), 0)[3:]]


def test_a_caller_who_hears_the_colleague_and_nothing_else_was_put_through(tmp_path: Path) -> None:
    assert handed_over(tmp_path / "call.wav", speech(1.0, seed=5)) == [True, True, True]


def test_an_agent_that_speaks_on_after_the_connection_fails(tmp_path: Path) -> None:
    both = np.concatenate([speech(1.0, seed=5), speech(0.5, seed=6)])
    assert handed_over(tmp_path / "call.wav", both) == [True, True, False]


def test_a_colleague_who_has_not_heard_it_all_was_not_briefed(tmp_path: Path) -> None:
    assert handed_over(tmp_path / "call.wav", speech(1.0, seed=5), briefing=1.5) == [True, False, True]


def test_a_call_that_nobody_took_was_not_handed_over(tmp_path: Path) -> None:
    assert handed_over(tmp_path / "call.wav", np.zeros(RATE), decided=None) == [True, False]


def test_whoever_talks_at_the_same_time_as_the_colleague_is_heard(tmp_path: Path) -> None:
    words = speech(1.0, seed=5)
    mixed = words.copy()
    mixed[2000:4000] += speech(0.25, seed=6)
    for heard, seconds in ((words, 0.0), (mixed, 0.25)):
        agent = listen(written(tmp_path / "call.wav", np.concatenate([heard, np.zeros(RATE)]))).agent
        assert only(agent, words, 0.0) == pytest.approx(seconds, abs=0.02)


def test_every_step_of_the_recording_is_where_it_says_it_is(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    heard = listen(written(path, np.concatenate([speech(2.0), np.zeros(RATE), speech(1.0)]))).agent
    for hundredth in range(150, 200):
        assert heard.silent_from(hundredth / 100) == pytest.approx(2.0)
    for hundredth in range(200, 270):
        began = heard.silent_from(hundredth * 0.01)
        assert heard.first_heard(began) == pytest.approx(3.0), began
