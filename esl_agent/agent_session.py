"""One connection of a call's speech-to-speech agent: the greenlet that reads it, and the one that writes to it.

The reader connects, turns parts into events, and is the only one who closes the connection. The writer drains two
lanes: control, which is never dropped, and the caller's sound, of which the newest is kept. None of it blocks
the call. However a session ends, one AgentClosed is posted for it, unless ``close`` said that it is wanted no more.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.event import Event as Flag

from esl_agent.agent_voice import AgentVoice
from esl_agent.audio.agent_sound import ToAgent
from esl_agent.audio.pcm import SoundFormat
from esl_agent.dialogue.events import (
    AgentClosed,
    AgentConnected,
    AgentResponded,
    AgentResponding,
    AgentText,
    CallerPaused,
    CallerSaid,
    CallerSpeaks,
)
from esl_agent.errors import ProviderError
from esl_agent.legs.base import Post
from esl_agent.providers.base import (
    AgentPart,
    AgentSession,
    CallerBegan,
    CallerEnded,
    CallerWords,
    ResponseBegan,
    ResponseEnded,
    SoundEnded,
    SoundPart,
    Usage,
    UsagePart,
    WordsPart,
)

log = logging.getLogger(__name__)

#: The caller's sound that is kept while the service does not take it: a second of frames, behind the two seconds that
#: a session may be given at once when it takes over (relay_connection.py).
SOUND_LIMIT = 150
#: What the service was told and has not taken; beyond it takes nothing any more. A call says a few things a turn.
CONTROL_LIMIT = 200
#: Seconds for the network to take one message, and how often that is looked at: a timer of its own for each of 50
#: messages a second costs as much as the message.
SEND_SECONDS = 5.0
LOOK_SECONDS = 0.5
#: After so many parts others may run: a service that sends without a pause holds up nobody.
PARTS_AT_ONCE = 16
#: Tokens of a second of speech, where a response ended without the service's own count.
TOKENS_A_SECOND = 20
#: Characters of one piece of text.
MAX_TEXT = 5000

#: Connects: the session, the format of its sound, and the agent's name. Raises ProviderError.
Connect = Callable[[], "Connected"]
Order = Callable[[AgentSession], None]


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection that is ready to hear."""

    session: AgentSession
    sound: SoundFormat
    name: str
    release: Callable[[], None]
    """Called once, when the session has ended."""
    broke: Callable[[ProviderError], None]
    """Told why it ended, if nobody wanted that; may change whether another one is worth a try."""


