"""Ctrl-C ends a command at once, without a word about the inside of the program."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

AGENT = """
asterisk:
  enabled: true
  ami: {{server: "127.0.0.1:{port}", secret_file: {secret}}}
"""


def test_ctrl_c_leaves_a_command_that_waits_for_asterisk_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x" * 16)
    (tmp_path / "dids").mkdir()
    (tmp_path / "dids/a.yaml").write_text("default: true\nprompt: x\nllm: {engine: rules, rules: [], otherwise: x}\n")
    with socket.create_server(("127.0.0.1", 0)) as asterisk:
        text = AGENT.format(port=asterisk.getsockname()[1], secret=tmp_path / "secret")
        (tmp_path / "agent.yaml").write_text(text)
        command = [sys.executable, "-m", "esl_agent", "call", "--conf", str(tmp_path), "--did", "5000", "123"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=_at_a_terminal) as process:
            asterisk.settimeout(60)
            connection, _ = asterisk.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b"")


def _at_a_terminal() -> None:
    """Who runs the tests may be in the background of a shell, where Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
