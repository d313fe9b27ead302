"""Processes of a benchmark: started, spoken with line by line, and what CPU they used."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def start(command: Sequence[str], core: Iterable[int] = ()) -> subprocess.Popen[str]:
    """In the repository, on the cores given, or anywhere."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if wanted := set(core):
        os.sched_setaffinity(process.pid, wanted)  # before it has begun any thread: it takes longer to start
    return process


def hear(process: subprocess.Popen[str], word: str) -> str:
    """The next line it says, which begins with ``word``."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith(word):
        raise SystemExit(f"bench: expected {word!r} from {process.args!r}, got {line!r}")
    return line


def tell(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(word + "\n")
    process.stdin.flush()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def cpu_of(process: int) -> float:
    """Seconds of CPU used so far by a process and its children."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    children = [int(x) for file in Path(f"/proc/{process}/task").glob("*/children") for x in file.read_text().split()]
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + sum(map(cpu_of, children))


def cpu_of_all() -> float:
    """... by the whole machine, its interrupts and stolen time included."""
    user, nice, system, _idle, _iowait, irq, softirq, stolen = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")
