"""The name under which a voice's sound is cached: everything that changes the sound is in it."""

from __future__ import annotations

import dataclasses
from typing import Any

#: Settings that are not heard.
_NOT_HEARD = frozenset({"api_key_env", "api_key_file", "at_once", "ca_file"})


def voice_key(engine: str, options: Any, *more: str) -> str:
    """``engine``, every setting of ``options`` (a dataclass) that may be heard, and ``more``: the language it speaks,
    what a file held. Two that differ in anything never share sound."""
    settings = (
        f"{field.name}={getattr(options, field.name)}"
        for field in dataclasses.fields(options)
        if field.name not in _NOT_HEARD
    )
    return "/".join((engine, *settings, *more))
