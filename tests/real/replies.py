"""What is asked of a model on a real server, and what came of it."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.providers.base import TextPart
from tests.real.servers import Running

HELLO = "Good day, this line is answered by a real server."
PRICE = "That costs ☎5 monthly."
PATIENCE = 10.0
TRANSFER = ToolSpec(
    "transfer",
    "Puts the caller through.",
    {"type": "object", "properties": {"to": {"type": "string", "enum": ["sales", "support"]}}, "required": ["to"]},
)


def asked(text: str) -> tuple[Message, ...]:
    return (Message("system", "You answer the telephone."), Message("user", text))


def said(parts: list[Any]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def is_idle(server: Running, key: str) -> bool:
    """Whether its one slot has nothing to do, now or within a second."""
    request = urllib.request.Request(f"{server.url}/slots", headers={"Authorization": f"Bearer {key}"})
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            if not json.load(answer)[0]["is_processing"]:
                return True
    return False
