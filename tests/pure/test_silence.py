"""A caller does not wait for the silence that a voice begins with."""

from __future__ import annotations

import pytest

from esl_agent.audio.silence import KEPT, MOST, from_first_sound
from esl_agent.testing.providers import ToneTts

RATE = 16000
TONE = b"".join(ToneTts(RATE).speak("hello there"))


def quiet(seconds: float) -> bytes:
    return bytes(round(seconds * RATE) * 2)


def cut(pcm: bytes, size: int) -> list[bytes]:
    return [pcm[i : i + size] for i in range(0, len(pcm), size)]


@pytest.mark.parametrize("size", [2, 6, 320, 5000, 10**6])
@pytest.mark.parametrize("silence", [0.03, 0.1, 0.16, 0.3])
def test_silence_before_the_first_sound_is_cut_however_it_arrives(silence, size):
    pieces = list(from_first_sound(cut(quiet(silence) + TONE + quiet(0.2), size), RATE))
    assert b"".join(pieces) == quiet(KEPT) + TONE + quiet(0.2)
    assert all(len(piece) % 2 == 0 for piece in pieces)


def test_sound_that_begins_at_once_is_not_touched():
    assert b"".join(from_first_sound(cut(TONE, 100), RATE)) == TONE


def test_no_more_than_the_most_is_taken_away():
    left = b"".join(from_first_sound(cut(quiet(2.0) + TONE, 640), RATE))
    assert left == quiet(2.0 - MOST + KEPT) + TONE


def test_sound_that_is_silent_altogether_stays():
    assert b"".join(from_first_sound([quiet(0.1), quiet(0.1)], RATE)) == quiet(0.2)
    assert list(from_first_sound([], RATE)) == []


def test_the_first_sound_is_given_on_before_the_second_piece_is_asked_for():
    def pieces():
        yield quiet(0.1) + TONE[:4000]
        raise AssertionError("asked too early")

    assert next(from_first_sound(pieces(), RATE)) == quiet(KEPT) + TONE[:4000]
