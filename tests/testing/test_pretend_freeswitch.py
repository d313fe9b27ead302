"""The shell: a real socket, a real WebSocket, a trivial agent."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator

import gevent
import numpy as np
import pytest
from gevent import socket
from gevent.server import StreamServer
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from esl_agent.audio.pcm import Sound
from esl_agent.testing.caller import HangUp, PretendCaller, Say, SayNow, recording
from esl_agent.testing.freeswitch import PretendFreeSwitch, wait_for
from esl_agent.testing.fs_call import FreeSwitchCrashed
from esl_agent.testing.fs_ending import Phase

pytestmark = pytest.mark.system


class TrivialAgent:
    """Reads and writes an event socket with no library at all, and answers WebSockets."""

    def __init__(self, behave: Callable[[TrivialAgent, socket.socket], None]) -> None:
        self.received: list[bytes] = []
        self.frames: list[bytes] = []
        self.texts: list[str] = []
        self.request: Request | None = None
        self._behave = behave
        self.server = StreamServer(("127.0.0.1", 0), self._accept)
        self.media = StreamServer(("127.0.0.1", 0), self._media)
        self.server.start()
        self.media.start()

    def _accept(self, sock: socket.socket, address: object) -> None:
        self._behave(self, sock)

    def _media(self, sock: socket.socket, address: object) -> None:
        protocol = ServerProtocol(subprotocols=["audio.drachtio.org"])  # type: ignore[list-item]
        while data := sock.recv(65536):
            protocol.receive_data(data)
            for event in protocol.events_received():
                if isinstance(event, Request):
                    self.request = event
                    protocol.send_response(protocol.accept(event))
                elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                    self.frames.append(bytes(event.data))
                elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    self.texts.append(bytes(event.data).decode())
            sock.sendall(b"".join(protocol.data_to_send()))

    def read_until(self, sock: socket.socket, mark: bytes) -> bytes:
        seen = b""
        while mark not in seen:
            data = sock.recv(65536)
            if not data:
                return seen
            seen += data
        self.received.append(seen)
        return seen

    def close(self) -> None:
        self.server.stop()
        self.media.stop()


def say(sock: socket.socket, *lines: str) -> None:
    sock.sendall("".join(line + "\n\n" for line in lines).encode())


SET_UP = ("linger", "myevents", "event plain PLAYBACK_START PLAYBACK_STOP CUSTOM mod_audio_fork::connect")
ANSWER = "sendmsg\ncall-command: execute\nexecute-app-name: answer"


@pytest.fixture
def switch() -> Iterator[Callable[[TrivialAgent], PretendFreeSwitch]]:
    made: list[TrivialAgent | PretendFreeSwitch] = []

    def make(agent: TrivialAgent) -> PretendFreeSwitch:
        made.append(agent)
        made.append(PretendFreeSwitch(("127.0.0.1", agent.server.server_port)))
        return made[-1]  # type: ignore[return-value]

    yield make
    for thing in reversed(made):
        thing.close()


def uuid_of(connect_reply: bytes) -> str:
    return connect_reply.split(b"\nUnique-ID: ")[1].split(b"\n")[0].decode()


def test_the_agent_hears_the_caller_and_the_caller_hears_the_agent(switch, tmp_path) -> None:
    prompt = tmp_path / "prompt.wav"
    tone = (np.sin(np.arange(24000) * 2 * np.pi * 440 / 24000) * 8000).astype("<i2").tobytes()
    with wave.open(str(prompt), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24000)
        file.writeframes(tone)

    def behave(agent: TrivialAgent, sock: socket.socket) -> None:
        say(sock, "connect")
        uuid = uuid_of(agent.read_until(sock, b"Control: full\n\n"))
        say(sock, *SET_UP, ANSWER)
        agent.read_until(sock, b"CHANNEL_ANSWER")
        url = f"ws://127.0.0.1:{agent.media.server_port}/media?token=1"
        say(sock, f'api uuid_audio_fork {uuid} start {url} mono 16000 {{"a":1}}')
        agent.read_until(sock, b"mod_audio_fork%3A%3Aconnect")
        say(sock, f"sendmsg\ncall-command: execute\nexecute-app-name: playback\nexecute-app-arg: {prompt}")
        agent.read_until(sock, b"CHANNEL_HANGUP_COMPLETE")
        say(sock, "exit")
        agent.read_until(sock, b"cluecon.com/\n")

    agent = TrivialAgent(behave)
    caller = PretendCaller([Say("hello-world", pause=0.2), HangUp()])
    record = tmp_path / "call.wav"
    call = switch(agent).call("4930123456", audio=caller, record=record)

    assert call.wait(15), call.facts
    assert call.wait_released(5)
    assert (call.state, call.hangup_cause) == (Phase.OVER, "NORMAL_CLEARING")
    assert agent.texts == ['{"a":1}']
    assert {len(frame) for frame in agent.frames} == {640}
    assert agent.request is not None
    assert agent.request.path == "/media?token=1"
    assert agent.request.headers["Sec-WebSocket-Protocol"] == "audio.drachtio.org"
    assert agent.request.headers["Host"] == "127.0.0.1"
    said = np.frombuffer(b"".join(agent.frames), "<i2").astype(float)
    assert np.abs(said).max() > 3000
    with wave.open(str(record), "rb") as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).astype(float)
    heard = np.flatnonzero(np.abs(both[:, 1]) > 1000)
    spoken = np.flatnonzero(np.abs(both[:, 0]) > 1000)
    assert len(heard) > 0.7 * 8000 * 0.8
    assert heard[-1] < spoken[0], "the caller waited for the agent to end"
    began, frames = caller.spoken[0].began - call.started_at, call.frame_times
    assert min(abs(time - began) for time in frames) < 0.001


def test_a_caller_who_hangs_up_ends_the_call(switch) -> None:
    def behave(agent: TrivialAgent, sock: socket.socket) -> None:
        say(sock, "connect", *SET_UP)
        agent.read_until(sock, b"CHANNEL_HANGUP_COMPLETE")
        say(sock, "exit")
        agent.read_until(sock, b"cluecon.com/\n")

    call = switch(TrivialAgent(behave)).call("1")
    assert wait_for(lambda: call.state is Phase.CONTROLLED, 5)
    call.hang_up()
    assert call.wait(5)
    assert call.wait_released(5)
    assert call.hangup_cause == "ORIGINATOR_CANCEL"


def test_prepared_frames_reach_every_call(switch) -> None:
    def behave(agent: TrivialAgent, sock: socket.socket) -> None:
        say(sock, "connect")
        uuid = uuid_of(agent.read_until(sock, b"Control: full\n\n"))
        say(sock, *SET_UP, ANSWER)
        say(sock, f"api uuid_audio_fork {uuid} start ws://127.0.0.1:{agent.media.server_port}/x mono 8000")
        agent.read_until(sock, b"CHANNEL_HANGUP_COMPLETE")

    agent = TrivialAgent(behave)
    machine = switch(agent)
    frames = [bytes([i]) * 320 for i in range(50)]
    calls = [machine.call(str(i), audio=frames) for i in range(5)]
    assert wait_for(lambda: all(call.frames_sent >= 20 for call in calls), 10)
    for call in calls:
        call.hang_up()
        assert call.wait(5)
    gevent.sleep(0.1)
    assert set(agent.frames) <= set(frames)
    assert len(agent.frames) >= 100


def test_an_agent_that_does_not_listen_leaves_the_call_to_the_dialplan() -> None:
    with PretendFreeSwitch(("127.0.0.1", 1)) as switch:
        call = switch.call("1")
        assert call.wait(1)
        assert call.state is Phase.OVER
        assert call.hangup_cause == "NORMAL_CLEARING"


def test_a_fork_without_a_rate_is_reported_as_a_crash_of_freeswitch(switch) -> None:
    def behave(agent: TrivialAgent, sock: socket.socket) -> None:
        say(sock, "connect")
        uuid = uuid_of(agent.read_until(sock, b"Control: full\n\n"))
        say(sock, f"api uuid_audio_fork {uuid} start ws://127.0.0.1:1/x mono")
        agent.read_until(sock, b"never")

    call = switch(TrivialAgent(behave)).call("1")
    with pytest.raises(FreeSwitchCrashed, match="rate"):
        call.wait(5)


def test_a_caller_speaks_at_the_rate_of_the_line() -> None:
    with PretendFreeSwitch() as switch, pytest.raises(ValueError, match="16000"):
        switch.call("1", audio=PretendCaller([SayNow(Sound(bytes(640), 16000))], rate=16000))


def test_every_shipped_recording_is_speech() -> None:
    assert recording("tt-weasels").seconds > 2


def forking(agent: TrivialAgent, sock: socket.socket) -> None:
    say(sock, "connect")
    uuid = uuid_of(agent.read_until(sock, b"Control: full\n\n"))
    say(sock, *SET_UP, ANSWER)
    say(sock, f"api uuid_audio_fork {uuid} start ws://127.0.0.1:{agent.media.server_port}/x mono 8000")
    agent.read_until(sock, b"CHANNEL_HANGUP_COMPLETE")


def test_frames_can_arrive_merged_as_from_a_busy_freeswitch(switch) -> None:
    agent = TrivialAgent(forking)
    call = switch(agent).call("1", audio=[b"\1\0" * 160, b"\2\0" * 160], merge_frames=3)
    assert wait_for(lambda: len(agent.frames) >= 4, 10)
    assert {len(frame) for frame in agent.frames} == {960}
    assert call.frames_sent >= 12


def test_the_bytes_of_the_event_socket_can_be_kept(switch) -> None:
    agent = TrivialAgent(forking)
    call = switch(agent).call("1", audio=[bytes(320)], keep_wire=True)
    assert wait_for(lambda: call.is_answered, 5)
    call.hang_up()
    assert call.wait(5)
    assert call.wire[0][1:] == ("<", b"connect\n\n")
    assert b"CHANNEL_HANGUP_COMPLETE" in b"".join(data for _, direction, data in call.wire if direction == ">")


@pytest.mark.parametrize("fault", ["drop_eof", "reset"])
def test_the_event_socket_can_end_in_the_middle_of_a_call(switch, fault: str) -> None:
    ends: list[str] = []

    def behave(agent: TrivialAgent, sock: socket.socket) -> None:
        say(sock, "connect", *SET_UP, ANSWER)
        agent.read_until(sock, b"CHANNEL_ANSWER")
        try:
            while sock.recv(65536):
                pass
            ends.append("drop_eof")
        except ConnectionResetError:
            ends.append("reset")

    call = switch(TrivialAgent(behave)).call("1")
    assert wait_for(lambda: call.is_answered, 5)
    gevent.sleep(0.15)
    call.do(lambda machine: getattr(machine, fault)())
    assert call.wait(5)
    assert wait_for(lambda: bool(ends), 5)
    assert ends == [fault]


def test_a_fork_nobody_answers_is_reported_as_freeswitch_would(switch) -> None:
    def behave(agent: TrivialAgent, sock: socket.socket) -> None:
        say(sock, "connect")
        uuid = uuid_of(agent.read_until(sock, b"Control: full\n\n"))
        say(sock, "linger", "myevents", "event plain CUSTOM mod_audio_fork::connect_failed", ANSWER)
        say(sock, f"api uuid_audio_fork {uuid} start ws://127.0.0.1:1/x mono 8000")
        assert b'{"reason":"Unable to connect"}' in agent.read_until(sock, b"Unable to connect")
        say(sock, f"api uuid_kill {uuid}")
        agent.read_until(sock, b"CHANNEL_HANGUP_COMPLETE")

    call = switch(TrivialAgent(behave)).call("1", audio=[bytes(320)])
    assert call.wait(5), call.facts
    assert ("fork failed", "Unable to connect") in [(what, detail) for _, what, detail in call.facts]


def test_a_caller_with_a_name_full_of_tricks_reaches_the_agent_encoded(switch) -> None:
    agent = TrivialAgent(forking)
    call = switch(agent).call("1", caller_name="Zoë\r\n\r\n${x} & Söhne: 100%", variables={"trick": "a\nb"})
    assert wait_for(lambda: call.is_answered, 5)
    head = agent.received[0]
    assert b"Caller-Caller-ID-Name: Zo%C3%AB%0D%0A%0D%0A$%7Bx%7D%20%26%20S%C3%B6hne%3A%20100%25\n" in head
    assert b"variable_trick: a%0Ab\n" in head
    call.hang_up()
    assert call.wait(5)


@pytest.mark.parametrize(("words", "why"), [("stereo 8000", "mono only"), ("mono 11025", "11025")])
def test_what_this_fake_cannot_fork_fails_by_name(switch, words: str, why: str) -> None:
    def behave(agent: TrivialAgent, sock: socket.socket) -> None:
        say(sock, "connect")
        uuid = uuid_of(agent.read_until(sock, b"Control: full\n\n"))
        say(sock, f"api uuid_audio_fork {uuid} start ws://127.0.0.1:{agent.media.server_port}/x {words}")
        agent.read_until(sock, b"never")

    call = switch(TrivialAgent(behave)).call("1", audio=PretendCaller([]))
    assert wait_for(lambda: any(what == "fork failed" and why in detail for _, what, detail in call.facts), 5)
