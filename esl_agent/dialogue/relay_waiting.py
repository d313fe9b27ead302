"""What the caller hears until the agent is heard: a filler of the DID's own voice, and again if it takes long.

The caller waits while nobody is connected, from the end of their speech until the answer is heard, while a tool runs,
and where an answer stops in the middle. A filler is a clip of the turn in flight, or else the first of the turn that
the answer joins; it is never said over anybody's words, and the agent never knows of it.
"""

from __future__ import annotations

import math

from esl_agent.dialogue.actions import Action
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.relay_connection import RelayConnections
from esl_agent.dialogue.turn import Kind, Turn
from esl_agent.dialogue.waiting import MAX_TOLD

#: What the caller waits for, when nothing of it is heard.
AWAITED = (Kind.REPLY, Kind.GREETING)


class RelayWaiting(RelayConnections):
    """A floor on which nobody waits in silence."""

    _fillers = 0

    def _filler_due(self) -> float:
        """When the caller has waited long enough to be told so; infinity if that is not to be."""
        fillers = self._settings.filler
        after = fillers.again if self._told else fillers.after
        if not fillers.after or not after or not self._phrases.filler or self._told >= MAX_TOLD or not self._is_awaited:
            return math.inf
        return max(self._since, self._quiet_since) + after

    @property
    def _is_awaited(self) -> bool:
        """Nobody speaks, and something is to come that the caller waits for."""
        is_sounding = self._caller is not None or self._settling.is_sounding
        if is_sounding or self.phase not in (Phase.THINKING, Phase.SPEAKING) or not self._is_silent(self._turn):
            return False
        ask = self._asked or self._wish
        if self._reply is not None and not self._reply.is_dropped:
            ask = self._reply.ask
        is_running = any(round.running for round in self._rounds)
        return is_running or (ask is not None and ask.kind in AWAITED) or self._sessions.is_parted

    def _is_silent(self, turn: Turn | None) -> bool:
        return turn is None or (turn.is_silent and turn.kind in (*AWAITED, Kind.FILLER))

    def _fill(self, now: float, out: list[Action]) -> None:
        """Say that it takes a moment."""
        turn = self._turn or self._new_turn(Kind.FILLER, "", now)
        turn.add_filler(self._phrases.filler[self._fillers % len(self._phrases.filler)])
        self._fillers += 1
        self._told += 1
        self._quiet_since = now
        self._pump(turn, now, out)
