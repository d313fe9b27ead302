"""The Stasis application: callers that the dialplan gives to it, and calls that we make, over ARI.

    calls = AriCalls(AriClient(...), media=audiosocket_media("10.0.0.5:9092", "slin24"), transfer_context="ai-transfer")
    calls.start()

A line that comes to one of our servers is asked for with ``find``; the caller is answered when it was.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import gevent

from esl_agent.errors import LegClosed
from esl_agent.legs.ari import AriClient, Lane, ignored
from esl_agent.legs.ari_call import DID_VARIABLE, SETUP_SECONDS, AriCall
from esl_agent.legs.ari_callee import AriBeside
from esl_agent.legs.ari_outbound import Outgoing
from esl_agent.legs.ari_sweep import Sweep
from esl_agent.legs.asterisk import Caller, Control
from esl_agent.legs.outbound import CallOut, OnNews
from esl_agent.wire.ari import AriEvent, Channel, Request, did_and_variables
from esl_agent.wire.ari_call import Names, StasisCall

log = logging.getLogger(__name__)

#: The variable of the sound's channel that holds the call's id (MEDIA_START has it among ``channel_variables``).
CALL_VARIABLE = "ESL_AGENT_CALL"
#: Calls that may be set up at one time. It takes 12 ms each (22.10.1 on two cores, 40 a second).
MAX_STARTING = 200
#: Seconds that callers have at our stop to be sent on.
STOP_SECONDS = 2.0
#: Names of lines that are remembered beyond their calls: two for each, and they come within seconds or never.
MAX_ENDED = 300
_ENDED = "the call has ended before its line was taken"


class AriCalls:
    """Implements ``legs.asterisk.Directory`` and ``legs.ari.Listener``.

    ``media``: ``audiosocket`` or ``websocket``; ``media_address``: host:port of our AudioSocket server as Asterisk
    reaches it; ``websocket_client``: the section of websocket_client.conf that leads to our WebSocket server.
    ``variables``: those of a caller's channel that calls want to know, beside ari.conf's ``channelvars`` and the
    ``NAME=value`` arguments of Stasis. ``admit``: whether one more call may come; who may not goes on in the dialplan.
    """

    def __init__(
        self,
        client: AriClient,
        *,
        media: Literal["audiosocket", "websocket"],
        media_address: str,
        websocket_client: str,
        format: str,
        transfer_context: str,
        variables: Callable[[], tuple[str, ...]] = tuple,
        admit: Callable[[], bool] = lambda: True,
        briefing_context: str = "ai-briefing",
        caller_id: str = "",
    ) -> None:
        """``briefing_context``: the dialplan's for those who are called for callers; ``caller_id``: the number shown to
        them, empty: the caller's own."""
        self._client = client
        self._beside = AriBeside(self, client, briefing_context, caller_id)
        self._audiosocket = {"format": format, **_media("audiosocket", media_address, "")}
        self._media: Mapping[str, str] = {"format": format, **_media(media, media_address, websocket_client)}
        self._is_websocket = media == "websocket"
        self._context = transfer_context
        self._variables = variables
        self._admit = admit
        self._is_open = True
        self.calls: dict[str, AriCall] = {}
        """By id."""
        self.outgoing: dict[str, Outgoing] = {}
        """Calls that we make and nobody has answered yet, by their channel's id."""
        self.handed_over: dict[str, AriCall] = {}
        """Calls that have left us, whose callers talk with somebody else: by the caller's channel."""
        self._by_channel: dict[str, AriCall] = {}
        self._lines: dict[str, AriCall] = {}  # whose line has not come yet: by UUID and by the channel's id
        self._ended: deque[str] = deque(maxlen=MAX_ENDED)  # lines that nobody asked for before their call ended
        self._prefix = Names.prefix(client.app)
        self._sweep = Sweep(client, self)

    def start(self) -> None:
        self._client.start(self)

    def turn_away(self) -> None:
        """From now on callers go on in the dialplan."""
        self._is_open = False

    def stop(self) -> None:
        """Send callers on in the dialplan, end what rings, and let go of Asterisk."""
        self.turn_away()
        for outgoing in list(self.outgoing.values()):
            outgoing.cancel()
        for call in list(self.calls.values()):
            call.give_up("the agent stops")
        deadline = time.monotonic() + STOP_SECONDS
        while self.calls and time.monotonic() < deadline:
            gevent.sleep(0.01)
        self._sweep.stop()
        self._client.stop(0.5)

    # Directory

    def find(self, line: str, patience: float) -> tuple[Caller, Control] | None:
        """``line``: the UUID that AudioSocket brings, of chan_websocket the channel's id. Both are of our choice: no
        news of it need be waited for, but the caller is, for as long as a call's setup may last. Each call's line is
        found once. Raises LegClosed for the line of a call that has ended meanwhile."""
        if line in self._ended:
            raise LegClosed(_ENDED)
        if (call := self._lines.get(line)) is None:
            return None
        self._forget_line(call)
        call.line_came()
        call.settled.wait(max(patience, SETUP_SECONDS))
        if call.steps.has_left:
            raise LegClosed(_ENDED)
        return call.caller, call

    def line_came(self, line: str) -> None:
        """Our server has the line of that UUID, and takes it: its call may be answered, so that sound comes."""
        if (call := self._lines.get(line)) is not None:
            call.line_came()

    # Calls we make

    def originate(self, call: CallOut, on_news: OnNews) -> Outgoing:
        """The variables are the call's too. Raises LegError for what cannot be dialled."""
        names = Names(self._client.app, str(uuid.uuid4()))  # from the kernel's random numbers: no stranger guesses it
        callee = Caller(names.callee, call.did, call.number, "", dict(call.variables))
        outgoing = Outgoing(self._client, names, on_news, partial(self._answered, names, callee), self._outgoing_over)
        outgoing.dial(call)
        self.outgoing[outgoing.id] = outgoing
        return outgoing

    def ring(
        self,
        endpoint: str,
        line: str,
        on_news: OnNews,
        answered: Callable[[AriCall, Channel], None],
        *,
        caller_id: str,
        timeout: float,
    ) -> Outgoing:
        """Call ``endpoint`` for a caller. Who answers gets a line of the AudioSocket server, whose UUID is ``line``;
        ``answered`` is told of them before ``on_news`` is. Raises LegError for what cannot be dialled."""
        names = Names(self._client.app, line)

        def came(channel: Channel) -> None:
            callee = Caller(names.callee)
            answered(self._take(names, callee, channel, (), is_ours=True, is_briefing=True), channel)

        outgoing = Outgoing(self._client, names, on_news, came, self._outgoing_over)
        outgoing.call(endpoint, caller_id=caller_id, timeout=timeout, variables={})
        self.outgoing[outgoing.id] = outgoing
        return outgoing

    def _answered(self, names: Names, callee: Caller, channel: Channel) -> None:
        self._take(names, callee, channel, (), is_ours=True)

    def _outgoing_over(self, outgoing: Outgoing) -> None:
        self.outgoing.pop(outgoing.id, None)

    # Listener

    def connected(self) -> None:
        self._sweep.soon()

    def lost(self, reason: str) -> None:
        if self.calls:
            log.warning("ari: calls that go on without news of their callers: %d", len(self.calls))

    def event(self, event: AriEvent) -> None:
        channel = event.channel
        if (outgoing := self.outgoing.get(channel.id)) is not None:
            outgoing.event(event)
            return
        call = self._by_channel.get(channel.id)
        is_media = call is not None and channel.id == call.steps.names.media
        if event.kind == "StasisStart":
            if call is not None and is_media:
                call.media_began()
            else:
                self._came(event, call)
        elif call is None:
            if event.kind == "ChannelDestroyed" and (left := self.handed_over.pop(channel.id, None)) is not None:
                left.destroyed(event.cause)
        elif event.kind == "ChannelDestroyed" and not is_media and call.is_handed_over:
            call.destroyed(event.cause)  # and what we had of it is still being freed
        elif event.kind in ("StasisEnd", "ChannelDestroyed"):
            if is_media:
                call.media_ended()
            else:
                call.caller_ended(event.cause)
        elif event.kind == "ChannelHangupRequest" and not is_media:
            call.will_hang_up(event.cause)

    def _came(self, event: AriEvent, earlier: AriCall | None) -> None:
        channel = event.channel
        if channel.id.startswith(self._prefix):
            if earlier is None:  # of a call that has ended; else the sweep has seen the answer first
                self._client.ask(Lane(), Request("DELETE", ("channels", channel.id), is_owed=True), ignored)
            return
        if earlier is not None:  # the dialplan gives him to us again
            earlier.caller_ended()
        if not (self._is_open and self._admit() and self._starting < MAX_STARTING):
            log.warning("ari: a caller goes on in the dialplan: no call is taken now")
            self.send_on(channel.id)
            return
        did, given = did_and_variables(event.args)
        variables = {**channel.variables, **given}
        did = did or variables.get(DID_VARIABLE, "")
        wanted = tuple(each for each in self._variables() if each not in variables)
        if not did and DID_VARIABLE not in wanted:
            wanted = (*wanted, DID_VARIABLE)
        caller = Caller(channel.id, did or channel.exten, channel.number, channel.caller_name, variables)
        self._take(Names(self._client.app, str(uuid.uuid4())), caller, channel, wanted)

    def _take(
        self,
        names: Names,
        caller: Caller,
        channel: Channel,
        wanted: tuple[str, ...],
        *,
        is_ours: bool = False,
        is_briefing: bool = False,
    ) -> AriCall:
        media = self._media
        if is_briefing or not self._is_websocket:
            media = {**(self._audiosocket if is_briefing else media), "data": names.call}
        steps = StasisCall(
            names, channel.id, is_up=channel.is_up, is_ours=is_ours, media=media, variables={CALL_VARIABLE: names.call}
        )
        call = AriCall(self._client, steps, caller, self._context, self._over, self._beside)
        self.calls[call.id] = call
        self._by_channel[channel.id] = self._by_channel[names.media] = call
        self._lines[names.call] = self._lines[names.media] = call
        call.begin(wanted)
        return call

    @property
    def _starting(self) -> int:
        """Calls that are being set up."""
        return sum(not each.settled.is_set() for each in self.calls.values())

    def send_on(self, channel: str) -> None:
        """A caller who is nobody's goes on in the dialplan."""
        self._client.ask(Lane(), Request("POST", ("channels", channel, "continue"), is_owed=True), ignored)

    # Lines and ends

    def _forget_line(self, call: AriCall) -> list[str]:
        """The names that it had."""
        names = [each for each, found in self._lines.items() if found is call]
        for name in names:
            del self._lines[name]
        return names

    def _over(self, call: AriCall) -> None:
        self.calls.pop(call.id, None)
        self._ended.extend(self._forget_line(call))
        for channel in (call.steps.caller, call.steps.names.media):
            if self._by_channel.get(channel) is call:
                del self._by_channel[channel]
        if call.is_handed_over and call.is_watched:
            self.handed_over[call.steps.caller] = call
        if call.steps.has_litter:
            self._sweep.soon()


def _media(media: str, address: str, websocket_client: str) -> dict[str, str]:
    """What externalMedia needs (``res_ari_channels.c``, 22.10.1)."""
    if media == "websocket":
        return {
            "external_host": websocket_client,
            "encapsulation": "none",
            "transport": "websocket",
            "transport_data": "f(json)",
        }
    return {"external_host": address, "encapsulation": "audiosocket", "transport": "tcp"}
