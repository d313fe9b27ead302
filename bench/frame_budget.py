"""CPU per 20 ms frame, part by part, in one process: ``python -m bench.frame_budget``.

The frames are those of a caller of bench.load: speech over a telephone line and pauses, in their proportion. Each
figure is the best of several rounds, in microseconds of CPU; a core has 20 000 of them per 20 ms. The first table
grows from row to row: real connections, whose senders' CPU is left out. The second has single parts in a plain loop.
Both are of FreeSWITCH's mod_audio_fork at 8 kHz; the other two are of AudioSocket at 24 kHz (``audiosocket_budget``).
"""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gevent
import webrtcvad
from websockets.client import ClientProtocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from bench import audiosocket_budget
from bench.load import line, machine
from bench.speech import talks
from esl_agent.audio.pcm import Reframer, Sound, rms
from esl_agent.audio.vad import VadSettings, VoiceDetector
from esl_agent.dialogue.cascade import Cascade
from esl_agent.dialogue.endpointing import Endpointer
from esl_agent.dialogue.events import Answered, Audio, MediaStarted, PlaybackBegan, Played, Synthesised
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.legs.audio_server import AudioServer, Connection, Listener
from esl_agent.mailbox import Mailbox
from esl_agent.testing.fork_client import binary_frame
from esl_agent.wire.websocket import AudioSocketProtocol

RATE = 8000
#: Connections that get a frame each, as that many calls do every 20 ms.
CONNECTIONS = 200


def best(work: Callable[[], object], frames: int, rounds: int) -> float:
    """Microseconds of CPU per frame; ``work`` deals with ``frames``."""
    costs = []
    for _ in range(rounds):
        before = time.process_time()
        work()
        costs.append(time.process_time() - before)
    return min(costs) / frames * 1e6


