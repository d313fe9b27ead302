"""The server that FreeSWITCH's fork brings the caller's sound to, over real sockets."""

from __future__ import annotations

import gc
import os
import socket
import struct
import weakref
from contextlib import suppress
from pathlib import Path

import pytest
from esl_peer import until
from websockets.frames import Close, Frame, Opcode

from esl_agent.legs import audio_server
from esl_agent.legs.audio_server import AudioServer, Connection, Listener, split_json

HANDSHAKE = (Path(__file__).parents[1] / "corpus" / "fork" / "audio_fork_8000.bin").read_bytes()
PATH = b"/path/x?token=a%20b&y=1"


def binary(data: bytes) -> bytes:
    return Frame(Opcode.BINARY, data).serialize(mask=True)


def text(said: str) -> bytes:
    return Frame(Opcode.TEXT, said.encode()).serialize(mask=True)


class Ear:
    """Who listens: keeps everything."""

    def __init__(self, rate: int = 8000) -> None:
        self.connection: Connection | None = None
        self.opened = 0
        self.frames: list[bytes] = []
        self.texts: list[str] = []
        self.closed: list[str] = []
        self.listener = Listener(
            rate, self._open, self.frames.append, self.texts.append, lambda connection, why: self.closed.append(why)
        )

    def _open(self, connection: Connection) -> None:
        self.connection = connection
        self.opened += 1


class Module:
    """The client's side of one WebSocket, by hand."""

    def __init__(self, server: AudioServer) -> None:
        self.sock = socket.create_connection(server.address, timeout=5.0)

    def shake(self, path: str) -> bytes:
        self.sock.sendall(HANDSHAKE.replace(PATH, path.encode()))
        return self.read_until(b"\r\n\r\n")

    def read_until(self, end: bytes) -> bytes:
        data = b""
        while end not in data and (more := self.sock.recv(4096)):
            data += more
        return data

    def read_all(self) -> bytes:
        data = b""
        while True:
            try:
                more = self.sock.recv(65536)
            except ConnectionError:
                return data
            if not more:
                return data
            data += more

    def push(self, data: bytes) -> None:
        """Send, without ever reading, until the server has had enough."""
        with suppress(ConnectionError):
            while True:
                self.sock.sendall(data)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@pytest.fixture
def server():
    made = AudioServer(("127.0.0.1", 0), 65536, 4.0)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def module(server, ear) -> Module:
    """A module that was let in."""
    made = Module(server)
    assert made.shake(server.expect(ear.listener)).startswith(b"HTTP/1.1 101 ")
    return made


def test_a_listener_that_speaks_at_once_speaks_after_the_handshake(server, ear):
    ear.listener.on_open = lambda connection: connection.send_sound(b"\1\2" * 160)
    data = Module(server).shake(server.expect(ear.listener))
    head, _, rest = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert rest in (b"", b"\x82\x7e\x01\x40" + b"\1\2" * 160)


def test_a_calls_sound_arrives_in_frames_of_twenty_milliseconds(module, ear):
    module.sock.sendall(binary(b"\x01" * 320) + binary(b"\x02" * 640) + binary(b"\x03" * 1))
    module.sock.sendall(binary(b"\x03" * 318) + binary(b"") + binary(b"\x03" * 15361))
    until(lambda: len(ear.frames) == 3 + 49)
    assert {len(frame) for frame in ear.frames} == {320}
    assert b"".join(ear.frames) == b"\x01" * 320 + b"\x02" * 640 + b"\x03" * 15680


def test_a_wideband_calls_frames_are_twice_as_long(server):
    ear = Ear(16000)
    module = Module(server)
    module.shake(server.expect(ear.listener))
    module.sock.sendall(binary(bytes(1280)))
    until(lambda: len(ear.frames) == 2)
    assert len(ear.frames[0]) == 640


def test_a_token_lets_in_one_connection_only(server, module, ear):
    path = server.expect(ear.listener)
    assert b" 101 " in Module(server).shake(path)
    assert b" 403 " in Module(server).shake(path)
    assert ear.opened == 2
    assert server.refused == 1


@pytest.mark.parametrize("path", ["/", "/unknown", "/../x", "//", "/%00", "/" + "a" * 4000])
def test_without_a_calls_token_nobody_is_let_in(server, ear, path):
    server.expect(ear.listener)
    module = Module(server)
    assert b" 403 " in module.shake(path)
    assert module.read_all() == b""
    assert ear.opened == 0


