"""What can be seen of an Asterisk without any right the agent does not have anyway.

AMI as the agent's user (class reporting is enough: ``CoreSettings``, ``ShowDialPlan``, ``Getvar`` with the
read-only functions of func_module and func_pjsip_endpoint), ARI as the agent's user, and Asterisk's console where it is
on this machine and lets us in. AMI's ``ModuleCheck`` and ``PJSIPShowEndpoint`` want class system and ``Command`` class
command (22.10.1, measured). Who has command can change the dialplan, who has system and originate can run programs:
they are not asked for.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from gevent import socket

from esl_agent.doctor_asterisk_dialplan import AsteriskPlan, Step
from esl_agent.errors import CommandRefused, LegError
from esl_agent.legs.ami_link import AmiLink
from esl_agent.legs.ari import AriClient
from esl_agent.wire.ami import Message
from esl_agent.wire.ari import Reply, Request

#: Seconds for the console to answer, and bytes of its answer that are read.
CONSOLE_TIMEOUT = 5.0
MAX_CONSOLE = 8 * 1024 * 1024
#: In what ``core show version`` prints; the console may complain of something first (no Ethernet in a container).
VERSION = re.compile(r"(?m)^Asterisk (\S+)")
#: Seconds for a dialplan of thousands of lines.
DIALPLAN_TIMEOUT = 15.0

Console = Callable[[str], "str | None"]
"""What Asterisk's console prints for one command; None if it cannot be asked."""


class AmiUser:
    """A connection that is logged in without events. Raises OSError and LegError (CommandRefused: the login is)."""

    def __init__(self, host: str, port: int, user: str, secret: str, timeout: float) -> None:
        sock = socket.create_connection((host, port), timeout=timeout)
        sock.settimeout(None)
        self._link = AmiLink(sock, peer=f"AMI {host}:{port}", timeout=timeout, on_event=_nobody, on_closed=_nobody)
        try:
            if not self._link.wait_banner(timeout):
                raise LegError(self._link.closed_because or f"no AMI banner within {timeout:g} s")
            self._link.request("Login", [("Username", user), ("Secret", secret), ("Events", "off")]).get()
            self.allowed = frozenset(key for key, _ in self.ask("ListCommands")[0].headers)
        except LegError:
            self.close()
            raise

    def ask(self, name: str, *headers: tuple[str, str], timeout: float | None = None) -> list[Message]:
        """Raises LegError."""
        return self._link.request(name, headers, timeout=timeout).get()

    def close(self) -> None:
        self._link.close("the doctor has seen enough")


