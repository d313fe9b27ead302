"""The server that chan_websocket connects to, over real sockets."""

from __future__ import annotations

import gc
import json
import os
import socket
import struct
import weakref
from collections.abc import Iterator
from contextlib import suppress

import gevent
import pytest
from esl_peer import until
from websockets.frames import Close, Frame, Opcode

from esl_agent.errors import LegError
from esl_agent.legs import media_websocket_line, media_websocket_server
from esl_agent.legs.asterisk import AsteriskLeg, NoControl
from esl_agent.legs.media_websocket import MediaWebSocketMedia
from esl_agent.legs.media_websocket_line import MediaWebSocketLine
from esl_agent.legs.media_websocket_server import MediaWebSocketServer
from esl_agent.legs.playout_clock import PlayoutClock
from esl_agent.wire import chan_websocket as wire
from esl_agent.wire import websocket as wire_websocket

#: As Asterisk 22.10.1 asks.
HANDSHAKE = (
    b"GET /media?uuid=0815 HTTP/1.1\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Host: 127.0.0.1:8787\r\nSec-WebSocket-Protocol: media\r\nSec-WebSocket-Key: EP4GbwAAAAAy8YAcAAAAAA==\r\n\r\n"
)


def start(channel_id: str = "1795290080.1", **variables: str) -> str:
    """MEDIA_START as it came from Asterisk 22.10.1 for a call with inherited variables."""
    return json.dumps(
        {
            "event": "MEDIA_START", "connection_id": "agentws", "channel": "WebSocket/agentws/0x7f76fc0071b0",
            "channel_id": channel_id, "format": "slin24", "optimal_frame_size": 960, "ptime": 20,
            "channel_variables": {"DIALEDPEERNUMBER": "agentws/c(slin24)f(json)", **variables},
        }
    )  # fmt: skip


def text(said: str) -> bytes:
    return Frame(Opcode.TEXT, said.encode()).serialize(mask=True)


def sound(data: bytes) -> bytes:
    return Frame(Opcode.BINARY, data).serialize(mask=True)


