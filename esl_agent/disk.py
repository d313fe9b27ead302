"""What is read and written aside: a slow disk, or one that is full, holds up no call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gevent

T = TypeVar("T")


def aside(work: Callable[..., T], *arguments: object) -> T:
    """``work(*arguments)`` in a thread of gevent's pool; blocks cooperatively. Its OSError is raised here: of what is
    raised there gevent prints the traceback, which a night with a full disk has for each call."""
    done: list[T] = []
    if (error := gevent.get_hub().threadpool.apply(_caught, (done, work, arguments))) is not None:
        raise error
    return done[0]


def _caught(done: list[T], work: Callable[..., T], arguments: tuple[object, ...]) -> OSError | None:
    try:
        done.append(work(*arguments))
    except OSError as error:
        return error
    return None
