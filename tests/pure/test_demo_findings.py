"""The demo's verdict on a call, for calls that did not go as they should."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from esl_agent.demo.findings import listen, verdicts
from esl_agent.demo.story import tell
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


SPOKEN = [Spoken("tt-weasels", 3.0, 4.0), Spoken("vm-goodbye", 7.0, 8.3)]


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
