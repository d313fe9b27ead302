"""CPU of one frame of the caller's on its way from the mailbox to a realtime agent's WebSocket, and back out to
Asterisk, stage by stage. Run by bench.asterisk as ``python -m gevent.monkey --module bench.asterisk.to_agent ROUNDS``.

50 calls in one process; the service is another one. A round gives each call a frame of slin24, as 20 ms do; the mean of
the rounds but for the slowest tenth counts, in microseconds of CPU per frame.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event as Flag

from bench.processes import free_ports, hear, start
from esl_agent.agent_line import AgentLine
from esl_agent.audio.pcm import SoundFormat, SoundStream
from esl_agent.dialogue.actions import ConnectAgent, SendToAgent
from esl_agent.dialogue.events import AgentConnected, AgentSpeaks, Answered, Audio, MediaStarted
from esl_agent.dialogue.relay import Relay
from esl_agent.dialogue.relay_settings import RelaySettings
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.legs.base import Clip
from esl_agent.legs.frame_writer import FrameWriter
from esl_agent.legs.streamed_voice import StreamedVoice
from esl_agent.mailbox import Mailbox
from esl_agent.providers import realtime_messages
from esl_agent.providers.base import AgentBrief, AgentPart, CallContext, EngineContext, Identity
from esl_agent.providers.openai_realtime import OpenAiRealtime
from esl_agent.providers.realtime_options import OpenAiRealtimeOptions
from esl_agent.wire import audiosocket as wire

CALLS = 50
FRAME = bytes(range(240)) * 4
Handle = Callable[[Any], object]


class _Session:
    """An AgentSession that does ``with_sound`` to what it hears."""

    def __init__(self, with_sound: Callable[[bytes], object]) -> None:
        self.hear = with_sound

    def parts(self) -> Iterator[AgentPart]:
        Flag().wait()
        return iter(())

    def close(self) -> None: ...


class _Agent:
    """Connects at once."""

    identity = Identity("bench")
    formats = (SoundFormat("pcm", 24000),)

    def __init__(self, with_sound: Callable[[bytes], object]) -> None:
        self._with_sound = with_sound

    def connect(self, brief: AgentBrief) -> Any:
        return _Session(self._with_sound)


class Calls:
    """CALLS mailboxes with their greenlets; ``cost`` gives each of them a frame and times what follows."""

    def __init__(self, make: Callable[[], Handle], streams: Sequence[SoundStream] = ()) -> None:
        """``streams``: where all frames come back; they are waited for."""
        self._streams = streams
        self._awaited = 0
        self._boxes = [Mailbox() for _ in range(CALLS)]
        for box in self._boxes:
            gevent.spawn(self._read, box, make())
        gevent.sleep(0.5)

    def _read(self, box: Mailbox, handle: Handle) -> None:
        for event in box.until(lambda: 1e12):
            handle(event)

    def cost(self, rounds: int) -> float:
        for _ in range(5):
            self._give()
        return _mean([_timed(self._give) for _ in range(rounds)])

    def _give(self) -> None:
        for box in self._boxes:
            box.post(Audio(FRAME))
        gevent.sleep(0.0005)  # whoever was woken has run, and the hub has looked at its sockets
        if self._streams:
            self._awaited += CALLS * len(FRAME)
            end = time.monotonic() + 1.0
            while sum(len(each.pcm) for each in self._streams) < self._awaited and time.monotonic() < end:
                gevent.sleep(0.0005)

    def close(self) -> None:
        for box in self._boxes:
            box.close()


def _timed(work: Callable[[], object]) -> float:
    """Microseconds of CPU per frame; ``work`` deals with CALLS."""
    before = time.process_time()
    work()
    return (time.process_time() - before) / CALLS * 1e6


def _mean(costs: Sequence[float]) -> float:
    """... but for the slowest tenth."""
    kept = sorted(costs)[: len(costs) * 9 // 10]
    return sum(kept) / len(kept)


def relayed(then: Callable[[bytes], object]) -> Callable[[], Handle]:
    """A call whose realtime agent is connected: ``then`` gets each frame for it."""

    def make() -> Handle:
        relay = Relay(CascadeSettings(), RelaySettings(), time.monotonic(), streams=True)
        for event in (Answered(), MediaStarted(24000), AgentConnected(1)):
            relay.receive(event, time.monotonic())

        def handle(event: Any) -> None:
            for action in relay.receive(event, time.monotonic()):
                if type(action) is SendToAgent:
                    then(action.pcm)

        return handle

    return make


def through(agent: Any, streams: list[SoundStream] | None = None) -> Callable[[], Handle]:
    """... and goes on by an AgentLine to ``agent``. With ``streams`` it is asked to speak, into one of them."""

    def make() -> Handle:
        context = CallContext(os.urandom(8).hex(), lambda news: None)

        def post(event: Any) -> None:
            if streams is not None and isinstance(event, AgentSpeaks):
                streams.append(event.audio)

        agent_line = AgentLine([agent], 24000, post, context, streams=True)
        agent_line.connect(ConnectAgent(1, "You are number 5001."))
        if streams is not None:
            agent_line.ask(1, "")
        return relayed(lambda pcm: agent_line.send_audio(1, pcm))()

    return make


def to_the_agent(rounds: int, port: int) -> Iterator[tuple[str, float]]:
    """The way of a frame, longer from row to row."""
    options = OpenAiRealtimeOptions(url=f"ws://127.0.0.1:{port}/v1/realtime")
    ways: list[tuple[str, Callable[[], Handle]]] = [
        ("mailbox and the call's greenlet", lambda: lambda event: None),
        ("+ relay", relayed(lambda pcm: None)),
        ("+ AgentLine: the session's queue and its greenlet", through(_Agent(lambda sound: None))),
        ("+ base64 and the message", through(_Agent(lambda sound: realtime_messages.append(1, sound)))),
        ("+ WebSocket and TCP", through(OpenAiRealtime(options, EngineContext()))),
    ]
    for what, make in ways:
        calls = Calls(make)
        yield what, calls.cost(rounds)
        calls.close()
    streams: list[SoundStream] = []
    calls = Calls(through(OpenAiRealtime(options, EngineContext()), streams), streams)
    yield "+ and back as an answer: WebSocket, JSON, base64, the voice's stream", calls.cost(rounds)
    calls.close()


class _Ticker:
    """Ticks when it is told to."""

    def __init__(self) -> None:
        self.ticks: list[Callable[[], None]] = []

    def add(self, tick: Callable[[], None]) -> int:
        self.ticks.append(tick)
        return len(self.ticks)

    def remove(self, number: int) -> None: ...

    def tick(self) -> None:
        for each in self.ticks:
            each()


def to_asterisk(rounds: int) -> float:
    """From the voice's clock to Asterisk: 20 ms of a stream, out of the playout and into a socket."""
    ticker, streams, pairs = _Ticker(), [], [socket.socketpair() for _ in range(CALLS)]
    for ours, _ in pairs:
        streams.append(_play(FrameWriter(ours, lambda reason: None), ticker))
    costs = []
    for _ in range(rounds):
        for stream in streams:
            stream.append(FRAME)
        costs.append(_timed(ticker.tick))
        for _, theirs in pairs:
            theirs.recv(65536)
    return _mean(costs)


def _play(writer: FrameWriter, ticker: _Ticker) -> SoundStream:
    """What is appended to it is played."""
    stream = SoundStream(24000)
    kind = 0x13
    voice = StreamedVoice(24000, ticker, lambda pcm: writer.write(wire.sound_frame(kind, pcm)), lambda event: None)
    voice.open()
    voice.play(Clip(1, 0, stream, 0.0))
    return stream


def measure(rounds: int) -> dict[str, float]:
    """In a process of its own, which gevent has patched: what cost how much."""
    process = start([sys.executable, "-m", "gevent.monkey", "--module", "bench.asterisk.to_agent", str(rounds)])
    try:
        found: dict[str, float] = json.loads(hear(process, "{"))
    finally:
        process.kill()
        process.communicate()
    return found


def main(rounds: str) -> None:
    (port,) = free_ports(1)
    service = start([sys.executable, "-m", "bench.asterisk.echo_service", str(port)])
    try:
        hear(service, "ready")
        found = dict(to_the_agent(int(rounds), port))
    finally:
        service.kill()
        service.communicate()
    print(json.dumps(found | {"apart: playout, AudioSocket frame, socket": to_asterisk(int(rounds))}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
