"""The server that Asterisk's AudioSocket connects to, over real sockets."""

from __future__ import annotations

import gc
import os
import resource
import socket
import struct
import weakref
from collections.abc import Callable
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from uuid import UUID

import gevent
import pytest
from esl_peer import until
from gevent.event import Event as Flag

from esl_agent.errors import LegError
from esl_agent.legs import audiosocket_line, audiosocket_server, sound_connection
from esl_agent.legs.audiosocket_line import AudioSocketLine
from esl_agent.legs.audiosocket_server import AudioSocketServer
from esl_agent.testing.pretend_audiosocket import PretendAudioSocket
from esl_agent.wire import audiosocket as wire

CALL = UUID("e04aaef1-1b68-4b61-b77c-122871a9e6e5")
FRAME = wire.sound_frame(0x13, bytes(960))


class Calls:
    """Who takes the lines: keeps them, and each until it ends or is let go."""

    def __init__(self) -> None:
        self.lines: list[AudioSocketLine] = []
        self.payloads: list[bytes] = []
        self.keys: list[str] = []
        self.ends: list[str] = []
        self.let_go = Flag()

    def take(self, line: AudioSocketLine) -> None:
        self.lines.append(line)
        line.listen(lambda kind, payload: self.payloads.append(payload))
        line.on_digit = self.keys.append
        line.on_end = lambda: self._ended(line)
        self.let_go.wait()

    def _ended(self, line: AudioSocketLine) -> None:
        self.ends.append(line.ended_because)
        self.let_go.set()

    @property
    def line(self) -> AudioSocketLine:
        until(lambda: self.lines)
        return self.lines[-1]


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def server(calls):
    with serving(calls.take) as made:
        yield made


