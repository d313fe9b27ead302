"""What of ours is left in Asterisk that nobody owns: after a lost connection, after a crash of ours.

Compared is what Asterisk has with what we know. Calls whose channels are gone have ended; bridges and channels with our
prefix that belong to no call are deleted; callers in our application whom no call has go on in the dialplan.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import gevent

from esl_agent.legs.ari import AriClient, Lane, ignored
from esl_agent.wire.ari import Channel, Request, bridge_ids, channels_of
from esl_agent.wire.ari_call import Names

if TYPE_CHECKING:
    from esl_agent.legs.ari_calls import AriCalls

log = logging.getLogger(__name__)

#: Seconds between looking and acting: who has just come is told by an event, not by the list.
GRACE = 1.0
#: Seconds until another look, where Asterisk did not say what it has.
AGAIN = 5.0


class Sweep:
    def __init__(self, client: AriClient, calls: AriCalls) -> None:
        self._client = client
        self._calls = calls
        self._prefix = Names.prefix(client.app)
        self._running: gevent.Greenlet | None = None
        self._is_wanted = False

    def soon(self) -> None:
        """Look, now or once more after the look that is under way."""
        self._is_wanted = True
        if self._running is None or self._running.dead:
            self._running = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._running is not None:
            self._running.kill(block=False)

    def _run(self) -> None:
        while self._is_wanted and self._client.is_connected:
            self._is_wanted = False
            if not self._look():
                gevent.sleep(AGAIN)
                self._is_wanted = True

    def _look(self) -> bool:
        """Whether Asterisk said what it has."""
        calls = list(self._calls.calls.values())
        outgoing = [each for each in self._calls.outgoing.values() if each.is_dialled]
        owned = self._owned()
        channels, bridges = (self._client.send(Request("GET", (each,))) for each in ("channels", "bridges"))
        if not (channels.is_ok and bridges.is_ok):
            log.warning("ari: cannot see what is left: %s", channels if not channels.is_ok else bridges)
            return False
        found = {each.id: each for each in channels_of(channels.value)}
        for call in calls:
            if call.steps.caller not in found:
                call.caller_ended()
            elif (media := found.get(call.steps.names.media)) is None:
                if call.settled.is_set():
                    call.media_ended()
            elif media.is_in(self._client.app):
                call.media_began()
        for channel in [each for each in self._calls.handed_over if each not in found]:
            self._calls.handed_over.pop(channel).destroyed(0)
        for each in outgoing:
            if (callee := found.get(each.id)) is None:
                each.missed()
            elif callee.is_in(self._client.app):
                each.was_answered(callee)
        gevent.sleep(GRACE)
        self._free(owned | self._owned(), list(found.values()), bridge_ids(bridges.value))
        return True

    def _owned(self) -> set[str]:
        """Ids of bridges and channels that a call frees itself."""
        owned = set(self._calls.outgoing)
        for call in self._calls.calls.values():
            owned |= {call.steps.caller, call.steps.names.bridge, call.steps.names.media}
        return owned

    def _free(self, owned: set[str], channels: list[Channel], bridges: list[str]) -> None:
        lane = Lane()
        for channel in channels:
            if channel.id in owned:
                continue
            if self._was_called(channel) and channel.is_up and not channel.is_in(self._client.app):
                continue  # for a caller, and talks with him: nobody parts them
            if channel.id.startswith(self._prefix):
                self._delete(lane, "channels", channel.id)
            elif channel.is_in(self._client.app):
                log.warning("ari: a caller whom nobody talks with goes on in the dialplan")
                self._calls.send_on(channel.id)
        for bridge in bridges:
            if bridge.startswith(self._prefix) and bridge not in owned:
                self._delete(lane, "bridges", bridge)

    def _was_called(self, channel: Channel) -> bool:
        return channel.id.startswith(Names.callees(self._client.app))

    def _delete(self, lane: Lane, kind: str, name: str) -> None:
        log.warning("ari: %s %s belong to no call and are deleted", kind, name)
        self._client.ask(lane, Request("DELETE", (kind, name), is_owed=True), ignored)
