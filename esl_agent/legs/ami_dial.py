"""A call that we make, told by AMI's events: which of them is which news. Pure: no I/O, no clock.

What 22.10.1 sends for ``Originate`` with ``Async: true`` and ``ChannelId`` (measured with real callees):

    180, 183, 200     DialBegin, DialState RINGING, DialState PROGRESS, DialEnd ANSWER, OriginateResponse Success
    486               .. DialEnd BUSY, Hangup 17/486, OriginateResponse Failure 0
    603, 404, 480     DialBegin, DialEnd NOANSWER, OriginateResponse Failure 0, Hangup 21/603, 1/404, 19/480
    503               the same with DialEnd CONGESTION, Hangup 34/503
    never answers     .. no DialEnd; Hangup 19/480, which Asterisk makes up, OriginateResponse Failure 3
    nobody there      the same without any DialState; after 32 s (SIP's Timer B) DialEnd NOANSWER, Hangup 18/408
    unknown endpoint  OriginateResponse Failure 0, and nothing else: there never is a channel

Hangup and OriginateResponse come in either order, and only both together tell "did not answer" from "nobody there".
``EarlyMedia: true`` would make Asterisk take a 183 for the answer; we never send it.
"""

from __future__ import annotations

from esl_agent.legs.outbound import CalleeAnswered, CallFailed, EarlyMediaBegan, OutboundNews, Rang, Reason, reason_of
from esl_agent.wire.ami import Message

_UP = "6"  # AST_STATE_UP
_TIMER_B = 408  # no answer to the INVITE at all
_RING_TIMEOUT = "3"  # AST_CONTROL_RINGING: it was still ringing when Originate's Timeout was over


class AmiDial:
    """``receive`` takes the events of one call (DialBegin, DialState, DialEnd, Newstate, Status, Hangup,
    OriginateResponse) in any order, also twice, and returns the news in each. ``is_unsettled``: it has ended, and the
    other of the two events that end it has not come yet: give it a second, then call ``settle``."""

    def __init__(self) -> None:
        self.is_over = False
        """The last news was told: CalleeAnswered or CallFailed."""
        self.channel = ""
        self._told: set[type[OutboundNews]] = set()
        self._gave_a_sign = False
        self._has_dial_end = False
        self._has_channel = False
        self._hangup: tuple[int, int, str] | None = None
        self._failure: str | None = None  # OriginateResponse's Reason

    @property
    def is_unsettled(self) -> bool:
        return not self.is_over and (self._hangup is not None or self._failure is not None)

    def receive(self, event: Message) -> list[OutboundNews]:
        if self.is_over:
            return []
        kind = event.event
        if kind == "OriginateResponse":
            return self._originated(event)
        self._has_channel = True
        self.channel = event.get("DestChannel") or event.get("Channel") or self.channel
        if kind == "DialState":
            return self._dial_state(event.get("DialStatus"))
        if kind == "DialEnd":
            self._has_dial_end = True
            return self._answered() if event.get("DialStatus") == "ANSWER" else []
        if kind in ("Newstate", "Status") and event.get("ChannelState") == _UP:
            return self._answered()
        if kind == "Hangup":
            self._hangup = _number(event.get("Cause")), _number(event.get("TechCause")), event.get("Cause-txt")
            return self.settle() if self._failure is not None else []
        return []

    def settle(self) -> list[OutboundNews]:
        """What is known has to do."""
        if not self.is_unsettled:
            return []
        cause, sip, detail = self._hangup or (0, 0, "")
        was_refused = self._has_dial_end or (self._has_channel and self._failure not in (None, _RING_TIMEOUT))
        sign = self._gave_a_sign or (was_refused and sip != _TIMER_B)
        return self.fail(reason_of(cause, sip, gave_a_sign=sign), detail)

    def fail(self, reason: Reason, detail: str) -> list[OutboundNews]:
        """Ends it for a reason of ours."""
        if self.is_over:
            return []
        self.is_over = True
        cause, sip, _ = self._hangup or (0, 0, "")
        return [CallFailed(reason, cause, sip, detail)]

    def _dial_state(self, status: str) -> list[OutboundNews]:
        self._gave_a_sign = True
        if status == "RINGING":
            return self._once(Rang())
        if status == "PROGRESS":
            return self._once(EarlyMediaBegan())
        return []

    def _originated(self, event: Message) -> list[OutboundNews]:
        if event.get("Response") == "Success":
            self.channel = self.channel or event.get("Channel")
            return self._answered()
        self._failure = event.get("Reason")
        return self.settle() if self._hangup is not None or not self._has_channel else []

    def _once(self, news: OutboundNews) -> list[OutboundNews]:
        if type(news) in self._told:
            return []
        self._told.add(type(news))
        return [news]

    def _answered(self) -> list[OutboundNews]:
        self.is_over = True
        return [CalleeAnswered(self.channel)]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