class serving:
    def __init__(self, on_line: Callable[[AudioSocketLine], object], **options) -> None:
        self.server = AudioSocketServer("127.0.0.1", 0, on_line, **options)

    def __enter__(self) -> AudioSocketServer:
        self.server.start()
        return self.server

    def __exit__(self, *_: object) -> None:
        self.server.stop(0.2)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The same deadlines, sooner."""
    monkeypatch.setattr(audiosocket_line, "FIRST_SOUND_SECONDS", 0.03)
    monkeypatch.setattr(audiosocket_line, "GOODBYE_SECONDS", 0.2)
    monkeypatch.setattr(audiosocket_line, "STALLED_SECONDS", 0.1)
    monkeypatch.setattr(audiosocket_line, "STUCK_SECONDS", 0.1)
    monkeypatch.setattr(audiosocket_line, "LOOK_SECONDS", 0.02)


def raw(server: AudioSocketServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.bound_port), timeout=5.0)


def phone(server: AudioSocketServer, **options) -> PretendAudioSocket:
    return PretendAudioSocket(("127.0.0.1", server.bound_port), **options)


def all_of(sock: socket.socket) -> bytes:
    """What comes until the end; a reset is an end."""
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionError:
        data += b"RESET"
    return data


# a call


def test_a_call_is_taken_once_with_its_uuid_and_the_rate_of_its_first_frame(server, calls):
    caller = phone(server, uuid=CALL)
    caller.say(bytes(960))
    line = calls.line
    assert (line.id, line.uuid) == (str(CALL), str(CALL))
    assert line.peer.startswith("127.0.0.1:")
    assert (line.sound.rate, line.sends.sends, line.sends.kind) == (24000, 24000, 0x13)
    assert (server.taken, server.line_count, len(calls.lines)) == (1, 1, 1)
    caller.hang_up()


def test_the_log_tells_the_bind_address_the_uuid_the_rate_and_the_chunks(caplog, calls):
    caplog.set_level("INFO")
    with serving(calls.take) as server:
        caller = phone(server, uuid=CALL)
        caller.say(bytes(960))
        calls.line  # noqa: B018
        caller.hang_up()
    assert f"listening at 127.0.0.1:{server.bound_port}" in caplog.text
    assert f"call={CALL} audiosocket from" in caplog.text
    assert "24000 Hz of kind 0x13 comes; ours goes at 24000 Hz in chunks of 960 bytes" in caplog.text


def test_a_caller_who_sends_no_sound_is_taken_all_the_same_and_spoken_to_at_8000(server, calls):
    caller = phone(server)
    assert calls.line.sound is None
    assert calls.line.sends.kind == wire.SLIN
    caller.say(bytes(960))
    until(lambda: calls.line.sound)
    assert (calls.line.sound.rate, calls.line.sends.kind) == (24000, wire.SLIN)
    caller.hang_up()


@pytest.mark.parametrize("label", ["old", "ulaw", "alaw"])
def test_an_asterisk_that_labels_everything_0x10_is_answered_so_and_the_operator_told(
    server, calls, label, caplog, monkeypatch
):
    now = [1000.0]
    monkeypatch.setattr(audiosocket_line, "FIRST_SOUND_SECONDS", 30.0)
    monkeypatch.setattr(audiosocket_line, "time", SimpleNamespace(monotonic=lambda: now[0]))
    caller = phone(server, label=label)
    until(lambda: server.line_count)
    (first,) = server._connections
    for number in range(12):
        caller.say(bytes(caller.rate // 50 * 2))
        until(lambda number=number: first._opening._count > number or first.sound)
        now[0] += 0.02
    line = calls.line
    assert line.sends.kind == wire.SLIN
    assert (line.sound.rate, line.sound.law) == (caller.rate, {"old": "", "ulaw": "PCMU", "alaw": "PCMA"}[label])
    assert "c(slin)" in caplog.text
    line.send(bytes(320))
    until(lambda: caller.frames)
    assert caller.faults == []
    caller.hang_up()


def test_sound_goes_out_in_whole_frames_of_the_kind_that_came(server, calls):
    caller = phone(server)
    caller.say(bytes(960))
    for level in range(50):
        calls.line.send(bytes([level, 0] * 480))
    until(lambda: len(caller.frames) == 50)
    assert {(kind, size) for _, kind, size in caller.frames} == {(0x13, 960)}
    assert caller.heard[::960] == bytes(range(50))
    assert (caller.faults, caller.ended_because) == ([], "")
    caller.hang_up()


def test_keys_are_told_also_those_pressed_before_anybody_asked(server, calls):
    caller = phone(server)
    caller.press("12")
    caller.write(b"\x03\x00\x01\x00")
    line = calls.line
    caller.press("*#")
    until(lambda: len(calls.keys) == 4)
    assert calls.keys == ["1", "2", "*", "#"]
    assert line.on_digit is not None
    caller.hang_up()


def test_a_caller_who_hangs_up_ends_the_line_once(server, calls):
    caller = phone(server)
    caller.say(bytes(960))
    line = calls.line
    caller.hang_up()
    until(lambda: calls.ends)
    assert calls.ends == ["Asterisk closed"]
    assert line.is_over
    line.hang_up()
    line.close()
    line.send(bytes(960))
    until(lambda: server.line_count == 0)
    assert len(calls.ends) == 1


def test_an_end_that_came_before_anybody_listened_is_told_all_the_same():
    ended = Flag()
    told: list[str] = []

    def late(line: AudioSocketLine) -> None:
        until(lambda: line.is_over)
        line.on_end = lambda: told.append("end")
        line.on_end = lambda: told.append("again")
        ended.set()

    with serving(late) as other:
        caller = phone(other)
        caller.say(bytes(960))
        until(lambda: other.taken)
        caller.hang_up()
        assert ended.wait(5.0)
    assert told == ["end"]


def test_a_call_whose_program_fails_is_closed_and_no_other_call_is_harmed(server, calls, caplog):
    def fail(line: AudioSocketLine) -> None:
        raise RuntimeError("a bug")

    well = phone(server)
    well.say(bytes(960))
    with serving(fail) as other:
        caller = phone(other)
        assert caller.wait()
        assert caller.said_goodbye
        assert "a bug" in caplog.text
    calls.line.send(bytes(960))
    until(lambda: well.frames)
    well.hang_up()


def test_a_call_that_is_over_for_us_is_said_goodbye_to(server, calls):
    caller = phone(server)
    caller.say(bytes(960))
    calls.line.send(bytes(960))
    calls.let_go.set()
    assert caller.wait()
    assert (caller.said_goodbye, len(caller.frames)) == (True, 1)
    assert calls.ends == [], "who closes a line knows that it ends"


def test_a_goodbye_reads_on_until_asterisk_closes_so_that_nothing_is_reset(server, calls):
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME)
        calls.line.hang_up()
        calls.line.send(bytes(960))
        assert sock.recv(100) == wire.GOODBYE_FRAME
        sock.sendall(FRAME * 30)  # what was under way
        assert not calls.ends
    until(lambda: calls.ends)
    assert calls.ends == ["Asterisk closed"]


def test_an_asterisk_that_does_not_close_after_our_goodbye_is_not_waited_for_long(server, calls):
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME)
        calls.line.hang_up()
        assert all_of(sock) == wire.GOODBYE_FRAME
    assert calls.ends == ["Asterisk did not close after our goodbye"]


def test_a_goodbye_from_asterisk_is_an_end(server, calls):
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME + wire.GOODBYE_FRAME)
        until(lambda: calls.ends)
    assert calls.ends == ["Asterisk said goodbye"]


def test_an_error_that_asterisk_tells_is_logged_and_the_call_goes_on(server, calls, caplog):
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + b"\xff\x00\x01\x04" + FRAME)
        until(lambda: calls.payloads or calls.lines)
        assert "code 0x04" in caplog.text


# how bytes come


def test_bytes_that_come_one_by_one_are_the_same_frames(server, calls):
    with raw(server) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in wire.call_frame(CALL) + FRAME:
            sock.send(bytes([byte]))
            gevent.sleep(0)
        line = calls.line
        for byte in wire.sound_frame(0x13, b"\1\2" * 40) + wire.digit_frame("7"):
            sock.send(bytes([byte]))
            gevent.sleep(0)
        until(lambda: calls.keys)
        assert calls.payloads[-1] == b"\1\2" * 40
        assert not line.is_over


def test_many_frames_in_one_segment_are_all_told_in_order(server, calls):
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME)
        calls.line  # noqa: B018
        sock.sendall(b"".join(wire.sound_frame(0x13, bytes([at]) * 960) for at in range(200)))
        until(lambda: len(calls.payloads) >= 200)
        assert [payload[0] for payload in calls.payloads[-200:]] == list(range(200))


def test_who_sends_much_more_sound_than_time_passes_is_closed(server, calls, caplog):
    """Every frame of it would be listened to, while all other calls wait."""
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME)
        line = calls.line
        with suppress(ConnectionError):
            for _ in range(100):
                sock.sendall(FRAME * 50)
                gevent.sleep(0.001)
        until(lambda: line.is_over)
        assert "seconds of sound a second" in line.ended_because
        assert "seconds of sound a second" in caplog.text
        assert len(calls.payloads) < 50 * 7


@pytest.mark.parametrize("kind", [0x13, 0x16, 0x18])
def test_a_call_that_began_at_8_khz_may_go_on_at_any_rate(server, calls, kind, monkeypatch):
    """So much sound as time, whatever its bytes: at 192 kHz there are 24 times as many."""
    now = [1000.0]
    monkeypatch.setattr(sound_connection, "time", SimpleNamespace(monotonic=lambda: now[0]))
    caller = phone(server)
    caller.write(wire.sound_frame(wire.SLIN, bytes(320)))
    line = calls.line
    frame = wire.sound_frame(kind, bytes(wire.RATES[kind] // 25))
    for second in range(1, 11):
        now[0] += 1.0
        caller.write(frame * 50)
        until(lambda second=second: line.is_over or len(calls.payloads) >= 50 * second)
    assert not line.is_over
    caller.write(frame * 50 * 46)
    until(lambda: line.is_over)
    assert "seconds of sound a second" in line.ended_because


def test_a_caller_whose_packets_differ_in_size_from_the_first_is_heard(server, calls):
    """One who was quiet when the call began, so that nothing else decides what comes."""
    caller = phone(server)
    calls.line  # noqa: B018
    for number in range(100):
        caller.write(wire.sound_frame(wire.SLIN, bytes(300 + number % 2 * 40)))
    until(lambda: len(calls.payloads) > 60)
    caller.hang_up()


def test_an_asterisk_that_tells_that_the_caller_hung_up_is_believed(server, calls, caplog):
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME)
        calls.line  # noqa: B018
        sock.sendall(b"\xff\x00\x01\x02" * 5 + FRAME)
        until(lambda: "tells an error: code 0x02" in caplog.text)
        assert not calls.ends
        sock.sendall(b"\xff\x00\x01\x01")
        until(lambda: calls.ends)
    assert calls.ends == ["Asterisk says that the caller hung up"]
    assert caplog.text.count("tells an error") == 1


@pytest.mark.parametrize("frame", [wire.digit_frame("5"), b"\xff\x00\x01\x04", b"\x13\x00\x00", b"\x13\x00\x02ab"])
def test_who_sends_more_frames_than_a_telephone_is_closed(server, calls, frame):
    """Four bytes make a key, and each costs every other call its time."""
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME)
        line = calls.line
        sock.sendall(frame * 2000)
        until(lambda: line.is_over)
        assert "frames a second" in line.ended_because
        assert len(calls.keys) < 1000


def test_a_caller_held_up_for_some_seconds_keeps_the_call(server, calls):
    """Asterisk hands over what it had while one of us stood still."""
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME)
        line = calls.line
        sock.sendall(FRAME * 50 * 4)
        until(lambda: len(calls.payloads) >= 200)
        assert not line.is_over


def test_a_call_that_came_while_we_stood_still_is_taken(server, calls, monkeypatch):
    """Asterisk was let in by the kernel, has answered the caller and sends: SIGSTOP, or a machine that swaps."""
    monkeypatch.setattr(audiosocket_line, "age_of", lambda sock: sound_connection.age_of(sock) + 10.0)
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME * 50 * 10 + wire.digit_frame("1"))
        line = calls.line
        until(lambda: line.is_over or calls.keys)
        assert not line.is_over, line.ended_because


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only Linux tells")
def test_the_age_of_a_connection_counts_from_when_the_peer_connected():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as peer:
        peer.sendall(FRAME)
        gevent.sleep(0.02)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(100)
            assert 0.01 < sound_connection.age_of(accepted) < 5.0
        assert sound_connection.age_of(accepted) == 0.0, "it is closed"


# files run out


@contextmanager
def files_left(number: int):
    """This process may open so many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull, "rb") as lowest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_while_hardly_any_files_are_left_nobody_can_connect_and_those_who_talk_keep_some(calls, caplog, monkeypatch):
    """The kernel would let them in, Asterisk answer, and nobody speak."""
    monkeypatch.setattr(audiosocket_server, "REOPEN_SECONDS", 0.02)
    with serving(calls.take) as server:
        with files_left(audiosocket_server.SPARE_FILES + 1):
            first = phone(server)
            until(lambda: server._acceptor is None)
            assert server.line_count == 1, "it is taken all the same"
            with pytest.raises(ConnectionRefusedError):
                raw(server)
        until(lambda: server._acceptor is not None)
        assert caplog.text.count("ulimit -n): closed") == 1
        second = phone(server)
        until(lambda: server.line_count == 2)
        first.hang_up()
        second.hang_up()


