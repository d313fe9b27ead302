"""What the environment says, and below it the constants of ``legacy_config``: both win over the files."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from esl_agent.config.source import Document, KeyPath, Place
from esl_agent.config.validate import settings_of


@dataclass(frozen=True, slots=True)
class Given(Mapping[str, str]):
    """What is given under a name; empty text counts as not given, as in a shell's ``${X:-default}``."""

    environment: Mapping[str, str]
    constants: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    """Where each constant was written."""

    def __getitem__(self, name: str) -> str:
        return self.environment.get(name) or self.constants[name]

    def __iter__(self) -> Iterator[str]:
        yield from (name for name, value in self.environment.items() if value)
        yield from (name for name in self.constants if not self.environment.get(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def place(self, name: str) -> Place:
        """Where what counts was given."""
        return Place(f"environment {name}") if self.environment.get(name) else self.places[name]


def variables(cls: type[Any], above: KeyPath = ()) -> Iterator[tuple[str, KeyPath, Any]]:
    """Each environment variable that sets something below ``cls``: its name, the key path and the type."""
    for name, kind, item in settings_of(cls):
        if "env" in item.metadata:
            yield item.metadata["env"], (*above, name), kind
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from variables(kind, (*above, name))


def overlay(cls: type[Any], environment: Mapping[str, str]) -> Document:
    """The settings of ``cls`` that the environment gives, as a document to lay over a file's."""
    given = environment if isinstance(environment, Given) else Given(environment)
    document = Document({})
    for variable, path, kind in variables(cls):
        text = given.get(variable, "")
        if not text:
            continue
        place = document.data
        for key in path[:-1]:
            place = place.setdefault(str(key), {})
        place[str(path[-1])] = _number(text) if kind in (int, float) else text
        document.places[path] = given.place(variable)
    return document


def _number(text: str) -> Any:
    """A number, or the text where it is none that JSON, and so the checker, knows."""
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return text if isinstance(value, float) and not math.isfinite(value) else value
    return text
