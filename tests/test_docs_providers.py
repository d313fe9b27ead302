"""Every example of docs/providers.md is a DID that loads, with engines that can be made."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml

from esl_agent import config
from esl_agent.errors import Stage
from esl_agent.lineup import make_lineup
from esl_agent.providers import openai_key, registry

PAGE = Path(__file__).parent.parent / "docs" / "providers.md"
TEXT = PAGE.read_text(encoding="utf-8")
KEY = "fake-key-0123456789"


def blocks(page: str = TEXT) -> Iterator[tuple[str, str]]:
    """(where it stands, the YAML) of each example of a page."""
    for found in re.finditer(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        heading = re.findall(r"^#+ (.+)$", page[: found.start()], re.MULTILINE)[-1]
        yield f"{heading}, line {page.count(chr(10), 0, found.start()) + 1}", found[1]


def key_variables(text: str) -> Iterator[str]:
    """Every environment variable that a key may come from: those of the defaults, and those that ``text`` names."""
    yield openai_key.VARIABLE
    yield from re.findall(r"\w+_env: *[\"']?(\w+)", text)
    for stage in get_args(Stage):
        for name in registry.names(stage):
            for field in dataclasses.fields(registry.options_class(stage, name)):
                if field.name.endswith("_env") and isinstance(field.default, str) and field.default:
                    yield field.default


@pytest.mark.parametrize("text", [pytest.param(text, id=where) for where, text in blocks()])
def test_an_example_answers_calls_as_it_stands(text, tmp_path, monkeypatch):
    for variable in key_variables(text):
        monkeypatch.setenv(variable, KEY)
    given = yaml.safe_load(text)
    if not any(key in given for key in ("did", "prefix", "default")):
        text = f"default: true\n{text}"
    (tmp_path / "dids").mkdir()
    (tmp_path / "agent.yaml").write_text("", encoding="utf-8")
    (tmp_path / "dids" / "example.yaml").write_text(text, encoding="utf-8")
    loaded = config.load(tmp_path, environment={})
    lineup = make_lineup(loaded)
    assert len(lineup.engines) == 1


def engines_of(text: str) -> Iterator[tuple[str, str]]:
    """(stage, engine) of each that an example names, alone or in a list."""
    given = yaml.safe_load(text)
    for stage in get_args(Stage):
        choice = given.get(stage) or []
        for each in choice if isinstance(choice, list) else [choice]:
            yield stage, each if isinstance(each, str) else each.get("engine", "")


def test_every_engine_has_an_example():
    shown = {each for _, text in blocks() for each in engines_of(text)} | {(s, "embedded") for s in get_args(Stage)}
    known = {(stage, name) for stage in get_args(Stage) for name in registry.names(stage) if name != "rules"}
    assert not known - shown, f"docs/providers.md lacks an example of {sorted(known - shown)}"
