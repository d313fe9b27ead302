"""The agent's clips: each is reported once, and no file stays behind."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_call import VirtualCall, clip

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue.events import CommandFailed, Event, PlaybackBegan, Played
from esl_agent.errors import LegError
from esl_agent.legs import clips as module
from esl_agent.legs.base import Clip
from esl_agent.legs.clips import ClipPlayer, clip_directory, remove_clip_directory, write_clip


class Stage:
    """A clip player on an answered call."""

    def __init__(self, folder: Path, mode: str = "clips", rate: int = 8000) -> None:
        self.call = VirtualCall(rate).subscribe()
        self.folder = folder
        self.posted: list[Event] = []
        self.player = ClipPlayer(self.call, folder, str(folder), self.posted.append, self.call.clock, mode)  # type: ignore[arg-type]
        self.call.on_event_hook = self.player.on_event

    def of(self, kind: type) -> list:
        return [event for event in self.posted if isinstance(event, kind)]

    def played(self) -> list[tuple[int, int, float]]:
        return [(event.turn, event.clip, round(event.heard, 2)) for event in self.of(Played)]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []


@pytest.fixture(params=["clips", "broadcast"])
def stage(request, tmp_path) -> Stage:
    return Stage(tmp_path, request.param)


@pytest.fixture
def queued(tmp_path) -> Stage:
    return Stage(tmp_path)


def test_a_clip_heard_to_its_end_is_reported_once_and_its_file_removed(stage):
    stage.player.play(clip(1, 0, 1.0))
    assert stage.files() == ["1-0.wav"]
    stage.call.after(20.0)
    assert stage.played() == [(1, 0, 1.0)]
    assert stage.of(PlaybackBegan) == [PlaybackBegan(1, 0)]
    assert stage.files() == []


def test_two_clips_are_heard_one_after_the_other(queued):
    queued.player.play(clip(1, 0, 1.0))
    queued.player.play(clip(1, 1, 0.5))
    queued.call.after(1.3)
    assert queued.played() == [(1, 0, 1.0)]
    queued.call.after(0.5)
    assert queued.played() == [(1, 0, 1.0), (1, 1, 0.5)]
    assert not queued.of(CommandFailed)


def test_a_short_clip_waits_for_a_long_one_before_it_however_long_that_is(queued):
    queued.player.play(clip(1, 0, 40.0))
    queued.player.play(clip(1, 1, 0.5))
    queued.call.after(45.0)
    assert queued.played() == [(1, 0, 40.0), (1, 1, 0.5)]


def test_a_clip_cut_by_the_caller_is_reported_with_what_was_heard(stage):
    stage.player.play(clip(1, 0, 3.0))
    stage.call.after(1.2)
    stage.player.clear()
    stage.call.after(10.0)
    (turn, number, heard), *more = stage.played()
    assert (turn, number, more) == (1, 0, [])
    assert heard == pytest.approx(1.2, abs=0.1)
    assert stage.files() == []


@pytest.mark.parametrize("clip_rate", [8000, 16000, 22050])
@pytest.mark.parametrize("codec_rate", [8000, 16000])
def test_what_was_heard_of_a_cut_clip_counts_in_samples_of_the_call_not_of_the_file(tmp_path, clip_rate, codec_rate):
    stage = Stage(tmp_path, rate=codec_rate)
    stage.player.play(clip(1, 0, 4.0, clip_rate))
    stage.call.after(2.0)
    stage.player.clear()
    stage.call.after(2.0)
    ((_, _, heard),) = stage.played()
    assert heard == pytest.approx(2.0, abs=0.06)


def test_a_clip_queued_behind_the_cut_one_is_reported_unheard_though_freeswitch_says_nothing(queued):
    queued.player.play(clip(1, 0, 3.0))
    queued.player.play(clip(1, 1, 2.0))
    queued.call.after(1.0)
    queued.player.clear()
    queued.call.after(1.0)
    assert [(turn, number) for turn, number, _ in queued.played()] == [(1, 0), (1, 1)]
    assert queued.played()[1][2] == 0.0
    queued.call.after(60.0)
    assert len(queued.played()) == 2


def test_a_clip_cut_before_its_first_frame_is_reported_unheard(queued):
    queued.player.play(clip(1, 0, 3.0))
    queued.player.clear()
    queued.call.after(10.0)
    assert queued.played() == [(1, 0, 0.0)]
    assert queued.files() == []


def test_a_clip_that_begins_in_spite_of_a_cut_is_stopped_again(queued):
    queued.call.machine.never_reply("api uuid_break")
    queued.player.play(clip(1, 0, 30.0))
    queued.player.clear()
    queued.call.after(1.0)
    assert [line.split()[3:] for line in queued.call.said if "uuid_break" in line] == [["all"], []]
    assert queued.played() == [(1, 0, 0.0)]


def test_a_clip_played_right_after_a_cut_is_heard(queued):
    queued.player.play(clip(1, 0, 3.0))
    queued.call.after(1.0)
    queued.player.clear()
    queued.player.play(clip(2, 0, 1.0))
    queued.call.after(10.0)
    assert queued.played()[-1] == (2, 0, 1.0)
    assert len(queued.played()) == 2


def test_clips_that_were_cut_are_heard_when_they_are_played_again_also_the_one_that_had_not_begun(queued):
    queued.player.play(clip(1, 0, 2.0))
    queued.player.play(clip(1, 1, 1.0))
    queued.call.after(0.5)
    queued.player.clear()
    queued.call.after(1.0)
    assert [(turn, number) for turn, number, _ in queued.played()] == [(1, 0), (1, 1)]
    cut = clip(1, 0, 2.0)
    queued.posted.clear()
    queued.player.play(Clip(1, 0, cut.audio, 0.5))
    queued.player.play(clip(1, 1, 1.0))
    queued.call.after(20.0)
    assert queued.played() == [(1, 0, 2.0), (1, 1, 1.0)]


def test_a_clip_that_freeswitch_cannot_find_fails_and_is_reported_unheard(tmp_path):
    stage = Stage(tmp_path)
    stage.player._seen_as = "/nowhere"
    stage.player.play(clip(1, 0, 1.0))
    stage.call.after(1.0)
    assert stage.played() == [(1, 0, 0.0)]
    (failure,) = stage.of(CommandFailed)
    assert failure.what == "play"
    assert "FILE NOT FOUND" in failure.reply
    assert "/nowhere/1-0.wav" in failure.reply


def test_a_clip_that_cannot_be_written_fails_and_is_reported_unheard(tmp_path):
    stage = Stage(tmp_path / "missing")
    stage.player.play(clip(1, 0, 1.0))
    assert stage.played() == [(1, 0, 0.0)]
    assert stage.of(CommandFailed)[0].what == "play"
    assert len([line for line in stage.call.said if "playback" in line]) == 0


@pytest.mark.parametrize("command", ["sendmsg", "api uuid_broadcast"])
def test_a_playback_that_freeswitch_refuses_is_reported_unheard(tmp_path, command):
    stage = Stage(tmp_path, "broadcast" if "broadcast" in command else "clips")
    stage.call.machine.refuse(command, "-ERR no")
    stage.player.play(clip(1, 0, 1.0))
    stage.call.after(1.0)
    assert stage.played() == [(1, 0, 0.0)]
    assert stage.files() == []


def test_a_cut_that_freeswitch_refuses_is_said(queued):
    queued.call.machine.refuse("api uuid_break", "-ERR no")
    queued.player.play(clip(1, 0, 1.0))
    queued.call.after(0.1)
    queued.player.clear()
    assert queued.of(CommandFailed)[0].what == "clear"


def test_a_lost_report_does_not_lose_the_clip(stage):
    stage.call.machine.lose_events("PLAYBACK_STOP")
    stage.call.machine.lose_events("CHANNEL_EXECUTE_COMPLETE")
    stage.player.play(clip(1, 0, 1.0))
    stage.call.after(30.0)
    assert len(stage.played()) == 1


def test_a_cut_whose_stop_event_was_lost_is_not_taken_for_a_whole_clip(queued):
    queued.call.machine.lose_events("PLAYBACK_STOP")
    queued.player.play(clip(1, 0, 4.0))
    queued.call.after(1.0)
    queued.player.clear()
    queued.call.after(5.0)
    ((_, _, heard),) = queued.played()
    assert heard == pytest.approx(1.0, abs=0.1)


def test_a_hang_up_in_the_middle_of_a_clip_reports_what_was_heard_not_all_of_it(stage):
    stage.player.play(clip(1, 0, 4.0))
    stage.call.after(1.0)
    stage.call.do(lambda machine: machine.caller_hangs_up(stage.call.now))
    stage.call.after(1.0)
    stage.player.close()
    ((_, _, heard),) = stage.played()
    assert heard == pytest.approx(1.0, abs=0.1)
    assert not stage.folder.exists()


def test_a_dead_event_socket_ends_every_clip_once(stage):
    stage.player.play(clip(1, 0, 4.0))
    stage.player.play(clip(1, 1, 4.0))
    stage.call.after(1.0)
    stage.call.do(lambda machine: machine.reset())
    stage.player.close()
    stage.player.close()
    assert sorted((turn, number) for turn, number, _ in stage.played()) == [(1, 0), (1, 1)]
    assert not stage.folder.exists()


def test_a_cut_with_nothing_to_cut_says_nothing(queued):
    before = list(queued.call.said)
    queued.player.clear()
    assert queued.call.said == before


deeds = st.lists(
    st.one_of(
        st.tuples(st.just("play"), st.floats(0.02, 4.0)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 0.0205, 0.03, 0.2, 1.0, 6.0])),
        st.tuples(st.just("clear"), st.just(0.0)),
        st.tuples(st.just("lose"), st.just(0.0)),
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(
    deeds=deeds,
    ending=st.sampled_from(["wait", "hang up", "reset", "close"]),
    mode=st.sampled_from(["clips", "broadcast"]),
)
def test_whatever_happens_every_clip_is_reported_exactly_once(tmp_path_factory, deeds, ending, mode):
    stage = Stage(tmp_path_factory.mktemp("clips"), mode)
    wanted = []
    for number, (deed, value) in enumerate(deeds):
        if deed == "play":
            wanted.append((1, number))
            stage.player.play(clip(1, number, value))
        elif deed == "wait":
            stage.call.after(value)
        elif deed == "clear":
            stage.player.clear()
        else:
            stage.call.machine.lose_events("PLAYBACK_STOP", 1)
    if ending == "wait":
        stage.call.after(120.0)
        assert sorted((turn, number) for turn, number, _ in stage.played()) == wanted
        assert stage.files() == []
    elif ending == "hang up":
        stage.call.do(lambda machine: machine.caller_hangs_up(stage.call.now))
        stage.call.after(2.0)
    elif ending == "reset":
        stage.call.do(lambda machine: machine.reset())
    stage.player.close()
    assert sorted((turn, number) for turn, number, _ in stage.played()) == wanted
    lengths = {(1, number): value for number, (deed, value) in enumerate(deeds) if deed == "play"}
    assert all(0.0 <= event.heard <= lengths[event.turn, event.clip] + 0.001 for event in stage.of(Played))
    assert not stage.folder.exists()


def test_a_file_is_never_seen_half_written(tmp_path, monkeypatch):
    seen = []
    replace = Path.replace

    def watched(self, target):
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    write_clip(tmp_path / "1-0.wav", Sound(b"\x01\x02" * 100, 22050))
    assert seen == [["1-0.part"]]
    with wave.open(str(tmp_path / "1-0.wav")) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (22050, 100, 1)


def test_a_full_disk_leaves_nothing_of_the_clip_behind(tmp_path, monkeypatch):
    def half(self, data):
        with self.open("wb") as out:
            out.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    stage = Stage(tmp_path)
    stage.player.play(clip(1, 0, 1.0))
    assert stage.played() == [(1, 0, 0.0)]
    assert "No space left" in stage.of(CommandFailed)[0].reply
    assert stage.files() == []


def test_a_killed_services_clips_are_removed_and_a_running_ones_are_not(tmp_path):
    running = clip_directory(str(tmp_path))
    for name in ("1-00c0ffee", "other"):
        (tmp_path / name).mkdir()
    for path in tmp_path.iterdir():
        os.utime(path, (0.0, 0.0))
    mine = clip_directory(str(tmp_path))
    assert mine.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({running.name, "other", mine.name})


def test_a_stopped_service_leaves_neither_directory_nor_open_file(tmp_path):
    mine = clip_directory(str(tmp_path))
    (mine / "1-0.wav").write_bytes(b"")
    remove_clip_directory(mine)
    remove_clip_directory(mine)
    assert list(tmp_path.iterdir()) == []
    gevent.idle()  # gevent closes a descriptor at the hub's next turn
    opened = [
        os.readlink(f"/proc/self/fd/{number}")
        for number in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{number}")
    ]
    assert not [path for path in opened if str(path).startswith(str(mine))]


def test_a_directory_that_its_service_has_not_locked_yet_is_left_alone(tmp_path):
    (tmp_path / "1-00c0ffee").mkdir()
    clip_directory(str(tmp_path))
    assert (tmp_path / "1-00c0ffee").is_dir()


def test_without_a_writable_directory_the_service_does_not_begin(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path / "file"))
    with pytest.raises(LegError, match="neither"):
        clip_directory(str(tmp_path / "file" / "below"))


def test_an_unusable_directory_is_replaced_by_a_temporary_one(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    assert clip_directory(str(tmp_path / "file")).parent == tmp_path / "esl_agent"
