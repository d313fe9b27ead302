"""Constants of an older program's ``config.py``, read and never run.

Two forms that are no constants are understood, because such files are full of them: ``os.getenv("X", "default")`` with
its like, and ``int(...)``, ``float(...)`` or ``str(...)`` around anything that is understood.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from esl_agent.config.older_names import NOT_USED_YET, USED
from esl_agent.config.source import Place
from esl_agent.errors import ConfigError

#: A file of settings is far smaller.
MAX_BYTES = 64 * 1024
MAX_NUMBER = 1e15
#: What else serves where a name is not given: whoever has that has no need of the constant.
STANDS_FOR: Mapping[str, str] = {"API_KEY": "ELEVENLABS_API_KEY"}


def read(path: Path, environment: Mapping[str, str]) -> tuple[Mapping[str, str], Mapping[str, Place]]:
    """(name -> value as text, name -> where) of the older names that the file gives at its top level, the last one
    where a name is given twice; empty text counts as not given, other names are ignored.

    Raises ConfigError for a file that is no Python, and for an older name that is needed (``environment`` does not give
    it) and computed.
    """
    try:
        with path.open("rb") as file:
            source = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from None
    if len(source) > MAX_BYTES:
        raise ConfigError([f"{path}: expected at most {MAX_BYTES // 1024} KiB of constants, got a larger file"])
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ConfigError([f"{path}{line}: not readable as Python"]) from None
    values: dict[str, str] = {}
    places: dict[str, Place] = {}
    problems: dict[str, str] = {}
    for name, node in _assignments(module):
        if name not in USED and name not in NOT_USED_YET:
            continue
        places[name] = Place(str(path), node.lineno)
        values.pop(name, None)
        problems.pop(name, None)
        try:
            value = _value(node, environment)
        except (_Computed, RecursionError):
            if not environment.get(name) and not environment.get(STANDS_FOR.get(name, "")):
                problems[name] = (
                    f"{places[name]}: {name}: expected plain text, a number or os.getenv(...) of these, because this "
                    "file is read and not run; set it in the environment, or write its value here"
                )
            continue
        if value:
            values[name] = value
    if problems:
        raise ConfigError(list(problems.values()))
    return values, {name: places[name] for name in values}


def _assignments(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for statement in module.body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield target.id, statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            yield statement.target.id, statement.value


class _Computed(Exception):
    """Only running the file could tell the value."""


def _value(node: ast.expr, environment: Mapping[str, str]) -> str:
    """The text of what is understood, empty where nothing is given. Raises _Computed for all the rest."""
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        found = [_value(each, environment) for each in node.values]
        return next((each for each in found if each), "")
    if isinstance(node, ast.Subscript) and _dotted(node.value) in ("os.environ", "environ"):
        return environment.get(_literal(node.slice), "")
    if not isinstance(node, ast.Call) or node.keywords:
        return _literal(node)
    called, arguments = _dotted(node.func), node.args
    if called in ("int", "float", "str") and len(arguments) == 1:
        return _value(arguments[0], environment)
    if called in ("os.getenv", "getenv", "os.environ.get", "environ.get") and 1 <= len(arguments) <= 2:
        default = "" if len(arguments) == 1 or _is_none(arguments[1]) else _value(arguments[1], environment)
        return environment.get(_literal(arguments[0])) or default
    raise _Computed


def _dotted(node: ast.expr) -> str:
    """``os.environ.get`` as text; empty where it is anything else than names and dots."""
    if isinstance(node, ast.Attribute):
        above = _dotted(node.value)
        return f"{above}.{node.attr}" if above else ""
    return node.id if isinstance(node, ast.Name) else ""


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _literal(node: ast.expr) -> str:
    """The text of a constant. Raises _Computed where it is anything else (a list, an f-string, None)."""
    sign = ""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = "-", node.operand
    value: Any = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, str) and not sign:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MAX_NUMBER:
        return f"{sign}{value}"
    raise _Computed
