"""The door for Asterisk, over real sockets: what is between a line and the call that is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent.event import Event as Flag

from esl_agent.asterisk_door import AsteriskArrival, AsteriskDoor
from esl_agent.config.asterisk import AsteriskSettings, AudioSocketSettings
from esl_agent.legs import audiosocket_line
from esl_agent.legs.asterisk import Caller, Control
from esl_agent.testing.pretend_audiosocket import PretendAudioSocket


class Desk:
    """In place of the Reception: a call is over when its line is."""

    def __init__(self) -> None:
        self.taken: list[AsteriskArrival] = []
        self.waited: list[float] = []

    def take(self, arrival: AsteriskArrival) -> None:
        self.taken.append(arrival)
        for _ in arrival.mailbox.until(lambda: None if arrival.leg._is_over else float("inf")):
            pass
        arrival.leg.close()

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
