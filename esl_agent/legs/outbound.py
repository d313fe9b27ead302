"""What becomes of a call that we make, in words that AMI and ARI share.

A call we make brings its news in this order, each at most once: ``Rang``, ``EarlyMediaBegan`` (both may be missing),
then exactly one of ``CalleeAnswered`` and ``CallFailed``. After that the call is a call like any other; its end is its
line's to tell. Early media (SIP 183) is no answer: nothing that costs money may begin before ``CalleeAnswered``.

How a SIP answer becomes a cause: ``res_pjsip.c`` ``ast_sip_hangup_sip2cause``, 22.10.1; causes are Q.850's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Reason = Literal[
    "busy",
    "declined",  # by the person called
    "no_answer",  # it rang, or somebody on the way said that nobody takes the call
    "unreachable",  # nobody gave any sign of life: wrong address, trunk down, endpoint unknown or not registered
    "unknown_number",
    "congestion",  # the network has no room or is out of order: later, perhaps
    "rejected",  # the trunk does not let us: forbidden, unknown codec, no credit
    "cancelled",  # by us
    "failed",  # anything else
]


@dataclass(frozen=True, slots=True)
class CallOut:
    """A call to be made: to ``number`` through the PJSIP endpoint ``trunk``. Who answers talks with the agent of
    ``did``. What of it cannot be dialled, AMI and ARI say themselves."""

    number: str
    did: str
    trunk: str
    caller_id: str = ""
    timeout: float = 45.0
    """Seconds that it may ring."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the callee's channel; the values are outside text."""


@dataclass(frozen=True, slots=True)
class Rang:
    """The other phone rings (SIP 180)."""


@dataclass(frozen=True, slots=True)
class EarlyMediaBegan:
    """Sound before the answer (SIP 183): announcements, music. Not answered."""


@dataclass(frozen=True, slots=True)
class CalleeAnswered:
    """SIP 200. ``channel``: the callee's channel, as Control knows it (AMI: its name; ARI: its id). Outside text."""

    channel: str


@dataclass(frozen=True, slots=True)
class CallFailed:
    """There will be no call. ``cause`` is Q.850's number, ``sip`` the status the other side sent (or Asterisk made
    up: 480 for a ring timeout); both 0 where nobody said. ``detail``: for the log; outside text."""

    reason: Reason
    cause: int = 0
    sip: int = 0
    detail: str = ""


OutboundNews = Rang | EarlyMediaBegan | CalleeAnswered | CallFailed
#: Told the news of a call we make. Called on the hub: must not block.
OnNews = Callable[[OutboundNews], None]

_BY_SIP: dict[int, Reason] = {
    **dict.fromkeys((486, 600), "busy"),
    **dict.fromkeys((603, 607), "declined"),
    **dict.fromkeys((408, 480, 487), "no_answer"),
    **dict.fromkeys((404, 410, 484, 485, 604), "unknown_number"),
    **dict.fromkeys((401, 402, 403, 405, 406, 407, 415, 420, 421, 488, 606, 608), "rejected"),
    **dict.fromkeys((500, 502, 503, 504, 580), "congestion"),
}
_BY_CAUSE: dict[int, Reason] = {
    **dict.fromkeys((17,), "busy"),
    **dict.fromkeys((21,), "declined"),
    **dict.fromkeys((18, 19), "no_answer"),
    **dict.fromkeys((2, 3, 20, 27), "unreachable"),
    **dict.fromkeys((1, 22, 28), "unknown_number"),
    **dict.fromkeys((34, 38, 41, 42, 44, 47), "congestion"),
    **dict.fromkeys((29, 50, 52, 55, 57, 58, 65, 79, 88), "rejected"),
}


def reason_of(cause: int, sip: int, *, gave_a_sign: bool = True) -> Reason:
    """Why a call that was never answered ended. The SIP status is the better witness: Asterisk makes cause 19 of many.

    ``gave_a_sign``: the other side was heard of at all, if only by the status it ended with. Without, the status is
    Asterisk's own (480 at its ring timeout, also when no packet ever came back), and the call is ``unreachable``.
    """
    if not gave_a_sign:
        return "unreachable"
    return _BY_SIP.get(sip) or _BY_CAUSE.get(cause) or "failed"
