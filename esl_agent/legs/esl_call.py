"""One call at our event socket: take it, run applications, learn of its end.

The class knows no greenswitch; ``legs/freeswitch.py`` gives it greenswitch's names.
"""

from __future__ import annotations

import logging
import time
import uuid as uuids
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gevent.event import Event as Flag

from esl_agent.errors import CommandRefused, LegClosed, LegError
from esl_agent.legs.esl_handlers import Handlers
from esl_agent.legs.esl_link import Link, Pending
from esl_agent.legs.esl_outcome import Outcome, guarded
from esl_agent.wire import esl
from esl_agent.wire import esl_commands as commands

log = logging.getLogger(__name__)

APPLICATION_TIMEOUT = 3600.0
"""Seconds an application may run before its Execution ends with CommandTimeout."""

JOB_TIMEOUT = 60.0
"""Seconds a background job may take."""

HANGUP_COMPLETE_TIMEOUT = 5.0
"""Seconds between the first sign of a hang-up and CHANNEL_HANGUP_COMPLETE (seen: 30 ms, and never without linger)."""

GOODBYE_TIMEOUT = 2.0
"""Seconds FreeSWITCH has to close after ``exit``."""

MIN_AGE = 0.25
"""Seconds from ``connect`` before which ``exit`` is not sent: sooner parks the call for ever (capture 24)."""


class Execution(Outcome[esl.Event]):
    """A dialplan application we started; its CHANNEL_EXECUTE_COMPLETE, found by Application-UUID, completes it.

    After a flush (``uuid_break ... all``) a queued one gets no event at all: only its deadline ends it.
    """

    __slots__ = ("rounds", "uuid")

    uuid: str
    rounds: int

    def wait(self, timeout: float | None = None) -> esl.Event:
        """The completing event; raises CommandTimeout, CommandRefused or LegClosed."""
        return self.get(timeout)


