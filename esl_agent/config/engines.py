"""Who serves a DID, as YAML says it: an engine's word, a mapping with its options, or a list of these in which those
behind take over from those before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from esl_agent.config.did import STAGES, Catalogue, DidSettings, EngineSpec, EngineSpecs
from esl_agent.config.environment import overlay
from esl_agent.config.source import Document, KeyPath, describe, dotted
from esl_agent.config.validate import problem, suggestion, validate
from esl_agent.dialogue.destinations import Policy
from esl_agent.dialogue.tools import Toolbox
from esl_agent.errors import Stage


def spell_out_engines(document: Document) -> None:
    """``stt: deepgram`` becomes ``stt: {engine: deepgram}``, also in lists and in ``languages``; in place, before
    documents are laid over each other."""
    languages = document.data.get("languages")
    _spell_out(document, document.data, ())
    for tag, settings in languages.items() if isinstance(languages, dict) else ():
        if isinstance(settings, dict):
            _spell_out(document, settings, ("languages", tag))


def _spell_out(document: Document, data: dict[str, Any], path: KeyPath) -> None:
    for stage in STAGES:
        choice: Any = data.get(stage)
        data |= {stage: _mapping(document, choice, (*path, stage))} if isinstance(choice, str) else {}
        for index, item in enumerate(choice) if isinstance(choice, list) else ():
            if isinstance(item, str):
                choice[index] = _mapping(document, item, (*path, stage, index))


def _mapping(document: Document, word: str, path: KeyPath) -> dict[str, Any]:
    where: KeyPath = (*path, "engine")
    document.places[where] = document.place(path)
    return {"engine": word}


def engines_of(
    document: Document, catalogue: Catalogue, environment: Mapping[str, str], problems: list[str]
) -> EngineSpecs | None:
    """The engines of every stage; None after adding problems (or where ``validate`` already did)."""
    wanted = STAGES if _is_wanted(document.data.get("agent")) else [each for each in STAGES if each != "agent"]
    found = {stage: _stage(stage, document, catalogue, environment, problems) for stage in wanted}
    if not all(specs and all(specs) for specs in found.values()):
        return None
    made = {stage: tuple(filter(None, specs)) for stage, specs in found.items()}
    return EngineSpecs(**made | {"stt": (), "llm": ()} if "agent" in made else made)


def _is_wanted(agent: Any) -> bool:
    """An agent is; ``agent: ""`` and ``agent: []`` undo that of the defaults."""
    return agent.get("engine") != "" if isinstance(agent, dict) and agent else bool(agent)


def _stage(
    stage: Stage, document: Document, catalogue: Catalogue, environment: Mapping[str, str], problems: list[str]
) -> list[EngineSpec | None]:
    choice: Any = document.data.get(stage, getattr(DidSettings(), stage))
    if isinstance(choice, dict):
        return [_engine(stage, choice, (stage,), document, catalogue, environment, problems)]
    if not isinstance(choice, list):
        return []
    if not choice:
        problems.append(problem(document.place((stage,)), (stage,), "expected at least one engine, got an empty list"))
    return [
        _engine(stage, item, (stage, index), document, catalogue, environment, problems)
        for index, item in enumerate(choice)
        if isinstance(item, dict)
    ]


def _engine(
    stage: Stage,
    choice: dict[str, Any],
    path: KeyPath,
    document: Document,
    catalogue: Catalogue,
    environment: Mapping[str, str],
    problems: list[str],
) -> EngineSpec | None:
    """The engine at ``path`` with its options, those of the environment first; None after adding a problem."""
    if not _is_engine(stage, choice, path, document, catalogue, problems):
        return None
    name = str(choice["engine"])
    under = document.under(path)
    options = Document({key: value for key, value in choice.items() if key != "engine"}, under.places)
    kind = catalogue.options_class(stage, name)
    made = validate(kind, overlay(kind, environment).over(options), problems)
    place = document.place(path)
    where = f"{place}: {dotted((*place.above, *path))}"
    return None if made is None else EngineSpec(stage, name, made, where)


def engines_exist(document: Document, catalogue: Catalogue, problems: list[str]) -> None:
    """Those that ``document`` names, with whatever options: what a DID replaces is to be right all the same."""
    for stage in STAGES:
        choice: Any = document.data.get(stage)
        listed = enumerate(choice) if isinstance(choice, list) else ()
        single: list[tuple[KeyPath, Any]] = [] if isinstance(choice, list) else [((stage,), choice)]
        for path, each in (*single, *(((stage, index), item) for index, item in listed)):
            if stage == "agent" and not _is_wanted(each):
                continue
            if isinstance(each, dict) and "engine" in each:  # options alone go with whatever engine a DID names
                _is_engine(stage, each, path, document, catalogue, problems)


def _is_engine(
    stage: Stage,
    choice: Mapping[str, Any],
    path: KeyPath,
    document: Document,
    catalogue: Catalogue,
    problems: list[str],
) -> bool:
    """Whether ``choice`` names an engine; False after adding a problem."""
    names = tuple(catalogue.names(stage))
    name = choice.get("engine")
    if name in names:
        return True
    got = f"got {describe(name)}" if name is not None else "got none"
    sentence = f"expected one of {', '.join(names)}, {got}{suggestion(name, {n: n for n in names})}"
    only, options = next(iter(choice.items()), ("", ""))
    if name is None and len(choice) == 1 and only in names and (options is None or isinstance(options, dict)):
        sentence = f"expected `{{engine: {only}, ...}}`, its options beside the name and not below it"
    problems.append(problem(document.place((*path, "engine")), (*path, "engine"), sentence))
    return False


def tools_exist(settings: DidSettings, engines: EngineSpecs, document: Document, problems: list[str]) -> None:
    """An engine that says by itself which tools it calls (rules) calls those that its DID has."""
    policy = Policy(settings.destinations, settings.transfer)
    offered = [spec.name for spec in Toolbox(settings.tools, policy, settings.offered_languages).specs]
    for path, name in _called(engines, document):
        if name not in offered:
            hint = "; transfer needs destinations" if name == "transfer" else ""
            near = suggestion(name, {each: each for each in offered})
            sentence = f"a rule calls the tool {describe(name)}, which this DID does not offer{hint or near}"
            problems.append(problem(document.place(path), path, sentence))


def _called(engines: EngineSpecs, document: Document) -> Iterator[tuple[KeyPath, str]]:
    """(where its rules are, a tool that they call)"""
    for index, spec in enumerate(engines.llm):
        where: KeyPath = ("llm", index) if isinstance(document.data.get("llm"), list) else ("llm",)
        for name in getattr(spec.options, "called_tools", tuple)():
            yield (*where, "rules"), name
