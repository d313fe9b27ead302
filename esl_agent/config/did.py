"""What ``conf/dids/*.yaml`` can say: one number, who answers it and how."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, WithJsonSchema

from esl_agent.config.source import Document
from esl_agent.costs import Budget
from esl_agent.dialogue.destinations import Policy, Refusal, check_names
from esl_agent.dialogue.relay_settings import RelaySettings
from esl_agent.dialogue.settings import CascadeSettings, Phrases
from esl_agent.dialogue.template import TemplateSettings
from esl_agent.errors import Stage
from esl_agent.providers.base import EngineContext
from esl_agent.providers.resilience_settings import ResilienceSettings
from esl_agent.setting import STRICT, setting

STAGES: tuple[Stage, ...] = ("stt", "llm", "tts", "agent")
#: Keys of a DID that make no sense in ``defaults``.
IDENTITY = ("did", "prefix", "default", "name")
#: Keys of a DID without effect where an agent listens, thinks and speaks by itself, and what is so instead.
IDLE_WITH_AGENT: Mapping[str, str] = {
    "stt": "the agent listens by itself",
    "llm": "the agent thinks by itself",
    "languages": "the agent changes its language by itself; the prompt may say which ones it speaks",
    "vad": "the agent judges what is speech; see its turn_detection",
    "endpointing": "the agent judges when the caller has finished; see its turn_detection",
    "early_reply": "the agent answers as soon as it judges that the caller has finished",
    "expect": "the agent understands what it understands",
    "history": "the agent's service keeps the conversation",
}
#: What of barge_in holds for an agent too: it stops for speech at once, and does not go on with what it was saying.
BARGE_IN_OF_AGENT = ("enabled", "greeting", "uninterruptible")

_DIALLED = r"^\+?[0-9*#(][0-9*#() ./-]{0,39}$"
_SEPARATORS = re.compile(r"[+() ./-]")
#: Longer than any number; what is longer is nobody's.
_MAX_NUMBER = 64


def normalised(number: str) -> str:
    """A number as it is compared: without ``+`` and separators, cut to a sane length. Takes outside text."""
    return _SEPARATORS.sub("", number[: _MAX_NUMBER + 1])[:_MAX_NUMBER]


def _check_dialled(text: str) -> str:
    if text and (not re.match(_DIALLED, text) or not normalised(text)):
        raise ValueError("expected a number as it is dialled, such as '5000' or '+49 30 1234'")
    return text


def _check_language(text: str) -> str:
    if not re.match(r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$", text):
        raise ValueError("expected a language tag (BCP 47), such as en, de-AT or tr")
    return text


def _check_timezone(text: str) -> str:
    if text:
        try:
            ZoneInfo(text)
        except (ValueError, OSError, KeyError):
            raise ValueError("expected a time zone of the IANA database (tzdata), such as Europe/Berlin") from None
    return text


Dialled = Annotated[
    str, AfterValidator(_check_dialled), WithJsonSchema({"type": ["string", "integer"], "pattern": _DIALLED})
]
Language = Annotated[str, AfterValidator(_check_language)]
TimeZone = Annotated[str, AfterValidator(_check_timezone)]
Choice = Annotated[dict[str, Any] | list[dict[str, Any]], WithJsonSchema({"type": ["string", "object", "array"]})]


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """How sound travels between FreeSWITCH and us.

    One word is enough where only `kind` is meant: `media: unicast`.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    kind: Literal["auto", "audio_fork", "unicast"] = setting(
        "auto",
        "audio_fork: the module mod_audio_fork brings the caller's sound, the agent is played as clips. unicast: "
        "both directions stream over UDP, by any FreeSWITCH without a further module; see `unicast` in agent.yaml. "
        "auto: audio_fork where FreeSWITCH has that module, else unicast.",
    )
    audio_fork: Literal["api", "execute", "external"] = setting(
        "api",
        "How mod_audio_fork is started: the API command uuid_audio_fork; the dialplan application audio_fork of builds "
        "that have one; or external: the dialplan starts it towards audio.s1_listener, with rate 16000.",
    )
    playback: Literal["clips", "broadcast", "stream"] = setting(
        "clips",
        "How the agent is heard with audio_fork. clips: the playback application (about 0.1 s sooner than the next). "
        "broadcast: uuid_broadcast. stream: over the fork's WebSocket, which only jambonz's build of the module plays.",
    )
    rate: Literal[8000, 16000] = setting(
        8000, "Samples a second of the caller's sound. 16000 gains something only for wideband calls (G.722, Opus)."
    )


