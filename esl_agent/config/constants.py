"""Constants of an older program's ``config.py``, read and never run."""

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


def read(path: Path) -> tuple[Mapping[str, str], Mapping[str, Place]]:
    """(name -> value as text, name -> where) of the older names that the file gives at its top level, the last one
    where a name is given twice; empty text counts as not given, other names are ignored.

    Raises ConfigError for a file that is no Python, and for an older name whose value is no plain text or number.
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
        value = _literal(node)
        if value is None:
            problems[name] = (
                f"{places[name]}: {name}: expected plain text or a number, because this file is read and not run; "
                "set it in the environment, or here in YAML"
            )
        elif value:
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


def _literal(node: ast.expr) -> str | None:
    """The text of a constant, or None where it is anything else (a call, a list, an f-string, None)."""
    sign = ""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = "-", node.operand
    value: Any = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, str) and not sign:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MAX_NUMBER:
        return f"{sign}{value}"
    return None
