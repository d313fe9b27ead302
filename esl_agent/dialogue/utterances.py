"""The caller's utterances that still matter: the open one, and those whose words have not come yet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Utterance:
    opened_at: float
    over: int
    closed_at: float | None = None
    retries: int = 0
    is_lost: bool = False


class Utterances:
    """Numbers utterances and knows what is awaited. At most one is open."""

    def __init__(self) -> None:
        self._count = 0
        self._pending: dict[int, _Utterance] = {}
        self.open_number: int | None = None
        self.last_times: dict[str, float] = {}
        """``speech_ended``, ``endpoint`` and ``transcript`` of the newest utterance, for the turn that answers it."""

    @property
    def is_busy(self) -> bool:
        """True while the caller speaks or words are awaited."""
        return bool(self._pending)

    @property
    def only(self) -> int | None:
        """The open utterance, if no other is awaited."""
        return self.open_number if len(self._pending) == 1 else None

    def begin(self, now: float, over: int = 0) -> int:
        """Open the next utterance. ``over``: the turn that was suspended for it."""
        self._count += 1
        self.open_number = self._count
        self._pending[self._count] = _Utterance(now, over)
        return self._count

    def spoken_over(self, number: int) -> int:
        """The turn that was suspended for an awaited utterance; 0: its words count whatever they are."""
        pending = self._pending.get(number)
        return pending.over if pending else 0

    def awaits_over(self, turn: int) -> bool:
        """Whether words are awaited that were spoken over turn ``turn``."""
        return any(pending.over == turn for pending in self._pending.values())

    def win(self) -> None:
        """The caller has the floor: the words of every awaited utterance count, whatever they are."""
        for pending in self._pending.values():
            pending.over = 0

    def close(self, now: float, spoke_until: float) -> int:
        """End the open utterance; its words are awaited from ``now`` on."""
        assert self.open_number is not None
        number, self.open_number = self.open_number, None
        self._pending[number].closed_at = now
        self.last_times = {"speech_ended": spoke_until, "endpoint": now}
        return number

    def settle(self, number: int, now: float) -> bool:
        """Stop awaiting an utterance. False if it was not awaited, or is still open."""
        if number == self.open_number or self._pending.pop(number, None) is None:
            return False
        self.last_times["transcript"] = now
        return True

    def retry(self, number: int, limit: int, now: float) -> bool:
        """Give an utterance's recogniser another try, with a new deadline. False if it had ``limit`` of them."""
        pending = self._pending[number]
        if pending.retries >= limit:
            return False
        pending.retries += 1
        if pending.closed_at is not None:
            pending.closed_at = now
        return True

    def lose(self, number: int) -> None:
        """There will be no words of the open utterance."""
        self._pending[number].is_lost = True

    def is_lost(self, number: int) -> bool:
        return number in self._pending and self._pending[number].is_lost

    def is_known(self, number: int) -> bool:
        return number in self._pending

    def abandon_all(self) -> list[int]:
        numbers = list(self._pending)
        self._pending.clear()
        self.open_number = None
        return numbers

    @property
    def opened_at(self) -> float | None:
        """When the open utterance began."""
        return None if self.open_number is None else self._pending[self.open_number].opened_at

    def overdue(self, now: float, patience: float) -> int | None:
        """An utterance whose words are later than ``patience``, if any."""
        return next(
            (n for n, p in self._pending.items() if p.closed_at is not None and now >= p.closed_at + patience), None
        )

    def oldest_closed_at(self) -> float | None:
        return min((p.closed_at for p in self._pending.values() if p.closed_at is not None), default=None)
