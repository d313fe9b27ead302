"""The benchmark of turn taking runs, scores what happened, and is the same every time."""

from __future__ import annotations

import pytest

from bench.turns.__main__ import run
from bench.turns.line import Call, Item, Script, build
from bench.turns.peers import SWEEP
from bench.turns.report import OURS, fixed_at, tables
from bench.turns.scenarios import scripts
from bench.turns.score import Tally, score
from bench.turns.speech import said, with_pause
from bench.turns.world import Log


def test_every_kind_of_call_runs_and_is_in_the_tables():
    sums: dict[tuple[str, str], Tally] = {}
    for script in scripts(quick=True):
        row, tallies = run(script, ours_only=True)
        for name, tally in tallies.items():
            sums.setdefault((row, name), Tally()).add(tally)
    text = tables(sums, [OURS])
    for row, _ in sums:
        assert f"| {row} |" in text
    assert all(tally.items or tally.heard for tally in sums.values())


def test_a_call_is_the_same_every_time():
    script = Script("barge-in, clean", "over", "barge-in", count=2, seed=7, noise="babble", snr=10.0)
    first, again = build(script), build(script)
    assert first.items == again.items
    assert (first.line == again.line).all()
    assert run(script, ours_only=True) == run(script, ours_only=True)


def over(items: list[Item], **facts: list) -> Tally:
    call = Call(Script("x", "over", items[0].kind if items else "none"), None, items)  # type: ignore[arg-type]
    return score(call, Log(sounding=[(0.0, 20.0, 1)], **facts))


def test_a_barge_in_is_timed_from_its_onset_and_is_no_false_one():
    tally = over([Item("barge-in", "x", 5.0, 6.0)], yields=[5.14], abandons=[5.5])
    assert (tally.yields, tally.confirms) == (pytest.approx([0.14]), pytest.approx([0.5]))
    assert (tally.missed, tally.lost, tally.paused) == (0, 0, 0)


def test_a_turn_given_up_while_nobody_spoke_is_lost():
    tally = over([Item("barge-in", "x", 5.0, 6.0)], yields=[3.0], abandons=[3.0])
    assert (tally.missed, tally.lost, tally.paused) == (1, 1, 0)


def test_a_pause_that_ends_by_going_on_is_needless_and_lasts_as_long_as_it_does():
    tally = over([Item("backchannel", "x", 5.0, 5.5)], yields=[5.1], resumes=[6.0])
    assert (tally.lost, tally.paused, tally.pauses) == (0, 1, pytest.approx([0.9]))


def turns(items: list[Item], log: Log) -> Tally:
    return score(Call(Script("x", "turns", "paused"), None, items), log)  # type: ignore[arg-type]


def test_the_agent_speaking_into_a_pause_cuts_the_caller_off():
    spoke = Log(sounding=[(6.0, 7.0, 1), (9.0, 10.0, 2)], closes=[5.8, 8.7])
    tally = turns([Item("paused", "x", 5.0, 8.0)], spoke)
    assert (tally.cut, tally.split, tally.waits) == (1, 1, pytest.approx([0.7]))


def test_the_wait_counts_from_the_true_end():
    tally = turns([Item("paused", "x", 5.0, 8.0)], Log(sounding=[(9.0, 10.0, 1)], closes=[8.7]))
    assert (tally.cut, tally.missed, tally.waits) == (0, 0, pytest.approx([0.7]))


def test_cut_offs_at_equal_wait_lie_between_those_of_two_fixed_silences():
    sums = {
        ("row", SWEEP[0].name): Tally(items=10, cut=8, split=8, waits=[0.3]),
        ("row", SWEEP[1].name): Tally(items=10, cut=4, split=6, waits=[0.5]),
    }
    assert fixed_at(0.4, "row", sums) == pytest.approx((60.0, 70.0))
    assert fixed_at(0.9, "row", sums) is None


def test_a_pause_in_a_sentence_moves_the_words_behind_it():
    whole = said("tt-weasels", 8000)
    broken = with_pause(whole, 1.0)
    assert broken.seconds == pytest.approx(whole.seconds + 1.0)
    moved = [after.end - before.end for before, after in zip(whole.words, broken.words, strict=True)]
    assert {round(each, 6) for each in moved} == {0.0, 1.0}
    assert moved[0] == 0.0
    assert moved[-1] == pytest.approx(1.0)


def test_the_agents_own_echo_does_not_interrupt_it():
    script = Script("echo", "over", "none", 0, echo=-20.0, delay=0.08, seconds=15.0)
    _, tallies = run(script, ours_only=True)
    tally = tallies[OURS]
    assert (tally.lost, tally.paused) == (0, 0)
    assert tally.heard > 14.0
