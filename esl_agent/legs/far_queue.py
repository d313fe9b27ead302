"""Which of the frames that we sent have left a queue far away, which gives one out every 20 ms. Asterisk's marks say so
now and then; in between the clock does."""

from __future__ import annotations

import math

from esl_agent.audio.pcm import FRAME_SECONDS

#: News of a mark is late when we are; only so much of the lateness is believed to be the queue's own.
_SLOWLY = 0.1
#: A frame that leaves now has left: clocks are floats.
_EPSILON = 1e-6


class FarQueue:
    """Frames are numbered from 0 on in the order they were sent. ``now`` is monotonic time."""

    def __init__(self, now: float) -> None:
        self.sent = 0
        """Frames sent, those that were thrown away included."""
        self._kept = 0  # frames before this one left or were thrown away
        self._frame, self._at = 0, now + FRAME_SECONDS  # a frame, and when it leaves: the others follow each other

    def left(self, now: float) -> int:
        """Frames that have left, so the number of the next that will."""
        steps = math.floor((now - self._at) / FRAME_SECONDS + 1 + _EPSILON)
        return min(self.sent, self._frame + max(0, steps))

    def waiting(self, now: float) -> int:
        return self.sent - self.left(now)

    def leaves(self, frame: int) -> float:
        """When ``frame`` leaves, or left."""
        return self._at + (frame - self._frame) * FRAME_SECONDS

    def send(self, now: float) -> int:
        """One more frame is on its way; its number."""
        number = self.sent
        if self.left(now) == number:  # nothing waits: it leaves when the queue is looked at next
            steps = max(0, math.floor((now - self._at) / FRAME_SECONDS + 1 + _EPSILON))
            self._frame, self._at = number, self._at + steps * FRAME_SECONDS
        self.sent += 1
        return number

    def marked(self, frame: int, now: float) -> None:
        """``frame`` leaves now. What is said of frames that were thrown away says nothing."""
        if self._kept <= frame < self.sent:
            late = now - self.leaves(frame)
            if 0.0 < late < FRAME_SECONDS:
                now -= late * (1.0 - _SLOWLY)
            self._frame, self._at, self._kept = frame, now, frame

    def flush(self, now: float) -> int:
        """What waits is thrown away; the number of the first of it."""
        first = self.left(now)
        after = max(0, math.floor((now - self._at) / FRAME_SECONDS + 1 + _EPSILON))
        self._at += after * FRAME_SECONDS
        self._frame = self._kept = self.sent
        return first
