"""One call of the pretend FreeSWITCH: its machine, its sockets, its caller and its recording."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket
from gevent.event import Event

from esl_agent.audio.pcm import frame_bytes
from esl_agent.testing import fs_effects as effects
from esl_agent.testing.caller import HangUp
from esl_agent.testing.fork_client import Fork, ForkClient, ForkRefused, PreparedAudio, binary_frame
from esl_agent.testing.fork_playout import ForkPlayout
from esl_agent.testing.fs_ending import Phase
from esl_agent.testing.fs_files import Recording
from esl_agent.testing.fs_machine import Machine
from esl_agent.testing.line import LiveRate
from esl_agent.testing.unicast_client import UnicastClient

if TYPE_CHECKING:
    from esl_agent.testing.freeswitch import CallerAudio

_READ = 1


class FreeSwitchCrashed(AssertionError):
    """The agent sent something that would have taken a real FreeSWITCH down."""


class PretendCall:
    """A call in progress. ``machine`` is the FreeSWITCH side; everything here only carries it out."""

    def __init__(
        self,
        machine: Machine,
        prepared: PreparedAudio | None,
        caller: CallerAudio | None,
        record: str | Path | None,
        merge_frames: int,
        keep_wire: bool = False,
    ) -> None:
        self.machine = machine
        self.caller = caller
        self.started_at = time.monotonic()
        self.wire: list[tuple[float, str, bytes]] = []
        """With ``keep_wire``: (seconds since the call began, ``<`` from or ``>`` to the agent, bytes)."""
        self.frames_sent = 0
        self.frame_times: list[float] = []
        """When the first and every later frame of the recording began; index = position / 20 ms."""
        self._keep_wire = keep_wire
        self._prepared = prepared
        rate = machine.channel.party.rate
        self._recording = Recording(Path(record) if record is not None else None, rate)
        self._is_heard = caller is not None or record is not None
        self._merge = max(1, merge_frames)
        self._size = frame_bytes(rate)
        self._said_before = bytes(self._size)
        self._forks: dict[str, Fork] = {}
        self._unicast: UnicastClient | None = None
        self._sock: socket.socket | None = None
        self._reader: Any = None
        self._timer: Any = None
        self._timer_due: float | None = None
        self._unsent = bytearray()
        self._closing: effects.Close | None = None
        self._over = Event()
        self._released = Event()

    # what tests and benchmarks use

    @property
    def uuid(self) -> str:
        return self.machine.channel.uuid

    @property
    def state(self) -> Phase:
        return self.machine.phase

    @property
    def hangup_cause(self) -> str:
        """Empty while the call is up."""
        return self.machine.channel.cause

    @property
    def is_answered(self) -> bool:
        return self.machine.channel.answered_at > 0

    @property
    def is_released(self) -> bool:
        """The call is over and the event socket is closed."""
        return bool(self._released.is_set())

    @property
    def facts(self) -> list[tuple[float, str, str]]:
        """(seconds since the call began, what, detail), in order."""
        return [(when - self.started_at, what, detail) for when, what, detail in self.machine.facts]

    def wait(self, timeout: float) -> bool:
        """Whether the call was over for the caller within ``timeout``. FreeSwitchCrashed if FreeSWITCH would have."""
        self._over.wait(timeout)
        if self.machine.crash_reason:
            raise FreeSwitchCrashed(self.machine.crash_reason)
        return bool(self._over.is_set())

    def wait_released(self, timeout: float) -> bool:
        """Whether the agent also let go of the event socket within ``timeout``."""
        return bool(self._released.wait(timeout))

    def hang_up(self) -> None:
        """The caller's BYE."""
        self.do(lambda machine: machine.caller_hangs_up(time.monotonic()))

    def press(self, digits: str) -> None:
        """The caller presses keys."""
        for digit in digits:
            self.machine.press(digit, time.monotonic())
        self._carry_out()

    def do(self, deed: Callable[[Machine], None]) -> None:
        """Do something to the machine now, such as a fault: ``call.do(lambda m: m.drop_eof())``."""
        self.machine.tick(time.monotonic())
        deed(self.machine)
        self._carry_out()

    def close(self) -> None:
        """Let go of everything at once. Idempotent."""
        self._recording.finish()
        for fork in list(self._forks.values()):
            self._drop_fork(fork)
        self._forks.clear()
        self._close_unicast()
        self._shut(reset=False)
        self._stop_timer()
        self._over.set()
        self._released.set()

    def heard_pcm(self) -> bytes:
        """What the caller heard so far, from the first frame of the clock, at the codec's rate."""
        return self._recording.heard()

    # what the shell drives

    def connected(self, sock: socket.socket) -> None:
        """The agent accepted the event socket."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self._sock = sock
        self._reader = gevent.get_hub().loop.io(sock.fileno(), _READ)
        self._reader.start(self._readable)
        self._carry_out()

    def refused(self, why: str) -> None:
        """The agent does not listen: the dialplan goes on."""
        self.machine.unreachable(why, time.monotonic())
        self._carry_out()

    def frame(self, now: float) -> None:
        """The 20 ms from ``now``."""
        if self._prepared is not None:
            if self._forks or self._unicast:
                self._send_prepared(self._prepared)
            if not self._is_heard:
                return
        heard = b""
        if self.machine.is_up:
            playing = self.machine.playing
            sent = self._unicast.take() if self._unicast and not playing else b""
            heard = playing.take_frame(self._size) if playing else self.machine.bridges.take_frame(self._size) or sent
            if playing or self.machine.writes_when_idle:
                for fork in self._forks.values():
                    heard = (fork.playout.take(self._size) if fork.playout else b"") or heard
            self._converse(heard, now)
        if self._unsent:
            self._send(b"")

    def _converse(self, heard: bytes, now: float) -> None:
        if self.caller:
            self.caller.is_connected = self.machine.channel.answer_state != "ringing"
        said = self.caller.next_frame(heard, now) if self.caller else self._prepared_frame()
        if not self.frame_times:
            self.machine.note("recording began")
        self.frame_times.append(now - self.started_at)
        self._recording.add(said, heard.ljust(self._size, b"\0"))
        if self._prepared is None:
            # The last frame, not this one: 20 ms of sound can be sent when they are over.
            for fork in self._forks.values():
                self._send_said(fork, self._said_before)
            self._send_unicast(self._said_before)
            self._said_before = said
        for deed in self.caller.take_deeds() if self.caller else ():
            if isinstance(deed, HangUp):
                self.hang_up()
            else:
                self.press(deed.digit)

    def _prepared_frame(self) -> bytes:
        """What the recording holds of a prepared caller: silence if its frames are not at the codec's rate."""
        at = max((fork.at for fork in self._forks.values()), default=0)
        frame = self._prepared.frames[at % len(self._prepared.frames)] if self._prepared and at else b""
        return frame if len(frame) == self._size else bytes(self._size)

    def _send_prepared(self, prepared: PreparedAudio) -> None:
        for fork in self._forks.values():
            if fork.client is None or not fork.flowing:
                continue
            if self._merge == 1:
                fork.client.send_audio(prepared.wire[fork.at % len(prepared.wire)])
            else:
                fork.pending.append(prepared.frames[fork.at % len(prepared.frames)])
                self._send_merged(fork, fork.client)
            fork.at += 1
            self.frames_sent += 1
        if self._unicast:
            self._send_unicast(prepared.frames[self._unicast.sent % len(prepared.frames)])

    def _send_unicast(self, said: bytes) -> None:
        if self._unicast is not None and self.machine.unicast.flows:
            self._unicast.send(said)
            self.frames_sent += 1

    def _send_said(self, fork: Fork, said: bytes) -> None:
        if fork.client is None or not fork.flowing:
            return
        fork.pending.append(fork.rerate.frame(said) if fork.rerate else said)
        self.frames_sent += 1
        self._send_merged(fork, fork.client)

    def _send_merged(self, fork: Fork, client: ForkClient) -> None:
        if len(fork.pending) >= self._merge:
            client.send_audio(binary_frame(b"".join(fork.pending)))
            fork.pending.clear()

    def _readable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            data = sock.recv(65536)
        except (BlockingIOError, TimeoutError):
            return
        except OSError:
            data = b""
        now = time.monotonic()
        self._note_wire("<", data)
        if data:
            self.machine.receive(data, now)
        else:
            self._shut(reset=False)
            self.machine.peer_closed(now)
        self._carry_out()

    def _note_wire(self, direction: str, data: bytes) -> None:
        if self._keep_wire and data:
            self.wire.append((time.monotonic() - self.started_at, direction, data))

    def _due(self) -> None:
        self._timer_due = None
        self.machine.tick(time.monotonic())
        self._carry_out()

    def _carry_out(self) -> None:
        for effect in self.machine.outgoing():
            self._act(effect)
        deadline = self.machine.next_deadline
        if deadline is not None and (self._timer_due is None or deadline < self._timer_due):
            self._set_timer(deadline)
        machine = self.machine
        if machine.crash_reason or (not machine.is_up and machine.channel.state == "CS_REPORTING"):
            self._recording.finish()
            self._over.set()
            if self._sock is None:
                self._stop_timer()
                self._released.set()

    def _set_timer(self, deadline: float) -> None:
        self._stop_timer()
        self._timer_due = deadline
        self._timer = gevent.get_hub().loop.timer(max(0.0, deadline - time.monotonic()))
        self._timer.start(self._due)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def _act(self, effect: effects.Effect) -> None:
        if isinstance(effect, effects.Write):
            self._note_wire(">", effect.data)
            self._send(effect.data)
        elif isinstance(effect, effects.Close):
            self._closing = effect
            self._send(b"")
        elif isinstance(effect, effects.OpenFork):
            fork = self._forks[effect.bug] = Fork()
            gevent.spawn(self._open_fork, effect, fork)
        elif isinstance(effect, effects.ForkFlow | effects.ForkText | effects.ForkCut):
            held = self._forks.get(effect.bug)
            if held and isinstance(effect, effects.ForkFlow):
                held.flowing = effect.flowing
            elif held and isinstance(effect, effects.ForkCut) and held.playout:
                held.playout.clear()
            elif held and held.client and isinstance(effect, effects.ForkText):
                held.client.send_text(effect.text)
        elif isinstance(effect, effects.CloseFork):
            if ended := self._forks.pop(effect.bug, None):
                self._drop_fork(ended, effect.text)
        elif isinstance(effect, effects.OpenUnicast):
            self._open_unicast(effect)
        elif isinstance(effect, effects.CloseUnicast):
            self._close_unicast()

    def _open_unicast(self, effect: effects.OpenUnicast) -> None:
        rate = self.machine.channel.party.rate
        try:
            self._unicast = UnicastClient(effect.local, effect.remote, rate, effect.native)
        except OSError as error:
            reason = str(error)
            self.do(lambda machine: machine.unicast_failed(reason, time.monotonic()))

    def _close_unicast(self) -> None:
        if self._unicast is not None:
            self._unicast.close()
            self._unicast = None

    def _send(self, data: bytes) -> None:
        sock = self._sock
        if sock is None:
            return
        self._unsent += data
        try:
            while self._unsent:
                sent = sock.send(self._unsent)
                del self._unsent[:sent]
        except (BlockingIOError, TimeoutError):
            return
        except OSError:
            self._unsent.clear()
        if self._closing is not None:
            self._shut(self._closing.reset)

    def _shut(self, reset: bool) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        if self._reader is not None:
            self._reader.stop()
            self._reader.close()
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def _open_fork(self, effect: effects.OpenFork, fork: Fork) -> None:
        try:
            if effect.mix != "mono":
                raise ForkRefused(f"the pretend FreeSWITCH forks mono only, not {effect.mix}")
            rate = self.machine.channel.party.rate
            if self._prepared is None and effect.rate != rate:
                fork.rerate = LiveRate(rate, effect.rate)
            client = ForkClient.connect(effect.url, effect.metadata)
        except (ForkRefused, ValueError) as refusal:
            reason = str(refusal)
            self.do(lambda machine: machine.fork_failed(effect.bug, reason, time.monotonic()))
            return
        if self._forks.get(effect.bug) is not fork:
            client.close()
            return
        fork.client, client.plays = client, bool(effect.plays)
        fork.playout = ForkPlayout(effect.plays, rate) if effect.plays else None
        fork.watcher = gevent.get_hub().loop.io(client.sock.fileno(), _READ)
        fork.watcher.start(self._fork_readable, effect.bug, fork)
        self.do(lambda machine: machine.fork_connected(effect.bug, time.monotonic()))

    def _fork_readable(self, bug: str, fork: Fork) -> None:
        client = fork.client
        if client is None:
            return
        now = time.monotonic()
        for text in client.receive():
            self.machine.fork_message(bug, text, now)
        if fork.playout is not None:
            fork.playout.feed(client.take_sound())
        if not client.is_open:
            self._drop_fork(fork)
            self.machine.fork_closed(bug, now)
        self._carry_out()

    def _drop_fork(self, fork: Fork, text: str = "") -> None:
        client, fork.client = fork.client, None
        if fork.watcher is not None:
            fork.watcher.stop()
            fork.watcher.close()
            fork.watcher = None
        if client is not None:
            client.close(text)
