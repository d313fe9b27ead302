"""The settings of the agent ``openai_realtime``. The older Asterisk bridge had the same names and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from esl_agent.providers import openai_key
from esl_agent.setting import STRICT, setting

#: What a header may hold.
_PLAIN = "^[\x21-\x7e]*$"


@dataclass(frozen=True, slots=True)
class TurnDetectionSettings:
    """When the service takes the caller for speaking, and for done."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    type: Literal["server_vad", "semantic_vad"] = setting(
        "server_vad", "By loudness and silence, or by a model that judges whether the caller has finished."
    )
    threshold: float = setting(0.7, "server_vad: how sure it has to be that it hears speech.", ge=0.0, le=1.0)
    prefix_padding_ms: int = setting(500, "server_vad: sound from before speech that counts as speech.", ge=0, le=5000)
    silence_duration_ms: int = setting(300, "server_vad: silence that ends the caller's turn.", ge=50, le=10000)
    idle_timeout_ms: int = setting(
        0, "server_vad: after so long without a word it speaks up itself, 5000 to 30000. 0: never.", ge=0, le=30000
    )
    eagerness: Literal["low", "medium", "high", "auto"] = setting(
        "auto", "semantic_vad: how soon it answers; low waits up to 8 s, auto (medium) 4 s, high 2 s."
    )

    def __post_init__(self) -> None:
        if 0 < self.idle_timeout_ms < 5000:
            raise ValueError("idle_timeout_ms: expected 0 (never) or 5000 to 30000")


@dataclass(frozen=True, slots=True)
class TranscriptionSettings:
    """Who writes down what the caller says; without it no transcript has the caller's side."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    model: str = setting("gpt-live-transcribe", "The recogniser, billed apart. Empty: off.")
    language: str = setting("", "ISO 639-1. Empty: the DID's language without its region.")
    prompt: str = setting("", "Words that help it, or what the call is about.")


@dataclass(frozen=True, slots=True)
class OpenAiRealtimeOptions:
    """OpenAI's Realtime API, and every server that speaks it: one that listens, thinks and speaks by itself."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    model: str = setting("gpt-realtime-mini", "The model, as the server calls it; a `model=` in `url` wins.")
    url: str = setting(
        "wss://api.openai.com/v1/realtime",
        "The whole address but `?model=`, which is added: of OpenAI, Azure, a server of your own.",
        pattern="^wss?://",
        env="OPENAI_WS_URL",
    )
    shape: Literal["ga", "beta"] = setting(
        "ga", "`beta`: the messages of before 2026, which OpenAI refuses and some local servers still want."
    )
    voice: str = setting("ash", "alloy, ash, ballad, coral, echo, sage, shimmer, verse, marin, cedar; or `voice_...`.")
    speed: float = setting(1.0, "Of its speech.", ge=0.25, le=1.5)
    turn_detection: TurnDetectionSettings = setting(TurnDetectionSettings, "When the caller speaks, and has spoken.")
    transcription: TranscriptionSettings = setting(TranscriptionSettings, "Who writes down what the caller says.")
    noise_reduction: Literal["", "near_field", "far_field"] = setting(
        "", "Clean the caller's sound first: near_field for handsets, far_field for loudspeakers. Empty: no."
    )
    max_output_tokens: int | None = setting(None, "Length of one response, its sound included.", ge=1, le=4096)
    reasoning_effort: Literal["", "minimal", "low", "medium", "high", "xhigh"] = setting(
        "", "How long a reasoning model (gpt-realtime-2 and later) thinks before it speaks. Empty: not sent."
    )
    temperature: float | None = setting(
        None, "Only with `shape: beta`; OpenAI has it no more, and it is not sent there.", ge=0.0, le=2.0
    )
    safety_identifier: str = setting(
        "", "Sent as OpenAI-Safety-Identifier: whose calls these are, hashed. Empty: not sent.", pattern=_PLAIN
    )
    api_key_env: str = setting(
        "",
        "Environment variable that holds the key; a name that is given is needed. Empty: OPENAI_API_KEY where `url` "
        "is wss at openai.com, and no key at any other host.",
    )
    api_key_file: str = setting("", "File that holds the key, if no variable does.")
    key_header: str = setting(
        "Authorization", "Header the key goes into, there as `Bearer`. Azure: `api-key`.", pattern="^[A-Za-z-]+$"
    )
    ca_file: str = setting("", "Certificates (PEM) to trust instead of the usual ones.")
    timeout: float = setting(8.0, "Seconds until it is connected and ready to hear, altogether.", gt=0.0, le=60.0)
    ping_interval: float = setting(5.0, "Seconds between two WebSocket pings.", gt=0.0)
    ping_timeout: float = setting(5.0, "Seconds without an answer to one after which it is gone.", gt=0.0)
    at_once: int = setting(0, "Sessions that the account may have at a time, over all calls. 0: no limit.", ge=0)

    def __post_init__(self) -> None:
        if self.shape == "beta" and openai_key.is_openai(as_https(self.url)):
            raise ValueError("shape: OpenAI refuses beta since May 2026; leave it out, or name a url of your own")

    @property
    def model_asked(self) -> str:
        """The model of ``url``, where it names one (the older bridge's did), else ``model``."""
        return parse_qs(urlsplit(self.url).query).get("model", [self.model])[0]

    @property
    def address(self) -> str:
        """Where to connect."""
        parts = urlsplit(self.url)
        added = "" if "model" in parse_qs(parts.query) else urlencode({"model": self.model})
        return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, added)))))


def as_https(url: str) -> str:
    """A WebSocket's address as that of the HTTP server it is."""
    return "http" + url[2:] if url.startswith("ws") else url
