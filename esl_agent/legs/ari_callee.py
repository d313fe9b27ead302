"""Somebody called for a caller, over ARI.

The callee who answers is set up as any call of ours is: a bridge, and externalMedia, which is the briefing's line. To
be connected both go on in the dialplan (``continue``): the callee waits there, and the caller's channel runs
``Bridge(callee)``. So the two need nothing of us: an agent that stops, dies or starts anew does not part them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from esl_agent.errors import LegError
from esl_agent.legs.ari import AriClient, Lane, ignored
from esl_agent.legs.asterisk import Done
from esl_agent.legs.outbound import OnNews
from esl_agent.wire.ari import Channel, Request

if TYPE_CHECKING:
    from esl_agent.legs.ari_call import AriCall
    from esl_agent.legs.ari_calls import AriCalls

_NUMBER = re.compile(r"[+]?[0-9]{1,20}")
#: A channel's name, which becomes an argument of the dialplan's Bridge.
_CHANNEL = re.compile(r"[A-Za-z0-9]+/[A-Za-z0-9@._:+*#-]{1,200}")


@dataclass(frozen=True, slots=True)
class AriBeside:
    """How people are called for callers. ``context``: the dialplan's for briefings; ``caller_id``: the number that they
    see; empty: the caller's own."""

    calls: AriCalls
    client: AriClient
    context: str
    caller_id: str = ""

    def ring(self, caller: AriCall, endpoint: str, line: str, seconds: float, on_news: OnNews) -> AriCallee:
        """Raises LegError."""
        return AriCallee(self, caller, endpoint, line, seconds, on_news)


class AriCallee:
    """Implements ``legs.asterisk.Callee``."""

    def __init__(
        self, beside: AriBeside, caller: AriCall, endpoint: str, line: str, seconds: float, on_news: OnNews
    ) -> None:
        number = caller.caller.number
        self._beside = beside
        self._caller: AriCall | None = caller
        self._call: AriCall | None = None  # with the callee, who has answered
        self._channel = Channel("")
        self._outgoing = beside.calls.ring(
            endpoint,
            line,
            on_news,
            self._answered,
            caller_id=beside.caller_id or (number if _NUMBER.fullmatch(number) else ""),
            timeout=seconds,
        )

    def connect(self, done: Done) -> None:
        caller, self._caller = self._caller, None
        call, name = self._call, self._channel.name
        if caller is None or call is None or not _CHANNEL.fullmatch(name):
            done(LegError("there is nobody to be connected"))
        else:  # the line may come a moment before the callee is in its bridge
            call.settled.rawlink(lambda _: caller.talk_with(call, name, self._beside.context, done))

    def hang_up(self) -> None:
        self._caller = None
        call, self._call = self._call, None
        if call is None:
            self._outgoing.cancel()
            return
        if call.steps.has_left:  # it waits in the dialplan
            request = Request("DELETE", ("channels", self._channel.id), is_owed=True)
            self._beside.client.ask(Lane(), request, ignored)
        call.hang_up(16, _nobody)

    def _answered(self, call: AriCall, channel: Channel) -> None:
        self._call, self._channel = call, channel


def _nobody(_: LegError | None) -> None:
    """A channel that is gone already is what we want."""
