"""Sections of bench/RESULTS.md: each is replaced by its next run, the others stay as they were."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

PATH = Path(__file__).with_name("RESULTS.md")


def write_section(heading: str, lines: Sequence[str]) -> None:
    PATH.write_text(
        with_section(PATH.read_text(), heading, [time.strftime("%Y-%m-%d %H:%M UTC. ", time.gmtime()), *lines])
    )


def with_section(text: str, heading: str, lines: Sequence[str]) -> str:
    """``text`` with the section ``## heading`` made of ``lines``, in its place or at the end."""
    section = "\n".join((f"## {heading}", *lines)) + "\n"
    pattern = re.compile(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(text):
        return pattern.sub(lambda _: section + "\n", text).rstrip("\n") + "\n"
    return f"{text.rstrip()}\n\n{section}"
