"""Who is behind a line, told by AMI: a Directory.

``Dial(AudioSocket/...)`` and ``Dial(WebSocket/...)`` are seen in DialBegin, whose DestChannel names the line's channel
(``AudioSocket/10.0.0.1:9092-<uuid>``); the application ``AudioSocket(<uuid>,...)`` in Newexten. What was missed (we
connected in the middle of a call, or the user may not see Newexten) is found by one ``Status`` of all channels. Then
one ``Status`` of the caller's channel brings the number, the name, the DID and every channel variable.

The DID is the channel variable ``ESL_AGENT_DID`` where the dialplan or our own Originate set it, else DNID, the number
that came with the call and that Goto and Gosub leave alone, else the extension the channel is at.
"""

from __future__ import annotations

import logging
import re
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from gevent.event import AsyncResult, Event

from esl_agent.errors import LegError
from esl_agent.legs.ami import AmiClient
from esl_agent.legs.ami_callee import AmiBeside
from esl_agent.legs.ami_control import AmiControl
from esl_agent.legs.ami_originate import DID_VARIABLE
from esl_agent.legs.asterisk import Caller, Control
from esl_agent.wire.ami import Message, unescaped

log = logging.getLogger(__name__)

#: Lines that are remembered; the oldest goes first. Each ends with its channel's Hangup.
MAX_LINES = 10_000
#: Seconds after which a line is forgotten whose Hangup never came.
MAX_AGE = 6 * 3600.0
#: Seconds that a call waits for a connection that is just being made again: its line says that Asterisk is back.
LOGIN_PATIENCE = 0.5
#: Seconds that a line's news may be late before all channels are asked for.
SCAN_AFTER = 0.05
#: Seconds between two questions for all channels: a stranger who opens line after line costs one a second.
SCAN_EVERY = 1.0
#: Variables of one call, and characters of one value, number or name.
MAX_VARIABLES = 500
MAX_VALUE = 4096
MAX_NAME = 256

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LINES = ("AudioSocket/", "WebSocket/")
_NOBODY = ("<unknown>", "<none>")


@dataclass(slots=True)
class _Known:
    """What the event that named a line said of its caller."""

    channel: str
    uniqueid: str
    exten: str
    number: str
    name: str
    since: float = field(default_factory=time.monotonic)


