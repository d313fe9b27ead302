"""Both directions of a call's sound over AudioSocket, where it is more than the contract asks."""

from __future__ import annotations

import audioop
import gc
import socket
import struct
import weakref

import gevent
import numpy as np
import pytest
from esl_peer import until
from virtual_line import Frames, Ticks

from esl_agent.audio import playout, resample
from esl_agent.audio.g711 import LAWS
from esl_agent.audio.pcm import Sound
from esl_agent.dialogue.events import Audio, HungUp, MediaLost, MediaStarted, Played
from esl_agent.legs import audiosocket_media, audiosocket_server, playout_clock
from esl_agent.legs.asterisk import AsteriskLeg, Caller, NoControl
from esl_agent.legs.audiosocket_line import AudioSocketLine
from esl_agent.legs.audiosocket_media import MAX_PAUSE, AudioSocketMedia
from esl_agent.legs.base import Clip
from esl_agent.legs.playout_clock import PlayoutClock
from esl_agent.testing.pretend_audiosocket import PretendAudioSocket
from esl_agent.wire.audiosocket import KINDS, SLIN
from esl_agent.wire.audiosocket_sound import LineSound


class Stage:
    """A started call at virtual time."""

    def __init__(self, sound: LineSound | None, quiet: float = 5.0) -> None:
        self.now = 100.0
        self.line = Frames(sound)
        self.ticks = Ticks()
        self.posted: list[object] = []
        self.media = AudioSocketMedia(self.line, self.ticks, self.posted.append, quiet=quiet, clock=lambda: self.now)
        self.media.start()

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += 0.02
            for tick in list(self.ticks.ticks.values()):
                tick()

    def of(self, kind: type) -> list:
        return [event for event in self.posted if isinstance(event, kind)]

    @property
    def heard(self) -> bytes:
        return b"".join(event.pcm for event in self.of(Audio))


def noise(samples: int) -> bytes:
    return np.random.default_rng(7).integers(-20000, 20000, samples, dtype="<i2").tobytes()


def tone(rate: int, seconds: float = 1.0, hertz: float = 600.0) -> bytes:
    return (8000 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype("<i2").tobytes()


def pitch(pcm: bytes, rate: int) -> float:
    samples = np.frombuffer(pcm, "<i2").astype(float)
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))))) * rate / len(samples)


def slin24() -> LineSound:
    return LineSound(KINDS[24000], 24000)


