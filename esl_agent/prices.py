"""What engines cost, by the operator's word: no price is known here, because prices change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent.errors import Stage
from esl_agent.providers.base import Usage
from esl_agent.setting import STRICT, setting

#: What every amount of money keeps to.
MONEY: dict[str, Any] = {"ge": 0.0, "le": 1e9, "allow_inf_nan": False}


@dataclass(frozen=True, slots=True)
class Price:
    """What an engine costs, in `currency`. What is not given costs nothing; `{}` says that it is free."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    input: float = setting(0.0, "A million input tokens.", **MONEY)
    cached_input: float | None = setting(
        None, "A million of those input tokens that the server had in its cache. Not given: as any other.", **MONEY
    )
    output: float = setting(0.0, "A million output tokens.", **MONEY)
    audio_input: float | None = setting(
        None, "A million of those input tokens that are sound. Not given: as any other.", **MONEY
    )
    cached_audio_input: float | None = setting(
        None,
        "A million input tokens of sound that the server had in its cache. Not given: as cached_input, and without "
        "that as audio_input.",
        **MONEY,
    )
    audio_output: float | None = setting(
        None, "A million of those output tokens that are sound. Not given: as any other.", **MONEY
    )
    characters: float = setting(0.0, "1000 characters of text to be spoken.", **MONEY)
    minute: float = setting(0.0, "A minute of sound to be recognised, by the second.", **MONEY)
    request: float = setting(0.0, "Each request, beside the rest.", **MONEY)


#: What one request is taken to use where prices are compared: an utterance of five seconds, a question with some
#: history and its answer, a sentence; of an agent, an answer of ten seconds to a call that is a minute old. Sound that
#: is counted in tokens: 10 a second heard, 20 a second spoken.
TYPICAL: dict[Stage, Usage] = {
    "stt": Usage(seconds=5.0, input_tokens=50, output_tokens=20),
    "llm": Usage(input_tokens=1500, output_tokens=60),
    "tts": Usage(characters=100, input_tokens=25, output_tokens=120),
    "agent": Usage(input_tokens=1500, audio_input_tokens=500, output_tokens=250, audio_output_tokens=200),
}


def check_price_name(name: str) -> None:
    """Raises ValueError for a key of ``prices`` that no engine's name could match."""
    engine, _, model = name.removesuffix("*").partition("/")
    if not engine or "*" in engine + model or name != name.strip() or (name.endswith("*") and "/" not in name):
        raise ValueError(
            f"expected an engine (openai), an engine and its model (openai/gpt-x), or how these begin "
            f"(openai/gpt-x*), got {name!r}"
        )


class Tariff:
    """Who costs what. ``prices`` are by ``engine/model``, ``engine/mod*`` or ``engine``; the longest match wins."""

    def __init__(self, prices: Mapping[str, Price] | None = None, currency: str = "") -> None:
        self.currency = currency
        self._prices = dict(prices or {})
        self._beginnings = sorted((key[:-1] for key in self._prices if key.endswith("*")), key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._prices)

    def find(self, name: str) -> Price | None:
        """The price of the provider ``name`` (``Identity.name``), or None."""
        if name in self._prices and not name.endswith("*"):
            return self._prices[name]
        for beginning in self._beginnings:
            if name.startswith(beginning):
                return self._prices[f"{beginning}*"]
        return self._prices.get(name.partition("/")[0])

    def cost(self, name: str, usage: Usage, requests: int = 1) -> float:
        """What ``requests`` that used ``usage`` altogether cost; 0 where nobody said."""
        price = self.find(name)
        if price is None:
            return 0.0
        return math.fsum(
            (
                *_tokens(price, usage),
                usage.characters / 1e3 * price.characters,
                usage.seconds / 60.0 * price.minute,
                requests * price.request,
            )
        )

    def typical(self, stage: Stage, name: str) -> float:
        """What an ordinary request costs: how providers are compared."""
        return self.cost(name, TYPICAL[stage])


def _tokens(price: Price, usage: Usage) -> Iterator[float]:
    """What each kind of token costs."""
    cached = _first(price.cached_input, price.input)
    heard = _first(price.audio_input, price.input)
    heard_cached = _first(price.cached_audio_input, price.cached_input, heard)
    sound, sound_cached = usage.audio_input_tokens, usage.cached_audio_tokens
    text, text_cached = usage.input_tokens - sound, usage.cached_tokens - sound_cached
    yield (text - text_cached) / 1e6 * price.input
    yield text_cached / 1e6 * cached
    yield (sound - sound_cached) / 1e6 * heard
    yield sound_cached / 1e6 * heard_cached
    yield (usage.output_tokens - usage.audio_output_tokens) / 1e6 * price.output
    yield usage.audio_output_tokens / 1e6 * _first(price.audio_output, price.output)


def _first(*prices: float | None) -> float:
    """The first that is given."""
    return next((price for price in prices if price is not None), 0.0)
