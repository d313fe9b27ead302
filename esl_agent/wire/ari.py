"""Asterisk's REST interface as text: events from JSON, requests as method, path, query and body.

Sources: ``rest-api/api-docs/{events,channels,bridges}.json`` and ``res_ari_channels.c``, 22.10.1. Events and fields
that we have no use for are passed over, as Asterisk adds some with every version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from esl_agent.errors import UnsafeText, WireError
from esl_agent.wire.outside_json import loads

#: Bytes of one event. A bridge's event names its channels; ours have two.
MAX_EVENT = 256 * 1024
#: Characters of one text in it, and how many arguments and variables of a channel are kept.
MAX_TEXT = 1024
MAX_ARGS = 16
MAX_VARIABLES = 64
#: Bytes of a request's target: http.c's line has 4096.
MAX_TARGET = 4000
#: What we listen to. ChannelDtmfReceived is not among it: a caller's keys come with the sound (AudioSocket 0x03,
#: chan_websocket DTMF_END), and a digit counts once.
HEARD = ("StasisStart", "StasisEnd", "ChannelHangupRequest", "ChannelDestroyed", "Dial", "ApplicationReplaced")

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as events and replies describe it. All of it is outside text."""

    id: str
    name: str = ""
    """``PJSIP/1001-0000002a``"""
    state: str = ""
    number: str = ""
    caller_name: str = ""
    exten: str = ""
    app: str = ""
    """The dialplan's application that it is in: ``Stasis``"""
    app_data: str = ""
    """... and its arguments: ``esl_agent,4930123``"""
    variables: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """Those that ari.conf's ``channelvars`` names."""

    @property
    def is_up(self) -> bool:
        return self.state == "Up"

    def is_in(self, app: str) -> bool:
        """Whether the Stasis application ``app`` has it."""
        return self.app == "Stasis" and self.app_data.partition(",")[0] == app


@dataclass(frozen=True, slots=True)
class AriEvent:
    """One event: ``kind`` is one of HEARD."""

    kind: str
    channel: Channel
    """Whom it is about; of a Dial: who is called."""
    args: tuple[str, ...] = ()
    cause: int = 0
    """Q.850; 0 where none is told. A soft hang-up request's is none and not kept (it says by which means)."""
    sip: int = 0
    """The SIP status that ended it (``tech_cause``); 0 with an Asterisk that does not tell."""
    status: str = ""
    """Of a Dial: '', RINGING, PROGRESS, ANSWER, BUSY, NOANSWER, ..."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of ARI. Segments and values are outside text: ``target`` makes them safe."""

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    body: Mapping[str, Any] | None = None
    is_owed: bool = False
    """It frees something: it is sent however late, and again if it fails."""

    @property
    def target(self) -> str:
        """Path and query, percent-encoded. Raises UnsafeText for what cannot be a path."""
        if not all(self.path) or any(each in (".", "..") for each in self.path):
            raise UnsafeText(f"not a path of ARI: {'/'.join(self.path)[:80]!r}")
        target = "/" + "/".join(quote(each, safe="", errors="replace") for each in self.path)
        if self.query:
            given = self.query.items()
            pairs = [f"{quote(name, safe='')}={quote(text, safe='', errors='replace')}" for name, text in given]
            target = f"{target}?{'&'.join(pairs)}"
        if len(target) > MAX_TARGET:
            raise UnsafeText(f"a request to ARI of {len(target)} bytes; at most {MAX_TARGET} are understood")
        return target

    def __str__(self) -> str:
        """For logs: without values."""
        return f"{self.method} /{'/'.join(self.path)}"[:200]


@dataclass(frozen=True, slots=True)
class Reply:
    """What ARI said. ``status`` 0: nothing, and ``message`` says why."""

    status: int
    message: str = ""
    value: Any = None
    """Its JSON. Outside."""

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """What was asked about does not exist, or is not in our application any more (409, 422)."""
        return self.status in (404, 409, 422)

    def __str__(self) -> str:
        return f"{self.status or 'no answer'}: {self.message}"


def event_of(message: str | bytes) -> AriEvent | None:
    """The event in a message; None for those that nobody here waits for. Raises WireError for what is no event."""
    if len(message) > MAX_EVENT:
        raise WireError(f"an ARI event of {len(message)} bytes; at most {MAX_EVENT} are read")
    try:
        event = loads(message)
    except ValueError:
        raise WireError("an ARI message that is no JSON") from None
    if not isinstance(event, dict) or not isinstance(kind := event.get("type"), str):
        raise WireError("an ARI message that is no event")
    if kind not in HEARD:
        return None
    about = event.get("peer" if kind == "Dial" else "channel")
    channel = channel_of(about) if isinstance(about, dict) else None
    if channel is None:
        if kind != "ApplicationReplaced":
            raise WireError(f"an ARI {kind} without its channel")
        channel = Channel("")
    args = event.get("args")
    return AriEvent(
        kind,
        channel,
        tuple(_text(each) for each in args[:MAX_ARGS]) if isinstance(args, list) else (),
        0 if event.get("soft") is True else _number(event.get("cause")),
        _number(event.get("tech_cause")),
        _text(event.get("dialstatus")),
    )


def channel_of(value: Any) -> Channel | None:
    """The channel in a JSON object; None for what is none."""
    if not isinstance(value, dict) or not (identity := _text(value.get("id"))):
        return None
    caller, dialplan, variables = value.get("caller"), value.get("dialplan"), value.get("channelvars")
    caller = caller if isinstance(caller, dict) else {}
    dialplan = dialplan if isinstance(dialplan, dict) else {}
    kept = list(variables.items())[:MAX_VARIABLES] if isinstance(variables, dict) else []
    return Channel(
        identity,
        _text(value.get("name")),
        _text(value.get("state")),
        _text(caller.get("number")),
        _text(caller.get("name")),
        _text(dialplan.get("exten")),
        _text(dialplan.get("app_name")),
        _text(dialplan.get("app_data")),
        {_text(name): _text(text) for name, text in kept} if kept else _NOTHING,
    )


def channels_of(value: Any) -> list[Channel]:
    """The channels of ``GET /channels``."""
    return [each for item in value if (each := channel_of(item))] if isinstance(value, list) else []


def bridge_ids(value: Any) -> list[str]:
    """The ids of ``GET /bridges``."""
    found = [_text(each.get("id")) for each in value if isinstance(each, dict)] if isinstance(value, list) else []
    return [each for each in found if each]


def message_of(value: Any, otherwise: str) -> str:
    """What a refusal says, fit for one line of a log."""
    said = value.get("message") if isinstance(value, dict) else None
    return one_line(said if isinstance(said, str) and said else otherwise)


def one_line(text: str) -> str:
    """The beginning of outside text without line ends and what cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:MAX_TEXT]).split())[:300]


_ARGUMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,63})=(.*)", re.DOTALL)


def did_and_variables(args: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Of ``Stasis(app,did,NAME=value,...)`` the number dialled, if the first argument is one, and the variables."""
    variables = {match[1]: match[2] for each in args if (match := _ARGUMENT.fullmatch(each))}
    did = args[0] if args and not _ARGUMENT.fullmatch(args[0]) else ""
    return did, variables


def _text(value: Any) -> str:
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1000 else 0
