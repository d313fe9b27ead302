"""The event socket: bytes from FreeSWITCH -> frames.

    Parser.feed(bytes) -> [Reply | Event | Disconnect | AuthRequest | Unknown]

A frame is a block of ``Name: value`` lines ended by an empty line; a ``Content-Length`` says how many bytes of body
follow. Laws:

1. How the bytes were cut into pieces changes nothing.
2. Headers are split first and percent-decoded once, and only where FreeSWITCH encodes them: in the answer to
   ``connect`` and inside ``text/event-plain``. Only LF ends a line. A body is bytes and is never read as headers.
3. The first of two headers of the same name counts, as in FreeSWITCH's own ``switch_event_get_header``. In JSON the
   last one counts; CHANNEL_HANGUP_COMPLETE, the only event seen with a double (``Hangup-Cause``), has the same value
   in both.
4. Nonsense is a ``WireError`` and nothing else; after one the parser answers nothing but that error.

Source: mod_event_socket.c ``read_packet``, ``parse_command``; switch_event.c ``switch_event_serialize`` and
``switch_event_serialize_json_obj``; captures in tests/corpus/esl.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

import orjson

from esl_agent.errors import WireError


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one frame may hold. A SIP call's ``connect`` answer has 165 headers in 6.5 kB, an event 5-9 kB."""

    header_bytes: int = 256 * 1024
    headers: int = 2000
    body_bytes: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one command: ``command/reply`` or ``api/response``.

    ``text`` is the Reply-Text, or the api body as text without its last newline; ``body`` the raw api body.
    The answer to ``connect`` is a Reply whose ``headers`` are the decoded channel data.
    """

    text: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """False for ``-ERR ...`` and ``-USAGE ...``."""
        return not self.text.startswith(("-ERR", "-USAGE"))

    @property
    def data(self) -> str:
        """``text`` under the name greenswitch gives it."""
        return self.text


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened. ``headers`` keep FreeSWITCH's spelling; a value that was empty is ``""``.

    ``subclass`` is the Event-Subclass of a CUSTOM event, else ``""``; ``body`` the bytes after the headers.
    """

    name: str
    subclass: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def data(self) -> str:
        """The body as text, under the name greenswitch gives it."""
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Disconnect:
    """``text/disconnect-notice`` or ``text/rude-rejection``.

    With ``lingering`` the socket stays open and events may still follow, CHANNEL_HANGUP among them.
    """

    lingering: bool
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """An inbound connection must send ``auth`` now."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A well-formed frame of a kind we never ask for (``log/data``, ``text/event-xml``)."""

    content_type: str
    headers: Mapping[str, str]
    body: bytes = b""


Frame = Reply | Event | Disconnect | AuthRequest | Unknown


class Parser:
    """One connection's bytes in, frames out. Holds at most one unfinished frame."""

    __slots__ = ("_body_bytes", "_buffer", "_headers", "_limits", "_scanned", "error")

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer known to hold no end of the header block
        self._headers: dict[str, str] | None = None  # of the frame whose body is awaited
        self._body_bytes = 0
        self.error = ""
        """Why the stream makes no sense any more; look after each ``feed``: frames before the nonsense are returned.
        Its words: the error itself would keep every frame it came through, and the connection."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by ``data``. Raises WireError for nonsense, once the frames before it were returned."""
        if self.error:
            raise WireError(self.error)
        self._buffer += data
        frames: list[Frame] = []
        try:
            while (frame := self._next()) is not None:
                frames.append(frame)
        except WireError as error:
            self.error = str(error)
            self._buffer.clear()
            if not frames:
                raise
        return frames

    def eof(self) -> None:
        """The stream ended. Raises WireError when it ended inside a frame."""
        if self.error:
            raise WireError(self.error)
        if self._headers is not None:
            raise WireError(
                f"the event socket ended inside a body: {self._body_bytes} bytes were announced, "
                f"{len(self._buffer)} came"
            )
        if self._buffer:
            raise WireError(f"the event socket ended inside a header block, after {bytes(self._buffer[:80])!r}")

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if self._headers is None:
            if buffer.startswith(b"\n"):
                del buffer[: len(buffer) - len(buffer.lstrip(b"\n"))]
            end = buffer.find(b"\n\n", max(0, self._scanned - 1))
            if (len(buffer) if end < 0 else end) > self._limits.header_bytes:
                raise WireError(f"an event socket header block is longer than {self._limits.header_bytes} bytes")
            if end < 0:
                self._scanned = len(buffer)
                return None
            block = bytes(buffer[:end])
            del buffer[: end + 2]
            self._scanned = 0
            headers = _outer(block, self._limits)
            length = _length(headers, self._limits.body_bytes)
            if not length:
                return _frame(headers, b"", self._limits)
            self._headers, self._body_bytes = headers, length
        if len(buffer) < self._body_bytes:
            return None
        body = bytes(buffer[: self._body_bytes])
        del buffer[: self._body_bytes]
        headers, self._headers = self._headers, None
        return _frame(headers, body, self._limits)


