"""Whose turn it is."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Whose turn it is. There are no flags beside it."""

    WAITING = "waiting"
    LISTENING = "listening"
    HEARING = "hearing"
    THINKING = "thinking"
    SPEAKING = "speaking"
    YIELDING = "yielding"
    """Somebody spoke over the agent. Its turn is suspended until it is known whether the caller takes the floor."""
    CLOSING = "closing"
    OVER = "over"
