"""A real Asterisk on loopback, with the files of conf/asterisk as an operator has them."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import gevent

REPOSITORY = Path(__file__).parents[2]
CONF = REPOSITORY / "conf" / "asterisk"
#: Where the trunk's calls come from: what comes from 127.0.0.1 is telephones.
TRUNK_HOST = "127.0.0.2"
#: Calls of the trunk to `9<five digits of a port><DID>` reach an agent at that port of 127.0.0.1, any others the agent
#: at the port of the session. `1XXX` rings at the trunk, `8<context>.<DID>` goes to another context.
TEST_DIALPLAN = """
[inbound]
exten => _9XXXXXX!,1,Set(AUDIOSOCKET_ADDR=127.0.0.1:${EXTEN:1:5})
 same => n,Goto(ai-inbound,${EXTEN:6},1)
exten => _ari.X!,1,Goto(ai-agent,${EXTEN:4},1)
exten => _ws.X!,1,Goto(ai-agent-websocket,${EXTEN:3},1)

[ai-transfer]
exten => _2XXX,1,Dial(PJSIP/${EXTEN}@${SIP_TRUNK},20)
 same => n,Hangup()
"""
#: What Asterisk asks for and can do without; empty, it does not complain of them.
EMPTY = ("acl", "ccss", "cdr", "cel", "features", "pjproject", "pjsip_notify", "sorcery", "stasis", "udptl")
INDICATIONS = "[general]\ncountry = us\n[us]\ndescription = US\nringcadence = 2000,4000\nring = 440+480/2000,0/4000\n"
DIRECTORIES = """
[directories]
astetcdir => {run}/conf
astmoddir => {modules}
astvarlibdir => {run}/varlib
astdbdir => {run}/varlib
astkeydir => {run}/varlib
astdatadir => {run}/data
astagidir => {run}/data/agi-bin
astspooldir => {run}/spool
astrundir => {run}/run
astlogdir => {run}/log
astsbindir => {run}
astcachedir => {run}/cache

