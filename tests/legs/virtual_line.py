"""A call with its sound at virtual time: the caller's frames come in, the agent's are heard."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from test_audio_fork import Socket, Tokens
from virtual_call import VirtualCall

from esl_agent.audio.g711 import LAWS
from esl_agent.dialogue.events import Audio, MediaLost, MediaStarted, Played
from esl_agent.legs.audio_fork import ForkSettings
from esl_agent.legs.audiosocket_media import AudioSocketMedia
from esl_agent.legs.freeswitch_leg import FreeSwitchLeg
from esl_agent.legs.freeswitch_media import FreeSwitchMedia
from esl_agent.legs.streaming_fork import StreamingForkMedia
from esl_agent.legs.unicast import UnicastMedia, UnicastOptions
from esl_agent.testing.fork_playout import ForkPlayout
from esl_agent.testing.fs_effects import CloseFork, CloseUnicast, ForkCut, OpenFork, OpenUnicast
from esl_agent.testing.fs_machine import Options
from esl_agent.wire.audiosocket import KINDS
from esl_agent.wire.audiosocket_sound import LineSound

FRAME = 0.02


class Ticks:
    """``PlayoutClock`` at virtual time."""

    def __init__(self) -> None:
        self.ticks: dict[int, Callable[[], None]] = {}
        self._numbers = itertools.count()

    def add(self, tick: Callable[[], None]) -> int:
        number = next(self._numbers)
        self.ticks[number] = tick
        return number

    def remove(self, number: int) -> None:
        self.ticks.pop(number, None)


class Line:
    """An answered call. ``pass_`` lets time pass; ``heard`` is what the caller heard since ``forget``."""

    tail = 0.0
    """Seconds that ``clear`` may take to silence."""
    delay = 0.0
    """Seconds from a frame of ours to the caller's ear."""
    options: Options | None = None
    plays_in_order = True
    """False: clips given at once sound one inside the other."""
    tries = 3
    """How often sound is asked for that does not come."""
    gets_sound_back = True
    """False: where the sound's connection is lost, the call is."""

    def __init__(self, rate: int = 8000) -> None:
        self.call = VirtualCall(rate, self.options, is_heard=True)
        self.posted: list[Any] = []
        self.frames: list[bytes] = []
        self.is_talking = True
        self.said = 0
        self._line_rate = rate
        self.leg = FreeSwitchLeg(self.call, self.posted.append)  # type: ignore[arg-type]
        self.leg.prepare("json", 10)
        self.media = self.make()
        self.leg.answer()
        self.call.after(0.5)

    def make(self) -> Any:
        raise NotImplementedError

    def started(self) -> Line:
        self.media.start()
        self.pass_(0.2)
        assert self.of(MediaStarted)
        self.frames.clear()
        return self

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.posted if isinstance(event, kind)]

    def played(self) -> list[tuple[int, int, float]]:
        return [(event.turn, event.clip, round(event.heard, 2)) for event in self.of(Played)]

    def losses(self) -> list[bool]:
        return [event.final for event in self.of(MediaLost)]

    def arrived(self) -> list[int]:
        """The numbers of the caller's frames, modulo 16, as the agent got them."""
        return [round(int(np.frombuffer(event.pcm, "<i2")[-1]) / 8) for event in self.of(Audio)]

    def levels(self) -> list[int]:
        """How loud each frame heard was: the median of its samples."""
        return [int(np.median(np.abs(np.frombuffer(frame, "<i2").astype(int)))) for frame in self.frames]

    def pass_(self, seconds: float) -> None:
        for _ in range(round(seconds / FRAME)):
            self.call.after(FRAME)
            for effect in self.call.effects:
                self.carry_out(effect)
            self.call.effects.clear()
            if self.is_talking and self.call.machine.is_up:
                self.said += 1
                self.caller_says(np.full(self._line_rate // 50, self.said % 16 * 8, "<i2").tobytes())
            self.frames.append(self.agent_is_heard())

    def carry_out(self, effect: Any) -> None:
        raise NotImplementedError

    def caller_says(self, frame: bytes) -> None:
        raise NotImplementedError

    def agent_is_heard(self) -> bytes:
        size = self._line_rate // 25
        playing = self.call.machine.playing
        return (playing.take_frame(size) if playing else b"").ljust(size, b"\0")

    def interrupt(self) -> None:
        """The sound breaks off, in the way that is usual here."""
        raise NotImplementedError

    def never_connects(self) -> None:
        """From now on FreeSWITCH cannot reach us."""
        raise NotImplementedError

    def left_behind(self) -> list[str]:
        """What the call still holds."""
        raise NotImplementedError


class ForkLine(Line):
    """mod_audio_fork, clips as files."""

    tail = 0.06

    def __init__(self, folder: Any, playback: Any = "clips") -> None:
        self.folder = folder / "call"
        self.folder.mkdir()
        self.server = Tokens()
        self.socket: Socket | None = None
        self._playback = playback
        self.plays_in_order = playback == "clips"
        self._is_reachable = True
        super().__init__()

    def make(self) -> Any:
        fork = ForkSettings("ws://127.0.0.1:8085", 8000, 3.0, 2)
        return FreeSwitchMedia(
            self.leg, self.server, fork, self.folder, str(self.folder), self.posted.append, self._playback,
            clock=self.call.clock,
        )  # type: ignore[arg-type]  # fmt: skip

    def carry_out(self, effect: Any) -> None:
        if isinstance(effect, OpenFork) and not self._is_reachable:
            self.call.do(lambda machine: machine.fork_failed(effect.bug, "Unable to connect", self.call.now))
        elif isinstance(effect, OpenFork):
            self.socket = Socket(self.server.expected.pop(effect.url.removeprefix("ws://127.0.0.1:8085")))
            self.call.do(lambda machine: machine.fork_connected(effect.bug, self.call.now))
        elif isinstance(effect, CloseFork):
            self.socket = None

    def caller_says(self, frame: bytes) -> None:
        if self.socket is not None and not self.socket.reasons:
            self.socket.listener.on_frame(frame)

    def interrupt(self) -> None:
        assert self.socket is not None
        self.socket.close("the peer closed the connection")

    def never_connects(self) -> None:
        self._is_reachable = False

    def left_behind(self) -> list[str]:
        files = [str(path) for path in self.folder.rglob("*")] + [str(self.folder)] * self.folder.exists()
        return [*files, *self.server.expected]


class StreamingForkLine(ForkLine):
    """jambonz's mod_audio_fork, which plays what it is sent."""

    options = Options(jambonz=True)
    delay = 0.16
    tail = 0.04

    def __init__(self, folder: Any) -> None:
        self.ticks = Ticks()
        self.playout: ForkPlayout | None = None
        super().__init__(folder)
        self.folder.rmdir()

    def make(self) -> Any:
        fork = ForkSettings("ws://127.0.0.1:8085", 8000, 3.0, 2, plays=True)
        return StreamingForkMedia(self.leg, self.server, fork, self.ticks, self.posted.append, self.call.clock)  # type: ignore[arg-type]

    def carry_out(self, effect: Any) -> None:
        super().carry_out(effect)
        if isinstance(effect, OpenFork) and self._is_reachable:
            assert effect.plays == 8000
            self.playout = ForkPlayout(effect.plays, 8000)
            assert self.socket is not None
            self.socket.on_sound = self.playout.feed
        elif isinstance(effect, ForkCut):
            assert self.playout is not None
            self.playout.clear()

    def agent_is_heard(self) -> bytes:
        for tick in list(self.ticks.ticks.values()):
            tick()
        heard = b""
        if self.playout is not None and self.call.machine.writes_when_idle:
            heard = self.playout.take(320)
        return heard.ljust(320, b"\0")

    def left_behind(self) -> list[str]:
        return [*super().left_behind(), *(str(number) for number in self.ticks.ticks)]


class UnicastLine(Line):
    """unicast, at any rate of the line, native or not."""

    tail = 0.02

    def __init__(self, rate: int = 8000, native: bool = False, media_rate: int = 8000, reconnects: int = 2) -> None:
        self.ticks = Ticks()
        self.open: OpenUnicast | None = None
        self.endpoints: list[Datagrams] = []
        self.waiting: list[bytes] = []
        self.refuses_port = False
        self._options = UnicastOptions(media_rate, native, 1.0, reconnects, 700)
        super().__init__(rate)

    def make(self) -> Any:
        return UnicastMedia(self.leg, self._options, self._take, self.ticks, self.posted.append, self.call.clock)

    def _take(self, on_datagram: Callable[[bytes], None]) -> Datagrams:
        self.endpoints.append(Datagrams(self, len(self.endpoints), on_datagram))
        return self.endpoints[-1]

    def carry_out(self, effect: Any) -> None:
        if isinstance(effect, OpenUnicast):
            if self.refuses_port:
                self.call.do(lambda machine: machine.unicast_failed("Address already in use", self.call.now))
            else:
                self.open = effect
        elif isinstance(effect, CloseUnicast):
            self.open = None

    def caller_says(self, frame: bytes) -> None:
        if self.open and self.open.native:
            frame = LAWS["PCMU"].encode(frame)
        self.deliver(frame)

    def deliver(self, data: bytes) -> None:
        """A datagram from FreeSWITCH, if its park loop sends any now."""
        if self.open is not None and self.call.machine.unicast.flows:
            for endpoint in self.endpoints:
                if endpoint.on_datagram is not None and endpoint.local == self.open.remote:
                    endpoint.on_datagram(data)

    def agent_is_heard(self) -> bytes:
        for tick in list(self.ticks.ticks.values()):
            tick()
        arrived, self.waiting = self.waiting, []
        if self.call.machine.playing or not arrived:
            return super().agent_is_heard()
        return LAWS["PCMU"].decode(arrived[-1]) if self.open and self.open.native else arrived[-1]

    def interrupt(self) -> None:
        self.call.execute("playback", "silence_stream://200")

    def never_connects(self) -> None:
        self.refuses_port = True

    def left_behind(self) -> list[str]:
        return [f"port {each.local[1]}" for each in self.endpoints if each.on_datagram] + [
            str(n) for n in self.ticks.ticks
        ]


class Datagrams:
    """An Endpoint without a socket."""

    def __init__(self, line: UnicastLine, number: int, on_datagram: Callable[[bytes], None]) -> None:
        self.local = ("127.0.0.1", 12000 + number)
        self.switch = ("127.0.0.1", 14000 + number)
        self.on_datagram: Callable[[bytes], None] | None = on_datagram
        self._line = line

    def send(self, data: bytes) -> None:
        if self._line.open is not None and self._line.open.local == self.switch:
            self._line.waiting.append(data)

    def close(self) -> None:
        self.on_datagram = None


class AudioSocketLine(Line):
    """Asterisk's AudioSocket: a call without a FreeSWITCH, and without a way to get a lost socket back."""

    tail = 0.02
    tries = 1
    gets_sound_back = False

    def __init__(self, rate: int = 8000, quiet: float = 5.0) -> None:
        self.ticks = Ticks()
        self.socket = Frames(LineSound(KINDS[rate], rate))
        self.quiet = quiet
        super().__init__(rate)

    def make(self) -> Any:
        return AudioSocketMedia(
            self.socket, self.ticks, self.posted.append, quiet=self.quiet, clock=self.call.clock
        )  # fmt: skip

    def carry_out(self, effect: Any) -> None:
        """FreeSWITCH has no part in this."""

    def caller_says(self, frame: bytes) -> None:
        self.socket.arrives(frame)

    def agent_is_heard(self) -> bytes:
        for tick in list(self.ticks.ticks.values()):
            tick()
        arrived, self.socket.sent = self.socket.sent, []
        return arrived[-1] if arrived else bytes(self._line_rate // 25)

    def interrupt(self) -> None:
        self.socket.ends()

    def never_connects(self) -> None:
        """It has connected, or there were no call."""

    def left_behind(self) -> list[str]:
        listens = ["a listener"] * (self.socket.on_sound is not None)
        return [*listens, *(str(number) for number in self.ticks.ticks)]


class Frames:
    """A line without a socket."""

    def __init__(self, sound: LineSound | None) -> None:
        self.id = "e04aaef1-1b68-4b61-b77c-122871a9e6e5"
        self.sound = sound
        self.sends = sound or LineSound()
        self.is_over = False
        self.on_sound: Callable[[int, bytes], None] | None = None
        self.on_gone: Callable[[], None] | None = None
        self.sent: list[bytes] = []

    def listen(self, on_sound: Callable[[int, bytes], None] | None, on_gone: Callable[[], None] | None = None) -> None:
        self.on_sound, self.on_gone = on_sound, on_gone

    def ends(self) -> None:
        self.is_over = True
        if self.on_gone is not None:
            self.on_gone()

    def arrives(self, payload: bytes, kind: int | None = None) -> None:
        if self.on_sound is not None and not self.is_over:
            assert self.sound is not None
            self.on_sound(self.sound.kind if kind is None else kind, payload)

    def send(self, pcm: bytes) -> None:
        if not self.is_over:
            self.sent.append(pcm)
