"""The sound of one utterance: kept whole while it is spoken, for as many recognisers as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import gevent
from gevent.event import Event


class Feed:
    """Grows by ``add`` until ``end``. Each ``iter`` reads it from its beginning and follows it to its end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.pieces: list[bytes] = []
        self.ended_at: float | None = None
        """When the sound ended, by ``clock``."""
        self._clock = clock
        self._more = Event()

    def add(self, pcm: bytes) -> None:
        self.pieces.append(pcm)
        self.wake()

    def end(self) -> None:
        """No more sound comes. Idempotent."""
        if self.ended_at is None:
            self.ended_at = self._clock()
            self.wake()

    def __iter__(self) -> Reader:
        return Reader(self)

    def wait(self) -> None:
        """Until something changes."""
        self._more.wait()

    def wake(self) -> None:
        waited, self._more = self._more, Event()
        waited.set()

    def wait_for_end(self) -> None:
        while self.ended_at is None:
            self.wait()


class Reader:
    """Reads a feed. A recogniser that was given up may have a thread that still reads: ``close`` ends it."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.taken = 0
        """Bytes that were read."""
        self._at = 0
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        feed = self.feed
        while not self._is_closed:
            if self._at < len(feed.pieces):
                self._at += 1
                piece = feed.pieces[self._at - 1]
                self.taken += len(piece)
                return piece
            if feed.ended_at is not None:
                break
            feed.wait()
        raise StopIteration

    def close(self) -> None:
        """It has ended, whatever is left of the sound. Idempotent."""
        self._is_closed = True
        self.feed.wake()


def pumped(audio: Iterator[bytes], clock: Callable[[], float]) -> tuple[Feed, gevent.Greenlet | None]:
    """The feed that ``audio`` reads, or a new one with the greenlet that fills it; kill that when nobody reads."""
    if isinstance(audio, Reader):
        return audio.feed, None
    feed = Feed(clock)

    def pump() -> None:
        try:
            for piece in audio:
                feed.add(piece)
        finally:
            feed.end()

    return feed, gevent.spawn(pump)