class SessionLine:
    """Session ``number`` of a call. ``used(name, usage)`` and ``post`` never block."""

    def __init__(
        self,
        number: int,
        connect: Connect,
        post: Post,
        used: Callable[[str, Usage], None],
        *,
        streams: bool,
        call_id: str,
    ) -> None:
        self.number = number
        self.dropped_frames = 0
        self._connect = connect
        self._post = post
        self._used = used
        self._streams = streams
        self._call_id = call_id
        self._control: deque[Order] = deque()
        self._frames: deque[tuple[int, bytes]] = deque()
        self._wanted = Flag()
        self._is_connected = self._is_told = False
        self._broke: Callable[[ProviderError], None] | None = None
        self._sending_since = 0.0  # 0: nothing is being sent
        self._look: Any = None
        self._reader: gevent.Greenlet | None = gevent.spawn(self._read)
        self._writer: gevent.Greenlet | None = None

    # The call's greenlet

    def hear(self, pcm: bytes, rate: int) -> None:
        """A frame of the caller's. Nothing before the session is connected: it would come late, all of it."""
        if not self._is_connected:
            return
        if len(self._frames) >= SOUND_LIMIT:
            self._frames.popleft()
            self.dropped_frames += 1
        self._frames.append((rate, pcm))
        self._wanted.set()

    def order(self, order: Order) -> None:
        """Something to tell the service, in order; kept until it is connected."""
        if self._is_told:
            return
        if len(self._control) >= CONTROL_LIMIT:
            self._failed(ProviderError("agent", "takes nothing of what it is told", retryable=True))
            return
        self._control.append(order)
        self._wanted.set()

    def close(self) -> None:
        """It is wanted no more: nothing of it is posted from now on. Idempotent, does not wait."""
        self._is_told = True
        self._stop()

    # Its own greenlets

    def _read(self) -> None:
        made: Connected | None = None
        error = ProviderError("agent", "the service ended the session", retryable=True)
        voice: AgentVoice | None = None
        has_begun = ""
        try:
            made = self._connect()
            voice = AgentVoice(self.number, made.sound, streams=self._streams, call_id=self._call_id)
            self._begin(made)
            for count, part in enumerate(made.session.parts(), 1):
                if isinstance(part, ResponseBegan):
                    has_begun = made.name
                elif isinstance(part, UsagePart | ResponseEnded) and not getattr(part, "name", ""):
                    has_begun = ""
                self._take(part, voice, made.name)
                if count % PARTS_AT_ONCE == 0:
                    gevent.sleep(0)
        except ProviderError as failed:
            error = failed
        except gevent.Timeout as failed:
            error = ProviderError("agent", f"timed out: {failed}", retryable=True)
        except Exception as failed:  # an edge that logs: a provider's bug must not end the call
            log.exception("call=%s agent: unexpected error", self._call_id)
            error = ProviderError("agent", type(failed).__name__)
        finally:
            if voice is not None:
                if has_begun:
                    self._estimate(has_begun, voice.seconds)
                for event in voice.close():
                    self._tell(event)
            self._failed(error)
            if made is not None:
                try:
                    made.session.close()
                finally:
                    made.release()

    def _begin(self, made: Connected) -> None:
        self._is_connected = True
        self._broke = made.broke
        self._writer = gevent.spawn(self._write, made)
        self._look = gevent.get_hub().loop.timer(LOOK_SECONDS, LOOK_SECONDS)
        self._look.start(self._look_after)
        self._tell(AgentConnected(self.number))

    def _take(self, part: AgentPart, voice: AgentVoice, name: str) -> None:
        """One part, as events."""
        number = self.number
        match part:
            case SoundPart():
                for event in voice.sound(part):
                    self._tell(event)
            case SoundEnded():
                for event in voice.sound_ended(part):
                    self._tell(event)
            case WordsPart(response, item, text):
                if text:
                    self._tell(AgentText(number, response, item, text[:MAX_TEXT]))
            case ResponseBegan(response):
                for event in voice.new_response():
                    self._tell(event)
                self._tell(AgentResponding(number, response))
            case ResponseEnded(response, status, calls, error):
                for event in voice.response_ended(response):
                    self._tell(event)
                self._tell(AgentResponded(number, response, status, calls, error))
            case CallerBegan(item):
                self._tell(CallerSpeaks(number, item))
            case CallerEnded(item):
                self._tell(CallerPaused(number, item))
            case CallerWords(item, text):
                self._tell(CallerSaid(number, item, text[:MAX_TEXT]))
            case UsagePart(usage, other):
                self._used(other or name, usage)

    def _write(self, made: Connected) -> None:
        """Runs until it is killed, or the service takes nothing any more."""
        to_agent: ToAgent | None = None
        try:
            while True:
                self._wanted.wait()
                self._wanted.clear()
                while self._control or self._frames:
                    self._sending_since = time.monotonic()
                    if self._control:
                        self._control.popleft()(made.session)
                        continue
                    rate, pcm = self._frames.popleft()
                    while self._frames and self._frames[0][0] == rate:  # it was busy: all in one message
                        pcm += self._frames.popleft()[1]
                    if to_agent is None or to_agent.rate != rate:
                        to_agent = ToAgent(rate, made.sound)
                    if sound := to_agent.feed(pcm):
                        made.session.hear(sound)
                self._sending_since = 0.0
        except ProviderError as error:
            self._failed(error)
        except gevent.Timeout as failed:
            self._failed(ProviderError("agent", f"timed out: {failed}", retryable=True))
        except Exception as bug:  # an edge that logs: a provider's bug must not end the call
            log.exception("call=%s agent: unexpected error", self._call_id)
            self._failed(ProviderError("agent", type(bug).__name__))

    def _look_after(self) -> None:
        """On the hub: is one message being sent for too long?"""
        if self._sending_since and time.monotonic() - self._sending_since >= SEND_SECONDS:
            self._failed(ProviderError("agent", f"takes nothing for {SEND_SECONDS:g} s", retryable=True))

    def _tell(self, event: object) -> None:
        if not self._is_told:
            self._post(event)  # type: ignore[arg-type]

    def _estimate(self, name: str, seconds: float) -> None:
        """A response that the service did not get to count was made all the same."""
        if tokens := round(seconds * TOKENS_A_SECOND):
            self._used(name, Usage(output_tokens=tokens, audio_output_tokens=tokens, is_estimate=True))

    def _failed(self, error: ProviderError) -> None:
        """It is over. Posted once."""
        if not self._is_told:
            self._is_told = True
            is_old = error.code == "session_expired"
            if self._broke is not None:
                self._broke(error)
            self._post(AgentClosed(self.number, str(error), error.retryable or is_old, is_old))
        self._stop()

    def _stop(self) -> None:
        self._is_connected, self._broke = False, None
        if self._look is not None:
            self._look.stop()
            self._look.close()
            self._look = None
        self._control.clear()
        self._frames.clear()
        greenlets, self._reader, self._writer = (self._reader, self._writer), None, None
        for greenlet in greenlets:  # one that was killed keeps its last frame, and so this session
            if greenlet is not None and greenlet is not gevent.getcurrent():
                greenlet.kill(block=False)
        if self.dropped_frames:
            log.warning("call=%s agent: %d frames came too late to be sent", self._call_id, self.dropped_frames)
            self.dropped_frames = 0
