"""The caller's channel as AMI reaches it: hang-up, transfer, keys, variables."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

import gevent
from gevent.event import AsyncResult

from esl_agent.errors import CommandRefused, LegClosed, LegError
from esl_agent.legs.ami import AmiClient
from esl_agent.legs.ami_callee import TRANSFERRED_VARIABLE, AmiBeside, AmiCallee
from esl_agent.legs.asterisk import CAUSES, Done
from esl_agent.legs.esl_outcome import guarded
from esl_agent.legs.outbound import OnNews
from esl_agent.legs.plain_value import plain
from esl_agent.wire.ami import Message

#: What may be an extension here: nothing that a dialplan argument, a dial string or an AMI line would read otherwise.
_EXTENSION = re.compile(r"[A-Za-z0-9*#+._-]{1,79}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
#: What of a caller's number others may be shown.
_NUMBER = re.compile(r"[+]?[0-9]{1,20}")
_DIGITS = re.compile(r"[0-9*#A-Da-dw]{1,64}")
_FACT = re.compile(r"[^A-Za-z0-9_-]+")
#: Facts of one announcement.
MAX_FACTS = 40

DIGIT_MS = 100
"""How long a key is held; Asterisk keeps every other action of the connection waiting meanwhile (22.10.1, measured)."""
BETWEEN_DIGITS = 0.1
PAUSE = 0.5
"""Seconds of silence between two keys, and of a ``w``."""


class AmiControl:
    """A Control. ``forget`` is told once when the call needs no more news."""

    def __init__(
        self,
        client: AmiClient,
        channel: str,
        uniqueid: str,
        context: str,
        forget: Callable[[AmiControl], None],
        beside: AmiBeside | None = None,
    ) -> None:
        """``beside``: without it nobody is called for the caller."""
        self.channel = channel
        self.uniqueid = uniqueid
        self.number = ""
        """The caller's, where it is one."""
        self._beside = beside
        self.since = time.monotonic()
        self._client = client
        self._context = context
        self._forget = forget
        self._hung_up: Callable[[int], None] | None = None
        self._cause: int | None = None
        self._keys: gevent.Greenlet | None = None
        self._is_closed = False

    # What the directory tells

    def calls_from(self, number: str) -> None:
        """``number`` is outside text."""
        self.number = number if _NUMBER.fullmatch(number) else ""

    def gone(self, cause: int) -> None:
        """The channel has ended: commands are refused from now on, for Asterisk may give its name to another. ``cause``
        0: nobody said (the caller's BYE while the application AudioSocket runs, 22.10.1), which is a normal end."""
        if self._cause is None:
            self._cause = cause or CAUSES["NORMAL_CLEARING"]
            if self._hung_up is not None:
                guarded(self._hung_up, self._cause)

    # Control

    def watch(self, hung_up: Callable[[int], None]) -> None:
        self._hung_up = hung_up
        if self._cause is not None:
            guarded(hung_up, self._cause)

    def hang_up(self, cause: int, done: Done) -> None:
        self._send("Hangup", [("Cause", str(int(cause)))], done)

    def redirect(self, number: str, done: Done) -> None:
        """Refused for a number that is no extension of the context: ``Redirect`` itself says Success to any, and the
        caller is hung up on (22.10.1, measured)."""
        if not _EXTENSION.fullmatch(number):
            done(LegError(f"{number[:40]!r} is nothing that an extension can be called"))
            return

        def asked(answer: Message | LegError) -> None:
            if isinstance(answer, Message) and answer.get("Value") == "0":
                done(LegError(f"the dialplan's context {self._context!r} has no extension {number!r}"))
            elif isinstance(answer, LegError) and not isinstance(answer, CommandRefused):
                done(answer)
            else:  # it is there, or this Asterisk cannot say: Value is empty without func_dialplan
                self._send("Redirect", [("Context", self._context), ("Exten", number), ("Priority", "1")], done)

        self._ask("Getvar", [("Variable", f"DIALPLAN_EXISTS({self._context},{number},1)")], asked)

    def send_digits(self, digits: str, done: Done) -> None:
        if not _DIGITS.fullmatch(digits):
            done(LegError(f"{digits[:40]!r} holds what is no key"))
        elif self._keys is not None:
            done(LegError("keys are being pressed already"))
        elif error := self._unreachable():
            done(error)
        else:
            self._keys = gevent.spawn(self._press, digits, done)

    def set_variable(self, name: str, value: str, done: Done) -> None:
        """``value`` arrives literally (``Setvar`` expands nothing, measured), without what a dialplan that evaluates it
        once more would expand, in one line, cut to 900 bytes."""
        if not _VARIABLE.fullmatch(name):
            done(LegError(f"{name[:60]!r} is no name of a channel variable"))
            return
        self._send("Setvar", [("Variable", name), ("Value", plain(value))], done)

    def ring(self, endpoint: str, line: str, seconds: float, on_news: OnNews) -> AmiCallee:
        if error := self._unreachable():
            raise error
        if self._beside is None:
            raise LegError("nobody can be called over this AMI connection")
        return self._beside.ring(self, endpoint, line, seconds, on_news)

    def bridge(self, channel: str, done: Done) -> None:
        """Talk with ``channel``; our line ends. The dialplan that goes on after it is told."""

        def bridged(answer: Message | LegError) -> None:
            error = answer if isinstance(answer, LegError) else None
            if error is not None:
                self.set_variable(TRANSFERRED_VARIABLE, "", _nobody)
            done(error)

        if error := self._unreachable():
            done(error)
            return
        self.set_variable(TRANSFERRED_VARIABLE, "1", _nobody)
        self._client.send("Bridge", [("Channel1", self.channel), ("Channel2", channel), ("Tone", "no")], bridged)

    def announce(self, name: str, facts: Mapping[str, str]) -> None:
        """A ``UserEvent`` of this name. Facts whose names AMI uses itself are among those left out."""
        taken = {"action", "actionid", "userevent", "event", "privilege", "channel", ""}
        lines = [("UserEvent", plain(name) or "esl_agent"), ("Channel", self.channel)]
        for key, value in list(facts.items())[:MAX_FACTS]:
            header = _FACT.sub("-", key)[:60].lstrip("-_0123456789")
            if header.lower() not in taken:
                lines.append((header, plain(value)))
        if self._unreachable() is None:
            self._client.send("UserEvent", lines, _nobody)

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._hung_up = None
        keys, self._keys = self._keys, None
        if keys is not None:
            keys.kill(block=False)
        self._forget(self)
        self._forget = _nobody

    # Inside

    def _unreachable(self) -> LegError | None:
        if self._cause is not None:
            return LegClosed("the caller has hung up")
        return None

    def _send(self, name: str, headers: list[tuple[str, str]], done: Done) -> None:
        self._ask(name, headers, lambda answer: done(answer if isinstance(answer, LegError) else None))

    def _ask(self, name: str, headers: list[tuple[str, str]], done: Callable[[Message | LegError], None]) -> None:
        error = self._unreachable()
        if error is not None:
            done(error)
        else:
            self._client.send(name, [("Channel", self.channel), *headers], done)

    def _press(self, digits: str, done: Done) -> None:
        """One key after the other: Asterisk answers when the key is released, and queues none."""
        error: LegError | None = None
        for place, digit in enumerate(digits):
            if digit == "w":
                gevent.sleep(PAUSE)
                continue
            if place:
                gevent.sleep(BETWEEN_DIGITS)
            error = self._press_one(digit)
            if error is not None:
                break
        self._keys = None
        guarded(done, error)

    def _press_one(self, digit: str) -> LegError | None:
        came: AsyncResult[Message | LegError] = AsyncResult()
        self._ask("PlayDTMF", [("Digit", digit), ("Duration", str(DIGIT_MS))], came.set)
        answer = came.get()
        return answer if isinstance(answer, LegError) else None


def _nobody(*_: object) -> None:
    """Who is told when nobody listens."""
