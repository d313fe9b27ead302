"""The benchmark of whole calls runs and says what it should; what it measures is not judged here."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from bench.analysis import Seen, Spread, barge_ins, lateness, own_share, spoilt_by
from bench.share import GREETING, LATE, greetings, shares

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.system
def test_three_calls_for_two_seconds_are_measured_from_the_first_command_to_the_last_frame():
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", "--calls", "3", "--seconds", "2", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["calls"] == 3
    assert found["dropped"] == 0
    assert found["lateness"]["count"] > 3 * 50
    for what in ("accept", "greeting", "lateness", "hub_lag", "load_lag"):
        spread = found[what]
        assert 0.0 <= spread["p50"] <= spread["p99"] <= spread["worst"], what
    assert 0.0 < found["share"]["own"]["p50"] < 1.0
    assert math.isfinite(found["call_bytes"])
    assert found["cpu"] > 0.0
    assert isinstance(found["spoilt_by"], str)


def call(**facts) -> Seen:
    return Seen(**{
        "uuid": "u", "began": 0.0, "kind": 0, "first_due": 10.0, "frames": 500, "connect": 0.1, "answered": 0.2,
        "media": 0.3, "playbacks": [], "breaks": [], **facts,
    })  # fmt: skip


def test_a_frame_is_late_by_what_it_was_dealt_with_after_its_place_on_the_senders_clock():
    assert lateness({"u": [10.0, 10.023, 10.04]}, [call()], 0.0, 99.0) == pytest.approx([0.0, 0.003, 0.0])


def test_a_break_counts_from_the_first_sample_said_over_the_agent():
    heard = call(breaks=[11.16], heard=[(10.5, 11.2)])
    plain, voiced, missed = barge_ins(heard, 1000, [(51, 53)], 0.0, 99.0)
    assert (plain, voiced, missed) == (pytest.approx([0.16]), pytest.approx([0.12]), 0)


def test_speech_over_an_agent_that_goes_on_speaking_was_missed():
    assert barge_ins(call(heard=[(10.5, 19.0)]), 1000, [(51, 53)], 0.0, 99.0) == ([], [], 1)


def test_speech_into_the_agents_silence_is_no_barge_in():
    assert barge_ins(call(breaks=[11.1], heard=[(10.1, 10.5)]), 1000, [(51, 53)], 0.0, 99.0) == ([], [], 0)


def test_the_providers_time_is_not_ours():
    talked = call(playbacks=[1.0, 10.36, 12.0])
    assert own_share({"u": [10.0]}, [talked], 0.35, 0.0, 99.0) == pytest.approx([0.01])


STEPS = [
    ("endpoint", 10.203, 10),
    ("heard", 10.204, 0),
    ("words", 10.254, 0),
    ("asked", 10.256, 0),
    ("token", 10.46, 0),
    ("voice", 10.463, 0),
    ("sound", 10.563, 0),
]


def test_a_turns_own_share_begins_when_the_deciding_frame_is_sent_and_its_parts_add_up():
    found = shares({"u": STEPS}, [call(playbacks=[1.0, 10.567])], 0.35, 0.0, 99.0)
    expected = {
        "frame in": 0.003, "to the recogniser": 0.001, "to the model": 0.002, "to the voice": 0.003,
        "to FreeSWITCH": 0.004, LATE: 0.004, "own": 10.567 - 10.2 - 0.35,
    }  # fmt: skip
    assert {name: samples[0] for name, samples in found.items()} == pytest.approx(expected)


def test_the_greeting_counts_from_the_answer():
    greeted = call(answered=0.2, media=0.23, playbacks=[0.202, 3.0], heard=[(0.224, 2.0)])
    found = greetings([greeted, call(answered=None), call(media=None)])
    assert [found[name] for name in GREETING] == [pytest.approx([0.002]), pytest.approx([0.024]), pytest.approx([0.03])]


def test_a_turn_that_the_caller_talked_into_has_no_share():
    broken_off = [*STEPS[:4], ("endpoint", 12.0, 100)]
    assert shares({"u": broken_off}, [call(playbacks=[13.0])], 0.35, 0.0, 99.0)["own"] == []
    assert shares({"u": []}, [call()], 0.35, 0.0, 99.0)["own"] == []


def test_the_99th_percentile_of_a_hundred_samples_is_the_second_worst():
    spread = Spread.of([float(i) for i in range(101)])
    assert spread is not None
    assert (spread.p50, spread.p95, spread.p99, spread.worst) == (50.0, 95.0, 99.0, 100.0)


def test_a_late_load_or_a_busy_machine_spoils_a_run():
    in_time, late = Spread(100, 0.001, 0.002, 0.003), Spread(100, 0.001, 0.02, 0.03)
    assert spoilt_by(in_time, 0.02) == ""
    assert spoilt_by(late, 0.02) == "the load was late"
    assert spoilt_by(in_time, 0.5) == "the machine was busy"
    assert spoilt_by(None, 0.0) == "no load"
