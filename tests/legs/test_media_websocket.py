"""What the caller hears of the agent over chan_websocket, and what the agent is told of it."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_websocket import WebSocketLine

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue.events import Audio, MediaLost, MediaStarted, PlaybackBegan, Played
from esl_agent.legs.base import Clip
from esl_agent.legs.media_websocket import AHEAD, IDLE, MARKS_IN_VAIN
from esl_agent.wire import chan_websocket as wire

FRAME = 0.02


def flat(turn: int, seconds: float, level: int = 4000, rate: int = 24000) -> Clip:
    return Clip(turn, 0, Sound(np.full(round(seconds * rate), level, "<i2").tobytes(), rate))


@pytest.fixture
def line() -> WebSocketLine:
    made = WebSocketLine(24000)
    made.started()
    made.socket.said.clear()
    return made


def loud(line: WebSocketLine) -> list[bool]:
    return [level > 500 for level in line.levels()]


def asked(line: WebSocketLine, what: wire.Command) -> int:
    return sum(what.value in said for said in line.socket.said)


class Late:
    """Our hub is busy: Asterisk and the caller go on, our ticks do not come."""

    def __init__(self, line: WebSocketLine, seconds: float) -> None:
        ticks, line.ticks.ticks = line.ticks.ticks, {}
        line.pass_(seconds)
        line.ticks.ticks = ticks


def test_an_agent_whose_hub_is_late_by_four_frames_is_heard_without_a_gap(line):
    line.media.play(flat(1, 1.0))
    line.pass_(0.3)
    Late(line, (AHEAD - 1) * FRAME)
    line.pass_(1.0)
    first = loud(line).index(True)
    assert loud(line)[first : first + 50] == [True] * 50
    assert line.played() == [(1, 0, 1.0)]


def test_a_pause_of_the_hub_delays_nothing_afterwards(line):
    line.media.play(flat(1, 1.0))
    line.pass_(0.3)
    Late(line, 1.0)
    line.pass_(2.0)
    assert line.played() == [(1, 0, 1.0)]
    line.frames.clear()
    line.media.play(flat(2, 0.2))
    line.pass_(0.5)
    assert loud(line).index(True) == 0


def test_the_caller_hears_a_clip_at_once_however_long_the_call_was(line):
    for turn in range(20):
        line.media.play(flat(turn, 0.5))
        line.pass_(0.5 + 0.02 * turn)
        line.pass_(0.3)
        line.frames.clear()
    line.pass_(60.0)
    line.frames.clear()
    line.media.play(flat(99, 0.1))
    line.pass_(0.2)
    assert loud(line).index(True) == 0


def test_the_callers_stream_never_pauses_while_the_agent_is_quiet(line):
    sent = line.far._length
    for _ in range(500):
        line.pass_(FRAME)
        assert 1 <= line.far._length <= IDLE
    assert sent <= IDLE


def test_a_far_clock_that_runs_slower_or_faster_piles_nothing_up(line):
    for at in range(6000):
        line.pass_(FRAME)
        if at % 100 == 0:
            line.far.tick()  # one per cent faster than our clock
            line.socket.deliver()
    assert line.far._length <= IDLE
    for at in range(6000):
        if at % 100 == 0:  # slower
            Stopped(line).pass_one()
        line.pass_(FRAME)
    assert line.far._length <= IDLE + 1


class Stopped:
    """Asterisk's clock stands still."""

    def __init__(self, line: WebSocketLine) -> None:
        self._line = line

    def pass_one(self) -> None:
        tick, self._line.far.tick = self._line.far.tick, lambda: b""  # type: ignore[method-assign]
        self._line.pass_(FRAME)
        self._line.far.tick = tick  # type: ignore[method-assign]


def test_a_clip_is_told_begun_and_ended_in_the_frame_in_which_it_is(line):
    line.media.play(flat(1, 0.5))
    told = []
    for _ in range(40):
        line.pass_(FRAME)
        told.append((bool(line.of(PlaybackBegan)), bool(line.of(Played)), loud(line)[-1]))
    assert told[0][2]
    first, last = [at for at, (_, _, is_loud) in enumerate(told) if is_loud][:: 25 - 1]
    assert [began for began, _, _ in told].index(True) == first
    assert [ended for _, ended, _ in told].index(True) == last + 1


def test_silence_after_a_clear_is_at_once_and_what_was_heard_is_exact(line):
    line.media.play(flat(1, 10.0))
    line.pass_(3.0)
    sounded = sum(loud(line))
    assert line.far._length == AHEAD
    line.socket.said.clear()
    line.media.clear()
    assert asked(line, wire.Command.FLUSH_MEDIA) == 1
    (report,) = line.of(Played)
    assert report.heard == pytest.approx(sounded * FRAME, abs=0.001)
    line.frames.clear()
    line.pass_(1.0)
    assert not any(loud(line))


