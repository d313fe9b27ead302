"""Streams of bench.providers, in a process of their own: through the product's engines, or over bare sockets.

A bare client sends prepared bytes and looks for stamps in what ``recv`` gives: nothing can be earlier.
"""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from bench.provider_plan import PIECE, plan

#: Seconds between the starts of streams: callers do not ask at the same moment.
APART = 0.017
_STAMP = re.compile(rb"@(\d+);")


class Took:
    """What streams showed, in seconds."""

    def __init__(self) -> None:
        self.first: list[float] = []
        """From the request to the first piece, less what the server waited on purpose."""
        self.late: list[float] = []
        """From a piece's stamp until it was there."""

    def at(self, micros: int, now: float) -> None:
        self.late.append(now - micros / 1e6)


# Over bare sockets


def bare(urls: dict[str, str], what: str, wanted: str, streams: int, rounds: int) -> Took:
    """``rounds`` requests on each of ``streams`` connections, one after the other."""
    took = Took()
    selector = selectors.DefaultSelector()
    parts = urlsplit(urls["http"])
    waiting = []
    for number in range(streams):
        connection = socket.create_connection((parts.hostname or "", parts.port or 0))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Bare(connection, what, wanted, rounds, took)
        waiting.append((time.monotonic() + APART * number, client))
        selector.register(connection, selectors.EVENT_READ, client)
    while selector.get_map():
        while waiting and time.monotonic() >= waiting[0][0]:
            waiting.pop(0)[1].ask()
        for key, _ in selector.select(max(0.0, waiting[0][0] - time.monotonic()) if waiting else None):
            if not key.data.read():
                selector.unregister(key.fileobj)
                key.data.connection.close()
    return took


class _Bare:
    def __init__(self, connection: socket.socket, what: str, wanted: str, rounds: int, took: Took) -> None:
        self.connection, self._left, self._took, self._what = connection, rounds, took, what
        self._wait = plan(wanted)[2]
        body = _body(what, wanted)
        path = "/v1/chat/completions" if what == "llm" else "/v1/audio/speech"
        head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self._request = head.encode() + b"\r\n\r\n" + body
        self._asked = 0.0
        self._is_first = True

    def ask(self) -> None:
        self._asked, self._is_first = time.monotonic(), True
        self.connection.sendall(self._request)

    def read(self) -> bool:
        """Whether more will come."""
        data = self.connection.recv(65536)
        now = time.monotonic()
        if not data:
            raise ConnectionError("the pretend service closed a connection")
        for micros in _stamps(data) if self._what == "llm" else _sound_stamps(data):
            self._took.at(micros, now)
            if self._is_first:
                self._is_first = False
                self._took.first.append(now - self._asked - self._wait)
        if data.endswith(b"0\r\n\r\n"):
            self._left -= 1
            if not self._left:
                return False
            self.ask()
        return True


def _body(what: str, wanted: str) -> bytes:
    if what == "llm":
        return json.dumps({"model": wanted, "stream": True, "messages": [{"role": "user", "content": "go"}]}).encode()
    return json.dumps({"input": "go", "voice": wanted, "model": "bench", "response_format": "pcm"}).encode()


def _stamps(data: bytes) -> Iterator[int]:
    return (int(found) for found in _STAMP.findall(data))


def _sound_stamps(data: bytes) -> Iterator[int]:
    """Each piece is one chunk: its stamp stands behind the chunk's length."""
    mark = f"{PIECE:x}\r\n".encode()
    at = data.find(mark)
    while at != -1 and at + len(mark) + 8 <= len(data):
        yield int.from_bytes(data[at + len(mark) : at + len(mark) + 8], "little")
        at = data.find(mark, at + len(mark) + PIECE)


# Through the product


