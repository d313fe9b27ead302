"""A voice that sends its own frames, where the far end counts on fifty a second."""

from __future__ import annotations

import pytest
from virtual_line import Ticks

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue.events import HungUp, PlaybackBegan, Played
from esl_agent.legs.base import Clip
from esl_agent.legs.streamed_voice import MAX_MISSED, StreamedVoice


class Stage:
    def __init__(self, keeps_up: bool) -> None:
        self.now = 0.0
        self.sent: list[bytes] = []
        self.posted: list[object] = []
        self.ticks = Ticks()
        clock = (lambda: self.now) if keeps_up else None
        self.voice = StreamedVoice(8000, self.ticks, self.sent.append, self.posted.append, clock)
        self.voice.open()

    def tick(self, times: int = 1, every: float = 0.02) -> None:
        for _ in range(times):
            self.now += every
            for tick in list(self.ticks.ticks.values()):
                tick()


@pytest.mark.parametrize(("keeps_up", "frames"), [(True, 31), (False, 22)])
def test_frames_that_were_left_out_are_made_up_for_where_the_far_end_counts_on_them(keeps_up, frames):
    stage = Stage(keeps_up)
    stage.tick(10)
    stage.now += 0.18
    stage.tick(11)
    assert len(stage.sent) == pytest.approx(frames, abs=1)


def test_a_very_long_pause_is_not_made_up_for():
    stage = Stage(True)
    stage.now += 60.0
    stage.tick(5)
    assert len(stage.sent) <= 1 + 5 + MAX_MISSED


def test_a_clip_is_over_when_it_was_sent_however_the_frames_came():
    stage = Stage(True)
    stage.voice.play(Clip(1, 0, Sound(b"\1\0" * 1600, 8000)))
    stage.tick(1, 0.4)
    assert [event for event in stage.posted if isinstance(event, Played)] == [Played(1, 0, 0.2)]


def test_while_it_is_paused_nothing_leaves_and_positions_stand_still():
    stage = Stage(False)
    stage.voice.play(Clip(1, 0, Sound(b"\1\0" * 8000, 8000)))
    stage.tick(10)
    stage.voice.pause()
    before = len(stage.sent)
    stage.tick(100)
    assert len(stage.sent) == before
    stage.voice.clear()
    assert stage.posted[-1] == Played(1, 0, pytest.approx(0.205))


@pytest.mark.parametrize("last", range(7))
def test_a_line_that_ends_with_any_frame_is_told_to_have_ended_behind_all_that_was_heard(last):
    """That the caller is gone is found out by sending."""
    sent, posted, ticks = [], [], Ticks()

    def send(frame: bytes) -> None:
        sent.append(frame)
        if len(sent) == last + 1:
            voice.close()
            posted.append(HungUp("NORMAL_CLEARING"))

    voice = StreamedVoice(8000, ticks, send, posted.append)
    for number in range(2):
        voice.play(Clip(1, number, Sound(b"\1\0" * 320, 8000)))
    voice.open()
    for _ in range(10):
        for tick in list(ticks.ticks.values()):
            tick()
    assert type(posted[-1]) is HungUp
    assert [event.clip for event in posted if isinstance(event, Played)] == [0, 1]
    for number in range(2):
        told = [type(event) for event in posted if getattr(event, "clip", None) == number]
        assert told in ([PlaybackBegan, Played], [Played])