def test_sound_that_is_cut_is_faded_from_where_it_was_cut(line):
    ramp = np.repeat(np.arange(1, 51) * 200, 480).astype("<i2").tobytes()
    line.media.play(Clip(1, 0, Sound(ramp, 24000)))
    line.pass_(0.5)
    before = int(np.frombuffer(line.frames[-1], "<i2")[-1])
    line.media.clear()
    line.pass_(FRAME)
    fade = np.frombuffer(line.frames[-1], "<i2").astype(int)
    assert fade[0] == pytest.approx(before + 200, abs=5)
    assert not fade[120:].any()
    assert abs(np.diff(fade)).max() < before / 60


def test_a_clip_given_right_after_a_clear_does_not_cut_the_fading(line):
    line.media.play(flat(1, 10.0))
    line.pass_(0.5)
    line.media.clear()
    line.media.play(flat(2, 0.2, 7000))
    line.frames.clear()
    line.pass_(0.5)
    fade = np.frombuffer(line.frames[0], "<i2").astype(int)
    assert fade[0] == pytest.approx(4000, abs=50)
    assert not fade[120:].any()
    assert line.levels()[IDLE] == pytest.approx(7000, abs=50)
    assert line.played()[1] == (2, 0, 0.2)


def test_silence_within_a_clip_is_never_skipped(line):
    pcm = np.concatenate([np.full(4800, 4000), np.zeros(4800), np.full(4800, 4000)]).astype("<i2").tobytes()
    line.media.play(Clip(1, 0, Sound(pcm, 24000)))
    line.pass_(1.0)
    assert loud(line)[:31] == [True] * 10 + [False] * 10 + [True] * 10 + [False]


def test_a_stream_that_ran_dry_goes_on_at_once_and_whole(line):
    stream = SoundStream(24000)
    line.media.play(Clip(1, 0, stream))
    stream.append(np.full(2400 + 100, 5000, "<i2").tobytes())
    line.pass_(0.5)
    stream.append(np.full(2400 - 100, 5000, "<i2").tobytes())
    line.frames.clear()
    line.pass_(0.04)
    assert loud(line)[0]
    stream.end()
    line.pass_(0.5)
    assert line.played() == [(1, 0, 0.2)]


def test_the_first_samples_of_a_stream_are_not_skipped_with_the_silence_behind_them(line):
    stream = SoundStream(24000)
    stream.append(np.full(100, 5000, "<i2").tobytes())
    line.media.play(Clip(1, 0, stream))
    line.pass_(FRAME * IDLE)
    stream.append(np.full(4800, 5000, "<i2").tobytes())
    stream.end()
    line.pass_(0.5)
    heard = np.frombuffer(b"".join(line.frames), "<i2")
    assert (heard == 5000).sum() > 100 + 4800 - 150  # 5 ms are faded in again
    assert line.played() == [(1, 0, 0.2)]


def test_the_end_of_a_clip_that_has_only_just_left_is_not_put_at_risk_by_the_next(line):
    line.media.play(flat(1, 0.2))
    line.pass_(0.2)
    line.socket.said.clear()
    line.media.play(flat(2, 0.2))
    assert asked(line, wire.Command.FLUSH_MEDIA) == 0
    line.pass_(0.6)
    line.media.play(flat(3, 0.2))
    assert asked(line, wire.Command.FLUSH_MEDIA) == 1


def test_a_clear_while_only_silence_is_with_asterisk_flushes_nothing(line):
    line.media.play(flat(1, 0.2))
    line.pass_(1.0)
    line.socket.said.clear()
    line.media.clear()
    assert asked(line, wire.Command.FLUSH_MEDIA) == 0


def test_a_clear_in_the_moment_a_clip_was_given_tells_that_none_of_it_was_heard(line):
    line.media.play(flat(1, 1.0))
    line.media.clear()
    line.pass_(1.0)
    assert line.played() == [(1, 0, 0.0)]
    assert not line.of(PlaybackBegan)
    assert not any(loud(line))


def test_two_clips_cut_while_both_are_with_asterisk_are_told_each_with_its_own(line):
    line.media.play(flat(1, 0.06, 3000))
    line.media.play(flat(2, 1.0, 6000))
    line.pass_(FRAME * 2)
    assert line.levels()[-1] == pytest.approx(3000, abs=50)
    line.media.clear()
    assert line.played() == [(1, 0, 0.04), (2, 0, 0.0)]


