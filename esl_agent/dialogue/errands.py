"""What the model wants done in one turn beside talking: the tools that run, and what is done when all was heard."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from esl_agent.dialogue.actions import ToolCall
from esl_agent.dialogue.settings import LimitSettings
from esl_agent.dialogue.tools import (
    CollectDigitsRequest,
    HoldRequest,
    SetLanguageRequest,
    TransferRequest,
)

#: What ends a turn: carried out when everything the turn said was heard. One in a turn.
LastRequest = TransferRequest | CollectDigitsRequest | HoldRequest | SetLanguageRequest


@dataclass(slots=True)
class Errands:
    """The tools of one turn, a round of them for each time the model is asked."""

    used: int = 0
    """Tools called since the caller spoke, in earlier turns too."""
    rounds: int = 0
    """How often the model was asked again."""
    is_writing: bool = True
    """The model has not ended its reply to what it was last asked."""
    is_offered: bool = True
    """It was last asked with tools to call."""
    first_clip: int = 0
    """The clip with which this round's words begin."""
    since: float = 0.0
    """Since when the tools of this round run."""
    last: LastRequest | None = None
    last_id: str = ""
    """The call that ``last`` came from; empty: nobody waits for its result."""
    held: list[ToolCall] = field(default_factory=list)
    """Calls of an answer that may yet be thrown away."""
    running: set[str] = field(default_factory=set)
    """The calls that have no result yet."""
    _round: set[str] = field(default_factory=set)

    @property
    def is_idle(self) -> bool:
        """No tool was ever called in this turn."""
        return not (self.rounds or self._round or self.held)

    @property
    def is_called(self) -> bool:
        """The model called a tool since it was last asked."""
        return bool(self._round or self.held)

    @property
    def wants_answer(self) -> bool:
        """The model is to be asked again with what this round's tools answered."""
        return bool(self._round) and self.is_offered

    def call(self, call: ToolCall, now: float) -> bool:
        """Count a call of this round. False for one that was counted already."""
        if call.id in self._round:
            return False
        if not self._round:
            self.since = now
        self._round.add(call.id)
        self.used += 1
        return True

    def ask(self, first_clip: int, *, offered: bool) -> None:
        """The model is asked again; the next round begins."""
        self.rounds += 1
        self.is_writing = True
        self.is_offered = offered
        self.first_clip = first_clip
        self._round.clear()

    def ask_on(self, first_clip: int, *, offered: bool) -> None:
        """The model is asked again in the same round: it failed before it had called a tool."""
        self.is_offered = offered
        self.first_clip = first_clip

    def due(self, progressed_at: float, limits: LimitSettings) -> float:
        """When the model, or the tools it waits for, have taken too long."""
        if self.is_writing:
            return progressed_at + limits.llm
        return self.since + limits.tool if self.running else math.inf