class Asterisk:
    """The client's side of one WebSocket, by hand."""

    def __init__(self, server: MediaWebSocketServer) -> None:
        self.sock = socket.create_connection(("127.0.0.1", server.bound_port), timeout=5.0)
        self._data = b""

    def shake(self) -> str:
        self.sock.sendall(HANDSHAKE)
        while b"\r\n\r\n" not in self._data:
            self._data += self.sock.recv(4096)
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        return head.decode()

    def say(self, *messages: str) -> None:
        self.sock.sendall(b"".join(text(each) for each in messages))

    def hear(self) -> tuple[int, bytes]:
        """Opcode and payload of the next message; (8, code and reason) for a close, (-1, b"") for the end."""
        while (found := self._next()) is None:
            try:
                more = self.sock.recv(65536)
            except ConnectionError:
                more = b""
            if not more:
                return -1, b""
            self._data += more
        return found

    def _next(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 2 or (data[1] == 126 and len(data) < 4):
            return None
        size, head = (data[1], 2) if data[1] < 126 else (int.from_bytes(data[2:4], "big"), 4)
        if len(data) < head + size:
            return None
        self._data = data[head + size :]
        return data[0] & 15, data[head : head + size]

    def code(self) -> int:
        """What the connection was closed with; 0 without a word."""
        while True:
            opcode, payload = self.hear()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big")
            if opcode == -1:
                return 0

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Calls:
    """Takes every line and keeps it until it ends."""

    def __init__(self) -> None:
        self.lines: list[MediaWebSocketLine] = []
        self.ended: list[str] = []

    def take(self, line: MediaWebSocketLine) -> None:
        self.lines.append(line)
        line.on_end = lambda: self.ended.append(line.id)
        while line.is_open:
            gevent.sleep(0.001)


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def server(calls) -> Iterator[MediaWebSocketServer]:
    made = MediaWebSocketServer("127.0.0.1", 0, calls.take, allow=("127.0.0.0/8",), max_lines=20)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def asterisk(server) -> Asterisk:
    made = Asterisk(server)
    made.shake()
    return made


@pytest.fixture
def line(asterisk, calls) -> MediaWebSocketLine:
    asterisk.say(start(__ESL_AGENT_DID="7001"))
    until(lambda: calls.lines)
    return calls.lines[0]


def test_asterisk_is_let_in_with_the_subprotocol_it_asks_for(server):
    head = Asterisk(server).shake()
    assert head.startswith("HTTP/1.1 101 ")
    assert "Sec-WebSocket-Protocol: media" in head


def test_who_calls_is_read_from_the_channels_variables_and_never_from_the_request(asterisk, calls):
    asterisk.say(
        start(
            __ESL_AGENT_DID="7001", _ESL_AGENT_CALLER="4912345", ESL_AGENT_NAME="Anna B",
            __ESL_AGENT_CHANNEL="PJSIP/in-1", TARIFF="gold",
        )
    )  # fmt: skip
    until(lambda: calls.lines)
    (line,) = calls.lines
    caller = line.caller
    assert (caller.did, caller.number, caller.name, caller.channel) == ("7001", "4912345", "Anna B", "PJSIP/in-1")
    assert caller.variables["TARIFF"] == "gold"
    assert caller.variables["DIALEDPEERNUMBER"] == "agentws/c(slin24)f(json)"
    assert "0815" not in str(caller)
    assert (line.id, line.channel, line.rate) == ("ws-1795290080.1", "WebSocket/agentws/0x7f76fc0071b0", 24000)


@pytest.mark.parametrize("order", [1, -1])
def test_a_variable_set_on_the_channel_itself_wins_over_an_inherited_one(asterisk, calls, order):
    both = [("__ESL_AGENT_DID", "inherited"), ("ESL_AGENT_DID", "own")]
    asterisk.say(start(**dict(both[::order])))
    until(lambda: calls.lines)
    assert calls.lines[0].caller.did == "own"


def test_two_calls_never_have_the_same_name_and_no_name_has_a_path_in_it(server, calls):
    there = [Asterisk(server) for _ in range(2)]
    for each in there:
        each.shake()
        each.say(start("../../etc/x y\u2028"))
    until(lambda: len(calls.lines) == 2)
    assert [line.id for line in calls.lines] == ["ws-..-..-etc-x-y-", "ws-..-..-etc-x-y--2"]


def test_keys_pressed_before_anybody_listens_are_not_lost(asterisk, line):
    asterisk.say('{"event":"DTMF_END","channel_id":"1","digit":"7"}')
    until(lambda: line._digits)
    pressed: list[str] = []
    line.on_digit = pressed.append
    asterisk.say('{"event":"DTMF_END","channel_id":"1","digit":"#"}', '{"event":"SOMETHING_NEW"}')
    until(lambda: pressed == ["7", "#"])


def test_answer_and_hang_up_are_said_once_and_asterisks_goodbye_ends_the_line(asterisk, line, calls):
    line.answer()
    line.answer()
    line.hang_up()
    line.hang_up()
    line.send([bytes(960)])
    assert asterisk.hear() == (1, b'{"command":"ANSWER"}')
    assert asterisk.hear() == (1, b'{"command":"HANGUP"}')
    asterisk.sock.sendall(Frame(Opcode.CLOSE, Close(1000, "").serialize()).serialize(mask=True))
    assert asterisk.code() == 1000
    until(lambda: calls.ended == [line.id])
    line.close()
    assert calls.ended == [line.id]


def test_an_asterisk_that_does_not_hang_up_is_left(asterisk, line, calls, monkeypatch):
    monkeypatch.setattr(media_websocket_line, "HANG_UP_SECONDS", 0.02)
    line.hang_up()
    assert asterisk.code() == 1000
    until(lambda: calls.ended == [line.id])


def test_somebody_who_asks_for_the_end_after_it_is_told_at_once(asterisk, line):
    asterisk.reset()
    until(lambda: not line.is_open)
    told: list[str] = []
    line.on_end = lambda: told.append("end")
    assert told == ["end"]
    line.answer()
    line.hang_up()
    line.close()


@pytest.mark.parametrize(
    "messages",
    [
        sound(bytes(60000)) * 9,
        text("hello"),
        text("{" + "\U0001f600" * 80),
        text(start().replace("slin24", "opus")),
        text(start().replace("960", "100")),
        text(start()) + text(start()),
        text(start()) + text("{"),
        text(start()) + text('{"event":"DTMF_END","digit":"\\r\\n"}'),
        text(start()) + b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(4),
        text(start()) + b"\x03\x00" * 20,
        text("{" * 70000),
        Frame(Opcode.PING, b"").serialize(mask=True) * 6000,
        text(start()) + text("A") * 6000,
    ],
)
def test_a_peer_that_talks_nonsense_is_closed_and_no_other_call_is_harmed(server, asterisk, line, calls, messages):
    other = Asterisk(server)
    other.shake()
    with suppress(ConnectionError):
        other.sock.sendall(messages)
    assert other.code() in (0, 1002, 1008, 1009)
    until(lambda: server.line_count == 1)
    assert line.is_open
    pressed: list[str] = []
    line.on_digit = pressed.append
    asterisk.say('{"event":"DTMF_END","channel_id":"1","digit":"5"}')
    until(lambda: pressed == ["5"])


def test_sound_and_keys_that_overtake_media_start_are_passed_over_and_the_call_is_taken(asterisk, calls):
    """Asterisk's channel thread writes the sound, another one MEDIA_START (seen by others with 22.7)."""
    early = sound(b"\1" * 960) * 20 + text('{"event":"DTMF_END","channel_id":"1","digit":"7"}')
    asterisk.sock.sendall(early + text(start()) + sound(bytes(960)))
    until(lambda: calls.lines)
    assert calls.lines[0].is_open


@pytest.mark.parametrize("tiny", [Frame(Opcode.PING, b""), Frame(Opcode.BINARY, b"")])
def test_a_peer_that_sends_more_small_frames_than_a_telephone_can_is_closed(asterisk, line, calls, tiny, monkeypatch):
    monkeypatch.setattr(wire_websocket, "MAX_FRAMES_AT_ONCE", 10**6)
    with suppress(ConnectionError):
        for _ in range(100):
            asterisk.sock.sendall(tiny.serialize(mask=True) * 100)
            gevent.sleep(0)
    until(lambda: calls.ended)


def test_a_message_of_half_a_sample_does_not_shift_the_sound_that_follows(asterisk, line):
    heard: list[bytes] = []

    class Ear:
        on_frame = staticmethod(heard.append)

        def on_gone(self) -> None: ...

    line.listen(Ear())
    asterisk.sock.sendall(sound(b"\0\1" * 480 + b"\2") + sound(b"\3\4" * 480))
    until(lambda: len(heard) == 2)
    assert heard == [b"\0\1" * 480, b"\3\4" * 480]


def test_a_fax_tone_told_as_a_key_harms_nobody(asterisk, line):
    pressed: list[str] = []
    line.on_digit = pressed.append
    asterisk.say(*(f'{{"event":"DTMF_END","channel_id":"1","digit":"{each}"}}' for each in "f5"))
    until(lambda: pressed == ["5"])
    assert line.is_open


def test_a_peer_that_never_sends_media_start_is_closed(server, monkeypatch):
    monkeypatch.setattr(media_websocket_server, "PULSE_SECONDS", 0.03)
    silent = Asterisk(server)
    silent.shake()
    assert silent.code() == 1002
    until(lambda: server.refused == 1)


def test_a_peer_that_never_finishes_its_handshake_is_closed(server, monkeypatch):
    monkeypatch.setattr(media_websocket_server, "HANDSHAKE_SECONDS", 0.03)
    slow = Asterisk(server)
    slow.sock.sendall(HANDSHAKE[:40])
    assert slow.code() == 0
    until(lambda: server.line_count == 0)


def test_a_silent_line_is_asked_whether_it_is_there_and_given_up_without_an_answer(asterisk, line, calls):
    connection = line._connection
    for _ in range(3):
        until(lambda: connection.was_heard)
        connection._check()  # PULSE_SECONDS have passed
        connection._check()
        assert asterisk.hear() == (9, b"")
        asterisk.sock.sendall(Frame(Opcode.PONG, b"").serialize(mask=True))
    until(lambda: connection.was_heard)
    connection._check()
    connection._check()
    assert asterisk.hear() == (9, b"")
    assert calls.lines[0].is_open
    connection._check()
    until(lambda: calls.ended)


def test_an_asterisk_that_no_longer_reads_is_left_after_seconds_of_sound_not_minutes(asterisk, line, calls):
    asterisk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    frames = 0
    while line.is_open and frames < 4000:
        line.send([bytes(960)])
        frames += 1
    assert 50 < frames < 500
    until(lambda: calls.ended)


def test_more_sound_than_time_is_closed(asterisk, line, calls):
    with suppress(ConnectionError):
        for _ in range(200):
            asterisk.sock.sendall(sound(bytes(9600)))
    until(lambda: calls.ended)


def test_a_stranger_is_closed_unread():
    server = MediaWebSocketServer("127.0.0.1", 0, lambda line: None, allow=("10.0.0.0/8",))
    server.start()
    assert Asterisk(server).code() == 0
    assert server.refused == 1
    server.stop()


def test_a_call_too_many_is_closed_so_that_the_dialplan_goes_on(server):
    there = [Asterisk(server) for _ in range(20)]
    until(lambda: server.line_count == 20)
    assert Asterisk(server).code() == 0
    there[0].sock.close()
    until(lambda: server.line_count == 19)
    assert Asterisk(server).shake().startswith("HTTP/1.1 101 ")


def test_while_draining_the_port_is_closed_and_lines_go_on(server, asterisk, line):
    port = server.bound_port
    server.turn_away()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1.0)
    assert line.is_open
    assert server.line_count == 1
    server.stop()
    assert asterisk.code() == 1000


