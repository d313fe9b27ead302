"""Keys the caller presses, gathered into one entry: digits, terminator, the pause after which an entry is complete.

    collector = Collector(settings)                      free: keys pressed at any time, nobody asked for them
    collector = Collector(settings, max_digits=4, ...)   a question was asked (tool collect_digits); now = its end
    if collector.press(digit, now): use collector.digits
    collector.deadline                                    when to call expire(now); None while nothing is awaited

``words(digits)`` is what a model reads of them: ``(pressed 1 2 3)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent.setting import STRICT, setting

KEYS = frozenset("0123456789*#ABCD")
#: Free entries are never longer: somebody leans on the telephone.
MAX_DIGITS = 64


@dataclass(frozen=True, slots=True)
class DtmfSettings:
    """What becomes of the keys a caller presses."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    timeout: float = setting(2.5, "Seconds after the last key that complete an entry.", ge=0.3, le=30.0)
    first: float = setting(8.0, "Seconds for the first key, after the agent asked for digits.", ge=1.0, le=120.0)
    terminator: str = setting(
        "#", "The key that completes an entry; it is no part of it. Empty: none.", pattern="^[0-9*#]?$"
    )
    max_digits: int = setting(32, "Keys of one entry; the last of them completes it.", ge=1, le=MAX_DIGITS)
    barge_in: bool = setting(True, "Whether a key stops the agent's voice.")


class Collector:
    """One entry after the other. Pure: time is an argument."""

    __slots__ = ("_first", "_max", "_pressed", "_terminator", "_timeout", "deadline", "is_done")

    def __init__(
        self,
        settings: DtmfSettings,
        *,
        max_digits: int | None = None,
        terminator: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._max = min(max_digits or settings.max_digits, MAX_DIGITS)
        self._terminator = settings.terminator if terminator is None else terminator
        self._timeout = settings.timeout if timeout is None else timeout
        self._first = settings.first
        self._pressed: list[str] = []
        self.deadline: float | None = None
        self.is_done = False

    @property
    def digits(self) -> str:
        """What was pressed, without the terminator."""
        return "".join(self._pressed)

    def wait(self, now: float) -> None:
        """The question has been heard: from now on the first key has its own time."""
        if not self._pressed and not self.is_done:
            self.deadline = now + max(self._first, self._timeout)

    def press(self, digit: str, now: float) -> bool:
        """Whether the entry is complete with this key. A terminator alone completes an empty entry."""
        if self.is_done or digit not in KEYS:
            return self.is_done
        if digit == self._terminator:
            return self._finish()
        self._pressed.append(digit)
        if len(self._pressed) >= self._max:
            return self._finish()
        self.deadline = now + self._timeout
        return False

    def expire(self, now: float) -> bool:
        """Whether the entry is complete because its time ran out."""
        return self.is_done or (self.deadline is not None and now >= self.deadline and self._finish())

    def take(self) -> str:
        """The digits, and ready for the next entry."""
        digits = self.digits
        self._pressed.clear()
        self.deadline, self.is_done = None, False
        return digits

    def _finish(self) -> bool:
        self.deadline, self.is_done = None, True
        return True


def words(digits: str) -> str:
    """An entry as the model reads it; empty for none."""
    return f"(pressed {' '.join(digits)})" if digits else ""