def test_a_caller_for_whom_no_file_is_left_is_the_dialplans_at_once(calls, caplog, monkeypatch):
    monkeypatch.setattr(audiosocket_server, "REOPEN_SECONDS", 0.02)
    with serving(calls.take) as server:
        with files_left(1), raw(server) as sock:
            assert all_of(sock) in (b"", b"RESET")
            assert server._acceptor is None
        until(lambda: server._acceptor is not None)
        assert caplog.text.count("nobody can be let in: Too many open files") == 1
        caller = phone(server)
        until(lambda: server.line_count == 1)
        caller.hang_up()


def test_a_server_that_stays_open_without_files_shuts_everybody_out_and_says_so_once(caplog):
    """chan_websocket waits without end for the handshake of whom the kernel has let in."""
    taken: list[socket.socket] = []
    acceptor = sound_connection.Acceptor(("127.0.0.1", 0), lambda sock, peer: taken.append(sock), spawn=None)
    acceptor.start()
    address = ("127.0.0.1", acceptor.server_port)
    try:
        with files_left(1):
            for _ in range(3):
                with socket.create_connection(address, timeout=5.0) as sock:
                    assert all_of(sock) in (b"", b"RESET")
        assert not taken
        assert caplog.text.count("nobody can be let in") == 1
        with socket.create_connection(address):
            until(lambda: taken)
    finally:
        acceptor.stop(timeout=0)
        for sock in taken:
            sock.close()


