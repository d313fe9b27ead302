"""Server-sent events and lines, however the network cuts them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.errors import WireError
from esl_agent.wire.sse import Lines, ServerEvent, ServerEvents

STREAM = (
    '\ufeff: keep-alive\r\n\r\nevent: delta\ndata: {"text": "günaydın"}\n\ndata: one\rdata: two\r\r'
    "id: 7\nretry: 10\ndata\n\nevent: lost\n\ndata:[DONE]\n\n"
).encode()
EVENTS = [
    ServerEvent('{"text": "günaydın"}', "delta"),
    ServerEvent("one\ntwo"),
    ServerEvent(""),
    ServerEvent("[DONE]"),
]  # fmt: skip


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(marks)]


@given(st.lists(st.integers(min_value=0), max_size=12))
def test_events_are_the_same_however_the_stream_is_cut(places):
    parser = ServerEvents()
    found = [event for piece in cut_at(STREAM, places) for event in parser.feed(piece)]
    assert found + parser.end() == EVENTS


@given(st.lists(st.integers(min_value=0), max_size=12))
def test_lines_are_the_same_however_the_stream_is_cut(places):
    cutter = Lines()
    data = "einß\r\nzwei\rdrei\n\nvier€".encode()
    lines = [line for piece in cut_at(data, places) for line in cutter.feed(piece)]
    assert (lines, cutter.end()) == (["einß", "zwei", "drei", ""], "vier€")


def test_an_event_without_its_empty_line_counts_at_the_end():
    parser = ServerEvents()
    assert parser.feed(b"data: last") == []
    assert parser.end() == [ServerEvent("last")]


def test_half_a_character_at_the_end_is_marked_not_raised():
    cutter = Lines()
    assert cutter.feed("gün".encode()[:2]) == []
    assert cutter.end() == "g\ufffd"


def test_a_line_and_an_event_have_limits():
    with pytest.raises(WireError):
        Lines(max_line=10).feed(b"x" * 11)
    with pytest.raises(WireError):
        Lines(max_line=10).feed(b"x" * 11 + b"\n")
    with pytest.raises(WireError):
        ServerEvents(max_event=10).feed(b"data: 123456\ndata: 12345\n")