class Many:
    """Connections to an AudioServer in this process. ``cost`` sends everyone a frame and times what that causes."""

    def __init__(self, make_sink: Callable[[], Callable[[bytes], None]]) -> None:
        self._got = 0
        self._senders: list[socket.socket] = []
        self._kept: list[Any] = []
        server = AudioServer(("127.0.0.1", 0), 65536, 1e9)
        with socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as door:
            for _ in range(CONNECTIONS):
                sender = socket.create_connection(door.getsockname())
                sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                accepted, _ = door.accept()
                receiver = gevent.socket.socket(fileno=accepted.detach())
                on_frame = partial(self._on_frame, make_sink())
                listener = Listener(RATE, lambda c: None, on_frame, lambda text: None, lambda c, reason: None)
                Connection(server, receiver, "bench").start()
                sender.sendall(handshake(server.expect(listener)))
                self._senders.append(sender)
                self._kept.append(receiver)
        gevent.sleep(0.05)

    def _on_frame(self, sink: Callable[[bytes], None], frame: bytes) -> None:
        self._got += 1
        sink(frame)

    def cost(self, wire: Sequence[bytes], rounds: int) -> float:
        """Microseconds of CPU per frame: the mean of the rounds but for the slowest tenth; rounds differ in what is
        said."""
        costs = []
        for number in range(rounds):
            data = wire[number % len(wire)]
            for sender in self._senders:
                sender.send(data)
            wanted = self._got + CONNECTIONS
            before = time.process_time()
            while self._got < wanted:
                gevent.sleep(0.0001)  # sleep(0) would spin for 5 ms before the hub looks at its sockets
            gevent.sleep(0.0001)
            costs.append(time.process_time() - before)
        return sum(sorted(costs)[: len(costs) * 9 // 10]) / (len(costs) * 9 // 10) / CONNECTIONS * 1e6


def handshake(path: str) -> bytes:
    client = ClientProtocol(parse_uri(f"ws://127.0.0.1{path}"))
    client.send_request(client.connect())
    return b"".join(client.data_to_send())


def mailbox_of(handle: Callable[[Any], object]) -> Callable[[Any], None]:
    """What posts to a mailbox with its reading greenlet, as a call has it."""
    mailbox = Mailbox()

    def read() -> None:
        for event in mailbox.until(lambda: 1e12):
            handle(event)

    gevent.spawn(read)
    gevent.sleep(0)
    return mailbox.post


def into_mailbox(handle: Callable[[Any], object]) -> Callable[[bytes], None]:
    post = mailbox_of(handle)
    return lambda frame: post(Audio(frame))


def caller_turn(rate: int = RATE) -> Cascade:
    """A dialogue that has greeted and listens."""
    cascade = agent_turn(rate)
    cascade.receive(Played(1, 0, 600.0), 1000.0)
    return cascade


def agent_turn(rate: int = RATE) -> Cascade:
    """A dialogue that says a very long greeting."""
    cascade = Cascade(CascadeSettings(), 1000.0)
    greeting = Sound(bytes(600 * RATE * 2), RATE)
    for event in (Answered(), MediaStarted(rate), Synthesised(1, 0, greeting), PlaybackBegan(1, 0)):
        cascade.receive(event, 1000.0)
    return cascade


def receive(cascade: Cascade) -> Callable[[Any], object]:
    clock = [1000.0]

    def handle(event: Any) -> object:
        clock[0] += 0.02
        return cascade.receive(event, clock[0])

    return handle


def bare_recv(wire: Sequence[bytes]) -> float:
    """``recv`` on ready TCP sockets, and nothing else."""
    pairs = []
    with socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as door:
        for _ in range(CONNECTIONS):
            sender = socket.create_connection(door.getsockname())
            pairs.append((sender, door.accept()[0]))
    costs = []
    for data in wire[:50]:
        for sender, _ in pairs:
            sender.send(data)
        before = time.process_time()
        for _, receiver in pairs:
            receiver.recv(32768)
        costs.append(time.process_time() - before)
    for sender, receiver in pairs:
        sender.close()
        receiver.close()
    return min(costs) / CONNECTIONS * 1e6


def looped(function: Callable[[bytes], object], items: Sequence[bytes], rounds: int) -> float:
    """``function`` of each of the items, in a plain loop."""

    def work() -> None:
        for item in items:
            function(item)

    return best(work, len(items), rounds)


def growing(wire: Sequence[bytes], rounds: int) -> list[tuple[str, float]]:
    """The way of a frame, longer from row to row."""
    return [
        ("read: `recv` of a ready TCP socket", bare_recv(wire)),
        ("+ hub watcher, WebSocket, reframing", Many(lambda: lambda frame: None).cost(wire, rounds)),
        ("+ mailbox and the call's greenlet", Many(lambda: into_mailbox(lambda event: None)).cost(wire, rounds)),
        (
            "+ dialogue: voice, endpointing, turns",
            Many(lambda: into_mailbox(receive(caller_turn()))).cost(wire, rounds),
        ),
    ]


def single(frames: Sequence[bytes], wire: Sequence[bytes], rounds: int) -> list[tuple[str, float]]:
    """Single parts, each in a loop of its own."""
    own = AudioSocketProtocol(lambda path: True, 65536)
    own.receive(handshake("/"))
    library = ServerProtocol()
    library.receive_data(handshake("/"))
    request: Any = library.events_received()[0]
    library.send_response(library.accept(request))
    library.data_to_send()

    def through_library(data: bytes) -> None:
        library.receive_data(data)
        library.events_received()
        library.data_to_send()

    reframer, detector = Reframer(RATE), VoiceDetector(VadSettings(), RATE)
    vad = webrtcvad.Vad(3)
    settings = CascadeSettings()
    ear = Endpointer(settings.endpointing, settings.barge_in)
    post = Audio

    def loop(function: Callable[[bytes], object], items: Sequence[bytes]) -> float:
        return looped(function, items, rounds)

    def dialogue(make: Callable[[], Cascade]) -> float:
        events = [Audio(frame) for frame in frames]

        def work() -> None:
            handle = receive(make())
            for event in events:
                handle(event)

        return best(work, len(events), rounds)

    voiced = [detector.is_voiced(frame) for frame in frames]
    now = iter(range(1 << 40))
    marks = dict(zip(map(id, frames), voiced, strict=True))
    return [
        ("WebSocket frame, own fast lane", loop(own.lone_frame, wire)),
        ("WebSocket frame, own general lane", loop(own.receive, wire)),
        ("WebSocket frame, websockets library", loop(through_library, wire)),
        ("reframing", loop(reframer.feed, frames)),
        ("making the event", loop(post, frames)),
        ("RMS", loop(rms, frames)),
        ("webrtcvad alone, if it were asked about every frame", loop(lambda f: vad.is_speech(f, RATE), frames)),
        ("VAD: level gate and webrtcvad", loop(detector.is_voiced, frames)),
        (
            "endpointing",
            loop(lambda f: ear.feed(f, marks[id(f)], next(now) * 0.02, over_agent=False), frames),
        ),
        ("dialogue.receive, the agent silent", dialogue(caller_turn)),
        ("dialogue.receive, the agent speaking", dialogue(agent_turn)),
    ]


def wide(rounds: int) -> list[tuple[str, list[tuple[str, float]]]]:
    """The tables of AudioSocket at 24 kHz."""
    frames = [frame for talk in talks(audiosocket_budget.RATE)[:2] for frame in talk.audio.frames]

    def dialogue() -> Callable[[Any], object]:
        return receive(caller_turn(audiosocket_budget.RATE))

    way = audiosocket_budget.growing(frames, min(len(frames), rounds * 20), mailbox_of, dialogue)
    parts = [(name, looped(work, frames, rounds)) for name, work in audiosocket_budget.parts(frames)]
    title = f"AudioSocket at 24 kHz, {audiosocket_budget.CALLS} calls"
    return [(title, way), ("part, at 24 kHz", parts)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.frame_budget", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="rounds of the single parts; the best counts")
    wanted = parser.parse_args()
    frames = [frame for talk in talks(RATE)[:2] for frame in talk.audio.frames]
    wire = [binary_frame(frame) for frame in frames]
    print(machine())
    for title, rows in (
        (f"the way so far, {CONNECTIONS} calls", growing(wire, min(len(wire), wanted.rounds * 20))),
        ("part", single(frames, wire, wanted.rounds)),
        *wide(wanted.rounds),
    ):
        print("\n" + line([title, "us per frame"]) + "\n" + line(["---", "---"]))
        for name, cost in rows:
            print(line([name, f"{cost:.1f}"]), flush=True)


if __name__ == "__main__":
    main()
