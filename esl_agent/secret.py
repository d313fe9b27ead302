"""Passwords and keys: where they come from, and how they stay out of everything that is written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from esl_agent.errors import ConfigError

#: A password or key is short; a larger file is not one.
_MAX_SECRET = 16 * 1024
#: What shorter secrets are made of occurs in ordinary words.
_MIN_SCRUBBED = 6
#: So many characters of a secret's beginning are taken out, too: what shows fewer shows hardly more than whose it is.
_MIN_QUOTED = 12

#: In capitals, as POSIX has them (XBD 8.1); most keys that are pasted where a name belongs are not.
VARIABLE = "[A-Z_][A-Z0-9_]{0,127}"

_beside: ContextVar[Mapping[str, str]] = ContextVar("_beside")


@contextmanager
def beside(constants: Mapping[str, str]) -> Iterator[None]:
    """Within it, secrets that the environment does not hold are looked for in ``constants`` (of ``legacy_config``)."""
    token = _beside.set(constants)
    try:
        yield
    finally:
        _beside.reset(token)


def _variables() -> Mapping[str, str]:
    """The environment where it says anything, and what is beside it."""
    return {**_beside.get({}), **{name: value for name, value in os.environ.items() if value}}


def is_variable(text: str) -> bool:
    """Whether ``text`` can be the name of an environment variable; what cannot may be a secret, and is not shown."""
    return re.fullmatch(VARIABLE, text) is not None


def secret(variable: str, file: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The secret in environment ``variable``, else in ``file`` (first line, without its end), else None.

    Raises ConfigError if the file is named and cannot be read.
    """
    environment = _variables() if environment is None else environment
    if variable and environment.get(variable):
        return environment[variable]
    if not file:
        return None
    try:
        with Path(file).open(encoding="utf-8") as source:
            text = source.read(_MAX_SECRET)
    except (OSError, UnicodeDecodeError) as error:
        told = getattr(error, "strerror", None) or "no UTF-8 text"
        shown = (
            file if "/" in file else "the file named for a secret (without a directory, so not shown: is it the key?)"
        )
        raise ConfigError([f"{shown}: the secret in it cannot be read: {told}"]) from None
    return text.split("\n", 1)[0].strip() or None


def required(
    where: str,
    variable: str,
    file: str,
    *others: str,
    named: str = "api_key",
    environment: Mapping[str, str] | None = None,
) -> str:
    """The secret an engine cannot work without. ``others``: older names of the variable. Raises ConfigError, also for
    one that could not stand in a header. ``named``: the settings' name without ``_env`` and ``_file``."""
    known = _variables() if environment is None else environment
    for name in (variable, *others):
        if known.get(name):
            found: str | None = known[name]
            break
    else:
        found = secret("", file, known)
    if not found:
        raise ConfigError([f"{where}: no {named.removeprefix('api_')}: {_nothing_in(variable, file, named)}"])
    source = variable if is_variable(variable) else "its variable or file"
    if found[0] in "\"'" and found[0] == found[-1]:
        raise ConfigError([f"{where}: the key in {source} stands in quotation marks; leave them out"])
    if not re.fullmatch(r"[\x21-\x7e]+", found):
        raise ConfigError([f"{where}: the key in {source} has a blank, a line end or another odd character"])
    return found


def _nothing_in(variable: str, file: str, named: str) -> str:
    """What is missing, and what to do. Never what stands in place of a name."""
    if file:
        empty = f"{file} is empty" if "/" in file else f"the file that {named}_file names is empty"
        return f"{empty}, and {variable} is not set" if is_variable(variable) else empty
    cure = f"or name a file in {named}_file; the service and `esl-agent check` need it in their own environment alike"
    if not variable:
        return f"name an environment variable in {named}_env, {cure}"
    if not is_variable(variable):
        return f"what {named}_env says is no name of an environment variable; name one, {cure}"
    return f"the environment variable {variable} is not set; set it, {cure}"


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """``text`` (outside text: servers like to quote the key they refuse) without any of ``secrets``, also where one was
    cut off."""
    for each in secrets:
        if len(each) >= _MIN_SCRUBBED:
            text = text.replace(each, "***")
            if len(each) > _MIN_QUOTED:
                text = _without_beginnings(text, each)
    return text


def _without_beginnings(text: str, secret: str) -> str:
    head = secret[:_MIN_QUOTED]
    at = text.find(head)
    while at >= 0:
        end = at + len(head)
        while text[at : end + 1] == secret[: end + 1 - at]:
            end += 1
        text = f"{text[:at]}***{text[end:]}"
        at = text.find(head)
    return text
