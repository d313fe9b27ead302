"""A pretend Asterisk at its end of AudioSocket: connects, names a call, brings the caller and hears the agent.

As strict as the real one (``res_audiosocket.c``, 22.10.1, each point seen on it): anything but sound and a goodbye ends
the call, so does sound of no bytes, and so does a frame whose rest does not come within 5 ms of its header. What it
holds against the agent is in ``faults``; ``ended_because`` says how the connection ended.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Literal
from uuid import UUID, uuid4

import gevent
from gevent.event import Event as Flag

from esl_agent.audio.g711 import LAWS
from esl_agent.audio.pcm import frame_bytes
from esl_agent.wire import audiosocket as wire

#: After a header, so long may every wait for more of the payload be. What was sent whole is there whole.
PAYLOAD_SECONDS = 0.005
CONNECT_SECONDS = 2.0
READ_BYTES = 65536

Label = Literal["typed", "old", "ulaw", "alaw"]


class PretendAudioSocket:
    """One call. ``rate``: the codec of ``c(...)``.

    ``label``: ``typed`` as Asterisk 22.7 does; ``old`` writes 0x10 on every rate and takes nothing else; ``ulaw`` and
    ``alaw``: a dialplan without ``c(...)``, whatever ``rate`` says.
    """

    def __init__(
        self, address: tuple[str, int], rate: int = 24000, label: Label = "typed", uuid: UUID | None = None
    ) -> None:
        self.uuid = uuid or uuid4()
        self.rate = rate if label in ("typed", "old") else 8000
        self.label = label
        self.kind = wire.KINDS[rate] if label == "typed" else wire.SLIN
        self.heard = bytearray()
        """PCM16 that came from the agent, at ``heard_rate``."""
        self.frames: list[tuple[float, int, int]] = []
        """When each frame came (monotonic), its kind and its payload's size."""
        self.faults: list[str] = []
        self.ended_because = ""
        self.said_goodbye = False
        """The agent sent 00 00 00."""
        self.ended = Flag()
        self._unread = bytearray()
        self.sock = socket.create_connection(address, CONNECT_SECONDS)
        self.sock.settimeout(None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = gevent.spawn(self._read)
        self.write(wire.call_frame(self.uuid))

    @property
    def heard_rate(self) -> int:
        """What the agent's frames are played as."""
        return wire.RATES[self.frames[0][1]] if self.frames else wire.RATES[self.kind]

    def say(self, pcm: bytes) -> None:
        """One RTP packet of the caller, PCM16 at ``rate``, labelled as this Asterisk would label it."""
        if self.label in ("ulaw", "alaw"):
            pcm = LAWS["PCMU" if self.label == "ulaw" else "PCMA"].encode(pcm)
        self.write(wire.header(self.kind, len(pcm)) + pcm)

    def speak(self, pcm: bytes, frame: float = 0.02) -> None:
        """The caller says ``pcm``, a packet of ``frame`` seconds at a time, each in its time. Waits for the end."""
        size = round(self.rate * frame) * 2
        began = time.monotonic()
        for number, at in enumerate(range(0, len(pcm) - size + 1, size)):
            gevent.sleep(max(0.0, began + number * frame - time.monotonic()))
            if self.ended.is_set():
                return
            self.say(pcm[at : at + size])

    def say_nothing(self, seconds: float) -> None:
        """The caller is silent, and sends silence."""
        self.speak(bytes(frame_bytes(self.rate) * round(seconds / 0.02)))

    def press(self, keys: str) -> None:
        """Each key is told when it was let go."""
        for key in keys:
            self.write(wire.digit_frame(key))

    def write(self, data: bytes, pieces: Iterable[int] = ()) -> None:
        """Raw bytes, in pieces of the sizes given, the rest in one."""
        at = 0
        with suppress(OSError):
            for size in pieces:
                self.sock.sendall(data[at : at + size])
                gevent.sleep(0)
                at += size
            self.sock.sendall(data[at:])

    def hang_up(self) -> None:
        """The caller hangs up: Asterisk just closes."""
        self._end("the caller hung up")
        self._reader.kill(block=False)

    def wait(self, seconds: float = 5.0) -> bool:
        """Whether the call ended within so many seconds."""
        return bool(self.ended.wait(seconds))

    # what Asterisk's channel thread does

    def _read(self) -> None:
        try:
            while not self.ended.is_set():
                self._frame()
        except EOFError:
            self._end("the agent closed the connection")
        except OSError as error:
            self._end(f"connection lost: {error.strerror}")

    def _frame(self) -> None:
        header = self._exactly(wire.HEADER_BYTES, None)
        kind, length = header[0], int.from_bytes(header[1:], "big")
        if kind == wire.GOODBYE:
            self.said_goodbye = True
            self._end("the agent said goodbye")
        elif kind not in wire.RATES or (self.label == "old" and kind != wire.SLIN):
            self._reject(f"Received AudioSocket message other than hangup or audio: kind 0x{kind:02x}")
        elif not length:
            self._reject("audio of no bytes")
        else:
            payload = self._exactly(length, PAYLOAD_SECONDS)
            self.frames.append((time.monotonic(), kind, length))
            self.heard += payload

    def _exactly(self, size: int, patience: float | None) -> bytes:
        unread = self._unread  # what is there is never waited for, however busy this machine is
        while len(unread) < size:
            asked = time.monotonic()
            more = self.sock.recv(READ_BYTES)
            if not more:
                raise EOFError
            if patience is not None and (waited := time.monotonic() - asked) > patience:
                self._reject(f"Poll timed out while waiting for data ({waited * 1000:.0f} ms)")
                raise EOFError
            unread += more
        data = bytes(unread[:size])
        del unread[:size]
        return data

    def _reject(self, fault: str) -> None:
        self.faults.append(fault)
        self._end(fault)

    def _end(self, reason: str) -> None:
        if not self.ended.is_set():
            self.ended_because = reason
            self.ended.set()
            self.sock.close()