def engine(urls: dict[str, str], what: str, wanted: str, wrap: bool) -> Any:
    """The engine under test; ``wrap``: as a call uses it, with deadlines and fallbacks around it."""
    from esl_agent.providers import registry
    from esl_agent.providers.base import EngineContext

    options: dict[str, Any] = {
        "llm": {"url": f"{urls['http']}/v1", "model": wanted, "api_key_env": ""},
        "tts": {"url": f"{urls['http']}/v1", "model": "bench", "voice": wanted, "api_key_env": "", "rate": 16000},
        "stt": {"url": urls["ws"]},
    }[what]
    name = {"llm": "openai", "tts": "openai", "stt": "vosk"}[what]
    stage: Any = what
    made = registry.make(stage, name, registry.options_class(stage, name)(**options), EngineContext())
    return _wrapped(stage, made) if wrap else made


def _wrapped(stage: Any, made: Any) -> Any:
    from bench.provider_wrap import wrapped

    return wrapped(stage, made)


def ours(urls: dict[str, str], what: str, wanted: str, streams: int, rounds: int, wrap: bool) -> tuple[Took, float]:
    """The same with our engines, and the worst hub lag meanwhile."""
    import gevent

    from esl_agent.hub_lag import HubLag

    took, lag = Took(), HubLag()
    made = engine(urls, what, wanted, wrap)
    one: Callable[[], None] = {
        "llm": lambda: _reply(made, wanted, took),
        "tts": lambda: _speak(made, wanted, took),
        "stt": lambda: _recognise(made, wanted, took),
    }[what]

    def repeat(number: int) -> None:
        gevent.sleep(APART * number)
        for _ in range(rounds):
            one()

    lag.start()
    gevent.joinall([gevent.spawn(repeat, number) for number in range(streams)], raise_error=True)
    lag.stop()
    return took, lag.worst


def _reply(made: Any, wanted: str, took: Took) -> None:
    from esl_agent.dialogue.actions import Message
    from esl_agent.providers.base import TextPart

    asked, is_first = time.monotonic(), True
    for part in made.reply([Message("user", "go")]):
        now = time.monotonic()
        if isinstance(part, TextPart):
            for micros in _stamps(part.text.encode()):
                took.at(micros, now)
            if is_first:
                is_first = False
                took.first.append(now - asked - plan(wanted)[2])


def _speak(made: Any, wanted: str, took: Took) -> None:
    asked, got, is_first = time.monotonic(), b"", True
    for piece in made.speak("go"):
        now = time.monotonic()
        if is_first:
            is_first = False
            took.first.append(now - asked - plan(wanted)[2])
        got += piece
        while len(got) >= PIECE:
            took.at(int.from_bytes(got[:8], "little"), now)
            got = got[PIECE:]


def _recognise(made: Any, wanted: str, took: Took) -> None:
    """Sound as it is spoken, 20 ms at a time; the stamps are in the partial transcripts."""
    import gevent

    seconds = plan(wanted)[0] / 50
    spoken: list[float] = []

    def sound() -> Iterator[bytes]:
        began = time.monotonic()
        for number in range(int(seconds * 50)):
            gevent.sleep(max(0.0, began + number / 50 - time.monotonic()))
            yield bytes(640)
        spoken.append(time.monotonic())

    for transcript in made.recognise(sound(), 16000):
        now = time.monotonic()
        for micros in _stamps(transcript.text.encode()):
            took.at(micros, now)
        if transcript.final:
            took.first.append(now - spoken[0])


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    order = json.loads(base64.b64decode(sys.argv[1]))
    if order["core"]:
        os.sched_setaffinity(0, {int(order["core"])})
    arguments = (order["urls"], order["what"], order["wanted"], order["streams"], order["rounds"])
    worst = 0.0
    if order["way"] == "bare":
        bare(*arguments[:4], 1)
        before = cpu_seconds()
        took = bare(*arguments)
    else:
        ours(*arguments[:4], 1, order["way"] == "wrapped")
        before = cpu_seconds()
        took, worst = ours(*arguments, order["way"] == "wrapped")
    cpu = cpu_seconds() - before
    print(json.dumps({"first": took.first, "late": took.late, "cpu": cpu, "lag": worst}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    if json.loads(base64.b64decode(sys.argv[1]))["way"] != "bare":
        from gevent import monkey

        monkey.patch_all()
    main()
