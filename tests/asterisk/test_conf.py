"""conf/asterisk as a real Asterisk loads it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

import gevent
import pytest

from esl_agent.testing.sip_phone import SipPhone
from tests.asterisk.agent import until
from tests.asterisk.switch import CONF, TRUNK_HOST, RealAsterisk

pytestmark = pytest.mark.system
DEFAULTS = {
    "AUDIOSOCKET_ADDR": "127.0.0.1:9092",
    "VOICEAI_APP": "esl_agent",
    "VOICEAI_CALLERID": "",
    "SIP_TRUNK": "trunk",
}


def shown_globals(switch: RealAsterisk) -> dict[str, str]:
    lines = (line.strip().partition("=") for line in switch.cli("dialplan show globals").splitlines())
    return {name: value for name, equals, value in lines if equals}


def listeners(pid: int) -> dict[str, set[tuple[str, int]]]:
    """Protocol -> (address in hex, port) of the sockets that process ``pid`` listens at, IPv4 and IPv6."""
    names = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}
    found: dict[str, set[tuple[str, int]]] = {}
    for protocol, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        rows = [line.split() for line in Path(f"/proc/{pid}/net/{protocol}").read_text().splitlines()[1:]]
        found[protocol] = {
            (row[1].partition(":")[0], int(row[1].partition(":")[2], 16))
            for row in rows
            if row[3] == state and f"socket:[{row[9]}]" in names
        }
    return found


def test_asterisk_loads_the_files_and_has_nothing_to_complain_of(own_asterisk):
    own_asterisk.start()
    assert own_asterisk.complaints() == []
    loaded = own_asterisk.cli("module show")
    wanted = re.findall(r"(?m)^(?:pre)?load = (\S+)", (CONF / "modules.conf").read_text())
    assert len(wanted) > 40
    assert [name for name in wanted if f"\n{name} " not in loaded] == []
    assert "Not Running" not in loaded


def test_asterisk_can_only_be_reached_from_its_own_machine(own_asterisk):
    own_asterisk.start()
    ports = own_asterisk.ports
    found = listeners(own_asterisk.pid)
    assert found["tcp"] == {("0100007F", ports.ami), ("0100007F", ports.http)}
    assert found["tcp6"] == set()
    # PJSIP's name resolver has two sockets at ports of the system's choice, from which it asks.
    assert ("0100007F", ports.sip) in found["udp"]
    assert len(found["udp"] | found["udp6"]) <= 3


def test_what_the_environment_does_not_say_has_a_default(own_asterisk):
    own_asterisk.start(AUDIOSOCKET_ADDR="")
    assert shown_globals(own_asterisk) == DEFAULTS


def test_globals_come_from_the_environment(own_asterisk):
    given = {"AUDIOSOCKET_ADDR": "[fd00::1]:9092", "VOICEAI_APP": "x", "VOICEAI_CALLERID": "+4930123", "SIP_TRUNK": "y"}
    own_asterisk.start(**given)
    assert shown_globals(own_asterisk) == given


def test_without_its_secret_no_interface_is_open(own_asterisk):
    """There is no default that works."""
    for file in (own_asterisk.run / "conf/esl_agent_secrets").iterdir():
        file.unlink()
    own_asterisk.start()
    ports = own_asterisk.ports
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports.ami), 1)
    assert "esl_agent" not in own_asterisk.cli("ari show users")
    assert "1001" not in own_asterisk.cli("pjsip show endpoints")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("ASTERISK_AMI_SECRET", "short", "shorter than 16"),
        ("ASTERISK_ARI_PASSWORD", "sixteen characters; and a comment", "letters, digits"),
        ("PHONE_PASSWORD", "sixteen characters\nread_only = no", "letters, digits"),
    ],
)
def test_a_secret_that_is_none_is_refused(tmp_path, name, value, complaint):
    found = subprocess.run(
        [CONF / "make-secrets.sh", tmp_path],
        env=os.environ | {name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    assert complaint in found.stderr
    assert not list((tmp_path / "esl_agent_secrets").iterdir())


def test_secrets_can_be_read_by_asterisk_only(own_asterisk):
    directory = own_asterisk.run / "conf/esl_agent_secrets"
    assert directory.stat().st_mode & 0o007 == 0
    assert {file.name for file in directory.iterdir()} == {"ami.conf", "ari.conf", "phone.conf"}
    assert all(file.stat().st_mode & 0o777 == 0o640 for file in directory.iterdir())


def test_a_manager_that_knows_the_secret_is_let_in_and_another_is_not(asterisk):
    def login(secret: str) -> bytes:
        with socket.create_connection(("127.0.0.1", asterisk.ports.ami), 2) as sock:
            sock.sendall(f"Action: Login\r\nUsername: esl_agent\r\nSecret: {secret}\r\n\r\n".encode())
            data = b""
            with gevent.Timeout(5):
                while b"\r\n\r\n" not in data:
                    data += sock.recv(4096)
            return data

    assert b"Authentication accepted" in login(asterisk.secrets.ami)
    assert b"Authentication failed" in login("")


def test_the_agent_may_be_named_by_a_host_name(own_asterisk, stand_in):
    """As in a network of containers."""
    own_asterisk.start(AUDIOSOCKET_ADDR=f"localhost:{stand_in.port}")
    phone = SipPhone(TRUNK_HOST, ("127.0.0.1", own_asterisk.ports.sip))
    try:
        assert phone.dial("5000").wait_up(10)
        until(lambda: len(stand_in.ids) == 1)
    finally:
        phone.close()
