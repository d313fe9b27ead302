"""The agent's side of a line that we play ourselves: clips in, 20 ms frames out. Pure: whoever asks is the clock.

    playout.add("1-0", sound)
    frame, news = playout.next_frame()      50 times a second
    ended = playout.clear()                 silence from the next frame on

Laws:

1. A frame is always whole; where nothing is to be said it is silence.
2. Clips follow each other in the order they were added, without a gap: one may end and the next begin in one frame.
3. Each clip is told once as ended: by the frame after its last one, or by ``clear``. What was heard of it is what was
   given out, in seconds from the clip's beginning.
4. A stream that has nothing to say yet is silence, and its position stands still.
5. No jump: a clip that begins in its middle, is cut, or runs dry is faded over 5 ms, and a new volume is reached over
   a frame.
"""

from __future__ import annotations

import audioop
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from esl_agent.audio.pcm import Sound, SoundStream, frame_bytes
from esl_agent.audio.resample import VoiceResampler

#: How long a cut takes: too short to be heard as sound, too long to be heard as a click.
FADE_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Began:
    """The first samples of the clip are in this frame."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing of the clip is heard any more; ``heard`` seconds of it were, those before its start included."""

    key: Hashable
    heard: float


News = Began | Ended
_NONE: Sequence[News] = ()


