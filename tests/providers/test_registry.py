from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from esl_agent.errors import ConfigError, Stage
from esl_agent.providers import registry
from esl_agent.providers.base import EngineContext

EVERY = [(stage, name) for stage in get_args(Stage) for name in registry.names(stage)]


@pytest.mark.parametrize(("stage", "name"), EVERY)
def test_every_engine_has_documented_options_that_refuse_unknown_keys(stage: Stage, name: str) -> None:
    options = registry.options_class(stage, name)
    assert options.__pydantic_config__ == {"extra": "forbid"}
    assert all(field.metadata["description"] for field in dataclasses.fields(options))


@pytest.mark.parametrize(("stage", "name"), [("stt", "embedded"), ("llm", "rules"), ("tts", "embedded")])
def test_an_engine_that_needs_no_server_is_made_from_its_defaults(stage: Stage, name: str) -> None:
    engine = registry.make(stage, name, registry.options_class(stage, name)(), EngineContext())
    assert any(hasattr(engine, method) for method in ("recognise", "reply", "speak"))


def test_a_misspelt_engine_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'embedded'"):
        registry.options_class("stt", "embeded")
