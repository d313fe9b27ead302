"""Both directions of a call's sound as UDP datagrams, by FreeSWITCH's own ``unicast``: no third-party module.

Facts behind it (switch_ivr.c, FreeSWITCH 1.11; each seen on a running one):

- ``+OK`` only means queued; that the port could not be bound is said in FreeSWITCH's log alone. The first datagram is
  the proof, and from then on what we send is heard at once: there is no buffer.
- It works **once per park**: ``playback``, ``bridge`` and everything else that resets the session ends it, and another
  ``unicast`` in the same park ends at its first frame, because the park loop still holds the first. ``set`` and
  the like do not end it. During an application no datagrams come.
- A second ``unicast`` beside a living one must use the same port (then nothing happens): with another port the
  first is never joined, and outlives the session that its thread writes to.
- So it is taken up again through a new park: ``uuid_transfer ... park inline`` keeps the call, our connection and its
  events. The dialplan behind ``socket`` is left behind with it; ``park_timeout``, which a park uses up, is set anew.
- What resets the session holds its codec lock while it waits for the thread that plays our datagrams, and that thread
  may be waiting for the lock (by source): the channel would hang for good. So we are quiet before ``uuid_transfer``.
- With ``native`` the same thread takes the read codec's lock, which the park loop holds when a signal (a BYE) arrives:
  such a hang was seen on one of six calls.
- Comfort noise comes as a datagram full of 0xFF (of the size of L16, with ``native`` too), or as two bytes.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from esl_agent.audio import g711
from esl_agent.audio.pcm import Reframer, frame_bytes
from esl_agent.audio.resample import Resampler, line_resampler
from esl_agent.dialogue.events import Audio, MediaLost, MediaStarted
from esl_agent.errors import CommandRefused, LegError
from esl_agent.legs.base import Clip, Post
from esl_agent.legs.freeswitch_leg import FreeSwitchLeg
from esl_agent.legs.streamed_voice import StreamedVoice, Ticker
from esl_agent.legs.unicast_ports import Endpoint
from esl_agent.wire import esl
from esl_agent.wire import esl_commands as commands

log = logging.getLogger(__name__)

#: FreeSWITCH sends 50 datagrams a second, also of silence. None for this long means the sound is gone.
STALL_SECONDS = 3.0
#: Between a failure and the next try: a hang-up ends the sound too, and is known by then.
RETRY_SECONDS = 0.2
#: After an application began, those sent before it have come by then; after it ended, those that are to come again.
SETTLE_SECONDS = 0.1
#: So long before the channel goes elsewhere nothing may be sent; and so long it stays quiet if it did not go: longer
#: than both waits of a blind transfer, this one and transfer.LEAVES_SECONDS.
QUIET_SECONDS, STAYED_SECONDS = 0.06, 1.2
#: FreeSWITCH sends its first datagram 20 to 40 ms after the command (measured).
FIRST_SECONDS = 1.0
#: The highest rate a channel has (opus).
MAX_RATE = 48000
#: Applications that never hold the sound up: the two that park, and those over at once.
PARKING = ("park", "socket", "set", "answer")
_RATE = re.compile(r"[0-9]{4,5}")


@dataclass(frozen=True, slots=True)
class UnicastOptions:
    """``rate``: of the frames posted. ``native``: G.711 stays G.711 on the way. ``reconnects``: tries in a row.

    ``park_timeout``: seconds a call may last after it had to be parked anew.
    """

    rate: int
    native: bool
    connect_timeout: float
    reconnects: int
    park_timeout: int


class _State(Enum):
    IDLE = "nothing was asked for, or it was given up"
    ASKED = "unicast was sent; the first datagram is awaited"
    OPEN = "sound comes and goes"
    LOST = "it is to be taken up again in a moment"
    PARKING = "a new park was asked for"
    AWAY = "the channel is not in our park: transferred, bridged by somebody, or hung up"
    CLOSED = "we let go"


class UnicastMedia:
    """The MediaStream of one call. ``take`` makes its Endpoint or raises LegError, then this is not made either."""

    streams = True

    def __init__(
        self,
        leg: FreeSwitchLeg,
        settings: UnicastOptions,
        take: Callable[[Callable[[bytes], None]], Endpoint],
        ticker: Ticker,
        post: Post,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate = settings.rate
        self._call = leg.call
        self._settings = settings
        self._take = take
        self._ticker = ticker
        self._post = post
        self._clock = clock
        self._endpoint = take(self._on_datagram)
        self._made: StreamedVoice | None = None
        self._state = _State.IDLE
        self._codec, self._line_rate = "", settings.rate
        self._learn(leg.call.session_data or {})
        self._law: g711.G711 | None = None
        self._reframer = Reframer(self._line_rate)
        self._silence = b""
        self._resampler: Resampler | None = None
        self._resampled = Reframer(settings.rate)  # some rates come out of a resampler in other pieces
        self._attempt = 0
        self._tries = 0  # since sound last came steadily
        self._running: set[str] = set()
        self._parks = 0  # asked for by us, and not seen yet
        self._is_held = False  # an application began, or the channel is to go elsewhere
        self._held_at = 0.0
        self._quiet_until = 0.0
        self._last_frame = 0.0
        leg.before_handover = self._quiet
        leg.watch(self._on_event)

    def start(self) -> None:
        """Ask for the sound, at the rate the channel has now. MediaStarted follows, or MediaLost."""
        if self._state is not _State.IDLE:
            return
        self._law = g711.LAWS.get(self._codec) if self._settings.native and self._line_rate == g711.RATE else None
        self._reframer = Reframer(self._line_rate)
        self._silence = bytes(frame_bytes(self._line_rate))
        self._resampler = line_resampler(self._line_rate, self.rate)
        self._ask()

    def play(self, clip: Clip) -> None:
        self._voice.play(clip)

    def clear(self) -> None:
        self._voice.clear()

    def volume(self, gain: float) -> None:
        self._voice.volume(gain)

    def close(self) -> None:
        """Let go of the ports. FreeSWITCH's end of it ends with the park."""
        if self._state is not _State.CLOSED:
            self._state = _State.CLOSED
            self._endpoint.close()
            self._voice.close()

    @property
    def _voice(self) -> StreamedVoice:
        """Made when it is needed first: the channel's rate is known for good once the call is answered."""
        if self._made is None:
            self._made = StreamedVoice(self._line_rate, self._ticker, self._send, self._post)
        return self._made

    def _send(self, frame: bytes) -> None:
        self._endpoint.send(frame if self._law is None else self._law.encode(frame))

    # the caller's sound

    def _on_datagram(self, data: bytes) -> None:
        if self._state is not _State.OPEN:
            if self._state is not _State.ASKED:
                return
            self._opened()
        elif self._is_held and self._may_go_on():
            self._is_held = False
            self._voice.open()
        self._last_frame = self._clock()
        for frame in self._reframer.feed(self._pcm(data)):
            for ours in (frame,) if self._resampler is None else self._resampled.feed(self._resampler.feed(frame)):
                self._post(Audio(ours))

    def _pcm(self, data: bytes) -> bytes:
        if len(data) <= 2 or (data[0] == 0xFF and data.count(0xFF) == len(data)):
            return self._silence
        return data[: len(data) // 2 * 2] if self._law is None else self._law.decode(data)

    def _opened(self) -> None:
        self._state = _State.OPEN
        self._is_held = False
        self._parks = 0
        self._last_frame = self._clock()
        self._post(MediaStarted(self.rate))
        self._voice.open()
        attempt = self._attempt
        self._call.link.deadlines.after(STALL_SECONDS, lambda: self._watch(attempt))

    # asking for it, and getting it back

    def _ask(self) -> None:
        self._state = _State.ASKED
        attempt = self._begin_attempt()

        def replied(reply: esl.Reply | LegError) -> None:
            if isinstance(reply, LegError):
                self._failed(attempt, f"unicast: {reply}")

        endpoint = self._endpoint
        self._call.request(
            commands.unicast(endpoint.switch, endpoint.local, native=self._law is not None), on_reply=replied
        )

    def _park_anew(self) -> None:
        self._state = _State.PARKING
        attempt = self._begin_attempt()
        self._parks += 1

        def replied(reply: esl.Reply | LegError) -> None:
            if isinstance(reply, LegError):
                if isinstance(reply, CommandRefused):
                    self._parks -= 1
                self._failed(attempt, f"unicast: cannot park anew: {reply}")

        timeout = f"set:park_timeout={self._settings.park_timeout}:NORMAL_TEMPORARY_FAILURE"
        self._call.request(
            commands.api("uuid_transfer", self._call.uuid or "", f"{timeout},park", "inline"), on_reply=replied
        )

    def _begin_attempt(self) -> int:
        self._attempt += 1
        attempt, seconds = self._attempt, min(FIRST_SECONDS, self._settings.connect_timeout)
        self._call.link.deadlines.after(
            seconds, lambda: self._failed(attempt, f"no sound came from FreeSWITCH within {seconds:g} s")
        )
        return attempt

    def _failed(self, attempt: int, reason: str) -> None:
        """A try came to nothing. FreeSWITCH may not have got its port: the next try is with another pair."""
        if attempt != self._attempt or self._state not in (_State.ASKED, _State.PARKING):
            return
        try:
            endpoint = self._take(self._on_datagram)
        except LegError as error:
            log.warning("call=%s %s", self._call.uuid, error)
        else:
            self._endpoint.close()
            self._endpoint = endpoint
        self._lost(reason)

    def _watch(self, attempt: int) -> None:
        """Every few seconds: does the sound still come?"""
        if attempt != self._attempt or self._state is not _State.OPEN:
            return
        silent = self._clock() - self._last_frame
        if silent >= STALL_SECONDS and not self._running:
            self._lost(f"no frame for {silent:.1f} s")
            return
        if silent < STALL_SECONDS:
            self._tries = 0
        self._call.link.deadlines.after(
            max(SETTLE_SECONDS, STALL_SECONDS - silent + 0.02), lambda: self._watch(attempt)
        )

    def _lost(self, reason: str) -> None:
        self._state = _State.LOST
        self._voice.pause()
        self._call.link.deadlines.after(RETRY_SECONDS, lambda: self._retry(reason))

    def _retry(self, reason: str) -> None:
        if self._state is not _State.LOST or self._call.hangup_cause:
            return
        if self._running or self._clock() < self._quiet_until:  # a new park would break off a bridge that rings
            self._call.link.deadlines.after(RETRY_SECONDS, lambda: self._retry(reason))
            return
        self._tries += 1
        is_final = self._tries > self._settings.reconnects
        self._post(MediaLost(reason, final=is_final))
        if is_final:
            self._state = _State.IDLE
        else:
            self._park_anew()

    # what happens on the channel

    def _on_event(self, event: esl.Event) -> None:
        if event.headers.get("Unique-ID") != self._call.uuid or self._state is _State.CLOSED:
            return
        name = event.name
        if name in ("CHANNEL_ANSWER", "CHANNEL_PROGRESS_MEDIA"):
            self._learn(event.headers)
        elif name == "CHANNEL_EXECUTE":
            if event.headers.get("Application") not in PARKING:
                self._running.add(event.headers.get("Application-UUID", ""))
                self._hold()
        elif name == "CHANNEL_EXECUTE_COMPLETE":
            self._application_ended(event.headers)
        elif name == "CHANNEL_UNPARK":
            self._unparked()
        elif name == "CHANNEL_PARK":
            self._parked()

    def _learn(self, headers: Mapping[str, str]) -> None:
        """The channel's codec. Before the call has sound there is none."""
        rate = headers.get("Channel-Read-Codec-Rate") or headers.get("variable_read_rate") or ""
        if self._state is _State.IDLE and _RATE.fullmatch(rate) and 8000 <= int(rate) <= MAX_RATE:
            self._line_rate = int(rate)
            self._codec = headers.get("Channel-Read-Codec-Name", "")

    def _hold(self) -> None:
        """An application begins: what we send now would be mixed into what it plays."""
        if self._state is _State.OPEN:
            self._is_held = True
            self._held_at = self._clock()
            self._voice.pause()

    def _may_go_on(self) -> bool:
        """Whether a datagram says that we are heard again: one sent before the application began may come after it."""
        now = self._clock()
        return now >= self._quiet_until and (not self._running or now - self._held_at >= SETTLE_SECONDS)

    def _quiet(self) -> float:
        """The channel is about to be taken elsewhere. If it stays after all, sound goes on by itself."""
        self._hold()
        self._quiet_until = self._clock() + STAYED_SECONDS
        return QUIET_SECONDS

    def _application_ended(self, headers: Mapping[str, str]) -> None:
        uuid = headers.get("Application-UUID", "")
        if uuid not in self._running:
            return
        self._running.discard(uuid)
        self._quiet_until = 0.0  # that was it: the caller is back
        ended = self._clock()

        def look() -> None:
            if self._state is _State.OPEN and not self._running and self._last_frame < ended:
                self._lost(f"{headers.get('Application', '')[:40]!r} ended the unicast")

        self._call.link.deadlines.after(SETTLE_SECONDS, look)

    def _parked(self) -> None:
        """In a park of ours, maybe later than we waited for it. Of several asked for, the last one stays."""
        if not self._parks:
            return
        self._parks -= 1
        if not self._parks and self._state in (_State.PARKING, _State.LOST):
            self._running.clear()
            self._ask()

    def _unparked(self) -> None:
        """Somebody took the channel elsewhere, unless it is on its way to a park of ours, be it one given up."""
        if self._parks:
            return
        if self._state in (_State.ASKED, _State.OPEN, _State.LOST):
            self._state = _State.AWAY
            self._voice.pause()
