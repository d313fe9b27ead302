"""Settings that are allowed and seldom meant: what ``esl-agent check`` warns of beside announced ends and prices."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from esl_agent.config import Config, DidConfig
from esl_agent.config.did import STAGES, EngineSpec, EngineSpecs
from esl_agent.dialogue.settings import CascadeSettings, Phrases
from esl_agent.errors import Stage
from esl_agent.prices import Price
from esl_agent.providers.base import EngineContext

#: Engines that never see the DID's prompt: their answers are in YAML, or in a service that keeps the conversation.
WITHOUT_PROMPT = frozenset({"rules", "chatbot", "rasa"})
#: What a price may be for, by stage.
UNITS: dict[Stage, frozenset[str]] = {
    "stt": frozenset({"minute", "input", "cached_input", "output", "request"}),
    "llm": frozenset({"input", "cached_input", "output", "request"}),
    "tts": frozenset({"characters", "input", "cached_input", "output", "request"}),
    "agent": frozenset(
        {"input", "cached_input", "output", "audio_input", "cached_audio_input", "audio_output", "request", "minute"}
    ),  # the minute is that of the recogniser within it
}
#: Engines whose key of ``prices`` begins with another name.
COUNTED_AS = {"openai_realtime": "openai"}
#: How what a channel driver of Asterisk's can call begins.
_ASTERISK_DIALS = re.compile(r"(?i)(PJSIP|SIP|IAX2|DAHDI)/")
_PLACEHOLDER = re.compile(r"(?i)^<?your[-_ ]")


@dataclass(frozen=True, slots=True)
class Tongue:
    """A DID as it is in one of its languages."""

    where: str
    did: DidConfig
    cascade: CascadeSettings
    engines: EngineSpecs
    context: EngineContext


def doubts(config: Config) -> Iterator[str]:
    """One line for each; the same one may come twice."""
    for did in config.dids:
        yield from did.idle
        for tongue in _tongues(did):
            yield from _english_phrases(tongue)
            yield from _dictation(tongue)
            yield from _prompts(tongue)
            yield from _summaries(tongue)
            yield from _times(tongue)
            for specs in _stages(tongue.engines):
                yield from _engines(specs)
        if config.service.asterisk.enabled:
            yield from _dialled_by_freeswitch(did)
    yield from _prices(config)


def _dialled_by_freeswitch(did: DidConfig) -> Iterator[str]:
    """Warm transfers that calls from Asterisk cannot be handed over by."""
    dials = {f"destinations.{name}.dial": each.dial for name, each in did.cascade.destinations.items()}
    for where, dial in {**dials, "transfer.dial": did.cascade.transfer.dial}.items():
        if dial and not _ASTERISK_DIALS.match(dial):
            told = "calls from Asterisk are not handed over by it; theirs would be PJSIP/1002"
            yield f"{did.file}: {where}: {dial} is FreeSWITCH's: {told}"


def _tongues(did: DidConfig) -> Iterator[Tongue]:
    yield Tongue(str(did.file), did, did.cascade, did.engines, did.context)
    for tag, language in did.languages.items():
        yield Tongue(f"{did.file}: languages.{tag}", did, language.cascade, language.engines, language.context)


def _stages(engines: EngineSpecs) -> tuple[tuple[EngineSpec, ...], ...]:
    """Of the stages that there are."""
    return tuple(filter(None, (engines.stt, engines.llm, engines.tts, engines.agent)))


def _english_phrases(tongue: Tongue) -> Iterator[str]:
    """Phrases that a caller who was greeted in another language would hear in English."""
    language, phrases, english = tongue.context.language, tongue.cascade.phrases, Phrases()
    if language.lower().split("-")[0] == "en":
        return
    never = {"time_warning": not tongue.cascade.limits.warn, "filler": not tongue.cascade.filler.after}
    names = [
        f"phrases.{each.name}"
        for each in dataclasses.fields(Phrases)
        if (said := getattr(phrases, each.name)) and said == getattr(english, each.name) and not never.get(each.name)
    ]
    names += [
        path for path, settings, name in _said_beside(tongue) if getattr(settings, name) == _default(settings, name)
    ]
    if names:
        yield f"{tongue.where}: the language is {language}, and these are as they are in English: {', '.join(names)}"


def _said_beside(tongue: Tongue) -> Iterator[tuple[str, Any, str]]:
    """(key path, settings, which of them) of what is said that is no phrase of ``phrases``."""
    cascade = tongue.cascade
    if cascade.last_resort.transfer:
        yield "last_resort.say", cascade.last_resort, "say"
    for name, destination in cascade.destinations.items():
        if destination.mode == "warm":
            yield f"destinations.{name}.briefing", destination, "briefing"
    for spec in tongue.engines.llm:
        if _default(spec.options, "otherwise"):
            yield "llm.otherwise", spec.options, "otherwise"
        for index, rule in enumerate(getattr(spec.options, "rules", ())):
            if rule.tool:
                yield f"llm.rules[{index}].after_tool.failed", rule.after_tool, "failed"


def _default(options: Any, name: str) -> Any:
    """The default of an option that engines may have."""
    found = next((each for each in dataclasses.fields(options) if each.name == name), None)
    return found.default if found else None


def _dictation(tongue: Tongue) -> Iterator[str]:
    """The embedded recogniser tells what it expects from what it does not, and can only guess at anything else."""
    is_free = any(spec.name != "rules" for spec in tongue.engines.llm)
    for spec in tongue.engines.stt:
        if spec.name == "embedded" and is_free and not tongue.context.phrases:
            yield (
                f"{spec.where}: engine embedded takes dictation badly: choose another recogniser for a language model, "
                "or list in `expect` what callers may say: then nothing else is understood"
            )


def _prompts(tongue: Tongue) -> Iterator[str]:
    if agents := tongue.engines.agent:
        if not tongue.cascade.prompt:
            yield f"{agents[0].where}: engine {agents[0].name} has no prompt: nothing tells it whom it speaks for"
        return
    first, *_ = tongue.engines.llm
    if first.name == "rules" and not first.options.rules:
        yield f"{first.where}: engine rules has no rules: `otherwise` is all that it says"
    reading = [spec for spec in tongue.engines.llm if spec.name not in WITHOUT_PROMPT]
    if tongue.cascade.prompt and not reading:
        yield f"{tongue.where}: prompt has no effect: the llm engine {first.name} does not read it"
    if reading and not tongue.cascade.prompt:
        yield f"{reading[0].where}: engine {reading[0].name} has no prompt: nothing tells it whom it speaks for"


def _summaries(tongue: Tongue) -> Iterator[str]:
    named = [spec.name for spec in tongue.engines.llm if spec.name in WITHOUT_PROMPT]
    if tongue.cascade.history.summarise_after and named:
        names = ", ".join(dict.fromkeys(named))
        yield f"{tongue.where}: history.summarise_after: {names} would take the request for the caller's words"


def _times(tongue: Tongue) -> Iterator[str]:
    """Times within which nothing can happen any more, because the call gives up before."""
    limits, resilience = tongue.cascade.limits, tongue.did.settings.resilience
    for specs in _stages(tongue.engines):
        stage = specs[0].stage
        if stage == "agent":
            continue
        limit, first = getattr(limits, stage), getattr(resilience, stage).first
        if len(specs) > 1 and first >= limit:
            yield (
                f"{tongue.where}: resilience.{stage}.first ({first:g}) leaves nothing of limits.{stage} ({limit:g}) "
                "for the engines behind the first"
            )
    if 0 < limits.llm <= resilience.llm.hedge:
        hedge = f"resilience.llm.hedge ({resilience.llm.hedge:g})"
        yield f"{tongue.where}: {hedge} is not within limits.llm ({limits.llm:g})"
    for spec in tongue.engines.llm:
        is_last = spec is tongue.engines.llm[-1]
        limit, name = (limits.llm, "limits.llm") if is_last else (resilience.llm.first, "resilience.llm.first")
        timeout = getattr(spec.options, "timeout", 0.0)
        if timeout > limit:
            behind = "; what it would try last, such as api_url, is not reached" if spec.name == "chatbot" else ""
            yield (
                f"{spec.where}: engine {spec.name}: its timeout ({timeout:g}) does not fit in {name} ({limit:g}), "
                f"after which the call gives it up{behind}"
            )


def _engines(specs: tuple[EngineSpec, ...]) -> Iterator[str]:
    for index, spec in enumerate(specs):
        if spec in specs[:index]:
            first = specs[specs.index(spec)].where.rpartition(": ")[2]
            yield f"{spec.where}: engine {spec.name} is the same as {first}, options too"
        for each in dataclasses.fields(spec.options):
            value = getattr(spec.options, each.name)
            if isinstance(value, str) and _PLACEHOLDER.match(value):
                yield f"{spec.where}: engine {spec.name}: {each.name} is still an example's: put your own in"


def _prices(config: Config) -> Iterator[str]:
    """Prices by what the engines that they are for are never counted in."""
    used = {
        (COUNTED_AS.get(spec.name, spec.name), spec.stage)
        for did in config.dids
        for tongue in _tongues(did)
        for spec in tongue.engines.all()
    }
    for key, price in config.service.prices.items():
        engine = key.removesuffix("*").partition("/")[0]
        stages = [stage for stage in STAGES if (engine, stage) in used]
        given = {each.name for each in dataclasses.fields(Price) if getattr(price, each.name)}
        counted = frozenset().union(*(UNITS[stage] for stage in stages))
        if stages and given and not given & counted:
            told = " and ".join(f"the {stage} engine {engine}" for stage in stages)
            yield f"agent.yaml: prices.{key}: {', '.join(sorted(given))}: no effect on {told}"
