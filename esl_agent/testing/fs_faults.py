"""What can go wrong with an event socket, by name. Pure: it stands between a machine and its wire."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """The faults in force. A machine asks it for every reply, event and byte it is about to send."""

    refused: dict[str, str] = field(default_factory=dict)
    """Command prefix -> the reply it gets instead of being carried out."""
    unanswered: set[str] = field(default_factory=set)
    """Command prefixes that are swallowed: not carried out, not answered."""
    lost: dict[str, int] = field(default_factory=dict)
    """Event name or subclass -> how many more of it get lost; -1: all."""
    piece: int = 0
    """Bytes of the pieces in which everything is sent; 0: whole."""
    stalled_until: float = 0.0
    """Nothing is sent before this time."""

    def refusal(self, line: str) -> str | None:
        """The reply with which ``line`` is refused, or None."""
        return next((text for prefix, text in self.refused.items() if line.startswith(prefix)), None)

    def is_unanswered(self, line: str) -> bool:
        return any(line.startswith(prefix) for prefix in self.unanswered)

    def loses(self, name: str) -> bool:
        """True if this event is to be lost; counts it."""
        left = self.lost.get(name, 0)
        if left > 0:
            self.lost[name] = left - 1
        return left != 0

    def pieces(self, data: bytes) -> list[bytes]:
        """``data`` as it is to be written, one write each."""
        if self.piece <= 0:
            return [data]
        return [data[i : i + self.piece] for i in range(0, len(data), self.piece)]
