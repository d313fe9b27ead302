"""Whatever a provider dies of, and whenever: the caller gets one whole answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esl_agent.errors import ProviderError
from esl_agent.testing.providers import Trouble
from tests.providers.stages import FAST, KEEPS, LIMITS, STAGES, Desk, answer, engine, greenlets, nothing_is_left

KINDS = ("dies_after", "stalls_after", "rots_after")
BLAMES = ("request", "service", "setup")


def trouble(kind: str, pieces: int, **more: Any) -> Trouble:
    return Trouble(**{kind: pieces, **more})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_provider_that_dies_before_its_first_piece_is_replaced_without_a_trace(stage: str, kind: str) -> None:
    desk = Desk(stage, [engine(stage, "A", trouble(kind, 0)), engine(stage, "B")])
    assert desk.ask() == answer(stage, "B")
    assert desk.switches == [("A", "B")]


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in KEEPS])
def test_a_provider_that_dies_in_the_middle_is_replaced_where_nothing_was_heard(
    stage: str, kind: str, pieces: int
) -> None:
    desk = Desk(stage, [engine(stage, "A", trouble(kind, pieces)), engine(stage, "B")])
    assert desk.ask() == answer(stage, "B")


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", KEEPS)
def test_a_provider_that_dies_in_the_middle_of_what_is_heard_is_replaced_from_the_next_request_on(
    stage: str, kind: str, pieces: int
) -> None:
    desk = Desk(stage, [engine(stage, "A", trouble(kind, pieces)), engine(stage, "B")])
    with pytest.raises(ProviderError) as failure:
        desk.ask()
    assert failure.value.retryable
    assert len(desk.pieces) == pieces
    assert desk.ask() == answer(stage, "B")
    assert desk.switches == [("A", "B")]


@pytest.mark.parametrize("pieces", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", STAGES)
def test_where_nobody_is_left_the_dialogue_is_told_once_and_not_to_try_again(
    stage: str, kind: str, pieces: int
) -> None:
    if stage in KEEPS and pieces:
        pytest.skip("the dialogue has heard something of it")
    limits = replace(LIMITS, stt=0.1, llm=0.1, tts=0.1)
    desk = Desk(stage, [engine(stage, "A", trouble(kind, pieces))], limits=limits)
    with pytest.raises(ProviderError) as failure:
        desk.ask()
    assert not failure.value.retryable


AILMENTS = st.one_of(
    st.just(Trouble()),
    st.builds(
        trouble,
        st.sampled_from(("dies_after", "rots_after", "stalls_after")),
        st.integers(0, 3),
        retryable=st.booleans(),
        blame=st.sampled_from(BLAMES),
    ),
    st.builds(Trouble, fail=st.integers(1, 4), retry_after=st.sampled_from((None, 0.0, 0.01, 60.0))),
)


@pytest.mark.parametrize("stage", STAGES)
@given(ailments=st.lists(AILMENTS, min_size=1, max_size=3))
@settings(max_examples=40)
def test_an_answer_is_always_one_providers_and_whole(stage: str, ailments: list[Trouble]) -> None:
    """Or an error; where a provider is well, and nothing of another one's answer was used, never an error."""
    names = "ABC"[: len(ailments)]
    is_well = any(each == Trouble() for each in ailments)  # before they are worn down
    engines = [engine(stage, name, replace(each)) for name, each in zip(names, ailments, strict=True)]
    desk = Desk(stage, engines, limits=replace(LIMITS, stt=0.4, llm=0.4, tts=0.4) if not is_well else LIMITS)
    found: Any = None
    error: ProviderError | None = None
    try:
        found = desk.ask()
    except ProviderError as failure:
        error = failure
    was_heard = bool(stage in KEEPS and desk.pieces)
    if error is None:
        assert found in [answer(stage, name) for name in names]
    else:
        assert was_heard or not is_well
        assert error.retryable == was_heard


@pytest.mark.parametrize("stage", STAGES)
def test_two_hundred_failures_leave_nothing_behind(stage: str) -> None:
    before = greenlets()
    for number in range(50):
        kind = KINDS[number % 3]
        quick = replace(FAST, **{s: replace(getattr(FAST, s), first=0.002) for s in ("stt", "llm", "tts")})
        desk = Desk(stage, [engine(stage, "A", trouble(kind, number % 2)), engine(stage, "B")], settings=quick)
        for _ in range(4):
            try:
                desk.ask()
            except ProviderError:
                assert stage in KEEPS
        desk.wrapped.close()
    assert nothing_is_left(before)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("pieces", [0, 1])
def test_a_worker_that_is_killed_leaves_nothing_behind(stage: str, pieces: int) -> None:
    before = greenlets()
    desk = Desk(stage, [engine(stage, "A", trouble("stalls_after", pieces))])
    workers = [gevent.spawn(desk._asked, None) for _ in range(5)]
    gevent.sleep(0.005)
    gevent.killall(workers)
    assert nothing_is_left(before)
    assert not desk.wrapped._choice.live
