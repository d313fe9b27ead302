"""tools/asterisk.sh, and what the tests say where it has none to give."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.asterisk.conftest import program, skip_loudly
from tests.asterisk.switch import REPOSITORY

pytestmark = pytest.mark.system
SCRIPT = REPOSITORY / "tools/asterisk.sh"


def run(to: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", SCRIPT, to], env=environment, capture_output=True, text=True, check=False)


def few_commands(directory: Path, *names: str) -> str:
    """A PATH with these commands and no others."""
    directory.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found is not None
        (directory / name).symlink_to(found)
    return str(directory)


def test_where_there_is_no_apt_it_says_so(tmp_path):
    found = run(tmp_path / "to", PATH=few_commands(tmp_path / "bin", "dirname", "cksum", "cat"))
    assert found.returncode == 1
    assert "there is no apt-get" in found.stderr
    assert not (tmp_path / "to").exists()


def test_where_no_mirror_has_it_it_says_so(tmp_path):
    """As without a network: nothing is left behind."""
    commands = ("dirname", "cksum", "cat", "grep", "awk", "mktemp", "mkdir", "rm", "tail", "tr", "sed", "sort", "wc")
    path = few_commands(tmp_path / "bin", *commands, "dpkg", "dpkg-deb")
    for name, lines in {
        "apt-get": 'case "$*" in *indextargets*) echo http://mirror.invalid/debian ;; *) exit 100 ;; esac',
        "apt-cache": "exit 100",
        "apt-config": "exit 0",
    }.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    keys = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    found = run(tmp_path / "to", PATH=path, TMPDIR=str(tmp_path))
    assert found.returncode == 1
    assert ("is there no network" if keys.exists() else "works on Debian only") in found.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bin"]


def test_what_is_there_is_not_fetched_again(asterisk_root, tmp_path):
    found = run(asterisk_root, PATH=few_commands(tmp_path / "bin", "dirname", "cksum", "cat"))
    assert (found.returncode, found.stderr) == (0, "")


def test_a_test_that_is_skipped_says_so_aloud():
    with pytest.warns(UserWarning, match="NOT TESTED: no real Asterisk"), pytest.raises(pytest.skip.Exception):
        skip_loudly("no real Asterisk")
    with pytest.warns(UserWarning, match="apt install sip-nobody"), pytest.raises(pytest.skip.Exception):
        program("sipp-that-nobody-has", "sip-nobody")
