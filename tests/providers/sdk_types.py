"""Whether a value is what a vendor's SDK declares a request to be: its TypedDicts, all the way down and nothing beside.

Type checkers do this for whoever writes Python against the SDK; we send JSON by ourselves, so it is done here.
"""

from __future__ import annotations

import collections.abc
import types
import typing
from typing import Any

import typing_extensions as te

_LISTS = (list, collections.abc.Iterable, collections.abc.Sequence)
_DICTS = (dict, collections.abc.Mapping)


def problems(kind: Any, value: Any, where: str = "") -> list[str]:
    """What is wrong with ``value`` as a ``kind``; empty if nothing is."""
    origin = typing.get_origin(kind)
    if origin in (te.Required, te.NotRequired, typing.Annotated):
        return problems(typing.get_args(kind)[0], value, where)
    if kind is Any or kind is object:
        return []
    if te.is_typeddict(kind):
        return _of_typed_dict(kind, value, where)
    if origin in (typing.Union, types.UnionType):
        found = [problems(each, value, where) for each in typing.get_args(kind)]
        return [] if [] in found else min(found, key=len)
    if origin in (typing.Literal, te.Literal):
        return [] if value in typing.get_args(kind) else [f"{where}: {value!r} is none of {typing.get_args(kind)}"]
    if origin in _LISTS or getattr(kind, "__name__", "") == "SequenceNotStr":
        if not isinstance(value, list):
            return [f"{where}: {value!r} is no list"]
        item = typing.get_args(kind)[0]
        return [each for n, element in enumerate(value) for each in problems(item, element, f"{where}[{n}]")]
    if origin in _DICTS:
        if not isinstance(value, dict):
            return [f"{where}: {value!r} is no object"]
        item = typing.get_args(kind)[1]
        return [each for key, element in value.items() for each in problems(item, element, f"{where}.{key}")]
    if kind is None or kind is type(None):
        return [] if value is None else [f"{where}: {value!r} is not null"]
    return _of_class(kind, value, where)


def _of_typed_dict(kind: Any, value: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: {value!r} is no object"]
    hints = te.get_type_hints(kind, include_extras=True)
    missing = [f"{where}.{key} is missing" for key in kind.__required_keys__ if key not in value]
    unknown = [f"{where}.{key} is unknown" for key in value if key not in hints]
    wrong = [each for key in value if key in hints for each in problems(hints[key], value[key], f"{where}.{key}")]
    return missing + unknown + wrong


def _of_class(kind: Any, value: Any, where: str) -> list[str]:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return []
    if kind is int and isinstance(value, bool):
        return [f"{where}: {value!r} is no int"]
    if not isinstance(kind, type):
        return [f"{where}: cannot tell what {kind!r} is"]
    return [] if isinstance(value, kind) else [f"{where}: {value!r} is no {kind.__name__}"]
