"""The error tree. Everything esl_agent raises on purpose is below ``EslAgentError``.

    EslAgentError
    +-- ConfigError          a setting cannot be used; knows file, line and every problem at once
    +-- UnsafeText           outside text would have changed the meaning of a command (we refuse to send it)
    +-- WireError            the peer broke its protocol or one of our size limits
    +-- LegError             a call's connection to its switch
    |   +-- LegClosed        the connection is gone; nothing more will be answered
    |   +-- CommandTimeout   no answer within the deadline
    |   +-- CommandRefused   the switch answered with an error
    +-- ProviderError        a recogniser, model, voice or agent failed; says which stage and whether to try again

``gevent.Timeout`` is a ``BaseException`` and never leaves the module that starts it: it becomes one of these.
"""

from __future__ import annotations

from typing import Literal

Stage = Literal["stt", "llm", "tts", "agent"]
"""``agent``: one that listens, thinks and speaks by itself (speech to speech)."""
Blame = Literal["request", "service", "setup"]


class EslAgentError(Exception):
    """Root of everything raised on purpose."""


class ConfigError(EslAgentError):
    """One or more settings cannot be used.

    ``problems`` holds one readable line each (``file:line: where: expected ..., got ...``); the message joins them.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnsafeText(EslAgentError, ValueError):
    """Text from outside holds something that would change a command (CR, LF, NUL, ``${``, ``%[`` ...)."""


class WireError(EslAgentError):
    """The peer sent something its protocol does not allow, or more than our limit allows."""


class LegError(EslAgentError):
    """Something about one call's connection to its switch."""


class LegClosed(LegError):
    """The connection ended; every wait on it ends with this."""


class CommandTimeout(LegError):
    """The switch did not answer ``command`` within ``seconds``."""

    def __init__(self, command: str, seconds: float) -> None:
        super().__init__(f"no answer to {command!r} within {seconds:g} s")
        self.command = command
        self.seconds = seconds


class CommandRefused(LegError):
    """The switch answered ``command`` with an error ``reply``."""

    def __init__(self, command: str, reply: str) -> None:
        super().__init__(f"the switch refused {command!r}: {reply}")
        self.command = command
        self.reply = reply


class ProviderError(EslAgentError):
    """A provider failed.

    ``retryable``: the same request may succeed if sent again, not before ``retry_after`` seconds where that is given.
    ``blame`` says what would fail next: this ``request`` only (too long, refused by a filter), the ``service`` (down,
    slow, speaking nonsense), or everything until somebody changes the ``setup`` (key, quota, plan, certificate, name of
    a model). ``status`` and ``code``: what the service said, where it answered at all (outside text).
    """

    def __init__(
        self,
        stage: Stage,
        message: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        blame: Blame = "service",
        status: int = 0,
        code: str = "",
    ) -> None:
        super().__init__(f"{stage}: {message}")
        self.stage = stage
        self.retryable = retryable
        self.retry_after = retry_after
        self.blame: Blame = blame
        self.status = status
        self.code = code
