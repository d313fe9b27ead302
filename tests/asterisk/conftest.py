"""One real Asterisk for all tests of this directory; telephones that call it."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from esl_agent.testing.sip_phone import SipPhone
from tests.asterisk.agent import Agent, until
from tests.asterisk.stand_in import StandIn
from tests.asterisk.switch import REPOSITORY, TRUNK_HOST, RealAsterisk


def skip_loudly(what: str) -> NoReturn:
    """A skip that nobody overlooks: its reason stands among pytest's warnings too."""
    warnings.warn(f"NOT TESTED: {what}", stacklevel=2)
    pytest.skip(what)


def program(name: str, package: str) -> str:
    """The path of another maker's program."""
    found = shutil.which(name)
    if found is None:
        skip_loudly(f"there is no {name} here (Debian: apt install {package})")
    return found


@pytest.fixture(scope="session")
def asterisk_root() -> Path:
    """Where tools/asterisk.sh has unpacked it."""
    found = subprocess.run(
        [REPOSITORY / "tools/asterisk.sh"], stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False
    )
    if found.returncode != 0:
        skip_loudly(f"no real Asterisk: {found.stderr.decode(errors='replace').strip()}")
    return REPOSITORY / ".asterisk"


@pytest.fixture(scope="session")
def asterisk(asterisk_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealAsterisk]:
    switch = RealAsterisk(asterisk_root, tmp_path_factory.mktemp("asterisk") / "run")
    try:
        switch.start()
        yield switch
    finally:
        switch.stop()


@pytest.fixture
def own_asterisk(asterisk_root: Path, tmp_path: Path) -> Iterator[RealAsterisk]:
    """One that a test starts itself, after it has changed what it likes."""
    switch = RealAsterisk(asterisk_root, tmp_path / "run")
    try:
        yield switch
    finally:
        switch.stop()


@pytest.fixture
def caller(asterisk: RealAsterisk) -> Iterator[SipPhone]:
    """Somebody who calls over the trunk."""
    phone = SipPhone(TRUNK_HOST, ("127.0.0.1", asterisk.ports.sip))
    try:
        yield phone
    finally:
        phone.close()


@pytest.fixture
def carrier(asterisk: RealAsterisk) -> Iterator[SipPhone]:
    """Whoever is called over the trunk; ``answers`` says what they do."""
    phone = SipPhone(TRUNK_HOST, ("127.0.0.1", asterisk.ports.sip), port=asterisk.ports.trunk)
    try:
        yield phone
    finally:
        phone.close()


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """An AudioSocket server in place of the agent."""
    server = StandIn()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def _agent(asterisk: RealAsterisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    made = Agent(tmp_path_factory.mktemp("agent"), asterisk)
    try:
        until(lambda: made.is_connected)
        yield made
    finally:
        made.close()


@pytest.fixture
def agent(_agent: Agent, asterisk: RealAsterisk) -> Iterator[Agent]:
    """The service, connected to AMI and ARI. Nothing of its calls is left in the end, here or in Asterisk."""
    _agent.notes.clear()
    yield _agent
    until(lambda: _agent.is_idle and not asterisk.channels(), why=_agent.story)
