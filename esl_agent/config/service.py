"""What ``conf/agent.yaml`` can say: the service as a whole."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator

from esl_agent.config.addresses import Address, Ipv4, Network, OptionalAddress, OptionalIpv4, Ports, address
from esl_agent.config.asterisk import AsteriskSettings
from esl_agent.prices import Price, check_price_name
from esl_agent.setting import STRICT, setting
from esl_agent.transfers import Totals


def _check_price_name(name: str) -> str:
    check_price_name(name)
    return name


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


PriceName = Annotated[str, AfterValidator(_check_price_name)]
Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]


@dataclass(frozen=True, slots=True)
class FreeSwitchSettings:
    """The door FreeSWITCH's `socket` application knocks at."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    listen: Address = setting("127.0.0.1:8084", "host:port that the dialplan's `socket` application names.")
    max_calls: int = setting(500, "Calls at one time; one more is refused with busy_cause.", ge=1, le=100000)
    allow: tuple[Network, ...] = setting(
        ("127.0.0.0/8", "::1"), "Addresses and networks that may connect. The event socket has no password here."
    )
    handshake_timeout: float = setting(5.0, "Seconds for FreeSWITCH to answer `connect`.", ge=0.5, le=20.0)
    command_timeout: float = setting(5.0, "Seconds for FreeSWITCH to answer any other command.", ge=0.5, le=60.0)
    linger: int = setting(
        10, "Whole seconds FreeSWITCH keeps the connection after a hang-up, so that no last event is lost.", ge=1, le=60
    )
    events: Literal["json", "plain"] = setting("json", "The format of events.")
    busy_cause: str = setting(
        "NORMAL_TEMPORARY_FAILURE",
        "Hang-up cause of a call refused because max_calls is reached. This one becomes SIP 503.",
        pattern="^[A-Z][A-Z0-9_]{1,63}$",
    )
    drain: float = setting(30.0, "Seconds that calls may go on when the service is told to stop.", ge=0.0, le=3600.0)

    @property
    def address(self) -> tuple[str, int]:
        return address(self.listen)


@dataclass(frozen=True, slots=True)
class S1ListenerSettings:
    """The older bridge contract: any WebSocket on one port, sound at 16 kHz, the call's UUID in its first text.

    It asks for no token, so it is bound to this machine only.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    enabled: bool = setting(False, "Listen for it at all.")
    host: str = setting("127.0.0.1", "A loopback address; nothing else is accepted.", env="WS_HOST")
    port: int = setting(8765, "TCP port.", ge=1, le=65535, env="WS_PORT")


@dataclass(frozen=True, slots=True)
class AudioSettings:
    """The WebSocket that mod_audio_fork brings the callers' sound to."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    listen: Address = setting("127.0.0.1:8085", "host:port that waits for mod_audio_fork.")
    advertise: OptionalAddress = setting(
        "", "host:port that FreeSWITCH is told to connect to, if it is not the one above (containers, other machines)."
    )
    connect_timeout: float = setting(3.0, "Seconds from the fork's start to its connection.", ge=0.2, le=30.0)
    max_message_bytes: int = setting(65536, "Largest WebSocket message taken; a larger one ends it.", ge=4096)
    max_seconds_per_second: float = setting(
        4.0, "Seconds of sound taken per second. FreeSWITCH sends late frames in a burst; nobody needs more.", ge=1.5
    )
    reconnects: int = setting(
        3,
        "How often in a row a fork that broke is started again; sound that came for 3 s begins a new count.",
        ge=0,
        le=100,
    )
    s1_listener: S1ListenerSettings = setting(S1ListenerSettings, "The older bridge contract.")

    @property
    def address(self) -> tuple[str, int]:
        return address(self.listen)

    @property
    def advertised(self) -> str:
        return self.advertise or self.listen


