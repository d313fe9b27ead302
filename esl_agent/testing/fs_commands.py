"""What an agent's commands do to a pretend FreeSWITCH. Pure. Reply texts are FreeSWITCH's, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from esl_agent.testing import fs_wire
from esl_agent.testing.fs_api import Api
from esl_agent.testing.fs_channel import Channel
from esl_agent.testing.fs_ending import Ending, Phase
from esl_agent.testing.fs_playback import WAKE, Executor, Job
from esl_agent.testing.fs_socket import EventSocket
from esl_agent.testing.fs_subscriptions import Subscriptions
from esl_agent.testing.fs_wire import Command, Headers

_NEEDS_FULL = frozenset({"api", "bgapi", "event", "linger"})


class Host(Protocol):
    """What commands need of their machine."""

    now: float
    phase: Phase
    is_up: bool
    channel: Channel
    executor: Executor
    socket: EventSocket
    subscriptions: Subscriptions
    ending: Ending

    def emit(self, name: str, tail: Headers, subclass: str = "", body: str = "") -> None: ...
    def after(self, delay: float, action: Callable[[], None]) -> None: ...
    def note(self, what: str, detail: str = "") -> None: ...
    def new_uuid(self) -> str: ...


class Commands:
    """``is_full`` false: ``socket host async``, in which api, event and linger are unknown words."""

    def __init__(self, host: Host, api: Api, is_full: bool) -> None:
        self._host = host
        self._api = api
        self._is_full = is_full

    def run(self, command: Command) -> None:
        """Carry out one command and answer it."""
        self._host.note("command", command.line)
        line, verb = command.line, command.verb
        if self._host.phase is Phase.WAITING and verb != "connect":
            return
        if self._host.socket.faults.is_unanswered(line):
            return
        refusal = self._host.socket.faults.refusal(line)
        if refusal is not None:
            self._host.socket.write(fs_wire.api_response(refusal) if verb == "api" else fs_wire.reply(refusal))
        elif verb == "connect":
            self._connect()
        elif verb in _NEEDS_FULL and not self._is_full:
            self._reply("-ERR command not found")
        elif verb == "api":
            self._run_api(command.argument)
        elif verb == "bgapi":
            self._bgapi(command)
        elif verb == "sendmsg":
            self._sendmsg(command)
        elif verb == "exit":
            self._reply("+OK bye")
            self._host.ending.say_goodbye()
        elif verb == "resume":
            self._host.channel.set(socket_resume="true")
            self._reply("+OK")
        else:
            self._reply(self._simple(command))

    def _simple(self, command: Command) -> str:
        verb, argument = command.verb, command.argument
        if verb == "linger":
            digits = argument.split(" ")[0] if argument else ""
            self._host.ending.linger = linger = -1 if not argument else int(digits) if digits.isdigit() else 0
            return "+OK will linger" if linger < 0 else f"+OK will linger {linger} seconds"
        if verb == "nolinger":
            self._host.ending.linger = None
            return "+OK will not linger"
        if verb == "getvar":
            return self._host.channel.variables.get(argument) or "-ERR command not found"
        if verb == "sendevent":
            self._host.after(0.001, lambda: self._sent_event(argument, command))
            return f"+OK {self._host.new_uuid()}"
        return self._host.subscriptions.command(command) or "-ERR command not found"

    def _sent_event(self, name: str, command: Command) -> None:
        tail = [(header, value) for header, value in command.headers.items() if header != "event-subclass"]
        self._host.emit(name, tail, command.headers.get("event-subclass", ""), command.body)

    def _connect(self) -> None:
        if self._host.phase is Phase.WAITING:
            self._host.phase = Phase.CONTROLLED
            self._host.after(WAKE, lambda: self._host.emit("CHANNEL_PARK", []) if self._host.is_up else None)
        self._host.socket.write(
            fs_wire.connect_reply(self._host.channel.connect_headers(self._host.now), self._is_full)
        )

    def _run_api(self, line: str) -> None:
        self._host.socket.answer(lambda: fs_wire.api_response(self._api.run(line) or "-ERR no reply\n"))

    def _bgapi(self, command: Command) -> None:
        job = command.headers.get("job-uuid") or self._host.new_uuid()
        self._host.socket.write(fs_wire.reply(f"+OK Job-UUID: {job}", [("Job-UUID", job)]))
        answer = self._api.run(command.argument)
        name, _, arguments = command.argument.partition(" ")
        tail = [("Job-UUID", job), ("Job-Owner-UUID", self._host.channel.uuid), ("Job-Command", name)]
        if arguments:
            tail.append(("Job-Command-Arg", arguments))
        self._host.after(0.0002, lambda: self._host.emit("BACKGROUND_JOB", tail, body=answer or "-ERR no reply\n"))

    def _sendmsg(self, command: Command) -> None:
        headers = command.headers
        if command.argument and command.argument != self._host.channel.uuid:
            self._reply(f"-ERR invalid session id [{command.argument}]")
            return
        self._reply("+OK")
        call_command = headers.get("call-command", "")
        if not self._host.is_up or call_command not in ("execute", "hangup", "unicast"):
            return
        if call_command == "unicast":
            job = Job("", "", "", unicast=headers)
        elif call_command == "hangup":
            job = Job("", headers.get("hangup-cause", "NORMAL_CLEARING"), "")
        else:
            loops = headers.get("loops", "1")
            job = Job(
                headers.get("execute-app-name", ""),
                headers.get("execute-app-arg") or command.body,
                headers.get("event-uuid") or self._host.new_uuid(),
                headers.get("event-lock") == "true",
                int(loops) if loops.isdigit() else 1,
            )
        self._host.executor.queue(job)

    def _reply(self, text: str) -> None:
        self._host.socket.write(fs_wire.reply(text))