@pytest.fixture
def no_resampler(monkeypatch):
    """Whoever makes a resampler fails."""

    def made(*_: object) -> None:
        raise AssertionError("a resampler where the rates agree")

    for module, name in (
        (resample, "VoiceResampler"), (resample, "LineResampler"), (resample.soxr, "ResampleStream"),
        (resample.soxr, "resample"), (playout, "VoiceResampler"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, made)


@pytest.mark.usefixtures("no_resampler")
def test_at_24_khz_the_very_bytes_pass_both_ways_and_nothing_is_resampled():
    stage = Stage(slin24())
    spoken, heard = noise(24000), noise(12000)
    stage.media.play(Clip(1, 0, Sound(spoken, 24000)))
    for at in range(0, len(heard), 960):
        stage.line.arrives(heard[at : at + 960])
        stage.tick()
    stage.tick(30)
    assert stage.media.rate == 24000
    assert stage.heard == heard
    sent = b"".join(stage.line.sent[1:])
    assert sent[: len(spoken)] == spoken
    assert not any(sent[len(spoken) :][240:]), "silence follows, after a fade of 5 ms"


def test_that_test_would_notice_a_resampler(no_resampler):
    stage = Stage(slin24())
    with pytest.raises(AssertionError, match="rates agree"):
        stage.media.play(Clip(1, 0, Sound(noise(8000), 8000)))


def test_while_the_agent_is_quiet_silence_is_sent_fifty_times_a_second():
    stage = Stage(slin24())
    stage.tick(100)
    assert len(stage.line.sent) == 101
    assert set(stage.line.sent) == {bytes(960)}


@pytest.mark.parametrize("size", [480, 1440, 1920, 2880, 958, 962, 333])
def test_packets_of_other_lengths_become_frames_of_20_ms(size):
    stage = Stage(slin24())
    heard = noise(24000)
    pieces = [heard[at : at + size] for at in range(0, len(heard), size)]
    for piece in pieces:
        stage.line.arrives(piece)
    frames = stage.of(Audio)
    assert {len(event.pcm) for event in frames} == {960}
    whole = b"".join(piece[: len(piece) // 2 * 2] for piece in pieces)
    assert stage.heard == whole[: len(whole) // 960 * 960]


def test_an_older_asterisk_with_slin24_is_heard_at_24_khz_and_spoken_to_at_8():
    stage = Stage(LineSound(SLIN, 24000))
    heard = tone(24000)
    for at in range(0, len(heard), 960):
        stage.line.arrives(heard[at : at + 960])
    stage.media.play(Clip(1, 0, Sound(tone(24000), 24000)))
    stage.tick(60)
    assert (stage.media.rate, stage.heard) == (24000, heard)
    assert {len(frame) for frame in stage.line.sent} == {320}
    assert pitch(b"".join(stage.line.sent[5:45]), 8000) == pytest.approx(600, abs=5)


@pytest.mark.parametrize("law", LAWS)
def test_g711_without_a_codec_in_the_dialplan_is_decoded_and_answered_with_pcm(law):
    stage = Stage(LineSound(SLIN, 8000, law="PCMU"))
    said = tone(8000)
    coded = LAWS[law].encode(said)
    for at in range(0, len(coded), 160):
        stage.line.arrives(coded[at : at + 160])
    assert stage.heard[3200:] == LAWS[law].decode(coded)[3200:]
    stage.tick(3)
    assert {len(frame) for frame in stage.line.sent} == {320}


@pytest.mark.parametrize(
    ("rate", "heard_at"), [(12000, 12000), (44100, 24000), (48000, 48000), (96000, 24000), (192000, 24000)]
)
def test_rates_at_which_nobody_listens_become_24_khz_and_are_answered_at_their_own(rate, heard_at):
    stage = Stage(LineSound(KINDS[rate], rate))
    said = tone(rate, 2.0)
    size = rate // 25
    for at in range(0, len(said), size):
        stage.line.arrives(said[at : at + size])
    stage.media.play(Clip(1, 0, Sound(tone(24000), 24000)))
    stage.tick(60)
    assert stage.media.rate == heard_at
    assert len(stage.of(Audio)) == pytest.approx(100, abs=4)
    assert pitch(stage.heard[9600:], heard_at) == pytest.approx(600, abs=5)
    assert {len(frame) for frame in stage.line.sent} == {rate // 50 * 2}
    assert pitch(b"".join(stage.line.sent[5:45]), rate) == pytest.approx(600, abs=5)


def test_sound_whose_rate_shows_only_later_is_brought_to_the_rate_the_call_began_with():
    stage = Stage(None)
    assert stage.media.rate == 8000
    stage.tick(10)
    assert not stage.of(MediaStarted)
    stage.line.sound = slin24()
    said = tone(24000)
    for at in range(0, len(said), 960):
        stage.line.arrives(said[at : at + 960])
    assert stage.of(MediaStarted) == [MediaStarted(8000)]
    assert {len(event.pcm) for event in stage.of(Audio)} == {320}
    assert pitch(stage.heard, 8000) == pytest.approx(600, abs=5)
    assert {len(frame) for frame in stage.line.sent} == {320}


def test_a_kind_that_changes_in_the_middle_is_followed():
    stage = Stage(slin24())
    stage.line.arrives(bytes(960))
    said = tone(16000)
    for at in range(0, len(said), 640):
        stage.line.arrives(said[at : at + 640], KINDS[16000])
    assert pitch(stage.heard[960:], 24000) == pytest.approx(600, abs=5)
    assert {len(event.pcm) for event in stage.of(Audio)} == {960}


# a caller who is quiet on the wire


def test_a_caller_of_whom_no_sound_ever_came_is_given_up_after_quiet():
    stage = Stage(None, quiet=5.0)
    stage.tick(249)
    assert not stage.of(MediaLost)
    stage.tick(3)
    assert [event.final for event in stage.of(MediaLost)] == [True]
    stage.tick(500)
    assert len(stage.of(MediaLost)) == 1


def test_a_caller_who_was_heard_may_be_on_hold_for_minutes(caplog):
    caplog.set_level("INFO")
    stage = Stage(slin24(), quiet=1.0)
    stage.line.arrives(bytes(960))
    stage.tick(round((MAX_PAUSE - 1) / 0.02))
    assert not stage.of(MediaLost)
    assert caplog.text.count("pauses") == 1
    stage.line.arrives(bytes(960))
    stage.tick(round((MAX_PAUSE - 1) / 0.02))
    assert (stage.of(MediaLost), len(stage.of(MediaStarted))) == ([], 1)
    stage.tick(200)
    assert [event.final for event in stage.of(MediaLost)] == [True]


# with the real clock and a real socket


def test_after_a_busy_moment_no_more_than_three_frames_are_made_up_for(monkeypatch):
    class Timer:
        def __init__(self, *_: float) -> None: ...
        def start(self, fire) -> None: ...
        def stop(self) -> None: ...
        def close(self) -> None: ...

    class Hub:
        loop = type("Loop", (), {"timer": Timer})

    monkeypatch.setattr(playout_clock, "get_hub", Hub)
    now = [50.0]
    clock = PlayoutClock(lambda: now[0])
    line = Frames(slin24())
    media = AudioSocketMedia(line, clock, lambda event: None, clock=lambda: now[0])
    media.start()
    bursts = []
    for pause in [0.005] * 40 + [0.045] + [0.005] * 40 + [0.9] + [0.005] * 400:
        now[0] += pause
        before = len(line.sent)
        clock._fire()
        bursts.append(len(line.sent) - before)
    assert max(bursts[:40]) == 1
    assert max(bursts) == 3
    assert max(bursts[83:]) == 1
    assert sum(bursts[-400:]) == 100
    media.close()


def talk(line: AudioSocketLine, clock: PlayoutClock, posted: list[object]) -> None:
    media = AudioSocketMedia(line, clock, posted.append)
    over = gevent.event.Event()
    line.on_end = over.set
    media.start()
    media.play(Clip(1, 0, Sound(struct.pack("<h", 3000) * 7200, 24000)))
    over.wait()
    media.close()


def test_a_clip_is_heard_by_a_strict_asterisk_and_the_callers_voice_by_us():
    clock, posted = PlayoutClock(), []
    server = audiosocket_server.AudioSocketServer("127.0.0.1", 0, lambda line: talk(line, clock, posted))
    server.start()
    caller = PretendAudioSocket(("127.0.0.1", server.bound_port))
    caller.say(bytes(960))
    until(lambda: caller.frames)  # what a caller says before somebody listens is lost
    caller.speak(tone(24000, 0.4))
    until(lambda: any(isinstance(event, Played) for event in posted))
    until(lambda: sum(isinstance(event, Audio) for event in posted) >= 20)
    caller.hang_up()
    server.stop()
    assert caller.faults == []
    assert caller.heard_rate == 24000
    assert struct.pack("<h", 3000) * 7200 in caller.heard
    said = b"".join(event.pcm for event in posted if isinstance(event, Audio))
    assert said[-960 * 20 :] == tone(24000, 0.4)
    assert audioop.rms(said, 2) > 5000


def test_calls_leave_no_media_behind_without_the_collector(monkeypatch):
    gone: list[weakref.ref[object]] = []
    clock, posted = PlayoutClock(), []

    class Watched(AudioSocketMedia):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            gone.append(weakref.ref(self))

    monkeypatch.setattr(audiosocket_media, "AudioSocketMedia", Watched)
    monkeypatch.setitem(globals(), "AudioSocketMedia", Watched)
    server = audiosocket_server.AudioSocketServer("127.0.0.1", 0, lambda line: talk(line, clock, posted))
    server.start()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            caller = PretendAudioSocket(("127.0.0.1", server.bound_port))
            caller.say(bytes(960))
            until(lambda caller=caller: caller.frames)
            caller.hang_up()
        until(lambda: server.line_count == 0)
        assert len(gone) == 20
        until(lambda: not any(each() for each in gone))
        until(lambda: not any(clock._slots))
    finally:
        gc.enable()
        server.stop()


@pytest.mark.parametrize("ends", ["hang-up", "reset", "half a frame", "nonsense", "ours"])
def test_a_caller_who_leaves_in_mid_sentence_is_told_with_what_was_heard_before_the_end_of_the_call(ends):
    """Who is told of the hang-up asks for nothing any more."""
    clock, posted, lines = PlayoutClock(), [], []

    def answer(line: AudioSocketLine) -> None:
        media = AudioSocketMedia(line, clock, posted.append)
        over = gevent.event.Event()
        leg = AsteriskLeg(line, Caller(), NoControl(), posted.append)
        line.on_end = lambda: (leg.ended(), over.set())
        lines.append(line)
        media.start()
        media.play(Clip(1, 0, Sound(struct.pack("<h", 3000) * 24000 * 5, 24000)))
        media.play(Clip(1, 1, Sound(struct.pack("<h", 3000) * 2400, 24000)))
        over.wait()
        media.play(Clip(1, 2, Sound(bytes(48000), 24000)))
        media.close()

    server = audiosocket_server.AudioSocketServer("127.0.0.1", 0, answer)
    server.start()
    caller = PretendAudioSocket(("127.0.0.1", server.bound_port))
    caller.say(bytes(960))
    until(lambda: len(caller.frames) > 10)
    if ends == "reset":
        caller.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif ends in ("half a frame", "nonsense"):
        caller.write(b"\x13\x03" if ends == "half a frame" else b"\x42")
    if ends == "ours":
        lines[0].hang_up()
    elif ends != "nonsense":
        caller.hang_up()
    until(lambda: len([event for event in posted if isinstance(event, Played)]) == 3)
    server.stop()
    told = [event for event in posted if isinstance(event, Played | HungUp)]
    heard = sum(size for _, _, size in caller.frames) / 48000
    assert [type(event) for event in told] == [Played, Played, HungUp, Played]
    assert told[0].heard == pytest.approx(heard, abs=1.0)
    assert 0.18 < told[0].heard < 5.0
    assert [event.heard for event in (told[1], told[3])] == [0.0, 0.0]
    assert not any(clock._slots)
