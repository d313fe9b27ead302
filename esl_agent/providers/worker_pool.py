"""Worker processes that do what would hold the hub: one request at a time each, over their standard streams.

Works under patched gevent, where every wait below is cooperative, and just as well without. A worker that dies, or
whose answer is no longer wanted, is replaced at once: it loads while nobody waits for it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from esl_agent.errors import ProviderError, Stage, WireError
from esl_agent.providers.messages import read_message, write_message

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


class Worker:
    """One process running ``python -m module``."""

    def __init__(self, module: str) -> None:
        paths = [_PACKAGE_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C in a terminal ends the agent, which still finishes its calls
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: IO[bytes] = self._process.stdin
        self._from: IO[bytes] = self._process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: bytes) -> Iterator[bytes]:
        """Send ``request``; every message of the answer, up to the empty one that ends it.

        Raises WireError or OSError when the worker dies or talks nonsense; it is of no use after that.
        """
        write_message(self._to, request)
        while message := read_message(self._from):
            yield message
        if message is None:
            raise WireError(f"worker {self.pid} ended in the middle of a request")

    def kill(self) -> bool:
        """End it now. Idempotent, never raises. False: that could not be waited for, as gevent's hub is where we are (a
        generator that nobody closed is closed wherever it is let go of); an AssertionError says so."""
        with contextlib.suppress(OSError):
            self._process.kill()
        for stream in (self._to, self._from):
            with contextlib.suppress(OSError, RuntimeError, AssertionError):
                stream.close()
        try:
            self._process.wait(5.0)
        except AssertionError:
            return False
        except (OSError, subprocess.TimeoutExpired):
            pass
        return True


class WorkerPool:
    """At most ``size`` workers of one module, started when first needed or by ``warm``."""

    def __init__(self, stage: Stage, module: str, size: int) -> None:
        self.stage: Stage = stage
        self.size = size
        self._module = module
        # Owned by this pool: guards the two fields below against requests from other greenlets or threads.
        self._changed = threading.Condition()
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()

    @property
    def busy(self) -> int:
        """How many workers are answering a request now."""
        return len(self._busy)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes there are, idle ones first."""
        return tuple(worker.pid for worker in (*self._idle, *self._busy))

    def warm(self) -> None:
        """Start every worker there may be; returns without waiting for them to load."""
        with self._changed:
            while len(self._idle) + len(self._busy) < self.size:
                self._idle.append(self._started())
            self._changed.notify_all()

    def ask(self, request: bytes) -> Iterator[bytes]:
        """The messages of a worker's answer. Waits for a free worker; the wait has no limit but the caller's.

        Closing the generator early kills the worker. Raises ProviderError(retryable=True) when the worker dies.
        """
        worker = self._borrow()
        spent = False
        try:
            yield from worker.ask(request)
            spent = True
        except (OSError, WireError) as error:
            raise ProviderError(self.stage, f"{self._module}: {error}", retryable=True) from error
        finally:
            self._give_back(worker, usable=spent)

    def close(self) -> None:
        """End every worker. The pool starts new ones when it is used again."""
        with self._changed:
            workers = [*self._idle, *self._busy]
            self._idle.clear()
            self._busy.clear()
            self._changed.notify_all()
        for worker in workers:
            worker.kill()

    def _started(self) -> Worker:
        try:
            return Worker(self._module)
        except OSError as error:
            raise ProviderError(self.stage, f"cannot start {self._module}: {error}", retryable=True) from error

    def _borrow(self) -> Worker:
        with self._changed:
            while True:
                while self._idle:
                    worker = self._idle.pop()
                    if worker.is_alive:
                        break
                    worker.kill()
                else:
                    if len(self._busy) >= self.size:
                        self._changed.wait()
                        continue
                    worker = self._started()
                self._busy.add(worker)
                return worker

    def _give_back(self, worker: Worker, *, usable: bool) -> None:
        with self._changed:
            is_closed = worker not in self._busy  # meanwhile
            self._busy.discard(worker)
            if usable and not is_closed:
                self._idle.append(worker)
            self._changed.notify()
        if (usable and not is_closed) or not worker.kill() or is_closed:
            return
        with self._changed, contextlib.suppress(ProviderError):
            if len(self._idle) + len(self._busy) < self.size:
                self._idle.append(self._started())
                self._changed.notify()


_shared: dict[str, WorkerPool] = {}


def shared_pool(stage: Stage, module: str, size: int) -> WorkerPool:
    """The one pool of ``module`` in this process; every DID that uses the engine shares it. The largest size wins."""
    if module not in _shared:
        _shared[module] = WorkerPool(stage, module, size)
        atexit.register(_shared[module].close)
    pool = _shared[module]
    pool.size = max(pool.size, size)
    return pool


def default_size() -> int:
    """As many workers as there are processors for us, at most eight."""
    return max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))
