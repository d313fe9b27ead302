"""One line that declares a setting: its default, its limits and its prose, in one place.

``config`` turns dataclasses made of these into pydantic schemas (errors with file and line, JSON Schema,
``docs/settings.md``); the pure layers see plain frozen dataclasses. Pydantic reads a dataclass field's
``metadata`` as arguments of ``pydantic.Field``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

_REQUIRED = object()

#: Put on a settings dataclass as ``__pydantic_config__``: unknown keys are errors, never ignored.
STRICT: dict[str, Any] = {"extra": "forbid"}


def setting(default: Any = _REQUIRED, doc: str = "", **limits: Any) -> Any:
    """A dataclass field with ``doc`` as its description and ``limits`` (``ge``, ``gt``, ``le``, ``lt``, ``pattern``).

    A list, dict or dataclass default must be given as a callable (``default_factory``). Without a default the
    setting is required.
    """
    metadata = {"description": doc, **limits}
    if default is _REQUIRED:
        return dataclasses.field(metadata=metadata)
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
