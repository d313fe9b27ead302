"""The pretend Asterisk's end of AudioSocket is as strict as the real one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from esl_agent.testing.pretend_audiosocket import PretendAudioSocket
from esl_agent.wire import audiosocket as wire

FRAME = wire.sound_frame(0x13, bytes(960))


class Agent:
    """A program behind AudioSocket, by hand."""

    def __init__(self, **options: Any) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.caller = PretendAudioSocket(listening.getsockname(), **options)
        self.sock, _ = listening.accept()
        self.sock.settimeout(5.0)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.close()

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.sock.recv(size - len(data))
        return data


@pytest.fixture
def agent() -> Iterator[Agent]:
    made = Agent()
    yield made
    made.caller.hang_up()
    made.sock.close()


def test_it_says_what_a_real_one_says(agent):
    agent.caller.say(bytes(960))
    agent.caller.press("5")
    assert agent.read(19) == b"\x01\x00\x10" + agent.caller.uuid.bytes
    assert agent.read(963) == b"\x13\x03\xc0" + bytes(960)
    assert agent.read(4) == b"\x03\x00\x01\x35"


@pytest.mark.parametrize(("label", "first", "size"), [("old", b"\x10\x03\xc0", 960), ("ulaw", b"\x10\x00\xa0", 160)])
def test_it_labels_sound_as_those_do_that_are_old_or_lack_a_codec(label, first, size):
    agent = Agent(label=label)
    agent.caller.say(bytes(960 if label == "old" else 320))
    agent.read(19)
    assert agent.read(3) == first
    assert set(agent.read(size)) == ({0} if label == "old" else {0xFF})
    agent.caller.hang_up()
    agent.sock.close()


@pytest.mark.parametrize("kind", sorted(wire.RATES))
def test_sound_of_any_kind_is_heard(agent, kind):
    agent.sock.sendall(wire.sound_frame(kind, b"\1\2" * 100) + wire.GOODBYE_FRAME)
    assert agent.caller.wait()
    assert (agent.caller.heard, agent.caller.faults) == (b"\1\2" * 100, [])
    assert agent.caller.heard_rate == wire.RATES[kind]
    assert agent.caller.said_goodbye


@pytest.mark.parametrize(
    "data", [b"\x03\x00\x01\x35", b"\xff\x00\x00", b"\x01\x00\x10" + bytes(16), b"\x02\x00\x00", b"\x13\x00\x00"]
)
def test_anything_but_sound_and_a_goodbye_ends_the_call(agent, data):
    agent.sock.sendall(FRAME + data)
    assert agent.caller.wait()
    assert len(agent.caller.frames) == 1
    assert len(agent.caller.faults) == 1


def test_an_old_one_takes_no_typed_sound():
    agent = Agent(label="old")
    agent.sock.sendall(wire.sound_frame(0x10, bytes(320)) + FRAME)
    assert agent.caller.wait()
    assert "kind 0x13" in agent.caller.faults[0]
    agent.sock.close()


@pytest.mark.parametrize("part", [3, 500])
def test_a_payload_that_pauses_ends_the_call(agent, part):
    agent.sock.sendall(FRAME[:part])
    gevent.sleep(0.008)
    agent.sock.sendall(FRAME[part:])
    assert agent.caller.wait()
    assert "Poll timed out" in agent.caller.faults[0]


def test_a_pause_between_frames_or_within_a_header_is_harmless(agent):
    for piece in (FRAME[:1], FRAME[1:], FRAME):
        agent.sock.sendall(piece)
        gevent.sleep(0.008)
    assert len(agent.caller.frames) == 2
    assert agent.caller.faults == []
