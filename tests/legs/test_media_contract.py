"""What every MediaStream owes its call, whatever brings the sound. A new kind of media subclasses this."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from virtual_line import AudioSocketLine, ForkLine, Line, StreamingForkLine, UnicastLine
from virtual_websocket import WebSocketLine

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue.events import CommandFailed, MediaStarted, PlaybackBegan, Played
from esl_agent.legs.base import Clip


def flat(turn: int, number: int, seconds: float, level: int = 4000, start: float = 0.0) -> Clip:
    """A clip every sample of which is ``level``."""
    return Clip(turn, number, Sound(np.full(round(seconds * 8000), level, "<i2").tobytes(), 8000), start)


def near(levels: list[int], wanted: int) -> list[bool]:
    return [abs(level - wanted) < wanted / 20 for level in levels]


class MediaContract:
    """``line`` is an answered call whose media was started."""

    @pytest.fixture
    def idle(self, tmp_path: Any) -> Line:
        raise NotImplementedError

    @pytest.fixture
    def line(self, idle: Line) -> Line:
        return idle.started()

    def test_the_callers_frames_arrive_fifty_a_second_and_in_order(self, line):
        before = len(line.arrived())
        line.pass_(2.0)
        numbers = line.arrived()[before:]
        assert len(numbers) == pytest.approx(100, abs=2)
        assert set(np.diff(numbers) % 16) == {1}

    def test_media_start_is_told_once_with_the_rate_of_the_frames(self, line):
        line.pass_(1.0)
        assert line.of(MediaStarted) == [MediaStarted(line.media.rate)]
        assert {len(event.pcm) for event in line.posted if type(event).__name__ == "Audio"} == {line.media.rate // 25}

    def test_a_clip_is_heard_whole_and_reported_once(self, line):
        line.media.play(flat(1, 0, 0.5))
        line.pass_(2.0)
        assert line.played() == [(1, 0, 0.5)]
        assert line.of(PlaybackBegan) == [PlaybackBegan(1, 0)]
        assert sum(near(line.levels(), 4000)) == pytest.approx(25, abs=1)
        assert not line.of(CommandFailed)

    def test_clips_are_heard_in_the_order_they_were_given_without_a_gap(self, line):
        if not line.plays_in_order:
            pytest.skip("uuid_broadcast plays the second inside the first")
        for number in range(3):
            line.media.play(flat(1, number, 0.2, 2000 * (number + 1)))
        line.pass_(2.0)
        levels = [level for level in line.levels() if level > 500]
        assert len(levels) == pytest.approx(30, abs=1)
        assert all(after > 0.97 * before for before, after in itertools.pairwise(levels))
        assert line.played() == [(1, 0, 0.2), (1, 1, 0.2), (1, 2, 0.2)]

    def test_after_clear_there_is_silence_and_every_clip_is_reported_with_what_was_heard(self, line):
        line.media.play(flat(1, 0, 3.0))
        if line.plays_in_order:
            line.media.play(flat(1, 1, 3.0))
        line.pass_(1.0)
        sounded = sum(near(line.levels(), 4000)) * 0.02
        line.media.clear()
        line.frames.clear()
        line.pass_(2.0)
        loud = [at for at, level in enumerate(line.levels()) if level > 500]
        assert len(loud) <= round(line.tail / 0.02)
        first, *second = sorted(line.played())
        assert first == (1, 0, pytest.approx(sounded, abs=0.05))
        assert sounded > 0.8
        assert second == [(1, 1, 0.0)] * line.plays_in_order

    def test_a_clip_after_a_clear_is_heard(self, line):
        line.media.play(flat(1, 0, 3.0))
        line.pass_(0.5)
        line.media.clear()
        line.media.play(flat(2, 0, 0.4, 7000))
        line.pass_(2.0)
        assert line.played()[-1] == (2, 0, 0.4)
        assert len(line.played()) == 2
        assert sum(near(line.levels(), 7000)) == pytest.approx(20, abs=1)

    def test_a_clip_taken_up_again_goes_on_where_it_was_and_counts_from_its_beginning(self, line):
        ramp = Sound(np.repeat(np.arange(1, 51) * 100, 160).astype("<i2").tobytes(), 8000)
        line.media.play(Clip(1, 0, ramp))
        line.pass_(0.4)
        line.media.clear()
        line.pass_(0.5)
        ((_, _, heard),) = line.played()
        line.frames.clear()
        line.media.play(Clip(1, 0, ramp, heard))
        line.pass_(2.0)
        assert line.played()[1:] == [(1, 0, 1.0)]
        loud = [level for level in line.levels() if level]
        assert loud[1] == pytest.approx((heard / 0.02 + 1) * 100, abs=250)
        assert max(loud) == pytest.approx(5000, abs=150)

    def test_sound_that_broke_off_is_told_and_got_back(self, line):
        if not line.gets_sound_back:
            pytest.skip("a lost connection is the end of the call")
        line.interrupt()
        line.pass_(5.0)
        assert line.losses() == [False]
        assert len(line.of(MediaStarted)) == 2
        line.media.play(flat(2, 0, 0.4))
        line.pass_(1.5)
        assert line.played() == [(2, 0, 0.4)]

    def test_sound_that_never_comes_is_given_up_after_all_tries(self, idle):
        idle.is_talking = False
        idle.never_connects()
        idle.media.start()
        idle.pass_(20.0)
        assert idle.losses() == [False] * (idle.tries - 1) + [True]
        assert not idle.of(MediaStarted)

    def test_a_caller_who_hangs_up_is_no_loss_of_sound(self, line):
        line.call.do(lambda machine: machine.caller_hangs_up(line.call.now))
        line.pass_(10.0)
        assert line.losses() == []

    def test_closing_reports_what_was_queued_and_leaves_nothing_behind(self, line):
        line.media.play(flat(1, 0, 3.0))
        line.media.play(flat(1, 1, 3.0))
        line.pass_(0.5)
        line.media.close()
        line.media.close()
        assert sorted((turn, number) for turn, number, _ in line.played()) == [(1, 0), (1, 1)]
        assert line.left_behind() == []

    def test_after_closing_nothing_is_heard_and_a_clip_is_still_reported(self, line):
        line.media.close()
        line.posted.clear()
        line.frames.clear()
        line.media.play(flat(1, 0, 1.0, start=0.25))
        line.media.clear()
        line.media.volume(0.5)
        line.pass_(2.0)
        assert line.of(Played) == [Played(1, 0, 0.25)]
        assert not any(line.levels())
        assert [type(event) for event in line.posted if not isinstance(event, Played | CommandFailed)] == []
        assert line.left_behind() == []

    def test_it_may_be_closed_before_it_was_started(self, idle):
        idle.media.close()
        idle.pass_(1.0)
        assert idle.left_behind() == []

    def test_a_clear_with_nothing_to_clear_is_nothing(self, line):
        said = list(line.call.said)
        line.media.clear()
        line.pass_(0.2)
        assert line.call.said == said
        assert line.played() == []

    def test_a_voice_is_turned_down_where_media_streams(self, line):
        line.media.play(flat(1, 0, 2.0, 8000))
        line.pass_(0.5)
        line.media.volume(0.25)
        line.pass_(line.delay)
        line.frames.clear()
        line.pass_(0.5)
        wanted = 2000 if line.media.streams else 8000
        assert all(near(line.levels()[2:], wanted))

    def test_a_growing_sound_is_heard_as_it_comes_where_media_streams(self, line):
        if not line.media.streams:
            pytest.skip("a file is written whole")
        stream = SoundStream(8000)
        line.media.play(Clip(1, 0, stream))
        for _ in range(10):
            stream.append(np.full(800, 5000, "<i2").tobytes())
            line.pass_(0.1)
        assert line.played() == []
        line.pass_(1.0)
        stream.end()
        line.pass_(0.2)
        assert line.played() == [(1, 0, 1.0)]
        assert sum(near(line.levels(), 5000)) == pytest.approx(50, abs=2)


class TestClips(MediaContract):
    @pytest.fixture
    def idle(self, tmp_path):
        return ForkLine(tmp_path)


class TestBroadcast(MediaContract):
    @pytest.fixture
    def idle(self, tmp_path):
        return ForkLine(tmp_path, "broadcast")


class TestStreamingFork(MediaContract):
    @pytest.fixture
    def idle(self, tmp_path):
        return StreamingForkLine(tmp_path)


class TestUnicast(MediaContract):
    @pytest.fixture
    def idle(self, tmp_path):
        return UnicastLine()


class TestNativeUnicast(MediaContract):
    @pytest.fixture
    def idle(self, tmp_path):
        return UnicastLine(native=True)


class TestUnicastOnAWidebandCall(MediaContract):
    @pytest.fixture
    def idle(self, tmp_path):
        return UnicastLine(48000, media_rate=16000)


class TestAudioSocket(MediaContract):
    @pytest.fixture
    def idle(self, tmp_path):
        return AudioSocketLine()

    def test_a_lost_connection_ends_the_sound_but_not_by_a_loss_that_could_be_mended(self, line):
        """The end of the line is told by the line; the media owes no more than its reports, and at once."""
        line.media.play(flat(1, 0, 1.0))
        line.media.play(flat(1, 1, 1.0))
        line.pass_(0.5)
        line.interrupt()
        assert line.played() == [(1, 0, pytest.approx(0.5, abs=0.021)), (1, 1, 0.0)]
        line.frames.clear()
        line.media.play(flat(2, 0, 1.0))
        line.pass_(20.0)
        assert line.losses() == []
        assert line.played()[2:] == [(2, 0, 0.0)]
        assert not any(line.levels())
        assert line.left_behind() == []


class TestAudioSocketAt24(TestAudioSocket):
    @pytest.fixture
    def idle(self, tmp_path):
        return AudioSocketLine(24000)


class TestMediaWebSocket(MediaContract):
    @pytest.fixture
    def idle(self, tmp_path):
        return WebSocketLine()

    def test_a_lost_connection_is_the_end_of_the_call_and_tells_what_was_heard(self, line):
        ended = []
        line.socket.line.on_end = lambda: ended.append(line.played())
        line.media.play(flat(1, 0, 2.0))
        line.pass_(0.5)
        line.interrupt()
        line.pass_(20.0)
        line.media.play(flat(2, 0, 1.0))
        assert line.losses() == []
        assert line.played() == [(1, 0, pytest.approx(0.48, abs=0.03)), (2, 0, 0.0)]
        assert ended == [line.played()[:1]]
        assert line.left_behind() == []


class TestMediaWebSocketAt24(TestMediaWebSocket):
    @pytest.fixture
    def idle(self, tmp_path):
        return WebSocketLine(24000)


class TestMediaWebSocketInPlainWords(TestMediaWebSocket):
    @pytest.fixture
    def idle(self, tmp_path):
        return WebSocketLine(16000, is_json=False)


class TestMediaWebSocketWithoutMarks(TestMediaWebSocket):
    """Asterisk before 20.18 and 22.8."""

    @pytest.fixture
    def idle(self, tmp_path):
        return WebSocketLine(is_json=False, knows_marks=False)
