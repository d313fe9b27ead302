"""A pretend SIP telephone over UDP: it calls, is called, talks and notes what it hears. Lives on the hub.

    phone = SipPhone("127.0.0.1", ("127.0.0.1", 5060))
    call = phone.dial("5000", PretendCaller([Say("hello-world"), HangUp()]))
    call.wait_over(10)
    call.sound.heard()

Its peer is a real switch on loopback, where nothing is lost: it repeats no request. A switch that repeats its own is
answered again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event

from esl_agent.testing.caller import PretendCaller
from esl_agent.testing.rtp_sound import RtpSound
from esl_agent.testing.sip_words import Message, media_address, parse, response, sdp

_ANSWERABLE = ("OPTIONS", "INFO", "UPDATE", "NOTIFY")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a telephone does when it is called: ``steps`` are (seconds since the call came, status to send).

    180 and 183 come before the end; 183 brings sound. 200 answers; 300 and above refuse. Without either it rings on.
    """

    steps: tuple[tuple[float, int], ...] = ((0.0, 180), (0.1, 200))
    caller: Callable[[], PretendCaller] | None = None


class SipCall:
    """One call of a telephone. ``facts``: (when, what, detail), such as ``(4.2, "got", "183")``."""

    def __init__(self, phone: SipPhone, call_id: str, local: str, remote: str, caller: PretendCaller | None) -> None:
        self.id = call_id
        self.status = 0
        """The last status that was got or sent for the INVITE."""
        self.facts: list[tuple[float, str, str]] = []
        self.sound = RtpSound(phone.host, caller, self.hang_up)
        self.up, self.over = Event(), Event()
        self._phone = phone
        self._local, self._remote = local, remote
        self._target = ""
        self._cseq = 1
        self._branch = ""

    @property
    def is_up(self) -> bool:
        return self.up.is_set() and not self.over.is_set()

    def at(self, what: str, detail: str = "") -> float | None:
        """When it happened first; None if it did not."""
        return next((when for when, *fact in self.facts if fact[0] == what and detail in fact[1]), None)

    def wait_up(self, seconds: float) -> bool:
        return bool(self.up.wait(seconds))

    def wait_over(self, seconds: float) -> bool:
        return bool(self.over.wait(seconds))

    def hang_up(self) -> None:
        """BYE, or CANCEL for a call of ours that nobody has answered."""
        if self.over.is_set():
            return
        if self.up.is_set():
            self._request("BYE")
            self._finish("sent", "BYE")
        else:
            self._request("CANCEL")

    # What the telephone gives us

    def invite(self, target: str) -> None:
        self._target = target
        self._branch = _token()
        self.note("sent", "INVITE")
        self._request("INVITE", sdp(self._phone.host, self.sound.port))

    def got_response(self, message: Message) -> None:
        if message.method != "INVITE":
            return
        self.status = message.status
        self.note("got", str(message.status))
        if message.status < 200:
            if "m=audio" in message.body:
                self.sound.start(media_address(message.body))
            return
        self._remote = message.get("To")
        if message.status < 300:
            self._target = message.get("Contact").strip("<>").partition(">")[0]
            self._request("ACK")
            self.sound.start(media_address(message.body))
            self.up.set()
        else:
            self._request("ACK")
            self._finish("refused", str(message.status))

    def got_request(self, message: Message) -> None:
        phone = self._phone
        if message.method == "BYE":
            phone.send(response(message, 200))
            self._finish("got", f"BYE {message.get('Reason')}")
        elif message.method == "INVITE":  # again: the sound stays where it is
            phone.send(response(message, 200, contact=phone.contact, body=sdp(phone.host, self.sound.port)))
        elif message.method in _ANSWERABLE:
            phone.send(response(message, 200))
        elif message.method != "ACK":
            phone.send(response(message, 405))

    def note(self, what: str, detail: str) -> None:
        self.facts.append((time.monotonic(), what, detail))

    def answer(self, invite: Message, answer: Answer) -> None:
        """Run ``answer``'s steps."""
        self._target = invite.get("Contact").strip("<>").partition(">")[0]
        tag = self._local.partition("tag=")[2]
        began = time.monotonic()
        for due, status in answer.steps:
            gevent.sleep(max(0.0, began + due - time.monotonic()))
            if self.over.is_set():
                return
            body = sdp(self._phone.host, self.sound.port) if status in (183, 200) else ""
            self.status = status
            self.note("sent", str(status))
            self._phone.send(response(invite, status, tag, self._phone.contact, body=body))
            if body:
                self.sound.start(media_address(invite.body))
            if status >= 300:
                self._finish("refused", str(status))
        if self.status == 200:
            self.up.set()

    def cancelled(self, invite: Message, cancel: Message) -> None:
        self._phone.send(response(cancel, 200))
        self._phone.send(response(invite, 487, self._local.partition("tag=")[2]))
        self._finish("got", "CANCEL")

    def _finish(self, what: str, detail: str) -> None:
        if not self.over.is_set():
            self.note(what, detail)
            self.sound.close()
            self.over.set()

    def _request(self, method: str, body: str = "") -> None:
        phone = self._phone
        again = method in ("ACK", "CANCEL")  # these belong to the INVITE
        if not again and method != "INVITE":
            self._cseq += 1
        branch = self._branch if again and self.status != 200 else _token()
        if method == "INVITE":
            branch = self._branch
        headers = [
            ("Via", f"SIP/2.0/UDP {phone.host}:{phone.port};branch=z9hG4bK{branch};rport"),
            ("Max-Forwards", "70"),
            ("From", self._local),
            ("To", self._remote),
            ("Call-ID", self.id),
            ("CSeq", f"{1 if again else self._cseq} {method}"),
            ("Contact", phone.contact),
        ]
        if body:
            headers.append(("Content-Type", "application/sdp"))
        phone.send(Message(f"{method} {self._target} SIP/2.0", tuple(headers), body))


