"""The bytes of FreeSWITCH's event socket, seen from FreeSWITCH: commands in, replies and events out. Pure.

Source: captures of FreeSWITCH 1.11.3-dev. Replies begin with ``Content-Type``, event frames with ``Content-Length``;
only ``connect``'s reply and the bodies of plain events are URL-encoded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

import orjson

Format = Literal["plain", "json"]
Headers = list[tuple[str, str]]

#: Bytes of one command, headers and body, beyond which the peer is broken.
MAX_COMMAND_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its first line, the header lines below it (names in lower case) and its body."""

    line: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    @property
    def verb(self) -> str:
        return self.line.split(" ", 1)[0].lower()

    @property
    def argument(self) -> str:
        return self.line.partition(" ")[2].strip()


class CommandReader:
    """Bytes to commands: LF or CRLF, blank lines between commands, several or half of one in a piece.

    ``is_partial`` is true while a command has begun and not ended; FreeSWITCH then delivers no events.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    @property
    def is_partial(self) -> bool:
        return bool(self._rest)

    def feed(self, data: bytes) -> list[Command]:
        """Every command completed by ``data``. ValueError if one is larger than ``MAX_COMMAND_BYTES``."""
        rest = (self._rest + data).replace(b"\r\n", b"\n")
        commands = []
        while True:
            rest = rest.lstrip(b"\n")
            head, blank, after = rest.partition(b"\n\n")
            if not blank:
                break
            command = _parse(head)
            length = int(command.headers.get("content-length", "0") or 0)
            if len(after) < length:
                break
            body, rest = after[:length].decode("utf-8", "replace"), after[length:]
            commands.append(Command(command.line, command.headers, body))
        if len(rest) > MAX_COMMAND_BYTES:
            raise ValueError(f"event socket: a command of more than {MAX_COMMAND_BYTES} bytes without an end")
        self._rest = rest
        return commands


def _parse(head: bytes) -> Command:
    first, *lines = head.decode("utf-8", "replace").split("\n")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return Command(first.strip(), headers)


def encode(value: str) -> str:
    """URL encoding as FreeSWITCH does it: ``,`` ``/`` ``(`` ``)`` stay, ``:`` ``@`` ``+`` space and UTF-8 do not."""
    return quote(value, safe="!$'()*,/~")


def encoded_lines(headers: Headers) -> bytes:
    """``Name: value`` lines with URL-encoded values."""
    return "".join(f"{name}: {encode(value)}\n" for name, value in headers).encode()


def reply(text: str, extra: Headers | None = None) -> bytes:
    """A ``command/reply``. Not URL-encoded."""
    lines = "".join(f"{name}: {value}\n" for name, value in extra or [])
    return f"Content-Type: command/reply\nReply-Text: {text}\n{lines}\n".encode()


def api_response(body: str) -> bytes:
    raw = body.encode()
    return b"Content-Type: api/response\nContent-Length: %d\n\n%s" % (len(raw), raw)


def connect_reply(channel: Headers, is_full: bool = True) -> bytes:
    """The answer to ``connect``: a block without Content-Length, every value URL-encoded, also the protocol's own."""
    control = "full" if is_full else "single-channel"
    tail = [("Content-Type", "command/reply"), ("Reply-Text", "+OK\n"), ("Socket-Mode", "async"), ("Control", control)]
    return encoded_lines(channel + tail) + b"\n"


def fragment(headers: Headers, form: Format) -> bytes:
    """A run of headers as it stands inside an event of format ``form``. Fragments can be kept and joined."""
    return encoded_lines(headers) if form == "plain" else orjson.dumps(dict(headers))[1:-1]


def event_frame(fragments: list[bytes], body: str, form: Format) -> bytes:
    """One event. Plain: URL-encoded header lines, an inner body raw and counted inside. JSON: all values strings and
    not URL-encoded, a body as ``_body``; repeated names stay repeated."""
    raw = body.encode()
    if form == "plain":
        inner = b"".join(fragments) + (b"Content-Length: %d\n\n%s" % (len(raw), raw) if raw else b"\n")
    else:
        tail = [fragment([("Content-Length", str(len(raw))), ("_body", body)], form)] if raw else []
        inner = b"{" + b",".join(piece for piece in fragments + tail if piece) + b"}"
    return b"Content-Length: %d\nContent-Type: text/event-%s\n\n%s" % (len(inner), form.encode(), inner)


def disconnect_notice(uuid: str) -> bytes:
    """The last words before FreeSWITCH closes the socket."""
    body = "Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
    return (
        f"Content-Type: text/disconnect-notice\nControlled-Session-UUID: {uuid}\n"
        f"Content-Disposition: disconnect\nContent-Length: {len(body)}\n\n{body}"
    ).encode()


def linger_notice(uuid: str, channel_name: str, seconds: int) -> bytes:
    """Says that the call is over and the socket stays; ``seconds`` -1: until ``exit``."""
    return (
        f"Content-Type: text/disconnect-notice\nControlled-Session-UUID: {uuid}\nContent-Disposition: linger\n"
        f"Channel-Name: {channel_name}\nLinger-Time: {seconds}\nContent-Length: 0\n\n"
    ).encode()
