"""systemd is told that the service is ready, lives and stops."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from esl_agent.systemd import Systemd


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(10.0)
        yield made


def told(manager: socket.socket) -> bytes:
    return manager.recv(100)


def test_it_is_told_that_calls_can_come_and_that_none_are_taken_any_more(manager):
    systemd = Systemd({"NOTIFY_SOCKET": manager.getsockname()})
    systemd.ready()
    systemd.stopping()
    assert (told(manager), told(manager)) == (b"READY=1", b"STOPPING=1")
    systemd.close()
    systemd.stopping()


def test_a_name_without_a_file_is_meant_by_an_at_sign():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0esl-agent-{os.getpid()}")
        manager.settimeout(10.0)
        systemd = Systemd({"NOTIFY_SOCKET": f"@esl-agent-{os.getpid()}"})
        systemd.ready()
        assert told(manager) == b"READY=1"
        systemd.close()


def test_signs_of_life_come_while_the_hub_runs_and_stop_with_the_service(manager):
    systemd = Systemd({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000"})
    systemd.ready()
    assert [told(manager) for _ in range(4)] == [b"READY=1"] + [b"WATCHDOG=1"] * 3
    systemd.close()
    manager.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while told(manager):
            pass
    gevent.sleep(0.03)
    with pytest.raises(BlockingIOError):
        told(manager)


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "20000"}, {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}],
)
def test_who_does_not_ask_is_told_no_signs_of_life(manager, environment):
    systemd = Systemd({"NOTIFY_SOCKET": manager.getsockname() if "WATCHDOG_PID" in environment else "", **environment})
    systemd.ready()
    gevent.sleep(0.02)
    systemd.close()
    manager.settimeout(0.05)
    wanted = [b"READY=1"] if "WATCHDOG_PID" in environment else []
    for each in wanted:
        assert told(manager) == each
    with pytest.raises(TimeoutError):
        told(manager)


def test_a_manager_that_is_gone_costs_a_line_of_the_log(tmp_path, caplog):
    systemd = Systemd({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    systemd.ready()
    systemd.close()
    assert "systemd is not told READY=1" in caplog.text
