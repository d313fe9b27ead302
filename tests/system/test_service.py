"""The real process: ``python -m esl_agent serve``, its signals and its exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from service import until, write_conf, write_did

from esl_agent.testing.caller import PretendCaller
from esl_agent.testing.freeswitch import PretendFreeSwitch
from esl_agent.testing.fs_call import PretendCall

pytestmark = pytest.mark.system

#: Seconds until the service says that it is ready.
START = 20.0


class Process:
    """The service as an operator runs it."""

    def __init__(self, directory: Path, **conf: object) -> None:
        self.directory = directory
        self.esl = write_conf(directory, dids=["5000"], **conf)
        self._log = directory / "agent.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "esl_agent", "serve", "--conf", str(directory)],
                stderr=log,
                cwd=Path(__file__).parents[2],
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self.wait_for("ready:")
        self.switch = PretendFreeSwitch(("127.0.0.1", self.esl))

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for(self, text: str, count: int = 1) -> None:
        until(lambda: self.log.count(text) >= count or self.process.poll() is not None, START, lambda: self.log)
        assert self.log.count(text) >= count, self.log

    def call(self, did: str = "5000") -> PretendCall:
        return self.switch.call(did, audio=PretendCaller([]))

    def answered(self, did: str = "5000") -> PretendCall:
        call = self.call(did)
        until(lambda: call.is_answered, why=lambda: self.log)
        return call

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def exit_status(self, seconds: float = 8.0) -> int:
        until(lambda: self.process.poll() is not None, seconds, lambda: self.log)
        return int(self.process.returncode)

    def close(self) -> None:
        self.switch.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def process(tmp_path) -> Iterator[Process]:
    made = Process(tmp_path)
    yield made
    made.close()


def test_a_stopped_service_finishes_its_calls_takes_no_new_ones_and_exits_with_0(process):
    call = process.answered()
    process.signal(signal.SIGTERM)
    process.wait_for("draining: 1 calls")
    late = process.call()
    assert late.wait(3.0)
    assert (late.hangup_cause, late.is_answered) == ("USER_BUSY", False)
    assert call.machine.is_up
    assert process.process.poll() is None
    call.hang_up()
    assert process.exit_status() == 0
    assert not list((process.directory / "clips").iterdir())
    assert "Traceback" not in process.log


def test_a_stopped_service_says_goodbye_to_calls_that_do_not_end(tmp_path):
    process = Process(tmp_path, drain=4.0)
    try:
        call = process.answered()
        process.signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.exit_status(12.0) == 0
        assert time.monotonic() - began < 10.0
        until(lambda: not call.machine.is_up)
        assert "end_requested" in process.log
    finally:
        process.close()


def test_an_idle_service_stops_at_once(process):
    process.signal(signal.SIGINT)
    assert process.exit_status() == 0


def test_a_reload_is_for_calls_to_come_and_a_bad_file_changes_nothing(process):
    call = process.answered()
    assert process.call("7000").wait(3.0)
    write_did(process.directory, "7000")
    (process.directory / "dids" / "5000.yaml").unlink()
    process.signal(signal.SIGHUP)
    process.wait_for("reloaded: 1 DIDs")
    process.answered("7000")
    gone = process.call("5000")
    assert gone.wait(3.0)
    assert gone.hangup_cause == "UNALLOCATED_NUMBER"
    assert call.machine.is_up

    bad = process.directory / "dids" / "8000.yaml"
    for number, text in enumerate(("did: [", "did: 8000\nunknown: 1\n", "did: 7000\n", "\x00", ""), 1):
        bad.write_text(text)
        process.signal(signal.SIGHUP)
        process.wait_for("reload refused", number)
    bad.write_bytes(b"\xff\xfe")
    process.signal(signal.SIGHUP)
    time.sleep(0.2)
    (process.directory / "agent.yaml").rename(process.directory / "agent.gone")
    process.signal(signal.SIGHUP)
    time.sleep(0.2)
    assert "Traceback" not in process.log
    process.answered("7000")
    assert call.machine.is_up


def test_a_service_whose_port_is_taken_says_so_and_exits(process, tmp_path_factory):
    directory = tmp_path_factory.mktemp("second")
    write_conf(directory, dids=["5000"])
    (directory / "agent.yaml").write_text((process.directory / "agent.yaml").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "esl_agent", "serve", "--conf", str(directory)],
        capture_output=True,
        text=True,
        timeout=20.0,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "in use" in done.stderr
