"""``load``: a directory of YAML becomes one frozen ``Config``, or one ConfigError with every problem in it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from esl_agent.config import constants
from esl_agent.config.did import (
    BARGE_IN_OF_AGENT,
    IDENTITY,
    IDLE_WITH_AGENT,
    STAGES,
    Catalogue,
    DidConfig,
    DidSettings,
    LanguageConfig,
    cascade_of,
    context_of,
    normalised,
    spell_out_media,
    spell_out_numbers,
)
from esl_agent.config.engines import engines_exist, engines_of, spell_out_engines, tools_exist
from esl_agent.config.environment import Given, overlay, variables
from esl_agent.config.older_names import remarks, unread
from esl_agent.config.service import ServiceSettings
from esl_agent.config.source import Document, KeyPath, Place, describe, read
from esl_agent.config.validate import problem, suggestion, validate
from esl_agent.dialogue import template
from esl_agent.errors import ConfigError
from esl_agent.providers import registry


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the operator said. Never changes; a reload makes another."""

    service: ServiceSettings
    dids: tuple[DidConfig, ...]
    _exact: Mapping[str, DidConfig] = field(default_factory=dict, repr=False)
    _prefixes: Mapping[str, DidConfig] = field(default_factory=dict, repr=False)
    _default: DidConfig | None = field(default=None, repr=False)
    constants: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What ``legacy_config`` gave, secrets among it: make engines within ``secret.beside`` it."""
    remarks: tuple[str, ...] = ()
    """What is no mistake, but has not the effect that somebody may expect."""

    def find(self, number: str) -> DidConfig | None:
        """Who answers ``number`` (outside text): the whole number, else the longest prefix, else the default.

        None: nobody does; the call is to be refused with UNALLOCATED_NUMBER.
        """
        dialled = normalised(number)
        if dialled in self._exact:
            return self._exact[dialled]
        for length in range(len(dialled), 0, -1):
            if dialled[:length] in self._prefixes:
                return self._prefixes[dialled[:length]]
        return self._default


def load(
    directory: str | Path, *, environment: Mapping[str, str] | None = None, engines: Catalogue = registry
) -> Config:
    """Read ``agent.yaml`` and ``dids/*.yaml`` below ``directory``. Reads files and nothing else; call it again to
    reload. Raises ConfigError with every problem at once.
    """
    directory = Path(directory)
    problems: list[str] = []
    agent = _read(directory / "agent.yaml", problems)
    if not (directory / "agent.yaml").exists():
        problems[:] = [f"{directory / 'agent.yaml'}: is not there; an empty file is enough"]
    given = _given(directory, agent, os.environ if environment is None else environment, problems)
    service, defaults = _service(agent, engines, given, problems)
    files = sorted(p for p in (directory / "dids").glob("*") if p.suffix in (".yaml", ".yml") and p.is_file())
    if not files:
        problems.append(f"{directory / 'dids'}: expected at least one file *.yaml that says who answers, got none")
    dids = [did for path in files if (did := _did(path, defaults, engines, given, problems)) is not None]
    _no_two_alike(dids, problems)
    if problems or service is None:
        raise ConfigError(list(dict.fromkeys(problems)))
    return Config(
        service,
        tuple(dids),
        {normalised(d.settings.did): d for d in dids if d.settings.did},
        {normalised(d.settings.prefix): d for d in dids if d.settings.prefix},
        next((d for d in dids if d.settings.default), None),
        given.constants,
        tuple(_remarks(given, service, dids, engines)),
    )


def _remarks(given: Given, service: ServiceSettings, dids: list[DidConfig], catalogue: Catalogue) -> list[str]:
    """What to tell of names of older programs that are given."""
    places = {name: str(given.place(name)) for name in given}
    readers: dict[str, list[str]] = {}
    for stage in STAGES:
        for engine in catalogue.names(stage):
            for name, _, _ in variables(catalogue.options_class(stage, engine)):
                readers.setdefault(name, []).append(f"{stage} engine {engine}")
    for name in {name for cls in (ServiceSettings, DidSettings) for name, _, _ in variables(cls)}:
        readers.pop(name, None)
    chosen = [each for did in dids for each in (did.engines, *(other.engines for other in did.languages.values()))]
    used = {f"{spec.stage} engine {spec.name}" for specs in chosen for spec in specs.all()}
    return [*remarks(places, asterisk=service.asterisk.enabled), *unread(places, readers, used)]


def check(
    directory: str | Path, *, environment: Mapping[str, str] | None = None, engines: Catalogue = registry
) -> list[str]:
    """Every problem of the settings below ``directory``; empty when ``load`` would take them."""
    try:
        load(directory, environment=environment, engines=engines)
    except ConfigError as error:
        return error.problems
    return []


def _read(path: Path, problems: list[str]) -> Document:
    try:
        return read(path)
    except ConfigError as error:
        problems.extend(error.problems)
        return Document({})


def _given(directory: Path, agent: Document, environment: Mapping[str, str], problems: list[str]) -> Given:
    """The environment, and below it the constants of the older program that ``agent.yaml`` names."""
    named = agent.data.get("legacy_config")
    if not isinstance(named, str) or not named:
        return Given(environment)
    try:
        return Given(environment, *constants.read(directory / named, environment))
    except ConfigError as error:
        place = agent.place(("legacy_config",))
        problems.extend(error.problems if (directory / named).is_file() else _named_in(place, error.problems))
        return Given(environment)


def _named_in(place: Place, problems: list[str]) -> list[str]:
    return [f"{place}: legacy_config: {each}" for each in problems]


def _service(
    agent: Document, catalogue: Catalogue, environment: Mapping[str, str], problems: list[str]
) -> tuple[ServiceSettings | None, Document]:
    defaults = agent.under(("defaults",))
    if "defaults" in agent.data and not isinstance(agent.data["defaults"], dict):
        problems.append(problem(agent.place(("defaults",)), ("defaults",), "expected the settings of a DID"))
    for key in IDENTITY:
        if key in defaults.data:
            sentence = "belongs in a file of dids/, not in the defaults of all"
            problems.append(problem(defaults.place((key,)), (key,), sentence))
            del defaults.data[key]
    spell_out_media(defaults)
    spell_out_engines(defaults)
    spell_out_numbers(defaults)
    validate(DidSettings, defaults, problems)
    engines_exist(defaults, catalogue, problems)
    rest = Document({key: value for key, value in agent.data.items() if key != "defaults"}, agent.places)
    document = overlay(ServiceSettings, environment).over(rest)
    service = validate(ServiceSettings, document, problems)
    if service is not None and service.audio.s1_listener.enabled and not _is_loopback(service.audio.s1_listener.host):
        path = ("audio", "s1_listener", "host")
        sentence = (
            "expected a loopback address such as 127.0.0.1, because whoever connects to this listener is believed; "
            f"got '{service.audio.s1_listener.host}'"
        )
        problems.append(problem(document.place(path), path, sentence))
    if service is not None and service.unicast.has_clashing_ports:
        range_path = ("unicast", "freeswitch_ports")
        ours, theirs = service.unicast.ports, service.unicast.freeswitch_ports
        sentence = (
            "expected a range apart from unicast.ports, because both are of one machine; "
            f"got {theirs[0]} to {theirs[1]} beside {ours[0]} to {ours[1]}"
        )
        problems.append(problem(document.place(range_path), range_path, sentence))
    return service, defaults


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _did(
    path: Path, defaults: Document, catalogue: Catalogue, environment: Mapping[str, str], problems: list[str]
) -> DidConfig | None:
    before = len(problems)
    own = _read(path, problems)
    if len(problems) > before:
        return None
    spell_out_media(own)
    spell_out_engines(own)
    spell_out_numbers(own)
    for key in ("did", "prefix"):
        if type(own.data.get(key)) is int:
            own.data[key] = str(own.data[key])
    document = overlay(DidSettings, environment).over(own.over(defaults))
    settings = validate(DidSettings, document, problems)
    _who_answers(own, problems)
    if settings is not None:
        _placeholders_exist(settings, document, problems)
    engines = engines_of(document, catalogue, environment, problems)
    if settings is not None and engines is not None:
        tools_exist(settings, engines, document, problems)
    if settings is None or engines is None or len(problems) > before:
        return None
    tags = () if engines.agent else settings.languages
    languages = {tag: _language(tag, document, catalogue, environment, problems) for tag in tags}
    if len(problems) > before:
        return None
    return DidConfig(
        file=path,
        name=settings.name or path.stem,
        settings=settings,
        cascade=cascade_of(settings),
        engines=engines,
        context=context_of(settings, engines),
        languages={tag: found for tag, found in languages.items() if found is not None},
        idle=tuple(_idle(own)) if engines.agent else (),
    )


def _idle(own: Document) -> Iterator[str]:
    """What a DID's file says that nobody heeds while an agent has the call."""
    for key, instead in IDLE_WITH_AGENT.items():
        if key in own.data:
            yield f"{own.place((key,))}: {key}: no effect with agent: {instead}"
    barge_in = own.data.get("barge_in")
    for key in barge_in if isinstance(barge_in, dict) else ():
        if key not in BARGE_IN_OF_AGENT:
            yield f"{own.place(('barge_in', key))}: barge_in.{key}: no effect with agent: it stops for speech at once"


def _language(
    tag: str, did: Document, catalogue: Catalogue, environment: Mapping[str, str], problems: list[str]
) -> LanguageConfig | None:
    """The DID as it is in another language; None after adding a problem."""
    base = Document({key: value for key, value in did.data.items() if key != "languages"}, did.places)
    document = did.under(("languages", tag)).over(base)
    document.data["language"] = tag
    settings = validate(DidSettings, document, problems)
    engines = engines_of(document, catalogue, environment, problems)
    if settings is None or engines is None:
        return None
    _placeholders_exist(settings, document, problems)
    return LanguageConfig(cascade_of(settings), engines, context_of(settings, engines))


def _who_answers(own: Document, problems: list[str]) -> None:
    given = [key for key in ("did", "prefix", "default") if own.data.get(key)]
    if len(given) != 1:
        got = "none of them" if not given else " and ".join(given)
        sentence = f"expected exactly one of did, prefix and default: true, got {got}"
        problems.append(problem(own.place((given[-1],) if given else ()), (), sentence))


def _placeholders_exist(settings: DidSettings, document: Document, problems: list[str]) -> None:
    """In the prompt and the greeting; what else is said was prepared before the call, and knows nothing of it."""
    texts: dict[KeyPath, str] = {("prompt",): settings.prompt, ("phrases", "greeting"): settings.phrases.greeting}
    for path, text in texts.items():
        for found in template.mistakes(text):
            known = {each: "{{" + each + "}}" for each in template.NAMES}
            near = suggestion(found.strip("{} "), known)
            expected = f"expected one of {', '.join(known.values())}, or {{{{{{{{ for two braces"
            sentence = f"{expected}; got {describe(found)}{near}"
            problems.append(problem(_line_of(found, document.place(path)), path, sentence))
    for key in ("phrases", "last_resort", "destinations"):
        for path, text in _texts(document.data.get(key), (key,)):
            if template.is_template(text) and path not in texts:
                sentence = "call data may stand in prompt and phrases.greeting only: this is prepared before the call"
                problems.append(problem(document.place(path), path, sentence))


def _line_of(text: str, place: Place) -> Place:
    """The line that ``text`` is written in, from ``place`` on; ``place`` where it is spread over several."""
    try:
        lines = Path(place.file).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return place
    start = place.line or 1
    found = next((number for number, line in enumerate(lines[start - 1 :], start) if text in line), place.line)
    return replace(place, line=found)


def _texts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(item, (*path, key))


def _no_two_alike(dids: list[DidConfig], problems: list[str]) -> None:
    seen: dict[str, DidConfig] = {}
    for did in dids:
        first = seen.setdefault(did.key, did)
        if first is not did:
            what = "the default" if did.key == "default" else did.settings.did or f"prefix {did.settings.prefix}"
            problems.append(f"{did.file}: {what} is answered by {first.file} too; keep one of the two")
