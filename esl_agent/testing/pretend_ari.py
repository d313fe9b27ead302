"""A pretend Asterisk with ARI: REST and events on one port of 127.0.0.1, as strict as 22.10.1 was seen to be.

    with PretendAri("agent", "secret") as asterisk:
        caller = asterisk.call(exten="5004", args=("4930123",))     Stasis(app,4930123)
        asterisk.hang_up(caller.id)

What it was asked is in ``asked``, as ``"POST /bridges/x"``. Its AudioSocket channels really connect, bring their UUID
and end with their connection; chan_websocket's are told to ``on_websocket``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent import socket

from esl_agent.testing.pretend_ari_http import AriHttp, Asked, Refusal

_MEDIA_ERROR = "An internal error prevented this request from being handled"


@dataclass(slots=True)
class PretendChannel:
    id: str
    name: str
    state: str = "Ring"
    number: str = "sipp"
    exten: str = "5004"
    app: str = ""
    app_data: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    bridge: str = ""
    is_made_here: bool = False
    """The application has asked for it, or has subscribed to it, and is told of its end."""
    sock: Any = None
    digits: str = ""
    """What it was sent."""
    went_to: str = ""
    """Where it went on in the dialplan: ``here``, or ``context,extension,priority``."""
    hung_up: int = 0
    """The cause that it was hung up with."""

    def json(self) -> dict[str, Any]:
        nobody = {"name": "", "number": ""}
        return {
            "id": self.id, "name": self.name, "state": self.state, "protocol_id": "",
            "caller": {"name": "", "number": self.number}, "connected": nobody, "accountcode": "",
            "dialplan": {
                "context": "from-phone", "exten": self.exten, "priority": 2,
                "app_name": "Stasis" if self.app else "AppDial2", "app_data": self.app_data,
            },
            "creationtime": "2026-11-20T17:58:41.021+0000", "language": "en",
        }  # fmt: skip


class PretendAri(AriHttp):
    """``app``: the application that may be registered. ``endpoints``: PJSIP endpoints that can be called."""

    def __init__(self, user: str, password: str, app: str = "esl_agent", tls: tuple[str, str] | None = None) -> None:
        super().__init__(user, password, tls)
        self.app = app
        self.channels: dict[str, PretendChannel] = {}
        self.gone: dict[str, PretendChannel] = {}
        """Those that have been hung up, or that went on in the dialplan."""
        self.bridges: dict[str, list[str]] = {}
        self.extensions = {"ai-transfer,800,1", "ai-briefing,wait,1", "ai-briefing,connect,1"}
        self.endpoints = {"trunk", "1002"}
        self.websocket_clients = {"esl_agent"}
        self.user_events: list[tuple[str, dict[str, Any]]] = []
        self.on_websocket: Callable[[PretendChannel], None] = _nothing
        self._names = 0

    # What the telephone network does

    def call(
        self,
        exten: str = "5004",
        args: tuple[str, ...] = (),
        *,
        state: str = "Ring",
        number: str = "4930555",
        variables: dict[str, str] | None = None,
    ) -> PretendChannel:
        """The dialplan runs ``Stasis(app,args)`` for a caller. Without a connected application he goes on at once."""
        self._names += 1
        identity = f"1795197521.{self._names}"
        channel = PretendChannel(identity, f"PJSIP/trunk-{self._names:08x}", state, number, exten)
        channel.variables = dict(variables or {})
        self.enter(channel, args)
        return channel

    def enter(self, channel: PretendChannel, args: tuple[str, ...] = ()) -> None:
        if not self.is_connected:
            channel.variables["STASISSTATUS"] = "FAILED"
            channel.went_to = "here"
            return
        channel.went_to = ""
        self.gone.pop(channel.id, None)
        self.channels[channel.id] = channel
        self._stasis(channel, args)

    def hang_up(self, identity: str, cause: int = 0, sip: int = 0) -> None:
        """The other side ends the call."""
        channel = self.channels[identity]
        told = {"cause": cause} if cause else {}
        self._tell("ChannelHangupRequest", channel, **told, **({"tech_cause": sip} if sip else {}))
        self._leave(channel, cause or 16, sip)

    def ends_in_dialplan(self, identity: str, cause: int = 16) -> None:
        """The call of somebody who went on in the dialplan is over."""
        channel = self.gone[identity]
        channel.hung_up = cause
        if channel.is_made_here:
            self._tell("ChannelDestroyed", channel, cause=cause)

    def press(self, identity: str, digit: str) -> None:
        """A key: ARI tells it, and the sound's channel does."""
        channel = self.channels[identity]
        self._tell("ChannelDtmfReceived", channel, digit=digit, duration_ms=160)
        for other in self.bridges.get(channel.bridge, ()):
            if (sock := self.channels[other].sock) is not None:
                sock.sendall(b"\x03\x00\x01" + digit.encode())

    def rings(self, identity: str) -> None:
        self._dial(identity, "RINGING")

    def early_media(self, identity: str) -> None:
        self._dial(identity, "PROGRESS")

    def answers(self, identity: str) -> None:
        channel = self.channels[identity]
        channel.state = "Up"
        self._dial(identity, "ANSWER")
        self._tell("ChannelStateChange", channel)
        self._stasis(channel, ())

    def fails(self, identity: str, cause: int, sip: int, status: str = "") -> None:
        """Of one that we call. Without ``status``: Asterisk's own ring timeout, which brings no other event."""
        channel = self.channels[identity]
        if status:
            self._tell("ChannelHangupRequest", channel, cause=cause, tech_cause=sip)
            self._dial(identity, status)
        self._leave(channel, cause, sip)

    # What is asked

    def answer(self, asked: Asked) -> Any:
        """The JSON of the reply, None for 204. Raises Refusal."""
        match (asked.method, *asked.path):
            case ("GET", "channels"):
                return [each.json() for each in self.channels.values()]
            case ("GET", "bridges"):
                return [self._bridge(each) for each in self.bridges]
            case ("POST", "channels"):
                return self._originate(asked)
            case ("POST", "channels", "externalMedia"):
                return self._external_media(asked)
            case ("POST" | "DELETE" | "GET" as method, "channels", identity, *rest):
                return self._channel(method, identity, rest, asked)
            case ("POST" | "DELETE" as method, "bridges", identity, *rest):
                return self._on_bridge(method, identity, rest, asked)
            case ("POST", "events", "user", name):
                if asked.of("application") != self.app:
                    raise Refusal(404, "Application not found")
                source = asked.of("source").removeprefix("channel:")
                if source and source not in self.channels:
                    raise Refusal(422, "Event source not found")
                self.user_events.append((name, asked.body.get("variables", {})))
                return None
            case ("POST", "applications", self.app, "subscription"):
                followed = self.channels.get(asked.of("eventSource").removeprefix("channel:"))
                if followed is None:
                    raise Refusal(422, "Event source does not exist")
                followed.is_made_here = True
                return {"name": self.app}
            case ("PUT", "applications", self.app, "eventFilter"):
                self.allowed = {each["type"] for each in asked.body["allowed"]}
                return {"name": self.app}
        raise Refusal(404, "Resource not found")

    def _channel(self, method: str, identity: str, rest: list[str], asked: Asked) -> Any:
        channel = self.channels.get(identity)
        if channel is None:
            raise Refusal(404, "Channel not found")
        match (method, *rest):
            case ("DELETE",):
                self._tell("ChannelHangupRequest", channel, cause=32, soft=True)
                self._leave(channel, int(asked.of("reason_code") or 16))
            case ("GET", "variable"):
                return self._variable(channel, asked.of("variable"))
            case ("POST", "variable"):
                channel.variables[asked.of("variable")] = asked.of("value")
            case ("POST", "answer" | "continue" | "dtmf") if not channel.app:
                raise Refusal(409, "Channel not in Stasis application")
            case ("POST", "answer"):
                if channel.state != "Up":
                    channel.state = "Up"
                    self._tell("ChannelStateChange", channel)
            case ("POST", "continue"):
                place = [asked.of(each) for each in ("context", "extension", "priority")]
                channel.went_to = ",".join(place) if any(place) else "here"
                self._leave(channel, 0)
            case ("POST", "dtmf"):
                channel.digits += asked.of("dtmf")
            case _:
                raise Refusal(404, "Resource not found")
        return None

    def _variable(self, channel: PretendChannel, name: str) -> dict[str, str]:
        if name.startswith("DIALPLAN_EXISTS("):
            return {"value": str(int(name[16:-1] in self.extensions))}
        if name not in channel.variables:
            raise Refusal(404, "Provided variable was not found")
        return {"value": channel.variables[name]}

    def _on_bridge(self, method: str, identity: str, rest: list[str], asked: Asked) -> Any:
        is_there = identity in self.bridges
        if method == "POST" and not rest:
            if is_there:
                raise Refusal(409, f"Bridge with id '{identity}' already exists")
            self.bridges[identity] = []
            return self._bridge(identity)
        if not is_there:
            raise Refusal(404, "Bridge not found")
        if method == "DELETE":
            for each in list(self.bridges[identity]):
                self._leave_bridge(self.channels[each])
            del self.bridges[identity]
        elif rest == ["addChannel"]:
            channel = self.channels.get(asked.of("channel"))
            if channel is None:
                raise Refusal(400, "Channel not found")
            if not channel.app:
                raise Refusal(422, "Channel not in Stasis application")
            channel.bridge = identity
            self.bridges[identity].append(channel.id)
            self._tell("ChannelEnteredBridge", channel, bridge=self._bridge(identity))
        return None

    def _bridge(self, identity: str) -> dict[str, Any]:
        return {"id": identity, "technology": "simple_bridge", "bridge_type": "mixing", "name": identity}

    def _originate(self, asked: Asked) -> Any:
        number, at, endpoint = asked.of("endpoint").removeprefix("PJSIP/").partition("@")
        endpoint = endpoint if at else number
        if endpoint not in self.endpoints:
            raise Refusal(500, "Internal Server Error")
        if asked.of("channelId") in self.channels:
            raise Refusal(409, "Channel with given unique ID already exists")
        if asked.of("app") != self.app or not asked.of("timeout").isdigit():
            raise Refusal(400, "Application or extension must be specified")
        channel = PretendChannel(asked.of("channelId"), f"PJSIP/{endpoint}-00000001", "Down", number, is_made_here=True)
        channel.variables = dict(asked.body.get("variables", {}))
        self.channels[channel.id] = channel
        self._dial(channel.id, "")
        return channel.json()

    def _external_media(self, asked: Asked) -> Any:
        if asked.of("app") != self.app:
            raise Refusal(404, "Application not found")
        kind = asked.of("encapsulation")
        channel = PretendChannel(asked.of("channelId"), "", "Down", "", is_made_here=True)
        channel.variables = dict(asked.body.get("variables", {}))
        if kind == "audiosocket":
            if not (data := asked.of("data")):
                raise Refusal(400, "data can not be empty")
            if asked.of("transport") != "tcp":
                raise Refusal(400, "transport must be 'tcp' for audiosocket encapsulation")
            channel.name = f"AudioSocket/{asked.of('external_host')}-{data}"
            channel.sock = self._connected(asked.of("external_host"), data)
        elif kind == "none" and asked.of("transport") == "websocket":
            if asked.of("external_host") not in self.websocket_clients:
                raise Refusal(500, _MEDIA_ERROR)
            channel.name = f"WebSocket/{asked.of('external_host')}/0x7f{len(self.asked):06x}"
        else:
            raise Refusal(400, "unsupported encapsulation and/or transport")
        if channel.id in self.channels:  # found out only after it has connected
            if channel.sock is not None:
                channel.sock.close()
            raise Refusal(500, _MEDIA_ERROR)
        self.channels[channel.id] = channel
        told = channel.json()
        self._dial(channel.id, "")
        channel.state = "Up"
        self._tell("ChannelStateChange", channel)
        self._dial(channel.id, "ANSWER")
        self._stasis(channel, (asked.of("data"),) if channel.sock else ())
        if channel.sock is not None:
            gevent.spawn(self._carry, channel)
        else:
            self.on_websocket(channel)
        return told

    def _connected(self, host: str, data: str) -> Any:
        address, _, port = host.rpartition(":")
        try:
            identity = uuid.UUID(data).bytes
            sock = socket.create_connection((address, int(port)), timeout=2.0)
        except (ValueError, OSError):
            raise Refusal(500, _MEDIA_ERROR) from None
        sock.sendall(b"\x01\x00\x10" + identity)
        sock.settimeout(None)
        return sock

    def _carry(self, channel: PretendChannel) -> None:
        """Until our server closes."""
        try:
            while channel.sock.recv(65536):
                pass
        except OSError:
            pass
        if channel.id in self.channels:
            self._leave(channel, 16)

    # Events

    def _stasis(self, channel: PretendChannel, args: tuple[str, ...]) -> None:
        channel.app, channel.app_data = self.app, ",".join((self.app, *args))
        self._tell("StasisStart", channel, args=list(args))

    def _dial(self, identity: str, status: str) -> None:
        self.emit({"type": "Dial", "dialstatus": status, "peer": self.channels[identity].json()})

    def _leave_bridge(self, channel: PretendChannel) -> None:
        if channel.bridge:
            self.bridges[channel.bridge].remove(channel.id)
            self._tell("ChannelLeftBridge", channel, bridge=self._bridge(channel.bridge))
            channel.bridge = ""

    def _leave(self, channel: PretendChannel, cause: int, sip: int = 0) -> None:
        """Out of the application: hung up with ``cause``, or back in the dialplan with 0."""
        was_in = bool(channel.app)
        self._leave_bridge(channel)
        del self.channels[channel.id]
        self.gone[channel.id] = channel
        channel.hung_up = cause
        channel.app = ""
        if was_in:
            self._tell("StasisEnd", channel)
        if cause and channel.is_made_here:
            self._tell("ChannelDestroyed", channel, cause=cause, **({"tech_cause": sip} if sip else {}))
        if channel.sock is not None:
            channel.sock.close()

    def _tell(self, kind: str, channel: PretendChannel, **more: Any) -> None:
        self.emit({"type": kind, **more, "channel": channel.json(), "application": self.app})

    @property
    def is_clean(self) -> bool:
        """Whether nothing that an application makes is left."""
        return not self.bridges and all(each.name.startswith("PJSIP/") for each in self.channels.values())


def _nothing(_: PretendChannel) -> None:
    pass
