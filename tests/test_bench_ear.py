"""The ear that judges our timing hears what is in a recording, and says when a journal tells something else."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.ear import report
from bench.hearing import hear, listen
from bench.journal_times import shift_between
from bench.results import with_section

ROOT = Path(__file__).resolve().parent.parent
#: Seconds in which each side speaks. The caller asks, is answered with a pause inside, and then talks over the answer.
CALLER = ((1.0, 2.2137), (6.003, 7.5))
AGENT = ((3.1004, 4.6), (5.2, 6.1509), (8.3, 9.0))
EXACT = 0.0015


def side(rate: int, spoken, noise: float, seed: int, seconds: float = 10.0):
    """Speech-like sound (a tone that swells and fades 4 times a second) in noise of ``noise`` dBFS."""
    count = round(seconds * rate)
    at = np.arange(count) / rate
    samples = np.random.default_rng(seed).normal(0.0, 32768 * 10 ** (noise / 20), count)
    for began, ended in spoken:
        inside = (at >= began) & (at < ended)
        samples += inside * 6000 * np.sin(2 * np.pi * 300 * at) * (1.2 + np.cos(2 * np.pi * 4 * at))
    return np.clip(np.rint(samples), -32768, 32767)


@pytest.mark.parametrize("noise", [-70.0, -55.0, -45.0])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_waits_and_interruptions_are_heard_to_the_millisecond(rate, noise):
    heard = hear(side(rate, CALLER, noise, 1), side(rate, AGENT, -90.0, 2), rate)
    [first, second] = heard.answers
    assert first.wait == pytest.approx(3.1004 - 2.2137, abs=EXACT)
    assert second.wait == pytest.approx(8.3 - 7.5, abs=EXACT)
    [cut] = heard.interruptions
    assert cut.onset == pytest.approx(6.003, abs=EXACT)
    assert cut.took == pytest.approx(6.1509 - 6.003, abs=EXACT)


def test_talk_over_dead_air_and_pauses_within_a_turn():
    heard = hear(side(8000, CALLER, -60.0, 1), side(8000, AGENT, -60.0, 2), 8000)
    assert [turn.began for turn in heard.agent] == pytest.approx([3.1004, 8.3], abs=EXACT)
    assert heard.talk_over == pytest.approx(6.1509 - 6.003, abs=0.003)
    began, seconds = heard.dead_air
    assert (began, seconds) == pytest.approx((2.2137, 3.1004 - 2.2137), abs=0.003)


def test_an_agent_that_cuts_in_waits_less_than_nothing():
    heard = hear(side(8000, [(1.0, 3.0)], -60.0, 1), side(8000, [(2.5, 4.0)], -60.0, 2), 8000)
    assert [answer.wait for answer in heard.answers] == pytest.approx([-0.5], abs=EXACT)


def test_an_agent_that_speaks_on_is_heard_to_do_so():
    heard = hear(side(8000, [(2.0, 2.4)], -60.0, 1), side(8000, [(1.0, 5.0)], -60.0, 2), 8000)
    assert [cut.took for cut in heard.interruptions] == pytest.approx([3.0], abs=EXACT)


def test_noise_and_silence_are_nobody():
    quiet = np.zeros(80000)
    heard = hear(side(8000, (), -45.0, 1), quiet, 8000)
    assert (heard.caller, heard.agent, heard.answers) == ((), (), ())
    assert hear(np.zeros(3), np.zeros(3), 8000).dead_air == (0.0, 0.0)


def journal(late: float = 0.0) -> dict[str, Any]:
    """The journal of the same call, which began 0.25 s before its recording; the first answer ``late`` s off."""
    zero = 0.25
    notes = [
        {"at": zero + 3.1 + late, "what": "began", "turn": 2, "clip": 0},
        {"at": zero + 5.2, "what": "began", "turn": 2, "clip": 1},
        {"at": zero + 6.13, "what": "stop_playback"},
        {"at": zero + 6.13, "what": "yield", "turn": 2},
        {"at": zero + 6.16, "what": "played", "turn": 2, "clip": 1, "heard": 0.95},
        {"at": zero + 6.16, "what": "turn", "turn": 2, "interrupted": True, "latency": 0.89 + late, "barge_in": 0.12},
        {"at": zero + 8.3, "what": "began", "turn": 3, "clip": 0},
        {"at": zero + 9.0, "what": "turn", "turn": 3, "interrupted": False, "latency": 0.81},
    ]
    return {"call": "x", "notes": notes}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    both = np.column_stack([side(8000, CALLER, -60.0, 1), side(8000, AGENT, -60.0, 2)]).astype("<i2")
    with wave.open(str(tmp_path / "call.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(both.tobytes())
    return tmp_path / "call.wav"


def test_a_journal_that_tells_the_truth_is_agreed_with(recording):
    lines, is_agreed = report(listen(recording), journal())
    assert is_agreed, lines
    text = "\n".join(lines)
    assert "0.250 s after the journal" in text
    assert "answer: 2 compared" in text
    assert "interruption: 1 compared" in text


def test_a_journal_that_is_fifty_milliseconds_off_is_found_out(recording):
    assert not report(listen(recording), journal(late=0.05))[1]


def test_a_journal_with_an_answer_that_nobody_heard_is_found_out(recording):
    record = journal()
    record["notes"] += [
        {"at": 60.0, "what": "began", "turn": 9, "clip": 0},
        {"at": 61.0, "what": "turn", "turn": 9, "interrupted": False, "latency": 0.8},
    ]
    lines, is_agreed = report(listen(recording), record)
    assert not is_agreed
    assert any("1 of the journal's answers" in line for line in lines)


def test_a_recording_without_any_answer_proves_nothing():
    silence = hear(np.zeros(8000), np.zeros(8000), 8000)
    assert report(silence, None)[1]
    assert not report(silence, journal())[1]


def test_the_two_clocks_are_laid_upon_each_other_by_most_of_the_turns():
    assert shift_between([1.0, 5.0, 9.0, 12.0], [0.8, 4.81, 8.79, 20.0]) == pytest.approx(-0.2, abs=0.005)
    assert shift_between([], [1.0]) == 0.0


@pytest.mark.parametrize(("late", "status"), [(0.0, 0), (0.06, 1)])
def test_the_command_says_by_its_exit_status_whether_they_agree(recording, late, status):
    record = recording.with_name("record.json")
    record.write_text(json.dumps(journal(late)))
    done = subprocess.run(
        [sys.executable, "-m", "bench.ear", str(recording), "--record", str(record)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "| 2 | 2.21 | answer | 88" in done.stdout


def test_a_mono_recording_is_refused(tmp_path):
    with wave.open(str(tmp_path / "mono.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(100))
    with pytest.raises(ValueError, match="expected 16 bit stereo"):
        listen(tmp_path / "mono.wav")


def test_a_section_of_the_results_replaces_its_elder_and_nothing_else():
    text = "# All\n\n## One\nold\n\n## Two\nkept\n"
    assert with_section(text, "One", ["new"]) == "# All\n\n## One\nnew\n\n## Two\nkept\n"
    assert with_section(text, "Three", ["new"]) == text.rstrip() + "\n\n## Three\nnew\n"
