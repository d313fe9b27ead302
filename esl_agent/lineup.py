"""A configuration with its engines made: what the server answers calls with. A reload makes another one."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gevent.pool import Pool

from esl_agent.audio.silero import second_opinion
from esl_agent.config import Config, DidConfig
from esl_agent.config.did import EngineSpecs
from esl_agent.dialogue.destinations import Policy
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.dialogue.tools import Toolbox
from esl_agent.errors import ConfigError, ProviderError
from esl_agent.http_tools import HttpTools
from esl_agent.providers import registry
from esl_agent.providers.base import EngineContext, Engines
from esl_agent.secret import beside
from esl_agent.speech_cache import SpeechCache
from esl_agent.workers import speak

log = logging.getLogger(__name__)

#: Phrases prepared at the same time: a slow voice is not waited for one by one, nor asked for everything at once.
WARM_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Duties:
    """What one DID's agent may do beside talking, and in which other languages it talks. Shared by the DID's calls."""

    policy: Policy
    toolbox: Toolbox
    http: HttpTools
    languages: Mapping[str, tuple[CascadeSettings, Engines]] = field(default_factory=dict)

    @classmethod
    def of(cls, did: DidConfig) -> Duties:
        """Raises ConfigError for an engine that cannot be made, and a header without its secret."""
        policy = Policy(did.cascade.destinations, did.cascade.transfer)
        toolbox = Toolbox(did.cascade.tools, policy, did.settings.offered_languages)
        languages = {
            tag: (language.cascade, _make(language.engines, language.context))
            for tag, language in did.languages.items()
        }
        return cls(policy, toolbox, HttpTools(did.cascade.tools.http), languages)


@dataclass(frozen=True, slots=True)
class Lineup:
    """Every DID with who serves it. Never changes; calls keep the one they began with. ``duties`` that are not given
    are made when first asked for."""

    config: Config
    engines: dict[str, Engines]
    duties: dict[str, Duties] = field(default_factory=dict)

    def duties_of(self, did: DidConfig) -> Duties:
        """What the agent of ``did`` may do beside talking."""
        if did.key not in self.duties:
            self.duties[did.key] = Duties.of(did)
        return self.duties[did.key]

    def find(self, number: str) -> tuple[DidConfig, Engines] | None:
        """Who answers ``number`` (outside text), or None."""
        did = self.config.find(number)
        return None if did is None else (did, self.engines[did.key])


def make_lineup(config: Config) -> Lineup:
    """Make every DID's engines. Raises ConfigError with every engine that cannot be made, file by file."""
    engines: dict[str, Engines] = {}
    duties: dict[str, Duties] = {}
    problems: list[str] = []
    for did in config.dids:
        media, s1 = did.media, config.service.audio.s1_listener
        if media.audio_fork == "external" and not (s1.enabled and media.rate == 16000):
            problems.append(
                f"{did.file}: media.audio_fork: external needs audio.s1_listener.enabled: true in agent.yaml and "
                f"media.rate: 16000, got enabled: {s1.enabled}, rate: {media.rate}"
            )
        try:
            with beside(config.constants):
                engines[did.key] = make_engines(did)
                duties[did.key] = Duties.of(did)
            second_opinion(did.cascade.barge_in.second_opinion)
        except ConfigError as error:
            problems.extend(f"{did.file}: {problem}" for problem in error.problems)
    if problems:
        raise ConfigError(problems)
    return Lineup(config, engines, duties)


def make_engines(did: DidConfig) -> Engines:
    """The engines of one DID. Raises ConfigError."""
    return _make(did.engines, did.context)


def _make(specs: EngineSpecs, context: EngineContext) -> Engines:
    made = [registry.make(spec.stage, spec.name, spec.options, context) for spec in (specs.stt, specs.llm, specs.tts)]
    return Engines(*made)


def warm(lineup: Lineup, cache: SpeechCache) -> None:
    """Start what is slow to start, and have every fixed phrase in the cache: from the disk, or spoken. Every DID's
    greeting comes before anybody's second phrase. Failures are logged: calls go on."""
    for _, _, engines in _voices(lineup):
        for engine in (engines.stt, engines.llm, engines.tts):
            if start := getattr(engine, "warm", None):
                start()
    cache.open()
    pool = Pool(WARM_AT_ONCE)
    for name, engines, text in _phrases(lineup):
        pool.spawn(_prepare, name, engines, text, cache)
    pool.join()


def _voices(lineup: Lineup) -> Iterator[tuple[str, CascadeSettings, Engines]]:
    """(a DID's name, what it says in one language, its engines for that), the DIDs' own languages first."""
    for did in lineup.config.dids:
        yield did.name, did.cascade, lineup.engines[did.key]
    for did in lineup.config.dids:
        for tag, (cascade, engines) in lineup.duties_of(did).languages.items():
            yield f"{did.name} ({tag})", cascade, engines


def _phrases(lineup: Lineup) -> list[tuple[str, Engines, str]]:
    """(a DID's name, its engines, a clause it may need), first clauses first; none twice in the same voice."""
    voices = list(_voices(lineup))
    found: dict[tuple[str, str], tuple[str, Engines, str]] = {}
    for rank in itertools.zip_longest(*(cascade.clauses() for _, cascade, _ in voices)):
        for (name, _, engines), text in zip(voices, rank, strict=True):
            if text is not None:
                found.setdefault((engines.tts.voice, text), (name, engines, text))
    return list(found.values())


def _prepare(name: str, engines: Engines, text: str, cache: SpeechCache) -> None:
    tts = engines.tts
    try:
        if not cache.recall(tts.voice, tts.rate, text):
            cache.keep(tts.voice, text, speak(engines, text))
    except ProviderError as error:
        log.warning("%s: cannot prepare a phrase: %s", name, error)
