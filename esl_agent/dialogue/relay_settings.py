"""What a DID's YAML can say about turn taking with a speech-to-speech agent, beside what the cascade has too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from esl_agent.setting import STRICT, setting


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """How a call and its speech-to-speech agent come together, and what happens when they are parted."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    greeting: Literal["agent", "voice"] = setting(
        "agent",
        "Who says phrases.greeting: the agent, as soon as it is connected, or the DID's own voice, at once.",
    )
    law: Literal["ulaw", "alaw"] = setting(
        "ulaw",
        "The G.711 that goes to an agent which takes it, where the line has 8 kHz: that of the line loses nothing.",
    )
    connect: float = setting(
        5.0, "Seconds the agent may take to be connected; it is tried twice before the call is given up.", ge=0.5, le=60
    )
    session: float = setting(
        3300.0,
        "Seconds after which, at a pause, another connection takes over: services end one of theirs after an hour.",
        ge=30.0,
        le=86400.0,
    )
    reconnects: int = setting(
        1, "How often within reconnect_window a connection that broke is replaced; then last_resort.", ge=0, le=20
    )
    reconnect_window: float = setting(300.0, "Seconds for which a broken connection counts.", ge=10.0, le=86400.0)
