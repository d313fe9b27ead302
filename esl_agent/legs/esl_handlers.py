"""greenswitch's event handlers, in a greenlet of their own: a handler may block and may send commands.

Names are greenswitch's: an Event-Name, the Event-Subclass of a CUSTOM event, ``DISCONNECT`` for a disconnect notice,
``*`` for events that have no handler of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gevent

from esl_agent.legs.esl_outcome import guarded
from esl_agent.wire import esl

Handler = Callable[[Any], object]

MAX_QUEUED = 1000
"""Events that wait for a slow handler; a call has 15-30 in all."""

GRACE = 5.0
"""Seconds handlers have after the connection's end to work off what is queued (the hang-up event among it)."""


class Handlers:
    """Registered handlers of one session and the events that wait for them. No greenlet runs while nothing waits."""

    def __init__(self, session: object, max_queued: int = MAX_QUEUED) -> None:
        self.by_name: dict[str, list[Handler]] = {}
        self.dropped = self.failed = 0
        self._session = session
        self._queue: deque[tuple[list[Handler], Any]] = deque()
        self._max_queued = max_queued
        self._worker: gevent.Greenlet | None = None

    def register(self, name: str, handler: Handler) -> None:
        """A handler registered twice is called once."""
        handlers = self.by_name.setdefault(name, [])
        if handler not in handlers:
            handlers.append(handler)

    def unregister(self, name: str, handler: Handler) -> None:
        """Raises ValueError when nothing is registered under ``name``, or not this."""
        if name not in self.by_name:
            raise ValueError(f"No handlers found for event: {name}")
        self.by_name[name].remove(handler)
        if not self.by_name[name]:
            del self.by_name[name]

    def offer(self, frame: esl.Frame) -> None:
        """Queues a frame if there is a handler for it. Never blocks; a full queue drops the frame and counts it."""
        if not self.by_name:
            return
        if isinstance(frame, esl.Event):
            name = frame.subclass or frame.name
        elif isinstance(frame, esl.Disconnect):
            name = "DISCONNECT"
        else:
            name = "log"
        handlers = self.by_name.get(name) or self.by_name.get("*")
        if not handlers:
            return
        if len(self._queue) >= self._max_queued:
            self.dropped += 1
            return
        self._queue.append((list(handlers), frame))
        if self._worker is None:
            self._worker = gevent.spawn(self._work)

    def greenlets(self) -> int:
        """One while handlers run, else none."""
        return int(self._worker is not None)

    def close(self, grace: float = GRACE) -> None:
        """No handler runs longer than ``grace`` seconds from now. Never blocks."""
        worker = self._worker
        if worker is not None:
            reaper = gevent.spawn_later(grace, worker.kill, block=False)
            worker.link(lambda _: reaper.kill(block=False))

    def _work(self) -> None:
        try:
            while self._queue:
                handlers, frame = self._queue.popleft()
                before, after = (getattr(self._session, name, None) for name in ("before_handle", "after_handle"))
                for handler in [before, *handlers, after]:
                    if handler is not None and not guarded(handler, frame):
                        self.failed += 1
        finally:
            self._worker = None
