"""A connection to ARI: requests by a few greenlets of its own, events by another, reconnection.

``ask`` never waits. Requests of one lane (one call) are sent one after the other; lanes beside each other, WORKERS at a
time. Everything is told on the hub: ``done`` and the listener must not block.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol
from urllib.parse import SplitResult, quote, urlsplit

import gevent
import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from esl_agent.errors import ConfigError, LegError, UnsafeText, WireError
from esl_agent.legs.ami import pause
from esl_agent.legs.ari_socket import PING_SECONDS, Unauthorized, basic, read_events, trusting
from esl_agent.wire.ari import HEARD, AriEvent, Reply, Request, event_of, message_of, one_line
from esl_agent.wire.outside_json import loads

log = logging.getLogger(__name__)

#: Requests under way at a time. Asterisk serves each connection with a thread.
WORKERS = 16
#: Requests that wait in one lane; one more is refused, unless it frees something.
MAX_WAITING = 64
#: Bytes of an answer: ``GET /channels`` has 600 for each channel.
MAX_ANSWER = 8 * 1024 * 1024
#: Seconds after which what is owed is tried again.
AGAIN = (0.2, 1.0, 3.0)
#: Seconds before it is connected again: the first, and the longest. A connection that held for less than that was none:
#: an Asterisk that lets us in and throws us out is not asked four times a second.
BACK_OFF = (0.25, 5.0)
#: ... where Asterisk does not know the user or the password. It fills its log with each try, and fail2ban reads that.
REFUSED_SECONDS = 60.0
#: One whose application somebody else has taken does not take it back at once: both would for ever.
REPLACED_SECONDS = 60.0

_FAULTS = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, UnicodeError)

Done = Callable[[Reply], None]


class Listener(Protocol):
    """Who wants the events. Called on the hub: must not block."""

    def connected(self) -> None:
        """Events come from now on. What happened before, nobody tells."""

    def lost(self, reason: str) -> None: ...

    def event(self, event: AriEvent) -> None: ...


@dataclass(slots=True)
class _Job:
    request: Request
    done: Done
    since: float


class Lane:
    """Requests that are sent one after the other."""

    def __init__(self) -> None:
        self.waiting: deque[_Job] = deque()
        self.is_served = False


class AriClient:
    """One Asterisk. ``url``: ``http://127.0.0.1:8088``, with the prefix of http.conf where it has one; ``timeout``:
    seconds that it has for an answer."""

    def __init__(
        self,
        url: str,
        app: str,
        user: str,
        password: str,
        *,
        timeout: float,
        ca_file: str = "",
        ping: float = PING_SECONDS,
    ) -> None:
        """``ca_file``: whom to trust in place of the machine's authorities, for https. Raises ConfigError where it
        cannot be read, or ``url`` names no place."""
        parts = _place(url)
        self.app = app
        self.where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        """Asterisk, as it may stand in a log."""
        self.is_connected = False
        self.timeout = timeout
        self._ping = ping
        self._base = f"{self.where}{parts.path.rstrip('/')}/ari"
        self._authorization = basic(user, password)
        self._tls = trusting(ca_file) if parts.scheme == "https" else None
        self._session = _session(self._authorization, self._tls)
        self._listener: Listener | None = None
        self._reader: gevent.Greenlet | None = None
        self._ready: deque[Lane] = deque()
        self._workers: set[gevent.Greenlet] = set()
        self._is_stopped = False
        self._is_away = False
        self._was_replaced = False
        self._trouble = ""  # that was told

    def start(self, listener: Listener) -> None:
        """Connect, and again whenever the connection is lost. Call once."""
        self._listener = listener
        self._reader = gevent.spawn(self._stay_connected)

    def stop(self, seconds: float = 2.0) -> None:
        """Send what waits, for at most ``seconds``, then let go. Idempotent."""
        self._is_stopped = True
        gevent.joinall(list(self._workers), timeout=seconds)
        gevent.killall([each for each in (*self._workers, self._reader) if each is not None], timeout=1.0)
        self._session.close()
        self._listener = None

    # Requests

    def ask(self, lane: Lane, request: Request, done: Done) -> None:
        """Send ``request`` when those before it in ``lane`` are answered; ``done`` is called once."""
        if len(lane.waiting) >= MAX_WAITING and not request.is_owed:
            done(Reply(0, f"{MAX_WAITING} requests to {self.where} wait already"))
            return
        lane.waiting.append(_Job(request, done, time.monotonic()))
        if not lane.is_served:
            lane.is_served = True
            self._ready.append(lane)
            if len(self._workers) < WORKERS:
                worker = gevent.spawn(self._work)
                self._workers.add(worker)
                worker.rawlink(self._workers.discard)

    def _work(self) -> None:
        while self._ready:
            lane = self._ready.popleft()
            job = lane.waiting.popleft()
            try:
                reply = self._reply(job)
                job.done(reply)
            except Exception:  # of whoever asked; the requests of other calls go on
                log.exception("ari: the answer to %s could not be used", job.request)
            if lane.waiting:
                self._ready.append(lane)
            else:
                lane.is_served = False

    def _reply(self, job: _Job) -> Reply:
        """What is not owed is not sent late; what is owed is sent again. An Asterisk that is away is not asked: what it
        owes is found at the next connection, and no call of then waits behind those of now."""
        if self._is_away:
            return Reply(0, "Asterisk is away")
        if not job.request.is_owed:
            if time.monotonic() - job.since > self.timeout:
                return Reply(0, f"not sent within {self.timeout:g} s")
            return self._noting(self.send(job.request))
        reply = self._noting(self.send(job.request))
        for seconds in AGAIN:
            if 0 < reply.status < 500 or self._is_stopped or self._is_away:
                break
            gevent.sleep(seconds)
            reply = self._noting(self.send(job.request))
        if not (reply.is_ok or reply.is_gone):
            log.warning("ari: %s: %s", job.request, reply)
        return reply

    def _noting(self, reply: Reply) -> Reply:
        """Away is who sends neither events nor answers."""
        self._is_away = reply.status == 0 and not self.is_connected
        return reply

    def send(self, request: Request) -> Reply:
        """Ask and wait for the answer; not for a call's greenlet. Raises nothing."""
        try:
            url = self._base + request.target
        except UnsafeText as error:
            return Reply(0, str(error))
        try:
            with gevent.Timeout(self.timeout, TimeoutError()):
                return self._exchange(request, url)
        except TimeoutError:
            return Reply(0, f"no answer within {self.timeout:g} s")
        except _FAULTS as error:
            return Reply(0, one_line(_plainly(error)))

    def _exchange(self, request: Request, url: str) -> Reply:
        with self._session.request(
            request.method, url, json=request.body, timeout=self.timeout, stream=True, allow_redirects=False
        ) as answer:
            data = bytearray()
            for piece in answer.iter_content(65536):
                data += piece
                if len(data) > MAX_ANSWER:
                    return Reply(0, f"an answer of more than {MAX_ANSWER} bytes")
        is_done = 200 <= answer.status_code < 300
        try:
            value = loads(bytes(data)) if data else None
        except ValueError:
            if is_done:
                return Reply(0, "an answer that is no JSON")
            value = None  # a page of the HTTP server itself, as where there is no /ari
        if is_done:
            return Reply(answer.status_code, "", value)
        return Reply(answer.status_code, message_of(value, str(answer.reason)), value)

    # Events

    def _stay_connected(self) -> None:
        tries = 0
        while not self._is_stopped:
            reason, is_refused, since = "closed", False, time.monotonic()
            try:
                read_events(
                    f"{self._base}/events?app={quote(self.app, safe='')}",
                    self._authorization,
                    self._opened,
                    self._received,
                    tls=self._tls,
                    timeout=self.timeout,
                    ping=self._ping,
                )
            except LegError as error:
                reason, is_refused = one_line(str(error)), isinstance(error, Unauthorized)
            if self.is_connected and time.monotonic() - since > BACK_OFF[1]:
                tries = 0
            self._lost(reason, is_refused)
            longer = REFUSED_SECONDS if is_refused else REPLACED_SECONDS if self._was_replaced else 0.0
            self._was_replaced = False
            gevent.sleep(longer or pause(tries, *BACK_OFF))
            tries += 1

    def _opened(self) -> None:
        self.is_connected, self._is_away = True, False
        log.info("ari: application %s is connected to %s", self.app, self.where)
        allowed = {"allowed": [{"type": kind} for kind in HEARD]}
        # An Asterisk that knows no filters sends more, which is passed over here.
        self.ask(Lane(), Request("PUT", ("applications", self.app, "eventFilter"), body=allowed), ignored)
        if self._listener is not None:
            self._listener.connected()

    def _received(self, message: str) -> None:
        try:
            event = event_of(message)
        except WireError as error:
            log.warning("ari: %s: %s", self.where, error)
            return
        if event is None or self._listener is None:
            return
        if event.kind == "ApplicationReplaced":
            log.error("ari: somebody else has taken application %s at %s; give each its own name", self.app, self.where)
            self._was_replaced = True
            return
        try:
            self._listener.event(event)
        except Exception:  # of one call; the events of others go on
            log.exception("ari: a %s could not be used", event.kind)

    def _lost(self, reason: str, is_refused: bool) -> None:
        """One line for a trouble, not one for every try."""
        was_connected, self.is_connected = self.is_connected, False
        if was_connected or reason != self._trouble:
            self._trouble = reason
            level = logging.ERROR if is_refused else logging.WARNING
            log.log(level, "ari: %s: %s; it is tried again", self.where, reason)
        if was_connected and self._listener is not None:
            self._listener.lost(reason)


