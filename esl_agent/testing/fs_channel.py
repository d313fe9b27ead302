"""A pretend FreeSWITCH channel: who it is, what state it is in, and how it looks in an event. Pure.

Header names, order and which events carry variables follow captures of FreeSWITCH 1.11.3-dev on inbound SIP calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal

from esl_agent.testing import fs_variables
from esl_agent.testing.fs_wire import Format, Headers, fragment

AnswerState = Literal["ringing", "early", "answered", "hangup"]

#: Event name -> file, function and line of FreeSWITCH that fires it; what an agent sees and must not rely on.
_ORIGIN = {
    "CHANNEL_DATA": ("mod_event_socket.c", "parse_command", "2029"),
    "CHANNEL_EXECUTE": ("switch_core_session.c", "switch_core_session_exec", "2949"),
    "CHANNEL_EXECUTE_COMPLETE": ("switch_core_session.c", "switch_core_session_exec", "2972"),
    "CHANNEL_ANSWER": ("switch_channel.c", "switch_channel_perform_mark_answered", "3848"),
    "CHANNEL_PROGRESS_MEDIA": ("switch_channel.c", "switch_channel_perform_mark_pre_answered", "3562"),
    "CHANNEL_PARK": ("switch_ivr.c", "switch_ivr_park", "1002"),
    "CHANNEL_UNPARK": ("switch_ivr.c", "switch_ivr_park", "1213"),
    "CHANNEL_HANGUP": ("switch_channel.c", "switch_channel_perform_hangup", "3447"),
    "CHANNEL_STATE": ("switch_channel.c", "switch_channel_perform_set_running_state", "2409"),
    "CHANNEL_HANGUP_COMPLETE": ("switch_core_state_machine.c", "switch_core_session_reporting_state", "943"),
    "CHANNEL_BRIDGE": ("switch_ivr_bridge.c", "switch_ivr_multi_threaded_bridge", "1689"),
    "PLAYBACK_START": ("switch_ivr_play_say.c", "switch_ivr_play_file", "1649"),
    "PLAYBACK_STOP": ("switch_ivr_play_say.c", "switch_ivr_play_file", "2023"),
    "DTMF": ("switch_channel.c", "switch_channel_dequeue_dtmf", "678"),
    "MEDIA_BUG_START": ("switch_core_media_bug.c", "switch_core_media_bug_add", "1014"),
    "MEDIA_BUG_STOP": ("switch_core_media_bug.c", "switch_core_media_bug_destroy", "84"),
    "BACKGROUND_JOB": ("mod_event_socket.c", "api_exec", "1580"),
    "CUSTOM": ("mod_audio_fork.c", "responseHandler", "22"),
}
#: These come without channel variables.
_WITHOUT_VARIABLES = frozenset({"DTMF", "CHANNEL_STATE"})
_STATE_NUMBER = {"CS_ROUTING": "2", "CS_EXECUTE": "4", "CS_HANGUP": "10", "CS_REPORTING": "11"}
CORE_UUID = "715f44c6-3e0c-4f2c-a8b2-bdd027b80c7e"


@dataclass(frozen=True, slots=True)
class Party:
    """Who calls whom."""

    uuid: str
    did: str = "4930123456"
    caller: str = "4915550001"
    caller_name: str = "4915550001"
    rate: int = 8000
    variables: Mapping[str, str] = field(default_factory=dict)


class Channel:
    """One channel. ``variables`` are read freely and written by ``set`` only."""

    def __init__(self, party: Party, epoch: float, created_at: float) -> None:
        self.party = party
        self.epoch = epoch
        self.created_at = created_at
        self.state = "CS_EXECUTE"
        self.call_state = "RINGING"
        self.answer_state: AnswerState = "ringing"
        self.cause = ""
        self.answered_at = 0.0
        self.hung_up_at = 0.0
        self.sequence = 500
        self.variables: dict[str, str] = {}
        self._kept: dict[tuple[str, Format], bytes] = {}
        self.set(**fs_variables.inbound(party.uuid, party.did, party.caller, party.rate, epoch + created_at))
        self.set(**party.variables)

    @property
    def uuid(self) -> str:
        return self.party.uuid

    @property
    def name(self) -> str:
        return f"sofia/agents/{self.party.caller}@127.0.0.1"

    def set(self, **variables: str | int) -> None:
        """Set variables; like FreeSWITCH it moves one that is set again to the end."""
        for name, value in variables.items():
            self.variables.pop(name, None)
            self.variables[name] = str(value)
        self._kept.pop(("variables", "plain"), None)
        self._kept.pop(("variables", "json"), None)

    def unset(self, name: str) -> None:
        self.variables.pop(name, None)
        self.set()

    def answer(self, now: float) -> None:
        """Mark answered. The event of it still says Channel-Call-State RINGING."""
        self.answer_state = "answered"
        self.answered_at = now
        self._kept.clear()
        self.set(**fs_variables.answered())

    def report(self, now: float) -> None:
        """The call is being reported: hung up at ``now``."""
        self.hung_up_at = now
        self.call_state = "HANGUP"
        self._kept.clear()
        answer = self.epoch + self.answered_at if self.answered_at else 0.0
        self.set(**fs_variables.reported(self.epoch + self.created_at, answer, self.epoch + now))

    def connect_headers(self, now: float) -> Headers:
        """What ``connect`` answers with, without the four protocol lines at its end."""
        profile = [("Channel-" + name, value) for name, value in self._profile()]
        return self._event(now, "CHANNEL_DATA") + profile + self._state() + self._caller() + self._variables()

    def event(self, now: float, name: str, form: Format, tail: Headers, subclass: str = "") -> list[bytes]:
        """The fragments of an event of this channel; ``tail`` is what only this event has."""
        head = ([("Event-Subclass", subclass)] if subclass else []) + self._event(now, name)
        if name.startswith(("MEDIA_BUG", "CHANNEL_BRIDGE", "CHANNEL_UNBRIDGE")):
            head, tail = head + tail, []
        if name == "CHANNEL_HANGUP_COMPLETE":
            head.append(("Hangup-Cause", self.cause))
        parts = [fragment(head + self._state(), form), self._keep("caller", form)]
        if name not in _WITHOUT_VARIABLES:
            parts.append(self._keep("variables", form))
        if tail:
            parts.append(fragment(tail, form))
        return parts

    def job_event(self, now: float, form: Format, tail: Headers) -> list[bytes]:
        """A BACKGROUND_JOB: no channel data at all."""
        return [fragment(self._event(now, "BACKGROUND_JOB") + tail, form)]

    def dump(self, now: float) -> str:
        """What ``uuid_dump`` prints."""
        headers = self._event(now, "CHANNEL_DATA") + self._state() + self._caller() + self._variables()
        return "".join(f"{name}: {value}\n" for name, value in headers) + "\n"

    def _keep(self, what: Literal["caller", "variables"], form: Format) -> bytes:
        kept = self._kept.get((what, form))
        if kept is None:
            headers = self._caller() if what == "caller" else self._variables()
            kept = self._kept[what, form] = fragment(headers, form)
        return kept

    def _event(self, now: float, name: str) -> Headers:
        self.sequence += 1
        clock = self.epoch + now
        moment = datetime.fromtimestamp(clock, timezone.utc)
        file, function, line = _ORIGIN.get(name, ("switch_channel.c", "switch_channel_event", "1"))
        return [
            ("Event-Name", name),
            ("Core-UUID", CORE_UUID),
            ("FreeSWITCH-Hostname", "fs.example"),
            ("FreeSWITCH-Switchname", "fs.example"),
            ("FreeSWITCH-IPv4", "192.0.2.2"),
            ("FreeSWITCH-IPv6", "fd00::2"),
            ("Event-Date-Local", moment.strftime("%Y-%m-%d %H:%M:%S")),
            ("Event-Date-GMT", moment.strftime("%a, %d %b %Y %H:%M:%S GMT")),
            ("Event-Date-Timestamp", str(int(clock * 1_000_000))),
            ("Event-Calling-File", file),
            ("Event-Calling-Function", function),
            ("Event-Calling-Line-Number", line),
            ("Event-Sequence", str(self.sequence)),
        ]

    def _state(self) -> Headers:
        codec = fs_variables.codec_name(self.party.rate)
        rate = str(self.party.rate)
        number = "10" if self.cause and self.state == "CS_EXECUTE" else _STATE_NUMBER.get(self.state, "4")
        headers = [
            ("Channel-State", self.state),
            ("Channel-Call-State", self.call_state),
            ("Channel-State-Number", number),
            ("Channel-Name", self.name),
            ("Unique-ID", self.uuid),
            ("Call-Direction", "inbound"),
            ("Presence-Call-Direction", "inbound"),
            ("Channel-HIT-Dialplan", "true"),
            ("Channel-Call-UUID", self.uuid),
            ("Answer-State", self.answer_state),
        ]
        if self.cause:
            headers.append(("Hangup-Cause", self.cause))
        for side in ("Read", "Write"):
            headers += [
                (f"Channel-{side}-Codec-Name", codec),
                (f"Channel-{side}-Codec-Rate", rate),
                (f"Channel-{side}-Codec-Bit-Rate", "64000"),
            ]
        return headers

    def _caller(self) -> Headers:
        return [("Caller-" + name, value) for name, value in self._profile()]

    def _profile(self) -> Headers:
        party = self.party
        created = str(int((self.epoch + self.created_at) * 1_000_000))
        answered = str(int((self.epoch + self.answered_at) * 1_000_000)) if self.answered_at else "0"
        headers = [("Direction", "inbound"), ("Logical-Direction", "inbound"), ("Username", party.caller)]
        headers += [("Dialplan", "XML"), ("Caller-ID-Name", party.caller_name), ("Caller-ID-Number", party.caller)]
        headers += [("Orig-Caller-ID-Name", party.caller_name), ("Orig-Caller-ID-Number", party.caller)]
        headers += [("Network-Addr", "127.0.0.1"), ("ANI", party.caller), ("Destination-Number", party.did)]
        headers += [("Unique-ID", party.uuid), ("Source", "mod_sofia"), ("Context", "agents")]
        headers += [("Channel-Name", self.name), ("Profile-Index", "1"), ("Profile-Created-Time", created)]
        headers += [("Channel-Created-Time", created), ("Channel-Answered-Time", answered)]
        hung_up = str(int((self.epoch + self.hung_up_at) * 1_000_000)) if self.hung_up_at else "0"
        for name in ("Progress", "Progress-Media", "Hangup", "Transfer", "Resurrect", "Bridged"):
            headers.append((f"Channel-{name}-Time", hung_up if name == "Hangup" else "0"))
        headers += [("Channel-Last-Hold", "0"), ("Channel-Hold-Accum", "0"), ("Screen-Bit", "true")]
        return [*headers, ("Privacy-Hide-Name", "false"), ("Privacy-Hide-Number", "false")]

    def _variables(self) -> Headers:
        return [("variable_" + name, value) for name, value in self.variables.items()]
