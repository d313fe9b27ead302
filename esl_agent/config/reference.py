"""``docs/settings.md``: every setting with its type, default, limits and prose, from the dataclasses themselves."""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
import typing
from collections.abc import Iterator
from typing import Any

from esl_agent.config.did import STAGES, Catalogue, DidSettings
from esl_agent.config.environment import variables
from esl_agent.config.service import ServiceSettings
from esl_agent.config.source import KeyPath
from esl_agent.config.validate import group_in, is_by_name, settings_of
from esl_agent.providers import openai_key

_HEAD = """# Settings

Made by `python -m esl_agent.config docs` from the code that checks them. `esl-agent check conf/` says every mistake
in a directory of settings with its file and line.

- `conf/agent.yaml` is the service. Its `defaults` take everything a DID takes (except `did`, `prefix`, `default` and
  `name`) and are laid under every DID; mappings merge, lists and values replace, and options of another engine are
  dropped.
- `conf/dids/*.yaml` hold one DID each. A whole number wins over a prefix, a longer prefix over a shorter one, and
  `default: true` takes the rest; without it the rest is refused with UNALLOCATED_NUMBER.
- Times are seconds. YAML is read as version 1.2: only `true` and `false` are truth values, and a number with a leading
  `0` or `+` is text.
- No secret is written in YAML: a setting that ends in `_env` names an environment variable (in capitals), one that ends
  in `_file` a file.
- A reload that finds a mistake changes nothing.
"""

_STAGE_TITLES = {"stt": "who listens", "llm": "who thinks", "tts": "who speaks", "agent": "who does all of it"}


def reference(engines: Catalogue) -> str:
    """The page as Markdown."""
    parts = [_HEAD, "## The service: conf/agent.yaml\n", *_group(ServiceSettings, "")]
    parts += ["## A DID: conf/dids/*.yaml\n", *_group(DidSettings, "")]
    parts.append("## Engines\n\nThe options below `stt`, `llm`, `tts` and `agent`, beside `engine`.\n")
    for stage in STAGES:
        for name in engines.names(stage):
            options = engines.options_class(stage, name)
            parts.append(f"### {stage}: engine: {name} ({_STAGE_TITLES[stage]})\n")
            parts += _group(options, f"{stage}.", heading=False)
    parts += ["## Environment\n", _environment(engines)]
    return "\n".join(parts)


def _group(cls: type[Any], path: str, *, heading: bool = True) -> Iterator[str]:
    """The table of ``cls``, then those of the groups below it."""
    if heading and path:
        yield f"### {path.rstrip('.')}\n"
    if cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}("):
        yield f"{_paragraphs(cls.__doc__)}\n"
    rows, below = [], []
    for name, kind, item in settings_of(cls):
        if (group := group_in(kind)) is not None:
            below.append((name if group is kind else f"{name}.*" if is_by_name(kind) else f"{name}[]", group))
        if group is kind:
            continue
        doc = item.metadata.get("description", "")
        if "env" in item.metadata:
            doc = f"{doc} Environment: `{item.metadata['env']}`."
        cells = (f"`{name}`", type_name(kind), _default(item), _limits(item, kind), doc)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if rows:
        yield "| name | type | default | limits | |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    elif not below:
        yield "No options.\n"
    for name, kind in below:
        yield from _group(kind, f"{path}{name}.")


def _paragraphs(doc: str) -> str:
    return inspect.cleandoc(doc).replace("``", "`")


def _environment(engines: Catalogue) -> str:
    found = {name: f"`{_path(path)}`" for name, path, _ in variables(ServiceSettings)}
    found |= {name: f"`{_path(path)}` of every DID" for name, path, _ in variables(DidSettings)}
    for stage in STAGES:
        for engine in engines.names(stage):
            for name, path, _ in variables(engines.options_class(stage, engine)):
                found[name] = " and ".join(filter(None, (found.get(name), f"{stage} engine {engine}: `{_path(path)}`")))
    lines = ["| variable | sets |", "|---|---|", *(f"| `{name}` | {what} |" for name, what in sorted(found.items()))]
    named = _secrets(engines)
    lines += [f"| `{name}` | {what} |" for name, what in sorted(named.items())]
    return (
        "What is set in the environment wins over the files; an empty variable counts as not set. Between the two come "
        "the constants of `legacy_config`. [migrating.md](migrating.md) lists every older name.\n\n"
    ) + ("\n".join(lines) + "\n")


def _secrets(engines: Catalogue) -> dict[str, str]:
    """Each variable that holds a secret unless YAML names another, and whose."""
    whose: dict[tuple[str, str], list[str]] = {}
    for stage in STAGES:
        for engine in engines.names(stage):
            for name, _, item in settings_of(engines.options_class(stage, engine)):
                is_shared = item.metadata.get("description") == openai_key.DOC
                variable = openai_key.VARIABLE if is_shared else item.default if name.endswith("_env") else ""
                if isinstance(variable, str) and variable:
                    whose.setdefault((variable, name), []).append(f"{stage} {engine}")
    found = {variable: f"{', '.join(of)}: the secret that `{name}` names" for (variable, name), of in whose.items()}
    if openai_key.VARIABLE in found:
        found[openai_key.VARIABLE] += "; where it names none, of OpenAI's own hosts only"
    return {**found, "FREESWITCH_PASSWORD": "`event_socket`: the secret that `password_env` names"}


def _path(path: KeyPath) -> str:
    return ".".join(map(str, path))


def type_name(kind: Any) -> str:
    """A type as an operator would say it."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " or ".join(f"`{arg}`" for arg in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("nothing" if arg is type(None) else type_name(arg) for arg in args)
    if origin in (tuple, list) or kind in (tuple, list):
        return f"list of {type_name(args[0])}" if args else "list"
    if origin is dict or kind is dict:
        return "mapping"
    if dataclasses.is_dataclass(kind):
        return "mapping"
    return {str: "text", int: "whole number", float: "number", bool: "true or false"}.get(kind, "text")


def _default(item: dataclasses.Field[Any]) -> str:
    if item.default is not dataclasses.MISSING:
        value = item.default
    elif item.default_factory is not dataclasses.MISSING:
        value = item.default_factory()
    else:
        return "required"
    if isinstance(value, (dict, list, tuple)):
        return f"`{json.dumps(value, ensure_ascii=False, default=str)}`" if value else "empty"
    return "empty" if value in ("", None) else f"`{json.dumps(value, ensure_ascii=False, default=str)}`"


def _limits(item: dataclasses.Field[Any], kind: Any) -> str:
    """``ge``, ``gt``, ``le``, ``lt`` and ``pattern`` of the setting, in words."""
    words = {"ge": "from {}", "gt": "more than {}", "le": "to {}", "lt": "less than {}", "pattern": "`{}`"}
    found = [
        text.format(f"{value:g}" if isinstance(value, (int, float)) else value)
        for key, text in words.items()
        if (value := item.metadata.get(key)) is not None
    ]
    return " ".join(found)
