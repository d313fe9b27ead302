"""The pretend FreeSWITCH's unicast does what the real one was seen to do."""

from __future__ import annotations

import pytest

from esl_agent.testing.fs_channel import Party
from esl_agent.testing.fs_effects import CloseUnicast, OpenUnicast
from esl_agent.testing.fs_machine import Machine
from esl_agent.wire import esl_commands as commands

UUID = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
OURS = ("127.0.0.1", 12000)


class Stage:
    def __init__(self) -> None:
        self.machine = Machine(Party(UUID), lambda path: None)
        self.now = 0.0
        for command in (commands.connect(), commands.linger(5), commands.my_events("plain")):
            self.send(command)
        self.send(commands.execute("answer"))
        self.effects()

    def send(self, command: bytes, wait: float = 0.1) -> None:
        self.machine.receive(command, self.now)
        self.now += wait
        self.machine.tick(self.now)

    def unicast(self, port: int = 14000) -> None:
        self.send(commands.unicast(("127.0.0.1", port), OURS))

    def effects(self) -> list[object]:
        return [each for each in self.machine.outgoing() if isinstance(each, OpenUnicast | CloseUnicast)]

    def events(self) -> str:
        return b"".join(getattr(each, "data", b"") for each in self.machine.outgoing()).decode()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_it_flows_from_the_next_frame_on_and_ends_with_a_playback(stage):
    stage.unicast()
    assert stage.machine.unicast.flows
    stage.send(commands.execute("playback", "silence_stream://500"))
    assert not stage.machine.unicast.flows
    stage.send(b"", 1.0)
    assert stage.effects() == [OpenUnicast(("127.0.0.1", 14000), OURS, False), CloseUnicast()]


def test_set_does_not_end_it(stage):
    stage.unicast()
    stage.send(commands.execute("set", "a=b"))
    assert stage.machine.unicast.flows


def test_it_works_once_per_park(stage):
    stage.unicast()
    stage.send(commands.execute("playback", "silence_stream://100"), 1.0)
    stage.unicast()
    stage.unicast(14001)
    assert not stage.machine.unicast.flows
    stage.send(commands.api("uuid_transfer", UUID, "set:park_timeout=60,park", "inline"))
    assert stage.machine.channel.variables["park_timeout"] == "60"
    stage.unicast(14001)
    assert stage.machine.unicast.flows
    assert stage.machine.socket.is_open


def test_a_new_park_is_told_in_the_order_that_was_seen(stage):
    stage.events()
    stage.send(commands.api("uuid_transfer", UUID, "set:park_timeout=60,park", "inline"))
    names = [line[12:] for line in stage.events().split("\n") if line.startswith("Event-Name: ")]
    assert names == [
        "CHANNEL_UNPARK", "CHANNEL_EXECUTE_COMPLETE", "CHANNEL_STATE", "CHANNEL_STATE",
        "CHANNEL_EXECUTE", "CHANNEL_EXECUTE_COMPLETE", "CHANNEL_EXECUTE", "CHANNEL_PARK",
    ]  # fmt: skip


def test_a_second_one_with_the_same_port_changes_nothing(stage):
    stage.unicast()
    stage.unicast()
    assert stage.machine.unicast.flows
    assert len(stage.effects()) == 1


def test_a_second_one_with_another_port_may_take_freeswitch_down(stage):
    stage.unicast()
    stage.unicast(14001)
    assert "outlives" in stage.machine.crash_reason


def test_a_port_that_cannot_be_bound_may_be_followed_by_another(stage):
    stage.unicast()
    stage.machine.unicast_failed("Address already in use", stage.now)
    assert not stage.machine.unicast.flows
    stage.unicast(14001)
    assert stage.machine.unicast.flows


def test_a_hang_up_ends_it(stage):
    stage.unicast()
    stage.machine.caller_hangs_up(stage.now)
    stage.machine.tick(stage.now + 1.0)
    assert stage.effects()[-1] == CloseUnicast()
