"""``call-command: unicast`` on a pretend channel. Pure.

Laws (each measured on FreeSWITCH 1.11.3-dev, or read in its switch_ivr.c and seen there):

1. ``+OK`` says nothing; 20 ms datagrams come from the next frame on.
2. An application that resets the session (``playback``, ``bridge``) ends it when it completes; while it runs, nothing
   comes. ``set`` and ``answer`` do not.
3. It works once per park: a second one in the same park comes to nothing, before the first ended and after. Beside a
   living one, one with another port outlives its session: FreeSWITCH may crash, so here it does.
4. ``uuid_transfer ... park inline`` enters a new park and keeps the event socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from esl_agent.testing.fs_channel import Channel
from esl_agent.testing.fs_effects import CloseUnicast, Effect, OpenUnicast
from esl_agent.testing.fs_playback import Executor
from esl_agent.testing.fs_wire import Headers

#: Applications that leave the session as it was.
HARMLESS = frozenset({"set", "answer", "pre_answer", "export", "unset", "park", "audio_fork", "break", ""})


class Host(Protocol):
    """What unicast needs of its machine."""

    is_up: bool
    channel: Channel
    executor: Executor

    def act(self, effect: Effect) -> None: ...
    def emit(self, name: str, tail: Headers) -> None: ...
    def note(self, what: str, detail: str = "") -> None: ...
    def crash(self, reason: str) -> None: ...
    def pre_answer(self) -> None: ...
    def new_uuid(self) -> str: ...
    def leave_park(self) -> None: ...


class Unicast:
    """At most one per park."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._open: OpenUnicast | None = None
        self._is_spent = False

    @property
    def flows(self) -> bool:
        """Datagrams come and go now: the park loop is at work."""
        return self._open is not None and not self._host.executor.stack and self._host.executor.lasting is None

    def activate(self, headers: Mapping[str, str]) -> None:
        """The message arrived in the park loop."""
        asked = OpenUnicast(
            (headers.get("local-ip", "127.0.0.1"), int(headers.get("local-port", "8025"))),
            (headers.get("remote-ip", "127.0.0.1"), int(headers.get("remote-port", "8026"))),
            "native" in headers.get("flags", ""),
        )
        if self._open is not None:
            self._host.note("unicast beside another", f"{asked.local[1]}")
            if asked.local != self._open.local:
                self._host.crash("a second unicast with another port: its thread outlives the session")
        elif self._is_spent:
            self._host.note("unicast in a spent park", f"{asked.local[1]}")
        else:
            self._host.pre_answer()
            self._open, self._is_spent = asked, True
            self._host.note("unicast", f"{asked.local[1]} {asked.remote[1]}")
            self._host.act(asked)

    def failed(self, reason: str) -> None:
        """The port could not be bound: FreeSWITCH's log says so, and nothing else does."""
        self._host.note("unicast failed", reason)
        self._open, self._is_spent = None, False

    def completed(self, application: str) -> None:
        """An application of the channel completed."""
        if application not in HARMLESS:
            self.end()

    def park_anew(self, dialplan: str) -> None:
        """The inline dialplan ``dialplan`` took the channel: applications, and ``park`` at the end."""
        host = self._host
        host.leave_park()
        self.end()
        self._is_spent = False
        for state in ("CS_ROUTING", "CS_EXECUTE"):
            host.channel.state = state
            host.emit("CHANNEL_STATE", [])
        for step in dialplan.split(","):
            app, _, argument = step.partition(":")
            tail = [("Application", app), *([("Application-Data", argument)] if argument else [])]
            tail.append(("Application-UUID", host.new_uuid()))
            host.emit("CHANNEL_EXECUTE", tail)
            if app == "set":
                name, _, value = argument.partition("=")
                host.channel.set(**{name: value})
                host.emit("CHANNEL_EXECUTE_COMPLETE", tail)
        host.note("parked anew")
        host.emit("CHANNEL_PARK", [])

    def end(self) -> None:
        """The session is reset, or leaves its park."""
        if self._open is not None:
            self._open = None
            self._host.note("unicast ended")
            self._host.act(CloseUnicast())
