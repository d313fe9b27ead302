"""The door FreeSWITCH knocks at: its event sockets, and the servers that its sound comes to."""

from __future__ import annotations

import logging

from esl_agent.config import DidConfig
from esl_agent.config.service import ServiceSettings
from esl_agent.errors import LegError
from esl_agent.legs.audio_server import AudioServer
from esl_agent.legs.base import MediaStream
from esl_agent.legs.clips import clip_directory, remove_clip_directory
from esl_agent.legs.freeswitch import Listener, Session
from esl_agent.legs.freeswitch_leg import FreeSwitchLeg
from esl_agent.legs.s1_listener import S1Listener
from esl_agent.mailbox import Mailbox
from esl_agent.media import MediaMaker
from esl_agent.reception import Reception
from esl_agent.wire import esl_commands as commands

log = logging.getLogger(__name__)

#: A refused call has this long to report its hang-up.
REFUSAL_SECONDS = 3.0
#: The older bridge contract's sound.
S1_RATE = 16000


class FreeSwitchArrival:
    """A call on its event socket; a reception.Arrival."""

    def __init__(self, door: FreeSwitchDoor, session: Session) -> None:
        self.mailbox = Mailbox()
        self.leg = FreeSwitchLeg(session, self.mailbox.post)
        self._door = door
        self._session = session

    def media(self, did: DidConfig) -> MediaStream:
        maker = self._door.media
        stream = maker.make(self.leg, did, self.mailbox.post)
        try:
            self.leg.handover.prepare(self._door.clips, maker.clips_seen_as, did.cascade.transfer.ringback)
        except BaseException:
            stream.close()
            raise
        return stream

    def refuse(self, cause: str) -> None:
        self.end(commands.api("uuid_kill", self.leg.id, cause))

    def end(self, command: bytes) -> None:
        """End a call we will not take, without leaving it parked: closing right away would (captures 23, 24)."""
        try:
            self._session.request(command).get()
            self._session.wait_over(REFUSAL_SECONDS)
        except LegError as error:
            log.warning("call=%s could not be refused: %s", self._session.uuid, error)


class FreeSwitchDoor:
    """Made from the settings; ``start`` opens it."""

    def __init__(self, service: ServiceSettings, reception: Reception) -> None:
        self._service = service
        self._reception = reception
        audio, socket = service.audio, service.freeswitch
        limits = audio.max_message_bytes, audio.max_seconds_per_second
        self.audio = AudioServer(audio.address, *limits)
        s1 = audio.s1_listener
        self.s1 = S1Listener((s1.host, s1.port), S1_RATE, *limits) if s1.enabled else None
        self.clips = clip_directory(service.clips.directory)
        self.media = MediaMaker(service, self.audio, self.s1, self.clips)
        host, port = socket.address
        self.listener = Listener(
            host,
            port,
            self._answer,
            socket.max_calls,
            allow=socket.allow,
            refusal_cause=socket.busy_cause,
            handshake_timeout=socket.handshake_timeout,
        )

    def start(self) -> None:
        """Raises LegError or OSError if a port is taken."""
        self.audio.start()
        if self.s1 is not None:
            self.s1.start()
        self.listener.start()
        log.info("FreeSWITCH: calls at %s, sound at %s", self._service.freeswitch.listen, self._service.audio.listen)

    def turn_away(self) -> None:
        """From now on new calls are refused."""
        self.listener.is_draining = True

    def wait_idle(self, seconds: float) -> None:
        """Until no connection is left, at most ``seconds``; then nothing is listened to."""
        self.listener.drain(seconds)

    def stop(self) -> None:
        """Listen no more. Idempotent."""
        self.listener.stop()
        self.audio.stop()
        if self.s1 is not None:
            self.s1.stop()

    def clean_up(self) -> None:
        """The last call is over."""
        remove_clip_directory(self.clips)

    def _answer(self, session: Session) -> None:
        session.link.command_timeout = self._service.freeswitch.command_timeout
        arrival = FreeSwitchArrival(self, session)
        if not session.has_full_control or (session.session_data or {}).get("Socket-Mode") != "async":
            log.error(
                "call=%s the dialplan's socket line lacks 'async full': socket %s async full",
                arrival.leg.id,
                "host:port",
            )
            arrival.end(commands.hang_up("NORMAL_TEMPORARY_FAILURE"))
            return
        arrival.leg.prepare(self._service.freeswitch.events, self._service.freeswitch.linger)
        self._reception.take(arrival)
