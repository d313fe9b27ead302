"""What Asterisk's chan_websocket and its peer tell each other in text messages, as JSON or in plain words.

Sound goes in binary messages beside them.

Sources: chan_websocket.c (22.10.1), and the lines that one really sent (tests/pure/test_chan_websocket.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from esl_agent.audio.pcm import SoundFormat
from esl_agent.errors import WireError
from esl_agent.wire import outside_json

#: A longer command is logged by Asterisk and otherwise ignored.
MAX_COMMAND_BYTES = 128
#: A longer message ends the call with 1009.
MAX_SOUND_BYTES = 65280
#: Of an event. MEDIA_START brings the channel variables and is by far the longest.
MAX_EVENT_CHARS = 65536
#: Channel variables taken from MEDIA_START, and characters of each.
MAX_VARIABLES, MAX_VALUE_CHARS = 200, 4096
#: Characters of every other value.
MAX_WORD_CHARS = 256

#: Formats that a call may have, with their samples a second. G.711 has a byte a sample, the others two.
RATES = {
    "slin": 8000,
    "slin12": 12000,
    "slin16": 16000,
    "slin24": 24000,
    "slin32": 32000,
    "slin48": 48000,
    "ulaw": 8000,
    "alaw": 8000,
}

#: Milliseconds of a frame: slin and G.711 have no other in Asterisk.
PTIME = 20

_CORRELATION = re.compile(r"[A-Za-z0-9-]{1,40}")
_KEYS = frozenset("0123456789*#ABCDabcd")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Command(str, Enum):
    """What Asterisk can be asked to do. FLUSH_MEDIA forgets marks and ends buffering, too."""

    ANSWER = "ANSWER"
    HANGUP = "HANGUP"
    START_MEDIA_BUFFERING = "START_MEDIA_BUFFERING"
    STOP_MEDIA_BUFFERING = "STOP_MEDIA_BUFFERING"
    MARK_MEDIA = "MARK_MEDIA"
    FLUSH_MEDIA = "FLUSH_MEDIA"
    GET_STATUS = "GET_STATUS"
    REPORT_QUEUE_DRAINED = "REPORT_QUEUE_DRAINED"
    PAUSE_MEDIA = "PAUSE_MEDIA"
    CONTINUE_MEDIA = "CONTINUE_MEDIA"


_WITH_ID = (Command.STOP_MEDIA_BUFFERING, Command.MARK_MEDIA)


def command(what: Command, is_json: bool, correlation_id: str = "") -> str:
    """The text message of a command, never longer than Asterisk reads. ``correlation_id`` (letters, digits, ``-``)
    comes back in the event; only marks and the end of buffering have one."""
    if bool(correlation_id) != (what in _WITH_ID) or (correlation_id and not _CORRELATION.fullmatch(correlation_id)):
        raise ValueError(f"{what.value}: {correlation_id[:60]!r} is no correlation id")
    if not is_json:
        return f"{what.value} {correlation_id}" if correlation_id else what.value
    words = {"command": what.value}
    if correlation_id:
        words["correlation_id"] = correlation_id
    return json.dumps(words, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class MediaStart:
    """The channel is there: the first message, and the only one of its kind."""

    channel: str
    """Its name, as AMI has it."""
    channel_id: str
    """Its Uniqueid; its name where the Uniqueid is not told (22.6)."""
    format: str
    optimal_frame_size: int
    """Bytes of one frame; what is sent outside of buffering is cut into these, and the rest is lost."""
    ptime: int = 20
    connection_id: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The channel's variables, outside text. Inherited ones keep the ``_`` or ``__`` they were set with. The plain
    words have none."""
    is_json: bool = True
    """Asterisk wants its commands the same way."""


@dataclass(frozen=True, slots=True)
class DigitEnded:
    digit: str


@dataclass(frozen=True, slots=True)
class MarkProcessed:
    """Everything sent before the mark has been played."""

    correlation_id: str


@dataclass(frozen=True, slots=True)
class BufferingCompleted:
    correlation_id: str


@dataclass(frozen=True, slots=True)
class QueueDrained:
    pass


@dataclass(frozen=True, slots=True)
class Xoff:
    """Send nothing more: above 1000 frames whole messages vanish."""


@dataclass(frozen=True, slots=True)
class Xon:
    pass


@dataclass(frozen=True, slots=True)
class Status:
    queue_length: int
    queue_full: bool
    bulk_media: bool
    media_paused: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """Asterisk could not do what it was asked. ``text`` is outside text."""

    text: str


Event = MediaStart | DigitEnded | MarkProcessed | BufferingCompleted | QueueDrained | Xoff | Xon | Status | Failed


