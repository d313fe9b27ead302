"""What a DID's YAML can say about the tools its model may call."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from esl_agent.setting import STRICT, setting

Builtin = Literal["transfer", "hang_up", "send_dtmf", "collect_digits", "hold", "set_variable", "set_language"]
BUILTINS: tuple[Builtin, ...] = (
    "transfer", "hang_up", "send_dtmf", "collect_digits", "hold", "set_variable", "set_language"
)  # fmt: skip

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class HttpParameter:
    """One value the model gives to an HTTP tool."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    type: Literal["string", "integer", "number", "boolean"] = setting("string", "What kind of value it is.")
    description: str = setting("", "What the model is told about it.")
    pattern: str = setting("", "A regular expression that the whole value must match (string). Empty: any text.")
    enum: tuple[str, ...] = setting((), "The values there are (string). Empty: any.")
    max_length: int = setting(200, "Characters of a string at most.", ge=1, le=10000)
    required: bool = setting(True, "Whether the model must give it. A missing one is empty text in a URL.")

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern: expected a regular expression ({error})") from None


@dataclass(frozen=True, slots=True)
class HttpHeader:
    """One header of the request. Its value comes from one of the three."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    value: str = setting("", "The value, if it is no secret.", pattern=r"^[^\r\n]*$")
    value_env: str = setting("", "The environment variable that holds the value.")
    value_file: str = setting("", "The file whose first line is the value.")
    prefix: str = setting("", "What goes before it, such as `Bearer ` (with its space).", pattern=r"^[^\r\n]*$")


@dataclass(frozen=True, slots=True)
class HttpToolSettings:
    """A request to a server of yours that the model may ask for, by the name it has here."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    description: str = setting(doc="What the model is told: what it finds out or does, and when to use it.")
    url: str = setting(
        doc="http or https. `{name}` is a parameter, percent-encoded; the host has none, so that no model chooses it."
    )
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = setting("GET", "The request's method.")
    parameters: dict[str, HttpParameter] = setting(dict, "What the model gives, by name.")
    headers: dict[str, HttpHeader] = setting(dict, "Headers of the request, by name.")
    body: dict[str, Any] | None = setting(
        None,
        "The JSON body. Text that is `{name}` alone becomes that value with its type. Left out, a POST, PUT or PATCH "
        "sends the parameters that the URL does not use.",
    )
    timeout: float = setting(5.0, "Seconds for the whole answer.", gt=0.0, le=60.0)
    max_bytes: int = setting(20000, "Bytes of the answer that are read; a longer one is a failure.", ge=1, le=1000000)
    allow_private: bool = setting(
        False, "Whether the host may have a private, loopback or link-local address. Off: such a request is refused."
    )
    ca_file: str = setting("", "Certificates to trust (PEM), for https with an authority of your own.")
    say_meanwhile: str = setting("", "What the caller hears while the request runs, such as: One moment, I will look.")

    def __post_init__(self) -> None:
        self._check_url()
        for name in self.parameters:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
                raise ValueError(f"parameters: expected a name of lower case letters, digits and _, got {name!r}")
        for name in self.headers:
            if not _HEADER.fullmatch(name) or name.lower() in ("host", "content-length", "transfer-encoding"):
                raise ValueError(f"headers: {name!r} cannot be set")
        if self.body is not None and self.method in ("GET", "DELETE"):
            raise ValueError(f"a {self.method} request has no body")

    def _check_url(self) -> None:
        scheme, separator, rest = self.url.partition("://")
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        if scheme not in ("http", "https") or not separator or re.search(r"[\s\\\x00-\x20\x7f]", self.url):
            raise ValueError(f"url: expected http:// or https:// without spaces, got {self.url[:60]!r}")
        if re.search(r"[{}@%]", authority):
            raise ValueError("url: the host is written out, without {placeholder}, user or escapes")
        try:
            parts = urlsplit(self.url)
            if not parts.hostname or parts.port == 0:
                raise ValueError
        except ValueError:
            raise ValueError(f"url: expected a host, got {self.url[:60]!r}") from None
        if unknown := [name for name in PLACEHOLDER.findall(self.url) if name not in self.parameters]:
            raise ValueError(f"url: {{{unknown[0]}}} is none of the parameters")
        if re.search(r"[{}]", PLACEHOLDER.sub("", self.url)):
            raise ValueError("url: a brace that begins no {parameter}")


@dataclass(frozen=True, slots=True)
class ToolsSettings:
    """What the model may do beside talking."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    builtin: tuple[Builtin, ...] = setting(
        ("transfer", "hang_up", "collect_digits", "hold"),
        "Tools of the telephone. transfer needs destinations (or transfer.allow), set_language more than one language; "
        "otherwise they are not offered.",
    )
    http: dict[str, HttpToolSettings] = setting(dict, "Requests to servers of yours, by the name the model calls.")
    max_per_turn: int = setting(5, "Tools one answer may call before the model must speak.", ge=1, le=50)

    def __post_init__(self) -> None:
        for name in self.http:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
                raise ValueError(f"http: expected a name of lower case letters, digits and _, got {name!r}")
            if name in BUILTINS:
                raise ValueError(f"http: {name!r} is a built-in tool; choose another name")
