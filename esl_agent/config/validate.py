"""Checks a document against a settings dataclass and says every mistake with its place.

Pydantic does the checking, strictly (``"8084"`` is not a number, 1 is not true); this module turns what it found
into lines a person can act on.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from esl_agent.config.source import Document, KeyPath, Place, describe, dotted
from esl_agent.errors import Stage
from esl_agent.secret import is_variable

T = TypeVar("T")

_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "dataclass_type": "a mapping (`key: value` lines)",
    "dict_type": "a mapping (`key: value` lines)",
    "tuple_type": "a list",
    "list_type": "a list",
}
_LIMITS = {
    "greater_than_equal": "{ge:g} or more",
    "greater_than": "more than {gt:g}",
    "less_than_equal": "{le:g} or less",
    "less_than": "less than {lt:g}",
}
_MISSING = ("missing", "missing_argument")
_SECRET_WORDS = ("key", "token", "secret", "password")
_PASTED = (
    "expected the name of an environment variable, such as OPENAI_API_KEY (capitals, digits and _); what stands here "
    "is none, and is not shown, because it may be the secret itself: that does not belong in a settings file"
)


def validate(cls: type[T], document: Document, problems: list[str]) -> T | None:
    """``cls`` made from the document, or None after adding its problems."""
    pasted = [path for path, name in _variables_named(cls, document.data) if name and not is_variable(name)]
    problems += [problem(document.place(path), path, _PASTED) for path in pasted]
    try:
        made = TypeAdapter(cls).validate_json(json.dumps(document.data), strict=True)
        return None if pasted else made
    except ValidationError as error:
        for path, found in _by_path(error, document.data).items():
            place = document.place(path)
            problems.append(problem(place, path, _sentence(cls, path, place.above, found, document.data)))
        return None


def _variables_named(cls: type[Any], data: Any, above: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """(key path, what is given there) of every setting below ``cls`` that is to name an environment variable."""
    for name, kind, _ in settings_of(cls) if isinstance(data, dict) else ():
        value, path = data.get(name), (*above, name)
        if name.endswith("_env") and isinstance(value, str):
            yield path, value
        elif (group := group_in(kind)) is not None and is_by_name(kind) and isinstance(value, dict):
            for key, item in value.items():
                yield from _variables_named(group, item, (*path, key))
        elif group is not None and isinstance(value, list):
            for index, item in enumerate(value):
                yield from _variables_named(group, item, (*path, index))
        elif group is not None:
            yield from _variables_named(group, value, path)


def _by_path(error: ValidationError, data: Mapping[str, Any]) -> dict[KeyPath, list[Mapping[str, Any]]]:
    """What pydantic found, by key path. Of ``str | list`` it says every alternative by itself, with its name in the
    path (``say.str``): that name goes, and where one alternative got deeper into the value, only that one stays."""
    found: dict[KeyPath, list[Mapping[str, Any]]] = {}
    for item in error.errors(include_url=False):
        path: KeyPath = ()
        for part in item["loc"]:
            if item["type"] in _MISSING or _has(data, (*path, part)):
                path = (*path, part)
        found.setdefault(path, []).append(item)
    deeper = {path[:length] for path in found for length in range(len(path))}
    return {path: items for path, items in found.items() if path not in deeper}


def problem(place: Place, path: KeyPath, sentence: str) -> str:
    """One line of ConfigError.problems; ``path`` is counted from where the document was taken."""
    where = dotted((*place.above, *path))
    return f"{place}: {where}: {sentence}" if where else f"{place}: {sentence}"


def suggestion(word: object, known: Mapping[str, str]) -> str:
    """``; did you mean 'x'?`` or nothing. ``known`` gives for each word what to call it."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"; did you mean '{known[close[0]]}'?" if close else ""


