"""A call as the legs see one (``EslCall``), answered by the pretend FreeSWITCH's machine at virtual time."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

from esl_agent.audio.pcm import Sound
from esl_agent.errors import CommandRefused, CommandTimeout, LegClosed, LegError
from esl_agent.legs.base import Clip
from esl_agent.testing.fs_channel import Party
from esl_agent.testing.fs_effects import Close, Effect, Write
from esl_agent.testing.fs_files import SoundFiles
from esl_agent.testing.fs_machine import Machine, Options
from esl_agent.wire import esl
from esl_agent.wire import esl_commands as commands

UUID = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"


def clip(turn: int, number: int, seconds: float, rate: int = 8000) -> Clip:
    return Clip(turn, number, Sound(b"\x10\x00" * round(seconds * rate), rate))


class Deadlines:
    """``esl_outcome.Deadlines`` at virtual time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.is_closed = False
        self._count = itertools.count()

    def after(self, seconds: float, callback: Callable[[], None]) -> int:
        if not self.is_closed:
            heapq.heappush(self.heap, (self.now + seconds, next(self._count), callback))
        return 0


class VirtualCall:
    """Both the call and its link. ``until`` lets time pass; nothing else does."""

    def __init__(
        self,
        rate: int = 8000,
        options: Options | None = None,
        variables: dict[str, str] | None = None,
        is_heard: bool = False,
    ) -> None:
        party = Party(UUID, "5000", "4915550001", "4915550001", rate, variables or {})
        self.machine = Machine(party, SoundFiles(rate, is_heard).load, options=options)
        self.link = self
        self.deadlines = Deadlines()
        self.uuid = UUID
        self.hangup_cause = ""
        self.connected = True
        self.exits = 0
        self.session_data: Any = None
        self.on_event_hook: Callable[[esl.Event], None] | None = None
        self.on_closed_hook: Callable[[str], None] | None = None
        self.said: list[str] = []
        self.events: list[esl.Event] = []
        self.effects: list[Effect] = []
        self._parser = esl.Parser()
        self._awaited: deque[Any] = deque()
        self._running: dict[str, Any] = {}
        self.request(commands.connect(), on_reply=self._connected)

    @property
    def now(self) -> float:
        return self.deadlines.now

    def clock(self) -> float:
        return self.deadlines.now

    def subscribe(self, *subclasses: str) -> VirtualCall:
        """What ``FreeSwitchLeg.prepare`` asks for; the call is answered and a second old afterwards."""
        self.request(commands.linger(10))
        self.request(commands.my_events("json"))
        self.request(commands.events("json", ("PLAYBACK_START", "PLAYBACK_STOP"), subclasses))
        self.execute("answer")
        self.until(1.0)
        return self

    def request(self, command: bytes, *, timeout: float | None = None, on_reply: Any = None) -> None:
        self.said.append(command.decode())
        if not self.connected:
            if on_reply:
                on_reply(LegClosed("closed"))
            return
        self._awaited.append(on_reply)
        self.machine.receive(command, self.now)
        self._take()

    def execute(
        self,
        app: str,
        argument: str = "",
        *,
        event_uuid: str | None = None,
        lock: bool = False,
        timeout: float = 3600.0,
        on_done: Any = None,
    ) -> None:
        key = event_uuid or f"key-{len(self.said)}"
        self._running[key] = on_done

        def refused(reply: Any) -> None:
            if isinstance(reply, LegError):
                self._end(key, reply)

        self.deadlines.after(timeout, lambda: self._end(key, CommandTimeout(f"execute {app}", timeout)))
        self.request(commands.execute(app, argument, event_uuid=key, lock=lock), on_reply=refused)

    def exit(self) -> None:
        self.exits += 1

    def until(self, when: float) -> None:
        """Everything due by ``when``, on FreeSWITCH's side and ours, in its order."""
        while True:
            ours = self.deadlines.heap[0][0] if self.deadlines.heap else float("inf")
            theirs = self.machine.next_deadline or float("inf")
            due = min(ours, theirs)
            if due > when:
                break
            self.deadlines.now = max(self.now, due)
            if theirs <= ours:
                self.machine.tick(self.now)
                self._take()
            else:
                heapq.heappop(self.deadlines.heap)[2]()
        self.deadlines.now = when
        self.machine.tick(when)
        self._take()

    def after(self, seconds: float) -> None:
        self.until(self.now + seconds)

    def do(self, deed: Callable[[Machine], None]) -> None:
        """Something happens to FreeSWITCH."""
        deed(self.machine)
        self._take()

    def close(self, reason: str = "closed") -> None:
        """The event socket is gone."""
        if not self.connected:
            return
        self.connected = False
        self.deadlines.is_closed = True
        self.deadlines.heap.clear()
        error = LegClosed(reason)
        while self._awaited:
            if on_reply := self._awaited.popleft():
                on_reply(error)
        for key in list(self._running):
            self._end(key, error)
        if self.on_closed_hook:
            self.on_closed_hook(reason)

    def _connected(self, reply: Any) -> None:
        assert isinstance(reply, esl.Reply), reply
        self.session_data = reply.headers

    def _end(self, key: str, result: Any) -> None:
        on_done = self._running.pop(key, None)
        if on_done is not None:
            on_done(result)

    def _take(self) -> None:
        for effect in self.machine.outgoing():
            if isinstance(effect, Write):
                for frame in self._parser.feed(effect.data):
                    self._deal(frame)
            elif isinstance(effect, Close):
                self.close("FreeSWITCH closed")
            else:
                self.effects.append(effect)

    def _deal(self, frame: esl.Frame) -> None:
        if not self.connected:
            return
        if isinstance(frame, esl.Reply):
            if on_reply := self._awaited.popleft():
                on_reply(frame if frame.ok else CommandRefused("command", frame.text))
        elif isinstance(frame, esl.Event):
            self.events.append(frame)
            if frame.name.startswith("CHANNEL_HANGUP"):
                self.hangup_cause = frame.headers.get("Hangup-Cause", "")
            if self.on_event_hook:
                self.on_event_hook(frame)
            if frame.name == "CHANNEL_EXECUTE_COMPLETE":
                self._end(frame.headers.get("Application-UUID", ""), frame)
            if frame.name == "CHANNEL_HANGUP_COMPLETE":
                for key in list(self._running):
                    self._end(key, LegClosed("hung up"))
