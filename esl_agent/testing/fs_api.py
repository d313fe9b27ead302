"""API commands (``api``, ``bgapi``) of a pretend FreeSWITCH. Pure. Answers follow captures; unknown commands say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from esl_agent.testing.fs_channel import Channel
from esl_agent.testing.fs_fork import FAILED, Forks
from esl_agent.testing.fs_playback import WAKE, Executor, Job
from esl_agent.testing.fs_unicast import Unicast

NO_CHANNEL = "-ERR No such channel!\n"
#: uuid_broadcast takes this much longer than sendmsg.
BROADCAST = WAKE + 0.1


class Host(Protocol):
    """What the commands need of their machine."""

    channel: Channel
    executor: Executor
    forks: Forks
    unicast: Unicast
    is_up: bool
    now: float

    def answer(self) -> None: ...
    def kill(self, cause: str) -> None: ...
    def transfer(self, target: str) -> None: ...
    def digit(self, digit: str) -> None: ...
    def note(self, what: str, detail: str = "") -> None: ...
    def after(self, delay: float, action: Callable[[], None]) -> None: ...
    def new_uuid(self) -> str: ...


class Api:
    """``run`` answers one command. ``fixed`` adds or replaces commands by fixed answers."""

    def __init__(self, host: Host, fixed: Mapping[str, str]) -> None:
        self._host = host
        self._fixed = fixed
        self._on_channel: dict[str, Callable[[str], str]] = {
            "uuid_break": self._break,
            "uuid_kill": self._kill,
            "uuid_setvar": self._setvar,
            "uuid_setvar_multi": self._setvar_multi,
            "uuid_getvar": lambda name: host.channel.variables.get(name, "_undef_"),
            "uuid_dump": lambda form: host.channel.dump(host.now),
            "uuid_answer": self._answer,
            "uuid_broadcast": self._broadcast,
            "uuid_transfer": self._transfer,
            "uuid_recv_dtmf": self._recv_dtmf,
            "uuid_send_dtmf": self._send_dtmf,
            "uuid_fileman": self._fileman,
        }

    def run(self, line: str) -> str:
        """The answer to ``line``, a command with its arguments."""
        name, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if name in self._fixed:
            return self._fixed[name]
        uuid, _, arguments = rest.partition(" ")
        is_ours = uuid == self._host.channel.uuid and self._host.is_up
        if name == "uuid_exists":
            return "true" if is_ours else "false"
        if name == "uuid_audio_fork":
            return self._host.forks.command(arguments) if is_ours else FAILED
        if name == "sched_hangup":
            return self._sched_hangup(rest)
        if name in self._on_channel:
            return self._on_channel[name](arguments.strip()) if is_ours else NO_CHANNEL
        if name == "module_exists":
            return "true" if rest in ("mod_audio_fork", "mod_event_socket", "mod_dptools") else "false"
        if name == "create_uuid":
            return self._host.new_uuid()
        if name == "version":
            return "FreeSWITCH Version 1.11.3-dev~64bit (64bit)\n"
        if name == "status":
            return "UP 0 years, 0 days, 0 hours, 1 minute\nFreeSWITCH (Version 1.11.3-dev  64bit) is ready\n"
        if name == "echo":
            return rest
        return f"-ERR {name} Command not found!\n"

    def _break(self, arguments: str) -> str:
        self._host.executor.break_off("all" in arguments.split())
        return "+OK\n"

    def _kill(self, cause: str) -> str:
        self._host.kill(cause or "NORMAL_CLEARING")
        return "+OK\n"

    def _setvar(self, arguments: str) -> str:
        name, _, value = arguments.partition(" ")
        if not name:
            return "-USAGE: <uuid> <var> [value]\n"
        if value:
            self._host.channel.set(**{name: value})
        else:
            self._host.channel.unset(name)
        return "+OK\n"

    def _setvar_multi(self, arguments: str) -> str:
        pairs = (item.partition("=") for item in arguments.split(";"))
        self._host.channel.set(**{name: value for name, equals, value in pairs if name and equals})
        return "+OK\n"

    def _answer(self, _: str) -> str:
        self._host.answer()
        return "+OK\n"

    def _broadcast(self, arguments: str) -> str:
        path = arguments.rsplit(" ", 1)[0] if arguments.endswith((" aleg", " bleg", " both")) else arguments
        job = Job("playback", path.removeprefix("playback::"), self._host.new_uuid())
        self._host.executor.queue(job, BROADCAST)
        return "+OK Message sent\n"

    def _transfer(self, target: str) -> str:
        inline = target.removesuffix(" inline")
        if inline != target and inline.endswith("park"):
            self._host.after(WAKE, lambda: self._host.unicast.park_anew(inline))
        else:
            self._host.after(WAKE, lambda: self._host.transfer(target))
        return "+OK\n"

    def _recv_dtmf(self, digits: str) -> str:
        for digit in digits.partition("@")[0]:
            self._host.after(WAKE, lambda digit=digit: self._host.digit(digit))  # type: ignore[misc]
        return f"+OK {self._host.channel.uuid} received DTMF {digits}.\n"

    def _send_dtmf(self, digits: str) -> str:
        self._host.note("sent digits", digits)
        return f"+OK {self._host.channel.uuid} sent DTMF {digits}.\n"

    def _fileman(self, action: str) -> str:
        if self._host.executor.playing is None:
            return "-ERR No file handle!\n"
        if action == "stop":
            self._host.executor.stop_now(0.6)
        return "+OK\n"

    def _sched_hangup(self, arguments: str) -> str:
        words = arguments.split()
        if len(words) < 2 or not words[0].startswith("+") or words[1] != self._host.channel.uuid:
            return NO_CHANNEL
        cause = words[2] if len(words) > 2 else "ALLOTTED_TIMEOUT"
        self._host.after(float(words[0][1:]), lambda: self._host.kill(cause))
        return "+OK\n"
