"""``uuid_audio_fork`` of mod_audio_fork (drachtio build) on a pretend channel. Pure.

``+OK`` only says "queued"; the outcome is an event. After a failure or the far end's close the bug stays attached:
``start`` is refused until ``stop``. A ``start`` without a rate takes the whole FreeSWITCH down.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

from esl_agent.testing.fs_effects import CloseFork, Effect, ForkCut, ForkFlow, ForkText, OpenFork
from esl_agent.testing.fs_wire import Headers

SUCCESS = "+OK Success\n"
FAILED = "-ERR Operation Failed\n"
DEFAULT_BUG = "audio_fork"


class Host(Protocol):
    """What the forks need of their machine."""

    def emit(self, name: str, tail: Headers, subclass: str = "", body: str = "") -> None: ...
    def act(self, effect: Effect) -> None: ...
    def note(self, what: str, detail: str = "") -> None: ...
    def crash(self, reason: str) -> None: ...
    def pre_answer(self) -> None: ...
    def break_playback(self) -> None: ...


@dataclass(slots=True)
class Fork:
    """One attached media bug."""

    bug: str
    url: str
    is_connected: bool = False
    is_leaking: bool = False
    """graceful-shutdown was asked for: its WebSocket is never closed."""


class Forks:
    """All forks of a channel."""

    def __init__(self, host: Host, is_jambonz: bool = False) -> None:
        self._host = host
        self._is_jambonz = is_jambonz
        self.attached: dict[str, Fork] = {}

    def command(self, arguments: str) -> str:
        """``start URL MIX RATE [BUG] [METADATA]`` and the rest, behind the UUID. The body of the api/response."""
        words = _split(arguments, 6)
        plays = 0
        if self._is_jambonz and len(every := arguments.split()) == 9 and every[6:8] == ["true", "true"]:
            words, plays = every[:6], int(every[8])
        action = words[0] if words else ""
        if action == "start":
            return self._start(words[1:], plays)
        if action == "stop_play" and self._is_jambonz:
            if self.attached.get(DEFAULT_BUG) is None:
                return FAILED
            self._host.act(ForkCut(DEFAULT_BUG))
            return SUCCESS
        if action in ("stop", "send_text"):
            bug, text = _bug_and_text(_split(arguments, 3)[1:])
        elif action in ("pause", "resume", "graceful-shutdown"):
            bug, text = (words[1] if len(words) > 1 else DEFAULT_BUG), ""
        else:
            return "-USAGE: <uuid> [start | stop | send_text | pause | resume | graceful-shutdown ] ...\n"
        fork = self.attached.get(bug)
        if fork is None:
            return FAILED
        if action == "stop":
            self._stop(fork, text)
        elif action == "send_text" and fork.is_connected:
            self._host.act(ForkText(bug, text))
        elif action in ("pause", "resume"):
            self._host.act(ForkFlow(bug, action == "resume"))
        elif action == "graceful-shutdown":
            fork.is_leaking = True
            self._host.act(ForkFlow(bug, False))
        return SUCCESS

    def _start(self, words: list[str], plays: int) -> str:
        if len(words) < 3:
            self._host.crash(f"uuid_audio_fork start with {len(words)} of the 3 arguments URL, mix and rate")
            return ""
        url, mix, rate = words[:3]
        bug, metadata = DEFAULT_BUG, ""
        if len(words) > 4:
            bug, metadata = words[3], words[4]
        elif len(words) == 4:
            bug, metadata = (DEFAULT_BUG, words[3]) if words[3][:1] in "{[" else (words[3], "")
        if mix not in ("mono", "mixed", "stereo"):
            return "-ERR no reply\n"
        if bug in self.attached:
            return FAILED
        self.attached[bug] = Fork(bug, url)
        self._host.pre_answer()
        self._host.note("fork started", f"{url} {mix} {rate}")
        self._media_bug("MEDIA_BUG_START", bug)
        hertz = {"8k": 8000, "16k": 16000}.get(rate) or (int(rate) if rate.isdigit() else 0)
        if url.startswith(("ws://", "wss://")) and hertz:
            self._host.act(OpenFork(bug, url, mix, hertz, metadata, plays))
        return SUCCESS

    def _stop(self, fork: Fork, text: str) -> None:
        del self.attached[fork.bug]
        self._host.note("fork stopped", fork.url)
        self._media_bug("MEDIA_BUG_STOP", fork.bug)
        if not fork.is_leaking:
            self._host.act(CloseFork(fork.bug, text))

    def end_all(self) -> None:
        """The channel ends: every fork is detached and closed with code 1000."""
        for fork in list(self.attached.values()):
            self._stop(fork, "")

    def connected(self, bug: str) -> None:
        fork = self.attached.get(bug)
        if fork:
            fork.is_connected = True
            self._host.note("fork connected", fork.url)
            self._event("connect")

    def failed(self, bug: str, reason: str) -> None:
        """``reason`` in the module's words: ``Unable to connect``, ``HS: ws upgrade unauthorized``, ``read failed``."""
        if bug in self.attached:
            self._host.note("fork failed", reason)
            self._event("connect_failed", json.dumps({"reason": reason}, separators=(",", ":")))

    def closed(self, bug: str) -> None:
        """The far end closed. The bug stays attached."""
        fork = self.attached.get(bug)
        if fork and fork.is_connected:
            fork.is_connected = False
            self._host.note("fork lost", fork.url)
            self._event("disconnect")

    def message(self, bug: str, text: str) -> None:
        """A TEXT message from the far end."""
        if bug not in self.attached:
            return
        try:
            value = json.loads(text)
        except ValueError:
            return
        if not isinstance(value, dict):
            return
        kind, data = value.get("type"), value.get("data")
        if kind in ("transcription", "transfer", "error", "disconnect"):
            self._event(kind, "" if data is None else json.dumps(data, separators=(",", ":")))
        elif kind == "killAudio":
            self._event("kill_audio")
            self._host.break_playback()
        elif kind == "json" or not isinstance(kind, str):
            self._event("json", text)

    def _event(self, name: str, body: str = "") -> None:
        self._host.emit("CUSTOM", [], f"mod_audio_fork::{name}", body)

    def _media_bug(self, event: str, bug: str) -> None:
        self._host.emit(event, [("Media-Bug-Function", bug), ("Media-Bug-Target", "N/A")])


def _split(text: str, most: int) -> list[str]:
    """At most ``most`` words; the last holds the rest. A word in single quotes is one word."""
    words: list[str] = []
    rest = text.strip()
    while rest and len(words) < most - 1:
        if rest.startswith("'") and "'" in rest[1:]:
            word, _, rest = rest[1:].partition("'")
        else:
            word, _, rest = rest.partition(" ")
        words.append(word)
        rest = rest.lstrip()
    if rest:
        words.append(rest[1:-1] if len(rest) > 1 and rest[0] == rest[-1] == "'" else rest)
    return words


def _bug_and_text(words: list[str]) -> tuple[str, str]:
    if len(words) > 1:
        return words[0], words[1]
    if not words:
        return DEFAULT_BUG, ""
    return (DEFAULT_BUG, words[0]) if words[0][:1] in "{[" else (words[0], "")