[options]
verbose = 3
nocolor = yes
documentation_language = en_US
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Of 127.0.0.1, but ``trunk`` is the UDP port at TRUNK_HOST that calls over the trunk go to."""

    sip: int
    trunk: int
    ami: int
    http: int
    audiosocket: int
    websocket: int
    rtp: int
    """The first of 200."""


@dataclass(frozen=True, slots=True)
class Secrets:
    ami: str = "an-ami-secret-of-the-tests"
    ari: str = "an-ari-password-of-the-tests"
    phone: str = "a-phone-password-of-the-tests"

    def environment(self) -> dict[str, str]:
        return {
            "ASTERISK_AMI_SECRET": self.ami,
            "ASTERISK_ARI_PASSWORD": self.ari,
            "PHONE_PASSWORD": self.phone,
        }


def free_ports() -> Ports:
    """Not of the system's own range (``ip_local_port_range``): agents come and go at theirs for minutes, and meanwhile
    any connection of this machine might get them."""
    chance, taken = random.SystemRandom(), set[int]()

    def free(kind: socket.SocketKind, among: range, host: str = "127.0.0.1") -> int:
        for port in chance.sample(among, 100):
            with socket.socket(socket.AF_INET, kind) as sock, suppress(OSError):
                sock.bind((host, port))
                if port not in taken:
                    taken.add(port)
                    return port
        raise OSError(f"no free port among {among}")

    udp = range(6000, 10000)  # Asterisk's sound is above, sipp's (16384-32767) too
    sip, trunk = free(socket.SOCK_DGRAM, udp), free(socket.SOCK_DGRAM, udp, TRUNK_HOST)
    tcp = [free(socket.SOCK_STREAM, range(17000, 32000)) for _ in range(4)]
    return Ports(sip, trunk, *tcp, rtp=chance.randrange(10000, 16000, 200))


def write_conf(to: Path, ports: Ports, secrets: Secrets) -> None:
    """The operator's files with this session's ports and addresses; KeyError if one of them has changed its words."""
    to.mkdir(parents=True)
    for file in CONF.glob("*.conf"):
        text = file.read_text()
        for old, new in substitutions(ports).get(file.name, {}).items():
            if old not in text:
                raise KeyError(f"{file}: {old!r} is not there any more")
            text = text.replace(old, new)
        (to / file.name).write_text(text)
    with (to / "extensions.conf").open("a") as dialplan:
        dialplan.write(TEST_DIALPLAN)
    for name in EMPTY:
        (to / f"{name}.conf").write_text("")
    (to / "indications.conf").write_text(INDICATIONS)
    (to / "logger.conf").write_text("[logfiles]\nfull.log => notice,warning,error,verbose\n")
    (to / "rtp.conf").write_text(f"[general]\nrtpstart = {ports.rtp}\nrtpend = {ports.rtp + 199}\n")
    subprocess.run(
        [CONF / "make-secrets.sh", to], env=os.environ | secrets.environment(), check=True, capture_output=True
    )


def substitutions(ports: Ports) -> Mapping[str, Mapping[str, str]]:
    """File -> what an operator would change -> what it becomes."""
    return {
        "pjsip.conf": {
            "bind = 127.0.0.1:5060": f"bind = 127.0.0.1:{ports.sip}",
            "contact = sip:192.0.2.10:5060": f"contact = sip:{TRUNK_HOST}:{ports.trunk}",
            "match = 192.0.2.10": f"match = {TRUNK_HOST}",
        },
        "manager.conf": {"port = 5038": f"port = {ports.ami}"},
        "http.conf": {"bindport = 8088": f"bindport = {ports.http}"},
        "websocket_client.conf": {"ws://127.0.0.1:9093/": f"ws://127.0.0.1:{ports.websocket}/"},
    }


class RealAsterisk:
    """Runs from ``start`` to ``stop``. ``root`` is where tools/asterisk.sh unpacked it, ``run`` a directory of ours."""

    def __init__(self, root: Path, run: Path) -> None:
        self.run = run
        self.ports = free_ports()
        self.secrets = Secrets()
        self._program = root / "run"
        self._process: subprocess.Popen[bytes] | None = None
        write_conf(run / "conf", self.ports, self.secrets)
        for name in ("varlib", "run", "log", "cache", "data", "spool/tmp", "spool/recording", "spool/outgoing"):
            (run / name).mkdir(parents=True)
        for each in (root / "root/usr/share/asterisk").iterdir():
            if each.name != "sounds":
                (run / "data" / each.name).symlink_to(each)
        sounds = run / "data/sounds/en/esl_agent"
        sounds.mkdir(parents=True)
        shutil.copy(REPOSITORY / "freeswitch/sounds/unavailable.wav", sounds)
        modules = root / "root" / (root / "modules").read_text().strip()
        (run / "conf/asterisk.conf").write_text(DIRECTORIES.format(run=run, modules=modules))

    @property
    def log(self) -> str:
        path = self.run / "log/full.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, **environment: str) -> None:
        own = {"AUDIOSOCKET_ADDR": f"127.0.0.1:{self.ports.audiosocket}"}
        environment = {k: v for k, v in os.environ.items() if k not in ("SIP_TRUNK", "VOICEAI_APP")} | own | environment
        with (self.run / "log/stdout.log").open("wb") as out:
            self._process = subprocess.Popen(
                [self._program, "-C", self.run / "conf/asterisk.conf", "-f"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + 20
        while "booted" not in self.cli("core waitfullybooted"):
            assert self._process.poll() is None, f"asterisk ended: {(self.run / 'log/stdout.log').read_text()}"
            assert time.monotonic() < end, f"asterisk did not come up: {self.log[-2000:]}"
            gevent.sleep(0.05)

    def cli(self, command: str) -> str:
        """What Asterisk's console answers to one command; empty while there is none."""
        found = subprocess.run(
            [self._program, "-C", self.run / "conf/asterisk.conf", "-rx", command],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False,
        )  # fmt: skip
        return found.stdout.decode(errors="replace")

    def channels(self) -> list[str]:
        """Names of the channels there are."""
        lines = self.cli("core show channels concise").splitlines()
        return [line.split("!")[0] for line in lines if "!" in line]

    def complaints(self) -> list[str]:
        """Warnings and errors of the log."""
        return [line for line in self.log.splitlines() if re.search(r"\] (WARNING|ERROR)\[", line)]

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.kill()  # it has nothing to save, and takes a second to end politely
        self._process.wait(5)
