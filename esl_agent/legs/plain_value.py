"""Outside text as the value of a channel variable, or of a fact that Asterisk is told."""

from __future__ import annotations

import re

from esl_agent.wire.esl_commands import safe_text

#: Bytes of a value: with its name it stays below the line that AMI takes.
MAX_VALUE_BYTES = 900

_EXPANSION = re.compile(r"\$+(?=[{\[(])")


def plain(text: str, max_bytes: int = MAX_VALUE_BYTES) -> str:
    """One line of at most ``max_bytes`` bytes in which Asterisk finds nothing to expand, should a dialplan evaluate it
    once more."""
    line = safe_text(text, max_bytes).encode()[:max_bytes].decode("utf-8", "ignore")
    return _EXPANSION.sub("", line)
