"""The session of a speech-to-speech agent where its connection is slow: what is said crosses on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent.queue import Queue

from esl_agent.providers.realtime_messages import PCM
from esl_agent.providers.realtime_session import RealtimeSession, Setup

DETECTS = {"type": "server_vad", "create_response": True, "interrupt_response": True}
SETUP = Setup({"type": "realtime", "audio": {"input": {"turn_detection": DETECTS}}}, (), "output_text", PCM, "")
ACTIVE = "conversation_already_has_active_response"


class SlowSocket:
    """Takes a message only when others have run."""

    where = "a slow one"

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self._events: Queue[str] = Queue()

    def send(self, message: str) -> None:
        self.sent.append(json.loads(message))
        self.settle(5)

    def receive(self, patience: float | None) -> str:
        return self._events.get(timeout=patience)

    def close(self) -> None:
        pass

    def tells(self, type: str, **rest: Any) -> None:
        self._events.put(json.dumps({"type": type, **rest}))

    def settle(self, times: int = 50) -> None:
        """Others run so often; by 50 times everything that has come is read."""
        for _ in range(times):
            gevent.sleep(0)

    @property
    def told(self) -> list[Any]:
        """What was asked for, and before it whether speech may end it."""
        return [
            each["session"]["audio"]["input"]["turn_detection"]["interrupt_response"]
            if each["type"] == "session.update"
            else each["response"]["instructions"]
            for each in self.sent
        ]


@contextmanager
def session(socket: SlowSocket) -> Iterator[RealtimeSession]:
    made = RealtimeSession(socket, SETUP)  # type: ignore[arg-type]
    reader = gevent.spawn(lambda: list(made.parts()))
    try:
        yield made
    finally:
        reader.kill()


def test_what_may_not_be_interrupted_is_not_where_something_comes_just_as_it_is_asked_for():
    socket = SlowSocket()
    with session(socket) as made:
        socket.tells("rate_limits.updated")
        made.respond("Greet.", interruptible=False)
    assert socket.told == [False, "Greet."]


def test_what_may_not_be_interrupted_is_not_when_it_is_asked_for_again_behind_something_else():
    """The service answered the caller twice by itself before it read any of ours."""
    socket = SlowSocket()
    with session(socket) as made:
        made.respond("Greet.", interruptible=False)
        made.respond("Say the time.")
        socket.tells("response.created", response={"id": "r1"})
        socket.tells("response.done", response={"id": "r1"})
        socket.tells("response.created", response={"id": "r2"})
        socket.settle()
        asked = [each["event_id"] for each in socket.sent if each["type"] == "response.create"]
        assert socket.told == [False, "Greet.", True, "Say the time."]
        socket.tells("error", error={"code": ACTIVE, "event_id": asked[0]})
        socket.tells("response.done", response={"id": "r2"})
        socket.settle()
    assert socket.told[4:] == [False, "Greet."]