class AmiCalls:
    """A Directory. Make it before ``client.start``; ``transfer_context`` is where transfers' targets are extensions."""

    def __init__(self, client: AmiClient, transfer_context: str, beside: AmiBeside | None = None) -> None:
        """``beside``: how people are called for callers; without it nobody is."""
        self._client = client
        self._context = transfer_context
        self._beside = beside
        self._lines: dict[str, _Known] = {}  # the oldest first
        self._lines_of: dict[str, set[str]] = {}  # the caller's channel -> its lines
        self._controls: dict[str, set[AmiControl]] = {}
        self._news: dict[str, list[Event]] = {}
        self._is_scanning = False
        self._scanned_at = float("-inf")
        client.on_event("DialBegin", self._dialled)
        client.on_event("Newexten", self._connected_app, header="Application", value="AudioSocket")
        client.on_event("Hangup", self._hung_up)
        client.on_connected(self._resynchronise)

    def find(self, line: str, patience: float) -> tuple[Caller, Control] | None:
        deadline = time.monotonic() + patience
        known = self._awaited(_key(line), patience, deadline)
        if known is None:
            return None
        control = self._control(known)
        status = self._status(known.channel, deadline)
        caller = _caller(known, status)
        control.calls_from(caller.number)
        return caller, control

    def known(self, line: str) -> AmiControl | None:
        """The control of who is behind the line, if that is known by now. Does not wait."""
        known = self._lines.get(_key(line))
        return self._control(known) if known is not None else None

    def _control(self, known: _Known) -> AmiControl:
        control = AmiControl(self._client, known.channel, known.uniqueid, self._context, self._forget, self._beside)
        control.calls_from(known.number)
        self._controls.setdefault(known.channel, set()).add(control)
        return control

    # What Asterisk tells

    def _dialled(self, event: Message) -> None:
        line = event.get("DestChannel")
        if line.startswith(_LINES) and event.get("Channel"):
            self._know(_key(line), event)

    def _connected_app(self, event: Message) -> None:
        if found := _UUID.match(event.get("AppData")):
            self._know(found[0].lower(), event)

    def _know(self, key: str, event: Message) -> None:
        self._unknow(key)
        known = self._lines[key] = _Known(
            event.get("Channel"),
            event.get("Uniqueid"),
            event.get("Exten")[:MAX_NAME],
            _text(event.get("CallerIDNum")),
            _name(event),
        )
        self._lines_of.setdefault(known.channel, set()).add(key)
        while len(self._lines) > MAX_LINES or next(iter(self._lines.values())).since < known.since - MAX_AGE:
            self._unknow(next(iter(self._lines)))
        for flag in self._news.pop(key, ()):
            flag.set()

    def _unknow(self, key: str) -> None:
        known = self._lines.pop(key, None)
        if known is not None:
            keys = self._lines_of[known.channel]
            keys.discard(key)
            if not keys:
                del self._lines_of[known.channel]

    def _hung_up(self, event: Message) -> None:
        channel, cause = event.get("Channel"), event.get("Cause")
        self._unknow(_key(channel))
        for key in list(self._lines_of.get(channel, ())):
            self._unknow(key)
        for control in self._controls.pop(channel, ()):
            control.gone(int(cause) if re.fullmatch("[0-9]{1,3}", cause) else 0)

    # What we ask

    def _awaited(self, key: str, patience: float, deadline: float) -> _Known | None:
        """The line's caller, after the news of it if they are still to come."""
        known = self._lines.get(key)
        if known is not None or not self._client.wait_connected(min(patience, LOGIN_PATIENCE)):
            return known
        flag = Event()
        waiting = self._news.setdefault(key, [])
        waiting.append(flag)
        try:
            if not flag.wait(min(SCAN_AFTER, max(0.0, deadline - time.monotonic()))):
                self._scan()
                flag.wait(max(0.0, deadline - time.monotonic()))
        finally:
            if flag in waiting:
                waiting.remove(flag)
            if not waiting:
                self._news.pop(key, None)
        return self._lines.get(key)

    def _scan(self) -> None:
        """Asks for all channels, where nobody did a moment ago."""
        now = time.monotonic()
        if not self._is_scanning and now - self._scanned_at >= SCAN_EVERY:
            self._is_scanning, self._scanned_at = True, now
            self._client.gather("Status", [], self._scanned)

    def _resynchronise(self) -> None:
        self._is_scanning, self._scanned_at = False, float("-inf")
        self._scan()

    def _scanned(self, answer: list[Message] | LegError) -> None:
        self._is_scanning = False
        if isinstance(answer, LegError):
            log.debug("cannot list the channels: %s", answer)
            return
        channels = [each for each in answer if each.event == "Status"]
        for key, caller in _lines_among(channels):
            if key not in self._lines:
                self._know(key, caller)
        alive = {each.get("Uniqueid") for each in channels}
        for key, known in list(self._lines.items()):
            if known.since < self._scanned_at and known.uniqueid not in alive:
                self._unknow(key)
        for controls in list(self._controls.values()):
            for control in [each for each in controls if each.since < self._scanned_at and each.uniqueid not in alive]:
                self._forget(control)
                control.gone(0)

    def _status(self, channel: str, deadline: float) -> Message | None:
        came: AsyncResult[list[Message] | LegError] = AsyncResult()
        left = deadline - time.monotonic()
        self._client.gather("Status", [("Channel", channel), ("AllVariables", "true")], came.set)
        answer = came.wait(max(0.0, left))
        if isinstance(answer, list):
            return next((each for each in answer if each.event == "Status" and each.get("Channel") == channel), None)
        log.debug("no status of the caller's channel: %s", answer or "too late")
        return None

    # Memory

    def _forget(self, control: AmiControl) -> None:
        controls = self._controls.get(control.channel)
        if controls is not None:
            controls.discard(control)
            if not controls:
                del self._controls[control.channel]


def _key(line: str) -> str:
    """What a line is known by: its UUID, or the whole name of a channel that has none."""
    found = _UUID.search(line[-36:])
    return found[0].lower() if found else line


def _lines_among(channels: list[Message]) -> Iterable[tuple[str, Message]]:
    """(key of a line, its caller's Status) of the calls that are up: who is in the bridge with a line; before there is
    one, who dials it."""
    in_bridge: dict[str, list[Message]] = defaultdict(list)
    dialling: dict[str, list[Message]] = defaultdict(list)
    for each in channels:
        if not each.get("Channel").startswith(_LINES):
            in_bridge[each.get("BridgeID")].append(each)
            if each.get("Application") == "Dial":
                dialling[each.get("Linkedid")].append(each)
    for each in channels:
        name, bridge = each.get("Channel"), each.get("BridgeID")
        if each.get("Application") == "AudioSocket" and (found := _UUID.match(each.get("Data"))):
            yield found[0].lower(), each
        elif name.startswith(_LINES):
            callers = (in_bridge.get(bridge) if bridge else None) or dialling.get(each.get("Linkedid"), [])
            if len(callers) == 1:
                yield _key(name), callers[0]


def _caller(known: _Known, status: Message | None) -> Caller:
    if status is None:
        return Caller(known.channel, known.exten, known.number, known.name)
    variables = {}
    for each in status.all("Variable")[:MAX_VARIABLES]:
        name, equals, value = each.partition("=")
        if equals and name not in variables:
            variables[name] = value[:MAX_VALUE]
    did = variables.get(DID_VARIABLE, "") or _text(status.get("DNID")) or known.exten
    number, name = _text(status.get("CallerIDNum")), _name(status)
    return Caller(known.channel, did[:MAX_NAME], number or known.number, name or known.name, variables)


def _name(message: Message) -> str:
    return unescaped(_text(message.get("CallerIDName")))


def _text(value: str) -> str:
    return "" if value in _NOBODY else value[:MAX_NAME]