class _Source:
    """A clip on its way out, at the line's rate."""

    __slots__ = ("_at", "_audio", "_is_fed", "_rate", "_ready", "_resampler", "_taken", "has_begun", "key", "start")

    def __init__(self, key: Hashable, audio: Sound | SoundStream, start: float, rate: int) -> None:
        self.key = key
        self.start = start if isinstance(audio, SoundStream) else min(start, audio.seconds)
        self.has_begun = False
        self._audio = audio
        self._rate = rate
        self._at = round(self.start * audio.rate) * 2
        self._ready = bytearray()
        self._resampler = None if audio.rate == rate else VoiceResampler(audio.rate, rate)
        self._taken = 0
        self._is_fed = False

    @property
    def heard(self) -> float:
        """Seconds from the clip's beginning to what was taken last."""
        return self.start + self._taken / 2 / self._rate

    @property
    def is_over(self) -> bool:
        return self._is_fed and not self._ready

    def has(self, size: int) -> bool:
        """``take`` would give ``size`` bytes now, or all that is left."""
        while len(self._ready) < size and self._feed(size):
            pass
        return self._is_fed or len(self._ready) >= size

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes; fewer where it is over or a stream ran dry."""
        while len(self._ready) < size and self._feed(size):
            pass
        piece = bytes(self._ready[:size])
        del self._ready[:size]
        self._taken += len(piece)
        return piece

    def _feed(self, size: int) -> bool:
        """Make more of it ready. False: there is no more, or not yet."""
        if self._is_fed:
            return False
        audio, at = self._audio, self._at
        there = len(audio.pcm) // 2 * 2
        end = min(there, at + (size if self._resampler is None else frame_bytes(audio.rate)))
        piece = bytes(audio.pcm[at:end])
        self._at = max(at, end)
        self._is_fed = end >= there and (isinstance(audio, Sound) or audio.is_ended)
        self._ready += piece if self._resampler is None else self._resampler.feed(piece, self._is_fed)
        return bool(piece) or self._is_fed


class Playout:
    """The queue of one call. ``rate``: the line's samples a second."""

    __slots__ = (
        "_ended",
        "_fade",
        "_gain",
        "_is_dry",
        "_last",
        "_queue",
        "_silence",
        "_size",
        "_tail",
        "_target",
        "rate",
    )

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._size = frame_bytes(rate)
        self._fade = round(FADE_SECONDS * rate) * 2
        self._silence = bytes(self._size)
        self._queue: deque[_Source] = deque()
        self._ended: list[News] = []
        self._tail = b""
        self._last = 0  # the sample given out last
        self._is_dry = False
        self._gain = self._target = 1.0

    @property
    def is_idle(self) -> bool:
        """There is nothing but silence to give out, and nothing to tell."""
        return not (self._queue or self._tail or self._ended)

    @property
    def is_ready(self) -> bool:
        """The next frame is sound that is there: nothing in it is silent because a stream has nothing to say yet."""
        return bool(self._queue) and self._queue[0].has(self._size)

    def add(self, key: Hashable, audio: Sound | SoundStream, start: float = 0.0) -> None:
        """Queue a clip, to be heard from ``start`` seconds on."""
        self._queue.append(_Source(key, audio, start, self.rate))

    def volume(self, gain: float) -> None:
        """How loud everything is from the next frame on (1: as it is), reached within that frame."""
        self._target = max(0.0, gain)

    def clear(self, *, fade: bool = True) -> Sequence[News]:
        """Cut: the next frame holds 5 ms of fading sound, then there is silence. Every clip is told as ended.

        Without ``fade`` there is silence at once: for lines on which the next frame is not heard after the last one.
        """
        queue = self._queue
        if fade and queue and queue[0].has_begun and not self._is_dry:
            self._tail = _ramp(queue[0].take(self._fade), 1.0, 0.0)
        news = [*self._ended, *(Ended(source.key, source.heard) for source in queue)]
        self._ended.clear()
        queue.clear()
        return news

    def next_frame(self) -> tuple[bytes, Sequence[News]]:
        """20 ms of sound, and what became true with it."""
        if self.is_idle:
            self._gain = self._target
            return self._silence, _NONE
        news, self._ended = self._ended, []
        frame = bytearray(self._tail)
        self._tail = b""
        while self._queue and len(frame) < self._size:
            source = self._queue[0]
            frame += self._piece(source, self._size - len(frame), news)
            if source.is_over:
                self._queue.popleft()
                (news if self._queue else self._ended).append(Ended(source.key, source.heard))
            elif len(frame) < self._size:
                self._is_dry = source.has_begun
                break
        return self._finished(frame), news

    def _piece(self, source: _Source, size: int, news: list[News]) -> bytes:
        """What ``source`` gives, smooth where it does not follow from what was heard before."""
        piece = source.take(size)
        if not piece:
            return piece
        is_jump = self._is_dry or (not source.has_begun and source.start > 0)
        self._is_dry = False
        if not source.has_begun:
            source.has_begun = True
            news.append(Began(source.key))
        if is_jump:
            piece = _ramp(piece[: self._fade], 0.0, 1.0) + piece[self._fade :]
        return piece

    def _finished(self, frame: bytearray) -> bytes:
        """A whole frame, at the volume that was asked for."""
        if (missing := self._size - len(frame)) > 0:
            last = int.from_bytes(frame[-2:], "little", signed=True) if frame else self._last
            if last:
                frame += _ramp(last.to_bytes(2, "little", signed=True) * (min(missing, self._fade) // 2), 1.0, 0.0)
            frame += bytes(self._size - len(frame))
        self._last = int.from_bytes(frame[-2:], "little", signed=True)
        if self._gain != self._target:
            whole = _ramp(bytes(frame), self._gain, self._target)
            self._gain = self._target
            return whole
        return bytes(frame) if self._gain == 1.0 else audioop.mul(bytes(frame), 2, self._gain)


def faded(frame: bytes, rate: int) -> bytes:
    """A frame that begins as ``frame`` does and is silent after 5 ms: what follows sound that was cut before it."""
    size = round(FADE_SECONDS * rate) * 2
    return _ramp(frame[:size], 1.0, 0.0) + bytes(len(frame) - size)


def _ramp(pcm: bytes, begin: float, end: float) -> bytes:
    """``pcm`` with its volume going from ``begin`` to ``end`` in a straight line."""
    samples: npt.NDArray[np.int16] = np.frombuffer(pcm, "<i2")
    shaped = samples * np.linspace(begin, end, len(samples))
    return np.clip(np.rint(shaped), -32768, 32767).astype("<i2").tobytes()
