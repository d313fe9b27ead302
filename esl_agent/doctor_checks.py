"""What the doctor looks at, one generator of findings for each. Each asks FreeSWITCH and changes nothing there.

Every fact was seen on a running FreeSWITCH 1.11; nothing is reported as fine that was not looked at.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from esl_agent.config import Config
from esl_agent.config.did import media_kind
from esl_agent.errors import CommandRefused, LegError
from esl_agent.inbound import EventSocket

#: What calls need, and what each is for. mod_event_socket is there if we got this far.
NEEDED = {
    "mod_commands": "uuid_break, uuid_kill and uuid_setvar",
    "mod_dptools": "answer and playback",
    "mod_dialplan_xml": "the dialplan in XML",
    "mod_sndfile": "the agent's clips, which are WAV files",
}
#: What some kinds of media need.
FORK = "mod_audio_fork"
#: What a usual set-up has, and what is missing without it.
WANTED = {
    "mod_sofia": "SIP calls",
    "mod_tone_stream": "the tones a caller hears when no agent is there",
}
#: Codecs that bring more than telephone sound: names as ``show codec`` prints them hold one of these.
WIDEBAND = ("G.722", "G722", "OPUS", "Opus", "AMR-WB", "SILK")
#: Channels asked for their variables at most.
MAX_CHANNELS = 500
#: Channels named in the report at most.
MAX_SHOWN = 10
#: A channel that is in `socket` this long without a state was taken by nobody: the agent sets one at the answer.
UNATTENDED_SECONDS = 10.0
UNSET = "_undef_"


class Mark(Enum):
    """How a finding counts. What was not looked at is never ``OK``."""

    OK = "ok"
    WARN = "WARN"
    FAIL = "FAIL"
    UNCHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was looked at, what was seen, and for a problem what to do."""

    mark: Mark
    subject: str
    seen: str
    cure: str = ""


Findings = Iterator[Finding]


def version(fs: EventSocket, config: Config) -> Findings:
    """Which FreeSWITCH, and whether it takes as many sessions as we take calls."""
    text = fs.api("version")
    named = text.removeprefix("FreeSWITCH Version ")
    if named == text:
        yield Finding(Mark.UNCHECKED, "FreeSWITCH", f"its `version` is {text[:80]!r}")
    else:
        yield Finding(Mark.OK, "FreeSWITCH", named)
    status = fs.api("status")
    now = re.search(r"(\d+) session\(s\) - peak (\d+)", status)
    most = re.search(r"(\d+) session\(s\) max", status)
    if now is None or most is None:
        yield Finding(Mark.UNCHECKED, "sessions", f"`status` says nothing of them: {status[:200]!r}")
        return
    seen = f"{now[1]} now, {now[2]} at the most so far, {most[1]} allowed"
    calls = config.service.freeswitch.max_calls
    if int(most[1]) < calls:
        cure = "raise max-sessions in switch.conf.xml, or lower freeswitch.max_calls"
        yield Finding(Mark.WARN, "sessions", f"{seen}; freeswitch.max_calls is {calls}", cure)
    else:
        yield Finding(Mark.OK, "sessions", seen)


def modules(fs: EventSocket, config: Config) -> Findings:
    """The modules that calls need."""
    there = {name: fs.api("module_exists", name) == "true" for name in (*NEEDED, FORK, *WANTED, "mod_audio_stream")}
    if loaded := [name for name in there if there[name]]:
        yield Finding(Mark.OK, "modules", ", ".join(loaded))
    for name in (name for name in NEEDED if not there[name]):
        cure = f"fs_cli -x 'load {name}', and a line in modules.conf.xml"
        yield Finding(Mark.FAIL, "modules", f"{name} is not loaded: needed for {NEEDED[name]}", cure)
    for name in (name for name in WANTED if not there[name]):
        yield Finding(Mark.WARN, "modules", f"{name} is not loaded: no {WANTED[name]}", f"fs_cli -x 'load {name}'")
    yield from _media(config, there[FORK], there["mod_audio_stream"])
    by_application = [did.name for did in config.dids if did.media.audio_fork == "execute"]
    if by_application and "audio_fork" not in {
        row.get("name") for row in _rows(fs.api("show", "application", "as", "json"))
    }:
        yield Finding(
            Mark.FAIL,
            "modules",
            f"no application audio_fork, which media.audio_fork: execute asks for ({', '.join(by_application)})",
            "media.audio_fork: api, unless your build of the module has that application",
        )


def _media(config: Config, has_fork: bool, has_stream: bool) -> Findings:
    """Which kind of media each DID gets with this FreeSWITCH."""
    kinds: dict[str, list[str]] = {}
    for did in config.dids:
        kinds.setdefault(media_kind(did.media, has_fork), []).append(did.name)
    for kind, names in kinds.items():
        if kind == "audio_fork" and not has_fork:
            cure = (
                f"fs_cli -x 'load {FORK}', and a line in modules.conf.xml; it is not part of stock FreeSWITCH: see "
                "freeswitch/README.md. media: unicast needs no module"
            )
            if has_stream:
                cure += ". mod_audio_stream, which is loaded, does not replace it"
            seen = f"{FORK} is not loaded: needed for the caller's sound ({', '.join(names)})"
            yield Finding(Mark.FAIL, "modules", seen, cure)
        else:
            yield Finding(Mark.OK, "media", f"{kind} for {', '.join(names)}")