def test_a_server_that_cannot_even_shut_them_out_does_not_spin(caplog, monkeypatch):
    tries: list[int] = []
    read = sound_connection.Acceptor.do_read
    monkeypatch.setattr(sound_connection.Acceptor, "do_read", lambda self: (tries.append(1), read(self))[1])
    monkeypatch.setattr(sound_connection.Acceptor, "_keep_spare", lambda self: None)
    acceptor = sound_connection.Acceptor(("127.0.0.1", 0), lambda sock, peer: sock.close(), spawn=None)
    acceptor.max_delay = 0.02
    acceptor.start()
    try:
        with files_left(1), socket.create_connection(("127.0.0.1", acceptor.server_port)):
            until(lambda: len(tries) == 1)
            for _ in range(10):
                gevent.idle()
            assert len(tries) < 5
            until(lambda: len(tries) > 1)
        assert caplog.text.count("nobody can be let in") == 1
    finally:
        acceptor.stop(timeout=0)


# who is not let in, and what is no AudioSocket


BROKEN = {
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "no UUID first": FRAME,
    "a short UUID": b"\x01\x00\x04abcd",
    "a UUID as text": b"\x01\x00\x24" + str(CALL).encode(),
    "an unknown kind": wire.call_frame(CALL) + b"\x42\x00\x00",
    "an oversize frame": wire.call_frame(CALL) + b"\x13\xff\xff",
    "a second UUID": wire.call_frame(CALL) * 2,
    "garbage": bytes(range(255, 0, -1)) * 4,
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_audiosocket_is_logged_and_closed_and_no_other_call_is_harmed(server, calls, name, caplog):
    well = phone(server)
    well.say(bytes(960))
    line = calls.line
    with raw(server) as sock:
        sock.sendall(BROKEN[name])
        all_of(sock)
    assert server.broken == 1
    assert "closed" in caplog.text
    assert (server.taken, server.line_count) == (1, 1)
    line.send(bytes(960))
    until(lambda: well.frames)
    assert not well.ended.is_set()
    well.hang_up()


def test_a_connection_that_does_not_say_which_call_it_is_is_closed(calls, caplog):
    with serving(calls.take, handshake=0.05) as server:
        with raw(server) as sock:
            assert all_of(sock) == b""
        with raw(server) as sock:
            sock.sendall(wire.call_frame(CALL)[:10])
            all_of(sock)
        assert server.broken == 2
    assert "no UUID within 0.05 s" in caplog.text
    assert not calls.lines


@pytest.mark.parametrize("part", [1, 2, 3, 100])
def test_a_frame_that_stalls_ends_its_call(server, calls, part):
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME)
        calls.line  # noqa: B018
        sock.sendall(FRAME[:part])
        until(lambda: calls.ends)
    assert "has not ended within" in calls.ends[0]
    assert server.broken == 1


