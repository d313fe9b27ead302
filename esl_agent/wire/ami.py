"""Asterisk's manager interface: bytes in any pieces -> messages, actions -> bytes (``manager.c``, 22.10.1).

The server opens with one line, its banner; then both sides send blocks of ``Key: value`` lines that end in CRLF, closed
by an empty line. A key may come more than once (``Variable``, ``ChanVariable``, ``Output``). There is no escaping: a
CR LF within a value is another header, so ``action`` refuses it, and what outsiders may have put into a *received*
value (a channel variable that holds CR LF) can look like further headers, never like an earlier one: ``get`` gives the
first. One event, ``OriginateResponse``, carries ``Event``, ``Response`` and ``ActionID`` at once: it is an event.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from esl_agent.errors import UnsafeText, WireError

BANNER = b"Asterisk Call Manager"
#: Asterisk refuses a line of 1024 bytes and more ("line too long", measured) and drops what follows the 128th header.
MAX_SENT_LINE = 1000
MAX_SENT_HEADERS = 100

_MAX_BANNER = 256
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_NAME = re.compile(r"[A-Za-z]{1,40}")
_BREAK = re.compile(r"[\r\n\0]")
_ESCAPED = re.compile(r"\\([abfnrtv\\'\"?])")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Limits:
    """The most a server may send. ``Status`` with all variables is one block: 50 variables of 1 kB are 50 kB. One may
    be as long as whoever set it liked (ARI, CURL): it shall not cost all calls their connection."""

    line_bytes: int = 512 * 1024
    block_bytes: int = 1024 * 1024
    headers: int = 4096


@dataclass(frozen=True, slots=True)
class Message:
    """One block. Keys and values are outside text; values have lost the space after the colon, nothing else."""

    headers: tuple[tuple[str, str], ...]

    def get(self, key: str, default: str = "") -> str:
        """The first value of ``key``, as it is written."""
        for name, value in self.headers:
            if name == key:
                return value
        return default

    def all(self, key: str) -> list[str]:
        """Every value of ``key``, in order."""
        return [value for name, value in self.headers if name == key]

    @property
    def event(self) -> str:
        """The event's name; empty for a response. Ask this before ``response``."""
        return self.get("Event")

    @property
    def response(self) -> str:
        """``Success``, ``Error``, ``Goodbye`` ...; empty for an event."""
        return "" if self.event else self.get("Response")

    @property
    def action_id(self) -> str:
        return self.get("ActionID")


class Parser:
    """Messages from bytes. ``banner`` is None until the first line has come."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.banner: str | None = None
        self._limits = limits or Limits()
        self._buffer = bytearray()
        self._searched = 0  # no empty line ends before this offset

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes. Raises WireError for what is no AMI and what is over a limit; the
        parser is of no use after that."""
        self._buffer += data
        if self.banner is None and not self._take_banner():
            return []
        found = []
        begin = 0
        while (end := self._buffer.find(b"\r\n\r\n", max(begin, self._searched))) >= 0:
            if end > begin:
                found.append(self._message(bytes(self._buffer[begin:end])))
            begin = end + 4
            self._searched = begin
        del self._buffer[:begin]
        self._searched = max(0, len(self._buffer) - 3)
        self._check_rest()
        return found

    def eof(self) -> None:
        """The server closed. Raises WireError if that was in the middle of a message."""
        if self._buffer:
            raise WireError(f"the connection ended within a message of {len(self._buffer)} bytes so far")

    def _take_banner(self) -> bool:
        end = self._buffer.find(b"\n")
        line = bytes(self._buffer if end < 0 else self._buffer[:end])
        begins = BANNER.startswith(line) if end < 0 and len(line) < len(BANNER) else line.startswith(BANNER)
        if not begins or len(line) > _MAX_BANNER:
            raise WireError(f"this is no Asterisk manager interface: it begins with {line[:60]!r}")
        if end < 0:
            return False
        self.banner = line.decode("utf-8", "replace").strip()
        del self._buffer[: end + 1]
        return True

    def _check_rest(self) -> None:
        size = len(self._buffer)
        if size > self._limits.block_bytes:
            raise WireError(f"a message of more than {self._limits.block_bytes} bytes")
        if size > self._limits.line_bytes and len(self._buffer.rpartition(b"\r\n")[2]) > self._limits.line_bytes:
            raise WireError(f"a line of more than {self._limits.line_bytes} bytes")

    def _message(self, block: bytes) -> Message:
        if len(block) > self._limits.block_bytes:
            raise WireError(f"a message of more than {self._limits.block_bytes} bytes")
        lines = block.split(b"\r\n")
        if len(lines) > self._limits.headers:
            raise WireError(f"a message of more than {self._limits.headers} headers")
        headers = []
        for line in lines:
            if len(line) > self._limits.line_bytes:
                raise WireError(f"a line of more than {self._limits.line_bytes} bytes")
            key, colon, value = line.decode("utf-8", "replace").partition(":")
            if colon:  # a line without one is the rest of a value with CR LF in it
                headers.append((key, value.removeprefix(" ")))
        return Message(tuple(headers))


def unescaped(name: str) -> str:
    """A caller's name as it was given: ``CallerIDName``, alone of what we read, is written as C writes it (``utils.c``,
    ``ast_escape_c``): O\\'Brien. A line break in it is one again."""
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), name)


def action(name: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """One action, to be written at once. Raises UnsafeText for a key that is none, for CR, LF and NUL in a value, and
    for more than Asterisk takes."""
    if not _NAME.fullmatch(name):
        raise UnsafeText(f"{name[:60]!r} is no name of an action")
    lines = [_line("Action", name)]
    for key, value in headers:
        if key == "Action":
            raise UnsafeText("an action has one Action header")
        lines.append(_line(key, value))
    if len(lines) > MAX_SENT_HEADERS:
        raise UnsafeText(f"{name} has {len(lines)} headers; Asterisk takes {MAX_SENT_HEADERS}")
    return b"".join(lines) + b"\r\n"


def _line(key: str, value: str) -> bytes:
    if not _KEY.fullmatch(key):
        raise UnsafeText(f"{key[:60]!r} is no header of an action")
    if found := _BREAK.search(value):
        raise UnsafeText(f"{key} holds {found[0]!r} at character {found.start()}; it would begin another header")
    try:
        line = f"{key}: {value}\r\n".encode()
    except UnicodeEncodeError as error:
        raise UnsafeText(f"{key} holds a lone surrogate at character {error.start}") from None
    if len(line) > MAX_SENT_LINE:
        raise UnsafeText(f"{key} is a line of {len(line)} bytes; Asterisk takes {MAX_SENT_LINE}")
    return line
