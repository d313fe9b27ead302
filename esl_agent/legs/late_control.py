"""The caller's channel of a call that was taken before anybody knew whose it is.

AMI was slow, or away, when the line came. It tells later: then the call can be transferred and hung up on with a cause
as any other. Until then it is one that nobody controls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from esl_agent.legs.asterisk import Callee, Control, Done, NoControl
from esl_agent.legs.outbound import OnNews


class LateControl:
    """A Control. ``look`` is asked for the real one whenever something is to be done; it must not wait."""

    def __init__(self, look: Callable[[], Control | None]) -> None:
        self._look = look
        self._found: Control | None = None
        self._hung_up: Callable[[int], None] | None = None

    @property
    def _now(self) -> Control:
        if self._found is None:
            self._found = self._look()
            if self._found is None:
                return NoControl()
            if self._hung_up is not None:
                self._found.watch(self._hung_up)
        return self._found

    def watch(self, hung_up: Callable[[int], None]) -> None:
        self._hung_up = hung_up
        if self._found is not None:
            self._found.watch(hung_up)

    def hang_up(self, cause: int, done: Done) -> None:
        self._now.hang_up(cause, done)

    def redirect(self, number: str, done: Done) -> None:
        self._now.redirect(number, done)

    def send_digits(self, digits: str, done: Done) -> None:
        self._now.send_digits(digits, done)

    def set_variable(self, name: str, value: str, done: Done) -> None:
        self._now.set_variable(name, value, done)

    def ring(self, endpoint: str, line: str, seconds: float, on_news: OnNews) -> Callee:
        return self._now.ring(endpoint, line, seconds, on_news)

    def announce(self, name: str, facts: Mapping[str, str]) -> None:
        self._now.announce(name, facts)

    def close(self) -> None:
        found, self._found, self._hung_up, self._look = self._found, None, None, _nobody
        if found is not None:
            found.close()


def _nobody() -> None:
    """The call is over."""