def test_a_caller_whose_frames_pause_keeps_the_call(server, calls):
    """Hold, silence suppression, a key held down: Asterisk sends nothing then."""
    caller = phone(server)
    caller.say(bytes(960))
    line = calls.line
    gevent.sleep(0.25)  # more than every deadline here
    assert not line.is_over
    caller.say(bytes(960))
    until(lambda: calls.payloads)
    caller.hang_up()


def test_a_uuid_in_use_is_refused_and_the_first_call_goes_on(server, calls, caplog):
    first = phone(server, uuid=CALL)
    first.say(bytes(960))
    line = calls.line
    second = phone(server, uuid=CALL)
    assert second.wait()
    assert second.said_goodbye
    assert (server.refused, server.line_count, len(calls.lines)) == (1, 1, 1)
    assert f"call={CALL}" in caplog.text
    assert "has a call of that UUID" in caplog.text
    line.send(bytes(960))
    until(lambda: first.frames)
    first.hang_up()
    until(lambda: server.line_count == 0)
    third = phone(server, uuid=CALL)
    until(lambda: server.line_count == 1)
    third.hang_up()


def test_while_there_is_no_room_nobody_can_connect_so_that_the_dialplan_has_the_call_unanswered(calls, caplog):
    caplog.set_level("INFO")
    with serving(calls.take, max_lines=1) as server:
        first = phone(server)
        until(lambda: server.line_count == 1)
        with pytest.raises(ConnectionRefusedError):
            raw(server)
        assert "1 calls run" in caplog.text
        first.say(bytes(960))
        first.hang_up()
        until(lambda: server.line_count == 0)
        second = phone(server)
        until(lambda: server.line_count == 1)
        second.hang_up()