class SipPhone:
    """``answers``: what it does when it is called, by the number called; ``""`` is for any other."""

    def __init__(
        self,
        host: str,
        switch: tuple[str, int],
        *,
        number: str = "4915550001",
        name: str = "Pretend Phone",
        port: int = 0,
        answers: Mapping[str, Answer] | None = None,
    ) -> None:
        self.host = host
        self.number, self.name = number, name
        self.answers = dict(answers or {"": Answer()})
        self.calls: list[SipCall] = []
        self._switch = switch
        self._sock: Any = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((host, port))
        self.port = int(self._sock.getsockname()[1])
        self.contact = f"<sip:{number}@{host}:{self.port}>"
        self._invites: dict[str, Message] = {}
        self._reader = gevent.spawn(self._read)

    def dial(self, number: str, caller: PretendCaller | None = None) -> SipCall:
        """Call ``number`` at the switch; the call is under way when this returns."""
        host, port = self._switch
        target = f"sip:{number}@{host}:{port}"
        local = f'"{self.name}" <sip:{self.number}@{self.host}>;tag={_token()}'
        call = SipCall(self, f"{_token()}@{self.host}", local, f"<{target}>", caller)
        self.calls.append(call)
        call.invite(target)
        return call

    def called(self, seconds: float = 5.0, number: str = "") -> SipCall | None:
        """The first call that came (to ``number``), waited for; None: there was none."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, invite in self._invites.items():
                if number in ("", invite.user):
                    return next(call for call in self.calls if call.id == key)
            gevent.sleep(0.01)
        return None

    def send(self, message: Message) -> None:
        self._sock.sendto(message.encode(), self._switch)

    def close(self) -> None:
        """Hangs up what is left."""
        for call in self.calls:
            call.hang_up()
            call.sound.close()
        self._reader.kill()
        self._sock.close()

    def _read(self) -> None:
        while True:
            data = self._sock.recv(65535)
            try:
                message = parse(data)
            except ValueError:  # a keep-alive, or meant for who had the port before
                continue
            self._take(message)

    def _take(self, message: Message) -> None:
        key = message.get("Call-ID")
        call = next((each for each in self.calls if each.id == key), None)
        if message.status:
            if call is not None:
                call.got_response(message)
        elif message.method == "CANCEL" and call is not None and key in self._invites:
            call.cancelled(self._invites[key], message)
        elif call is not None:
            if not (message.method == "INVITE" and not call.up.is_set()):  # the switch repeats itself
                call.got_request(message)
        elif message.method == "INVITE":
            self._ring(key, message)
        elif message.method != "ACK":
            self.send(response(message, 200 if message.method in _ANSWERABLE else 481))

    def _ring(self, key: str, invite: Message) -> None:
        answer = self.answers.get(invite.user) or self.answers.get("") or Answer(((0.0, 404),))
        local = f"{invite.get('To')};tag={_token()}"
        caller = answer.caller() if answer.caller else None
        call = SipCall(self, key, local, invite.get("From"), caller)
        call.note("got", f"INVITE {invite.user}")
        self.calls.append(call)
        self._invites[key] = invite
        gevent.spawn(call.answer, invite, answer)


def _token() -> str:
    return secrets.token_hex(8)
