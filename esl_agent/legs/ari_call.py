"""One call over ARI: what StasisCall asks for is sent, and what a call may command its caller's channel."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event as Flag

from esl_agent.errors import CommandRefused, CommandTimeout, LegError
from esl_agent.legs.ari import AriClient, Lane, ignored
from esl_agent.legs.asterisk import CAUSES, Callee, Caller, Done
from esl_agent.legs.outbound import OnNews
from esl_agent.legs.plain_value import plain
from esl_agent.wire.ari import MAX_TEXT, Reply, Request
from esl_agent.wire.ari_call import Phase, StasisCall

if TYPE_CHECKING:
    from esl_agent.legs.ari_callee import AriBeside

log = logging.getLogger(__name__)

#: Seconds from a caller's coming until he talks with us; then he goes on in the dialplan.
SETUP_SECONDS = 10.0
#: So long Asterisk has to put the caller into the bridge; then it is reminded. One that is asked for it a millisecond
#: after the answer may do it only when it is asked for something else (22.10.1: seen in one call of thirty).
REMIND_SECONDS = 0.25
#: Milliseconds of a key's tone and between two.
_TONE = {"duration": "100", "between": "100"}
#: The dialplan's extensions in which the callee of a warm transfer waits, and the caller is bridged with the channel
#: that the variable names.
WAIT, CONNECT, CALLEE_VARIABLE = "wait", "connect", "ESL_AGENT_CALLEE"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_EXTENSION = re.compile(r"[0-9A-Za-z*#+_.-]{1,64}")
_DIGITS = re.compile(r"[0-9A-Da-d*#w]{1,64}")
_NORMAL = CAUSES["NORMAL_CLEARING"]


class AriCall:
    """Implements ``legs.asterisk.Control``. ``over`` is called once, when nothing of the call is left in Asterisk."""

    def __init__(
        self,
        client: AriClient,
        steps: StasisCall,
        caller: Caller,
        transfer_context: str,
        over: Callable[[AriCall], None],
        beside: AriBeside | None = None,
    ) -> None:
        """``beside``: how people are called for the caller; without it nobody is."""
        self.id = steps.names.call
        self.caller = caller
        self.steps = steps
        self.settled = Flag()
        """Set when the caller talks with us, or never will."""
        self._client = client
        self._lane = Lane()
        self._telling = Lane()  # announcements, which nothing of the call waits for
        self._context = transfer_context
        self._beside = beside
        self._is_handed_over = False
        self._over: Callable[[AriCall], None] | None = over
        self._hung_up: Callable[[int], None] | None = None
        self._cause = 0
        self._has_ended = False  # the caller's channel, as far as we are concerned
        self._redirected: Done | None = None
        self._is_told = False  # why the caller goes on in the dialplan
        self._facts_awaited = 0
        self._timer = gevent.spawn_later(SETUP_SECONDS, self._overdue)
        self._reminding: gevent.Greenlet | None = None

    def begin(self, variables: Iterable[str]) -> None:
        """``variables``: those of the caller's channel that are asked for meanwhile, the call waits for them."""
        lane = Lane()
        for name in variables:
            self._facts_awaited += 1
            request = Request("GET", ("channels", self.steps.caller, "variable"), {"variable": name})
            self._client.ask(lane, request, partial(self._knows, name))
        self._do(self.steps.begin())

    def _knows(self, name: str, reply: Reply) -> None:
        value = reply.value.get("value") if reply.is_ok and isinstance(reply.value, dict) else None
        if isinstance(value, str) and value:
            self.caller = with_variable(self.caller, name, value[:MAX_TEXT])
        self._facts_awaited -= 1
        self._look()

    # What events tell

    def media_began(self) -> None:
        self._do(self.steps.media_began())

    def line_came(self) -> None:
        self._do(self.steps.line_came())

    def media_ended(self) -> None:
        self._do(self.steps.media_ended())

    def will_hang_up(self, cause: int) -> None:
        """ChannelHangupRequest of the caller: why."""
        self._cause = self._cause or cause or _NORMAL

    def caller_ended(self, cause: int = 0) -> None:
        """The caller's channel has left our application: hung up, or sent elsewhere."""
        if self._has_ended:
            return
        self._has_ended = True
        redirected, self._redirected = self._redirected, None
        if redirected is not None and not self._cause:
            redirected(None)
        else:
            self._cause = self._cause or cause or _NORMAL
            self._is_handed_over = False
            if redirected is not None:
                redirected(LegError("the caller hung up"))
            self._tell()
        self._do(self.steps.leave("gone"))

    def _tell(self) -> None:
        if self._hung_up is not None and self._has_ended:
            told, self._hung_up = self._hung_up, None
            told(self._cause)

    def give_up(self, why: str) -> None:
        """The caller goes on in the dialplan; whom we called is hung up on."""
        self._do(self.steps.leave("continue", why))

    # Control

    def watch(self, hung_up: Callable[[int], None]) -> None:
        self._hung_up = hung_up
        self._tell()

    def hang_up(self, cause: int, done: Done) -> None:
        if self.is_handed_over:
            request = Request("DELETE", ("channels", self.steps.caller), {"reason_code": str(cause)}, is_owed=True)
            self._client.ask(self._lane, request, lambda reply: done(_error(request, reply, self._client.timeout)))
            return
        requests = self.steps.leave("hang_up", cause=cause)
        if not requests:
            done(None if self._has_ended else LegError("the call has left already"))
            return
        self._cause = self._cause or cause

        def hung_up(error: LegError | None) -> None:
            if error is None:
                self.caller_ended()
            done(error)

        self._do(requests, hung_up)

    def redirect(self, number: str, done: Done) -> None:
        if not _EXTENSION.fullmatch(number):
            done(LegError(f"{number[:40]!r} is no extension"))
        elif self.steps.phase is not Phase.TALKING or self._redirected is not None:
            done(LegError("the caller is not there to be transferred"))
        else:
            self._redirected = done
            # Asterisk hangs up on who is sent to an extension that is not there. Without func_dialplan.so nobody knows.
            asked = {"variable": f"DIALPLAN_EXISTS({self._context},{number},1)"}
            request = Request("GET", ("channels", self.steps.caller, "variable"), asked)
            self._client.ask(self._lane, request, partial(self._looked_up, number))

    def _looked_up(self, number: str, reply: Reply) -> None:
        if self._redirected is None:
            return
        if reply.is_ok and isinstance(reply.value, dict) and reply.value.get("value") == "0":
            self._redirect_over(LegError(f"context {self._context} has no extension {number}"))
            return
        request = self._about_caller("POST", "continue", _place(self._context, number))
        self._client.ask(self._lane, request, partial(self._continued, request))

    def _continued(self, request: Request, reply: Reply) -> None:
        self._redirect_over(_error(request, reply, self._client.timeout))

    def _redirect_over(self, error: LegError | None) -> None:
        redirected, self._redirected = self._redirected, None
        if redirected is None:  # an event was faster
            return
        if error is None:
            self._has_ended = True
        else:
            self._is_handed_over = False
        redirected(error)
        if error is None:
            self._do(self.steps.leave("gone"))

    def send_digits(self, digits: str, done: Done) -> None:
        if not _DIGITS.fullmatch(digits):
            done(LegError("these are no keys of a telephone"))
            return
        self._command(Request("POST", ("channels", self.steps.caller, "dtmf"), {"dtmf": digits, **_TONE}), done)

    def set_variable(self, name: str, value: str, done: Done) -> None:
        """ARI would take any ``value``: a dialplan shall find the same as over AMI."""
        if not _VARIABLE.fullmatch(name):
            done(LegError(f"{name[:60]!r} is no name of a channel variable"))
            return
        body = {"variable": name, "value": plain(value)}
        self._command(Request("POST", ("channels", self.steps.caller, "variable"), body=body), done)

    def ring(self, endpoint: str, line: str, seconds: float, on_news: OnNews) -> Callee:
        if self._beside is None or self.steps.phase is not Phase.TALKING:
            raise LegError("nobody can be called for this caller")
        return self._beside.ring(self, endpoint, line, seconds, on_news)

    def talk_with(self, callee: AriCall, name: str, context: str, done: Done) -> None:
        """Both leave for the dialplan's ``context``, where the caller's channel is bridged with the callee's, whose
        name is ``name``. The end of the caller's channel is told all the same."""
        if self.steps.phase is not Phase.TALKING or self._redirected is not None:
            done(LegError("the caller is not there to be connected"))
            return
        self._redirected = done
        subscription = {"eventSource": f"channel:{self.steps.caller}"}
        there = {"variable": f"DIALPLAN_EXISTS({context},{CONNECT},1)"}

        def looked_up(reply: Reply) -> None:
            if reply.is_ok and isinstance(reply.value, dict) and reply.value.get("value") == "0":
                self._redirect_over(LegError(f"context {context} has no extension {CONNECT}"))
            elif self._redirected is not None:
                callee.go_on_in(context, WAIT, callee_waits)

        def callee_waits(error: LegError | None) -> None:
            if error is not None:
                self._redirect_over(error)
            elif self._redirected is not None:
                self._is_handed_over = True
                variable = {"variable": CALLEE_VARIABLE, "value": name}
                self._client.ask(self._lane, self._about_caller("POST", "variable", variable), ignored)
                request = self._about_caller("POST", "continue", _place(context, CONNECT))
                self._client.ask(self._lane, request, partial(self._continued, request))

        request = Request("POST", ("applications", self._client.app, "subscription"), subscription)
        self._client.ask(self._lane, request, ignored)
        self._client.ask(self._lane, self._about_caller("GET", "variable", there), looked_up)

    def go_on_in(self, context: str, extension: str, done: Done) -> None:
        """Leave for the dialplan."""
        if self.steps.phase is not Phase.TALKING or self._redirected is not None:
            done(LegError("the callee is not there any more"))
            return
        self._redirected = done
        request = self._about_caller("POST", "continue", _place(context, extension))
        self._client.ask(self._lane, request, partial(self._continued, request))

    def destroyed(self, cause: int) -> None:
        """The channel of a caller who talks with somebody else has ended."""
        self._cause = self._cause or cause or _NORMAL
        self._tell()

    @property
    def is_handed_over(self) -> bool:
        """The caller talks with somebody else."""
        return self._is_handed_over and self._has_ended

    @property
    def is_watched(self) -> bool:
        """Somebody waits for the end of the caller's channel."""
        return self._hung_up is not None

    def _about_caller(self, method: str, what: str, query: Mapping[str, str]) -> Request:
        return Request(method, ("channels", self.steps.caller, what), query)

    def announce(self, name: str, facts: Mapping[str, str]) -> None:
        query = {"application": self._client.app}
        if not self._has_ended:
            query["source"] = f"channel:{self.steps.caller}"
        variables = {key: text[:MAX_TEXT] for key, text in facts.items()}
        request = Request("POST", ("events", "user", name), query, {"variables": variables})
        self._client.ask(self._telling, request, ignored)

    def close(self) -> None:
        self._hung_up = self._beside = None
        self._do(self.steps.leave("continue"))

    def _command(self, request: Request, done: Done) -> None:
        if self.steps.has_left:
            done(LegError("the caller has left"))
            return
        self._client.ask(self._lane, request, lambda reply: done(_error(request, reply, self._client.timeout)))

    # Requests

    def _do(self, requests: list[Request], done: Done | None = None) -> None:
        """``done``: of the first."""
        for request in requests:
            self._client.ask(self._lane, request, partial(self._replied, request, done))
            done = None
        if self.steps.phase is Phase.ENTERING and self._reminding is None:
            self._reminding = gevent.spawn_later(REMIND_SECONDS, self._remind)
        self._look()

    def _remind(self) -> None:
        """An answer of who is answered already does nothing else."""
        while self.steps.phase is Phase.ENTERING:
            self._client.ask(self._telling, self._about_caller("POST", "answer", {}), ignored)
            gevent.sleep(REMIND_SECONDS)

    def _replied(self, request: Request, done: Done | None, reply: Reply) -> None:
        if done is not None:
            done(None if reply.is_gone else _error(request, reply, self._client.timeout))
        self._do(self.steps.replied(request, reply))

    def _look(self) -> None:
        """What the steps have come to."""
        steps = self.steps
        if steps.has_left and steps.why and not self._is_told:
            self._is_told = True
            log.warning("call=%s is let go, a caller goes on in the dialplan: %s", self.id, steps.why)
        if steps.has_left or (steps.phase is Phase.TALKING and not self._facts_awaited):
            self.settled.set()
            for waiting in (self._timer, self._reminding):
                if waiting is not None:
                    waiting.kill(block=False)
        if steps.phase is Phase.OVER and self._over is not None:
            over, self._over = self._over, None
            over(self)

    def _overdue(self) -> None:
        self._do(self.steps.overdue())
        self._facts_awaited = 0
        self._look()


def with_variable(caller: Caller, name: str, value: str) -> Caller:
    """``caller`` with one more variable, which may be his DID."""
    did = value if name == DID_VARIABLE else caller.did
    return Caller(caller.channel, did, caller.number, caller.name, {**caller.variables, name: value})


#: The channel variable that says which number was dialled, where Stasis' first argument does not.
DID_VARIABLE = "ESL_AGENT_DID"


def _place(context: str, extension: str) -> dict[str, str]:
    return {"context": context, "extension": extension, "priority": "1"}


def _error(request: Request, reply: Reply, seconds: float) -> LegError | None:
    if reply.is_ok:
        return None
    if reply.status == 0:
        return CommandTimeout(f"{request}: {reply.message}", seconds)
    return CommandRefused(str(request), str(reply))