def test_of_calls_that_come_in_one_moment_those_too_many_are_said_goodbye_to(calls):
    with serving(calls.take, max_lines=1) as server:
        socks = [raw(server) for _ in range(3)]
        until(lambda: len(server._connections) == 3)
        socks[0].sendall(wire.call_frame(CALL))
        until(lambda: server.line_count == 1)
        for number, sock in enumerate(socks[1:]):
            sock.sendall(wire.call_frame(UUID(int=number + 1)))
            assert sock.recv(100) == wire.GOODBYE_FRAME
            sock.close()
        assert (server.refused, server.line_count) == (2, 1)
        socks[0].close()


def is_closed(server: AudioSocketServer) -> bool:
    try:
        raw(server).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("why", ["full", "draining"])
def test_a_line_that_a_running_call_waits_for_comes_in_where_no_call_would(calls, why):
    """The callee of a warm transfer, whom Asterisk connects with us while we are full, or take no more calls."""
    awaited = UUID("62726965-0000-8000-8000-000000000001")
    with serving(calls.take, max_lines=1) as server:
        phone(server).say(bytes(960))
        caller = calls.line
        if why == "draining":
            server.turn_away()
        until(lambda: is_closed(server))
        server.await_line(str(awaited))
        stranger = raw(server)
        stranger.sendall(wire.call_frame(UUID(int=7)))
        assert all_of(stranger) == wire.GOODBYE_FRAME
        phone(server, uuid=awaited).say(bytes(960))
        until(lambda: len(calls.lines) == 2)
        assert calls.line.id == str(awaited)
        assert is_closed(server)
        assert not caller.is_over


def test_a_call_whose_connection_was_there_before_the_drain_is_still_taken(calls):
    """Asterisk has answered it."""
    with serving(calls.take) as server:
        early = phone(server)
        until(lambda: server._connections)
        server.turn_away()
        early.say(bytes(960))
        assert calls.line.id == str(early.uuid)


def test_the_port_is_closed_again_when_nobody_waits_for_the_line_any_more(calls):
    awaited = str(CALL)
    with serving(calls.take) as server:
        server.turn_away()
        server.await_line(awaited)
        server.forget_line(awaited)
        assert is_closed(server)
        server.await_line(awaited)
        server.stop(0.1)
        assert is_closed(server)
        server.await_line(awaited)  # by a call that still ends
        assert is_closed(server)


def test_a_port_that_somebody_took_meanwhile_is_opened_when_they_let_go(calls, caplog, monkeypatch):
    monkeypatch.setattr(audiosocket_server, "REOPEN_SECONDS", 0.02)
    with serving(calls.take, max_lines=1) as server:
        first = phone(server)
        until(lambda: server.line_count == 1)
        with socket.create_server(("127.0.0.1", server.bound_port)):
            tries: list[int] = []
            listen = server._listen
            monkeypatch.setattr(server, "_listen", lambda: (tries.append(1), listen())[1])
            first.hang_up()
            until(lambda: len(tries) >= 3)
            assert caplog.text.count("cannot listen at") == 1, "once, however long it takes"
        until(lambda: server._acceptor is not None)
        second = phone(server)
        until(lambda: server.line_count == 1)
        second.hang_up()


