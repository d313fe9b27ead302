"""``bridge`` on a pretend channel: somebody is called, and takes the call or does not. Pure.

Events, variables and causes as captures 61 and 62 and FreeSWITCH 1.11.3-dev with ``group_confirm_key`` have them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from esl_agent.audio.pcm import Sound
from esl_agent.testing.fs_channel import Channel
from esl_agent.testing.fs_playback import FRAME, Executor, Job
from esl_agent.testing.fs_sounds import Load, resolve
from esl_agent.testing.fs_wire import Headers
from esl_agent.testing.line import resample

#: Without ``leg_timeout`` and ``originate_timeout``.
DEFAULT_TIMEOUT = 60.0
_STATUS = {"USER_BUSY": "BUSY", "NO_ANSWER": "NOANSWER", "CALL_REJECTED": "DONTCALL", "ORIGINATOR_CANCEL": "CANCEL"}


@dataclass(frozen=True, slots=True)
class Callee:
    """Who is called. ``declines``: answers, hears the briefing and presses another key (``group_confirm_key=exec``) or
    hangs up; rejects the call when it is to be asked nothing."""

    does: Literal["accepts", "declines", "busy", "no_answer", "unreachable"] = "accepts"
    rings: float = 1.0
    """Seconds until the answer."""
    decides: float = 2.0
    """Seconds from the answer to the key, or to hanging up."""
    talks: float = 3600.0
    """Seconds of conversation until the callee hangs up."""
    says: Sound | None = None
    """What the caller hears of the callee, from the connection on. None: nothing."""


class Host(Protocol):
    """What a bridge needs of its machine."""

    is_up: bool
    channel: Channel
    executor: Executor

    def emit(self, name: str, tail: Headers) -> None: ...
    def after(self, delay: float, action: Callable[[], None]) -> None: ...
    def note(self, what: str, detail: str = "") -> None: ...
    def new_uuid(self) -> str: ...
    def hang_up_by_message(self, cause: str) -> None: ...


class Bridges:
    """``callees`` by the user or number that a dial string ends with; who is not there is unreachable."""

    def __init__(self, host: Host, callees: Mapping[str, Callee], load: Load) -> None:
        self._host = host
        self._callees = callees
        self._load = load
        self._sound = b""
        self._repeats = False
        self._at = 0
        self.briefing: Sound | None = None
        """What the last callee was played before the decision, if it was a file."""

    def start(self, job: Job) -> None:
        """Call the other side; ``executor.finish(job)`` when nobody took the call, or the conversation is over."""
        variables, dial = _taken_apart(job.arg)
        who = re.split(r"[/@]", re.sub(r"@[^/]*$", "", dial))[-1]
        callee = self._callees.get(who, Callee("unreachable"))
        self._host.note("calls", who)
        if ringback := self._host.channel.variables.get("ringback"):
            found = resolve(f"tone_stream://{ringback}" if ringback.startswith("%(") else ringback, self._load)
            self._sounds(found.sound if found else None, repeats=True)
        rings = float(variables.get("leg_timeout") or variables.get("originate_timeout") or DEFAULT_TIMEOUT)
        if callee.does == "busy":
            self._later(FRAME, job, lambda: self._fails(job, "USER_BUSY"))
        elif callee.does == "unreachable":
            self._later(0.0003, job, lambda: self._fails(job, "NORMAL_TEMPORARY_FAILURE"))
        elif callee.does == "no_answer" or callee.rings > rings:
            cause = "ALLOTTED_TIMEOUT" if "leg_timeout" in variables else "NO_ANSWER"
            self._later(rings, job, lambda: self._fails(job, cause))
        elif callee.does == "declines" and "group_confirm_key" not in variables:
            self._later(callee.rings, job, lambda: self._fails(job, "CALL_REJECTED"))
        else:
            self._later(callee.rings, job, lambda: self._answers(job, callee, variables))

    def take_frame(self, size: int) -> bytes:
        """What the caller hears of it in the next 20 ms: the ringback, then the callee. Empty for silence."""
        if self._at >= len(self._sound):
            if not self._repeats:
                return b""
            self._at = 0
        self._at += size
        return self._sound[self._at - size : self._at]

    def _sounds(self, sound: Sound | None, *, repeats: bool = False) -> None:
        self._sound = resample(sound, self._host.channel.party.rate).pcm if sound else b""
        self._repeats, self._at = repeats and bool(self._sound), 0

    def _answers(self, job: Job, callee: Callee, variables: Mapping[str, str]) -> None:
        self._host.note("callee answers")
        if found := re.fullmatch(r"uuid_setvar (\S+) (\w+) (\S+)", variables.get("api_on_answer", "")):
            self._host.channel.set(**{found[2]: found[3]})
        if "group_confirm_key" in variables:
            asked = variables.get("group_confirm_file", "")
            self._host.note("callee hears", asked)
            file = re.search(r"(?:^|\s)(/\S+)", asked)
            self.briefing = self._load(file[1]) if file else None
            if callee.does == "declines":
                cause = "CALL_REJECTED" if variables["group_confirm_key"] == "exec" else "NORMAL_CLEARING"
                self._later(callee.decides, job, lambda: self._fails(job, cause))
            else:
                self._later(callee.decides, job, lambda: self._connects(job, callee))
        else:
            self._connects(job, callee)

    def _connects(self, job: Job, callee: Callee) -> None:
        host = self._host
        host.channel.set(originate_disposition="SUCCESS", DIALSTATUS="SUCCESS")
        tail = [("Bridge-A-Unique-ID", host.channel.uuid), ("Bridge-B-Unique-ID", host.new_uuid())]
        self._sounds(callee.says)
        host.note("bridged", job.arg)
        host.emit("CHANNEL_BRIDGE", tail)
        self._later(callee.talks, job, lambda: self._ends(job, tail))

    def _ends(self, job: Job, tail: Headers) -> None:
        host = self._host
        self._sounds(None)
        host.channel.set(last_bridge_hangup_cause="NORMAL_CLEARING")
        host.emit("CHANNEL_UNBRIDGE", tail)
        if host.channel.variables.get("hangup_after_bridge") == "true":
            host.hang_up_by_message("NORMAL_CLEARING")
        else:
            host.executor.finish(job)

    def _fails(self, job: Job, cause: str) -> None:
        host = self._host
        self._sounds(None)
        host.note("nobody took the call", cause)
        status = _STATUS.get(cause, cause)
        host.channel.set(last_bridge_hangup_cause=cause, originate_disposition=cause, DIALSTATUS=status)
        if host.channel.variables.get("continue_on_fail") == "true" or cause == "NO_ANSWER":
            host.executor.finish(job)
        else:
            host.hang_up_by_message(cause)

    def _later(self, delay: float, job: Job, action: Callable[[], None]) -> None:
        """Unless the call, or the attempt, is over by then."""
        host = self._host
        host.after(delay, lambda: action() if host.is_up and host.executor.lasting is job else None)


def _taken_apart(argument: str) -> tuple[dict[str, str], str]:
    """A dial string: the variables in the braces before it, and the rest."""
    variables: dict[str, str] = {}
    while found := re.match(r"\{([^}]*)\}", argument):
        variables |= dict(pair.partition("=")[::2] for pair in found[1].split(",") if pair)
        argument = argument[found.end() :]
    return variables, argument
