"""Both directions of a call's sound over AudioSocket.

Asterisk has no buffer here: what we send leaves in an RTP packet at once, and nothing can be taken back. So frames go
one by one on our own clock, which makes up for three at most after a busy moment, and ``clear`` is silence with
the next frame. While the agent is quiet silence is sent: Asterisk fills no gap, and its application hangs up after
2 s in which nobody sent anything.

A caller who is quiet on the wire (hold, silence suppression, a key held down) is no lost connection: that one is
noticed by what it no longer takes (``audiosocket_line``). Sound is given up where none came from the start, or none
for ``MAX_PAUSE``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from esl_agent.audio.pcm import Reframer
from esl_agent.audio.resample import Resampler, line_resampler
from esl_agent.dialogue.events import Audio, MediaLost, MediaStarted
from esl_agent.legs.base import Clip, Post
from esl_agent.legs.streamed_voice import StreamedVoice, Ticker
from esl_agent.wire.audiosocket import RATES
from esl_agent.wire.audiosocket_sound import LawFinder, LineSound

log = logging.getLogger(__name__)

#: A caller who was heard may send nothing for so long: nobody keeps an agent on hold longer.
MAX_PAUSE = 600.0
#: Rates at which a caller is listened to; others (44.1, 96, 192 kHz) become ``WIDE``.
HEARD_RATES = (8000, 12000, 16000, 24000, 32000, 48000)
WIDE = 24000


class SoundLine(Protocol):
    """What of an AudioSocketLine the sound needs."""

    id: str
    sound: LineSound | None

    @property
    def sends(self) -> LineSound: ...
    def listen(
        self, on_sound: Callable[[int, bytes], None] | None, on_gone: Callable[[], None] | None = None
    ) -> None: ...
    def send(self, pcm: bytes) -> None: ...


class AudioSocketMedia:
    """``quiet``: seconds from the start without any sound after which it is given up."""

    streams = True

    def __init__(
        self,
        line: SoundLine,
        ticker: Ticker,
        post: Post,
        *,
        quiet: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        sound = line.sound or line.sends
        self.rate = sound.rate if sound.rate in HEARD_RATES else WIDE
        self._line = line
        self._post = post
        self._quiet = quiet
        self._clock = clock
        self._voice = StreamedVoice(line.sends.sends, ticker, self._send, post)
        self._caller: _Caller | None = None
        self._reframer = Reframer(self.rate)
        self._is_heard = False
        self._last_heard = 0.0
        self._look_at = 0.0

    def start(self) -> None:
        self._last_heard = self._clock()
        self._look_at = self._last_heard + self._quiet
        self._voice.open()
        self._line.listen(self._heard, self.close)

    def play(self, clip: Clip) -> None:
        self._voice.play(clip)

    def clear(self) -> None:
        self._voice.clear()

    def volume(self, gain: float) -> None:
        self._voice.volume(gain)

    def close(self) -> None:
        """Also when the line ends: what has not left by then is not heard."""
        self._line.listen(None)
        self._voice.close()

    def _heard(self, kind: int, payload: bytes) -> None:
        caller = self._caller
        if caller is None or caller.kind != kind:
            sound = self._line.sound
            if sound is None or sound.kind != kind:
                sound = LineSound(kind, RATES[kind])
            caller = self._caller = _Caller(sound, self.rate)
        self._last_heard = self._clock()
        if not self._is_heard:
            self._is_heard = True
            self._post(MediaStarted(self.rate))
        for frame in self._reframer.feed(caller.pcm(payload)):
            self._post(Audio(frame))

    def _send(self, frame: bytes) -> None:
        self._line.send(frame)
        if self._clock() >= self._look_at:
            self._look()

    def _look(self) -> None:
        """Does the caller's sound still come?"""
        silent = self._clock() - self._last_heard
        if silent < self._quiet:
            self._look_at = self._last_heard + self._quiet
        elif not self._is_heard or silent >= MAX_PAUSE:
            self._look_at = float("inf")
            self._post(MediaLost(f"no sound for {silent:.0f} s", final=True))
        else:
            log.info("call=%s the caller's sound pauses", self._line.id)
            self._look_at = self._last_heard + MAX_PAUSE


class _Caller:
    """Payloads of one kind -> PCM16 at the rate that is listened to. Nothing is touched where the rates agree."""

    __slots__ = ("_law", "_resampler", "kind")

    def __init__(self, sound: LineSound, rate: int) -> None:
        self.kind = sound.kind
        self._law = LawFinder(sound.law) if sound.law else None
        self._resampler: Resampler | None = line_resampler(sound.rate, rate)

    def pcm(self, payload: bytes) -> bytes:
        if self._law is not None:
            payload = self._law.decode(payload)
        elif len(payload) % 2:
            payload = payload[:-1]  # half a sample would shift all that follow
        return payload if self._resampler is None else self._resampler.feed(payload)