def test_a_port_that_is_taken_is_told(server):
    with pytest.raises(LegError, match=f"port {server.bound_port}"):
        MediaWebSocketServer("127.0.0.1", server.bound_port, lambda line: None).start()


def test_a_call_that_nobody_can_take_is_hung_up(caplog):
    def fail(line: MediaWebSocketLine) -> None:
        raise ValueError("no")

    server = MediaWebSocketServer("127.0.0.1", 0, fail)
    server.start()
    asterisk = Asterisk(server)
    asterisk.shake()
    asterisk.say(start())
    assert asterisk.hear() == (1, b'{"command":"HANGUP"}')
    assert "could not be taken" in caplog.text
    server.stop()


@pytest.mark.parametrize("ends", ["reset", "close frame", "half", "ours", "no frame", "no event", "too much"])
def test_calls_leave_no_socket_timer_or_object_however_they_end(ends):
    lines: list[weakref.ref[object]] = []
    posted: list[object] = []
    clock = PlayoutClock()

    def take(line: MediaWebSocketLine) -> None:
        media = MediaWebSocketMedia(line, clock, posted.append)
        leg = AsteriskLeg(line, line.caller, NoControl(), posted.append)
        line.on_digit, line.on_end = leg.digit, leg.ended
        lines.extend(weakref.ref(each) for each in (line, media, leg, line._connection))
        media.start()
        media.close()
        while line.is_open:
            gevent.sleep(0.001)
            if ends == "ours":
                leg.close()

    server = MediaWebSocketServer("127.0.0.1", 0, take)
    server.start()
    gevent.idle()
    gc.collect()
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            asterisk = Asterisk(server)
            asterisk.shake()
            asterisk.say(start())
            until(lambda: server.line_count == 1)
            if ends == "reset":
                asterisk.reset()
            elif ends == "close frame":
                asterisk.sock.sendall(Frame(Opcode.CLOSE, b"").serialize(mask=True))
            elif ends == "no frame":
                asterisk.sock.sendall(b"\x03\x00" * 20)
            elif ends == "no event":
                asterisk.say("{")
            elif ends == "too much":
                asterisk.sock.sendall(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(4))
            elif ends == "half":
                asterisk.sock.sendall(sound(bytes(960))[:100])
                asterisk.sock.close()
            until(lambda: server.line_count == 0)
            asterisk.sock.close()
        until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        until(lambda: not any(each() for each in lines))
        assert clock._timer is None
        assert not server._ids
    finally:
        gc.enable()
        server.stop()


