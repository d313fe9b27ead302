"""The engines of one call."""

from __future__ import annotations

from typing import Any

from esl_agent.call_engines import CallEngines, as_event
from esl_agent.dialogue.events import EngineSwitched, EngineUsed
from esl_agent.providers.base import CallContext, Engines, Switched, Usage, Used

CONTEXT = CallContext("one", lambda told: None)


class Bindable:
    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def for_call(self, context: CallContext) -> Any:
        self.log.append(f"{self.name} for {context.id}")
        return self

    def close(self) -> None:
        self.log.append(f"{self.name} closed")


def test_another_languages_engines_are_bound_when_the_call_is_in_it() -> None:
    log: list[str] = []
    plain: Any = object()
    engines = {tag: Engines(plain, Bindable(log, tag), plain) for tag in ("en", "de", "fr")}  # type: ignore[arg-type]
    bound = CallEngines(engines, CONTEXT)
    assert bound["en"] is bound["en"]
    assert log == ["en for one"]
    assert bound.get("de") is not None
    assert bound.get("it") is None
    bound.close()
    bound.close()
    assert sorted(log[2:]) == ["de closed", "en closed"]


def test_what_engines_tell_becomes_events() -> None:
    usage = Usage(1, 2, 3, 4, 5.0, True)
    assert as_event(Used("llm", "x", usage)) == EngineUsed("llm", "x", 1, 2, 3, 4, 5.0, True)
    assert as_event(Switched("tts", "a", "b", "why")) == EngineSwitched("tts", "a", "b", "why")
