"""What is no mistake, but the operator should know: ``esl-agent check`` prints it, ``esl-agent serve`` logs it once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from esl_agent.config import Config, DidConfig
from esl_agent.config.did import STAGES, EngineSpec
from esl_agent.doubts import doubts
from esl_agent.errors import Stage
from esl_agent.lineup import Lineup
from esl_agent.prices import Tariff
from esl_agent.providers.base import Engines, Identity
from esl_agent.providers.shutdowns import announced


def advice(config: Config, today: date) -> list[str]:
    """One line each, none twice. Nothing here keeps a configuration from being used."""
    return list(dict.fromkeys((*config.remarks, *doubts(config), *_shutdowns(config, today))))


def unpriced(lineup: Lineup) -> list[str]:
    """Engines that are asked over the network for a DID with a budget, and that no price was given for."""
    service = lineup.config.service
    tariff = Tariff(service.prices, service.currency)
    found = [
        f"{spec.where}: engine {identity.name} counts as free for the budget: no key of prices in agent.yaml matches it"
        for did in lineup.config.dids
        if did.settings.budget.is_set
        for spec, identity in _asked(lineup, did)
        if identity.account and tariff.find(identity.name) is None
    ]
    return list(dict.fromkeys(found))


def _asked(lineup: Lineup, did: DidConfig) -> Iterator[tuple[EngineSpec, Identity]]:
    """Every provider that calls of ``did`` may ask, and what it was made from."""
    made = [(did.engines, lineup.engines[did.key])]
    duties = lineup.duties_of(did)
    made += [(language.engines, duties.languages[tag][1]) for tag, language in did.languages.items()]
    for specs, engines in made:
        for stage in STAGES:
            if chosen := getattr(specs, stage):
                yield from ((spec, each.identity) for spec, each in zip(chosen, _made(engines, stage), strict=True))


def _made(engines: Engines, stage: Stage) -> Sequence[Any]:
    if stage == "agent":
        return engines.agents
    provider = getattr(engines, stage)
    return getattr(provider, "providers", (provider,))


def _shutdowns(config: Config, today: date) -> Iterator[str]:
    """Models in use that their vendor will serve no more, or does not any more."""
    for did in config.dids:
        for spec in engines_chosen(did):
            if found := announced(spec.options):
                model, shutdown = found
                yield f"{spec.where}: engine {spec.name}: {shutdown.sentence(model, today)}"


def engines_chosen(did: DidConfig) -> Iterator[EngineSpec]:
    """Every engine of a DID, and of its languages where they choose another."""
    own = did.engines.all()
    yield from own
    for language in did.languages.values():
        yield from (spec for spec in language.engines.all() if spec not in own)
