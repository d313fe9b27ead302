"""What the environment says: it wins over the files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from esl_agent.config.source import Document, KeyPath, Place
from esl_agent.config.validate import settings_of


def variables(cls: type[Any], above: KeyPath = ()) -> Iterator[tuple[str, KeyPath, Any]]:
    """Each environment variable that sets something below ``cls``: its name, the key path and the type."""
    for name, kind, item in settings_of(cls):
        if "env" in item.metadata:
            yield item.metadata["env"], (*above, name), kind
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from variables(kind, (*above, name))


def overlay(cls: type[Any], environment: Mapping[str, str]) -> Document:
    """The settings of ``cls`` that the environment gives, as a document to lay over a file's. Empty ones count as
    not given, as in a shell's ``${X:-default}``."""
    document = Document({})
    for variable, path, kind in variables(cls):
        text = environment.get(variable, "")
        if not text:
            continue
        place = document.data
        for key in path[:-1]:
            place = place.setdefault(str(key), {})
        place[str(path[-1])] = _number(text) if kind in (int, float) else text
        document.places[path] = Place(f"environment {variable}")
    return document


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
