"""Names of hosts are looked up in threads of their own.

gevent's resolver uses the hub's ten threads, which write records and clips too. A look-up takes as long as the system
waits for a name server that is silent (resolv.conf(5): 5 s a try, up to 30 s altogether), and whoever asked, was given
up and asks again would take the next thread: ten of them, and no call is written down or heard any more.
"""

from __future__ import annotations

import _socket
import socket
from typing import Any

import gevent
from gevent import get_hub
from gevent.resolver import thread
from gevent.threadpool import ThreadPool

#: Different names that are looked up at the same time.
THREADS = 16


class Resolver(thread.Resolver):
    """gevent's, with a pool of its own. Those who ask for the same name wait for the same answer; nobody waits for that
    of an address."""

    def __init__(self, hub: Any) -> None:
        super().__init__(hub)
        self.pool = ThreadPool(THREADS, hub=hub)
        self._under_way: dict[tuple[Any, ...], gevent.Greenlet] = {}

    def getaddrinfo(self, *question: Any, **more: Any) -> Any:
        """As ``socket.getaddrinfo``."""
        key = (*question, *sorted(more.items()))
        if (known := _address(*question, **more)) is not None:
            return known
        if key not in self._under_way:
            self._under_way[key] = gevent.spawn(self._look_up, key, question, more)
        found = self._under_way[key].get()
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return found

    def _look_up(self, key: tuple[Any, ...], question: tuple[Any, ...], more: dict[str, Any]) -> Any:
        """The answer, or the exception that it is."""
        try:
            return self.pool.apply(_socket.getaddrinfo, question, more)
        except (OSError, ValueError, TypeError, OverflowError) as error:  # goes to all who wait
            return error
        finally:
            del self._under_way[key]


def _address(
    host: Any, port: Any = None, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
) -> list[Any] | None:
    """What ``getaddrinfo`` says of ``host``, if that is an address and not a name."""
    if not host or not (port is None or str(port).isdigit()):
        return None
    try:
        return _socket.getaddrinfo(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
    except (OSError, ValueError, TypeError, OverflowError):
        return None


def install() -> None:
    """For the hub of this thread."""
    get_hub().resolver = Resolver(get_hub())
