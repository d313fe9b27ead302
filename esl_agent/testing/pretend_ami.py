"""A pretend Asterisk manager interface: as ``manager.c`` of 22.10.1 answered, and no more forgiving.

Nothing is answered before the login but ``Permission denied``; a wrong secret closes the connection; an action that is
not written as it must be is put down in ``complaints``. Calls are made to happen by the methods of ``PretendAmi``:
their events come in the order and with the headers of the real ones, to those sessions whose EventMask and filters
let them through.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import gevent
from gevent import socket
from gevent.server import StreamServer

from esl_agent.testing.pretend_ami_calls import Block, Channel, Switchboard

BANNER = b"Asterisk Call Manager/11.0.0\r\n"
#: A line that ``manager.c`` still takes; a longer one is "Failed to parse message: line too long".
LINE_BYTES = 1024

_CRITERIA = re.compile(r"name\((\w+)\)(?:,header\(([\w-]+)\))?(?:,method\((exact)\))?")
_CLASSES = {"Newexten": "dialplan", "VarSet": "dialplan", "UserEvent": "user"}
_HEADER = re.compile(rb"([A-Za-z][A-Za-z0-9_-]*): ([^\r\n]*)")
#: Actions that need class system, which a user may not have.
_OF_SYSTEM = ("Filter",)


@dataclass(slots=True)
class Session:
    """One connection. ``sent`` has every action that came, in order."""

    sock: socket.socket
    is_in: bool = False
    mask: set[str] = field(default_factory=set)
    filters: list[tuple[str, str, str]] = field(default_factory=list)
    events: list[Block] = field(default_factory=list)

    def wants(self, event: Block) -> bool:
        headers = dict(event)
        if not self.is_in or _CLASSES.get(headers["Event"], "call") not in self.mask:
            return False
        return not self.filters or any(
            headers["Event"] == name and (not header or headers.get(header) == value)
            for name, header, value in self.filters
        )


class PretendAmi(Switchboard):
    """Listens on a free port of 127.0.0.1 from ``start`` on. ``mute``: actions it never answers; ``piece``: bytes of
    each piece it sends (None: everything at once); ``greets``: it sends a banner."""

    def __init__(self, user: str = "esl_agent", secret: str = "a secret of AMI") -> None:
        super().__init__(self.emit)
        self.user, self.secret = user, secret
        self.may_filter = True
        self.has_criteria = True
        self.greets = True
        self.mute: set[str] = set()
        self.piece: int | None = None
        self.sessions: list[Session] = []
        self.logins = self.refusals = self.connections = 0
        self.actions: list[Block] = []
        self.complaints: list[str] = []
        self._port = 0
        self._server: StreamServer | None = None
        self._numbers = itertools.count(1)

    # The server

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    def start(self) -> PretendAmi:
        self._server = StreamServer(("127.0.0.1", self._port), self._serve)
        self._server.start()
        self._port = self._server.server_port
        return self

    def stop(self) -> None:
        """No connection is taken any more, and those there are end; ``start`` listens on the same port again."""
        if self._server is not None:
            self._server.stop(timeout=0.1)
            self._server = None
        self.drop()

    def drop(self) -> None:
        """Every connection ends at once."""
        for session in self.sessions[:]:
            with suppress(OSError):
                session.sock.shutdown(socket.SHUT_RDWR)
            session.sock.close()
        self.sessions.clear()

    def asked(self, name: str) -> list[dict[str, str]]:
        """The actions of this name that came, in order."""
        return [dict(each) for each in self.actions if dict(each)["Action"] == name]

    def emit(self, event: Block) -> None:
        """Sends an event to those who want it."""
        for session in self.sessions[:]:
            if session.wants(event):
                session.events.append(event)
                self._send(session, event)

    def raw(self, data: bytes) -> None:
        """Sends bytes as they are to every session."""
        for session in self.sessions[:]:
            self._write(session, data)

    # One connection

    def _serve(self, sock: socket.socket, _: tuple[str, int]) -> None:
        self.connections += 1
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session(sock)
        self.sessions.append(session)
        buffer = b""
        try:
            if self.greets:
                self._write(session, BANNER)
            while data := sock.recv(65536):
                buffer += data
                while b"\r\n\r\n" in buffer:
                    block, buffer = buffer.split(b"\r\n\r\n", 1)
                    if not self._take(session, block):
                        return
        except OSError:
            pass
        finally:
            if session in self.sessions:
                self.sessions.remove(session)
            sock.close()

    def _take(self, session: Session, block: bytes) -> bool:
        """One action; False where the connection ends with it."""
        headers: Block = []
        for line in block.split(b"\r\n"):
            found = _HEADER.fullmatch(line)
            if found is None or len(line) + 2 > LINE_BYTES:
                self.complaints.append(f"line {line[:80]!r}")
                self._respond(session, dict(headers), "Error", "Failed to parse message: line too long")
                return True
            headers.append((found[1].decode(), found[2].decode()))
        self.actions.append(headers)
        asked = dict(headers)
        name = asked.get("Action", "")
        if headers[0][0] != "Action" or not asked.get("ActionID"):
            self.complaints.append(f"an action without Action first, or without ActionID: {headers}")
        if name in self.mute:
            return True
        if not session.is_in:
            return self._log_in(session, asked)
        if name in _OF_SYSTEM and not self.may_filter:
            self._respond(session, asked, "Error", "Permission denied")
        elif (perform := self._actions().get(name)) is None:
            self.complaints.append(f"unknown action {name!r}")
            self._respond(session, asked, "Error", "Invalid/unknown command")
        else:
            perform(session, asked, headers)
        return True

    def _log_in(self, session: Session, asked: dict[str, str]) -> bool:
        if asked["Action"] != "Login":
            self._respond(session, asked, "Error", "Permission denied")
            return True
        if (asked.get("Username"), asked.get("Secret")) != (self.user, self.secret):
            self.refusals += 1
            self._respond(session, asked, "Error", "Authentication failed")
            return False
        self.logins += 1
        session.is_in = True
        session.mask = {"call", "dialplan", "user"} if asked.get("Events", "on") == "on" else set()
        self._respond(session, asked, "Success", "Authentication accepted")
        return True

    def _actions(self) -> dict[str, Callable[[Session, dict[str, str], Block], None]]:
        return {
            "Ping": lambda session, asked, _: self._respond(session, asked, "Success", None, ("Ping", "Pong")),
            "Events": self._events,
            "Filter": self._filter,
            "Status": self._status,
            "Hangup": self._hang_up,
            "Redirect": self._redirect,
            "Bridge": self._bridge,
            "Setvar": self._set_variable,
            "Getvar": self._get_variable,
            "PlayDTMF": self._play_dtmf,
            "UserEvent": self._user_event,
            "Originate": self._originate,
        }

    def _events(self, session: Session, asked: dict[str, str], _: Block) -> None:
        mask = asked.get("EventMask", "")
        session.mask = set() if mask == "off" else set(mask.split(","))
        self._respond(session, asked, "Success", None, ("Events", "Off" if mask == "off" else "On"))

    def _filter(self, session: Session, asked: dict[str, str], _: Block) -> None:
        text, criteria = asked["Filter"], asked.get("MatchCriteria") if self.has_criteria else None
        if criteria is None:  # a regular expression over the whole event
            try:
                re.compile(text)
            except re.error:
                self._respond(session, asked, "Error", "Filter did not compile.  Check the syntax of the filter given.")
                return
            name = re.match(r"\^Event: (\w+)", text)
            rest = re.search(r"\.\*(\w+): (.+)", text)
            found = (name[1] if name else "", rest[1] if rest else "", rest[2] if rest else "")
        else:
            match = _CRITERIA.fullmatch(criteria)
            if match is None or bool(text) != bool(match[3]):
                self._respond(session, asked, "Error", "Filter was formatted incorrectly.  Check the syntax.")
                return
            found = (match[1], match[2] or "", text)
        session.filters.append(found)
        self._respond(session, asked, "Success", "Success")

    def _status(self, session: Session, asked: dict[str, str], _: Block) -> None:
        if "Channel" in asked and self.channel(asked["Channel"]) is None:
            self._respond(session, asked, "Error", "No such channel")
            return
        one = self.channel(asked["Channel"]) if "Channel" in asked else None
        listed = [one] if one is not None else list(self.channels.values())
        self._respond(session, asked, "Success", "Channel status will follow", ("EventList", "start"))
        action_id = ("ActionID", asked["ActionID"])
        for each in listed:
            self._send(session, [*each.status(asked.get("AllVariables") == "true"), action_id])
        count = str(len(listed))
        complete = [("Event", "StatusComplete"), action_id, ("EventList", "Complete"), ("ListItems", count)]
        self._send(session, [*complete, ("Items", count)])

    def _with_channel(self, session: Session, asked: dict[str, str], missing: str) -> Channel | None:
        found = self.channel(asked.get("Channel", ""))
        if found is None:
            self._respond(session, asked, "Error", missing)
        return found

    def _hang_up(self, session: Session, asked: dict[str, str], _: Block) -> None:
        if channel := self._with_channel(session, asked, "No such channel"):
            self._respond(session, asked, "Success", "Channel Hungup")
            self.hang_up(channel.name, int(asked.get("Cause", "0")))

    def _redirect(self, session: Session, asked: dict[str, str], _: Block) -> None:
        """Says Success whatever the extension; a caller sent to one that is not there is hung up on."""
        missing = f"Channel does not exist: {asked.get('Channel')}"
        if channel := self._with_channel(session, asked, missing):
            self._respond(session, asked, "Success", "Redirect successful")
            self.redirect(channel, asked["Context"], asked["Exten"])

    def _bridge(self, session: Session, asked: dict[str, str], _: Block) -> None:
        found = [self.channels.get(asked.get(f"Channel{n}", "")) for n in (1, 2)]
        for n, each in enumerate(found, 1):
            if each is None:
                self._respond(session, asked, "Error", f"Channel{n} does not exists: {asked.get(f'Channel{n}')}")
                return
        self._respond(session, asked, "Success", "Launched bridge thread with success")
        self.connect(*(each for each in found if each is not None))

    def _set_variable(self, session: Session, asked: dict[str, str], _: Block) -> None:
        if channel := self._with_channel(session, asked, "No such channel"):
            channel.variables[asked["Variable"]] = asked["Value"].lstrip()
            self._respond(session, asked, "Success", "Variable Set")

    def _get_variable(self, session: Session, asked: dict[str, str], _: Block) -> None:
        if channel := self._with_channel(session, asked, "No such channel"):
            name = asked["Variable"]
            value = self.evaluate(name) if "(" in name else channel.variables.get(name, "")
            self._respond(session, asked, "Success", None, ("Variable", name), ("Value", value))

    def _play_dtmf(self, session: Session, asked: dict[str, str], _: Block) -> None:
        if channel := self._with_channel(session, asked, "Channel not found"):
            channel.digits += asked["Digit"]
            self._respond(session, asked, "Success", "DTMF successfully queued")

    def _user_event(self, session: Session, asked: dict[str, str], headers: Block) -> None:
        self._respond(session, asked, "Success", "Event Sent")
        self.emit([("Event", "UserEvent"), ("Privilege", "user,all"), *headers[1:]])

    def _originate(self, session: Session, asked: dict[str, str], headers: Block) -> None:
        if asked.get("Async") != "true" or "EarlyMedia" in asked or "ChannelId" not in asked:
            self.complaints.append(f"an Originate that cannot tell an answer: {headers}")
        self._respond(session, asked, "Success", "Originate successfully queued")
        self.originate(asked, [value for key, value in headers if key == "Variable"])

    def _respond(
        self, session: Session, asked: dict[str, str], response: str, message: str | None, *more: tuple[str, str]
    ) -> None:
        lines = [("Response", response)]
        if "ActionID" in asked:
            lines.append(("ActionID", asked["ActionID"]))
        if message is not None and more[:1] == (("EventList", "start"),):
            lines += [*more, ("Message", message)]
        else:
            lines += [*([("Message", message)] if message is not None else []), *more]
        self._send(session, lines)

    def _send(self, session: Session, block: Block) -> None:
        self._write(session, "".join(f"{key}: {value}\r\n" for key, value in block).encode() + b"\r\n")

    def _write(self, session: Session, data: bytes) -> None:
        size = self.piece or len(data) or 1
        with suppress(OSError):
            for begin in range(0, len(data), size):
                session.sock.sendall(data[begin : begin + size])
                if self.piece:
                    gevent.sleep(0)
