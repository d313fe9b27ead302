"""The door for Asterisk: lines with sound come to our servers, AMI or ARI say whose they are.

Dial(AudioSocket/...)  -> AudioSocketServer    -> line -> who calls? (AMI)                    -> Reception
                                                 but a line with a callee of a warm transfer  -> Briefings
Dial(WebSocket/...)    -> MediaWebSocketServer -> line -> who calls? (its own variables, AMI) -> Reception
Stasis(esl_agent)      -> AriCalls makes one of these two lines for the caller                -> Reception
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from gevent.event import Event as Flag

from esl_agent.config import DidConfig
from esl_agent.config.asterisk import AsteriskSettings
from esl_agent.dialogue.template import variables
from esl_agent.errors import LegClosed, LegError
from esl_agent.legs.ami import AmiClient
from esl_agent.legs.ami_callee import AmiBeside
from esl_agent.legs.ami_calls import AmiCalls
from esl_agent.legs.ami_originate import AmiDialler, AmiOutgoing
from esl_agent.legs.ari import AriClient
from esl_agent.legs.ari_calls import AriCalls
from esl_agent.legs.ari_outbound import Outgoing
from esl_agent.legs.asterisk import AsteriskLeg, Caller, Control, Line, NoControl
from esl_agent.legs.asterisk_transfer import WarmTransfer
from esl_agent.legs.audiosocket_line import AudioSocketLine
from esl_agent.legs.audiosocket_media import AudioSocketMedia
from esl_agent.legs.audiosocket_server import AudioSocketServer
from esl_agent.legs.base import MediaStream, Post
from esl_agent.legs.briefings import Briefings
from esl_agent.legs.late_control import LateControl
from esl_agent.legs.media_websocket import MediaWebSocketMedia
from esl_agent.legs.media_websocket_line import MediaWebSocketLine
from esl_agent.legs.media_websocket_server import MediaWebSocketServer
from esl_agent.legs.outbound import CallOut, OnNews
from esl_agent.legs.playout_clock import PlayoutClock
from esl_agent.legs.ring_back import RingBack
from esl_agent.mailbox import Mailbox
from esl_agent.reception import Reception
from esl_agent.secret import required

log = logging.getLogger(__name__)

#: A refused call has this long to end.
REFUSAL_SECONDS = 2.0
#: Asterisk has told who calls by the time its line's first sound is given up; its answer takes milliseconds.
LEAST_PATIENCE = 0.1


class _Line(Line, Protocol):
    """What both kinds of line have beside that."""

    on_digit: Callable[[str], None] | None
    on_end: Callable[[], None] | None


class AsteriskArrival:
    """A call on its line; a reception.Arrival."""

    def __init__(
        self,
        line: _Line,
        caller: Caller,
        control: Control,
        make: Callable[[Post], MediaStream],
        briefings: Briefings,
    ) -> None:
        self.mailbox = Mailbox()
        self.leg = AsteriskLeg(line, caller, control, self.mailbox.post)
        self._ring = RingBack(self.mailbox.post)
        self._warm = WarmTransfer(line.id, control, briefings, self._ring)
        self.leg.warm = self._warm
        self._make = make
        self._is_over = Flag()
        line.on_digit = self.leg.digit
        line.on_end = self._ended

    def media(self, did: DidConfig) -> MediaStream:
        self._warm.tone = did.cascade.transfer.ringback
        media = self._ring.media = self._make(self._ring.post)
        return media

    def refuse(self, cause: str) -> None:
        self.leg.hang_up(cause)
        self._is_over.wait(REFUSAL_SECONDS)
        self.leg.close()

    def _ended(self) -> None:
        self._is_over.set()
        self.leg.ended()


class AsteriskDoor:
    """Made from the settings; ``start`` opens it. Raises ConfigError for a secret that is missing."""

    def __init__(self, settings: AsteriskSettings, reception: Reception) -> None:
        self._settings = settings
        self._reception = reception
        self._ticker = PlayoutClock()
        socket, media = settings.audiosocket, settings.websocket
        self.audiosocket = AudioSocketServer(
            socket.host,
            socket.port,
            self._came_by_audiosocket,
            allow=socket.allow,
            max_lines=settings.max_calls,
            on_named=self._line_named,
        )
        self._briefings = Briefings(self._ticker, self.audiosocket)
        self.websocket: MediaWebSocketServer | None = None
        if address := settings.websocket_address:
            self.websocket = MediaWebSocketServer(
                *address, self._came_by_websocket, allow=media.allow, max_lines=settings.max_calls
            )
        self.ami = ami_client(settings)
        self._dialler = AmiDialler(self.ami) if self.ami is not None else None
        self.ami_calls = self._callers(self.ami, self._dialler) if self.ami and self._dialler else None
        self.ari = _ari(settings)
        self.ari_calls = self._stasis(self.ari) if self.ari is not None else None

    def start(self) -> None:
        """Raises LegError if a port is taken. AMI and ARI are connected to meanwhile, and again when they are lost."""
        self.audiosocket.start()
        if self.websocket is not None:
            self.websocket.start()
        if self.ami is not None:
            self.ami.start()
        if self.ari_calls is not None:
            self.ari_calls.start()

    def turn_away(self) -> None:
        """The ports are closed: the dialplan goes on with CHANUNAVAIL."""
        if self.ari_calls is not None:
            self.ari_calls.turn_away()
        self.audiosocket.turn_away()
        if self.websocket is not None:
            self.websocket.turn_away()

    def wait_idle(self, seconds: float) -> None:
        """A line whose caller is still being asked for is no call yet, and will be one."""
        until = time.monotonic() + seconds
        self.turn_away()
        self.audiosocket.wait_empty(seconds)
        if self.websocket is not None:
            self.websocket.wait_empty(max(0.0, until - time.monotonic()))
        self._reception.wait_idle(max(0.0, until - time.monotonic()))

    @property
    def line_count(self) -> int:
        """Calls that have a line."""
        return self.audiosocket.line_count + (self.websocket.line_count if self.websocket is not None else 0)

    def stop(self) -> None:
        self.turn_away()

    def clean_up(self) -> None:
        if self.ari_calls is not None:
            self.ari_calls.stop()
        self.audiosocket.stop()
        if self.websocket is not None:
            self.websocket.stop()
        if self.ami is not None:
            self.ami.close()
        self._briefings.close()

    # A call that we make

    def originate(self, number: str, did: str, on_news: OnNews) -> Outgoing | AmiOutgoing:
        """Call ``number``; whoever answers talks with the agent of ``did``. Nothing that costs money begins before the
        answer. Raises LegError."""
        out = self._settings.outbound
        call = CallOut(number, did, out.trunk, out.caller_id, out.timeout)
        if self.ari_calls is not None:
            return self.ari_calls.originate(call, on_news)
        if self._dialler is not None:
            return self._dialler.originate(call, on_news, context=out.context)
        raise LegError("calls are made through ARI or AMI; see asterisk.ari and asterisk.ami in agent.yaml")

    # A call comes

    def _line_named(self, uuid: str) -> None:
        if self.ari_calls is not None:
            self.ari_calls.line_came(uuid)

    def _came_by_audiosocket(self, line: AudioSocketLine) -> None:
        if self._briefings.came(line):
            return
        quiet, waited = self._settings.audiosocket.quiet, time.monotonic() - line.named_at

        def media(post: Post) -> MediaStream:
            return AudioSocketMedia(line, self._ticker, post, quiet=quiet)

        self._take(line, line.id, line.id, Caller(), media, waited)

    def _came_by_websocket(self, line: MediaWebSocketLine) -> None:
        def media(post: Post) -> MediaStream:
            return MediaWebSocketMedia(line, self._ticker, post)

        self._take(line, line.start.channel_id, line.channel, line.caller, media)

    def _take(
        self, line: _Line, id: str, name: str, told: Caller, make: Callable[[Post], MediaStream], waited: float = 0.0
    ) -> None:
        """ARI knows the line by ``id``, AMI by ``name``. ``told``: what the line itself says of its caller, who has
        heard nothing for ``waited`` seconds."""
        try:
            found = self._who(id, name, self._patience(told.did) - waited)
        except LegClosed as error:
            log.info("call=%s is not taken: %s", line.id, error)
            return
        if found is None and self._settings.unknown == "refuse" and self._is_told_of_calls:
            log.error("call=%s neither AMI nor ARI knows this line: closed, as asterisk.unknown says", line.id)
            line.hang_up()
            return
        caller, control = found or (Caller(), self._known_later(name))
        did = told.did or caller.did or self._settings.did
        merged = Caller(
            caller.channel or told.channel,
            did,
            told.number or caller.number,
            told.name or caller.name,
            {**caller.variables, **told.variables},
        )
        if not did:
            log.warning("call=%s nobody says which number was dialled: is AMI connected? or asterisk.did", line.id)
        self._reception.take(AsteriskArrival(line, merged, control, make, self._briefings))

    def _patience(self, did: str) -> float:
        """Seconds that AMI has to say who calls: longer for a call that nobody would answer without."""
        ami = self._settings.ami
        is_answered = self._reception.lineup.find(did or self._settings.did) is not None
        return ami.patience if is_answered else max(ami.patience, ami.timeout)

    def _known_later(self, name: str) -> Control:
        return LateControl(partial(self.ami_calls.known, name)) if self.ami_calls is not None else NoControl()

    def _who(self, id: str, name: str, patience: float) -> tuple[Caller, Control] | None:
        if self.ari_calls is not None and (found := self.ari_calls.find(id, 0.0)) is not None:
            return found
        if self.ami_calls is not None:
            return self.ami_calls.find(name, max(LEAST_PATIENCE, patience))
        return None

    @property
    def _is_told_of_calls(self) -> bool:
        return any(client is not None and client.is_connected for client in (self.ami, self.ari))

    def _callers(self, client: AmiClient, dialler: AmiDialler) -> AmiCalls:
        settings = self._settings
        beside = AmiBeside(
            dialler, settings.briefing_context, settings.outbound.caller_id, settings.audiosocket.advertise
        )
        return AmiCalls(client, settings.transfer_context, beside)

    def _stasis(self, client: AriClient) -> AriCalls:
        settings, ari = self._settings, self._settings.ari
        return AriCalls(
            client,
            media=ari.media,
            media_address=settings.audiosocket_address,
            websocket_client=ari.websocket_client,
            format=settings.format,
            transfer_context=settings.transfer_context,
            variables=self._wanted_variables,
            admit=lambda: self.line_count < settings.max_calls,
            briefing_context=settings.briefing_context,
            caller_id=settings.outbound.caller_id,
        )

    def _wanted_variables(self) -> tuple[str, ...]:
        """Channel variables that some DID's prompt or greeting names."""
        cascades = [did.cascade for did in self._reception.lineup.config.dids]
        cascades += [each.cascade for did in self._reception.lineup.config.dids for each in did.languages.values()]
        texts = [text for each in cascades for text in (each.prompt, each.phrases.greeting)]
        return tuple(dict.fromkeys(name for text in texts for name in variables(text)))


def check_secrets(settings: AsteriskSettings) -> None:
    """Raises ConfigError for a secret that the door would miss."""
    if settings.enabled:
        ami_client(settings)
        _ari(settings)


def ami_client(settings: AsteriskSettings) -> AmiClient | None:
    """Not yet connected; None where AMI is not used. Raises ConfigError for a missing secret."""
    ami = settings.ami
    if (address := settings.ami_address) is None:
        return None
    secret = required("asterisk: ami", ami.secret_env, ami.secret_file, named="secret")
    return AmiClient(*address, ami.user, secret, timeout=ami.timeout)


def _ari(settings: AsteriskSettings) -> AriClient | None:
    ari = settings.ari
    if not ari.url:
        return None
    password = required("asterisk: ari", ari.password_env, ari.password_file, named="password")
    return AriClient(ari.url, ari.app, ari.user, password, timeout=ari.timeout, ca_file=ari.ca_file)
