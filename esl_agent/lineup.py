"""A configuration with its engines made: what the server answers calls with. A reload makes another one."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Pool

from esl_agent.audio.silero import second_opinion
from esl_agent.config import Config, DidConfig
from esl_agent.config.did import EngineSpec, EngineSpecs
from esl_agent.dialogue.destinations import Policy
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.dialogue.tools import Toolbox
from esl_agent.errors import ConfigError, ProviderError
from esl_agent.http_tools import HttpTools
from esl_agent.providers import registry
from esl_agent.providers.accounts import Resting
from esl_agent.providers.base import EngineContext, Engines
from esl_agent.providers.nobody import Nobody
from esl_agent.providers.resilient import ResilientVoice, resilient
from esl_agent.secret import beside
from esl_agent.speech_cache import SpeechCache
from esl_agent.workers import prepared

log = logging.getLogger(__name__)

#: A DID's name, its engines, a clause it may need.
Phrase = tuple[str, Engines, str]

#: Phrases whose voice is down are tried again after so many seconds, then twice as long.
AGAIN, AGAIN_AT_MOST = 20.0, 300.0
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
        """Raises ConfigError, each problem with its place, for an engine that cannot be made, and a header without its
        secret."""
        policy = Policy(did.cascade.destinations, did.cascade.transfer)
        toolbox = Toolbox(did.cascade.tools, policy, did.offered_languages)
        languages = {
            tag: (language.cascade, _make(did, language.engines, language.cascade, language.context))
            for tag, language in did.languages.items()
        }
        with _told_of(did.file):
            return cls(policy, toolbox, HttpTools(did.cascade.tools.http), languages)


@contextmanager
def _collected(problems: list[str]) -> Iterator[None]:
    """What is wrong within it is added to ``problems``."""
    try:
        yield
    except ConfigError as error:
        problems.extend(error.problems)


@contextmanager
def _told_of(file: Path) -> Iterator[None]:
    """What is wrong within it is wrong in ``file``."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError([f"{file}: {problem}" for problem in error.problems]) from None


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
        with beside(config.constants), _collected(problems):
            engines[did.key] = make_engines(did)
        with beside(config.constants), _collected(problems):
            duties[did.key] = Duties.of(did)
        with _collected(problems), _told_of(did.file):
            second_opinion(did.cascade.barge_in.second_opinion)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return Lineup(config, engines, duties)


def make_engines(did: DidConfig) -> Engines:
    """The engines of one DID. Raises ConfigError."""
    return _make(did, did.engines, did.cascade, did.context)


def _make(did: DidConfig, specs: EngineSpecs, cascade: CascadeSettings, context: EngineContext) -> Engines:
    """Every engine of the lists is made now, so that a missing key is found before a call needs the fallback."""
    problems: list[str] = []

    def made(stage: tuple[EngineSpec, ...]) -> list[Any]:
        return [each for spec in stage if (each := _engine(spec, context, problems)) is not None]

    stt, llm, tts, agents = made(specs.stt), made(specs.llm), made(specs.tts), made(specs.agent)
    if problems:
        raise ConfigError(problems)
    if agents:
        voice = ResilientVoice(tts, did.settings.resilience, cascade.limits)
        return Engines(Nobody(), Nobody(), voice, tuple(agents))
    return resilient(stt, llm, tts, did.settings.resilience, cascade.limits)


def _engine(spec: EngineSpec, context: EngineContext, problems: list[str]) -> Any:
    try:
        return registry.make(spec.stage, spec.name, spec.options, context)
    except ConfigError as error:
        place = spec.where or spec.stage
        problems.extend(f"{place}: {problem.removeprefix(f'{spec.stage}: ')}" for problem in error.problems)
        return None


def warm(lineup: Lineup, cache: SpeechCache) -> list[Phrase]:
    """Start what is slow to start, and have every fixed phrase in the cache: from the disk, or spoken by the preferred
    voice. Every DID's greeting comes before anybody's second phrase. Failures are logged: calls go on, and ask for the
    phrases that are returned as for any other clause."""
    for _, _, engines in _voices(lineup):
        for engine in (engines.stt, engines.llm, engines.tts, *engines.agents):
            if start := getattr(engine, "warm", None):
                start()
    cache.open()
    return _prepared(_phrases(lineup), cache)


def keep_warm(lineup: Lineup, cache: SpeechCache) -> None:
    """``warm``, and what could not be prepared, because its voice is down, again and again. Kill it when the lineup is
    no more in use."""
    missing, pause = warm(lineup, cache), AGAIN
    while missing:
        count = len(missing)
        log.warning("%d phrases are not prepared, calls wait for each; once more in %g s", count, pause)
        gevent.sleep(pause)
        left = _prepared(missing, cache)
        missing, pause = left, AGAIN if len(left) < len(missing) else min(2 * pause, AGAIN_AT_MOST)


def _prepared(phrases: list[Phrase], cache: SpeechCache) -> list[Phrase]:
    """Those that could not be prepared."""
    pool = Pool(WARM_AT_ONCE)
    done = pool.imap(lambda phrase: _prepare(phrase, cache), phrases)
    try:
        return [phrase for phrase, is_there in zip(phrases, done, strict=True) if not is_there]
    finally:  # whoever waits here may be killed; those who work do not know
        done.kill(block=False)
        pool.kill(block=False)


def _voices(lineup: Lineup) -> Iterator[tuple[str, CascadeSettings, Engines]]:
    """(a DID's name, what it says in one language, its engines for that), the DIDs' own languages first."""
    for did in lineup.config.dids:
        yield did.name, did.cascade, lineup.engines[did.key]
    for did in lineup.config.dids:
        for tag, (cascade, engines) in lineup.duties_of(did).languages.items():
            yield f"{did.name} ({tag})", cascade, engines


def _phrases(lineup: Lineup) -> list[Phrase]:
    """First clauses first; none twice in the same voice."""
    voices = list(_voices(lineup))
    found: dict[tuple[str, str], Phrase] = {}
    for rank in itertools.zip_longest(*(cascade.clauses() for _, cascade, _ in voices)):
        for (name, _, engines), text in zip(voices, rank, strict=True):
            if text is not None:
                found.setdefault((engines.tts.voice, text), (name, engines, text))
    return list(found.values())


def _prepare(phrase: Phrase, cache: SpeechCache) -> bool:
    """Whether it is there now."""
    name, engines, text = phrase
    tts = engines.tts
    try:
        if not cache.recall(tts.voice, tts.rate, text):
            cache.keep(tts.voice, text, prepared(engines, text))
    except Resting:
        return False
    except ProviderError as error:
        log.warning("%s: cannot prepare a phrase: %s", name, error)
        return False
    except Exception:  # an edge that logs: a provider's bug must not end the service's warming
        log.exception("%s: cannot prepare a phrase: unexpected error", name)
        return False
    return True
