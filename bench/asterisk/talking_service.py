"""The pretend realtime service in a process of its own: it talks at length, and stops for whoever speaks.

Run by bench.asterisk as ``python -m gevent.monkey --module bench.asterisk.talking_service RESULTS``. On ``collect``
(standard input) it leaves when it told which number that the caller speaks.
"""

from __future__ import annotations

import pickle
import re
import sys
import time
from pathlib import Path
from typing import Any

from bench.agent_side import wait_for
from esl_agent.testing.pretend_realtime import Persona, PretendRealtime, tone
from esl_agent.testing.realtime_conversation import Conversation

#: What it says at a time, and how much faster than it is heard that is sent.
SECONDS, SPEED = 12.0, 5.0
_NUMBER = re.compile(r"You are number (\d+)\.")


def main(results: str) -> None:
    told: list[tuple[str, float]] = []
    say = Conversation.say

    def say_stamped(self: Conversation, kind: str, **fields: Any) -> None:
        if kind == "input_audio_buffer.speech_started" and (found := _NUMBER.search(self.session["instructions"])):
            told.append((found[1], time.monotonic()))
        say(self, kind, **fields)

    Conversation.say = say_stamped  # type: ignore[method-assign]
    sound = tone(SECONDS)
    with PretendRealtime(Persona("Hello.", ("I see.",), lambda text: sound), speed=SPEED) as server:
        print("ready", server.url, flush=True)
        while True:
            wait_for("collect")
            Path(results).write_bytes(pickle.dumps(told))
            told.clear()
            server.sessions.clear()
            print("collected", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