def test_a_command_does_not_wait_for_the_callers_next_frame(line):
    """With Nagle's algorithm a flush waited for up to 14 ms."""
    assert line._connection._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_sound_and_marks_travel_both_ways(asterisk, line):
    heard: list[bytes] = []
    events: list[wire.Event] = []

    class Ear:
        def on_frame(self, frame: bytes) -> None:
            heard.append(frame)

        def on_event(self, event: wire.Event) -> None:
            events.append(event)

        def on_gone(self) -> None:
            events.append(wire.Xoff())

    assert line.listen(Ear())
    asterisk.sock.sendall(sound(b"\1" * 960) + sound(b"\2" * 1440) + sound(b"\3" * 480))
    until(lambda: len(heard) == 3)
    assert heard == [b"\1" * 960, b"\2" * 960, b"\2" * 480 + b"\3" * 480]
    line.send([wire.command(wire.Command.MARK_MEDIA, True, "17"), b"\4" * 960])
    assert asterisk.hear() == (1, b'{"command":"MARK_MEDIA","correlation_id":"17"}')
    assert asterisk.hear() == (2, b"\4" * 960)
    asterisk.say('{"event":"MEDIA_MARK_PROCESSED","channel_id":"1","correlation_id":"17"}')
    until(lambda: events == [wire.MarkProcessed("17")])
    asterisk.reset()
    until(lambda: events[1:] == [wire.Xoff()])
    assert not line.listen(Ear())
