"""Calls that we make over AMI: ``Originate``, and whose news each event is."""

from __future__ import annotations

import logging
import math
import re
import secrets
from collections.abc import Mapping

from esl_agent.errors import CommandRefused, LegClosed, LegError
from esl_agent.legs.ami import AmiClient
from esl_agent.legs.ami_dial import AmiDial
from esl_agent.legs.esl_outcome import guarded
from esl_agent.legs.outbound import CallOut, OnNews, OutboundNews
from esl_agent.legs.plain_value import plain
from esl_agent.wire.ami import Message
from esl_agent.wire.esl_commands import safe_text

log = logging.getLogger(__name__)

DID_VARIABLE = "ESL_AGENT_DID"
#: Calls under way that nobody has answered yet.
MAX_DIALLING = 500
#: Variables of one call: as many as one action has headers for.
MAX_VARIABLES = 60
#: Bytes of a variable's value: escaped they may be twice as many.
MAX_VALUE_BYTES = 400
#: Seconds beyond Asterisk's own ring timeout after which we end the call ourselves.
GRACE = 5.0
#: Seconds that the second of the two events of an end may come after the first.
SETTLE = 1.0

_NUMBER = re.compile(r"[+]?[0-9*#]{1,40}")
_TRUNK = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_ENDPOINT = re.compile(r"[A-Z][A-Za-z0-9]{1,15}/[A-Za-z0-9@._:*#+-]{1,160}")
_CALLER_ID = re.compile(r"[+]?[0-9]{0,20}")
_CONTEXT = re.compile(r"[A-Za-z0-9_-]{1,79}")
_EXTEN = re.compile(r"[A-Za-z0-9*#+._-]{1,79}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# Originate takes a Variable apart at its commas, brackets and quotes; a backslash before each keeps it (measured).
_SPECIAL = re.compile(r'([\\,"()\[\]])')


class AmiOutgoing:
    """One call that we make, until it is answered or fails."""

    def __init__(self, dialler: AmiDialler, on_news: OnNews) -> None:
        self.id = f"esl-agent-{secrets.token_hex(8)}"
        """Its channel's Uniqueid, chosen by us."""
        self.action_id = ""
        self._dialler = dialler
        self._client = dialler.client
        self._dial = AmiDial()
        self._on_news: OnNews | None = on_news
        self._timers: list[int] = []
        self._is_settling = False
        self._is_cancelled = False

    def dial(self, headers: list[tuple[str, str]], timeout: float) -> None:
        self._timers.append(self._client.deadlines.after(timeout + GRACE, self._overdue))
        self.action_id = self._client.send("Originate", [*headers, ("ChannelId", self.id)], self._queued)

    def cancel(self) -> None:
        """Nobody is called any more. Idempotent; does nothing once the last news was told."""
        if not self._dial.is_over:
            self._is_cancelled = True
            self.hang_up()
            self._tell(self._dial.fail("cancelled", ""))

    def hang_up(self) -> None:
        self._client.send("Hangup", [("Channel", self.id), ("Cause", "16")], _nobody)

    # What Asterisk tells

    def event(self, event: Message) -> None:
        if self._is_cancelled:
            if event.event != "Hangup":
                self.hang_up()  # it was cancelled before there was a channel
            return
        self._tell(self._dial.receive(event))
        if self._dial.is_unsettled and not self._is_settling:
            self._is_settling = True
            self._timers.append(self._client.deadlines.after(SETTLE, lambda: self._tell(self._dial.settle())))

    def ask_again(self) -> None:
        """News may have been missed: is there still a channel?"""
        self._client.gather("Status", [("Channel", self.id)], self._status)

    def _status(self, answer: list[Message] | LegError) -> None:
        if isinstance(answer, CommandRefused):  # No such channel
            self._tell(self._dial.fail("failed", "its end was missed while there was no connection to AMI"))
        elif isinstance(answer, list):
            for each in answer:
                if each.event == "Status":
                    self._tell(self._dial.receive(each))

    def _queued(self, answer: Message | LegError) -> None:
        if isinstance(answer, LegClosed):
            return  # lost after it was sent: perhaps it rings; ask_again tells, or the deadline
        if isinstance(answer, LegError):
            text = safe_text(str(answer))
            self.hang_up()  # one that Asterisk was slow to confirm
            self._client.deadlines.after(0.0, lambda: self._tell(self._dial.fail("failed", text)))

    def _overdue(self) -> None:
        self.hang_up()
        self._tell(self._dial.fail("no_answer", "Asterisk did not end it in time"))

    def _tell(self, news: list[OutboundNews]) -> None:
        on_news = self._on_news
        if self._dial.is_over and on_news is not None:
            self._on_news = None
            for timer in self._timers:
                self._client.deadlines.cancel(timer)
            self._timers.clear()
            if self._is_cancelled:
                self._client.deadlines.after(GRACE, lambda: self._dialler.forget(self))
            else:
                self._dialler.forget(self)
        for each in news:
            if on_news is not None:
                guarded(on_news, each)


class AmiDialler:
    """Make it before ``client.start``."""

    def __init__(self, client: AmiClient) -> None:
        self.client = client
        self._calls: dict[str, AmiOutgoing] = {}
        for name in ("DialState", "DialEnd", "DialBegin", "Hangup"):
            client.on_event(name, self._event)
        client.on_event("OriginateResponse", self._originated)
        client.on_connected(self._connected)

    def originate(self, call: CallOut, on_news: OnNews, *, context: str) -> AmiOutgoing:
        """Whoever answers is given to extension ``did`` of ``context``. The variables' values are put in one line and
        cut. Raises LegError for what cannot be dialled, and without a connection."""
        for what, text, pattern in (
            ("the number", call.number, _NUMBER),
            ("the trunk", call.trunk, _TRUNK),
        ):
            _check(what, text, pattern)
        return self.call(
            f"PJSIP/{call.number}@{call.trunk}",
            on_news,
            context=context,
            exten=call.did,
            caller_id=call.caller_id,
            timeout=call.timeout,
            variables={**call.variables, DID_VARIABLE: call.did},
        )

    def call(
        self,
        endpoint: str,
        on_news: OnNews,
        *,
        context: str,
        exten: str,
        caller_id: str = "",
        timeout: float = 45.0,
        variables: Mapping[str, str] | None = None,
    ) -> AmiOutgoing:
        """Call any ``endpoint`` (``PJSIP/1002``): whoever answers is given to extension ``exten``. Raises LegError."""
        for what, text, pattern in (
            ("the endpoint", endpoint, _ENDPOINT),
            ("the caller id", caller_id, _CALLER_ID),
            ("the context", context, _CONTEXT),
            ("the extension", exten, _EXTEN),
        ):
            _check(what, text, pattern)
        if not self.client.is_connected:
            raise LegError(f"{self.client.peer}: {self.client.trouble}")
        if len(self._calls) >= MAX_DIALLING:
            raise LegError(f"{len(self._calls)} calls are being dialled already")
        headers = [
            ("Channel", endpoint),
            ("Context", context),
            ("Exten", exten),
            ("Priority", "1"),
            ("Timeout", str(math.ceil(timeout * 1000))),
            ("Async", "true"),
            *([("CallerID", caller_id)] if caller_id else []),
            *_variables(variables or {}),
        ]
        outgoing = AmiOutgoing(self, on_news)
        self._calls[outgoing.id] = outgoing
        outgoing.dial(headers, timeout)
        return outgoing

    def forget(self, outgoing: AmiOutgoing) -> None:
        self._calls.pop(outgoing.id, None)

    def _event(self, event: Message) -> None:
        if self._calls:
            outgoing = self._calls.get(event.get("DestUniqueid") or event.get("Uniqueid"))
            if outgoing is not None:
                outgoing.event(event)

    def _originated(self, event: Message) -> None:
        for outgoing in list(self._calls.values()):
            if outgoing.action_id and outgoing.action_id == event.action_id:
                outgoing.event(event)

    def _connected(self) -> None:
        for outgoing in list(self._calls.values()):
            outgoing.ask_again()


def _check(what: str, text: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(text):
        raise LegError(f"{what} {text[:40]!r} cannot be dialled")


def _variables(variables: Mapping[str, str]) -> list[tuple[str, str]]:
    if len(variables) > MAX_VARIABLES:
        raise LegError(f"{len(variables)} variables; a call may have {MAX_VARIABLES}")
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise LegError(f"{name[:60]!r} is no name of a channel variable")
    return [("Variable", f"{name}={_escaped(value)}") for name, value in variables.items()]


def _escaped(value: str) -> str:
    return _SPECIAL.sub(r"\\\1", plain(value, MAX_VALUE_BYTES))


def _nobody(*_: object) -> None:
    """A channel that is gone already is what we want."""
