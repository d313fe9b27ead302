"""What is asked of ARI for one call that has come to our Stasis application, and in which order.

    bridge -> the sound's channel (externalMedia) -> its StasisStart, our server has its line -> into the bridge
    -> answer the caller -> into the bridge

The laws:

1. The caller is answered and bridged last: where the sound cannot be had, a call that is still ringing goes on in the
   dialplan, and nobody is ever answered into silence.
2. Who leaves us alive goes on in the dialplan (``continue``); he never stays in a bridge without sound. Whom we have
   called has no dialplan to go on in: that call is ended.
3. Whatever was asked for is freed, once, on every way out: the sound's channel and the bridge outlive the caller
   (``res_stasis.c``).
4. Replies and events come in any order. What comes after the call has left changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from esl_agent.wire.ari import Reply, Request

#: How a caller leaves: he is gone already, we hang up, or he goes on in the dialplan.
Way = Literal["gone", "hang_up", "continue"]


class Phase(Enum):
    BRIDGE = auto()
    """The bridge is being made."""
    MEDIA = auto()
    """The sound's channel is."""
    MIXING = auto()
    """It is put into the bridge."""
    ANSWERING = auto()
    ENTERING = auto()
    """The caller is put into the bridge."""
    TALKING = auto()
    LEAVING = auto()
    """What was asked for is being freed."""
    OVER = auto()


_BEFORE_TALKING = (Phase.BRIDGE, Phase.MEDIA, Phase.MIXING, Phase.ANSWERING, Phase.ENTERING)


@dataclass(frozen=True, slots=True)
class Names:
    """Ids that we choose, so that we find what is ours again: ``esl-agent.<app>.<kind>.<call>``."""

    app: str
    call: str
    """Unique."""

    @staticmethod
    def prefix(app: str) -> str:
        return f"esl-agent.{app}."

    @property
    def bridge(self) -> str:
        return f"{self.prefix(self.app)}b.{self.call}"

    @property
    def media(self) -> str:
        return f"{self.prefix(self.app)}m.{self.call}"

    @property
    def callee(self) -> str:
        """Of a call that we make."""
        return f"{self.callees(self.app)}{self.call}"

    @staticmethod
    def callees(app: str) -> str:
        """How the ids of those we call begin."""
        return f"{Names.prefix(app)}o."


class StasisCall:
    """Every method returns the requests to send next, in order; ``replied`` gets each one's reply."""

    def __init__(
        self,
        names: Names,
        caller: str,
        *,
        is_up: bool,
        is_ours: bool = False,
        media: Mapping[str, str],
        variables: Mapping[str, str],
    ) -> None:
        """``caller``: his channel's id; ``is_up``: he is answered; ``is_ours``: we have
        called him. ``media``: the query of externalMedia without app
        and channelId; ``variables`` of its channel."""
        self.names = names
        self.caller = caller
        self.phase = Phase.BRIDGE
        self.why = ""
        """Why the caller goes on in the dialplan."""
        self.has_litter = False
        """Something could not be freed."""
        self._is_up = is_up
        self._is_ours = is_ours
        self._media = media
        self._variables = variables
        self._has_media = False
        self._has_line = False
        self._is_media_made = False
        self._awaited: Request | None = None
        self._owed = 0

    @property
    def has_left(self) -> bool:
        return self.phase in (Phase.LEAVING, Phase.OVER)

    def begin(self) -> list[Request]:
        names = self.names
        return self._ask(Request("POST", ("bridges", names.bridge), {"type": "mixing", "name": names.bridge}))

    def replied(self, request: Request, reply: Reply) -> list[Request]:
        if request.is_owed:
            self._freed(reply)
            return []
        if request is not self._awaited or self.has_left:
            return []
        self._awaited = None
        if not reply.is_ok:
            return self.leave("continue", f"{request.method} {_STEPS[self.phase]}: {reply}")
        if self.phase is Phase.MEDIA:
            self._is_media_made = True
        return self._go_on()

    def media_began(self) -> list[Request]:
        """StasisStart of the sound's channel."""
        self._has_media = True
        return self._go_on() if self.phase is Phase.MEDIA else []

    def line_came(self) -> list[Request]:
        """Our server has the connection that brings the sound."""
        self._has_line = True
        return self._go_on() if self.phase is Phase.MEDIA else []

    def media_ended(self) -> list[Request]:
        """StasisEnd of the sound's channel, or its line is gone."""
        return self.leave("continue", "its sound has ended" if self.phase is Phase.TALKING else "its sound never came")

    def overdue(self) -> list[Request]:
        """Nobody waits any longer."""
        if self.phase not in _BEFORE_TALKING:
            return []
        awaited = _STEPS[self.phase]
        if self.phase is Phase.MEDIA and self._is_media_made:
            awaited = "no line came to our server" if self._has_media else "its sound's channel never came"
        return self.leave("continue", f"not within the time: {awaited}")

    def leave(self, way: Way, why: str = "", cause: int = 16) -> list[Request]:
        """End what we have with the call; the first way counts. ``cause``: Q.850, of a hang-up."""
        if self.has_left:
            return []
        was, self.phase, self.why = self.phase, Phase.LEAVING, why
        owed = []
        if way == "hang_up" or (way == "continue" and self._is_ours):
            owed.append(Request("DELETE", ("channels", self.caller), {"reason_code": str(cause)}, is_owed=True))
        elif way == "continue":
            owed.append(Request("POST", ("channels", self.caller, "continue"), is_owed=True))
        if was is not Phase.BRIDGE:
            owed.append(Request("DELETE", ("channels", self.names.media), is_owed=True))
        owed.append(Request("DELETE", ("bridges", self.names.bridge), is_owed=True))
        self._owed = len(owed)
        return owed

    def _freed(self, reply: Reply) -> None:
        self._owed -= 1
        self.has_litter |= not (reply.is_ok or reply.is_gone)
        if self._owed == 0:
            self.phase = Phase.OVER

    def _go_on(self) -> list[Request]:
        """The step that follows, once all it stands on is there."""
        bridge = ("bridges", self.names.bridge, "addChannel")
        if self._awaited is not None or self.has_left:
            return []
        if self.phase is Phase.BRIDGE:
            self.phase = Phase.MEDIA
            query = {"app": self.names.app, "channelId": self.names.media, **self._media}
            body = {"variables": dict(self._variables)} if self._variables else None
            return self._ask(Request("POST", ("channels", "externalMedia"), query, body))
        if self.phase is Phase.MEDIA:
            if not (self._is_media_made and self._has_media and self._has_line):
                return []
            self.phase = Phase.MIXING
            return self._ask(Request("POST", bridge, {"channel": self.names.media}))
        if self.phase is Phase.MIXING and not self._is_up:
            self.phase = Phase.ANSWERING
            return self._ask(Request("POST", ("channels", self.caller, "answer")))
        if self.phase in (Phase.MIXING, Phase.ANSWERING):
            self.phase = Phase.ENTERING
            return self._ask(Request("POST", bridge, {"channel": self.caller}))
        if self.phase is Phase.ENTERING:
            self.phase = Phase.TALKING
        return []

    def _ask(self, request: Request) -> list[Request]:
        self._awaited = request
        return [request]


_STEPS = {
    Phase.BRIDGE: "bridge",
    Phase.MEDIA: "externalMedia",
    Phase.MIXING: "the sound into the bridge",
    Phase.ANSWERING: "answer",
    Phase.ENTERING: "the caller into the bridge",
}