class EslCall:
    """One call. Made with the accepted gevent socket; ``connect`` takes the call.

    ``on_event`` gets every event, in the reader: it must not block. ``on_closed(reason)`` is called exactly once.
    Methods raise CommandRefused, CommandTimeout or LegClosed; none waits without a deadline.
    """

    closed_error: Callable[[str], LegError] = LegClosed

    def __init__(
        self,
        client_address: Any,
        sock: Any,
        *,
        on_event: Callable[[esl.Event], None] | None = None,
        on_closed: Callable[[str], None] | None = None,
        limits: esl.Limits | None = None,
        hangup_complete_timeout: float = HANGUP_COMPLETE_TIMEOUT,
        goodbye_timeout: float = GOODBYE_TIMEOUT,
        min_age: float = MIN_AGE,
    ) -> None:
        self.on_event_hook = on_event
        self.on_closed_hook = on_closed
        self.session_data: Mapping[str, str] | None = None
        self.hangup_cause = ""
        self.events = 0
        self.handlers = Handlers(self)
        self._outbound_connected = False
        self._lingering = False
        self._hung_up = False
        self._over = Flag()  # set when no more can come of the call: hung up completely, or closed
        self._executions: dict[str, Execution] = {}
        self._jobs: dict[str, Outcome[str]] = {}
        self._hangup_complete_timeout = hangup_complete_timeout
        self._goodbye_timeout = goodbye_timeout
        self._min_age = min_age
        self._connected_at: float | None = None
        self._leaving = False
        host = client_address[0] if isinstance(client_address, tuple) and client_address else client_address
        self.link = Link(
            sock,
            peer=f"freeswitch {host}",
            on_frame=self._on_frame,
            on_closed=self._on_link_closed,
            closed_error=type(self).closed_error,
            limits=limits,
        )

    @property
    def connected(self) -> bool:
        """Whether the socket is open."""
        return self.link.closed_because is None

    @property
    def uuid(self) -> str | None:
        """The channel's Unique-ID, once connected."""
        return self.session_data.get("Unique-ID") if self.session_data else None

    @property
    def has_full_control(self) -> bool:
        """Whether the dialplan said ``full``: without it ``api``, ``bgapi``, ``event`` and ``linger`` do not exist."""
        return self.session_data is not None and self.session_data.get("Control") == "full"

    def request(
        self,
        command: bytes,
        *,
        timeout: float | None = None,
        on_reply: Callable[[esl.Reply | LegError], None] | None = None,
    ) -> Pending:
        """Sends one command of ``wire.esl_commands``; see ``Link.request``."""
        return self.link.request(command, timeout=timeout, on_reply=on_reply)

    def connect(self, timeout: float | None = None) -> Mapping[str, str]:
        """Takes the call and returns the channel's data. On any failure the connection is closed."""
        if self.session_data is None:
            try:
                self.request(commands.connect(), timeout=timeout, on_reply=self._on_connected).get()
            except LegError as error:
                self.link.close(f"{self.link.peer}: handshake failed: {error}")
                raise
        assert self.session_data is not None
        return self.session_data

    def subscribe(
        self,
        format: commands.Format,
        events: Iterable[str] = (),
        custom: Iterable[str] = (),
        timeout: float | None = None,
    ) -> None:
        """This call's channel events, and of this call ``events`` and CUSTOM events with a subclass in ``custom``."""
        mine = self.request(commands.my_events(format), timeout=timeout)
        names, subclasses = list(events), list(custom)
        more = (
            self.request(commands.events(format, names, subclasses), timeout=timeout) if names or subclasses else None
        )
        try:
            mine.get()
        except CommandRefused as error:
            if "ready enabled" not in error.reply:  # "-ERR aready enabled.": a second subscription adds to the first
                raise
        if more is not None:
            more.get()

    def filter(self, header: str, value: str, timeout: float | None = None) -> None:
        """Only events with this header value."""
        self.request(commands.filter_(header, value), timeout=timeout).get()

    def execute(
        self,
        app: str,
        argument: str = "",
        *,
        event_uuid: str | None = None,
        lock: bool = False,
        loops: int | None = None,
        timeout: float = APPLICATION_TIMEOUT,
        on_done: Callable[[esl.Event | LegError], None] | None = None,
    ) -> Execution:
        """Queues an application and returns at once; raises only UnsafeText.

        With ``loops`` it is done after that many rounds; FreeSWITCH leaves off after a round shorter than half a
        second, then the deadline ends the Execution.
        """
        key = event_uuid or str(uuids.uuid4())
        command = commands.execute(app, argument, event_uuid=key, lock=lock, loops=loops)

        def forget(result: esl.Event | LegError) -> None:
            self._executions.pop(key, None)
            if on_done is not None:
                on_done(result)

        execution = Execution(
            f"execute {app}", self.link.deadlines, timeout, is_reader=self.link.is_reader, on_done=forget
        )
        execution.uuid, execution.rounds = key, max(1, loops or 1)
        self._executions[key] = execution
        self.request(command, on_reply=lambda result: execution.fail(result) if isinstance(result, LegError) else None)
        return execution

    def api(self, name: str, *arguments: str, timeout: float | None = None) -> str:
        """The text an API command printed, without its last newline."""
        return self.request(commands.api(name, *arguments), timeout=timeout).get().text

    def start_job(
        self,
        name: str,
        *arguments: str,
        timeout: float = JOB_TIMEOUT,
        on_done: Callable[[str | LegError], None] | None = None,
    ) -> Outcome[str]:
        """An API command in the background; its text comes with BACKGROUND_JOB, which must be subscribed to."""
        key = str(uuids.uuid4())
        command = commands.bgapi(key, name, *arguments)

        def forget(result: str | LegError) -> None:
            self._jobs.pop(key, None)
            if on_done is not None:
                on_done(result)

        job: Outcome[str] = Outcome(
            f"bgapi {name}", self.link.deadlines, timeout, is_reader=self.link.is_reader, on_done=forget
        )
        self._jobs[key] = job
        self.request(command, on_reply=lambda result: job.fail(result) if isinstance(result, LegError) else None)
        return job

    def bgapi(self, name: str, *arguments: str, timeout: float = JOB_TIMEOUT) -> str:
        """What an API command printed, run in the background so that other commands are answered meanwhile."""
        return self.start_job(name, *arguments, timeout=timeout).get()

    def getvar(self, name: str, timeout: float | None = None) -> str | None:
        """A channel variable, None when unset.

        By ``api uuid_getvar``: the ``getvar`` command answers without a length, so a value with an empty line in it
        could forge frames, and it cannot tell an unset variable from an unknown command.
        """
        value = self.api("uuid_getvar", self._channel(), name, timeout=timeout)
        return None if value == "_undef_" else value

    def setvar(self, name: str, value: str, timeout: float | None = None) -> None:
        """Sets a channel variable before any later API command runs (``sendmsg set`` would not)."""
        self.api("uuid_setvar", self._channel(), name, value, timeout=timeout)

    def resume(self, timeout: float | None = None) -> None:
        """Aborts what runs; the dialplan goes on after ``socket``."""
        self.request(commands.resume(), timeout=timeout).get()

    def wait_over(self, timeout: float) -> bool:
        """Whether the call was hung up completely or the connection ended, after at most ``timeout`` seconds."""
        return bool(self._over.wait(timeout))

    def exit(self) -> None:
        """Says goodbye and closes, never blocks; the dialplan goes on after ``socket`` if the call is not hung up."""
        if self._leaving or not self.connected:
            return
        self._leaving = True
        if self._connected_at is None:
            self.link.close(f"{self.link.peer}: left before the handshake")
            return
        age = time.monotonic() - self._connected_at
        wait = 0.0 if self._hung_up else max(0.0, self._min_age - age)
        if wait:
            self.link.deadlines.after(wait, self._say_goodbye)
        else:
            self._say_goodbye()

    def stop(self) -> None:
        """``exit``, then waits (not in the reader) until the connection has ended. Idempotent, never raises."""
        self.exit()
        if not self.link.is_reader():
            self.link.wait_closed(self._min_age + self._goodbye_timeout + 1.0)

    def _say_goodbye(self) -> None:
        self.request(commands.exit_(), timeout=self._goodbye_timeout)
        self.link.deadlines.after(self._goodbye_timeout, lambda: self.link.close(f"{self.link.peer}: we said goodbye"))

    def _channel(self) -> str:
        if self.uuid is None:
            raise LegError("the call has no UUID yet; connect() first")
        return self.uuid

    # What follows runs in the reader or the hub: nothing in it may block.

    def _on_connected(self, reply: esl.Reply | LegError) -> None:
        if isinstance(reply, esl.Reply):  # noted here, for a hang-up may lie behind it in the same bytes
            self.session_data = reply.headers
            self._connected_at = time.monotonic()
            self._outbound_connected = True

    def _on_frame(self, frame: esl.Frame) -> None:
        if isinstance(frame, esl.Event):
            self.events += 1
            is_end = self._is_end(frame)
            if self.on_event_hook is not None and not guarded(self.on_event_hook, frame):
                self.link.failed_callbacks += 1
            self._settle(frame)
            self.handlers.offer(frame)
            if is_end:
                self._end_hangup()
        elif isinstance(frame, esl.Disconnect):
            self.handlers.offer(frame)
            if frame.lingering:
                self._lingering = True
                self._begin_hangup()
            else:
                self.link.deadlines.after(self._goodbye_timeout, lambda: self.link.close(f"{self.link.peer}: bye"))
        else:
            self.handlers.offer(frame)

    def _is_end(self, event: esl.Event) -> bool:
        """Notes our channel's hang-up (another channel's is none of ours); True when it is complete."""
        if not event.name.startswith("CHANNEL_HANGUP") or event.headers.get("Unique-ID") != self.uuid:
            return False
        self.hangup_cause = event.headers.get("Hangup-Cause", self.hangup_cause)
        self._begin_hangup()
        return event.name == "CHANNEL_HANGUP_COMPLETE"

    def _settle(self, event: esl.Event) -> None:
        if event.name == "CHANNEL_EXECUTE_COMPLETE":
            execution = self._executions.get(event.headers.get("Application-UUID", ""))
            if execution is not None:
                execution.rounds -= 1
                if execution.rounds <= 0:
                    execution.succeed(event)
        elif event.name == "BACKGROUND_JOB":
            job = self._jobs.get(event.headers.get("Job-UUID", ""))
            if job is not None:
                job.succeed(event.data.removesuffix("\n"))

    def _begin_hangup(self) -> None:
        self._outbound_connected = False
        if not self._hung_up:
            self._hung_up = True
            self.link.deadlines.after(self._hangup_complete_timeout, self._end_hangup)

    def _end_hangup(self) -> None:
        self._release(f"{self.link.peer} hung up: {self.hangup_cause or 'cause unknown'}", jobs=False)
        self.exit()

    def _on_link_closed(self, reason: str) -> None:
        self._outbound_connected = False
        self._release(reason, jobs=True)
        self.handlers.close()
        if self.on_closed_hook is not None:
            self.on_closed_hook(reason)

    def _release(self, reason: str, *, jobs: bool) -> None:
        error = type(self).closed_error(reason)
        for execution in list(self._executions.values()):
            execution.fail(error)
        if jobs:
            for job in list(self._jobs.values()):
                job.fail(error)
        self._over.set()