def _place(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0:
            return parts
    except ValueError:  # a port above 65535, an address in brackets that is none
        pass
    raise ConfigError([f"asterisk: ari: url: {url[:200]!r} is no address of a server; expected http://127.0.0.1:8088"])


class _Trusting(HTTPAdapter):
    """TLS with a context that was made once: reading the authorities takes 15 ms, in which every call would wait."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        super().__init__(pool_maxsize=WORKERS)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._tls, **options)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context has the authorities."""
        conn.cert_reqs = "CERT_REQUIRED"


def _session(authorization: str, tls: ssl.SSLContext | None) -> requests.Session:
    made = requests.Session()
    made.trust_env = False  # no proxy, no ~/.netrc: Asterisk is near, and its password is given
    made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    made.headers.update({"User-Agent": "esl-agent", "Accept-Encoding": "identity", "Authorization": authorization})
    made.mount("http://", HTTPAdapter(pool_maxsize=WORKERS))
    if tls is not None:
        made.mount("https://", _Trusting(tls))
    return made


def _plainly(error: BaseException) -> str:
    """What went wrong at the bottom of it: the texts above hold the address with its query."""
    while True:
        within = [getattr(error, "reason", None), *error.args, error.__cause__]
        inner = next((each for each in within if isinstance(each, BaseException)), None)
        if inner is None:
            return str(getattr(error, "strerror", None) or type(error).__name__)
        error = inner


def ignored(_: Reply) -> None:
    """For those who ask and want no answer."""
