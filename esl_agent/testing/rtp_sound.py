"""The sound of a pretend telephone: PCMU over RTP (RFC 3550) both ways, keys as RFC 4733. Lives on the hub.

It notes when each packet came, so that a test knows to the packet what a caller heard, and when.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import gevent
from gevent import socket

from esl_agent.audio.g711 import LAWS, RATE
from esl_agent.audio.pcm import FRAME_SECONDS, Sound, frame_bytes, rms
from esl_agent.testing.caller import AUDIBLE, HangUp, Press, PretendCaller
from esl_agent.testing.sip_words import KEYS

_LAW = LAWS["PCMU"]
_SIZE = frame_bytes(RATE)
#: A telephone's jitter buffer holds no more; older sound is thrown away.
_MAX_WAITING = 10
#: A pause shorter than this is none of the sound's: packets came late, by the network or a busy hub of ours.
_JITTER = 0.2
#: A key is held so many frames, and its end is told three times.
_KEY_FRAMES, _KEY_ENDS = 8, 3
_DIGITS = "0123456789*#ABCD"


@dataclass(frozen=True, slots=True)
class Packet:
    """What came, when (``time.monotonic``)."""

    at: float
    sequence: int
    timestamp: int
    kind: int
    """The payload type: 0 PCMU, KEYS."""
    payload: bytes

    @property
    def pcm(self) -> bytes:
        return _LAW.decode(self.payload) if self.kind == 0 else b""

    @property
    def level(self) -> float:
        """RMS; 0 for a key."""
        return rms(self.pcm) if self.kind == 0 else 0.0


class RtpSound:
    """Bound at ``host``; ``start`` sends to ``remote`` from then on, every 20 ms until ``close``.

    ``caller`` hears and speaks; what is given to ``say`` goes before. ``hang_up`` is called when the caller does.
    """

    def __init__(self, host: str, caller: PretendCaller | None, hang_up: Any) -> None:
        self.caller = caller or PretendCaller([])
        self.packets: list[Packet] = []
        self.began: float | None = None
        self._hang_up = hang_up
        self._sock: Any = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((host, 0))
        self.port = int(self._sock.getsockname()[1])
        self._raw = self._sock._sock
        self._raw.setblocking(False)
        self._watcher = gevent.get_hub().loop.io(self._sock.fileno(), 1)
        self._watcher.start(self._readable)
        self._remote: tuple[str, int] | None = None
        self._waiting: deque[bytes] = deque(maxlen=_MAX_WAITING)
        self._said: deque[bytes] = deque()
        self._keys: deque[tuple[int, int, int]] = deque()
        """(event, duration in samples, how much of it: 0 begins, 1 goes on, 2 ends) for frames to come."""
        self._sequence, self._timestamp, self._key_began = 1, 160, 0
        self._clock: gevent.Greenlet | None = None

    def start(self, remote: tuple[str, int]) -> None:
        self._remote = remote
        if self._clock is None:
            self.began = time.monotonic()
            self._clock = gevent.spawn(self._send_all)

    def say(self, sound: Sound) -> None:
        """Speak, 8 kHz, from now on or after what is being said."""
        if sound.rate != RATE:
            raise ValueError(f"a telephone speaks {RATE} Hz, not {sound.rate}")
        self._said.extend(sound.pcm[at : at + _SIZE].ljust(_SIZE, b"\0") for at in range(0, len(sound.pcm), _SIZE))

    def press(self, digit: str) -> None:
        event = _DIGITS.index(digit)
        self._keys.extend((event, (n + 1) * 160, 0 if n == 0 else 1) for n in range(_KEY_FRAMES))
        self._keys.extend((event, _KEY_FRAMES * 160, 2) for _ in range(_KEY_ENDS))

    @property
    def is_speaking(self) -> bool:
        return bool(self._said)

    def loud(self, after: float = 0.0, before: float = float("inf")) -> list[Packet]:
        """The packets in which the agent was heard."""
        return [each for each in self.packets if after <= each.at < before and each.level >= AUDIBLE]

    def heard(self) -> Sound:
        """All that was heard, as a telephone plays it: each packet when it comes, or when the one before is over."""
        pcm = bytearray()
        for packet in self.packets:
            if packet.kind != 0:
                continue
            due = round((packet.at - self.packets[0].at) * RATE) * 2
            if due - len(pcm) > _JITTER * RATE * 2:
                pcm.extend(bytes(due - len(pcm)))
            pcm.extend(packet.pcm)
        return Sound(bytes(pcm), RATE)

    def close(self) -> None:
        if self._clock is not None:
            self._clock.kill(block=False)
        self._watcher.stop()
        self._watcher.close()
        self._sock.close()

    def _send_all(self) -> None:
        due = time.monotonic()
        while True:
            self._frame(time.monotonic())
            due += FRAME_SECONDS
            gevent.sleep(max(0.0, due - time.monotonic()))

    def _frame(self, now: float) -> None:
        pcm = self.caller.next_frame(self._waiting.popleft() if self._waiting else b"", now)
        for deed in self.caller.take_deeds():
            if isinstance(deed, Press):
                self.press(deed.digit)
            elif isinstance(deed, HangUp):
                self._hang_up()
        if self._keys:
            self._send_key(*self._keys.popleft())
        else:
            self._send(0, self._timestamp, _LAW.encode(self._said.popleft() if self._said else pcm))
        self._timestamp += 160

    def _send_key(self, event: int, duration: int, phase: int) -> None:
        if phase == 0:
            self._key_began = self._timestamp
        payload = struct.pack("!BBH", event, 0x80 | 10 if phase == 2 else 10, duration)
        self._send(KEYS, self._key_began, payload, marker=phase == 0)

    def _send(self, kind: int, timestamp: int, payload: bytes, marker: bool = False) -> None:
        head = struct.pack("!BBHII", 0x80, kind | 0x80 * marker, self._sequence & 0xFFFF, timestamp, 0x5EED)
        self._sequence += 1
        try:
            self._raw.sendto(head + payload, self._remote)
        except OSError:
            return  # nobody listens any more

    def _readable(self) -> None:
        try:
            data = self._raw.recv(4096)
        except OSError:
            return
        if len(data) < 12 or data[0] & 0xCF != 0x80:  # no RTP, or with what nobody here sends
            return
        kind, sequence, timestamp = struct.unpack_from("!BHI", data, 1)
        packet = Packet(time.monotonic(), sequence, timestamp, kind & 0x7F, data[12:])
        self.packets.append(packet)
        if packet.kind == 0:
            self._waiting.append(packet.pcm)