def parse(text: str) -> Event | None:
    """The event in a text message; None for one that we do not know. Raises WireError for anything else."""
    if len(text) > MAX_EVENT_CHARS:
        raise WireError(f"chan_websocket: an event of {len(text)} characters, the limit is {MAX_EVENT_CHARS}")
    is_json = text.lstrip().startswith("{")
    name, words = _from_json(text) if is_json else _from_plain(text)
    match name:
        case "MEDIA_START":
            return _media_start(words, is_json)
        case "DTMF_END":
            return DigitEnded(digit) if (digit := _digit(words)) else None
        case "MEDIA_MARK_PROCESSED":
            return MarkProcessed(_word(words, "correlation_id"))
        case "MEDIA_BUFFERING_COMPLETED":
            return BufferingCompleted(_word(words, "correlation_id"))
        case "QUEUE_DRAINED":
            return QueueDrained()
        case "MEDIA_XOFF":
            return Xoff()
        case "MEDIA_XON":
            return Xon()
        case "STATUS":
            flags = (_flag(words, key) for key in ("queue_full", "bulk_media", "media_paused"))
            return Status(_number(words, "queue_length"), *flags)
        case "ERROR":
            return Failed(_CONTROL.sub(" ", str(words.get("error_text", "")))[:MAX_WORD_CHARS].strip())
        case _:
            return None


def sound_format(start: MediaStart) -> SoundFormat:
    """How the channel's sound is written. Raises WireError for a format that we do not know, or a size that is not a
    frame of it."""
    name, size = start.format, start.optimal_frame_size
    if (rate := RATES.get(name)) is None:
        raise WireError(f"chan_websocket: {name[:40]!r} is no sound for us; say c(slin24) in Dial(WebSocket/...)")
    found = SoundFormat("ulaw" if name == "ulaw" else "alaw" if name == "alaw" else "pcm", rate)
    if start.ptime != PTIME or size != found.bytes_per_second * PTIME // 1000:
        raise WireError(f"chan_websocket: frames of {size} bytes for {start.ptime} ms of {name}")
    return found


def _from_json(text: str) -> tuple[str, Mapping[str, Any]]:
    try:
        words = outside_json.loads(text)
    except ValueError as error:
        raise WireError(f"chan_websocket: no JSON: {text[:80]!r}") from error
    name = words.get("event")
    if not isinstance(name, str):
        raise WireError(f"chan_websocket: JSON without an event: {text[:80]!r}")
    return name, words


def _from_plain(text: str) -> tuple[str, Mapping[str, Any]]:
    """``NAME key:value key:value``; marks have their id alone, an error's text goes to the end."""
    name, _, rest = text.strip().partition(" ")
    if not re.fullmatch(r"[A-Z][A-Z_]{0,63}", name):
        raise WireError(f"chan_websocket: no event: {text[:80]!r}")
    if name in ("MEDIA_MARK_PROCESSED", "MEDIA_BUFFERING_COMPLETED"):
        return name, {"correlation_id": rest.strip()}
    rest, _, error = rest.partition("error_text:")
    words: dict[str, Any] = {"error_text": error}
    for word in rest.split():
        key, _, value = word.partition(":")
        words[key] = value
    return name, words


def _media_start(words: Mapping[str, Any], is_json: bool) -> MediaStart:
    """The first versions (20.16, 22.6) told neither ``channel_id`` nor ``ptime``."""
    channel = _needed(words, "channel")
    found = MediaStart(
        channel,
        _word(words, "channel_id") or channel,
        _needed(words, "format"),
        _number(words, "optimal_frame_size"),
        _number(words, "ptime") if "ptime" in words else PTIME,
        _word(words, "connection_id"),
        _variables(words.get("channel_variables")),
        is_json,
    )
    if found.optimal_frame_size > MAX_SOUND_BYTES:
        raise WireError(f"chan_websocket: frames of {found.optimal_frame_size} bytes")
    return found


def _variables(found: Any) -> Mapping[str, str]:
    """Those that are text; a long one is cut, and so is a long list."""
    if not isinstance(found, dict):
        return {}
    texts = [(key[:MAX_WORD_CHARS], value[:MAX_VALUE_CHARS]) for key, value in found.items() if isinstance(value, str)]
    return dict(texts[:MAX_VARIABLES])


def _needed(words: Mapping[str, Any], key: str) -> str:
    if not (value := _word(words, key)):
        raise WireError(f"chan_websocket: MEDIA_START without {key}")
    return value


def _word(words: Mapping[str, Any], key: str) -> str:
    value = words.get(key, "")
    if not isinstance(value, str) or len(value) > MAX_WORD_CHARS or _CONTROL.search(value):
        raise WireError(f"chan_websocket: {key} is {str(value)[:80]!r}")
    return value


def _number(words: Mapping[str, Any], key: str) -> int:
    value = words.get(key, 0)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
        return value
    raise WireError(f"chan_websocket: {key} is {str(value)[:80]!r}")


def _flag(words: Mapping[str, Any], key: str) -> bool:
    return words.get(key) in (True, "true")


def _digit(words: Mapping[str, Any]) -> str:
    """Empty for what is told like a key and is none: Asterisk has letters for the tones of fax machines, too."""
    digit = _word(words, "digit")
    if len(digit) != 1:
        raise WireError(f"chan_websocket: {digit[:20]!r} is no key")
    return digit.upper() if digit in _KEYS else ""
