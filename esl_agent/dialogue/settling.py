"""Turns that were given up while clips of theirs were with the leg: what was heard of them is told later."""

from __future__ import annotations

import math

from esl_agent.dialogue.turn import SETTLE, Turn


class Settling:
    """Interrupted turns whose clips have not all been reported yet. Each waits ``SETTLE`` seconds at most."""

    def __init__(self) -> None:
        self._turns: dict[int, tuple[Turn, float]] = {}

    @property
    def due(self) -> float:
        """When the first of them has waited long enough; infinity if there is none."""
        return min((by for _, by in self._turns.values()), default=math.inf)

    @property
    def is_busy(self) -> bool:
        """It is not known yet what was heard of some words: the history waits for it."""
        return any(not clip.is_filler for turn, _ in self._turns.values() for clip in turn.clips if clip.is_out)

    @property
    def is_sounding(self) -> bool:
        """Something of a turn that was given up may still be heard."""
        return bool(self._turns)

    def add(self, turn: Turn, now: float) -> None:
        self._turns[turn.number] = (turn, now + SETTLE)

    def played(self, number: int, clip: int, heard: float, now: float) -> Turn | None:
        """Account for a clip's report; the turn, if that was the last one it waited for."""
        if number not in self._turns:
            return None
        turn, _ = self._turns[number]
        turn.played(clip, heard, now)
        return None if turn.outstanding() else self._turns.pop(number)[0]

    def take(self, now: float = math.inf) -> list[Turn]:
        """Give up the turns that have waited long enough by ``now``."""
        late = [number for number, (_, by) in self._turns.items() if now >= by]
        return [self._turns.pop(number)[0] for number in late]
