"""What ``asterisk`` in ``conf/agent.yaml`` can say: the second door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from esl_agent.config.addresses import Network, OptionalAddress, address
from esl_agent.setting import STRICT, setting

_PRIVATE = ("127.0.0.0/8", "::1")


@dataclass(frozen=True, slots=True)
class AudioSocketSettings:
    """The TCP server that Asterisk's AudioSocket connects to. It asks for no password: only `allow` protects it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    host: str = setting(
        "127.0.0.1",
        "The address to listen at; 0.0.0.0 is every one.",
        pattern=r"^[A-Za-z0-9._:%-]+$",
        env="AUDIOSOCKET_HOST",
    )
    port: int = setting(
        9092, "The TCP port that the dialplan's `Dial(AudioSocket/...)` names.", ge=1, le=65535, env="AUDIOSOCKET_PORT"
    )
    advertise: OptionalAddress = setting(
        "",
        "host:port at which Asterisk reaches this server, where we tell it to connect (`ari`, `media: audiosocket`). "
        "Empty: host and port above, 127.0.0.1 for 0.0.0.0.",
    )
    allow: tuple[Network, ...] = setting(_PRIVATE, "Addresses and networks that may connect.")
    quiet: float = setting(
        5.0,
        "Seconds from the start without any sound of the caller after which it is given up. Once heard, a caller may "
        "pause (hold, silence suppression) as long as Asterisk takes our sound, up to ten minutes.",
        ge=1.0,
        le=3600.0,
    )


@dataclass(frozen=True, slots=True)
class MediaWebSocketSettings:
    """The WebSocket server that Asterisk's chan_websocket connects to (Asterisk 20.18, 22.8 or later)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    listen: OptionalAddress = setting("", "host:port that websocket_client.conf names. Empty: none is offered.")
    allow: tuple[Network, ...] = setting(_PRIVATE, "Addresses and networks that may connect.")


@dataclass(frozen=True, slots=True)
class AmiSettings:
    """Asterisk's manager interface: who calls, transfers, hang-ups with a cause, calls that we make."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    server: OptionalAddress = setting("", "host:port of AMI, such as 127.0.0.1:5038. Empty: it is not used.")
    user: str = setting("esl_agent", "A user of manager.conf.", pattern=r"^[^\r\n]{1,80}$")
    secret_env: str = setting("ASTERISK_AMI_SECRET", "The environment variable that holds its secret.")
    secret_file: str = setting("", "The file that holds its secret, if the variable is not set.")
    timeout: float = setting(3.0, "Seconds for AMI to answer an action.", ge=0.2, le=60.0)
    patience: float = setting(
        1.0,
        "Seconds a new call may wait for AMI to say who calls; then it is taken without. A call that no DID would "
        "answer without its number waits for `timeout`.",
        ge=0.0,
        le=10.0,
    )


@dataclass(frozen=True, slots=True)
class AriSettings:
    """Asterisk's REST interface: calls that the dialplan gives to `Stasis(<app>)`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting("", "Such as http://127.0.0.1:8088. Empty: it is not used.", pattern=r"^(https?://[^\s?#]+)?$")
    app: str = setting("esl_agent", "The application's name.", pattern=r"^[A-Za-z0-9_-]{1,40}$", env="VOICEAI_APP")
    user: str = setting("esl_agent", "A user of ari.conf.", pattern=r"^[^:\r\n]{1,80}$")
    password_env: str = setting("ASTERISK_ARI_PASSWORD", "The environment variable that holds its password.")
    password_file: str = setting("", "The file that holds its password, if the variable is not set.")
    ca_file: str = setting("", "For https: certificates (PEM) to trust instead of the machine's.")
    timeout: float = setting(3.0, "Seconds for ARI to answer a request.", ge=0.2, le=60.0)
    media: Literal["audiosocket", "websocket"] = setting(
        "audiosocket", "How a Stasis call's sound comes: through our AudioSocket server or our WebSocket server."
    )
    websocket_client: str = setting(
        "esl_agent",
        "For `media: websocket`: the section of websocket_client.conf that leads to us.",
        pattern=r"^[A-Za-z0-9_-]{1,40}$",
    )


@dataclass(frozen=True, slots=True)
class OutboundSettings:
    """Calls that we make."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    trunk: str = setting(
        "trunk", "The PJSIP endpoint that calls leave through.", pattern=r"^[A-Za-z0-9_.-]{1,80}$", env="SIP_TRUNK"
    )
    caller_id: str = setting(
        "", "The number that is shown to those we call.", pattern=r"^[+0-9]{0,20}$", env="VOICEAI_CALLERID"
    )
    timeout: float = setting(45.0, "Seconds that it may ring.", ge=1.0, le=300.0)
    context: str = setting(
        "ai-outbound",
        "The dialplan's context that an answered call is given to (AMI); its extension is the agent's DID.",
        pattern=r"^[A-Za-z0-9_-]{1,79}$",
    )


@dataclass(frozen=True, slots=True)
class AsteriskSettings:
    """The door for Asterisk."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    enabled: bool = setting(False, "Open it at all.")
    max_calls: int = setting(
        200, "Calls at one time, at each of the two servers. One more finds it closed.", ge=1, le=100000
    )
    did: str = setting(
        "", "The number that a call is taken to have dialled when neither AMI, ARI nor a channel variable says it."
    )
    unknown: Literal["take", "refuse"] = setting(
        "take",
        "What becomes of a line whose caller nobody knows although AMI or ARI is connected. take: it is answered, as a "
        "call to `did`. refuse: it is closed.",
    )
    format: Literal["slin", "slin16", "slin24"] = setting(
        "slin24", "The sound asked for where we are the one to ask (ARI). slin24 suits OpenAI's Realtime models."
    )
    transfer_context: str = setting(
        "ai-transfer",
        "The dialplan's context in which the targets of transfers are extensions.",
        pattern=r"^[A-Za-z0-9_-]{1,79}$",
    )
    briefing_context: str = setting(
        "ai-briefing",
        "The dialplan's context that whoever answers a warm transfer is given to (AMI): it connects them with the "
        "AudioSocket server, where they hear the briefing.",
        pattern=r"^[A-Za-z0-9_-]{1,79}$",
    )
    audiosocket: AudioSocketSettings = setting(AudioSocketSettings, "The AudioSocket server.")
    websocket: MediaWebSocketSettings = setting(MediaWebSocketSettings, "The server for chan_websocket.")
    ami: AmiSettings = setting(AmiSettings, "The manager interface.")
    ari: AriSettings = setting(AriSettings, "The REST interface.")
    outbound: OutboundSettings = setting(OutboundSettings, "Calls that we make.")

    @property
    def audiosocket_address(self) -> str:
        """``host:port`` at which Asterisk reaches our AudioSocket server."""
        server = self.audiosocket
        if server.advertise:
            return server.advertise
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)
        return f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"

    @property
    def websocket_address(self) -> tuple[str, int] | None:
        return address(self.websocket.listen) if self.websocket.listen else None

    @property
    def ami_address(self) -> tuple[str, int] | None:
        return address(self.ami.server) if self.ami.server else None
