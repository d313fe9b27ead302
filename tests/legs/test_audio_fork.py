"""The caller's sound: asked for, watched, asked for again, and given up in the end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_call import UUID, VirtualCall

from esl_agent.dialogue.events import Audio, MediaLost, MediaStarted
from esl_agent.legs.audio_fork import RETRY_SECONDS, STALL_SECONDS, SUBCLASSES, AudioFork, ForkSettings
from esl_agent.legs.audio_server import Listener
from esl_agent.testing.fs_effects import OpenFork
from esl_agent.testing.fs_machine import Options

FRAME = bytes(320)
TIMEOUT = 3.0


class Tokens:
    """``AudioServer`` without sockets: who is expected, and who came."""

    def __init__(self) -> None:
        self.expected: dict[str, Listener] = {}
        self.count = 0

    def expect(self, listener: Listener) -> str:
        self.count += 1
        path = f"/token-{self.count}"
        self.expected[path] = listener
        return path

    def forget(self, path: str) -> None:
        self.expected.pop(path, None)


class Socket:
    """A connection as the fork sees it."""

    peer = "127.0.0.1:1"
    on_sound: Any = None

    def send_sound(self, pcm: bytes) -> None:
        if self.on_sound is not None:
            self.on_sound(pcm)

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.reasons: list[str] = []
        listener.on_open(self)  # type: ignore[arg-type]

    def close(self, reason: str, code: int = 1000) -> None:
        if not self.reasons:
            self.reasons.append(reason)
            self.listener.on_closed(self, reason)  # type: ignore[arg-type]


class Stage:
    """A fork on an answered call; the test plays mod_audio_fork's WebSocket."""

    def __init__(self, reconnects: int = 2, start_by: Any = "api", s1: Any = None, **options: Any) -> None:
        self.call = VirtualCall(options=Options(**options)).subscribe(*SUBCLASSES)
        self.server = Tokens()
        self.posted: list[Any] = []
        made = ForkSettings("ws://127.0.0.1:8085", 8000, TIMEOUT, reconnects, start_by)
        self.fork = AudioFork(self.call, self.server, made, self.posted.append, self.call.clock, s1)  # type: ignore[arg-type]
        self.call.on_event_hook = self.fork.on_event

    def connect(self) -> Socket:
        """The newest WebSocket that FreeSWITCH was asked for arrives."""
        asked = [effect for effect in self.call.effects if isinstance(effect, OpenFork)][-1]
        socket = Socket(self.server.expected.pop(asked.url.removeprefix("ws://127.0.0.1:8085")))
        self.call.do(lambda machine: machine.fork_connected(asked.bug, self.call.now))
        return socket

    def refuse(self, reason: str = "Unable to connect") -> None:
        self.call.do(lambda machine: machine.fork_failed("audio_fork", reason, self.call.now))
        self.call.after(0.03)

    def speak(self, socket: Socket, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.call.after(0.02)
            socket.listener.on_frame(FRAME)

    def starts(self) -> list[str]:
        return [line for line in self.call.said if "audio_fork" in line and " start " in line]

    def news(self) -> list[Any]:
        return [event for event in self.posted if not isinstance(event, Audio)]

    def losses(self) -> list[bool]:
        return [event.final for event in self.posted if isinstance(event, MediaLost)]


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    made.fork.start()
    return made


def test_the_callers_sound_is_asked_for_with_a_rate_and_arrives(stage):
    assert stage.starts() == [f"api uuid_audio_fork {UUID} start ws://127.0.0.1:8085/token-1 mono 8000\n\n"]
    socket = stage.connect()
    stage.speak(socket, 10.0)
    assert stage.news() == [MediaStarted(8000)]
    assert stage.posted[1:] == [Audio(FRAME)] * 500
    assert stage.fork.frames == 500


def test_a_refused_start_is_tried_again_after_a_stop(stage):
    again = Stage()
    again.call.machine.refuse("api uuid_audio_fork", "-ERR Operation Failed")
    again.fork.start()
    again.call.after(RETRY_SECONDS + 0.1)
    assert again.losses() == [False]
    assert "mod_audio_fork" in again.news()[0].reason
    orders = [line.split()[3] for line in again.call.said if "uuid_audio_fork" in line]
    assert orders == ["start", "stop", "start"]


def test_a_failed_connection_is_tried_again_after_a_stop(stage):
    stage.refuse()
    assert stage.losses() == []
    stage.call.after(RETRY_SECONDS)
    assert stage.losses() == [False]
    assert "Unable to connect" in stage.news()[0].reason
    stage.connect()
    assert stage.news()[-1] == MediaStarted(8000)
    assert not stage.call.machine.crash_reason


def test_a_websocket_that_never_comes_is_given_up_by_our_own_clock(stage):
    """A DNS failure brings no event at all."""
    stage.call.after(100.0)
    assert stage.losses() == [False, False, True]
    assert len(stage.starts()) == 3
    assert stage.server.expected == {}


def test_a_lost_websocket_is_asked_for_again_and_the_sound_goes_on(stage):
    first = stage.connect()
    stage.speak(first, 1.0)
    first.close("connection lost")
    stage.call.after(RETRY_SECONDS + 0.01)
    second = stage.connect()
    stage.speak(second, 1.0)
    lost, began = stage.news()[1:]
    assert (lost.final, began) == (False, MediaStarted(8000))
    assert stage.fork.frames == 100


def test_after_so_many_losses_the_sound_is_given_up_for_good(stage):
    for _ in range(3):
        stage.connect().close("gone")
        stage.call.after(RETRY_SECONDS + 0.01)
    assert stage.losses() == [False, False, True]
    stage.call.after(60.0)
    assert len(stage.starts()) == 3


def test_a_websocket_that_falls_silent_is_replaced(stage):
    socket = stage.connect()
    stage.speak(socket, 1.0)
    stage.call.after(STALL_SECONDS + 0.1)
    assert socket.reasons
    stage.call.after(RETRY_SECONDS)
    assert stage.losses() == [False]
    stage.connect()


def test_a_websocket_that_never_brings_a_frame_is_replaced(stage):
    socket = stage.connect()
    stage.call.after(STALL_SECONDS + RETRY_SECONDS + 0.1)
    assert socket.reasons
    assert stage.losses() == [False]


def test_sound_that_keeps_coming_is_never_taken_for_a_stall(stage):
    socket = stage.connect()
    for _ in range(20):
        stage.call.after(STALL_SECONDS - 0.1)
        socket.listener.on_frame(FRAME)
    assert stage.losses() == []


def test_late_news_of_a_websocket_that_was_replaced_does_not_hurt_the_new_one(stage):
    first = stage.connect()
    first.close("gone")
    stage.call.after(RETRY_SECONDS + 0.01)
    second = stage.connect()
    stage.call.do(lambda machine: machine.fork_closed("audio_fork", stage.call.now))
    first.listener.on_closed(first, "gone")  # type: ignore[arg-type]
    stage.call.after(1.0)
    assert stage.losses() == [False]
    assert second.reasons == []


def test_late_news_of_a_start_that_was_given_up_does_not_hurt_the_next_one(stage):
    stage.call.after(TIMEOUT + RETRY_SECONDS + 0.01)
    assert len(stage.starts()) == 2
    stage.refuse("Unable to connect")
    stage.connect()
    stage.call.after(1.0)
    assert stage.news()[-1] == MediaStarted(8000)
    assert stage.losses() == [False]


def test_two_failures_of_one_start_cost_one_start(stage):
    stage.refuse()
    stage.refuse()
    stage.call.after(RETRY_SECONDS + 0.1)
    assert len(stage.starts()) == 2
    stage.connect()
    stage.call.after(TIMEOUT)
    assert stage.losses() == [False]


def test_the_hang_up_closes_the_websocket_and_is_no_loss(stage):
    socket = stage.connect()
    stage.speak(socket, 0.5)
    stage.call.do(lambda machine: machine.caller_hangs_up(stage.call.now))
    socket.close("the peer closed the WebSocket")
    stage.call.after(10.0)
    assert stage.losses() == []
    assert len(stage.starts()) == 1


def test_a_dead_event_socket_starts_nothing(stage):
    socket = stage.connect()
    stage.call.do(lambda machine: machine.reset())
    socket.close("gone")
    stage.call.after(10.0)
    assert len(stage.starts()) == 1


def test_text_on_the_websocket_is_no_sound(stage):
    stage.connect().listener.on_text("hello")
    assert stage.news() == [MediaStarted(8000)]


def test_a_fork_that_is_a_dialplan_application_gets_its_argument_without_start():
    stage = Stage(start_by="execute", audio_fork_application=True)
    stage.fork.start()
    stage.call.after(0.1)
    stage.connect().close("gone")
    stage.call.after(RETRY_SECONDS + 0.1)
    stage.connect()
    assert stage.losses() == [False]
    assert stage.news()[-1] == MediaStarted(8000)


class OlderContract:
    def __init__(self) -> None:
        self.waiting: dict[str, Listener] = {}

    def expect_call(self, uuid: str, listener: Listener) -> None:
        self.waiting[uuid] = listener

    def forget_call(self, uuid: str) -> None:
        self.waiting.pop(uuid, None)


def test_a_fork_that_the_dialplan_started_is_waited_for_not_started():
    s1 = OlderContract()
    stage = Stage(start_by="external", s1=s1)
    stage.fork.start()
    assert stage.starts() == []
    socket = Socket(s1.waiting.pop(UUID))
    stage.speak(socket, 0.1)
    assert stage.news() == [MediaStarted(8000)]
    stage.fork.close()
    assert (s1.waiting, socket.reasons) == ({}, ["the call is over"])


def test_a_fork_that_the_dialplan_never_started_is_given_up():
    s1 = OlderContract()
    stage = Stage(start_by="external", s1=s1)
    stage.fork.start()
    stage.call.after(60.0)
    assert stage.losses() == [False, False, True]
    assert s1.waiting == {}


@pytest.mark.parametrize("state", ["new", "asked", "failed", "connected", "lost", "silent", "given up"])
def test_closing_in_any_state_is_the_end_of_it(state):
    stage = Stage()
    if state != "new":
        stage.fork.start()
    socket = stage.connect() if state in ("connected", "lost", "silent") else None
    if state == "failed":
        stage.refuse()
    elif state == "lost":
        socket.close("gone")
    elif state == "silent":
        stage.call.after(1.0)
    elif state == "given up":
        stage.call.after(60.0)
    before, starts = len(stage.posted), len(stage.starts())
    stage.fork.close()
    stage.fork.close()
    stage.call.after(60.0)
    stage.fork.start()
    assert len(stage.posted) == before
    assert len(stage.starts()) == starts
    assert stage.server.expected == {}
    assert socket is None or socket.reasons


def test_a_websocket_that_arrives_after_the_close_is_sent_away(stage):
    listener = next(iter(stage.server.expected.values()))
    stage.fork.close()
    assert Socket(listener).reasons == ["the call is over"]
    assert stage.posted == []


def test_a_long_call_survives_more_hiccups_than_may_come_in_a_row(stage):
    for _ in range(6):
        socket = stage.connect()
        stage.speak(socket, 4.0)
        socket.close("gone")
        stage.call.after(RETRY_SECONDS + 0.1)
    assert stage.losses() == [False] * 6
    assert len(stage.starts()) == 7


deeds = st.lists(
    st.sampled_from(["connect", "refuse", "late refusal", "close", "frame", "moment", "second", "long", "disconnect"]),
    max_size=25,
)


@settings(max_examples=80)
@given(deeds=deeds, reconnects=st.integers(0, 3))
def test_whatever_happens_the_sound_comes_or_is_given_up_once(deeds, reconnects):
    stage = Stage(reconnects)
    stage.fork.start()
    sockets: list[Socket] = []
    for deed in deeds:
        if deed == "connect" and stage.server.expected:
            sockets.append(stage.connect())
        elif deed in ("refuse", "late refusal"):
            stage.refuse()
        elif deed == "close" and sockets:
            sockets[-1].close("gone")
        elif deed == "frame" and sockets and not sockets[-1].reasons:
            sockets[-1].listener.on_frame(FRAME)
        elif deed == "disconnect":
            stage.call.do(lambda machine: machine.fork_closed("audio_fork", stage.call.now))
        else:
            stage.call.after({"moment": 0.05, "second": 1.0, "long": 4.0}.get(deed, 0.0))
        assert len(stage.starts()) <= (reconnects + 1) * (1 + len(sockets))
        assert sum(not socket.reasons for socket in sockets) <= 1
        assert len(stage.server.expected) <= 1
    stage.call.after((TIMEOUT + STALL_SECONDS + RETRY_SECONDS) * 10)
    assert stage.losses().count(True) == 1
    assert stage.losses()[-1] is True
    assert len(stage.starts()) >= reconnects + 1
    assert not stage.call.machine.crash_reason
