"""What is no mistake, but the operator should know: ``esl-agent check`` prints it, ``esl-agent serve`` logs it once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from esl_agent.config import Config, DidConfig
from esl_agent.config.did import STAGES, EngineSpec
from esl_agent.errors import Stage
from esl_agent.lineup import Lineup
from esl_agent.prices import Tariff
from esl_agent.providers.base import Identity
from esl_agent.providers.shutdowns import announced


def advice(config: Config, today: date) -> list[str]:
    """One line each, none twice. Nothing here keeps a configuration from being used."""
    return list(dict.fromkeys((*config.remarks, *_shutdowns(config, today))))


def unpriced(lineup: Lineup) -> list[str]:
    """Engines that are asked over the network for a DID with a budget, and that no price was given for."""
    service = lineup.config.service
    tariff = Tariff(service.prices, service.currency)
    found = [
        f"{did.file}: budget: {stage} engine {identity.name} counts as free: no key of prices in agent.yaml matches it"
        for did in lineup.config.dids
        if did.settings.budget.is_set
        for stage, identity in _asked(lineup, did)
        if identity.account and tariff.find(identity.name) is None
    ]
    return list(dict.fromkeys(found))


def _asked(lineup: Lineup, did: DidConfig) -> Iterator[tuple[Stage, Identity]]:
    """Every provider that calls of ``did`` may ask."""
    languages = lineup.duties_of(did).languages.values()
    for engines in (lineup.engines[did.key], *(made for _, made in languages)):
        for stage in STAGES:
            provider = getattr(engines, stage)
            yield from ((stage, each.identity) for each in getattr(provider, "providers", (provider,)))


def _shutdowns(config: Config, today: date) -> Iterator[str]:
    """Models in use that their vendor will serve no more, or does not any more."""
    for did in config.dids:
        for where, spec in _engines(did):
            if found := announced(spec.options):
                model, shutdown = found
                yield f"{where}: {spec.stage} engine {spec.name}: {shutdown.sentence(model, today)}"


def _engines(did: DidConfig) -> Iterator[tuple[str, EngineSpec]]:
    """(where it is chosen, the engine) of a DID, and of its languages where they choose another."""
    own = (*did.engines.stt, *did.engines.llm, *did.engines.tts)
    yield from ((str(did.file), spec) for spec in own)
    for tag, language in did.languages.items():
        others = (*language.engines.stt, *language.engines.llm, *language.engines.tts)
        yield from ((f"{did.file}: languages.{tag}", spec) for spec in others if spec not in own)