@dataclass(frozen=True, slots=True)
class UnicastSettings:
    """The UDP ports of calls whose `media.kind` is unicast: two for each call, one here and one on FreeSWITCH's side.

    Whoever can reach FreeSWITCH's ports can be heard by callers: keep them on a loopback or a closed network.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    listen: Ipv4 = setting("127.0.0.1", "Our address, IPv4: FreeSWITCH's unicast knows nothing else.")
    advertise: OptionalIpv4 = setting(
        "", "The address FreeSWITCH is told to send to, if it is not the one above (containers, other machines)."
    )
    ports: Ports = setting((12000, 13999), "First and last of our ports.")
    freeswitch_host: OptionalIpv4 = setting(
        "", "The address at which FreeSWITCH listens for its side. Empty: the one its event socket comes from."
    )
    freeswitch_ports: Ports = setting(
        (14000, 15999),
        "First and last port on FreeSWITCH's side: nobody else's, another agent of the same FreeSWITCH included, and "
        "outside its RTP range.",
    )
    native: bool = setting(
        False,
        "Leave G.711 calls in G.711 on the way: half the bytes. Not with FreeSWITCH 1.11: it takes two locks in the "
        "wrong order there, and a call may hang in it for ever when it is hung up (one of six did).",
    )

    @property
    def advertised(self) -> str:
        return self.advertise or self.listen

    @property
    def has_clashing_ports(self) -> bool:
        """Both ranges are of this machine and overlap."""
        is_one_machine = self.freeswitch_host in ("", self.listen) and ipaddress.ip_address(self.listen).is_loopback
        overlap = min(self.ports[1], self.freeswitch_ports[1]) >= max(self.ports[0], self.freeswitch_ports[0])
        return is_one_machine and overlap


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """Where the agent's sound lies until FreeSWITCH has played it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    directory: str = setting(
        "/dev/shm/esl_agent", "Our path. Where it cannot be made, a directory below the system's temporary one is used."
    )
    shared_path: str = setting("", "The same directory as FreeSWITCH sees it, if it sees it elsewhere.")


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Sound of greetings and other fixed phrases, so that a restart need not synthesise it again.

    Never what was said on a call. Files are WAV, and their comment is the phrase.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    directory: str = setting(
        "auto",
        "A directory of its own; several services may share it. auto: $CACHE_DIRECTORY (systemd's CacheDirectory=), "
        "else $XDG_CACHE_HOME/esl_agent, else ~/.cache/esl_agent. Empty, or where it cannot be written: memory only.",
    )
    max_mb: int = setting(
        200, "Megabytes of sound kept, in memory and on disk each; the least recently used goes.", ge=1, le=100_000
    )


@dataclass(frozen=True, slots=True)
class EventSocketSettings:
    """FreeSWITCH's own event socket. Only `esl-agent doctor` connects to it; no call needs it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    host: str = setting("127.0.0.1", "Where it listens.", env="FREESWITCH_HOST")
    port: int = setting(8021, "Its TCP port.", ge=1, le=65535, env="FREESWITCH_PORT")
    password_env: str = setting("FREESWITCH_PASSWORD", "The environment variable that holds its password.")
    password_file: str = setting("", "The file that holds its password, if the variable is not set.")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is written to standard error."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    level: Level = setting("INFO", "The least important lines that are written.", env="LOG_LEVEL")
    format: Literal["text", "json"] = setting("text", "One line for people, or one JSON object a line.")
    private: bool = setting(False, "Write what callers say and their numbers as they are. Off: they are hidden.")


@dataclass(frozen=True, slots=True)
class RecordSettings:
    """One JSON file for each finished call."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    directory: str = setting("", "Where they are written. Empty: none are.")


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """`conf/agent.yaml` without its `defaults`, which are laid under every DID."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    freeswitch: FreeSwitchSettings = setting(FreeSwitchSettings, "The door FreeSWITCH's `socket` knocks at.")
    audio: AudioSettings = setting(AudioSettings, "The WebSocket that brings the callers' sound.")
    unicast: UnicastSettings = setting(UnicastSettings, "UDP ports for media that streams both ways.")
    asterisk: AsteriskSettings = setting(AsteriskSettings, "The door for Asterisk.")
    clips: ClipSettings = setting(ClipSettings, "Where the agent's sound lies until it was played.")
    cache: CacheSettings = setting(CacheSettings, "Sound of fixed phrases, kept over a restart.")
    event_socket: EventSocketSettings = setting(EventSocketSettings, "FreeSWITCH's own event socket, for the doctor.")
    log: LogSettings = setting(LogSettings, "What is written to standard error.")
    records: RecordSettings = setting(RecordSettings, "One JSON file for each finished call.")
    transfers: Totals = setting(Totals, "How many transfers there may be, over all DIDs.")
    currency: str = setting("", "What prices and budgets are in, such as EUR.", pattern="^[A-Za-z]{0,8}$")
    prices: dict[PriceName, Price] = setting(
        dict,
        "What engines cost, by engine (openai), engine/model (openai/gpt-x), or how these begin (openai/gpt-x*). The "
        "longest match wins; what matches nothing counts as free. Calls that come after a reload have the new prices.",
    )
    legacy_config: str = setting(
        "",
        "A config.py of an older program, relative to this file: of the constants in it (text and numbers; it is read "
        "and never run) those that docs/migrating.md lists count after the environment and before YAML.",
    )
