"""The benchmark of calls through a real Asterisk runs and says what it should; what it measures is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from bench.asterisk.sounds import FRAME, Finder, jitter, noise, pcm, silent_after
from esl_agent.audio.g711 import LAWS

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.system
def test_a_plain_echo_and_every_kind_of_agent_are_measured_side_by_side():
    done = subprocess.run(
        [sys.executable, "-m", "bench.asterisk", "--quick", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    if done.returncode == 1 and ("no real Asterisk" in done.stderr or "there is no sipp" in done.stderr):
        warnings.warn(f"NOT TESTED: {done.stderr.strip()}", stacklevel=1)
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    *runs, costs = map(json.loads, done.stdout.splitlines())
    assert [run["subject"] for run in runs] == ["plain", "echo", "bridge", "cascade"]
    for run in runs:
        spreads = run["spreads"]
        assert spreads["latency plain"]["count"] > 100
        assert 0.0 < spreads["latency own"]["p50"] < spreads["latency plain"]["p50"]
        assert 0.0 <= spreads["jitter plain"]["p50"] <= spreads["load"]["worst"] + 1.0
        if run["subject"] in ("echo", "bridge"):
            assert spreads["latency plain"]["p50"] < spreads["latency ours"]["p50"] < 1.5
        if run["subject"] != "plain":
            assert run["agent"]["calls"] == 7
            assert run["agent"]["late"]["count"] > 7 * 50
            assert run["cpu"]["agent"] > 0.0
        assert isinstance(run["spoilt_by"], str)
    bridge = runs[2]["spreads"]
    assert 0.0 < bridge["to the agent"]["p50"] < bridge["latency ours"]["p50"]
    assert bridge["barge-in"]["count"] > 0
    assert all(cost > 0.0 for cost in costs["to the agent"].values())


def telephone(samples: np.ndarray) -> bytes:
    return LAWS["PCMU"].decode(LAWS["PCMU"].encode(pcm(samples)))


def test_each_packet_that_comes_back_is_known_by_its_sound():
    sent = noise(2.0, 1)
    times = [10.0 + 0.02 * number for number in range(100)]
    late = telephone(sent[37:])
    came = [(when + 0.1, late[n * FRAME * 2 : (n + 1) * FRAME * 2]) for n, when in enumerate(times[:90])]
    found = list(Finder(sent, times).latencies(came))
    assert found == pytest.approx([0.1 - 37 / 8000] * 90)


def test_sound_that_is_delayed_midway_is_found_again_and_strange_sound_is_not():
    sent = noise(4.0, 1)
    times = [0.02 * number for number in range(200)]
    sound = telephone(sent)
    first = [(0.05 + 0.02 * n, sound[n * 320 : (n + 1) * 320]) for n in range(50)]
    later = [(0.05 + 0.02 * n + 0.2, sound[n * 320 : (n + 1) * 320]) for n in range(50, 100)]
    stranger = telephone(noise(1.0, 2))
    strange = [(1.0, stranger[:320]), (1.02, bytes(320))]
    found = list(Finder(sent, times).latencies([*first, *strange, *later]))
    assert found == [*[pytest.approx(0.05)] * 50, None, None, *[pytest.approx(0.25)] * 50]


def test_jitter_is_what_a_packet_came_sooner_or_later_than_its_timestamp_says():
    packets = [(1.0, 0), (1.02, 160), (1.045, 320), (1.06, 480)]
    assert jitter(packets) == pytest.approx([0.0, 0.005, 0.005])


def test_the_agent_is_silent_after_the_last_loud_packet_before_a_pause():
    loud = [1.0, 1.02, 1.04, 1.06, 2.0, 2.02]
    assert silent_after(loud, 1.01, 0.75) == pytest.approx(0.05)
    assert silent_after([1.0 + 0.02 * n for n in range(100)], 1.01, 0.75) is None
    assert silent_after([1.0], 1.01, 0.75) == 0.0
