"""JSON from outside. What is nested deeper than anybody means it is no JSON to us: whoever walks through it, prints it
or writes it again would fall over it, each at another depth (Python's recursion limit)."""

from __future__ import annotations

import json
from typing import Any

#: Lists and objects within each other. Services' own answers have ten.
MAX_DEPTH = 64


def loads(data: str | bytes) -> Any:
    """The value of ``data``. Raises ValueError for anything else, and for more than MAX_DEPTH levels."""
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    brackets = data.count("[") + data.count("{") if isinstance(data, str) else data.count(b"[") + data.count(b"{")
    if brackets > MAX_DEPTH and _depth(found) > MAX_DEPTH:
        raise ValueError("nested too deeply")
    return found


def _depth(value: Any) -> int:
    """Levels, counted up to one too many."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        inner = [each for each in level if isinstance(each, dict | list)]
        level = [child for each in inner for child in (each.values() if isinstance(each, dict) else each)]
        depth += bool(inner)
    return depth
