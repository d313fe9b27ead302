"""How many transfers there are and what they cost: shared by every call of the process.

    ledger = TransferLedger(time.monotonic, service.transfers)                       one for the process
    transfers = CallTransfers(ledger, did.name, leg, policy, caps, mailbox.post)     one for each call
    transfers.start(action)          performs a Transfer: asks the policy again, then the caps, then the leg
    transfers.on_event(event)        sees Transferred and TransferFailed as they are handled
    transfers.close()                the call is over

A blind transfer leaves our sight at Transferred: it counts as connected for ``assumed_minutes``, and costs what these
make. One greenlet hub, so no lock.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent.dialogue.actions import Transfer
from esl_agent.dialogue.destinations import Destination, Policy, Refusal, TransferSettings
from esl_agent.dialogue.events import Event, TransferFailed, Transferred
from esl_agent.legs.base import CallLeg, Post
from esl_agent.setting import STRICT, setting

log = logging.getLogger(__name__)

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Totals:
    """How many transfers there may be over all DIDs, beside the caps of each. 0: no limit."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    max_per_hour: int = setting(200, "Transfers within an hour.", ge=0)
    max_at_once: int = setting(0, "Transfers that are under way or connected at one time.", ge=0)
    max_cost_per_hour: float = setting(0.0, "What transfers may cost within an hour.", ge=0.0)


@dataclass(slots=True, eq=False)
class Permit:
    """One transfer that may be tried. ``minutes`` is how long it counts."""

    did: str
    call: str
    asked_at: float
    rate: float
    is_blind: bool
    minutes: float
    _ledger: TransferLedger
    connected_at: float | None = None
    _is_ended: bool = False

    @property
    def is_open(self) -> bool:
        """Under way or connected. Of a blind one whose end we do not see that is believed for ``minutes``."""
        if not self._is_ended:
            return True
        since = self.asked_at if self.connected_at is None else self.connected_at
        return self.is_blind and self._ledger.clock() - since < self.minutes * 60.0

    @property
    def cost(self) -> float:
        """So far, at least what ``minutes`` make; a conversation that goes on costs more and more."""
        if not self._is_ended and self.connected_at is not None and not self.is_blind:
            return self.rate * max(self.minutes, (self._ledger.clock() - self.connected_at) / 60.0)
        return self.rate * self.minutes

    def connected(self) -> None:
        """Somebody has the call."""
        if self.connected_at is None:
            self.connected_at = self._ledger.clock()

    def failed(self) -> None:
        """Nobody took it: it costs nothing."""
        if not self._is_ended:
            self._is_ended, self.minutes = True, 0.0

    def end(self) -> None:
        """The call is over, for us. What it really cost counts from now on; of a blind one nobody can tell, so it
        counts as connected, even if the news of that did not come."""
        if self._is_ended:
            return
        self._is_ended = True
        if not self.is_blind:
            since = self.connected_at
            self.minutes = 0.0 if since is None else (self._ledger.clock() - since) / 60.0


class TransferLedger:
    """Permits of the last hour, and those still open."""

    def __init__(self, clock: Callable[[], float], totals: Totals | None = None) -> None:
        self.clock = clock
        self._totals = totals or Totals()
        self._permits: deque[Permit] = deque()

    def ask(self, did: str, call: str, caps: TransferSettings, destination: Destination) -> Permit | Refusal:
        """A permit for one transfer of ``call``, or why there is none."""
        self._forget()
        reason = self._objection(did, call, caps, destination)
        if reason:
            return Refusal(reason)
        permit = Permit(
            did,
            call,
            self.clock(),
            destination.cost_per_minute,
            destination.mode == "blind",
            caps.assumed_minutes,
            self,
        )
        self._permits.append(permit)
        return permit

    def forget_call(self, call: str) -> None:
        """The call is over: whatever of it is open has ended."""
        for permit in self._permits:
            if permit.call == call:
                permit.end()

    def _objection(self, did: str, call: str, caps: TransferSettings, destination: Destination) -> str:
        now = self.clock()
        recent = [permit for permit in self._permits if now - permit.asked_at < HOUR]
        mine = [permit for permit in recent if permit.did == did]
        expected = destination.cost_per_minute * caps.assumed_minutes
        if sum(permit.call == call for permit in self._permits) >= caps.max_per_call:
            return "this call has been transferred as often as it may be"
        if len(mine) >= caps.max_per_hour:
            return "there were too many transfers within the hour"
        if sum(permit.is_open and permit.did == did for permit in self._permits) >= caps.max_at_once:
            return "too many transfers are under way"
        if _over(caps.max_cost_per_hour, sum(permit.cost for permit in mine) + expected):
            return "transfers have cost too much within the hour"
        totals = self._totals
        if totals.max_per_hour and len(recent) >= totals.max_per_hour:
            return "there were too many transfers within the hour"
        if totals.max_at_once and sum(permit.is_open for permit in self._permits) >= totals.max_at_once:
            return "too many transfers are under way"
        if _over(totals.max_cost_per_hour, sum(permit.cost for permit in recent) + expected):
            return "transfers have cost too much within the hour"
        return ""

    def _forget(self) -> None:
        """What is older than an hour and over counts no more."""
        now = self.clock()
        if self._permits and now - self._permits[0].asked_at >= HOUR:
            self._permits = deque(p for p in self._permits if p.is_open or now - p.asked_at < HOUR)


class CallTransfers:
    """The transfers of one call, one after the other."""

    def __init__(
        self, ledger: TransferLedger, did: str, leg: CallLeg, policy: Policy, caps: TransferSettings, post: Post
    ) -> None:
        self._ledger = ledger
        self._did = did
        self._leg = leg
        self._policy = policy
        self._caps = caps
        self._post = post
        self._permit: Permit | None = None
        self._refused: list[TransferFailed] = []  # posted by us and not seen yet: they say nothing of the permit

    def start(self, action: Transfer) -> None:
        """Hand the call over if policy and caps allow it; one Transferred or TransferFailed is posted either way."""
        found = self._policy.resolve(action.name)
        if isinstance(found, Refusal) or (found.target, found.mode) != (action.number, action.mode):
            log.error("call=%s a transfer that the policy does not know is not made", self._leg.id)
            self._refuse(action, "refused")
            return
        if self._permit is not None:
            log.warning("call=%s no transfer: another one is under way", self._leg.id)
            self._refuse(action, "refused")
            return
        permit = self._ledger.ask(self._did, self._leg.id, self._caps, found)
        if isinstance(permit, Refusal):
            log.warning("call=%s no transfer: %s", self._leg.id, permit.reason)
            self._refuse(action, "limit")
            return
        self._permit = permit
        self._leg.transfer(action.name, action.number, action.mode, action.briefing)

    def on_event(self, event: Event) -> None:
        """Keep the account: a transfer went through, or came back."""
        if any(event is each for each in self._refused):
            self._refused = [each for each in self._refused if each is not event]
        elif self._permit is None:
            return
        elif isinstance(event, Transferred):
            self._permit.connected()
        elif isinstance(event, TransferFailed):
            self._permit.failed()
            self._permit = None

    def close(self) -> None:
        """Whatever is open has ended. Idempotent."""
        self._permit = None
        self._ledger.forget_call(self._leg.id)

    def _refuse(self, action: Transfer, reason: str) -> None:
        event = TransferFailed(action.name, reason)
        self._refused.append(event)
        self._post(event)


def _over(limit: float, cost: float) -> bool:
    """Whether ``cost`` exceeds a limit that is one, beyond rounding."""
    return limit > 0 and cost > limit * (1 + 1e-9)
