"""The caller's sound through mod_audio_fork: start it, watch it, start it again when it breaks.

Facts behind it (measured, drachtio build): ``+OK`` only means queued, the WebSocket is the proof; a DNS failure gives
no event at all, so the deadline is ours; after a failure or a disconnect the media bug stays attached, and a new
``start`` is refused until ``stop``; ``start`` without a rate crashes the whole FreeSWITCH.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from esl_agent.dialogue.events import Audio, Event, MediaLost, MediaStarted
from esl_agent.errors import LegError
from esl_agent.legs.audio_server import AudioServer, Connection, Listener
from esl_agent.legs.base import Post
from esl_agent.legs.esl_call import EslCall
from esl_agent.legs.s1_listener import S1Listener
from esl_agent.wire import esl
from esl_agent.wire import esl_commands as commands

log = logging.getLogger(__name__)

#: mod_audio_fork sends 50 frames a second, also of silence. None for this long means the sound is gone.
STALL_SECONDS = 3.0
#: Between a failed start, or a broken WebSocket, and the next start.
RETRY_SECONDS = 0.2

#: What the module calls a fork that was given no name.
BUG = "audio_fork"
#: The one event that tells something the WebSocket does not. It names no attempt.
SUBCLASSES = ("mod_audio_fork::connect_failed",)


@dataclass(frozen=True, slots=True)
class ForkSettings:
    """How to ask for the sound: ``url`` without path, ``rate`` 8000 or 16000.

    ``start_by``: the ``api`` command, the ``execute`` of a dialplan application, or ``external``: not by us.
    ``plays``: what we send is played (jambonz's build of the module).
    """

    url: str
    rate: int
    connect_timeout: float
    reconnects: int
    start_by: Literal["api", "execute", "external"] = "api"
    plays: bool = False


class AudioFork:
    """The fork of one call. Runs on the hub, the reader and the call's greenlet; never blocks."""

    def __init__(
        self,
        call: EslCall,
        server: AudioServer,
        settings: ForkSettings,
        post: Post,
        clock: Callable[[], float],
        s1: S1Listener | None = None,
    ) -> None:
        self._call = call
        self._server = server
        self._s1 = s1
        self._settings = settings
        self._post = post
        self._clock = clock
        self._path: str | None = None
        self._connection: Connection | None = None
        self._attempt = 0
        self._tries = 0  # since sound last came steadily
        self._unreported = 0  # attempts given up without news; it may still come
        self._attached = False
        self._last_frame = 0.0
        self._is_closed = False
        self.frames = 0

    def start(self) -> None:
        """Ask for the sound. MediaStarted follows, or MediaLost with ``final``."""
        if self._is_closed:
            return
        self._attempt += 1
        self._tries += 1
        attempt = self._attempt
        listener = Listener(self._settings.rate, self._on_open, self._on_frame, self._on_text, self._on_closed)
        if self._settings.start_by == "external" and self._s1 is not None:
            self._path = ""
            self._s1.expect_call(self._call.uuid or "", listener)
        else:
            self._path = self._server.expect(listener)
            if self._attached:
                self._fork("stop")
            self._attached = True
            rate = str(self._settings.rate)
            # jambonz's build reads the last five words only if all are there; its stop_play knows this bug name only.
            more = (BUG, "{}", "true", "true", rate) if self._settings.plays else ()
            self._fork("start", commands.Trusted(self._settings.url + self._path), "mono", rate, *more)
        self._call.link.deadlines.after(
            self._settings.connect_timeout,
            lambda: self._gave_up_waiting(attempt),
        )

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    def send(self, pcm: bytes) -> None:
        """20 ms to be played, where the module plays. Lost without a connection."""
        if self._connection is not None:
            self._connection.send_sound(pcm)

    def on_event(self, event: esl.Event) -> None:
        """mod_audio_fork's connect_failed, in the reader. Late news of an earlier attempt is not held against this
        one; a DNS failure brings none, so at worst this one waits for its own deadline."""
        if event.subclass != "mod_audio_fork::connect_failed":
            return
        if self._unreported:
            self._unreported -= 1
        else:
            self._failed(self._attempt, f"FreeSWITCH could not connect: {event.data[:200]}")

    def close(self) -> None:
        """Stop listening. The fork itself ends with the channel. Idempotent."""
        self._is_closed = True
        self._forget()
        if self._connection is not None:
            self._connection.close("the call is over")
            self._connection = None
        self._post = _nobody  # whoever owns both needs no collector to be freed

    def _forget(self) -> None:
        if self._path is not None:
            self._server.forget(self._path)
            self._path = None
        if self._s1 is not None:
            self._s1.forget_call(self._call.uuid or "")

    def _fork(self, *words: str) -> None:
        if self._settings.start_by == "execute" and words[0] == "start":
            self._call.execute("audio_fork", commands.Trusted(" ".join(words[1:])))
            return
        attempt = self._attempt

        def replied(reply: esl.Reply | LegError) -> None:
            if isinstance(reply, LegError) and words[0] == "start":
                self._failed(attempt, f"uuid_audio_fork: {reply}; is mod_audio_fork loaded? (esl-agent doctor)")

        self._call.request(commands.api("uuid_audio_fork", self._call.uuid or "", *words), on_reply=replied)

    def _on_open(self, connection: Connection) -> None:
        if self._is_closed:
            connection.close("the call is over")
            return
        self._connection = connection
        self._path = None
        self._last_frame = self._clock()
        self._post(MediaStarted(self._settings.rate))
        self._call.link.deadlines.after(STALL_SECONDS, lambda: self._watch(connection))

    def _on_frame(self, frame: bytes) -> None:
        self._last_frame = self._clock()
        self.frames += 1
        self._post(Audio(frame))

    def _on_text(self, text: str) -> None:
        log.debug("call %s: text on the audio WebSocket: %.100r", self._call.uuid, text)

    def _on_closed(self, connection: Connection, reason: str) -> None:
        if connection is self._connection:
            self._lost(reason)

    def _watch(self, connection: Connection) -> None:
        """Every few seconds: does the sound still come?"""
        if connection is not self._connection or self._is_closed:
            return
        silent = self._clock() - self._last_frame
        if silent >= STALL_SECONDS:
            self._lost(f"no frame for {silent:.1f} s")
        else:
            self._tries = 0
            self._call.link.deadlines.after(STALL_SECONDS - silent + 0.02, lambda: self._watch(connection))

    def _lost(self, reason: str) -> None:
        """The sound stopped in the middle of a call: get it back."""
        connection, self._connection = self._connection, None
        if connection is None or self._is_closed:
            return
        connection.close(reason)
        self._again(reason)

    def _gave_up_waiting(self, attempt: int) -> None:
        if attempt == self._attempt and self._path is not None and not self._is_closed:
            self._unreported += 1
            self._failed(attempt, f"no WebSocket came within {self._settings.connect_timeout:g} s")

    def _failed(self, attempt: int, reason: str) -> None:
        """A start came to nothing; late news of earlier attempts are ignored."""
        if attempt != self._attempt or self._path is None or self._is_closed:
            return
        self._forget()
        self._again(reason)

    def _again(self, reason: str) -> None:
        """After a moment: a hang-up closes the WebSocket too, and is known by then."""
        self._call.link.deadlines.after(RETRY_SECONDS, lambda: self._retry(reason))

    def _retry(self, reason: str) -> None:
        if self._is_closed or self._call.hangup_cause:
            return
        is_final = self._tries > self._settings.reconnects
        self._post(MediaLost(reason, final=is_final))
        if not is_final:
            self.start()


def _nobody(_: Event) -> None:
    """Gets what comes after the end."""