def _embedded() -> dict[str, Any]:
    return {"engine": "embedded"}


def _rules() -> dict[str, Any]:
    return {"engine": "rules"}


_WHO = (
    "Who {}: an engine's name, a mapping with `engine` and its options, or a list of such, the preferred first. The "
    "others take over where those before them fail: see `resilience`."
)


@dataclass(frozen=True, slots=True)
class LanguageSettings:
    """What is different in another language. Whatever is not given is as the DID has it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    prompt: str = setting("", "The system prompt from then on.")
    template: TemplateSettings = setting(TemplateSettings, "Call data in the prompt.")
    phrases: Phrases = setting(Phrases, "What the agent says by itself.")
    stt: Choice = setting(dict, "Who listens.")
    llm: Choice = setting(dict, "Who thinks.")
    tts: Choice = setting(dict, "Who speaks.")
    expect: tuple[str, ...] = setting((), "What callers are expected to say.")


@dataclass(frozen=True, slots=True)
class DidSettings(CascadeSettings):
    """One number: who answers it, in which language, with which engines, and how turns are taken.

    Exactly one of `did`, `prefix` and `default` says which calls it is for.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    did: Dialled = setting("", "The number dialled, whole. `+` and separators do not matter.")
    prefix: Dialled = setting("", "How the number dialled begins. The longest match wins, after every whole number.")
    default: bool = setting(False, "Answers what no other file answers. Without such a file those calls are refused.")
    name: str = setting("", "What logs and pages call it. Empty: the file's name.")
    language: Language = setting("en", "Language of the call, a BCP 47 tag.")
    timezone: TimeZone = setting(
        "", "Where it is, for the date and time in the prompt: a name of the IANA database. Empty: the system's."
    )
    stt: Choice = setting(_embedded, _WHO.format("listens"))
    llm: Choice = setting(_rules, _WHO.format("thinks"))
    tts: Choice = setting(
        _embedded, _WHO.format("speaks") + " With `agent` it says what is fixed: apologies, questions, goodbye."
    )
    agent: Choice = setting(
        dict,
        _WHO.format("listens, thinks and speaks at once (a speech-to-speech model)")
        + " Given, the call is the agent's: `stt` and `llm` are not used. Empty: recogniser, model and voice.",
    )
    relay: RelaySettings = setting(RelaySettings, "The call and its `agent`.")
    expect: tuple[str, ...] = setting((), "What callers are expected to say; a recogniser may lean towards it.")
    languages: dict[str, LanguageSettings] = setting(
        dict,
        "Other languages the call may go on in, by their BCP 47 tag. With the tool set_language among tools.builtin "
        "the model may switch to them, and back.",
    )
    media: MediaSettings = setting(MediaSettings, "How sound travels between FreeSWITCH and us.")
    resilience: ResilienceSettings = setting(ResilienceSettings, "What happens when an engine fails or is slow.")
    budget: Budget = setting(Budget, "What calls may cost.")

    def __post_init__(self) -> None:
        check_names(self.destinations)
        for tag in self.languages:
            _check_language(tag)
        refuge = self.last_resort.transfer
        if refuge and isinstance(found := Policy(self.destinations, self.transfer).resolve(refuge), Refusal):
            raise ValueError(f"last_resort: transfer: {found.reason}")

    @property
    def offered_languages(self) -> tuple[str, ...]:
        """The languages a call may be in, its first one first."""
        return tuple(dict.fromkeys((self.language, *self.languages)))


