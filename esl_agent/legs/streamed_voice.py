"""The agent's voice where we send every frame ourselves: one Playout, the shared clock, and what both tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from esl_agent.audio.pcm import FRAME_SECONDS
from esl_agent.audio.playout import Began, News, Playout
from esl_agent.dialogue.events import PlaybackBegan, Played
from esl_agent.legs.base import Clip, Post

#: More frames than this are not made up for: whoever waited for them has given up.
MAX_MISSED = 25


class Ticker(Protocol):
    """``playout_clock.PlayoutClock`` is one."""

    def add(self, tick: Callable[[], None]) -> int: ...
    def remove(self, number: int) -> None: ...


class StreamedVoice:
    """Plays the clips of one call through ``send``, a frame of ``rate`` every 20 ms while it is open.

    Until it is opened, and while it is paused, clips wait and their positions stand still. Silence is sent too: the
    caller's network sees one steady stream.

    With ``clock`` frames that the ticker left out are made up for: a peer that holds a little sound back, and counts on
    50 frames a second, would run dry otherwise and stay so.
    """

    def __init__(
        self,
        rate: int,
        ticker: Ticker,
        send: Callable[[bytes], None],
        post: Post,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._playout = Playout(rate)
        self._ticker = ticker
        self._send = send
        self._post = post
        self._clock = clock
        self._opened_at = 0.0
        self._sent = 0
        self._ticking: int | None = None
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        """A clip is queued, or its end not told yet."""
        return not self._playout.is_idle

    def open(self) -> None:
        """The first frame leaves now, the others follow. Idempotent."""
        if self._ticking is None and not self._is_closed:
            self._ticking = self._ticker.add(self._tick)
            if self._clock is not None:
                self._opened_at, self._sent = self._clock(), 0
            self._tick()

    def pause(self) -> None:
        """Nobody hears us: no frame leaves until ``open``. Idempotent."""
        if self._ticking is not None:
            self._ticker.remove(self._ticking)
            self._ticking = None

    def play(self, clip: Clip) -> None:
        """Queue a clip; exactly one Played will be posted for it."""
        if self._is_closed:
            self._post(Played(clip.turn, clip.number, clip.start))
        else:
            self._playout.add((clip.turn, clip.number), clip.audio, clip.start)

    def clear(self, *, fade: bool = True) -> None:
        """Silence with the next frame. Every clip is reported now, with what left of it."""
        self._tell(self._playout.clear(fade=fade))

    def volume(self, gain: float) -> None:
        self._playout.volume(gain)

    def close(self) -> None:
        """Nothing leaves any more; clips still queued are reported. Idempotent."""
        self.pause()
        self._is_closed = True
        self.clear()
        self._send = _nowhere  # the call's media and its voice need no collector to be freed

    def _tick(self) -> None:
        if self._clock is not None:
            due = int((self._clock() - self._opened_at) / FRAME_SECONDS)
            if due - self._sent > MAX_MISSED:
                self._sent = due
            while self._sent < due and self._ticking is not None:
                self._frame()
        self._frame()

    def _frame(self) -> None:
        self._sent += 1
        frame, news = self._playout.next_frame()
        if news:
            self._tell(news)
        self._send(frame)  # the last: a line may end with it, and what comes then is told after all that was true

    def _tell(self, news: Sequence[News]) -> None:
        for each in news:
            turn, number = cast("tuple[int, int]", each.key)
            if isinstance(each, Began):
                self._post(PlaybackBegan(turn, number))
            else:
                self._post(Played(turn, number, each.heard))


def _nowhere(_: bytes) -> None:
    """Takes what comes after the end."""
