"""The engines of one call: its DID's own, and those of its other languages once the call is in one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from esl_agent.costs import CallCosts
from esl_agent.dialogue.events import EngineSwitched, EngineUsed
from esl_agent.providers.base import CallContext, Engines, Switched, Used


class CallEngines(Mapping[str, Engines]):
    """By language. Bound to the call when first asked for; ``close`` at its end."""

    def __init__(self, engines: Mapping[str, Engines], context: CallContext) -> None:
        self._engines = engines
        self._context = context
        self._bound: dict[str, Engines] = {}

    def __getitem__(self, language: str) -> Engines:
        if language not in self._bound:
            self._bound[language] = self._engines[language].for_call(self._context)
        return self._bound[language]

    def __iter__(self) -> Iterator[str]:
        return iter(self._engines)

    def __len__(self) -> int:
        return len(self._engines)

    def close(self) -> None:
        """The call is over. Idempotent."""
        while self._bound:
            self._bound.popitem()[1].close()


def as_event(told: Used | Switched) -> EngineUsed | EngineSwitched:
    """What an engine tells its call, as the call's mailbox has it."""
    if isinstance(told, Switched):
        return EngineSwitched(told.stage, told.before, told.after, told.reason)
    usage = told.usage
    return EngineUsed(
        told.stage,
        told.name,
        usage.input_tokens,
        usage.cached_tokens,
        usage.output_tokens,
        usage.characters,
        usage.seconds,
        usage.is_estimate,
        usage.audio_input_tokens,
        usage.cached_audio_tokens,
        usage.audio_output_tokens,
    )


def telling(costs: CallCosts, post: Callable[[EngineUsed | EngineSwitched], None]) -> Callable[[Used | Switched], None]:
    """A ``CallContext.tell``: what was used counts at once, also after the mailbox was closed; the call hears of it."""

    def tell(told: Used | Switched) -> None:
        if isinstance(told, Used):
            costs.used(told)
        post(as_event(told))

    return tell
