"""One Asterisk call as the rest of the program sees it: a CallLeg made of two parts.

The *line* carries the sound (AudioSocket, chan_websocket) and tells of keys and of the end. The *control* is the
caller's own channel as AMI or ARI reach it; without one a call can still be heard, spoken to and ended, no more.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue.events import Answered, CommandFailed, DigitPressed, HungUp, TransferFailed, Transferred
from esl_agent.errors import LegError
from esl_agent.legs.base import Post
from esl_agent.legs.outbound import OnNews

log = logging.getLogger(__name__)

#: Told what became of a command: None, it was carried out.
Done = Callable[[LegError | None], None]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
#: Asterisk knows causes by their Q.850 number; the names are FreeSWITCH's, as everywhere in this program.
CAUSES = {
    "UNALLOCATED_NUMBER": 1,
    "NORMAL_CLEARING": 16,
    "USER_BUSY": 17,
    "NO_ANSWER": 19,
    "CALL_REJECTED": 21,
    "NORMAL_CIRCUIT_CONGESTION": 34,
    "NORMAL_TEMPORARY_FAILURE": 41,
    "SWITCH_CONGESTION": 42,
}
_NAMES = {number: name for name, number in CAUSES.items()}


def cause_number(name: str) -> int:
    """The Q.850 number of a cause; 16 (normal clearing) for names we do not know."""
    return CAUSES.get(name, CAUSES["NORMAL_CLEARING"])


def cause_name(number: int) -> str:
    """The name of a Q.850 cause, ``Q850_n`` for those we do not know."""
    return _NAMES.get(number, f"Q850_{number}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls whom. All of it is outside text."""

    channel: str = ""
    """The caller's channel (``PJSIP/1001-0000002a``), as AMI names it; ARI: its id."""
    did: str = ""
    number: str = ""
    name: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Channel variables and, without their ``CALLERID(...)``, nothing else."""


class Line(Protocol):
    """The connection that carries a call's sound."""

    id: str
    """A name for the call that is safe to log and in file names; no other call of the process has it."""

    def answer(self) -> None:
        """Asterisk answers the caller when the line is there; chan_websocket with ``n`` waits for this."""

    def hang_up(self) -> None:
        """Say goodbye; the dialplan goes on where ``Dial`` has ``g``."""

    def close(self) -> None:
        """Idempotent, never raises."""


class Callee(Protocol):
    """Somebody who is called for a caller. Commands return at once."""

    def connect(self, done: Done) -> None:
        """Let them talk with each other, once they have answered: our lines with both end."""

    def hang_up(self) -> None:
        """Nobody needs them any more. Idempotent."""


class Control(Protocol):
    """The caller's channel. Commands return at once; ``done`` is called once, on the hub."""

    def watch(self, hung_up: Callable[[int], None]) -> None:
        """Call ``hung_up`` with the Q.850 cause when the caller's channel ends, before or after its line does."""

    def hang_up(self, cause: int, done: Done) -> None: ...

    def redirect(self, number: str, done: Done) -> None:
        """Send the caller to ``number`` in the dialplan's context for transfers: our line ends."""

    def send_digits(self, digits: str, done: Done) -> None: ...

    def set_variable(self, name: str, value: str, done: Done) -> None: ...

    def ring(self, endpoint: str, line: str, seconds: float, on_news: OnNews) -> Callee:
        """Call ``endpoint`` (``PJSIP/1002``) for the caller, who stays where he is; it rings ``seconds`` at most.
        Whoever answers is connected with our AudioSocket server, as ``line``. Raises LegError where nobody can be
        called."""

    def announce(self, name: str, facts: Mapping[str, str]) -> None:
        """Tell whoever listens to the switch."""

    def close(self) -> None:
        """The call is over. Idempotent."""


class Warm(Protocol):
    """Hands a call over to somebody who may decline (``asterisk_transfer``)."""

    @property
    def is_connecting(self) -> bool:
        """Somebody takes the call: its line may end before that is confirmed."""

    def start(self, dial: str, briefing: Sound | None, ended: Callable[[str], None]) -> None:
        """``ended`` is told once: empty, somebody has the call; else a reason of TransferFailed."""

    def stop(self) -> None:
        """The caller is gone."""

    def close(self) -> None: ...


class Directory(Protocol):
    """Knows the callers behind lines."""

    def find(self, line: str, patience: float) -> tuple[Caller, Control] | None:
        """Who is behind the line: its UUID (AudioSocket) or its channel's name (chan_websocket). The news may come up
        to ``patience`` seconds after the line; waits cooperatively. Raises LegClosed where the call behind it has ended
        meanwhile: nobody is to be talked with."""


class NotControlled(LegError):
    """Neither AMI nor ARI knows the call."""


