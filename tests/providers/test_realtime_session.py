"""The session of a speech-to-speech agent where its connection is slow."""

from __future__ import annotations

import json
from typing import Any

import gevent
from gevent.queue import Queue

from esl_agent.providers.realtime_messages import PCM
from esl_agent.providers.realtime_session import RealtimeSession, Setup


class SlowSocket:
    """Takes a message only when others have run."""

    where = "a slow one"

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.events: Queue[str] = Queue()

    def send(self, message: str) -> None:
        self.sent.append(json.loads(message))
        gevent.sleep(0.005)

    def receive(self, patience: float | None) -> str:
        return self.events.get(timeout=patience)

    def close(self) -> None:
        pass


def test_what_may_not_be_interrupted_is_not_where_words_of_the_caller_come_as_it_is_asked_for():
    socket = SlowSocket()
    detects = {"type": "server_vad", "create_response": True, "interrupt_response": True}
    setup = {"type": "realtime", "audio": {"input": {"turn_detection": detects}}}
    session = RealtimeSession(socket, Setup(setup, (), "output_text", PCM, ""))
    reader = gevent.spawn(lambda: list(session.parts()))
    socket.events.put(json.dumps({"type": "rate_limits.updated"}))
    session.respond("Say the greeting.", interruptible=False)
    told = [
        each["session"]["audio"]["input"]["turn_detection"]["interrupt_response"]
        if each["type"] == "session.update"
        else each["type"]
        for each in socket.sent
    ]
    reader.kill()
    assert told == [False, "response.create"]
