"""A call that we make over ARI: its news, until somebody answers.

Dial '' -> RINGING -> PROGRESS -> ANSWER, then StasisStart; a failure is a ChannelDestroyed with the cause and, where
the other side sent one, its SIP status.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping

import gevent

from esl_agent.errors import LegError
from esl_agent.legs.ari import AriClient, Lane, ignored
from esl_agent.legs.outbound import (
    CalleeAnswered,
    CallFailed,
    CallOut,
    EarlyMediaBegan,
    OnNews,
    Rang,
    Reason,
    reason_of,
)
from esl_agent.wire.ari import AriEvent, Channel, Reply, Request, one_line
from esl_agent.wire.ari_call import Names

log = logging.getLogger(__name__)

#: Seconds beyond Asterisk's own ring timeout after which we end the call ourselves.
GRACE = 5.0
_NUMBER = re.compile(r"[+]?[0-9*#]{1,40}")
_TRUNK = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_ENDPOINT = re.compile(r"[A-Z][A-Za-z0-9]{1,15}/[A-Za-z0-9@._:*#+-]{1,160}")
_CALLER_ID = re.compile(r"[+0-9]{0,20}")
_REQUEST_TIMEOUT = 480  # what Asterisk says of its own accord when nobody has said anything


class Outgoing:
    """``answered(channel)`` is called before CalleeAnswered is told, ``over`` once, at the end of the news."""

    def __init__(
        self,
        client: AriClient,
        names: Names,
        on_news: OnNews,
        answered: Callable[[Channel], None],
        over: Callable[[Outgoing], None],
    ) -> None:
        self.id = names.callee
        self._client = client
        self._lane = Lane()
        self._on_news: OnNews | None = on_news
        self._answered = answered
        self._over: Callable[[Outgoing], None] | None = over
        self._has_rung = False
        self._has_early_media = False
        self._gave_a_sign = False
        self._cause = 0
        self._sip = 0
        self.is_dialled = False
        """Asterisk has said that its channel is there."""
        self._timer: gevent.Greenlet | None = None

    def dial(self, call: CallOut) -> None:
        """Raises LegError for what cannot be dialled."""
        for text, pattern in ((call.number, _NUMBER), (call.trunk, _TRUNK)):
            _check(text, pattern)
        endpoint = f"PJSIP/{call.number}@{call.trunk}"
        self.call(endpoint, caller_id=call.caller_id, timeout=call.timeout, variables=call.variables)

    def call(self, endpoint: str, *, caller_id: str, timeout: float, variables: Mapping[str, str]) -> None:
        """The same for any ``endpoint`` (``PJSIP/1002``). ``timeout``: seconds that it may ring."""
        for text, pattern in ((endpoint, _ENDPOINT), (caller_id, _CALLER_ID)):
            _check(text, pattern)
        seconds = max(1, math.ceil(timeout))
        query = {
            "endpoint": endpoint,
            "app": self._client.app,
            "channelId": self.id,
            "timeout": str(seconds),
        }
        if caller_id:
            query["callerId"] = caller_id
        self._timer = gevent.spawn_later(seconds + GRACE, self._overdue)
        body = {"variables": dict(variables)} if variables else None
        self._client.ask(self._lane, Request("POST", ("channels",), query, body), self._dialled)

    def cancel(self) -> None:
        """Hang up before it is answered. Idempotent."""
        if self._on_news is not None:
            self._free()
            self._fail("cancelled")

    # What ARI tells

    def event(self, event: AriEvent) -> None:
        if event.kind == "Dial":
            self._dial_event(event.status)
        elif event.kind == "StasisStart":
            self.was_answered(event.channel)
        elif event.kind == "ChannelHangupRequest":
            self._gave_a_sign |= event.sip != 0
            self._cause, self._sip = self._cause or event.cause, self._sip or event.sip
        elif event.kind in ("ChannelDestroyed", "StasisEnd"):
            self._cause, self._sip = self._cause or event.cause, self._sip or event.sip
            self._fail(None)

    def was_answered(self, channel: Channel) -> None:
        """It is in our application."""
        if self._on_news is None:
            return
        self._answered(channel)
        self._tell(CalleeAnswered(channel.id), is_last=True)

    def missed(self) -> None:
        """It is not there any more, and nobody told us."""
        self._fail(None, "its end was missed while there was no connection to ARI")

    def _dial_event(self, status: str) -> None:
        if status in ("RINGING", "PROGRESS", "PROCEEDING"):
            self._gave_a_sign = True
        if status == "RINGING" and not self._has_rung:
            self._has_rung = True
            self._tell(Rang())
        elif status == "PROGRESS" and not self._has_early_media:
            self._has_early_media = True
            self._tell(EarlyMediaBegan())

    def _dialled(self, reply: Reply) -> None:
        self.is_dialled = reply.is_ok
        if reply.is_ok or self._on_news is None:
            return
        self._free()
        self._fail("unreachable" if reply.status else "failed", f"ARI: {reply}")

    def _overdue(self) -> None:
        if self._on_news is not None:
            self._free()
            self._fail("no_answer" if self._gave_a_sign else "unreachable", "Asterisk did not end it in time")

    # The end of the news

    def _free(self) -> None:
        self._client.ask(self._lane, Request("DELETE", ("channels", self.id), is_owed=True), ignored)

    def _fail(self, reason: Reason | None, detail: str = "") -> None:
        # Asterisk has a status even for those it never heard of.
        sign = self._gave_a_sign or (self._sip not in (0, _REQUEST_TIMEOUT))
        found = reason or reason_of(self._cause, self._sip, gave_a_sign=sign)
        self._tell(CallFailed(found, self._cause, self._sip, one_line(detail)), is_last=True)

    def _tell(self, news: Rang | EarlyMediaBegan | CalleeAnswered | CallFailed, *, is_last: bool = False) -> None:
        on_news = self._on_news
        if on_news is None:
            return
        if is_last:
            self._on_news = None
            if self._timer is not None:
                self._timer.kill(block=False)
            over, self._over = self._over, None
            if over is not None:
                over(self)
        on_news(news)


def _check(text: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(text):
        raise LegError(f"{text[:40]!r} cannot be dialled")