class NoControl:
    """A call whose Asterisk gives us its sound and nothing else."""

    def watch(self, hung_up: Callable[[int], None]) -> None:
        pass

    def hang_up(self, cause: int, done: Done) -> None:
        done(NotControlled(_NOTHING))

    def redirect(self, number: str, done: Done) -> None:
        done(NotControlled(_NOTHING))

    def send_digits(self, digits: str, done: Done) -> None:
        done(NotControlled(_NOTHING))

    def set_variable(self, name: str, value: str, done: Done) -> None:
        done(NotControlled(_NOTHING))

    def ring(self, endpoint: str, line: str, seconds: float, on_news: OnNews) -> Callee:
        raise NotControlled(_NOTHING)

    def announce(self, name: str, facts: Mapping[str, str]) -> None:
        pass

    def close(self) -> None:
        pass


_NOTHING = "neither AMI nor ARI knows this call; see asterisk.ami and asterisk.ari in agent.yaml"


class AsteriskLeg:
    """Signalling of one call. The line calls ``digit`` and ``ended``, the control's events ``hung_up``."""

    def __init__(self, line: Line, caller: Caller, control: Control, post: Post) -> None:
        self.id = line.id
        self.did = caller.did
        self.caller = caller.number
        self.caller_name = caller.name
        self._variables = caller.variables
        self._line = line
        self._control = control
        self._post = post
        self._cause = ""
        self._redirecting = False
        self._has_left = False  # the line ended while a redirection was not yet confirmed
        self._has_callee = False  # a warm transfer was taken: the call goes on without our line
        self._is_over = False
        self.warm: Warm | None = None
        """How it is handed over warm; None: it is not."""
        control.watch(self.hung_up)

    def variable(self, name: str) -> str:
        return self._variables.get(name, "")

    def answer(self) -> None:
        self._line.answer()
        self._post(Answered())

    def hang_up(self, cause: str) -> None:
        def done(error: LegError | None) -> None:
            if error is not None:
                self._line.hang_up()

        self._control.hang_up(cause_number(cause), done)

    def transfer(self, name: str, number: str, mode: Literal["blind", "warm"], briefing: Sound | None) -> None:
        if mode == "warm":
            self._transfer_warm(name, number, briefing)
            return

        def done(error: LegError | None) -> None:
            self._redirecting = False
            if error is None:
                self._cause = "BLIND_TRANSFER"
                self._post(Transferred(name))
            else:
                log.warning("call=%s cannot be transferred: %s", self.id, error)
                self._post(TransferFailed(name, "refused" if isinstance(error, NotControlled) else "unreachable"))
            if self._has_left:
                self._over()

        self._redirecting = True
        self._control.redirect(number.partition(" ")[0], done)  # "1000 XML default": the extension, then FreeSWITCH's

    def _transfer_warm(self, name: str, dial: str, briefing: Sound | None) -> None:
        def ended(reason: str) -> None:
            if reason:
                self._post(TransferFailed(name, reason))
                if self._has_left:
                    self._over()
                return
            self._has_callee = True
            self._post(Transferred(name))
            if self._cause:  # and has hung up meanwhile
                self._over()

        if self.warm is None:
            ended("refused")
        else:
            self.warm.start(dial, briefing, ended)

    def send_digits(self, digits: str) -> None:
        self._control.send_digits(digits, self._refused("send_digits"))

    def set_variable(self, name: str, value: str) -> None:
        if not _VARIABLE.fullmatch(name):
            raise LegError(f"{name[:60]!r} is no name of a channel variable")
        self._control.set_variable(name, value, self._refused("set_variable"))

    def show(self, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            self._control.set_variable(name, value, _ignored)

    def announce(self, subclass: str, facts: Mapping[str, str]) -> None:
        self._control.announce(subclass, facts)

    def close(self) -> None:
        warm, self.warm = self.warm, None
        if warm is not None:
            warm.close()
        self._line.close()
        self._control.close()

    # What the line and the control tell

    def digit(self, digit: str) -> None:
        """The caller pressed a key."""
        self._post(DigitPressed(digit))

    def hung_up(self, cause: int) -> None:
        """Asterisk says why the caller's channel ended."""
        self._cause = self._cause or cause_name(cause)
        if self._has_callee:
            self._over()
        elif self.warm is not None and not self.warm.is_connecting:
            self.warm.stop()

    def ended(self) -> None:
        """The line is gone: the caller hung up, or was sent elsewhere, or talks with somebody else now."""
        if self._has_callee:
            return
        if self._redirecting or (self.warm is not None and self.warm.is_connecting):
            self._has_left = True
        else:
            if self.warm is not None:
                self.warm.stop()
            self._over()

    def _over(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._post(HungUp(self._cause or "NORMAL_CLEARING"))

    def _refused(self, what: str) -> Done:
        def done(error: LegError | None) -> None:
            if error is not None:
                self._post(CommandFailed(what, str(error)))

        return done


def _ignored(_: LegError | None) -> None:
    """Who watches the switch misses something; the caller does not."""