def test_a_forgotten_token_lets_nobody_in(server, ear):
    path = server.expect(ear.listener)
    server.forget(path)
    server.forget(path)
    assert b" 403 " in Module(server).shake(path)


def test_tokens_differ_and_cannot_be_guessed(server, ear):
    paths = {server.expect(ear.listener) for _ in range(100)}
    assert len(paths) == 100
    assert min(map(len, paths)) > 20


def test_a_query_behind_the_token_does_no_harm(server, ear):
    assert b" 101 " in Module(server).shake(server.expect(ear.listener) + "?x=1")


@pytest.mark.parametrize("said", [b"", HANDSHAKE[:100]], ids=["silent", "half a handshake"])
def test_who_does_not_finish_the_handshake_in_time_is_dropped(monkeypatch, said):
    monkeypatch.setattr(audio_server, "HANDSHAKE_SECONDS", 0.05)
    server = AudioServer(("127.0.0.1", 0), 65536, 4.0)
    server.start()
    module = Module(server)
    module.sock.sendall(said)
    assert module.read_all() == b""
    until(lambda: server._handshakes == 0 and not server._connections)
    server.stop()


def test_an_open_connection_outlives_the_handshakes_deadline(monkeypatch):
    monkeypatch.setattr(audio_server, "HANDSHAKE_SECONDS", 0.05)
    server, ear = AudioServer(("127.0.0.1", 0), 65536, 4.0), Ear()
    server.start()
    module = Module(server)
    module.shake(server.expect(ear.listener))
    late = Module(server)
    assert late.read_all() == b""
    module.sock.sendall(binary(bytes(320)))
    until(lambda: ear.frames)
    assert ear.closed == []
    server.stop()


@pytest.mark.parametrize("end", ["FIN", "RST", "close"])
@pytest.mark.parametrize("before", [b"", binary(bytes(320))[:100]], ids=["between frames", "in a frame"])
def test_a_connection_that_ends_is_reported_once(module, ear, end, before, server):
    module.sock.sendall(before)
    if end == "FIN":
        module.sock.close()
    elif end == "RST":
        module.reset()
    elif before:
        pytest.skip("a close frame in a frame is no close frame")
    else:
        module.sock.sendall(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True))
        assert module.read_all() == Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=False)
    until(lambda: ear.closed)
    ear.connection.close("late")
    assert len(ear.closed) == 1
    assert not server._connections


def test_half_a_handshake_and_then_nothing_is_no_call(server, ear):
    server.expect(ear.listener)
    module = Module(server)
    module.sock.sendall(HANDSHAKE[:100])
    module.sock.close()
    until(lambda: not server._connections)
    assert server._handshakes == 0
    assert (ear.opened, ear.closed) == (0, [])


def test_texts_glued_together_by_the_module_are_taken_apart(module, ear):
    module.sock.sendall(text('{"a":1}{"b":[2]} {"c":3}') + text("plain") + text(""))
    until(lambda: len(ear.texts) == 4)
    assert ear.texts == ['{"a":1}', '{"b":[2]}', '{"c":3}', "plain"]


def test_text_where_sound_is_due_does_no_harm(module, ear):
    module.sock.sendall(text("x" * 60000) + text("\x00") + binary(bytes(320)))
    until(lambda: ear.frames)
    assert ear.closed == []


@pytest.mark.parametrize("said", ["[" * 60000, '{"a":' * 12000, "1" * 5000])
def test_text_made_to_exhaust_a_parser_is_text_and_nothing_else(said):
    assert "".join(split_json(said)) == said


def test_too_much_sound_ends_the_connection_with_1008(module, ear):
    module.push(binary(bytes(16000)))
    assert ear.closed == ["too much sound"]
    assert len(ear.frames) <= 6 * 50


def test_too_much_sound_is_said_to_the_peer(module, ear):
    module.sock.sendall(binary(bytes(60000)) * 2)
    assert Frame(Opcode.CLOSE, Close(1008, "too much sound").serialize()).serialize(mask=False) in module.read_all()


def test_a_burst_of_merged_frames_is_no_flood(module, ear):
    module.sock.sendall(binary(bytes(15360)) * 5)
    until(lambda: len(ear.frames) == 5 * 48)
    assert ear.closed == []


