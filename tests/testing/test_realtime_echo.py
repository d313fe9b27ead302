"""`esl-agent echo` stands in for a realtime service: whoever speaks to it hears what they said."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from esl_agent.testing.realtime_script import tone

QUIET = bytes(48000)


@pytest.fixture
def advice() -> Iterator[str]:
    """What the command prints while it serves."""
    command = [sys.executable, "-m", "esl_agent", "echo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield "".join(process.stdout.readline() for _ in range(2))
        finally:
            process.terminate()


def answer(socket: ClientConnection) -> bytes:
    """The sound of the next response."""
    pcm = b""
    while True:
        event: dict[str, Any] = json.loads(socket.recv(30.0))
        if event["type"] == "response.output_audio.delta":
            pcm += base64.b64decode(event["delta"])
        elif event["type"] == "response.done":
            return pcm


def test_it_says_a_tone_when_asked_to_begin_and_then_what_it_hears(advice):
    [url] = re.findall(r"ws://[^}]+", advice)
    with connect(f"{url}?model=any", proxy=None) as socket:
        socket.send(json.dumps({"type": "response.create"}))
        assert len(answer(socket)) > 4800
        words = tone(1.0, hertz=700.0)
        for pcm in (QUIET, words, QUIET):
            socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()}))
        said = answer(socket)
    assert words in said
    assert len(said) < 1.3 * len(words), "and the silence around it is not repeated"
