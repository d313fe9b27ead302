"""One AudioSocket connection: Asterisk's frames in, ours out, a goodbye.

Read and written by hub watchers: no greenlet of its own. What it must heed (``res_audiosocket.c``, 22.10.1, each seen
on a running one):

- Once Asterisk has read a header it waits 5 ms for the rest: a frame is one ``send``, and where the kernel takes only
  a part of it, the rest goes first, as soon as there is room.
- ``close`` with unread input resets the connection, which Asterisk's application takes for an error and hangs up. So
  we say goodbye and read on until Asterisk closes.
- A silent connection is no dead one: a caller on hold or with silence suppression sends nothing, nor does one who
  holds a key down. But Asterisk reads what we send all the time, silence too. Whoever does not take it for
  ``STUCK_SECONDS`` is dead, and the send buffer is kept small, so that this shows.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any, Protocol

from gevent import get_hub

from esl_agent.errors import WireError
from esl_agent.legs.esl_outcome import guarded
from esl_agent.legs.frame_writer import FrameWriter
from esl_agent.legs.sound_connection import FRAMES_PER_SECOND, Allowance, age_of
from esl_agent.wire import audiosocket as wire
from esl_agent.wire.audiosocket_sound import LineSound, Opening

log = logging.getLogger(__name__)

#: Bytes read per wake-up: 20 ms at 192 kHz four times over.
READ_BYTES = 32768
#: A call begins without the caller's sound if none came this long after the UUID. The first frame comes 1 ms after the
#: answer where the caller sends any; what it is labelled decides the call's rate.
FIRST_SOUND_SECONDS = 0.5
#: A frame that began and does not end; a peer that takes nothing of what we send.
STALLED_SECONDS = STUCK_SECONDS = 2.0
#: How often those two are looked at.
LOOK_SECONDS = 0.5
#: Asterisk closes within milliseconds of our goodbye.
GOODBYE_SECONDS = 2.0
#: Bytes the kernel keeps unsent for us (it doubles them): a second at most of slin24.
SEND_BUFFER_BYTES = 32768
#: Seconds of sound, of whatever kind, that may come in each second that passes; so many times the frames of a
#: telephone, too.
MAX_SECONDS_PER_SECOND = 4.0
#: Keys pressed before anybody asked for them.
MAX_EARLY_DIGITS = 32


class _State(Enum):
    NAMING = "its UUID is awaited"
    OPENING = "its first sound is awaited"
    OPEN = "open"
    LEAVING = "we said goodbye"
    OVER = "over"


class Host(Protocol):
    """Whose line it is: the server."""

    def named(self, line: AudioSocketLine) -> str:
        """The line knows its UUID. Says why it is refused; empty: it may go on."""

    def opened(self, line: AudioSocketLine) -> None:
        """It is known, as far as it can be, what sound comes: the call begins."""

    def failed(self, line: AudioSocketLine, reason: str) -> None:
        """The peer broke the protocol, or did not begin it in time."""

    def left(self, line: AudioSocketLine) -> None:
        """The connection is gone."""


class AudioSocketLine:
    """A ``legs.asterisk.Line``. Owns ``sock`` from now on; every method returns at once and none raises."""

    def __init__(self, host: Host, sock: Any, peer: str, handshake: float) -> None:
        self.id = ""
        """The UUID in its canonical text; empty until it came."""
        self.peer = peer
        self.sound: LineSound | None = None
        """What comes, once that is known. In a call's begin it may not be."""
        self.ended_because = ""
        self.named_at = 0.0
        """When its UUID came (monotonic)."""
        self._host = host
        self._sock = sock
        self._state = _State.NAMING
        self._parser = wire.Parser()
        self._opening = Opening()
        self._sends = LineSound()
        self._age = age_of(sock)
        self._allowance = Allowance(1.0, MAX_SECONDS_PER_SECOND, self._age)
        self._frames = Allowance(FRAMES_PER_SECOND, MAX_SECONDS_PER_SECOND, self._age)
        self._has_failed = False  # an error was told, and is not logged again
        self._began_at = 0.0  # when the frame began that has not ended
        self._on_sound: Callable[[int, bytes], None] = _nobody
        self._on_gone: Callable[[], None] | None = None
        self._on_digit: Callable[[str], None] | None = None
        self._on_end: Callable[[], None] | None = None
        self._early_digits = ""
        self._is_told = False
        _tune(sock)
        loop = get_hub().loop
        self._reader = loop.io(sock.fileno(), 1)
        self._writer = FrameWriter(sock, self._end)
        self._look = loop.timer(LOOK_SECONDS, LOOK_SECONDS)
        self._deadline: Any = None
        self._handshake = handshake

    def start(self) -> None:
        """Once, by the server."""
        self._reader.start(self._readable)
        self._look.start(self._look_after)
        self._by(self._handshake, lambda: self._fail(f"no UUID within {self._handshake:g} s"))

    # what a call uses

    @property
    def uuid(self) -> str:
        return self.id

    @property
    def is_over(self) -> bool:
        """Nothing comes any more."""
        return self._state is _State.OVER

    @property
    def sends(self) -> LineSound:
        """How our frames are labelled and at which rate they are; fixed when the call begins."""
        return self._sends

    @property
    def on_digit(self) -> Callable[[str], None] | None:
        """Told every key, those pressed before it was set too."""
        return self._on_digit

    @on_digit.setter
    def on_digit(self, told: Callable[[str], None] | None) -> None:
        self._on_digit = told
        early, self._early_digits = self._early_digits, ""
        for key in early if told is not None else "":
            guarded(told, key)  # type: ignore[arg-type]

    @property
    def on_end(self) -> Callable[[], None] | None:
        """Told once that the connection is gone, also if it went before it was set; not after ``close``."""
        return self._on_end

    @on_end.setter
    def on_end(self, told: Callable[[], None] | None) -> None:
        self._on_end = told
        if self._state is _State.OVER:
            self._tell()

    def listen(self, on_sound: Callable[[int, bytes], None] | None, on_gone: Callable[[], None] | None = None) -> None:
        """``on_sound(kind, payload)`` is told every frame of sound from now on, ``on_gone`` once that nobody hears us
        any more, before ``on_end`` is told. Neither may block."""
        self._on_sound, self._on_gone = on_sound or _nobody, on_gone
        if self._state in (_State.LEAVING, _State.OVER):
            self._tell_gone()

    def send(self, pcm: bytes) -> None:
        """20 ms of PCM16 at the rate of ``sends``."""
        if self._state is _State.OPEN:
            self._writer.write(wire.sound_frame(self._sends.kind, pcm))

    def answer(self) -> None:
        """Asterisk answered the caller when it had connected."""

    def hang_up(self) -> None:
        """Say goodbye and read on until Asterisk closes; ``on_end`` is told then. The dialplan goes on."""
        if self._state in (_State.LEAVING, _State.OVER):
            return
        self._state = _State.LEAVING
        self._tell_gone()
        self._writer.forget()
        self._by(GOODBYE_SECONDS, lambda: self._end("Asterisk did not close after our goodbye"))
        self._writer.write(wire.GOODBYE_FRAME)

    def close(self) -> None:
        """Say goodbye if that was not done, and tell nobody anything any more."""
        self._on_sound, self._on_gone, self._on_digit, self._on_end = _nobody, None, None, None
        self._is_told = True
        self.hang_up()

    def drop(self, reason: str) -> None:
        """Let go without a goodbye."""
        self._end(reason)

    # what comes

    def _readable(self) -> None:
        try:
            data = self._sock._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(f"connection lost: {error.strerror}")
            return
        if not data:
            self._end(
                "Asterisk closed the connection in the middle of a frame" if self._began_at else "Asterisk closed"
            )
            return
        if self._state is _State.LEAVING:
            return
        try:
            frames = self._parser.feed(data)
        except WireError as error:
            self._fail(str(error))
            return
        if not self._frames.take(len(frames)):
            self._fail(f"more than {FRAMES_PER_SECOND * MAX_SECONDS_PER_SECOND:g} frames a second")
            return
        if self._parser.is_midway:
            if frames or not self._began_at:
                self._began_at = time.monotonic()
        else:
            self._began_at = 0.0
        for kind, payload in frames:
            if kind in wire.RATES:
                self._sounded(kind, payload)
            else:
                self._told(kind, payload)
            if self._state in (_State.LEAVING, _State.OVER):
                return

    def _sounded(self, kind: int, payload: bytes) -> None:
        if not payload:
            return
        rate = self.sound.rate if self.sound is not None and self.sound.kind == kind else wire.RATES[kind]
        if not self._allowance.take(len(payload) / 2 / rate):
            self._fail(f"more than {MAX_SECONDS_PER_SECOND:g} seconds of sound a second")
            return
        if self.sound is None:
            self.sound = self._opening.hear(kind, payload, time.monotonic())
            if self.sound is None:
                return
            self._allowance = Allowance(1.0, MAX_SECONDS_PER_SECOND, self._age)
            if self._state is _State.OPENING:
                self._open()
            else:
                self._describe()
        self._on_sound(kind, payload)

    def _told(self, kind: int, payload: bytes) -> None:
        if kind == wire.CALL:
            self._named(wire.Frame(kind, payload))
        elif kind == wire.DIGIT:
            self._pressed(wire.digit(wire.Frame(kind, payload)))
        elif kind == wire.GOODBYE:
            self._end("Asterisk said goodbye")
        elif wire.has_hung_up(wire.Frame(kind, payload)):
            self._end("Asterisk says that the caller hung up")
        elif not self._has_failed:
            self._has_failed = True
            log.warning("call=%s Asterisk tells an error: code 0x%s", self.id, payload[:4].hex() or "none")

    def _named(self, frame: wire.Frame) -> None:
        self.id = str(wire.call_uuid(frame))
        self.named_at = time.monotonic()
        self._state = _State.OPENING
        if refusal := self._host.named(self):
            log.warning("audiosocket: call=%s from %s is refused: %s", self.id, self.peer, refusal)
            self.close()
            return
        self._by(FIRST_SOUND_SECONDS, self._open_unheard)

    def _pressed(self, key: str) -> None:
        if self._on_digit is not None:
            guarded(self._on_digit, key) if key else None
        elif len(self._early_digits) < MAX_EARLY_DIGITS:
            self._early_digits += key

    def _open_unheard(self) -> None:
        self.sound = self._opening.decide()
        self._open()

    def _open(self) -> None:
        self._state = _State.OPEN
        self._by(0.0, None)
        self._sends = self.sound or LineSound()
        self._describe()
        self._host.opened(self)

    def _describe(self) -> None:
        if self.sound is None:
            log.info("call=%s audiosocket from %s: no sound yet; ours goes at 8000 Hz", self.id, self.peer)
            return
        ours = self._sends.sends
        log.info(
            "call=%s audiosocket from %s: %d Hz of kind 0x%02x comes; ours goes at %d Hz in chunks of %d bytes",
            self.id, self.peer, self.sound.rate, self.sound.kind, ours, ours // 50 * 2,
        )  # fmt: skip
        if self.sound.advice:
            log.warning("call=%s %s", self.id, self.sound.advice)

    # deadlines, and the end

    def _by(self, seconds: float, then: Callable[[], None] | None) -> None:
        """``then`` comes in ``seconds``, in place of what was to come; None: nothing does."""
        if self._deadline is not None:
            self._deadline.stop()
            self._deadline.close()
            self._deadline = None
        if then is not None:
            self._deadline = get_hub().loop.timer(seconds)
            self._deadline.start(then)

    def _look_after(self) -> None:
        now = time.monotonic()
        if self._began_at and now - self._began_at >= STALLED_SECONDS and self._state is not _State.LEAVING:
            self._fail(f"a frame that began has not ended within {STALLED_SECONDS:g} s")
        elif (stuck := self._writer.stuck_at) and now - stuck >= STUCK_SECONDS:
            self._end(f"Asterisk has not taken our sound for {STUCK_SECONDS:g} s")

    def _fail(self, reason: str) -> None:
        self._host.failed(self, reason)
        self._end(reason)

    def _end(self, reason: str) -> None:
        if self._state is _State.OVER:
            return
        self._state = _State.OVER
        self.ended_because = reason
        self._by(0.0, None)
        self._writer.close()
        for watcher in (self._reader, self._look):
            watcher.stop()
            watcher.close()
        self._sock.close()
        self._on_sound, self._on_digit = _nobody, None
        self._host.left(self)
        self._tell_gone()
        self._tell()

    def _tell_gone(self) -> None:
        told, self._on_gone = self._on_gone, None
        if told is not None:
            guarded(told)

    def _tell(self) -> None:
        told, self._on_end = self._on_end, None
        if told is not None and not self._is_told:
            self._is_told = True
            guarded(told)


def _nobody(kind: int, payload: bytes) -> None:
    """Gets what nobody listens to."""


def _tune(sock: Any) -> None:
    """Frames leave at once; a peer whose machine vanished is noticed, by our own frames or after a minute's silence."""
    options = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    ]
    for level, name, value in options:
        with suppress(OSError):  # one that is gone already
            sock.setsockopt(level, name, value)
