"""The older bridge contract: one port, no token, the call's UUID as text.

The dialplan starts the fork towards ``ws://host:8765``; then somebody says which call that sound belongs to, as a
text of the bare UUID or of JSON with ``uuid`` or ``call_uuid``: on the same WebSocket, or a helper script on one of its
own. A UUID from elsewhere is believed only while exactly one connection's sound is without a call: with two it would be
a guess, and a caller would hear another caller's answer. There is no secret, so it listens on loopback only.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from gevent import get_hub

from esl_agent.errors import LegError
from esl_agent.legs.audio_server import AudioServer, Connection, Listener

log = logging.getLogger(__name__)

#: A connection that no call claims is closed after this long.
UNCLAIMED_SECONDS = 15.0
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(slots=True)
class _Guest:
    """One connection: unclaimed until a UUID names its call."""

    connection: Connection | None = None
    owner: Listener | None = None
    has_sound: bool = False
    timer: Any = field(default=None)


class S1Listener(AudioServer):
    """Takes every WebSocket; ``expect_call`` says which calls wait for theirs."""

    def __init__(
        self, address: tuple[str, int], rate: int, max_message_bytes: int, max_seconds_per_second: float
    ) -> None:
        if not ip_address(address[0]).is_loopback:
            raise LegError(f"the S1 listener asks for no token: expected a loopback address, got {address[0]}")
        super().__init__(address, max_message_bytes, max_seconds_per_second)
        self._rate = rate
        self._waiting: dict[str, Listener] = {}
        self._guests: list[_Guest] = []

    def start(self) -> None:
        super().start()
        log.info("[WS] Audio handler listening on ws://%s:%d", *self.address)
        log.info("[WS] Ready for FreeSWITCH connections")

    def expect_call(self, uuid: str, listener: Listener) -> None:
        """``listener`` wants the sound of the call ``uuid``."""
        self._waiting[uuid.lower()] = listener

    def forget_call(self, uuid: str) -> None:
        """The call does not wait any more. Idempotent."""
        self._waiting.pop(uuid.lower(), None)

    def admit(self, path: str) -> Listener | None:
        """Everybody, for now: the text decides."""
        guest = _Guest()
        return Listener(
            self._rate,
            on_open=lambda connection: self._opened(guest, connection),
            on_frame=lambda frame: self._frame(guest, frame),
            on_text=lambda text: self._text(guest, text),
            on_closed=lambda connection, reason: self._closed(guest, connection, reason),
        )

    def _opened(self, guest: _Guest, connection: Connection) -> None:
        guest.connection = connection
        self._guests.append(guest)
        guest.timer = get_hub().loop.timer(UNCLAIMED_SECONDS)
        guest.timer.start(lambda: connection.close("no call claimed this sound", 1008))

    def _frame(self, guest: _Guest, frame: bytes) -> None:
        guest.has_sound = True
        if guest.owner is not None:
            guest.owner.on_frame(frame)

    def _text(self, guest: _Guest, text: str) -> None:
        uuid = uuid_in(text)
        if uuid is None:
            if guest.owner is not None:
                guest.owner.on_text(text)
            return
        if uuid not in self._waiting:
            log.warning("audio from %s: no call %s waits for its sound", _peer(guest), uuid)
            return
        meant = guest if guest.has_sound else self._the_only_other(guest)
        if meant is not None and meant.owner is None:
            self._claim(meant, self._waiting.pop(uuid))

    def _the_only_other(self, helper: _Guest) -> _Guest | None:
        """The one connection that a helper's UUID can mean; the helper's own if there is no other."""
        others = [guest for guest in self._guests if guest is not helper and guest.owner is None and guest.has_sound]
        if len(others) > 1:
            log.warning("a UUID on a connection of its own, and %d calls it could mean; ignored", len(others))
            return None
        return others[0] if others else helper

    def _claim(self, guest: _Guest, owner: Listener) -> None:
        guest.owner = owner
        _stop_timer(guest)
        assert guest.connection is not None
        owner.on_open(guest.connection)

    def _closed(self, guest: _Guest, connection: Connection, reason: str) -> None:
        _stop_timer(guest)
        if guest in self._guests:
            self._guests.remove(guest)
        if guest.owner is not None:
            guest.owner.on_closed(connection, reason)


def uuid_in(text: str) -> str | None:
    """The UUID in a text message, in lower case: bare, or JSON with ``uuid`` or ``call_uuid``. Else None."""
    candidate: Any = text.strip()
    if candidate.startswith("{"):
        try:
            said = json.loads(candidate)
        except (ValueError, RecursionError):  # the latter: thousands of open brackets
            return None
        candidate = said.get("uuid") or said.get("call_uuid")
    return candidate.lower() if isinstance(candidate, str) and _UUID.fullmatch(candidate) else None


def _stop_timer(guest: _Guest) -> None:
    if guest.timer is not None:
        guest.timer.stop()
        guest.timer.close()
        guest.timer = None


def _peer(guest: _Guest) -> str:
    return guest.connection.peer if guest.connection is not None else "nobody"
