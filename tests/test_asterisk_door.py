"""The door for Asterisk, over real sockets: what is between a line and the call that is made of it."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event as Flag

from esl_agent.asterisk_door import AsteriskArrival, AsteriskDoor
from esl_agent.audio.pcm import Sound
from esl_agent.config.asterisk import AsteriskSettings, AudioSocketSettings
from esl_agent.dialogue.events import HungUp
from esl_agent.legs import audiosocket_line
from esl_agent.legs.asterisk import Caller, Control
from esl_agent.legs.base import Clip
from esl_agent.testing.pretend_audiosocket import PretendAudioSocket

DID: Any = SimpleNamespace(cascade=SimpleNamespace(transfer=SimpleNamespace(ringback="")))


class Desk:
    """In place of the Reception: a call is over when its line is."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.waited: list[float] = []
        self.left: list[weakref.ref[object]] = []
        self.hangs_up = False
        self.lineup = SimpleNamespace(find=lambda did: did == "5000" or None)

    def take(self, arrival: AsteriskArrival) -> None:
        leg, media = arrival.leg, arrival.media(DID)
        self.taken.append(leg.id)
        self.left += [weakref.ref(each) for each in (arrival, leg, media, leg.warm, arrival.mailbox)]
        media.start()
        media.play(Clip(1, 0, Sound(bytes(48000), 24000)))
        if self.hangs_up:
            leg.hang_up("NORMAL_CLEARING")
        for event in arrival.mailbox.until(lambda: float("inf")):
            if isinstance(event, HungUp):
                break
        media.close()
        leg.close()

    def wait_idle(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return True


class SlowDirectory:
    """Knows nobody, and takes its time to say so."""

    def __init__(self) -> None:
        self.patiences: list[float] = []
        self.says = Flag()

    def find(self, line: str, patience: float) -> tuple[Caller, Control] | None:
        self.patiences.append(patience)
        self.says.wait(5.0)
        return None

    def known(self, line: str) -> Control | None:
        return None


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def directory() -> SlowDirectory:
    return SlowDirectory()


@pytest.fixture
def door(desk: Desk, directory: SlowDirectory) -> Iterator[AsteriskDoor]:
    settings = AsteriskSettings(enabled=True, did="5000", audiosocket=AudioSocketSettings(port=1))
    made = AsteriskDoor(settings, desk)  # type: ignore[arg-type]
    made.audiosocket._address = ("127.0.0.1", 0)
    made.ami_calls = directory  # type: ignore[assignment]
    made.start()
    yield made
    directory.says.set()
    made.clean_up()


def call(door: AsteriskDoor) -> PretendAudioSocket:
    return PretendAudioSocket(("127.0.0.1", door.audiosocket.bound_port))


def until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(5.0):
        while not condition():
            gevent.sleep(0.002)


def test_a_drain_waits_for_a_caller_who_is_still_being_asked_for(door, desk, directory):
    phone = call(door)
    phone.say(bytes(960))
    until(lambda: directory.patiences)
    draining = gevent.spawn(door.wait_idle, 5.0)
    gevent.idle()
    assert (desk.waited, desk.taken, draining.dead) == ([], [], False)
    directory.says.set()
    until(lambda: desk.taken)
    assert not draining.dead
    phone.hang_up()
    draining.join(5.0)
    assert len(desk.waited) == 1


def test_a_caller_whose_sound_was_waited_for_waits_so_much_less_for_his_name(door, directory, monkeypatch):
    """He was answered when his line came, and has heard nothing since."""
    monkeypatch.setattr(audiosocket_line, "FIRST_SOUND_SECONDS", 0.05)
    phone = call(door)
    until(lambda: directory.patiences)
    assert directory.patiences[0] < AsteriskSettings().ami.patience - 0.04
    phone.hang_up()


def test_a_call_that_nobody_would_answer_without_its_number_waits_longer_for_it(door, desk, directory):
    """A slow AMI costs it some silence; it was lost."""
    door._settings = AsteriskSettings(enabled=True)
    phone = call(door)
    phone.say(bytes(960))
    until(lambda: directory.patiences)
    assert directory.patiences[0] > AsteriskSettings().ami.timeout - 0.5
    phone.hang_up()


def test_ari_is_asked_for_a_websocket_line_by_the_id_it_gave_and_ami_by_the_channels_name(door, directory):
    """The name is Asterisk's, and its news may come later than the line: half a second of that lost the call."""
    asked: list[str] = []

    class Ari:
        def find(self, line: str, patience: float) -> None:
            asked.append(line)

        def turn_away(self) -> None: ...
        def stop(self) -> None: ...

    start = SimpleNamespace(channel_id="esl-agent.esl_agent.m.1", channel="WebSocket/esl_agent/0x7f")
    directory.find = lambda line, patience: asked.append(line)
    door._settings = AsteriskSettings(enabled=True, unknown="refuse")
    door.ari_calls = Ari()
    door.ami = SimpleNamespace(is_connected=True, close=lambda: None)
    line = SimpleNamespace(id="ws-1", start=start, channel=start.channel, caller=Caller(), hang_up=lambda: None)
    door._came_by_websocket(line)
    assert asked == ["esl-agent.esl_agent.m.1", "WebSocket/esl_agent/0x7f"]


def test_calls_leave_nothing_behind_however_they_end_and_without_the_collector(door, desk, directory):
    def descriptors() -> int:
        gevent.idle()
        return len(os.listdir("/proc/self/fd"))

    phone = call(door)  # what the first call makes for all stays
    phone.hang_up()
    until(lambda: not door.audiosocket._connections)
    gc.collect()
    gc.disable()
    try:
        before, lines = descriptors(), []
        for count in range(60):
            ends = count % 5  # before its first sound; while AMI is asked; in the middle of a word; we hang up; dropped
            directory.says.clear() if ends == 1 else directory.says.set()
            desk.hangs_up = ends == 3
            phone, begun = call(door), len(desk.taken)
            until(lambda: door.audiosocket._lines)
            lines += [weakref.ref(each) for each in door.audiosocket._connections]
            if ends:
                asked = len(directory.patiences)
                phone.say(bytes(960))
                until(lambda asked=asked: len(directory.patiences) > asked)
            if ends > 1:
                until(lambda begun=begun: len(desk.taken) > begun)
            if ends == 4:
                phone.sock.close()
            elif ends != 3:
                phone.hang_up()
            directory.says.set()
            until(lambda: not door.audiosocket._connections)
            until(lambda: not any(each() for each in desk.left))
        phone = None
        until(lambda: descriptors() == before)
        assert not [each for ref in (*lines, *desk.left) if (each := ref()) is not None]
        assert len(desk.taken) == 48
        assert (door._ticker._timer, door._briefings._awaited) == (None, {})
    finally:
        gc.enable()
