"""What leaves for the caller, frame by frame: whole, in order, without a jump, and told truly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.audio.playout import Began, Ended, Playout

RATE = 8000


def tone(seconds: float, rate: int = RATE, hertz: float = 400.0, level: int = 8000) -> Sound:
    n = np.arange(round(seconds * rate))
    return Sound((level * np.sin(2 * np.pi * hertz * n / rate)).astype("<i2").tobytes(), rate)


def run(playout: Playout, frames: int) -> tuple[np.ndarray, list]:
    """So many frames as samples, and the news with the number of the frame they came with."""
    out, news = [np.zeros(0, "<i2")], []
    for number in range(frames):
        frame, told = playout.next_frame()
        assert len(frame) == playout.rate // 25
        out.append(np.frombuffer(frame, "<i2"))
        news += [(number, each) for each in told]
    return np.concatenate(out).astype(int), news


def steepest(samples: np.ndarray) -> int:
    return int(np.abs(np.diff(samples)).max())


def test_with_nothing_to_say_there_is_silence():
    samples, news = run(Playout(RATE), 5)
    assert not samples.any()
    assert news == []


def test_a_clip_is_given_out_whole_and_told_after_its_last_frame():
    playout, sound = Playout(RATE), tone(0.1)
    playout.add("a", sound)
    samples, news = run(playout, 7)
    assert samples[:800].astype("<i2").tobytes() == sound.pcm
    assert news == [(0, Began("a")), (5, Ended("a", 0.1))]


def test_clips_follow_each_other_without_a_gap_in_the_order_they_came():
    playout = Playout(RATE)
    playout.add(1, Sound(b"\x64\x00" * 200, RATE))
    playout.add(2, Sound(b"\xc8\x00" * 200, RATE))
    samples, news = run(playout, 5)
    assert (samples[:200] == 100).all()
    assert (samples[200:400] == 200).all()
    assert news == [(0, Began(1)), (1, Ended(1, 0.025)), (1, Began(2)), (3, Ended(2, 0.025))]


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 48000])
@pytest.mark.parametrize("line", [8000, 16000, 48000])
def test_a_clip_of_any_rate_keeps_its_length_and_its_tone(rate, line):
    playout = Playout(line)
    playout.add("a", tone(0.5, rate))
    samples, news = run(playout, 30)
    assert news[-1][1].heard == pytest.approx(0.5, abs=0.001)
    inner = samples[line // 20 : line // 2 - line // 20]
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner))))
    assert np.argmax(spectrum) * line / len(inner) == pytest.approx(400, abs=3)
    assert inner.max() == pytest.approx(8000, rel=0.02)


def test_a_cut_is_silence_from_the_next_frame_on_but_for_five_milliseconds_of_fading():
    playout = Playout(RATE)
    playout.add("a", tone(1.0))
    before, _ = run(playout, 10)
    (ended,) = playout.clear()
    assert ended == Ended("a", pytest.approx(0.205))
    after, news = run(playout, 5)
    assert news == []
    assert not after[40:].any()
    assert steepest(np.concatenate([before, after])) <= steepest(before) * 1.2


def test_a_cut_tells_every_clip_once_and_those_not_begun_as_unheard():
    playout = Playout(RATE)
    for key in "abc":
        playout.add(key, tone(0.3))
    run(playout, 20)
    assert [(each.key, round(each.heard, 2)) for each in playout.clear()] == [("b", 0.1), ("c", 0.0)]
    assert playout.clear() == []
    assert run(playout, 3)[1] == []


def test_a_clip_that_ended_with_the_last_frame_before_a_cut_was_heard_whole():
    playout = Playout(RATE)
    playout.add("a", tone(0.1))
    run(playout, 5)
    assert playout.clear() == [Ended("a", 0.1)]


def test_a_clip_taken_up_again_begins_where_it_stopped_and_counts_from_its_beginning():
    playout, sound = Playout(RATE), tone(1.0)
    playout.add("a", sound, start=0.4)
    samples, news = run(playout, 31)
    assert news == [(0, Began("a")), (30, Ended("a", 1.0))]
    assert samples[40:4800].astype("<i2").tobytes() == sound.pcm[(3200 + 40) * 2 :]
    assert abs(samples[0]) < 200


def test_a_clip_taken_up_behind_its_end_is_over_at_once():
    playout = Playout(RATE)
    playout.add("a", tone(0.1), start=0.5)
    assert run(playout, 3)[1] == [(1, Ended("a", 0.1))]


def test_a_stream_is_followed_as_it_grows():
    playout, sound, stream = Playout(RATE), tone(0.2), SoundStream(RATE)
    playout.add("a", stream)
    out = []
    for at in range(0, len(sound.pcm), 640):
        stream.append(sound.pcm[at : at + 640])
        out.append(run(playout, 2)[0])
    stream.end()
    samples = np.concatenate(out)
    assert samples.astype("<i2").tobytes() == sound.pcm
    assert [each for _, each in run(playout, 2)[1]] == [Ended("a", 0.2)]


def test_a_stream_that_runs_dry_is_silence_its_position_stands_still_and_nothing_clicks():
    playout, sound, stream = Playout(RATE), tone(0.4), SoundStream(RATE)
    playout.add("a", stream)
    assert not run(playout, 3)[0].any()
    stream.append(sound.pcm[:3300])
    first, news = run(playout, 20)
    assert [each for _, each in news] == [Began("a")]
    assert not first[1650 + 40 :].any()
    stream.append(sound.pcm[3300:])
    stream.end()
    second, news = run(playout, 20)
    assert [each for _, each in news] == [Ended("a", 0.4)]
    assert steepest(np.concatenate([first, second])) <= steepest(np.frombuffer(sound.pcm, "<i2").astype(int)) * 1.2


def test_a_stream_that_is_cut_while_dry_was_heard_as_far_as_it_came():
    playout, stream = Playout(RATE), SoundStream(RATE)
    playout.add("a", stream)
    stream.append(tone(0.1).pcm)
    run(playout, 20)
    assert playout.clear() == [Ended("a", 0.1)]


def test_a_stream_of_another_rate_loses_nothing():
    playout, sound, stream = Playout(RATE), tone(0.5, 24000), SoundStream(24000)
    playout.add("a", stream)
    for at in range(0, len(sound.pcm), 1001 * 2):
        stream.append(sound.pcm[at : at + 1001 * 2])
        run(playout, 2)
    stream.end()
    _, news = run(playout, 30)
    assert [each for _, each in news] == [Ended("a", pytest.approx(0.5, abs=0.001))]


def test_a_voice_is_turned_down_within_a_frame_without_a_jump_and_up_again():
    playout = Playout(RATE)
    playout.add("a", tone(1.0))
    before, _ = run(playout, 5)
    playout.volume(0.25)
    down, _ = run(playout, 10)
    playout.volume(1.0)
    up, _ = run(playout, 10)
    assert down[160:].max() == pytest.approx(2000, rel=0.02)
    assert up[160:].max() == pytest.approx(8000, rel=0.02)
    assert steepest(np.concatenate([before, down, up])) <= steepest(before) * 1.05


def test_sound_louder_than_full_scale_is_clipped_not_wrapped():
    playout = Playout(RATE)
    playout.add("a", tone(0.2, level=30000))
    playout.volume(3.0)
    samples, _ = run(playout, 10)
    assert samples.max() == 32767
    assert steepest(samples) < 40000


deeds = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 4000), st.sampled_from([8000, 16000, 22050])),
        st.tuples(st.just("frames"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("clear"), st.just(0), st.just(0)),
        st.tuples(st.just("grow"), st.integers(0, 2000), st.just(0)),
    ),
    max_size=15,
)


@settings(max_examples=150)
@given(deeds=deeds)
def test_whatever_happens_each_clip_is_told_once_and_never_as_longer_than_it_is(deeds):
    playout, told, lengths, streams = Playout(RATE), [], {}, []
    for number, (deed, size, rate) in enumerate(deeds):
        if deed == "add":
            is_stream = number % 2 == 0
            audio = SoundStream(rate) if is_stream else Sound(b"\1\0" * size, rate)
            if isinstance(audio, SoundStream):
                streams.append(audio)
            lengths[number] = audio
            playout.add(number, audio)
        elif deed == "grow":
            for stream in streams:
                stream.append(b"\1\0" * size)
        elif deed == "clear":
            told += playout.clear()
        else:
            told += [each for _, each in run(playout, size)[1]]
    for stream in streams:
        stream.end()
    told += [each for _, each in run(playout, 2000)[1]]
    began = [each.key for each in told if isinstance(each, Began)]
    ended = [each for each in told if isinstance(each, Ended)]
    assert [each.key for each in ended] == sorted(lengths)
    assert began == sorted(set(began))
    assert all(0 <= each.heard <= lengths[each.key].seconds + 0.001 for each in ended)
