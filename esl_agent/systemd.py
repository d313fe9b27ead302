"""What systemd is told of the service: that it is ready, that it stops, and again and again that it still runs.

With ``WatchdogSec=`` in the unit a service that stands still is killed and started anew, and its callers get to the
dialplan's fallback: nobody else notices that no frame leaves any more. Told as sd_notify(3) has it; nothing is told
where systemd does not ask.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

import gevent

log = logging.getLogger(__name__)


class Systemd:
    """``environment``: NOTIFY_SOCKET is where it listens, WATCHDOG_USEC how long it waits for a sign of life."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        patience = environment.get("WATCHDOG_USEC", "")
        is_for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._patience = int(patience) / 1e6 if patience.isdecimal() and is_for_us else 0.0
        self._socket: socket.socket | None = None
        self._watchdog: gevent.Greenlet | None = None

    def ready(self) -> None:
        """Calls can come."""
        if not self._address:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._tell("READY=1")
        if self._patience:
            self._watchdog = gevent.spawn(self._live)

    def stopping(self) -> None:
        """No more calls are taken; those that run may take a while."""
        self._tell("STOPPING=1")

    def close(self) -> None:
        """Idempotent."""
        if self._watchdog is not None:
            self._watchdog.kill(block=False)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _live(self) -> None:
        """On the hub, like every call: when it does not run, this does not either."""
        while True:
            self._tell("WATCHDOG=1")
            gevent.sleep(self._patience / 4)

    def _tell(self, what: str) -> None:
        if self._socket is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            self._socket.sendto(what.encode(), address)
        except OSError as error:
            log.warning("systemd is not told %s: %s", what, error)
