"""SIP messages (RFC 3261) and the SDP of a call with one G.711 stream, as a pretend telephone needs them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: RFC 4733 keys; any dynamic number would do.
KEYS = 101
_REASONS = {
    100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 404: "Not Found", 405: "Method Not Allowed",
    480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 486: "Busy Here",
    487: "Request Terminated", 503: "Service Unavailable", 603: "Decline",
}  # fmt: skip
_ADDRESS = re.compile(r"c=IN IP4 (\S+)")
_AUDIO = re.compile(r"m=audio (\d+)")
#: Compact forms (RFC 3261 7.3.3) of the headers that are looked for.
_COMPACT = {"i": "call-id", "m": "contact", "f": "from", "t": "to", "v": "via", "l": "content-length"}


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response. Header names compare without case; the order stays."""

    first: str
    headers: tuple[tuple[str, str], ...]
    body: str = ""

    @property
    def status(self) -> int:
        """A response's code; 0: this is a request."""
        return int(self.first[8:11]) if self.first.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """What a request asks; of a response, what it answers."""
        return self.get("CSeq").partition(" ")[2] if self.status else self.first.partition(" ")[0]

    @property
    def user(self) -> str:
        """Whom a request is for: the user of its URI."""
        return self.first.partition(" ")[2].partition("@")[0].removeprefix("sip:")

    def get(self, name: str) -> str:
        return next(iter(self.all(name)), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def encode(self) -> bytes:
        body = self.body.encode()
        lines = [self.first, *(f"{name}: {value}" for name, value in self.headers), f"Content-Length: {len(body)}"]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def parse(data: bytes) -> Message:
    """One datagram. ValueError for what is no SIP message."""
    head, blank, body = data.decode("utf-8", "replace").partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    if not blank or not re.fullmatch(r"SIP/2\.0 \d{3} .*|[A-Z]+ \S+ SIP/2\.0", first):
        raise ValueError(f"no SIP message: {first[:80]!r}")
    headers = []
    for line in lines:
        name, _, value = line.partition(":")
        name = name.strip()
        headers.append((_COMPACT.get(name.lower(), name), value.strip()))
    return Message(first, tuple(header for header in headers if header[0].lower() != "content-length"), body)


def response(request: Message, status: int, tag: str = "", contact: str = "", body: str = "") -> Message:
    """The answer to ``request``; ``tag`` is ours, put to ``To`` where there is none."""
    to = request.get("To")
    if tag and ";tag=" not in to:
        to = f"{to};tag={tag}"
    headers = [("Via", via) for via in request.all("Via")]
    headers += [("From", request.get("From")), ("To", to), ("Call-ID", request.get("Call-ID"))]
    headers.append(("CSeq", request.get("CSeq")))
    if contact:
        headers.append(("Contact", contact))
    if body:
        headers.append(("Content-Type", "application/sdp"))
    return Message(f"SIP/2.0 {status} {_REASONS.get(status, 'Whatever')}", tuple(headers), body)


def sdp(host: str, port: int) -> str:
    """An offer or answer: PCMU, 20 ms, keys as RFC 4733."""
    return (
        f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 {KEYS}\r\n"
        f"a=rtpmap:0 PCMU/8000\r\na=rtpmap:{KEYS} telephone-event/8000\r\na=fmtp:{KEYS} 0-16\r\na=ptime:20\r\n"
        "a=sendrecv\r\n"
    )


def media_address(body: str) -> tuple[str, int]:
    """Where the other side wants its sound. ValueError if it does not say."""
    host, port = _ADDRESS.search(body), _AUDIO.search(body)
    if host is None or port is None:
        raise ValueError(f"no sound in this SDP: {body[:200]!r}")
    return host.group(1), int(port.group(1))