def test_a_port_that_another_has_is_tried_by_one_timer_however_many_lines_are_awaited(calls, caplog, monkeypatch):
    """A service that drains, while the one that takes its place has the port."""
    monkeypatch.setattr(audiosocket_server, "REOPEN_SECONDS", 3600.0)
    with serving(calls.take) as server:
        server.turn_away()
        with socket.create_server(("127.0.0.1", server.bound_port)):
            for number in range(5):
                server.await_line(str(UUID(int=number)))
        assert caplog.text.count("cannot listen at") == 1


def test_one_who_drains_stays_closed_when_a_call_of_a_full_house_ends(calls):
    with serving(calls.take, max_lines=1) as server:
        first = phone(server)
        until(lambda: server.line_count == 1)
        server.turn_away()
        first.hang_up()
        until(lambda: server.line_count == 0)
        with pytest.raises(ConnectionRefusedError):
            raw(server)


@pytest.mark.parametrize(
    ("allow", "is_in"), [(("10.0.0.0/8",), False), (("10.0.0.0/8", "127.0.0.1"), True), ((), True)]
)
def test_only_those_who_are_allowed_may_connect(calls, allow, is_in):
    with serving(calls.take, allow=allow) as server, raw(server) as sock:
        if is_in:
            sock.sendall(wire.call_frame(CALL))
            until(lambda: server.taken)
        else:
            assert all_of(sock) in (b"", b"RESET")
            assert server.refused == 1


def test_an_ipv4_address_is_known_in_its_ipv6_clothes():
    server = AudioSocketServer("::", 0, lambda line: None, allow=("127.0.0.0/8",))
    assert [server._allowed.admits((each, 5000)) for each in ("::ffff:127.0.0.1", "::1", "fe80::1%eth0")] == [
        True,
        False,
        False,
    ]


def test_connections_that_say_nothing_do_not_pile_up_and_calls_go_on(server, calls, monkeypatch):
    monkeypatch.setattr(audiosocket_server, "MAX_STRANGERS", 2)
    caller = phone(server)
    caller.say(bytes(960))
    calls.line  # noqa: B018
    silent = [raw(server), raw(server)]
    until(lambda: len(server._connections) == 3)
    with raw(server) as one_more:
        assert all_of(one_more) in (b"", b"RESET")
    assert (server.refused, server.line_count) == (1, 1)
    silent.pop().close()
    until(lambda: len(server._connections) == 2)
    other = phone(server)
    until(lambda: server.line_count == 2)
    for each in (other, caller):
        each.hang_up()
    silent.pop().close()


def test_a_port_in_use_is_said(server):
    with pytest.raises(LegError, match=f"cannot listen at 127.0.0.1:{server.bound_port}"):
        AudioSocketServer("127.0.0.1", server.bound_port, lambda line: None).start()


# peers that die


def test_a_peer_gone_in_the_middle_of_a_frame_ends_its_call(server, calls):
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME)
        calls.line  # noqa: B018
        sock.sendall(FRAME[:500])
    until(lambda: calls.ends)
    assert calls.ends == ["Asterisk closed the connection in the middle of a frame"]


def test_a_reset_ends_its_call(server, calls):
    sock = raw(server)
    sock.sendall(wire.call_frame(CALL) + FRAME)
    calls.line  # noqa: B018
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    until(lambda: calls.ends)
    assert calls.ends[0].startswith("connection lost")


def fill(line: AudioSocketLine) -> int:
    """Send until the kernel takes no more; how many frames it took, or began to take."""
    for number in range(20000):
        if line._writer.stuck_at:
            return number
        line.send(struct.pack("<I", number) * 240)
    raise AssertionError("the peer reads")


def test_a_peer_that_never_reads_is_given_up(server, calls):
    with raw(server) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(wire.call_frame(CALL) + FRAME)
        fill(calls.line)
        until(lambda: calls.ends)
    assert "has not taken our sound" in calls.ends[0]


