"""Sound in pieces, WAV files, and the words of a growing transcript that stay."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.audio.pieces import begun, chunks, floats, limited, resampled
from esl_agent.audio.resample import LineResampler
from esl_agent.audio.wav import wav
from esl_agent.providers.stable_prefix import StablePrefix

PIECES = st.lists(st.binary(max_size=50), max_size=20)


@given(PIECES, st.integers(1, 20))
def test_chunks_are_the_sound_in_even_pieces_of_one_size(pieces, half):
    found = list(chunks(pieces, half * 2))
    whole = b"".join(pieces)
    assert b"".join(found) == whole[: len(whole) // 2 * 2]
    assert all(len(each) == half * 2 for each in found[:-1])
    assert all(0 < len(each) <= half * 2 and len(each) % 2 == 0 for each in found)


@given(PIECES, st.integers(1, 200))
def test_of_limited_sound_nothing_is_asked_for_beyond_the_limit(pieces, size):
    left = iter(pieces)
    found = b"".join(limited(left, size))
    assert found == b"".join(pieces)[:size]
    if len(found) == size:
        taken = len(b"".join(pieces)) - len(b"".join(left))
        assert taken - size < 50


@given(PIECES)
def test_sound_begins_with_its_first_byte(pieces):
    found = begun(pieces)
    assert (found is None) == (b"".join(pieces) == b"")
    assert b"".join(found or ()) == b"".join(pieces)


@pytest.mark.parametrize(("rate_in", "rate_out"), [(8000, 16000), (16000, 8000), (16000, 16000)])
def test_pieces_are_resampled_as_if_they_were_one(rate_in, rate_out):
    pcm = (np.sin(np.arange(8000) / 9) * 9000).astype("<i2").tobytes()
    pieces = [pcm[at : at + 320] for at in range(0, len(pcm), 320)]
    whole = pcm if rate_in == rate_out else LineResampler(rate_in, rate_out).feed(pcm)
    assert b"".join(resampled(pieces, rate_in, rate_out)) == whole


def test_sound_at_odd_rates_comes_out_to_its_end():
    found = b"".join(resampled([bytes(4410)] * 10, 22050, 16000))
    assert abs(len(found) // 2 - 16000) < 20


def test_floats_are_exact():
    pcm = np.array([0, 1, -1, 32767, -32768], "<i2").tobytes()
    assert np.array_equal(np.frombuffer(floats(pcm), "<f4") * 32768, [0, 1, -1, 32767, -32768])


@given(st.binary(max_size=99).filter(lambda pcm: len(pcm) % 2 == 0), st.sampled_from([8000, 16000]))
def test_a_wav_file_is_read_by_others(pcm, rate):
    with wave.open(io.BytesIO(wav(pcm, rate))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate)
        assert file.readframes(file.getnframes()) == pcm


def test_words_that_two_passes_agree_on_stay():
    words = StablePrefix()
    assert words.hear("I would like") == "I would like"
    assert words.committed == ""
    assert words.hear("I would like a table") == "I would like a table"
    assert words.committed == "I would like"
    assert words.hear("I could like a stable for two") == "I would like a stable for two"
    assert words.committed == "I would like"
    assert words.hear("I would") == "I would like"


def test_case_and_punctuation_are_no_disagreement():
    words = StablePrefix()
    words.hear("yes please")
    assert words.hear("Yes, please. I") == "Yes, please. I"
    assert words.committed == "Yes, please."


def test_settled_words_stay_before_the_next_window():
    words = StablePrefix()
    words.hear("one two")
    words.hear("one two three")
    assert words.settle("one too three four") == "one two three four"
    assert words.hear("five") == "one two three four five"
    assert words.hear("five six") == "one two three four five six"
    assert words.committed == "one two three four five"


@given(st.lists(st.text("ab ", max_size=12), max_size=8))
def test_committed_words_never_change(passes):
    words, before = StablePrefix(), ""
    for text in passes:
        shown = words.hear(text)
        assert words.committed.startswith(before)
        assert shown.startswith(words.committed)
        before = words.committed
