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
    HOLDING = "holding"
    """The caller asked for a moment: nobody speaks, and nobody is asked anything."""
    TRANSFERRING = "transferring"
    """Somebody is being called for the caller. Nothing is said and nobody is listened to."""
    HANDED_OVER = "handed_over"
    """Somebody else has the call; its hang-up is awaited."""
    CLOSING = "closing"
    OVER = "over"


#: Somebody else has the call, or may have it any moment.
AWAY = (Phase.TRANSFERRING, Phase.HANDED_OVER)
