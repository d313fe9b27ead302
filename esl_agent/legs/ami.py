"""Our standing connection to Asterisk's manager interface (AMI): made again whenever it is lost, as quiet as it can be.

A call of ours is 64 events of 29 kB in all (22.10.1, ``Dial(AudioSocket/...)``, measured) of which four matter. So we
log in without events, then ask for the classes that are subscribed to and add a ``Filter`` a subscription: Asterisk
sends those four, 2.2 kB. Filter is of class system, which is better not given (with it ``Originate`` runs programs):
without it the user's ``eventfilter`` in manager.conf does the same.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent
from gevent import socket
from gevent.event import Event as Flag

from esl_agent.errors import CommandRefused, LegClosed, LegError
from esl_agent.legs.ami_link import AmiLink, Answered, Headers
from esl_agent.legs.esl_outcome import Deadlines, guarded
from esl_agent.wire.ami import Message

log = logging.getLogger(__name__)

#: Told what an action brought: its response, or why there is none. Called once, on the hub: must not block.
Done = Callable[[Message | LegError], None]

#: Seconds without a byte after which Asterisk is asked whether it is there.
PING_AFTER = 10.0
#: Seconds until a lost connection is tried again: doubled from one try to the next, less up to a half by chance.
FIRST_RETRY = 0.5
LAST_RETRY = 10.0
#: ... and however eagerly somebody waits for it.
SHORTEST_RETRY = 0.2
#: Seconds until a refused login is tried again: more often fills Asterisk's security log, and fail2ban reads that.
REFUSED_RETRY = 60.0

#: Classes of the events we know (manager.conf ``read``); all others are of class call.
_CLASSES = {"Newexten": "dialplan", "VarSet": "dialplan", "UserEvent": "user"}


@dataclass(frozen=True, slots=True)
class _Subscription:
    callback: Callable[[Message], None]
    header: str
    value: str


class AmiClient:
    """Subscribe (``on_event``, ``on_connected``), then ``start``; ``close`` ends it for good. Never raises for a
    connection that is not there: actions fail with LegClosed."""

    def __init__(
        self,
        host: str,
        port: int,
        user: str,
        secret: str,
        *,
        timeout: float = 3.0,
        ping_after: float = PING_AFTER,
        first_retry: float = FIRST_RETRY,
        last_retry: float = LAST_RETRY,
        refused_retry: float = REFUSED_RETRY,
    ) -> None:
        self.peer = f"AMI {host}:{port}"
        self.is_connected = False
        self.is_filtered = False
        """Asterisk sends nothing but what is subscribed to. False: what the user's ``read`` and ``eventfilter`` let
        through, all else is passed over here (29 kB of a call are 0.5 ms of work)."""
        self.deadlines = Deadlines()
        self.trouble = "no connection was made yet"
        """Why there is no connection, in words for a log; empty while there is one."""
        self._address = (host, port)
        self._user = user
        self._secret = secret
        self._timeout = timeout
        self._ping_after = ping_after
        self._first_retry, self._last_retry, self._refused_retry = first_retry, last_retry, refused_retry
        self._subscriptions: dict[str, list[_Subscription]] = {}
        self._on_connected: list[Callable[[], None]] = []
        self._link: AmiLink | None = None
        self._greenlet: gevent.Greenlet | None = None
        self._has_had_trouble = ""
        self._is_refused = False
        self._is_closed = False
        self._is_awaited = Flag()
        self._has_tried = Flag()  # since somebody began to wait

    def on_event(self, name: str, callback: Callable[[Message], None], *, header: str = "", value: str = "") -> None:
        """Call ``callback`` for events of this name, on the hub; it must not block. With ``header``: only where that
        has ``value``. To be said before ``start``: it decides what Asterisk is asked to send."""
        self._subscriptions.setdefault(name, []).append(_Subscription(callback, header, value))

    def on_connected(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` after each login, on the hub; it must not block."""
        self._on_connected.append(callback)

    def start(self) -> None:
        """Connects, and goes on trying."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)

    def wait_connected(self, patience: float) -> bool:
        """Asterisk has given a sign of life: do not put off the next try to connect. Whether there is a connection once
        that is over, or after ``patience``; a login that was refused is not tried again for it."""
        if self.is_connected or self._is_refused or self._greenlet is None:
            return self.is_connected
        self._has_tried.clear()
        self._is_awaited.set()
        self._has_tried.wait(patience)
        return self.is_connected

    def send(self, name: str, headers: Headers, done: Done, *, timeout: float | None = None) -> str:
        """Sends an action; never blocks, never raises. ``done`` gets the response, or CommandRefused (Asterisk says
        no), CommandTimeout, LegClosed, LegError (too much is under way, or text that cannot be sent). Returns its
        ActionID; empty if there is no connection."""

        def answered(result: list[Message] | LegError) -> None:
            done(result if isinstance(result, LegError) else result[0])

        return self.gather(name, headers, answered, timeout=timeout)

    def gather(self, name: str, headers: Headers, done: Answered, *, timeout: float | None = None) -> str:
        """The same for an action that lists: ``done`` gets the response and the events that follow it."""
        if self._link is None or not self.is_connected:
            guarded(done, LegClosed(f"{self.peer}: {self.trouble or 'closed'}"))
            return ""
        return self._link.request(name, headers, timeout=timeout, on_done=done).action_id

    def close(self) -> None:
        """Idempotent, never raises."""
        self._is_closed = True
        greenlet, self._greenlet = self._greenlet, None
        if self._link is not None:
            self._link.close("we are closing")
        if greenlet is not None:
            greenlet.kill(block=False)
        self._has_tried.set()
        self.deadlines.close()
        self._subscriptions.clear()
        self._on_connected.clear()

    # The greenlet

    def _run(self) -> None:
        tries = 0
        while not self._is_closed:
            since, self._is_refused = time.monotonic(), False
            self._is_awaited.clear()
            try:
                self._connect()
                self._keep()
            except CommandRefused as error:
                self._is_refused = True
                self._say(f"the login as {self._user!r} is refused: {error.reply}; see manager.conf and the secret")
            except (OSError, UnicodeError, LegError) as error:  # UnicodeError: a host name that can be none
                self._say(str(error))
            finally:
                self._drop("the connection is given up")
            if time.monotonic() - since > self._last_retry:
                tries = 0  # it held: this is no server that lets us in and throws us out
            seconds = pause(tries, self._first_retry, self._last_retry)
            self._has_tried.set()
            if self._is_refused:
                gevent.sleep(self._refused_retry)
            else:
                gevent.sleep(min(SHORTEST_RETRY, seconds))
                self._is_awaited.wait(max(0.0, seconds - SHORTEST_RETRY))
            tries += 1

    def _connect(self) -> None:
        """A connection that is logged in. Raises OSError or LegError."""
        sock = socket.create_connection(self._address, timeout=self._timeout)
        sock.settimeout(None)
        link = self._link = AmiLink(
            sock, peer=self.peer, timeout=self._timeout, on_event=self._event, on_closed=self._closed
        )
        if not link.wait_banner(self._timeout):
            raise LegError(link.closed_because or f"no AMI banner within {self._timeout:g} s")
        secret = (("Username", self._user), ("Secret", self._secret), ("Events", "off"))
        link.request("Login", secret).get()
        self._choose_events(link)
        if link.closed_because is not None:
            raise LegClosed(link.closed_because)
        self.is_connected = True
        how = "" if self.is_filtered else "; Filter is not for this user: manager.conf's eventfilter decides what comes"
        log.info("%s: connected as %s (%s)%s", self.peer, self._user, link.banner, how)
        self.trouble = self._has_had_trouble = ""
        self._has_tried.set()
        for callback in self._on_connected:
            guarded(callback)

    def _keep(self) -> None:
        """Returns, or raises LegError, when the connection is lost."""
        link = self._link
        assert link is not None
        while not link.wait_closed(max(0.01, link.heard_at + self._ping_after - time.monotonic())):
            if time.monotonic() - link.heard_at >= self._ping_after:
                link.request("Ping").get()
        raise LegClosed(link.closed_because or "")

    def _choose_events(self, link: AmiLink) -> None:
        wanted = {(name, each.header, each.value) for name, those in self._subscriptions.items() for each in those}
        # Before 18.26, 20.13 and 22.3 MatchCriteria is ignored, and "[" is no regular expression: refused.
        has_criteria = _accepts(link, "[", "name(EslAgentProbe),method(exact)")
        self.is_filtered = all(_accepts(link, *_filter(*each, has_criteria)) for each in sorted(wanted))
        classes = {_CLASSES.get(name, "call") for name in self._subscriptions}
        link.request("Events", [("EventMask", ",".join(sorted(classes)) or "off")]).get()

    # On the hub

    def _event(self, message: Message) -> None:
        for each in self._subscriptions.get(message.event, ()):
            if not each.header or message.get(each.header) == each.value:
                guarded(each.callback, message)

    def _closed(self, reason: str) -> None:
        self.is_connected = False
        self.trouble = reason.removeprefix(f"{self.peer}: ")

    def _drop(self, reason: str) -> None:
        self.is_connected = False
        link, self._link = self._link, None
        if link is not None:
            trouble = self.trouble
            link.close(reason)
            self.trouble = trouble or reason

    def _say(self, trouble: str) -> None:
        """One line for a trouble, not one for every try."""
        self.trouble = trouble.removeprefix(f"{self.peer}: ")
        if self.trouble != self._has_had_trouble and not self._is_closed:
            self._has_had_trouble = self.trouble
            log.warning("%s: %s; it is tried again", self.peer, self.trouble)


def pause(tries: int, first: float, last: float) -> float:
    """Seconds until the next try after ``tries`` others: doubled each time, less up to a half by chance, so that many
    who lost the same Asterisk do not come back at once."""
    return min(first * 2.0 ** min(tries, 60), last) * random.uniform(0.5, 1.0)


def _filter(name: str, header: str, value: str, has_criteria: bool) -> tuple[str, str]:
    """Filter and MatchCriteria that let a subscription's events through."""
    if not has_criteria:  # one regular expression over the whole event
        return f"^Event: {name}[^A-Za-z]" + (f".*{header}: {value}" if header else ""), ""
    if not header:
        return "", f"name({name})"
    return value, f"name({name}),header({header}),method(exact)"


def _accepts(link: AmiLink, filter_: str, criteria: str) -> bool:
    headers = [("Operation", "Add"), ("Filter", filter_)]
    try:
        link.request("Filter", [*headers, ("MatchCriteria", criteria)] if criteria else headers).get()
    except CommandRefused:
        return False
    return True
