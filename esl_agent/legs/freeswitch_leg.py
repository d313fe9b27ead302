"""One FreeSWITCH call as the rest of the program sees it: a CallLeg. Its MediaStreams have files of their own.

Commands that must work during a locked playback go through ``api`` (``uuid_kill``, ``uuid_break``): a ``sendmsg``
would wait for the end of the file.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Literal

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue.events import Answered, CommandFailed, DigitPressed, HungUp
from esl_agent.errors import LegError
from esl_agent.legs.audio_fork import SUBCLASSES
from esl_agent.legs.base import Post
from esl_agent.legs.esl_call import EslCall
from esl_agent.legs.transfer import Handover
from esl_agent.wire import esl
from esl_agent.wire import esl_commands as commands

log = logging.getLogger(__name__)

#: Beside ``myevents``: what it leaves out and we need.
EVENTS = ("PLAYBACK_START", "PLAYBACK_STOP", "BACKGROUND_JOB")

_VARIABLE = re.compile(r"[A-Za-z0-9_]{1,64}")


class FreeSwitchLeg:
    """Signalling of one call on its event socket."""

    def __init__(self, call: EslCall, post: Post) -> None:
        data = call.session_data or {}
        self.call = call
        self.id = commands.safe_text(data.get("Unique-ID", ""), 64)
        self.did = data.get("Caller-Destination-Number") or data.get("Channel-Destination-Number", "")
        self.caller = data.get("Caller-Caller-ID-Number") or data.get("Channel-Caller-ID-Number", "")
        self.caller_name = data.get("Caller-Caller-ID-Name", "")
        self._post = post
        self._was_answered = data.get("Answer-State") == "answered"
        self._is_answered = False
        self.handover = Handover(call, self.id, post)
        """Transfers; ``handover.prepare`` says where its sound lies."""
        self.before_handover: Callable[[], float] | None = None
        """Set by media that must be quiet before the channel goes elsewhere; how many seconds that takes."""
        self._watchers: list[Callable[[esl.Event], None]] = []
        call.on_event_hook = self._on_event
        call.on_closed_hook = self._on_closed

    def variable(self, name: str) -> str:
        return (self.call.session_data or {}).get(f"variable_{name}", "")

    def prepare(self, format: commands.Format, linger: int) -> None:
        """Subscribe narrowly, and keep the socket after the hang-up. Returns at once."""
        request = self.call.request
        request(commands.linger(linger), on_reply=self._refused("linger"))
        request(commands.my_events(format), on_reply=self._refused("myevents"))
        request(commands.events(format, EVENTS, SUBCLASSES), on_reply=self._refused("event"))
        # Outside text never reaches an execute argument unencoded; this closes the door a second time.
        self.setvar("app_disable_expand_variables", "true")

    def watch(self, watcher: Callable[[esl.Event], None]) -> None:
        """Show every event of the call to ``watcher`` too, in the reader."""
        self._watchers.append(watcher)

    def answer(self) -> None:
        if self._was_answered:
            self._answered()
            return
        self.call.execute("answer", on_done=self._answer_done)

    def hang_up(self, cause: str) -> None:
        def replied(reply: esl.Reply | LegError) -> None:
            if isinstance(reply, LegError) and self.call.connected:
                self._post(CommandFailed("hang_up", str(reply)))
                self.call.request(commands.hang_up(cause))  # later, behind what plays, but all the same

        self.call.request(commands.api("uuid_kill", self.id, cause), on_reply=replied)

    def transfer(self, name: str, number: str, mode: Literal["blind", "warm"], briefing: Sound | None) -> None:
        wait = self.before_handover() if self.before_handover is not None else 0.0
        if wait:
            self.call.link.deadlines.after(wait, lambda: self.handover.start(name, number, mode, briefing))
        else:
            self.handover.start(name, number, mode, briefing)

    def send_digits(self, digits: str) -> None:
        self.call.request(commands.api("uuid_send_dtmf", self.id, digits))

    def set_variable(self, name: str, value: str) -> None:
        if not _VARIABLE.fullmatch(name):
            raise LegError(f"{commands.safe_text(name, 60)!r} is no name of a channel variable")
        self.setvar(name, commands.safe_text(value))

    def show(self, values: Mapping[str, str]) -> None:
        pairs = ";".join(f"{name}={commands.safe_text(value, 100).replace(';', ',')}" for name, value in values.items())
        self.call.request(commands.api("uuid_setvar_multi", self.id, pairs))

    def announce(self, subclass: str, facts: Mapping[str, str]) -> None:
        self.call.request(commands.send_event(subclass, {"Unique-ID": self.id, **facts}))

    def setvar(self, name: str, value: str) -> None:
        """Set a channel variable before any later ``api`` command runs."""
        self.call.request(commands.api("uuid_setvar", self.id, name, value))

    def close(self) -> None:
        self.call.exit()

    def _answer_done(self, result: esl.Event | LegError) -> None:
        if isinstance(result, LegError):
            self._post(CommandFailed("answer", str(result)))
        elif result.headers.get("Answer-State") == "answered":
            self._answered()

    def _answered(self) -> None:
        """Once: whoever hears it starts the sound."""
        if not self._is_answered:
            self._is_answered = True
            self._post(Answered())

    def _refused(self, what: str) -> Callable[[esl.Reply | LegError], None]:
        def replied(reply: esl.Reply | LegError) -> None:
            if isinstance(reply, LegError) and self.call.connected:
                self._post(CommandFailed(what, str(reply)))

        return replied

    def _on_event(self, event: esl.Event) -> None:
        if event.name == "DTMF":
            self._post(DigitPressed(event.headers.get("DTMF-Digit", "")[:1]))
        elif event.headers.get("Unique-ID", self.id) == self.id:
            if event.name == "CHANNEL_ANSWER":
                self._answered()
            elif event.name == "CHANNEL_HANGUP_COMPLETE":
                self._post(HungUp(event.headers.get("Hangup-Cause", "")))
            else:
                self.handover.on_event(event)
        for watcher in self._watchers:
            watcher(event)

    def _on_closed(self, reason: str) -> None:
        log.debug("call=%s %s", self.id, reason)
        left = "BLIND_TRANSFER" if self.handover.is_over else "LEG_CLOSED"
        self._post(HungUp(self.call.hangup_cause or left))
        # The call's parts hold each other; let go, so that it is freed at once and not by the collector.
        self._watchers.clear()
        self.before_handover = None
        self.call.on_event_hook = self.call.on_closed_hook = None
