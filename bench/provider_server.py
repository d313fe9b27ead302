"""The other side of bench.providers: a model, a voice and a recogniser that write into each piece when they sent it.

Stamps are CLOCK_MONOTONIC in microseconds, ``@1234567890;`` in text and the first eight bytes of each piece of sound.
One process, one core; how late it is does not matter, because a stamp is taken right before its piece is sent.
"""

from __future__ import annotations

import gevent
from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from typing import Any  # noqa: E402

from bench.provider_plan import PIECE, plan  # noqa: E402
from esl_agent.testing.web import PretendHttp, PretendWebSocket, Reply, Request  # noqa: E402


def stamp() -> str:
    return f"@{time.monotonic_ns() // 1000};"


def timed(text: str) -> Iterator[int]:
    """The numbers of the pieces, each when it is due on an absolute clock."""
    pieces, interval, first = plan(text)
    began = time.monotonic() + first
    for number in range(pieces):
        gevent.sleep(max(0.0, began + number * interval - time.monotonic()))
        yield number


def chat(request: Request) -> Reply:
    def body() -> Iterator[bytes]:
        for _ in timed(request.json()["model"]):
            delta = {"index": 0, "delta": {"content": stamp()}, "finish_reason": None}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": [delta]}
            yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
        yield b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

    return Reply(body(), content_type="text/event-stream")


def speech(request: Request) -> Reply:
    def body() -> Iterator[bytes]:
        for _ in timed(request.json()["voice"]):
            yield (time.monotonic_ns() // 1000).to_bytes(8, "little") + bytes(PIECE - 8)

    return Reply(body(), content_type="audio/pcm")


def recognise(connection: Any) -> None:
    """Vosk's protocol: one answer to each piece of sound."""
    for message in connection:
        if isinstance(message, bytes):
            connection.send(json.dumps({"partial": stamp()}))
        elif "eof" in message:
            connection.send(json.dumps({"text": stamp()}))
            return


def main() -> None:
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, {int(sys.argv[1])})
    http, socket = PretendHttp(), PretendWebSocket(recognise)
    http.route("POST", "/v1/chat/completions", chat)
    http.route("POST", "/v1/audio/speech", speech)
    http.start()
    socket.start()
    print(json.dumps({"http": http.url, "ws": socket.url}), flush=True)
    while gevent.get_hub().threadpool.apply(sys.stdin.readline):
        connections = len({request.connection for request in http.requests})
        print(json.dumps({"requests": len(http.requests), "connections": connections}), flush=True)
        http.requests.clear()


if __name__ == "__main__":
    main()