def test_a_stream_that_grows_in_real_time_waits_once_and_is_then_heard_without_a_gap(line):
    stream = SoundStream(24000)
    line.media.play(Clip(1, 0, stream))
    for _ in range(20):
        stream.append(np.full(2400, 5000, "<i2").tobytes())  # 100 ms, a tenth of a second's worth at a time
        line.pass_(0.1)
    stream.end()
    line.pass_(0.5)
    first = loud(line).index(True)
    heard = loud(line)[first:]
    assert sum(heard) == 100
    assert len("".join("x" if is_loud else "." for is_loud in heard).strip(".").split("..")) <= 2
    assert heard[102:].count(True) == 0
    assert line.played() == [(1, 0, 2.0)]


def test_a_new_volume_is_heard_within_what_is_with_asterisk(line):
    line.media.play(flat(1, 2.0, 8000))
    line.pass_(0.5)
    line.media.volume(0.25)
    line.frames.clear()
    line.pass_(0.5)
    assert line.levels()[AHEAD + 1 :] == pytest.approx([2000] * (25 - AHEAD - 1), abs=20)


def test_nothing_is_sent_between_xoff_and_xon(line):
    line.media.play(flat(1, 1.0))
    line.pass_(0.2)
    line.media.on_event(wire.Xoff())
    line.pass_(0.5)
    assert line.far._length == 0
    line.media.on_event(wire.Xon())
    line.pass_(1.0)
    assert line.played() == [(1, 0, 1.0)]


def test_a_mark_that_never_comes_back_is_not_waited_for_long(line):
    line.far._knows_marks = False
    line.media.play(flat(1, 0.2))
    line.pass_(0.2)
    line.pass_(0.6)
    assert line.of(PlaybackBegan) == [PlaybackBegan(1, 0)]
    line.pass_(0.4)
    assert line.played() == [(1, 0, 0.2)]
    line.far._knows_marks = True
    line.pass_(1.0)
    line.media.play(flat(2, 0.2))
    line.pass_(0.5)
    assert line.played()[1:] == [(2, 0, 0.2)]


def test_an_asterisk_that_knows_no_marks_is_not_asked_for_them_all_the_call_long():
    """It logs a warning for each."""
    line = WebSocketLine(24000, knows_marks=False)
    line.started()
    for turn in range(30):
        line.media.play(flat(turn, 0.5))
        line.pass_(1.0)
    assert len(line.far.ignored) < MARKS_IN_VAIN + 8
    assert line.played() == [(turn, 0, 0.5) for turn in range(30)]


def test_an_asterisk_that_was_slow_to_tell_its_first_marks_is_asked_for_them_all_the_call_long(line):
    for _ in range(3):
        Late(line, 2.0)
        line.pass_(1.0)
    line.pass_(60.0)
    line.socket.said.clear()
    line.pass_(60.0)
    assert asked(line, wire.Command.MARK_MEDIA) == pytest.approx(120, abs=2)


def test_marks_of_before_a_flush_that_come_late_change_nothing(line):
    line.media.play(flat(1, 3.0))
    line.pass_(1.0)
    line.media.clear()
    for number in range(60):
        line.media.on_event(wire.MarkProcessed(str(number)))
    for nonsense in ("hello", "", "\u00b2", "-1"):
        line.media.on_event(wire.MarkProcessed(nonsense))
    line.media.on_event(wire.MarkProcessed("99999999"))
    line.media.play(flat(2, 0.4))
    line.pass_(1.0)
    assert [turn for turn, _, _ in line.played()] == [1, 2]
    assert line.played()[1] == (2, 0, 0.4)


def test_every_frame_is_whole_and_no_message_is_lost(line):
    line.media.play(flat(1, 1.003))
    line.media.play(flat(2, 0.0101))
    line.pass_(2.0)
    assert line.far.lost == 0
    assert line.far.ignored == []
    assert {len(frame) for frame in line.frames} == {960}
    assert line.played() == [(1, 0, 1.0), (2, 0, 0.01)]


def test_a_call_at_the_rate_of_its_agent_is_never_resampled(line, monkeypatch):
    pcm = np.random.default_rng(1).integers(-9000, 9000, 48000).astype("<i2").tobytes()
    monkeypatch.setattr("esl_agent.audio.playout.VoiceResampler", None)
    line.media.play(Clip(1, 0, Sound(pcm, 24000)))
    line.pass_(3.0)
    assert pcm in b"".join(line.frames)


def test_a_caller_without_any_sound_is_given_up_and_one_who_only_pauses_is_not():
    line = WebSocketLine(24000)
    line.started()
    line.is_talking = False
    line.pass_(60.0)
    assert line.losses() == []
    line = WebSocketLine(24000)
    line.is_talking = False
    line.media.start()
    line.pass_(10.0)
    assert line.of(MediaLost) == [MediaLost("the caller's sound does not come", final=True)]
    assert not line.of(MediaStarted)