class View:
    """Whatever of the three there is. Its answers are None where nobody may look."""

    def __init__(
        self, ami: AmiUser | None = None, ari: AriClient | None = None, console: Console | None = None
    ) -> None:
        self.ami, self.ari, self.console = ami, ari, console
        self._variables: dict[str, str | None] = {}
        self._typed: dict[str, str] = {}
        self._plan: AsteriskPlan | None = None
        self._modules: Mapping[str, bool] | None = None
        self._can_ask_modules = True

    def version(self) -> str | None:
        """``22.10.1``, with whatever the distribution adds."""
        for message in self._ask_ami("CoreSettings"):
            return message.get("AsteriskVersion")
        if isinstance(info := self.rest("asterisk", "info").value, dict) and isinstance(info.get("system"), dict):
            return str(info["system"].get("version", ""))
        found = VERSION.search(self.typed("core show version"))
        return found[1] if found else None

    def has_module(self, name: str) -> bool | None:
        """Whether ``name`` (without .so) runs."""
        if self._modules is None:
            self._modules = self._loaded()
        if self._modules:
            return self._modules.get(name, False)
        if not self._can_ask_modules:
            return None
        value = self.variable(f"IFMODULE({name}.so)")
        if not value:  # func_module is not loaded: no need to have Asterisk complain of it again
            self._can_ask_modules = False
            return None
        return value == "1"

    def variable(self, name: str) -> str | None:
        """A global variable's value, or what a function says; None: nobody may look, or there is none. ``name`` comes
        from us or from the dialplan, never from a caller."""
        if name not in self._variables:
            self._variables[name] = self._variable(name)
        return self._variables[name]

    def plan(self) -> AsteriskPlan | None:
        """The whole dialplan. Raises LegError if Asterisk does not tell it all."""
        if self._plan is None:
            # The console's has no limit, AMI's has (legs/ami_link.py).
            if (plan := plan_of_console(self.typed("dialplan show"))).contexts:
                self._plan = plan
            elif self.ami is not None and "ShowDialPlan" in self.ami.allowed:
                self._plan = plan_of(self.ami.ask("ShowDialPlan", timeout=DIALPLAN_TIMEOUT))
        return self._plan

    def endpoint(self, name: str) -> Mapping[str, str] | None:
        """Settings of a PJSIP endpoint; empty: there is no such endpoint."""
        reply = self.rest("asterisk", "config", "dynamic", "res_pjsip", "endpoint", name)
        if reply.is_ok:
            return _attributes(reply.value)
        if reply.status == 404 and "Object" in reply.message:
            return {}
        if text := self.typed(f"pjsip show endpoint {name}"):
            return dict(re.findall(r"(?m)^ (\w+) +: (.*?) *$", text)) if "Endpoint:  " + name in text else {}
        if context := self.variable(f"PJSIP_ENDPOINT({name},context)"):
            wanted = ("allow", "direct_media", "dtmf_mode")
            return {"context": context, **{k: self.variable(f"PJSIP_ENDPOINT({name},{k})") or "" for k in wanted}}
        return {} if context is None and self.has_module("func_pjsip_endpoint") else None

    def may_read(self, user: str) -> tuple[str, ...] | None:
        """The classes of manager.conf's ``read``. AMI tells nobody; only the console does."""
        shown = self.typed(f"manager show user {user}") if re.fullmatch(r"[\w.-]{1,80}", user) else ""
        found = re.search(r"read perm: (.*)", shown)
        return tuple(found[1].strip().split(",")) if found else None

    def websocket_client(self, name: str) -> Mapping[str, str] | None:
        """Settings of a section of websocket_client.conf; empty: there is no such section."""
        reply = self.rest("asterisk", "config", "dynamic", "res_websocket_client", "websocket_client", name)
        if reply.is_ok:
            return _attributes(reply.value)
        return {} if reply.status == 404 and "Object" in reply.message else None

    def rest(self, *path: str, method: str = "GET") -> Reply:
        """Of ARI; status 0 without it."""
        return Reply(0, "ARI is not used") if self.ari is None else self.ari.send(Request(method, path))

    def typed(self, command: str) -> str:
        """Of the console; empty without it. ``command`` is ours but for names that the configuration has checked."""
        if self.console is not None and command not in self._typed:
            self._typed[command] = self.console(command) or ""
        return self._typed.get(command, "")

    def close(self) -> None:
        if self.ami is not None:
            self.ami.close()
        if self.ari is not None:
            self.ari.stop()

    def _ask_ami(self, name: str, *headers: tuple[str, str]) -> list[Message]:
        if self.ami is None or name not in self.ami.allowed:
            return []
        try:
            return self.ami.ask(name, *headers)
        except CommandRefused:
            return []

    def _variable(self, name: str) -> str | None:
        for message in self._ask_ami("Getvar", ("Variable", name)):
            return message.get("Value") or None
        if self.ari is not None:
            reply = self.ari.send(Request("GET", ("asterisk", "variable"), {"variable": name}))
            if reply.is_ok and isinstance(reply.value, dict):
                return str(reply.value.get("value") or "") or None
        shown = self.typed("dialplan show globals") if re.fullmatch(r"\w+", name) else ""
        found = re.search(rf"(?m)^ *{re.escape(name)}=(.+?)\s*$", shown)
        return found[1] if found else None

    def _loaded(self) -> Mapping[str, bool]:
        value = self.rest("asterisk", "modules").value
        if isinstance(value, list):
            rows = [(str(row.get("name")), str(row.get("status"))) for row in value if isinstance(row, dict)]
        else:
            rows = [
                (line.split()[0], "Not Running" if "Not Running" in line else "Running")
                for line in self.typed("module show").splitlines()
                if ".so " in line
            ]
        return {name.removesuffix(".so"): status == "Running" for name, status in rows}


def plan_of(messages: list[Message]) -> AsteriskPlan:
    """What ``ShowDialPlan`` listed."""
    steps, includes = [], []
    for message in messages:
        context, priority = message.get("Context"), message.get("Priority")
        if other := message.get("IncludeContext"):
            includes.append((context, other))
        elif priority.isascii() and priority.isdigit():
            step = Step(
                context,
                message.get("Extension"),
                int(priority),
                message.get("Application"),
                message.get("AppData"),
                message.get("ExtensionLabel"),
            )
            steps.append(step)
    return AsteriskPlan(steps, includes)


_CONTEXT = re.compile(r"\[ Context '(.+?)' created by")
_INCLUDE = re.compile(r"  Include => +'([^'|]+)")
_STEP = re.compile(
    r"(?:  '(?P<extension>.+?)' => |     \[(?P<label>[^\]]+)\])? *(?P<priority>\d+)\. (?P<application>\w+)"
    r"\((?P<data>.*)\) *\[[^\]]*\]$"
)


def plan_of_console(text: str) -> AsteriskPlan:
    """What ``dialplan show`` printed."""
    steps, includes = [], []
    context = extension = ""
    for line in text.splitlines():
        if found := _CONTEXT.match(line):
            context = found[1]
        elif found := _INCLUDE.match(line):
            includes.append((context, found[1]))
        elif found := _STEP.match(line):
            extension = found["extension"] or extension
            label = found["label"] or ""
            steps.append(Step(context, extension, int(found["priority"]), found["application"], found["data"], label))
    return AsteriskPlan(steps, includes)


def local_console() -> Console | None:
    """``asterisk -rx`` of this machine; None if there is none."""
    program = shutil.which("asterisk")
    return None if program is None else console_of([program])


def console_of(program: list[str]) -> Console:
    """``program``: what stands before ``-rx``."""

    def ask(command: str) -> str | None:
        try:
            done = subprocess.run(
                [*program, "-rx", command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=CONSOLE_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return None if done.returncode else done.stdout[:MAX_CONSOLE].decode("utf-8", "replace")

    return ask


def _attributes(value: Any) -> Mapping[str, str]:
    rows = value if isinstance(value, list) else []
    return {str(row.get("attribute")): str(row.get("value")) for row in rows if isinstance(row, dict)}


def _nobody(*_: object) -> None:
    """Who is told of events and of the end."""
