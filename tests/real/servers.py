"""Real servers as child processes, and our engines by the names of the YAML."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
from pydantic import TypeAdapter

from esl_agent.errors import Stage
from esl_agent.providers import registry
from esl_agent.providers.base import EngineContext

#: Seconds until a server must answer. The machine may be busy.
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def says(self) -> str:
        return self.log.read_text(errors="replace")


@contextmanager
def running(command: Sequence[str | Path], log: Path, ready: str = "", cwd: Path | None = None) -> Iterator[Running]:
    """``command`` until the block is left. ``ready``: the address that answers when it is ready; without, the server
    says its own address in a line on standard output."""
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if not ready else errors,
            stderr=errors,
            cwd=cwd,
        ) as process,
    ):
        try:
            if ready:
                _await(ready, process, log)
                yield Running(ready.rsplit("/", 1)[0], log, process)
            else:
                assert process.stdout is not None
                with gevent.Timeout(PATIENCE):
                    address = process.stdout.readline().decode().strip()
                assert address, f"{command[0]} said no address: {log.read_text(errors='replace')[-1000:]}"
                yield Running(address, log, process)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def _await(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text(errors="replace")[-1000:]
        with suppress(OSError), urllib.request.urlopen(address, timeout=2):
            return
        time.sleep(0.05)
    raise AssertionError(f"{address} does not answer: {log.read_text(errors='replace')[-1000:]}")


def script(name: str) -> list[str | Path]:
    """The beginning of a command that runs a script of this directory."""
    return [sys.executable, Path(__file__).with_name(name)]


def engine(stage: Stage, name: str, context: EngineContext | None = None, **options: Any) -> Any:
    """The engine that a DID's YAML with these options would have."""
    checked = TypeAdapter(registry.options_class(stage, name)).validate_python(options)
    return registry.make(stage, name, checked, context or EngineContext())