def test_a_caller_in_g711_is_heard_and_spoken_to(monkeypatch):
    from virtual_websocket import Socket

    from esl_agent.legs.media_websocket_line import MediaWebSocketLine
    from esl_agent.testing.pretend_chan_websocket import FarChannel

    socket = Socket(FarChannel("ulaw", 160))
    socket.deliver()
    line = socket.line
    assert isinstance(line, MediaWebSocketLine)
    assert line.rate == 8000
    frames: list[bytes] = []

    class Ear:
        def on_frame(self, frame: bytes) -> None:
            frames.append(frame)

    line.listen(Ear())  # type: ignore[arg-type]
    line.take_sound(b"\xff" * 240)
    line.take_sound(b"\xff" * 80)
    assert frames == [bytes(320)] * 2
    line.send([bytes(320)])
    assert socket.far.tick() == b"\xff" * 160


def test_calls_leave_no_tick_or_object_and_need_no_collector():
    gc.collect()
    gc.disable()
    try:
        left = []
        for count in range(40):
            line = WebSocketLine(24000)
            if count % 4:
                line.started()
            line.media.play(flat(1, 1.0))
            line.pass_(0.1)
            if count % 4 == 2:
                line.media.clear()
            if count % 4 == 3:
                line.interrupt()
            line.media.close()
            line.media.close()
            assert line.left_behind() == []
            assert len(line.of(Played)) == 1
            left += [weakref.ref(line.media), weakref.ref(line.socket.line)]
            line.interrupt()
            line.socket.line = None
            del line
        assert not [alive for each in left if (alive := each()) is not None]
    finally:
        gc.enable()


def test_what_was_heard_when_we_hang_up_is_told_then_and_not_what_the_clock_says_later(line):
    line.media.play(flat(1, 10.0))
    line.pass_(0.5)
    sounded = sum(loud(line)) * FRAME
    assert line.socket.line is not None
    line.socket.line.hang_up()
    line.pass_(2.0)
    assert line.played() == [(1, 0, pytest.approx(sounded, abs=0.001))]
    assert line.left_behind() == []


def test_a_line_that_ended_before_its_sound_began_owes_its_reports_all_the_same():
    line = WebSocketLine(24000)
    line.media.play(flat(1, 1.0))
    line.interrupt()
    line.media.start()
    line.media.play(flat(2, 1.0))
    assert line.played() == [(1, 0, 0.0), (2, 0, 0.0)]
    assert line.left_behind() == []


def test_the_callers_sound_is_posted_only_after_the_start():
    line = WebSocketLine(24000)
    line.pass_(0.2)
    assert not line.of(Audio)
    line.media.start()
    line.pass_(0.2)
    assert len(line.of(Audio)) == 10


@settings(max_examples=60)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("play"), st.floats(0.005, 0.6)),
            st.tuples(st.just("stream"), st.floats(0.005, 0.6)),
            st.tuples(st.just("pass"), st.floats(0.02, 0.7)),
            st.tuples(st.just("late"), st.floats(0.02, 0.4)),
            st.tuples(st.just("clear"), st.just(0.0)),
        ),
        max_size=25,
    ),
    knows_marks=st.booleans(),
)
def test_whatever_happens_each_clip_is_reported_once_with_what_was_heard_of_it(steps, knows_marks):
    line = WebSocketLine(8000, knows_marks=knows_marks)
    line.started()
    clips = 0
    for what, amount in steps:
        if what in ("play", "stream"):
            sound = Sound(np.full(round(amount * 8000), 2000 + 400 * clips, "<i2").tobytes(), 8000)
            if what == "stream":
                grown = SoundStream(8000)
                line.media.play(Clip(clips, 0, grown))
                grown.append(sound.pcm)
                grown.end()
            else:
                line.media.play(Clip(clips, 0, sound))
            clips += 1
        elif what == "pass":
            line.pass_(amount)
        elif what == "late":
            Late(line, amount)
        else:
            line.media.clear()
    line.pass_(clips * 0.6 + 2.0)
    reports = line.of(Played)
    assert sorted(report.turn for report in reports) == list(range(clips))
    levels = line.levels()
    for report in reports:
        sounded = sum(abs(level - 2000 - 400 * report.turn) < 100 for level in levels) * FRAME
        assert report.heard == pytest.approx(sounded, abs=0.0405)
    began = [event.turn for event in line.of(PlaybackBegan)]
    assert len(began) == len(set(began))
    assert line.far.lost == 0
    assert line.far._length <= IDLE + (not knows_marks)
