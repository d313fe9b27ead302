"""Waiting for what a loopback peer does."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits for what must come: a few milliseconds in all but the worst case."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        gevent.sleep(0.001)
