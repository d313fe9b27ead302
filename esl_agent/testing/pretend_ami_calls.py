"""The calls of the pretend AMI: channels, and the events of what happens to them in the order 22.10.1 sends them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field

Block = list[tuple[str, str]]

#: Cause, its text and the DialStatus of a callee that answers with this SIP status, as 22.10.1 has them.
REFUSALS = {
    486: (17, "User busy", "BUSY"),
    603: (21, "Call Rejected", "NOANSWER"),
    404: (1, "Unallocated (unassigned) number", "NOANSWER"),
    480: (19, "User alerting, no answer", "NOANSWER"),
    503: (34, "Circuit/channel congestion", "CONGESTION"),
}
_TEXTS = {16: "Normal Clearing", 0: "Unknown", **{cause: text for cause, text, _ in REFUSALS.values()}}


@dataclass(slots=True)
class Channel:
    """One channel of the pretend switch. ``digits``: the keys that were pressed towards it."""

    name: str
    uniqueid: str
    number: str = ""
    caller_name: str = ""
    context: str = "from-phone"
    exten: str = "s"
    dnid: str = ""
    state: int = 6
    application: str = ""
    data: str = ""
    bridge: str = ""
    linked: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    digits: str = ""
    action_id: str = ""

    def snapshot(self, prefix: str = "") -> Block:
        """The channel as every event shows it."""
        states = {0: "Down", 4: "Ring", 5: "Ringing", 6: "Up"}
        values = {
            "Channel": self.name,
            "ChannelState": str(self.state),
            "ChannelStateDesc": states[self.state],
            "CallerIDNum": self.number or "<unknown>",
            "CallerIDName": _escaped(self.caller_name) or "<unknown>",
            "ConnectedLineNum": "<unknown>",
            "ConnectedLineName": "<unknown>",
            "Language": "en",
            "AccountCode": "",
            "Context": self.context,
            "Exten": self.exten,
            "Priority": "1",
            "Uniqueid": self.uniqueid,
            "Linkedid": self.linked or self.uniqueid,
        }
        return [(prefix + key, value) for key, value in values.items()]

    def status(self, with_variables: bool) -> Block:
        """What ``Status`` says of it, but for the ActionID."""
        named = [("Variable", f"{key}={value}") for key, value in self.variables.items()] if with_variables else []
        return [
            ("Event", "Status"),
            ("Privilege", "Call"),
            *self.snapshot(),
            ("Type", self.name.partition("/")[0]),
            ("DNID", self.dnid),
            ("BridgeID", self.bridge),
            ("Application", self.application),
            ("Data", self.data),
            ("Seconds", "0"),
            *named,
        ]


class Switchboard:
    """The calls. ``callees`` says what becomes of a number that is called: ``silent``, ``rings``, or a SIP status from
    REFUSALS; ``extensions`` are those the dialplan has, as (context, extension)."""

    def __init__(self, emit: Callable[[Block], None]) -> None:
        self.channels: dict[str, Channel] = {}
        self.callees: dict[str, int | str] = {}
        self.extensions: set[tuple[str, str]] = set()
        self.endpoints = {"trunk"}
        self.has_func_dialplan = True
        self.hangup_comes_first = False
        """Hangup before OriginateResponse, as with 486; else after it, as with 603: both were seen."""
        self.held: list[tuple[dict[str, str], list[str]]] | None = None
        """Originates that have no channel yet, where it is a list: Asterisk makes it in a thread of its own."""
        self._emit = emit
        self._ids = itertools.count(1)

    def channel(self, name: str) -> Channel | None:
        """By name, or by Uniqueid."""
        return self.channels.get(name) or next((each for each in self.channels.values() if each.uniqueid == name), None)

    def evaluate(self, function: str) -> str:
        """What Getvar answers for a function; empty for one whose module is not loaded."""
        found = re.fullmatch(r"DIALPLAN_EXISTS\(([^,]*),([^,]*),1\)", function)
        if found is None or not self.has_func_dialplan:
            return ""
        return str(int((found[1], found[2]) in self.extensions))

    # Calls that come in

    def call_in(self, number: str = "15551234567", name: str = "", did: str = "5001", **variables: str) -> Channel:
        """A caller whose call the dialplan has answered."""
        count = next(self._ids)
        caller = Channel(f"PJSIP/1001-{count:08x}", f"1795200635.{count}", number, name, exten=did, dnid=did)
        caller.variables.update(variables)
        self.channels[caller.name] = caller
        self._event("Newchannel", "call", caller.snapshot())
        return caller

    def dial(self, caller: Channel, line: str) -> Channel:
        """``Dial(AudioSocket/127.0.0.1:9092/<uuid>/c(slin24))`` of a line ``AudioSocket/127.0.0.1:9092-<uuid>``."""
        count = next(self._ids)
        ours = Channel(line, f"1795200635.{count}", context="default", state=0, linked=caller.uniqueid)
        self.channels[line] = ours
        caller.application, caller.data = "Dial", re.sub(r"-(?=[0-9a-f-]{36}$)", "/", line)
        ours.application, ours.data = "AppDial", "(Outgoing Line)"
        self._event("Newchannel", "call", ours.snapshot())
        self._event("DialBegin", "call", [*caller.snapshot(), *ours.snapshot("Dest"), ("DialString", caller.data)])
        ours.state = 6
        self._event("Newstate", "call", ours.snapshot())
        self._event("DialEnd", "call", [*caller.snapshot(), *ours.snapshot("Dest"), ("DialStatus", "ANSWER")])
        caller.bridge = ours.bridge = f"c202a558-8300-4687-a4fa-{count:012x}"
        return ours

    def run_app(self, caller: Channel, line: str) -> None:
        """``AudioSocket(<uuid>,127.0.0.1:9092)``."""
        caller.application, caller.data = "AudioSocket", f"{line},127.0.0.1:9092"
        what = [("Extension", caller.exten), ("Application", "AudioSocket"), ("AppData", caller.data)]
        self._event("Newexten", "dialplan", [*caller.snapshot(), *what])

    def hang_up(self, name: str, cause: int = 16, tech_cause: int = 0, reason: str = "0") -> None:
        """The channel ends, and what is in its bridge with it. ``reason``: of a call that was never answered."""
        channel = self.channels.pop(name, None)
        if channel is None:
            return
        how = [("Cause", str(cause)), ("Cause-txt", _TEXTS.get(cause, "Unknown"))]
        tech = [("TechCause", str(tech_cause))] if tech_cause else []
        self._event("HangupRequest", "call", [*channel.snapshot(), how[0], *tech])
        if channel.action_id:
            self._failed(channel, reason)
        self._event("Hangup", "call", [*channel.snapshot(), *how, *tech])
        for other in list(self.channels.values()):
            if channel.bridge and other.bridge == channel.bridge:
                self.hang_up(other.name, cause)

    def redirect(self, channel: Channel, context: str, exten: str) -> None:
        """The line ends; the caller goes on, unless there is no such extension."""
        bridge, channel.bridge = channel.bridge, ""
        channel.context, channel.exten = context, exten
        for other in list(self.channels.values()):
            if bridge and other.bridge == bridge:
                self.hang_up(other.name)
        if (context, exten) not in self.extensions:
            self.hang_up(channel.name)

    def connect(self, one: Channel, other: Channel) -> None:
        """The two are in a bridge of their own; whoever was with one of them before is hung up on."""
        alone = [each for each in self.channels.values() if each.bridge and each.bridge in (one.bridge, other.bridge)]
        one.bridge = other.bridge = f"c202a558-8300-4687-a4fa-{next(self._ids):012x}"
        for each in alone:
            if each not in (one, other):
                self.hang_up(each.name)

    # Calls that go out

    def originate(self, asked: dict[str, str], variables: list[str]) -> None:
        """Rings, or fails at once; ``progress``, ``answer`` and ``ring_out`` tell what comes after."""
        if self.held is not None:
            self.held.append((asked, variables))
            return
        number, at, endpoint = asked["Channel"].removeprefix("PJSIP/").partition("@")
        endpoint = endpoint if at else number
        callee = self.callees.get(number, "rings")
        channel = Channel(f"PJSIP/{endpoint}-{next(self._ids):08x}", asked["ChannelId"], state=0)
        channel.context, channel.exten, channel.action_id = asked["Context"], asked["Exten"], asked["ActionID"]
        channel.variables.update(_variable(each) for each in variables)
        if endpoint not in self.endpoints:
            self._failed(channel, "0")
            return
        self.channels[channel.name] = channel
        self._event("Newchannel", "call", channel.snapshot())
        self._event("DialBegin", "call", [*channel.snapshot("Dest"), ("DialString", f"{number}@{endpoint}")])
        if isinstance(callee, int):
            self.refuse(channel, callee)
        elif callee == "rings":
            self._event("DialState", "call", [*channel.snapshot("Dest"), ("DialStatus", "RINGING")])
            channel.state = 5
            self._event("Newstate", "call", channel.snapshot())

    def release(self) -> None:
        """Those held back are made now."""
        held, self.held = self.held or [], None
        for asked, variables in held:
            self.originate(asked, variables)

    def called(self) -> Channel:
        """The last channel that was made by an Originate."""
        return next(each for each in reversed(self.channels.values()) if each.action_id)

    def progress(self, channel: Channel) -> None:
        """183: the channel's state stays as it is."""
        self._event("DialState", "call", [*channel.snapshot("Dest"), ("DialStatus", "PROGRESS")])

    def answer(self, channel: Channel) -> None:
        """200."""
        channel.state = 6
        self._event("Newstate", "call", channel.snapshot())
        self._event("DialEnd", "call", [*channel.snapshot("Dest"), ("DialStatus", "ANSWER")])
        self._response(channel, "Success", "4", channel.uniqueid)

    def refuse(self, channel: Channel, status: int) -> None:
        """4xx, 5xx, 6xx."""
        cause, text, dial_status = REFUSALS[status]
        del self.channels[channel.name]
        hangup = [*channel.snapshot(), ("Cause", str(cause)), ("Cause-txt", text), ("TechCause", str(status))]
        self._event("HangupRequest", "call", [*channel.snapshot(), ("Cause", str(cause)), ("TechCause", str(status))])
        self._event("DialEnd", "call", [*channel.snapshot("Dest"), ("DialStatus", dial_status)])
        if self.hangup_comes_first:
            self._event("Hangup", "call", hangup)
        self._failed(channel, "0")
        if not self.hangup_comes_first:
            self._event("Hangup", "call", hangup)

    def ring_out(self, channel: Channel) -> None:
        """Originate's Timeout is over: no DialEnd, and a SIP status that nobody sent."""
        self.hang_up(channel.name, 19, 480, "3")

    def _failed(self, channel: Channel, reason: str) -> None:
        self._response(channel, "Failure", reason, "<unknown>")

    def _response(self, channel: Channel, response: str, reason: str, uniqueid: str) -> None:
        what = [("ActionID", channel.action_id), ("Response", response), ("Channel", channel.name)]
        where = [("Context", channel.context), ("Exten", channel.exten)]
        self._event("OriginateResponse", "call", [*what, *where, ("Reason", reason), ("Uniqueid", uniqueid)])
        channel.action_id = ""

    def _event(self, name: str, class_: str, headers: Block) -> None:
        self._emit([("Event", name), ("Privilege", f"{class_},all"), *headers])


def _variable(text: str) -> tuple[str, str]:
    """One Variable of an Originate, as ``AST_STANDARD_APP_ARGS`` reads it; a comma begins another, which we refuse."""
    name, _, value = text.partition("=")
    if re.search(r'(?<!\\)(?:\\\\)*[,"()\[\]]', value):
        raise ValueError(f"{text!r} would be taken apart")
    return name, re.sub(r"\\(.)", r"\1", value)


def _escaped(name: str) -> str:
    """A name as 22.10.1 writes it in events (``ast_escape_c``)."""
    return re.sub(r"""[\\'"?]""", r"\\\g<0>", name).translate(_CONTROLS)


_CONTROLS = {ord(c): f"\\{letter}" for c, letter in zip("\a\b\f\n\r\t\v", "abfnrtv", strict=True)}