class Catalogue(Protocol):
    """The engines there are; ``esl_agent.providers.registry`` is one."""

    def names(self, stage: Stage) -> Sequence[str]: ...
    def options_class(self, stage: Stage, name: str) -> type[Any]: ...


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine and its validated options, ready for ``registry.make(stage, name, options, context)``."""

    stage: Stage
    name: str
    options: Any
    where: str = field(default="", compare=False)
    """Where it is chosen, for messages: ``conf/dids/a.yaml:7: llm[1]``."""


@dataclass(frozen=True, slots=True)
class EngineSpecs:
    """Who serves one DID: for each stage at least one engine, the preferred one first. With an ``agent`` there is
    nobody for stt and llm, without one there is nobody for agent."""

    stt: tuple[EngineSpec, ...]
    llm: tuple[EngineSpec, ...]
    tts: tuple[EngineSpec, ...]
    agent: tuple[EngineSpec, ...] = ()

    def all(self) -> tuple[EngineSpec, ...]:
        return (*self.stt, *self.llm, *self.tts, *self.agent)


@dataclass(frozen=True, slots=True)
class LanguageConfig:
    """One language of a DID, complete: what the DID has, with the language's own laid over it."""

    cascade: CascadeSettings
    engines: EngineSpecs
    context: EngineContext


@dataclass(frozen=True, slots=True)
class DidConfig:
    """One DID, checked and complete."""

    file: Path
    name: str
    settings: DidSettings
    cascade: CascadeSettings
    engines: EngineSpecs
    context: EngineContext
    languages: Mapping[str, LanguageConfig] = field(default_factory=dict)
    """The languages beside its own, by tag."""
    idle: tuple[str, ...] = ()
    """What its file says, with the place, that has no effect."""

    @property
    def has_agent(self) -> bool:
        """A speech-to-speech agent serves its calls."""
        return bool(self.engines.agent)

    @property
    def offered_languages(self) -> tuple[str, ...]:
        """The languages that a call may be switched to, its own first."""
        return (self.language,) if self.has_agent else self.settings.offered_languages

    @property
    def language(self) -> str:
        return self.settings.language

    @property
    def media(self) -> MediaSettings:
        return self.settings.media

    @property
    def zone(self) -> ZoneInfo | None:
        """Its time zone; None: the system's."""
        return ZoneInfo(self.settings.timezone) if self.settings.timezone else None

    @property
    def key(self) -> str:
        """What it answers, as compared: ``= 5000``, ``^ 4930`` or ``default``. No two DIDs share one."""
        if self.settings.did:
            return f"= {normalised(self.settings.did)}"
        if self.settings.prefix:
            return f"^ {normalised(self.settings.prefix)}"
        return "default"


def media_kind(media: MediaSettings, has_fork: bool) -> Literal["audio_fork", "unicast"]:
    """What ``kind`` comes to with a FreeSWITCH that has mod_audio_fork loaded, or not."""
    if media.kind != "auto":
        return media.kind
    return "audio_fork" if has_fork or media.audio_fork == "external" else "unicast"


def spell_out_media(document: Document) -> None:
    """``media: unicast`` becomes ``media: {kind: unicast}``, in place, before documents are laid over each other."""
    if isinstance(kind := document.data.get("media"), str):
        document.data["media"] = {"kind": kind}
        document.places[("media", "kind")] = document.place(("media",))


def spell_out_numbers(document: Document) -> None:
    """Numbers to dial are text: ``number: 1000`` of a destination becomes ``"1000"``, in place."""
    destinations = document.data.get("destinations")
    for settings in destinations.values() if isinstance(destinations, dict) else ():
        if isinstance(settings, dict) and type(settings.get("number")) is int:
            settings["number"] = str(settings["number"])


def cascade_of(settings: DidSettings) -> CascadeSettings:
    """The part of a DID's settings that turn taking knows."""
    return CascadeSettings(**{f.name: getattr(settings, f.name) for f in dataclasses.fields(CascadeSettings)})


def context_of(settings: DidSettings, engines: EngineSpecs) -> EngineContext:
    """What the engines may know: the language, and every phrase the DID or its rules expect, each once."""
    phrases = [*settings.expect]
    for llm in engines.llm:
        offered = getattr(llm.options, "expected_phrases", ())
        phrases += offered() if callable(offered) else offered
    return EngineContext(language=settings.language, phrases=tuple(dict.fromkeys(phrases)))
