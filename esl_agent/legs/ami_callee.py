"""Somebody called for a caller, over AMI: ``Originate``, and ``Bridge`` of the two channels.

Whoever answers goes to extension ``briefing`` of the dialplan's context, which dials our AudioSocket server as the line
``ESL_AGENT_LINE``. ``Bridge`` takes both channels out of the bridges that their ``Dial`` has made: our lines with them
end, and each ``Dial`` goes on when the two have talked, as after any call (22.10.1, ``features.c``). So the caller's
channel is told before, by ``ESL_AGENT_TRANSFERRED``, that no agent has died.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from esl_agent.errors import LegError
from esl_agent.legs.asterisk import Done
from esl_agent.legs.outbound import CalleeAnswered, OnNews, OutboundNews

if TYPE_CHECKING:
    from esl_agent.legs.ami_control import AmiControl
    from esl_agent.legs.ami_originate import AmiDialler, AmiOutgoing

EXTENSION = "briefing"
LINE_VARIABLE, TRANSFERRED_VARIABLE = "ESL_AGENT_LINE", "ESL_AGENT_TRANSFERRED"
#: The dialplan's own name of where the agent listens.
ADDRESS_VARIABLE = "AUDIOSOCKET_ADDR"


@dataclass(frozen=True, slots=True)
class AmiBeside:
    """How people are called for callers. ``caller_id``: the number they see; empty: the caller's own. ``address``:
    where our AudioSocket server is for Asterisk; empty: the dialplan knows."""

    dialler: AmiDialler
    context: str
    caller_id: str = ""
    address: str = ""

    def ring(self, caller: AmiControl, endpoint: str, line: str, seconds: float, on_news: OnNews) -> AmiCallee:
        """Raises LegError."""
        return AmiCallee(self, caller, endpoint, line, seconds, on_news)


class AmiCallee:
    """Implements ``legs.asterisk.Callee``."""

    def __init__(
        self, beside: AmiBeside, caller: AmiControl, endpoint: str, line: str, seconds: float, on_news: OnNews
    ) -> None:
        self._caller: AmiControl | None = caller
        self._on_news: OnNews | None = on_news
        self._channel = ""  # once it has answered
        self._outgoing: AmiOutgoing | None = beside.dialler.call(
            endpoint,
            self._news,
            context=beside.context,
            exten=EXTENSION,
            caller_id=beside.caller_id or caller.number,
            timeout=seconds,
            variables={LINE_VARIABLE: line} | ({ADDRESS_VARIABLE: beside.address} if beside.address else {}),
        )

    def connect(self, done: Done) -> None:
        caller, self._caller, self._on_news = self._caller, None, None
        if caller is None or not self._channel:
            done(LegError("there is nobody to be connected"))
        else:
            caller.bridge(self._channel, done)

    def hang_up(self) -> None:
        outgoing, self._outgoing, self._caller, self._on_news = self._outgoing, None, None, None
        if outgoing is None:
            return
        if self._channel:
            outgoing.hang_up()
        else:
            outgoing.cancel()

    def _news(self, news: OutboundNews) -> None:
        if isinstance(news, CalleeAnswered):
            self._channel = news.channel
        if self._on_news is not None:
            self._on_news(news)