def test_a_peer_that_reads_again_gets_the_rest_of_the_frame_first_and_then_the_newest(server, calls, monkeypatch):
    monkeypatch.setattr(audiosocket_line, "STUCK_SECONDS", 5.0)
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME)
        line = calls.line
        last = fill(line) - 1
        for number in range(10):
            line.send(struct.pack("<I", 100000 + number) * 240)
        parser, numbers = wire.Parser(), []
        parser.feed(wire.call_frame(CALL))
        while not numbers or numbers[-1] != 100009:
            data = sock.recv(65536)
            assert data
            for kind, payload in parser.feed(data):
                assert (kind, len(payload), len(set(struct.unpack("<240I", payload)))) == (0x13, 960, 1)
                numbers.append(struct.unpack("<I", payload[:4])[0])
        assert numbers == [*range(last + 1), 100007, 100008, 100009]
        assert not line._writer.stuck_at
        line.send(bytes(960))
        assert len(sock.recv(65536)) == 963


def test_a_goodbye_leaves_behind_the_rest_of_a_frame_that_was_not_taken_at_once(server, calls, monkeypatch):
    monkeypatch.setattr(audiosocket_line, "GOODBYE_SECONDS", 5.0)
    monkeypatch.setattr(audiosocket_line, "STUCK_SECONDS", 5.0)
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME)
        line = calls.line
        frames = fill(line)
        line.send(bytes(960))
        line.hang_up()
        data = b""
        while not data.endswith(wire.GOODBYE_FRAME) or (len(data) - 3) % 963:
            more = sock.recv(65536)
            assert more
            data += more
    assert len(data) == frames * 963 + 3
    assert all(data[at : at + 3] == b"\x13\x03\xc0" for at in range(0, frames * 963, 963))


# the end of the service, and what is left


def test_stopping_says_goodbye_on_every_line_and_waits_for_their_ends(calls):
    with serving(calls.take) as server:
        callers = [phone(server) for _ in range(3)]
        stranger = raw(server)
        for caller in callers:
            caller.say(bytes(960))
        until(lambda: len(calls.lines) == 3)
        server.stop()
        assert all(caller.said_goodbye for caller in callers)
        assert all(line.is_over for line in calls.lines)
        assert len(calls.ends) == 3
        assert all_of(stranger) in (b"", b"RESET")
        with pytest.raises(ConnectionRefusedError):
            raw(server)
        server.stop()


def test_a_call_that_ends_in_nonsense_needs_no_collector(server, calls):
    """An error that is kept keeps the frames it came through, and they the line."""
    with raw(server) as sock:
        sock.sendall(wire.call_frame(CALL) + FRAME)
        gone = weakref.ref(calls.line)
        gc.collect()
        gc.disable()
        try:
            sock.sendall(b"\x42")
            until(lambda: calls.ends)
            calls.lines.clear()
            until(lambda: gone() is None)
        finally:
            gc.enable()


def test_a_hundred_calls_leave_nothing_behind_without_the_collector():
    gone: list[weakref.ref[AudioSocketLine]] = []

    def take(line: AudioSocketLine) -> None:
        over = Flag()
        line.on_end = over.set
        line.on_digit = lambda key: None
        line.listen(lambda kind, payload: None)
        gone.append(weakref.ref(line))
        del line
        over.wait()

    with serving(take) as server:
        caller = phone(server)
        until(lambda: server.line_count == 1)
        caller.hang_up()
        until(lambda: server.line_count == 0)
        gc.collect()
        gc.disable()
        try:
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(10):
                callers = [phone(server) for _ in range(10)]
                for number, caller in enumerate(callers):
                    caller.say(bytes(960))
                    if number % 3 == 0:
                        caller.write(b"\x42")
                until(lambda: server.line_count <= 10)
                for caller in callers:
                    caller.hang_up()
                until(lambda: server.line_count == 0)
            callers.clear()
            del caller
            until(lambda: len(os.listdir("/proc/self/fd")) <= before)
            assert len(gone) > 50
            until(lambda: not any(each() for each in gone))
        finally:
            gc.enable()
