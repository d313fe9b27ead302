"""The sound of a call that chan_websocket brings.

Facts behind it (chan_websocket.c and measured, 22.10.1):

- Asterisk holds up to 1000 frames and gives one out every 20 ms by a clock of its own, so sound sent ahead hides our
  lateness. It says nothing while it has none: no RTP leaves then, and silence has to be sent.
- What piled up stays piled up while we send in real time. So sound goes ahead of its time, silence hardly: after every
  pause the queue is short again.
- FLUSH_MEDIA throws away what is held, with its marks; whatever is sent next is heard next. So a clip that follows
  silence begins in the next 20 ms.
- A mark is told when everything before it has left and the frame after it does.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from esl_agent.audio.pcm import FRAME_SECONDS, frame_bytes
from esl_agent.audio.playout import Began, News, Playout, faded
from esl_agent.dialogue.events import Audio, MediaLost, MediaStarted, PlaybackBegan, Played
from esl_agent.legs.audiosocket_media import MAX_PAUSE
from esl_agent.legs.base import Clip, Post
from esl_agent.legs.far_queue import FarQueue
from esl_agent.legs.media_websocket_line import MediaWebSocketLine
from esl_agent.legs.streamed_voice import Ticker
from esl_agent.wire import chan_websocket as wire

#: Frames of sound with Asterisk ahead of their time: a hub that is late by less is not heard. A new volume is heard
#: that much later.
AHEAD = 5
#: Frames of silence with Asterisk.
IDLE = 2
#: A mark is sent with every clip's beginning and end, and with every so many frames, to know Asterisk's clock.
MARK_EVERY = 25
#: A mark that is later than this is not waited for: Asterisk before 20.18 and 22.8 knows none.
MARK_PATIENCE = 0.5
#: So many marks of which none was told: no more are sent. Asterisk logs each command that it does not know.
MARKS_IN_VAIN = 8
#: Seconds by which we may be wrong about the moment a frame leaves Asterisk.
UNSURE = 0.005

_Key = tuple[int, int]


class MediaWebSocketMedia:
    """The MediaStream of a MediaWebSocketLine. ``quiet``: seconds from the start without any sound after which it is
    given up; one who was heard may pause for ``MAX_PAUSE``."""

    streams = True

    def __init__(
        self,
        line: MediaWebSocketLine,
        ticker: Ticker,
        post: Post,
        clock: Callable[[], float] = time.monotonic,
        *,
        quiet: float = 5.0,
    ) -> None:
        self.rate = line.rate
        self._line = line
        self._ticker = ticker
        self._post = post
        self._clock = clock
        self._playout = Playout(line.rate)
        self._silence = bytes(frame_bytes(line.rate))
        self._queue = FarQueue(clock())
        # number, frame, is it sound: those that Asterisk has, and what has only just left
        self._frames: deque[tuple[int, bytes, bool]] = deque()
        self._marks: deque[tuple[int, Sequence[News]]] = deque()  # not yet told: frame, what is true when it leaves
        self._begun: dict[_Key, int] = {}  # the frame that a clip began in
        self._starts: dict[_Key, float] = {}
        self._next_mark = 0
        self._has_marks = True
        self._in_vain = 0.0  # marks that were not told, as long as none was
        self._may_send = True
        self._ticking: int | None = None
        self._is_over = False
        self._is_heard = False
        self._quiet = quiet
        self._give_up_at = 0.0

    def start(self) -> None:
        if self._ticking is not None or self._is_over:
            return
        if not self._line.listen(self):
            self._end()
        else:
            self._give_up_at = self._clock() + self._quiet
            self._ticking = self._ticker.add(self._tick)
            self._fill([])

    def play(self, clip: Clip) -> None:
        if self._is_over:
            self._post(Played(clip.turn, clip.number, clip.start))
            return
        key = (clip.turn, clip.number)
        self._starts[key] = clip.start
        self._playout.add(key, clip.audio, clip.start)
        if self._ticking is not None:
            self._fill([])

    def clear(self) -> None:
        """Silence: Asterisk forgets what it has, and the sound that it would go on with is faded out."""
        if self._playout.is_idle and not self._marks and not self._frames:
            return
        coming = self._cut()
        if any(is_sound for _, _, is_sound in coming) and self._ticking is not None:
            messages: list[bytes | str] = []
            self._flush(messages)
            self._fill(messages, faded(coming[0][1], self.rate))

    def volume(self, gain: float) -> None:
        self._playout.volume(gain)

    def close(self) -> None:
        if not self._is_over:
            self._end()
            self._line.unlisten()
            self._line.send([self._command(wire.Command.FLUSH_MEDIA)])

    # What the line tells

    def on_frame(self, frame: bytes) -> None:
        if not self._is_heard:
            self._is_heard = True
            self._post(MediaStarted(self.rate))
        self._give_up_at = self._clock() + MAX_PAUSE
        self._post(Audio(frame))

    def on_event(self, event: wire.Event) -> None:
        if isinstance(event, wire.MarkProcessed):
            if event.correlation_id.isdecimal():
                self._marked(int(event.correlation_id))
        elif isinstance(event, wire.Xoff):
            self._may_send = False
        elif isinstance(event, wire.Xon):
            self._may_send = True
            self._fill([])

    def on_gone(self) -> None:
        self._end()

    # Frames

    def _tick(self) -> None:
        now = self._clock()
        while self._marks and self._is_due(self._marks[0][0], now):
            self._in_vain += 1
            self._tell(self._marks.popleft()[1])
        self._fill([])
        if now >= self._give_up_at:
            self._give_up_at = float("inf")
            self._post(MediaLost("the caller's sound does not come", final=True))

    def _fill(self, messages: list[bytes | str], first: bytes = b"") -> None:
        """Send what Asterisk should have now, after ``messages`` and the frame ``first``, in one write."""
        now = self._clock()
        while self._frames and self._queue.leaves(self._frames[0][0]) < now - UNSURE:
            self._frames.popleft()
        if first:
            self._give(first, True, (), now, messages)
        if self._may_send:
            self._skip_silence(now, messages)
            waiting = self._queue.waiting(now)
            while waiting < AHEAD and ((is_ready := self._playout.is_ready) or waiting < IDLE):
                frame, news = self._playout.next_frame()
                self._give(frame, is_ready or frame != self._silence, news, now, messages)
                waiting += 1
        if messages:
            self._line.send(messages)

    def _skip_silence(self, now: float, messages: list[bytes | str]) -> None:
        """Where there is something to say and Asterisk has only silence, that need not be waited for."""
        if any(is_sound for _, _, is_sound in self._frames):
            return
        if not self._playout.is_ready or not self._queue.waiting(now):
            return
        while self._marks:
            self._tell(self._marks.popleft()[1])
        self._flush(messages)

    def _flush(self, messages: list[bytes | str]) -> None:
        """Asterisk throws away what it has; what was to be told of that was told."""
        messages.append(self._command(wire.Command.FLUSH_MEDIA))
        self._queue.flush(self._clock())
        self._frames.clear()
        self._next_mark = self._queue.sent

    def _give(
        self, frame: bytes, is_sound: bool, news: Sequence[News], now: float, messages: list[bytes | str]
    ) -> None:
        number = self._queue.send(now)
        for each in news:
            if isinstance(each, Began):
                self._begun[cast("_Key", each.key)] = number
        if news or number >= self._next_mark:
            self._next_mark = number + MARK_EVERY
            self._marks.append((number, news))
            if self._in_vain < MARKS_IN_VAIN:
                messages.append(wire.command(wire.Command.MARK_MEDIA, self._line.start.is_json, str(number)))
        messages.append(frame)
        self._frames.append((number, frame, is_sound))

    def _command(self, what: wire.Command) -> str:
        return wire.command(what, self._line.start.is_json)

    # What the caller heard

    def _marked(self, number: int) -> None:
        """Asterisk gives out frame ``number``."""
        self._has_marks, self._in_vain = True, -math.inf
        self._queue.marked(number, self._clock())
        while self._marks and self._marks[0][0] <= number:
            self._tell(self._marks.popleft()[1])

    def _is_due(self, frame: int, now: float) -> bool:
        """The mark before ``frame`` should have been told: by the clock where there are none, else after patience."""
        late = now - self._queue.leaves(frame)
        if late > MARK_PATIENCE:
            self._has_marks = False
        return late >= (MARK_PATIENCE if self._has_marks else 0.0)

    def _tell(self, news: Sequence[News]) -> None:
        for each in news:
            key = cast("_Key", each.key)
            if isinstance(each, Began):
                self._post(PlaybackBegan(*key))
            else:
                self._forget(key)
                self._post(Played(*key, each.heard))

    def _cut(self) -> Sequence[tuple[int, bytes, bool]]:
        """Every clip is reported with what has left Asterisk by now. Returns the frames that have not."""
        first = self._queue.left(self._clock())
        coming = [each for each in self._frames if each[0] >= first]
        marks, self._marks = self._marks, deque()
        for number, news in (*marks, (self._queue.sent, self._playout.clear(fade=False))):
            for each in news:
                self._tell_cut(number, each, first, coming)
        return coming

    def _tell_cut(self, number: int, news: News, first: int, coming: Sequence[tuple[int, bytes, bool]]) -> None:
        """``news`` was to be true with frame ``number``, but nothing from frame ``first`` on is heard."""
        key = cast("_Key", news.key)
        if isinstance(news, Began):
            if number < first:
                self._post(PlaybackBegan(*key))
            return
        begun, start = self._begun.get(key, number), self._starts.get(key, 0.0)
        lost = sum(is_sound for at, _, is_sound in coming if begun <= at < number) * FRAME_SECONDS
        heard = min(news.heard, max(start, news.heard - lost))
        self._forget(key)
        self._post(Played(*key, heard))

    def _forget(self, key: _Key) -> None:
        self._begun.pop(key, None)
        self._starts.pop(key, None)

    def _end(self) -> None:
        self._is_over = True
        if self._ticking is not None:
            self._ticker.remove(self._ticking)
            self._ticking = None
        self._cut()
