"""What is no mistake, but the operator should know: ``esl-agent check`` prints it, ``esl-agent serve`` logs it once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from esl_agent.config import Config, DidConfig
from esl_agent.config.did import EngineSpec
from esl_agent.providers.shutdowns import announced


def advice(config: Config, today: date) -> list[str]:
    """One line each, none twice. Nothing here keeps a configuration from being used."""
    return list(dict.fromkeys((*config.remarks, *_shutdowns(config, today))))


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
