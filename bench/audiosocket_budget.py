"""CPU per 20 ms frame of a cascade call over AudioSocket at 24 kHz (slin24), part by part.

``bench.frame_budget`` prints it: the same callers as there, at three times the samples, and both ways, for the frames
of such a call are sent by us.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import gevent

from esl_agent.audio.pcm import Sound, frame_bytes, rms
from esl_agent.audio.resample import LineResampler, VoiceResampler
from esl_agent.audio.vad import VadSettings, VoiceDetector
from esl_agent.legs.audiosocket_line import AudioSocketLine
from esl_agent.legs.audiosocket_media import AudioSocketMedia
from esl_agent.legs.base import Clip
from esl_agent.legs.sound_connection import Allowance
from esl_agent.wire import audiosocket as wire

RATE = 24000
KIND = wire.KINDS[RATE]
CALLS = 50
Sink = Callable[[Any], object]


class _Ticker:
    """The playout clock, which ticks when it is told to."""

    def __init__(self) -> None:
        self._ticks: dict[int, Callable[[], None]] = {}

    def add(self, tick: Callable[[], None]) -> int:
        self._ticks[len(self._ticks)] = tick
        return len(self._ticks) - 1

    def remove(self, number: int) -> None:
        self._ticks.pop(number, None)

    def tick(self) -> None:
        for each in self._ticks.values():
            each()


class Lines:
    """CALLS real connections, each with its media. ``make``: where a call's events go."""

    def __init__(self, make: Callable[[], Sink]) -> None:
        self._got = 0
        self._sinks = [make() for _ in range(CALLS)]
        self._ticker = _Ticker()
        self._media: list[AudioSocketMedia] = []
        self._peers: list[socket.socket] = []
        with socket.create_server(("127.0.0.1", 0), backlog=CALLS) as door:
            for _ in range(CALLS):
                peer = socket.create_connection(door.getsockname())
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                accepted, _ = door.accept()
                AudioSocketLine(self, gevent.socket.socket(fileno=accepted.detach()), "bench", 5.0).start()
                peer.sendall(wire.call_frame(uuid4()) + wire.sound_frame(KIND, bytes(frame_bytes(RATE))))
                self._peers.append(peer)
        gevent.sleep(0.1)
        assert len(self._media) == CALLS

    def named(self, line: AudioSocketLine) -> str:
        return ""

    def opened(self, line: AudioSocketLine) -> None:
        line._allowance = line._frames = Allowance(1e12, 1.0)  # frames come faster here than they are spoken
        sink = self._sinks[len(self._media)]

        def post(event: Any) -> None:
            self._got += 1
            sink(event)

        media = AudioSocketMedia(line, self._ticker, post)
        media.start()
        self._media.append(media)

    def failed(self, line: AudioSocketLine, reason: str) -> None:
        raise AssertionError(reason)

    def left(self, line: AudioSocketLine) -> None: ...

    def hear(self, data: Sequence[bytes], rounds: int) -> float:
        """Everyone gets a frame of ``data`` in each of the rounds. Microseconds of CPU per frame: the mean but for the
        slowest tenth."""
        costs = []
        for number in range(rounds):
            for peer in self._peers:
                peer.send(data[number % len(data)])
            wanted = self._got + CALLS
            before = time.process_time()
            while self._got < wanted:
                gevent.sleep(0.0001)
            gevent.sleep(0.0001)
            costs.append(time.process_time() - before)
        return _mean(costs)

    def say(self, clip: Sound | None, rounds: int) -> float:
        """Everyone is sent ``clip``, or silence, frame by frame. Microseconds of CPU per frame, likewise."""
        for media in self._media if clip is not None else ():
            media.play(Clip(1, 0, clip, 0.0))
        costs = []
        for _ in range(rounds):
            before = time.process_time()
            self._ticker.tick()
            costs.append(time.process_time() - before)
            for peer in self._peers:
                peer.recv(65536)
        for media in self._media:
            media.clear()
        return _mean(costs)


def _mean(costs: Sequence[float]) -> float:
    kept = sorted(costs)[: len(costs) * 9 // 10]
    return sum(kept) / len(kept) / CALLS * 1e6


def growing(
    frames: Sequence[bytes], rounds: int, mailbox_of: Callable[[Sink], Sink], dialogue: Callable[[], Sink]
) -> list[tuple[str, float]]:
    """The way in, longer from row to row, and the way out. ``mailbox_of``: what posts to a mailbox, whose greenlet
    hands on what comes; ``dialogue``: a call's."""
    data = [wire.sound_frame(KIND, frame) for frame in frames]
    lines = Lines(lambda: lambda event: None)
    voice = Sound(b"".join(frames[: rounds + 10]), RATE)
    slow = Sound(b"".join(frames[: (rounds + 10) * 2 // 3]), RATE * 2 // 3)
    return [
        ("in: hub watcher, AudioSocket, media", lines.hear(data, rounds)),
        ("+ mailbox and the call's greenlet", Lines(lambda: mailbox_of(lambda event: None)).hear(data, rounds)),
        ("+ dialogue: voice, endpointing, turns", Lines(lambda: mailbox_of(dialogue())).hear(data, rounds)),
        ("out: silence, AudioSocket, `send`", lines.say(None, rounds)),
        ("out: a voice of 24 kHz", lines.say(voice, rounds)),
        ("out: a voice of 16 kHz, resampled", lines.say(slow, rounds)),
    ]


def parts(frames: Sequence[bytes]) -> list[tuple[str, Callable[[bytes], object]]]:
    """Single parts, by what they do to a frame."""
    detector, down, up = VoiceDetector(VadSettings(), RATE), LineResampler(RATE, 8000), VoiceResampler(16000, RATE)
    asked = VoiceDetector(VadSettings(), RATE)
    return [
        ("RMS", rms),
        ("24 to 8 kHz for webrtcvad", down.feed),
        ("webrtcvad with that, if it were asked about every frame", asked._is_speech),
        ("VAD: level gate and webrtcvad", detector.is_voiced),
        ("a voice of 16 kHz to 24 kHz", lambda frame: up.feed(frame[: len(frame) * 2 // 3])),
    ]