def _frame(headers: dict[str, str], body: bytes, limits: Limits) -> Frame:
    kind = headers.get("Content-Type")
    if kind == "text/event-json":
        return _json_event(body)
    if kind == "text/event-plain":
        return _plain_event(body, limits)
    if kind == "command/reply":
        text = headers.get("Reply-Text")
        if text is None:
            raise WireError("an event socket reply has no Reply-Text")
        return Reply(text.rstrip("\n"), headers, body)
    if kind == "api/response":
        text = body.decode("utf-8", "replace")
        return Reply(text.removesuffix("\n"), headers, body)
    if kind == "text/disconnect-notice":
        return Disconnect(headers.get("Content-Disposition") == "linger", headers, body)
    if kind == "text/rude-rejection":
        return Disconnect(False, headers, body)
    if kind == "auth/request":
        return AuthRequest()
    if kind is None:
        raise WireError(f"an event socket block has no Content-Type; it begins {dict(list(headers.items())[:2])!r}")
    return Unknown(kind, headers, body)


def _outer(block: bytes, limits: Limits) -> dict[str, str]:
    """The headers of a frame. Plain text, but for the answer to ``connect``, where every value is encoded."""
    if block.startswith(b"Event-Name:"):
        return _encoded(block, limits)
    headers: dict[str, str] = {}
    name = ""
    extends = False
    for line in _lines(block, limits):
        head, colon, value = line.partition(":")
        # `getvar` answers a variable as it is: a line that is no header goes on with the last one.
        if colon and " " not in head:
            name, extends = head, head not in headers
            if extends:
                headers[name] = value.removeprefix(" ")
        elif not name:
            raise WireError(f"an event socket block begins {line[:80]!r}; expected 'Name: value'")
        elif extends:
            headers[name] += "\n" + line
    return headers


def _encoded(block: bytes, limits: Limits) -> dict[str, str]:
    """``Name: value`` lines with percent-encoded values; ``_undef_`` is how an empty value is written."""
    headers: dict[str, str] = {}
    for line in _lines(block, limits):
        name, colon, value = line.partition(": ")
        if not colon:
            raise WireError(f"an event socket header is {line[:80]!r}; expected 'Name: value'")
        if name not in headers:
            headers[name] = unquote(value) if "%" in value else "" if value == "_undef_" else value
    return headers


def _lines(block: bytes, limits: Limits) -> list[str]:
    lines = block.decode("utf-8", "replace").split("\n")
    if len(lines) > limits.headers:
        raise WireError(f"an event socket block has {len(lines)} headers; at most {limits.headers} are allowed")
    return lines


def _length(headers: Mapping[str, str], most: int) -> int:
    text = headers.get("Content-Length", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise WireError(f"an event socket Content-Length is {text[:80]!r}; expected a number of bytes")
    if int(text) > most:
        raise WireError(f"an event socket body of {int(text)} bytes is announced; at most {most} are allowed")
    return int(text)


def _plain_event(data: bytes, limits: Limits) -> Event:
    block, _, body = data.partition(b"\n\n")
    block = block.rstrip(b"\n")
    if not block:
        raise WireError("a text/event-plain frame has no headers")
    if len(block) > limits.header_bytes:
        raise WireError(f"an event's headers are longer than {limits.header_bytes} bytes")
    headers = _encoded(block, limits)
    length = _length(headers, limits.body_bytes)
    if length > len(body):
        raise WireError(f"an event announces a body of {length} bytes and holds {len(body)}")
    return _event(headers, body[:length])


def _json_event(data: bytes) -> Event:
    try:
        headers = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:  # a Latin-1 caller name is passed on as it came
            headers = orjson.loads(data.decode("utf-8", "replace"))
        except orjson.JSONDecodeError as error:
            raise WireError(f"a text/event-json frame is not JSON: {error}") from None
    if not isinstance(headers, dict):
        raise WireError(f"a text/event-json frame holds a {type(headers).__name__}; expected an object")
    body = headers.pop("_body", "")
    if set(map(type, headers.values())) != {str}:
        headers = {name: _json_text(value) for name, value in headers.items()}
    return _event(headers, _json_text(body).encode("utf-8", "replace"))


def _json_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):  # a variable set with `push`; in plain events it is written ARRAY::a|:b
        return "ARRAY::" + "|:".join(map(str, value))
    if value is None or isinstance(value, dict):
        raise WireError(f"a value of a text/event-json frame is a {type(value).__name__}; expected text")
    return str(value)


def _event(headers: dict[str, str], body: bytes) -> Event:
    name = headers.get("Event-Name")
    if name is None:
        raise WireError("an event has no Event-Name")
    return Event(name, headers.get("Event-Subclass", "") if name == "CUSTOM" else "", headers, body)