@pytest.mark.parametrize("nonsense", [b"GET / HTTP/1.1\r\n\r\n", os.urandom(64) + b"\r\n\r\n", b"connect\n\n\r\n\r\n"])
def test_who_speaks_another_protocol_is_dropped(server, nonsense):
    module = Module(server)
    module.sock.sendall(nonsense)
    module.read_all()
    until(lambda: not server._connections)
    assert server._handshakes == 0


def test_an_unmasked_frame_ends_the_connection(module, ear):
    module.sock.sendall(Frame(Opcode.BINARY, bytes(320)).serialize(mask=False))
    until(lambda: ear.closed)
    assert ear.frames == []


def test_a_ping_is_answered(module):
    module.sock.sendall(Frame(Opcode.PING, b"?").serialize(mask=True))
    assert module.sock.recv(100) == Frame(Opcode.PONG, b"?").serialize(mask=False)


def test_who_pings_and_never_reads_is_dropped(module, ear):
    module.push(Frame(Opcode.PING, b"?" * 125).serialize(mask=True) * 200)
    assert len(ear.closed) == 1


def test_a_listener_may_close_while_it_is_told(server):
    ear = Ear()
    ear.listener.on_frame = lambda frame: ear.connection.close("enough")
    module = Module(server)
    module.shake(server.expect(ear.listener))
    module.sock.sendall(binary(bytes(320)) * 3)
    until(lambda: ear.closed)
    assert ear.closed == ["enough"]


def test_a_listener_may_close_as_soon_as_it_is_told_of_the_connection(server):
    ear = Ear()
    ear.listener.on_open = lambda connection: connection.close("too late")
    module = Module(server)
    path = server.expect(ear.listener)
    module.sock.sendall(HANDSHAKE.replace(PATH, path.encode()) + binary(bytes(320)))
    assert b" 101 " in module.read_all()
    assert (ear.closed, ear.frames) == (["too late"], [])


def test_a_stopped_server_lets_go_of_everybody(server, module, ear):
    waiting = Module(server)
    until(lambda: len(server._connections) == 2)
    server.stop()
    server.stop()
    assert ear.closed == ["the server stops"]
    waiting.read_all()
    with pytest.raises(OSError):
        Module(server)


def test_more_handshakes_than_the_limit_are_closed_unread(monkeypatch, server):
    monkeypatch.setattr(audio_server, "MAX_HANDSHAKES", 3)
    modules = [Module(server) for _ in range(3)]
    until(lambda: server._handshakes == 3)
    assert Module(server).read_all() == b""
    assert server.refused == 1
    for module in modules:
        module.sock.close()
    until(lambda: server._handshakes == 0)
    assert b" 403 " in Module(server).shake("/x")


def test_two_hundred_connections_leave_nothing_behind(server):
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    warm = Module(server)
    warm.shake("/x")
    warm.sock.close()
    until(lambda: not server._connections)
    gc.collect()
    before = open_files()
    ears = [Ear() for _ in range(200)]
    modules = []
    for ear in ears:
        module = Module(server)
        module.sock.sendall(HANDSHAKE.replace(PATH, server.expect(ear.listener).encode()))
        modules.append(module)
    until(lambda: all(ear.opened for ear in ears))
    assert open_files() == before + 400
    for number, module in enumerate(modules):
        module.sock.sendall(binary(bytes([number]) * 320))
    until(lambda: all(ear.frames for ear in ears))
    assert [ear.frames for ear in ears] == [[bytes([number]) * 320] for number in range(200)]
    for number, module in enumerate(modules):
        module.reset() if number % 2 else module.sock.close()
    until(lambda: all(ear.closed for ear in ears))
    assert not server._connections
    assert server._handshakes == 0
    assert not server._expected
    assert open_files() == before


def test_a_connection_needs_no_collector(server):
    gc.collect()
    gc.disable()
    try:
        ears = [Ear() for _ in range(3)]
        for ear in ears:
            module = Module(server)
            module.shake(server.expect(ear.listener))
            until(lambda ear=ear: ear.connection is not None)
            module.sock.close()
            until(lambda ear=ear: ear.closed)
        left = [weakref.ref(ear.connection) for ear in ears if ear.connection is not None]
        for ear in ears:
            ear.connection = None
        assert len(left) == 3
        until(lambda: not [each for each in left if each() is not None])
    finally:
        gc.enable()