def codecs(fs: EventSocket, config: Config) -> Findings:
    """Which codecs there are, and whether a DID hopes for more than they bring."""
    names = [str(row.get("name", "")) for row in _rows(fs.api("show", "codec", "as", "json"))]
    if not names:
        yield Finding(
            Mark.FAIL, "codecs", "there is none", "see that FreeSWITCH loads its core: fs_cli -x 'show codec'"
        )
        return
    yield Finding(Mark.OK, "codecs", ", ".join(names))
    wide = [did.name for did in config.dids if did.media.rate > 8000]
    if wide and not any(mark in name for name in names for mark in WIDEBAND):
        seen = f"media.rate is 16000 for {', '.join(wide)}, and no codec is wider than a telephone's"
        yield Finding(Mark.WARN, "codecs", seen, "media.rate: 8000 does the same work for less, or load mod_opus")


def profiles(fs: EventSocket, config: Config) -> Findings:
    """Whether SIP calls can arrive at all."""
    try:
        root = ElementTree.fromstring(fs.api("sofia", "xmlstatus").encode())
    except CommandRefused as error:
        yield Finding(Mark.UNCHECKED, "SIP", f"`sofia xmlstatus`: {error.reply}")
        return
    except ElementTree.ParseError as error:
        yield Finding(Mark.UNCHECKED, "SIP", f"`sofia xmlstatus` is not XML: {error}")
        return
    states = {each.findtext("name", ""): each for each in root.iter("profile")}
    running = [
        f"{name} at {each.findtext('data', '').rpartition('@')[2]}"
        for name, each in states.items()
        if each.findtext("state", "").startswith("RUNNING")
    ]
    if running:
        yield Finding(Mark.OK, "SIP", f"profiles {', '.join(running)}")
    else:
        cure = "fs_cli -x 'sofia status', and FreeSWITCH's log: is its port taken?"
        yield Finding(Mark.WARN, "SIP", f"no profile runs ({', '.join(states) or 'there is none'})", cure)


def channels(fs: EventSocket, config: Config) -> Findings:
    """Which calls run now, which of them an agent took, and which wait in `socket` for nobody.

    The variable outlives the agent: a call that was transferred, or whose agent died, still carries its last state.
    """
    rows = _rows(fs.api("show", "channels", "as", "json"))
    now = _epoch(fs.api("strepoch"))
    asked = [
        (row, fs.ask("uuid_getvar", uuid, "esl_agent_state"), fs.ask("uuid_getvar", uuid, "esl_agent_turn"))
        for row in rows[:MAX_CHANNELS]
        if (uuid := str(row.get("uuid", "")))
    ]
    taken, lost = [], []
    for row, state, turn in asked:
        try:
            what, number = state.get().text, turn.get().text
        except CommandRefused:  # it hung up meanwhile
            continue
        if what != UNSET:
            taken.append(f"{row['uuid']} {what}" + ("" if number == UNSET else f", turn {number}"))
        elif row.get("application") == "socket" and now - _epoch(row.get("created_epoch")) > UNATTENDED_SECONDS:
            lost.append(f"{row['uuid']} since {row.get('created')}")
    unseen = f"; the last {len(rows) - len(asked)} not looked at" if len(rows) > len(asked) else ""
    yield Finding(Mark.OK, "calls", f"{len(rows)} channels, {len(taken)} with esl_agent_state{unseen}")
    for line in taken[:MAX_SHOWN]:
        yield Finding(Mark.OK, "calls", line)
    for line in lost[:MAX_SHOWN]:
        cure = "fs_cli -x 'uuid_kill UUID'; park_timeout before `socket` ends such calls by itself"
        yield Finding(Mark.WARN, "calls", f"{line} is in `socket` and no agent took it", cure)
    if len(lost) > MAX_SHOWN:
        yield Finding(Mark.WARN, "calls", f"and {len(lost) - MAX_SHOWN} more that no agent took")


def _rows(text: str) -> list[dict[str, Any]]:
    """The rows of ``show ... as json``; where there is nothing to show FreeSWITCH leaves them out. Raises LegError."""
    try:
        table = orjson.loads(text)
    except orjson.JSONDecodeError:
        table = None
    if isinstance(table, dict):
        rows = table.get("rows", [] if table.get("row_count") == 0 else None)
        if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
            return rows
    raise LegError(f"expected the table of `show ... as json`, got {text[:80]!r}")


def _epoch(value: object) -> int:
    """Whole seconds of FreeSWITCH's own clock. Raises LegError."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    raise LegError(f"expected seconds since 1970, got {str(value)[:80]!r}")
