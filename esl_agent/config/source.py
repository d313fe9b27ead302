"""YAML files as plain values that remember where each of them was written.

The scalars are those of YAML 1.2's core schema, cut to what settings need: ``no`` is a language and not False,
``12:30`` is text and not 750, ``0049`` and ``+49`` are numbers to dial and not integers. Only what ``compose`` builds
is used, so no YAML tag can make an object.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from esl_agent.errors import ConfigError

#: A settings file has a few hundred lines; more is a mistake or an attack.
MAX_BYTES = 256 * 1024
#: Values in one file after aliases are expanded (an alias of an alias of ... grows without end).
MAX_VALUES = 20_000
MAX_DEPTH = 20

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written: a file and its line, or an environment variable.

    ``above`` is the key path that its document was taken from, so that messages can give the path as written.
    """

    file: str
    line: int | None = None
    above: KeyPath = ()

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(slots=True)
class Document:
    """``data`` as plain dicts, lists and scalars; ``places`` says where each key path of it was written."""

    data: dict[str, Any]
    places: dict[KeyPath, Place] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place:
        """Where ``path``, or the nearest thing around it, was written."""
        for length in range(len(path), -1, -1):
            if found := self.places.get(path[:length]):
                return found
        return Place("settings")

    def under(self, path: KeyPath) -> Document:
        """The mapping at ``path`` as a document of its own; empty when there is none."""
        value: Any = self.data
        for key in path:
            if isinstance(value, dict):
                value = value.get(key)
            else:
                value = value[key] if isinstance(value, list) and isinstance(key, int) and key < len(value) else None
        places = {
            where[len(path) :]: replace(place, above=(*place.above, *path))
            for where, place in self.places.items()
            if where[: len(path)] == path
        }
        places.setdefault((), replace(self.place(path), above=path))
        return Document(value if isinstance(value, dict) else {}, places)

    def over(self, base: Document) -> Document:
        """This document laid over ``base``: mappings merge, everything else replaces.

        A mapping that names another ``engine`` than the one below it replaces it: one engine's options mean
        nothing to another.
        """
        merged = Document({}, {**base.places, **self.places})
        merged.data = _merge(base.data, self.data)
        return merged


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    if "engine" in below and "engine" in above and below["engine"] != above["engine"]:
        return dict(above)
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        merged[key] = _merge(lower, value) if isinstance(value, dict) and isinstance(lower, dict) else value
    return merged


def read(path: Path) -> Document:
    """The file's settings. Raises ConfigError with every problem found, each with its line."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError([f"{path}: expected at most {MAX_BYTES // 1024} KiB of settings, got a larger file"])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: expected UTF-8 text, got the byte 0x{raw[error.start]:02x}"]) from None
    return parse(text, str(path))


def parse(text: str, file: str) -> Document:
    """``read`` for text in memory; ``file`` is its name in messages."""
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError([f"{file}:{line}: a character YAML does not allow: {error.reason}"]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError([f"{file}:{line}: not readable as YAML: {said}"]) from None
    except RecursionError:
        raise ConfigError([f"{file}: not readable as YAML: nested too deeply"]) from None
    if root is None:
        return Document({}, {(): Place(file, 1)})
    reader = _Reader(file)
    data = reader.value(root, ())
    if not isinstance(data, dict):
        reader.problems.insert(0, f"{file}:1: expected settings (`key: value`), got {describe(data)}")
    if reader.problems:
        raise ConfigError(reader.problems)
    return Document(data, reader.places)


def describe(value: Any) -> str:
    """A value from a file, fit for a message: short, quoted, on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping (`key: value` lines)"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...{text[0] if isinstance(value, str) else ''}"


class _Loader(yaml.SafeLoader):
    """Resolves plain scalars as the module's docstring says; nothing is ever constructed."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 -- the name and type PyYAML reads


_TAG = "tag:yaml.org,2002:"
#: Each kind of scalar: its pattern and the characters it may begin with.
_SCALARS: dict[str, tuple[re.Pattern[str], list[str]]] = {
    f"{_TAG}null": (re.compile(r"^(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    f"{_TAG}bool": (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    f"{_TAG}int": (re.compile(r"^-?(?:0|[1-9][0-9]{0,17})\Z"), list("-0123456789")),
    f"{_TAG}float": (re.compile(r"^-?(?:0|[1-9][0-9]*)?\.[0-9]+(?:[eE][-+]?[0-9]{1,2})?\Z"), list("-.0123456789")),
}
for _tag, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(_tag, _pattern, _first)


class _Reader:
    """Turns YAML nodes into values; collects problems instead of stopping at the first."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[str] = []
        self.places: dict[KeyPath, Place] = {}
        self._values = 0
        self._open: set[int] = set()

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        place = Place(self.file, node.start_mark.line + 1)
        self.places.setdefault(path, place)
        self._values += 1
        if self._values > MAX_VALUES or len(path) > MAX_DEPTH or id(node) in self._open:
            problem = f"{self.file}: aliases or nesting go too far: expected at most {MAX_VALUES} values"
            if problem not in self.problems:
                self.problems.append(problem)
            return None
        if isinstance(node, yaml.ScalarNode):
            if _is_half_a_character(node.value):
                self.problems.append(f"{place}: half a surrogate pair is not a character; write the character itself")
                return None
            return _scalar(node)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = Place(self.file, key_node.start_mark.line + 1)
            if not isinstance(key_node, yaml.ScalarNode) or _is_half_a_character(key_node.value):
                self.problems.append(f"{place}: expected a name before the colon, got {_kind(key_node)}")
                continue
            key = key_node.value
            where = (*path, key)
            if key in found:
                earlier = self.places[where].line
                self.problems.append(f"{place}: {dotted(where)}: given twice, first in line {earlier}; keep one")
                continue
            self.places[where] = place
            found[key] = self.value(value_node, where)
        return found


def _is_half_a_character(text: str) -> bool:
    """Whether an escape such as ``\\ud800`` made text that no encoding can write."""
    return re.search("[\ud800-\udfff]", text) is not None


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return "half a surrogate pair"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _scalar(node: yaml.ScalarNode) -> Any:
    """Its value; text where a tag written by hand (``!!int x``) promises what the text is not."""
    text: str = node.value
    kind = _SCALARS.get(node.tag)
    if kind is None or not kind[0].match(text):
        return text
    if node.tag == f"{_TAG}null":
        return None
    if node.tag == f"{_TAG}bool":
        return text.lower() == "true"
    return int(text) if node.tag == f"{_TAG}int" else _finite(text)


def _finite(text: str) -> Any:
    """A float, or the text where it is too large for one: JSON, and so the checker, knows no infinity."""
    value = float(text)
    return value if math.isfinite(value) else text


def dotted(path: KeyPath) -> str:
    """``("stt", "phrases", 2)`` as ``stt.phrases[2]``; a key that is no plain word is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if re.fullmatch(r"[\w-]{1,60}", part) else describe(part)
            text += f".{word}" if text else word
    return text
