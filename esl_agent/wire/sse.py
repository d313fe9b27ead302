"""Server-sent events (WHATWG HTML, 9.2): bytes in any pieces -> events, and lines of JSON (NDJSON) the same way.

Characters, line ends and events may be split anywhere. Line ends are LF, CRLF or CR. Comments, ``id`` and ``retry``
are dropped, as a client that does not reconnect may.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from esl_agent.errors import WireError

#: The largest line, and the largest event of several lines: sound in base64 comes in tens of kilobytes.
MAX_LINE = 4 * 1024 * 1024
MAX_EVENT = 8 * 1024 * 1024

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """``name`` is ``message`` where the server gave none."""

    data: str
    name: str = "message"


class Lines:
    """Text lines from UTF-8 bytes. Raises WireError for a line over the limit; broken UTF-8 becomes U+FFFD."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._max_line = max_line
        self._parts: list[str] = []
        self._size = 0
        self._is_after_cr = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes, without their ends."""
        return self._cut(self._decoder.decode(data))

    def end(self) -> str:
        """What came after the last line end; half a character there becomes U+FFFD."""
        self._cut(self._decoder.decode(b"", final=True))
        rest = "".join(self._parts)
        self._parts, self._size = [], 0
        return rest

    def _cut(self, text: str) -> list[str]:
        if text and self._is_after_cr:
            self._is_after_cr = False
            text = text.removeprefix("\n")
        if not text:
            return []
        self._is_after_cr = text[-1] == "\r"
        lines = _LINE_END.split(text) if "\r" in text else text.split("\n")
        rest = lines.pop()
        if lines:
            lines[0] = "".join([*self._parts, lines[0]])
            self._parts, self._size = [], 0
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
        if self._size > self._max_line or any(len(line) > self._max_line for line in lines):
            raise WireError(f"a line of more than {self._max_line} characters")
        return lines


class ServerEvents:
    """Events from bytes. An event that the stream ends in the middle of is dropped, as the standard has it."""

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._lines = Lines()
        self._max_event = max_event
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that ``data`` completes. Raises WireError for one over the limit."""
        found = []
        for line in self._lines.feed(data):
            if not line:
                if self._data:
                    found.append(ServerEvent("\n".join(self._data), self._name or "message"))
                self._name, self._data, self._size = "", [], 0
                continue
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                self._data.append(value)
                self._size += len(value)
                if self._size > self._max_event:
                    raise WireError(f"an event of more than {self._max_event} characters")
            elif field == "event":
                self._name = value
        return found

    def end(self) -> list[ServerEvent]:
        """At the end of the stream: an event that only lacks its empty line counts, because servers forget it."""
        return self.feed(b"\n\n")