def _sentence(
    cls: type[Any], path: KeyPath, at: KeyPath, alternatives: Sequence[Mapping[str, Any]], data: Mapping[str, Any]
) -> str:
    found = alternatives[0]
    kind, context = found["type"], found.get("ctx", {})
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return _unknown(cls, path, at)
    if kind in _MISSING:
        return "is required and not given"
    got = _value_at(data, path)
    if str(path[-1] if path else "").endswith("_env") and got is not None:
        return _PASTED
    if kind == "dict_type" and _is_in_list_of_engines(path):
        return f"expected an engine's name, or a mapping with `engine` and its options, got {describe(got)}"
    if kind in _EXPECTED:
        expected = " or ".join(dict.fromkeys(_EXPECTED.get(item["type"], item["msg"]) for item in alternatives))
        empty = "write '' for empty text, or " if kind == "string_type" else ""
        hint = f" ({empty}leave the key out for its default)" if got is None else ""
        return f"expected {expected}, got {describe(got)}{hint}"
    if kind in _LIMITS:
        return f"expected {_LIMITS[kind].format(**context)}, got {describe(got)}"
    if kind == "literal_error":
        words = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
        return f"expected {context['expected']}, got {describe(got)}{suggestion(got, {w: w for w in words})}"
    if kind == "string_pattern_mismatch":
        return f"expected text like {context['pattern']}, got {describe(got)}"
    if kind == "value_error":
        return f"{context['error']}" if isinstance(got, dict) else f"{context['error']}, got {describe(got)}"
    return f"{found['msg']}, got {describe(got)}"


def _is_in_list_of_engines(path: KeyPath) -> bool:
    return len(path) > 1 and isinstance(path[-1], int) and path[-2] in typing.get_args(Stage)


def _unknown(cls: type[Any], path: KeyPath, at: KeyPath) -> str:
    key = str(path[-1])
    around = tuple(part for part in path[:-1] if isinstance(part, str))
    beside = {p[-1]: p[-1] for p in _paths(cls) if _is_at(p[:-1], around)}
    if f"{key}_env" in beside:
        return f"secrets do not belong in a settings file: name a variable in {key}_env, or a file in {key}_file"
    near = suggestion(key, beside) or suggestion(key, {p[-1]: dotted((*at, *p)) for p in _paths(cls)})
    if not near and any(word in key.lower() for word in _SECRET_WORDS):
        return "unknown setting (and secrets do not belong in a settings file)"
    return f"unknown setting{near}"


def _paths(cls: type[Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The key path of every setting below ``cls``; ``*`` stands for a name that the operator chooses."""
    for name, kind, _ in settings_of(cls):
        yield (*above, name)
        if (group := group_in(kind)) is not None:
            yield from _paths(group, (*above, name, "*") if is_by_name(kind) else (*above, name))


def _is_at(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(pattern) == len(path) and all(p in ("*", word) for p, word in zip(pattern, path, strict=True))


def settings_of(cls: type[Any]) -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """Name, type (without ``Annotated``) and field of each setting of a dataclass, in the order written."""
    if not dataclasses.is_dataclass(cls):
        return
    types = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        yield item.name, types[item.name], item


def group_in(kind: Any) -> type[Any] | None:
    """The settings dataclass that ``kind`` is, or is a list or a mapping of; None for anything else."""
    if typing.get_origin(kind) in (tuple, list):
        kind = typing.get_args(kind)[0]
    elif is_by_name(kind):
        kind = typing.get_args(kind)[1]
    return kind if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None


def is_by_name(kind: Any) -> bool:
    """Whether ``kind`` is a mapping from names that the operator chooses."""
    return typing.get_origin(kind) is dict


def _value_at(data: Any, path: KeyPath) -> Any:
    for key in path:
        data = data[key] if _has(data, (key,)) else None
    return data


def _has(data: Any, path: KeyPath) -> bool:
    """Whether there is something at ``path``, be it nothing (null)."""
    for key in path:
        inside = range(len(data)) if isinstance(data, list) else data if isinstance(data, dict) else ()
        if key not in inside:
            return False
        data = data[key]
    return True
