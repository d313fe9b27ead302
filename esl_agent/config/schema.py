"""JSON Schema of the settings files, for editors: made from the same dataclasses that ``load`` checks with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from esl_agent.config.did import IDENTITY, STAGES, Catalogue, DidSettings
from esl_agent.config.service import ServiceSettings
from esl_agent.config.validate import settings_of
from esl_agent.errors import Stage
from esl_agent.secret import VARIABLE

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas(engines: Catalogue) -> dict[str, str]:
    """File name and text of each schema."""
    found = {"agent.json": _agent(engines), "did.json": _did(engines)}
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in found.items()}


def write(directory: str | Path, engines: Catalogue) -> list[Path]:
    """Write the schemas below ``directory``; returns the files."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in schemas(engines).items():
        (directory / name).write_text(text, encoding="utf-8")
        written.append(directory / name)
    return written


def _agent(engines: Catalogue) -> dict[str, Any]:
    schema = _plain(ServiceSettings, "service")
    defaults = _did_body(engines)
    for key in IDENTITY:
        del defaults["properties"][key]
    schema.setdefault("$defs", {}).update(defaults.pop("$defs"))
    schema["properties"]["defaults"] = {**defaults, "description": "Laid under every DID: what its file does not say."}
    return {"$schema": DIALECT, **schema, "title": "conf/agent.yaml"}


def _did(engines: Catalogue) -> dict[str, Any]:
    schema = _did_body(engines)
    schema["oneOf"] = [{"required": ["did"]}, {"required": ["prefix"]}, {"required": ["default"]}]
    return {"$schema": DIALECT, **schema, "title": "conf/dids/*.yaml"}


def _did_body(engines: Catalogue) -> dict[str, Any]:
    schema = _plain(DidSettings, "did")
    descriptions = {name: item.metadata["description"] for name, _, item in settings_of(DidSettings)}
    for stage in STAGES:
        branches = []
        for name in engines.names(stage):
            branch, definitions = _engine(engines.options_class(stage, name), stage, name)
            branches.append(branch)
            schema["$defs"].update(definitions)
        words = [*engines.names(stage), *([""] if stage == "agent" else [])]
        schema["$defs"][f"engines.{stage}"] = {"oneOf": [*branches, {"enum": words}]}
        choice = _choice(stage)
        schema["properties"][stage] = {"description": descriptions[stage], **choice}
        if stage != "agent":
            schema["$defs"]["did.LanguageSettings"]["properties"][stage] |= choice
    mapping = schema["properties"]["media"]
    kinds = schema["$defs"]["did.MediaSettings"]["properties"]["kind"]["enum"]
    schema["properties"]["media"] = {"description": descriptions["media"], "anyOf": [{"enum": kinds}, mapping]}
    return schema


def _choice(stage: Stage) -> dict[str, Any]:
    """One engine, or a list of them."""
    one = {"$ref": f"#/$defs/engines.{stage}"}
    fewest = 0 if stage == "agent" else 1  # there need not be an agent
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": fewest}]}


def _engine(options: type[Any], stage: Stage, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """One engine as a mapping with ``engine: name``. Nothing else is required: options may come from the defaults."""
    schema = _plain(options, f"{stage}_{name}")
    definitions = schema.pop("$defs", {})
    branch: dict[str, Any] = {
        "type": "object",
        "title": name,
        "properties": {"engine": {"const": name}, **schema.get("properties", {})},
        "required": ["engine"],
        "additionalProperties": False,
    }
    if options.__doc__ and "description" in schema:
        branch["description"] = schema["description"]
    return branch, definitions


def _plain(cls: type[Any], scope: str) -> dict[str, Any]:
    """Pydantic's schema with its definitions named after ``scope``, so that schemas can be joined."""
    schema = TypeAdapter(cls).json_schema(ref_template=f"#/$defs/{scope}.{{model}}")
    schema["$defs"] = {f"{scope}.{name}": body for name, body in schema.get("$defs", {}).items()}
    for body in (schema, *schema["$defs"].values()):
        for name, value in body.get("properties", {}).items():
            value |= {"pattern": f"^({VARIABLE})?$"} if name.endswith("_env") else {}
    return schema
