"""What ``bench.asterisk`` runs on: a real Asterisk, servers for it to connect to, and telephones that call."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from bench.processes import ROOT, free_ports, hear, start, tell
from esl_agent.audio.g711 import LAWS
from esl_agent.audio.pcm import Sound
from esl_agent.testing.caller import recording
from esl_agent.testing.line import telephone, trim
from esl_agent.testing.pretend_realtime import KEY
from tests.asterisk.switch import TRUNK_HOST, RealAsterisk

#: RTP ports of Asterisk: two for each of 110 calls, below sipp's.
RTP, RTP_PORTS = 10900, 400
#: Calls that sipp begins in a second.
RAMP = 40.0
#: Asterisk's own echo, for callers from the trunk.
DIALPLAN = "\n[inbound]\nexten => 600,1,Answer()\n same => n,Echo()\n"
#: Numbers that are measured: ``hummers`` are sent back what they say, ``talkers`` speak over the agent.
HUMMERS, TALKERS = ("5001", "5002", "5003"), ("6001", "6002", "6003")
#: What sipp's callers say, over and over: a sentence and a pause.
PHRASE, PAUSE = "something-terribly-wrong", 2.0
_PYTHON = [sys.executable, "-m"]
_PATCHED = [*_PYTHON, "gevent.monkey", "--module"]


class Unavailable(Exception):
    """Why there is nothing to measure with."""


class World:
    """Processes that last for the whole benchmark. Use as a context manager."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="bench-asterisk-")
        self.path = Path(self._directory.name)
        cores = sorted(os.sched_getaffinity(0))
        self.agent_core = cores[:1] if len(cores) > 1 else []
        """The agent's alone; Asterisk, telephones and services have the others."""
        self.other_cores = cores[1:]
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.asterisk: RealAsterisk | None = None
        self.plain_port, self.echo_port = free_ports(2)
        self.talking_url = ""
        self.plain_is = ""

    def __enter__(self) -> World:
        try:
            self._start_asterisk()
            self._start_plain()
            self._start("echo service", [*_PYTHON, "bench.asterisk.echo_service", str(self.echo_port)])
            talking = [*_PATCHED, "bench.asterisk.talking_service", str(self.path / "talking.pickle")]
            self.talking_url = self._start("talking service", talking).split()[1]
            self._write_speech()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.stop(name)
        if self.asterisk is not None:
            self.asterisk.stop()
        self._directory.cleanup()

    def stop(self, name: str) -> None:
        if (process := self.processes.pop(name, None)) is not None:
            process.kill()
            process.communicate()

    @property
    def switch(self) -> RealAsterisk:
        assert self.asterisk is not None
        return self.asterisk

    # What lasts

    def _start_asterisk(self) -> None:
        if shutil.which("sipp") is None:
            raise Unavailable("there is no sipp here (Debian: apt install sip-tester)")
        found = subprocess.run(
            [ROOT / "tools/asterisk.sh"], stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False
        )
        if found.returncode != 0:
            said = found.stderr.decode(errors="replace").strip().splitlines()
            raise Unavailable(f"no real Asterisk: {said[-1] if said else 'tools/asterisk.sh failed'}")
        switch = self.asterisk = RealAsterisk(ROOT / ".asterisk", self.path / "asterisk")
        with (switch.run / "conf/extensions.conf").open("a") as file:
            file.write(DIALPLAN)
        (switch.run / "conf/rtp.conf").write_text(f"[general]\nrtpstart = {RTP}\nrtpend = {RTP + RTP_PORTS - 1}\n")
        (switch.run / "conf/logger.conf").write_text("[logfiles]\nfull.log => warning,error\n")
        switch.start()
        if self.other_cores:
            subprocess.run(
                ["taskset", "-acp", ",".join(map(str, self.other_cores)), str(switch.pid)],
                stdout=subprocess.DEVNULL, check=True,
            )  # fmt: skip

    def _start_plain(self) -> None:
        """In C where there is a compiler."""
        here = Path(__file__).parent
        compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
        if compiler is None:
            self.plain_is = "plain Python: there is no C compiler here"
            command = [sys.executable, str(here / "plain_echo.py")]
        else:
            made = str(self.path / "plain_echo")
            subprocess.run([compiler, "-O2", "-o", made, here / "plain_echo.c"], check=True, timeout=60)
            self.plain_is = "C"
            command = [made]
        self._start("plain echo", [*command, str(self.plain_port)])

    def _start(self, name: str, command: Sequence[str], core: Sequence[int] | None = None) -> str:
        process = self.processes[name] = start(command, self.other_cores if core is None else core)
        return hear(process, "ready")

    def _write_speech(self) -> None:
        speech = telephone(trim(recording(PHRASE)), 8000)
        said = Sound(speech.pcm + bytes(round(PAUSE * 8000) * 2), 8000)
        (self.path / "speech.alaw").write_bytes(LAWS["PCMA"].encode(said.pcm))
        scenario = (ROOT / "tests/asterisk/sipp_caller.xml").read_text()
        scenario = scenario.replace('"SPEECH,', f'"{self.path / "speech.alaw"},')
        (self.path / "caller.xml").write_text(scenario)

    # An agent

    def start_agent(self, subject: str) -> int:
        """The agent process of ``subject``: ``echo``, ``bridge`` or ``cascade``. The port for Asterisk."""
        directory = self.path / subject
        (directory / "dids").mkdir(parents=True)
        (port,) = free_ports(1)
        switch = self.switch
        (directory / "ami.secret").write_text(switch.secrets.ami)
        (directory / "realtime.key").write_text(KEY)
        ami = {"server": f"127.0.0.1:{switch.ports.ami}", "secret_file": str(directory / "ami.secret")}
        service: dict[str, Any] = {
            "clips": {"directory": str(directory / "clips")},
            "cache": {"directory": ""},
            "asterisk": {"enabled": True, "max_calls": 250, "audiosocket": {"port": port}, "ami": ami},
        }
        (directory / "agent.yaml").write_text(yaml.safe_dump(service))
        for name in ("default", *HUMMERS, *TALKERS):
            did = {"default": True} if name == "default" else {"did": name}
            did |= {"prompt": f"You are number {name}.", "phrases": {"greeting": "Hello, how can I help you?"}}
            if subject == "bridge":
                url = self.talking_url if name in TALKERS else f"ws://127.0.0.1:{self.echo_port}/v1/realtime"
                did |= {"agent": {"engine": "openai_realtime", "url": url, "api_key_file": f"{directory}/realtime.key"}}
                did |= {"tts": "embedded"}
            (directory / "dids" / f"{name}.yaml").write_text(yaml.safe_dump(did))
        command = [*_PATCHED, "bench.asterisk.agent_side", str(directory), subject, ",".join(HUMMERS)]
        self._start("agent", command, self.agent_core)
        return port

    # Calls

    def start_callers(self, calls: Sequence[tuple[str, str]], *, with_services: bool) -> None:
        """The telephones that measure: (role, number). They are ``up`` when this returns."""
        wanted = {
            "host": TRUNK_HOST,
            "port": self.switch.ports.sip,
            "calls": list(calls),
            "service": str(self.path / "echo.pickle") if with_services else "",
            "talking": str(self.path / "talking.pickle") if with_services else "",
        }
        command = [*_PYTHON, "bench.asterisk.callers", json.dumps(wanted)]
        process = self.processes["callers"] = start(command, self.other_cores)
        hear(process, "up")

    def start_sipp(self, number: str, calls: int) -> None:
        """``calls`` callers who talk until they are hung up on."""
        if not calls:
            return
        command = [
            "sipp", f"127.0.0.1:{self.switch.ports.sip}", "-i", TRUNK_HOST, "-sf", str(self.path / "caller.xml"),
            "-s", number, "-m", str(calls), "-l", str(calls), "-r", str(int(RAMP)), "-d", "600000", "-nostdin",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, cwd=self.path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        self.processes["sipp"] = process
        if self.other_cores:
            os.sched_setaffinity(process.pid, set(self.other_cores))
        time.sleep(calls / RAMP)

    def settle(self) -> None:
        """All calls are there: echoes begin anew."""
        tell(self.processes["echo service"], "settle")
        if (agent := self.processes.get("agent")) is not None:
            tell(agent, "settle")

    def collect(self) -> None:
        """What both services have seen is written for the callers."""
        tell(self.processes["echo service"], f"collect {self.path / 'echo.pickle'}")
        tell(self.processes["talking service"], "collect")
        for name in ("echo service", "talking service"):
            hear(self.processes[name], "collected")

    def hang_up(self) -> None:
        """Nobody is left in Asterisk."""
        self.switch.cli("channel request hangup all")
        end = time.monotonic() + 10
        while self.switch.channels():
            if time.monotonic() > end:
                raise SystemExit(f"bench: calls do not end: {self.switch.channels()[:5]}")
            time.sleep(0.1)
        if (sipp := self.processes.get("sipp")) is not None:
            with suppress(subprocess.TimeoutExpired):
                sipp.wait(3)
            self.stop("sipp")
        self.stop("callers")
