"""What a DID's YAML can say about engines that fail: how long each is waited for, and when it is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent.setting import STRICT, setting

_FIRST = (
    "An engine with another one behind it in the list has so long, all its tries together; the last one what is left "
    "of limits.{}."
)
_TRIES = "How often one engine is asked in a request: again only before anything of its answer was used."


@dataclass(frozen=True, slots=True)
class RecogniserPatience:
    """While the caller still speaks a silent recogniser is normal; one that fails is replaced at once, and the next
    gets the sound so far."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    first: float = setting(
        2.0, "Seconds from the end of an utterance to its text. " + _FIRST.format("stt"), ge=0.05, le=60.0
    )
    tries: int = setting(2, _TRIES, ge=1, le=5)


@dataclass(frozen=True, slots=True)
class ModelPatience:
    """A call to a tool is one piece: a model that writes a long one is silent meanwhile. Where tools take long letters,
    give it more time."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    first: float = setting(2.5, "Seconds to the first piece of a reply. " + _FIRST.format("llm"), ge=0.05, le=60.0)
    between: float = setting(
        2.5, "Seconds between two pieces of a reply; after them the engine has failed in the middle of it.", ge=0.05
    )
    tries: int = setting(2, _TRIES, ge=1, le=5)
    hedge: float = setting(
        0.0,
        "Seconds without a first piece after which a second request goes to the next engine, or to the same one where "
        "it is alone; whoever begins first is heard, and both are paid. 0: never.",
        ge=0.0,
        le=30.0,
    )


@dataclass(frozen=True, slots=True)
class VoicePatience:
    """Where clips are played whole, a voice that fails in the middle of a clause is replaced without a trace."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    first: float = setting(2.0, "Seconds to the first sound of a clause. " + _FIRST.format("tts"), ge=0.05, le=60.0)
    between: float = setting(1.5, "Seconds between two pieces of a clause's sound.", ge=0.05)
    tries: int = setting(2, _TRIES, ge=1, le=5)


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When an engine that fails is left alone for a while, by all calls of the process. One that is the only one left
    is asked all the same."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    failures: int = setting(
        3,
        "Failures in a row, within window, after which it rests; and twice as many that are most of its requests.",
        ge=1,
        le=1000,
    )
    window: float = setting(60.0, "Seconds for which failures are remembered.", ge=1.0)
    rest: float = setting(
        15.0,
        "Seconds it rests; then one request tries it, and if that fails it rests twice as long, eight times at most. "
        "A call whose recogniser or model was replaced tries the preferred one again after so long too; a voice stays.",
        gt=0.0,
    )
    setup_rest: float = setting(
        300.0, "Seconds it rests, after one failure, where key, quota, plan or the name of a model are wrong.", gt=0.0
    )


@dataclass(frozen=True, slots=True)
class ResilienceSettings:
    """What happens when an engine fails, is slow or is full: it is asked again, or the next one of the list is."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    stt: RecogniserPatience = setting(RecogniserPatience, "How long recognisers are waited for.")
    llm: ModelPatience = setting(ModelPatience, "How long models are waited for.")
    tts: VoicePatience = setting(VoicePatience, "How long voices are waited for.")
    breaker: BreakerSettings = setting(BreakerSettings, "When an engine is left alone.")
    slot: float = setting(
        0.3,
        "Seconds to wait for a free slot of an account (`at_once` of an engine) before the next engine is asked.",
        ge=0.0,
        le=30.0,
    )
