"""UDP ports for calls whose sound is unicast: one of ours and one of FreeSWITCH's for each.

FreeSWITCH binds its port without looking (``unicast`` answers +OK even if that fails), so ports are used in turn: one
that was given back comes again as late as possible.
"""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from gevent import get_hub, socket

from esl_agent.errors import LegError

log = logging.getLogger(__name__)

#: The largest datagram there is sense in: 120 ms at 48 kHz.
MAX_DATAGRAM_BYTES = 16384
_READ = 1


@dataclass(frozen=True, slots=True)
class Ranges:
    """Where ports are taken from: the first and the last of ours, and of FreeSWITCH's.

    ``listen``: our address; ``advertise``: the same as FreeSWITCH sees it; ``switch``: FreeSWITCH's address as we see
    it, which it binds too. IPv4 all three: FreeSWITCH's unicast knows nothing else.
    """

    listen: str
    advertise: str
    ours: tuple[int, int]
    theirs: tuple[int, int]


class Endpoint(Protocol):
    """Our end of one call's sound."""

    local: tuple[str, int]
    """Where FreeSWITCH is to send to."""
    switch: tuple[str, int]
    """Where FreeSWITCH is to listen, and to send from."""

    def send(self, data: bytes) -> None:
        """One datagram to FreeSWITCH. Never blocks, never raises."""

    def close(self) -> None:
        """Give both ports back. Idempotent."""


class UnicastPorts:
    """The pool. Lives on the hub."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._ours = deque(range(ranges.ours[0], ranges.ours[1] + 1))
        self._theirs = deque(range(ranges.theirs[0], ranges.theirs[1] + 1))
        self.taken = 0
        self.strangers = 0
        """Datagrams that came from elsewhere than the call's FreeSWITCH."""

    def take(self, switch: str, on_datagram: Callable[[bytes], None]) -> Endpoint:
        """A pair for one call with the FreeSWITCH at address ``switch``. Raises LegError when there is none.

        ``on_datagram`` is called on the hub with what FreeSWITCH sent; it must not block.
        """
        if not self._theirs:
            raise LegError(f"unicast: all {self.taken} of unicast.freeswitch_ports are in use; make the range larger")
        for _ in range(len(self._ours)):
            try:
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            except OSError as error:
                raise LegError(f"unicast: no socket: {error.strerror}") from None
            port = self._ours.popleft()
            try:
                sock.bind((self._ranges.listen, port))
            except OSError as error:
                sock.close()
                self._ours.append(port)
                if error.errno != errno.EADDRINUSE:
                    raise LegError(
                        f"unicast: cannot listen at {self._ranges.listen}:{port}: {error.strerror}"
                    ) from None
                continue
            self.taken += 1
            return _Pair(self, sock, (self._ranges.advertise, port), (switch, self._theirs.popleft()), on_datagram)
        raise LegError("unicast: every port of unicast.ports is in use; make the range larger")

    def give_back(self, ours: int, theirs: int) -> None:
        self._ours.append(ours)
        self._theirs.append(theirs)
        self.taken -= 1


class _Pair:
    """One Endpoint: read by a hub watcher, without a greenlet of its own."""

    def __init__(
        self,
        ports: UnicastPorts,
        sock: Any,
        local: tuple[str, int],
        switch: tuple[str, int],
        on_datagram: Callable[[bytes], None],
    ) -> None:
        self.local = local
        self.switch = switch
        self._ports = ports
        self._sock = sock
        self._raw = sock._sock
        self._raw.setblocking(False)
        self._on_datagram: Callable[[bytes], None] | None = on_datagram
        self._is_known = self._has_warned = False
        self._watcher = get_hub().loop.io(sock.fileno(), _READ)
        self._watcher.start(self._readable)

    def send(self, data: bytes) -> None:
        if self._on_datagram is None:
            return
        try:
            self._raw.sendto(data, self.switch)
        except OSError as error:  # a full buffer, no route: the frame is lost, as on any network
            log.debug("unicast: %s:%d: %s", *self.switch, error)

    def close(self) -> None:
        if self._on_datagram is None:
            return
        self._on_datagram = None
        self._watcher.stop()
        self._watcher.close()
        self._sock.close()
        self._ports.give_back(self.local[1], self.switch[1])

    def _readable(self) -> None:
        try:
            data, peer = self._raw.recvfrom(MAX_DATAGRAM_BYTES)
        except OSError:  # nothing there after all, or an ICMP error that says nothing of this call
            return
        if peer != self.switch:
            self._stranger(peer)
        elif self._on_datagram is not None:
            self._on_datagram(data)
            if not self._is_known:
                self._know()

    def _know(self) -> None:
        """From FreeSWITCH's first datagram on the kernel keeps strangers away: a flood of theirs costs nothing."""
        self._is_known = True
        if self._on_datagram is not None:
            with suppress(OSError):  # then they are told apart here, as before
                self._raw.connect(self.switch)

    def _stranger(self, peer: tuple[str, int]) -> None:
        self._ports.strangers += 1
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "unicast: dropped what came to port %d from %s:%d; only %s:%d is expected (unicast.freeswitch_host)",
                self.local[1],
                *peer,
                *self.switch,
            )
