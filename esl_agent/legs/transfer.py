"""A FreeSWITCH call is handed over: blind by ``uuid_transfer``, warm by ``bridge`` with a callee who may decline.

Facts behind it (FreeSWITCH 1.11, measured; ``switch_ivr_originate.c``):

* ``uuid_transfer`` answers at once; the channel leaves our park a frame later (CHANNEL_UNPARK), and the event socket
  stays open until ``exit``, which then hurts nobody. The dialplan needs expansion, which we had switched off.
* ``continue_on_fail=true`` keeps the caller when nobody takes the call; ``hangup_after_bridge=true`` ends the call
  after the conversation. Without ``ignore_early_media=true`` an announcement of the network counts as an answer.
* ``group_confirm_key=1`` connects whoever answers once 1 is pressed, but repeats ``group_confirm_file`` at any other
  key. ``group_confirm_key=exec`` runs an application instead, and whoever is still there afterwards is connected:
  ``play_and_get_digits`` with a way out to ``inline`` makes every other key, and none, a refusal.
* ``leg_timeout`` ends a leg that rings and one that does not decide with the same cause, ALLOTTED_TIMEOUT; so
  ``api_on_answer`` notes on the caller's channel that somebody answered.
* While it rings, the audio fork still carries the caller. From CHANNEL_BRIDGE on two people talk: the fork is stopped.
"""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path
from typing import Literal

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue.events import TransferFailed, Transferred
from esl_agent.errors import LegError, UnsafeText
from esl_agent.legs.base import Post
from esl_agent.legs.clips import write_clip
from esl_agent.legs.esl_call import EslCall
from esl_agent.wire import esl
from esl_agent.wire import esl_commands as commands

log = logging.getLogger(__name__)

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9-]")

#: After ``uuid_transfer`` said +OK, the channel leaves us within this (seen: 21 ms).
LEAVES_SECONDS = 1.0
#: A channel that left its park without us, and neither came back nor was hung up within this, is somebody else's.
GONE_SECONDS = 3.0
#: Whoever answers may take this long to decide after the briefing was heard twice, with a pause between.
DECIDES_SECONDS = 8.0
PAUSE_SECONDS = 2.0
#: A conversation may be this long; our Execution of ``bridge`` lasts as long.
CONVERSATION_SECONDS = 86400.0
#: All in all a warm transfer may take this long to be taken; how long it rings is said by the dial string.
ORIGINATE_SECONDS = 600
#: After that, FreeSWITCH may be so much late with the news.
OVERDUE_SECONDS = 5.0
#: Between the answer and the first word of the briefing: sound takes a moment to flow.
LEAD_IN_SECONDS = 0.4
#: Noted on the caller's channel when somebody answers a warm transfer.
ANSWERED = "esl_agent_transfer_answered"

#: ``originate_disposition`` and what it means to a caller; anything else is ``unreachable``.
REASONS = {
    "USER_BUSY": "busy",
    "CALL_REJECTED": "declined",
    "NO_ANSWER": "no_answer",
    "NO_USER_RESPONSE": "no_answer",
    "ALLOTTED_TIMEOUT": "no_answer",
    "PROGRESS_TIMEOUT": "no_answer",
    "ORIGINATOR_CANCEL": "no_answer",
}


class Handover:
    """Transfers of one call. Runs on the call's greenlet and the event socket's reader; never blocks."""

    def __init__(self, call: EslCall, uuid: str, post: Post) -> None:
        self._call = call
        self._uuid = uuid
        self._post = post
        self._folder = Path()
        self._seen_as = ""  # empty: nobody said where briefings may lie, so none are played
        self._ringback = ""
        self._count = 0  # warm transfers so far
        self._ringing = ""  # whom a warm transfer calls, until somebody took it
        self._leaving = ""  # where a blind transfer goes, until the channel has left
        self._parkings = 0  # changes with every park left or entered
        self.is_over = False
        """Somebody else has the caller."""

    def prepare(self, folder: Path, seen_as: str, ringback: str) -> None:
        """Where briefings may lie (``seen_as`` FreeSWITCH), and what the caller hears while it rings."""
        self._folder, self._seen_as, self._ringback = folder, seen_as, ringback

    def start(self, name: str, number: str, mode: Literal["blind", "warm"], briefing: Sound | None) -> None:
        """Hand over; one Transferred or TransferFailed follows."""
        if self._ringing or self._leaving or self.is_over:
            self._post(TransferFailed(name, "refused"))
            return
        try:
            if mode == "warm":
                self._warm(name, number, briefing)
            else:
                self._blind(name, number)
        except (OSError, UnsafeText) as error:
            log.error("call=%s cannot be transferred: %s", self._uuid, error)
            self._ringing = self._leaving = ""
            self._post(TransferFailed(name, "refused"))

    def on_event(self, event: esl.Event) -> None:
        """An event of this call's channel, in the reader."""
        if self._ringing and event.name == "CHANNEL_BRIDGE":
            self._handed_over(self._ringing)
        elif event.name == "CHANNEL_PARK":
            self._parkings += 1  # it is back: sound by unicast is taken up again so
        elif event.name == "CHANNEL_UNPARK" and self._leaving:
            self._left()
        elif event.name == "CHANNEL_UNPARK":
            self._parkings += 1
            count = self._parkings
            self._call.link.deadlines.after(GONE_SECONDS, lambda: self._gone(count))

    def _blind(self, name: str, number: str) -> None:
        words = number.split()
        command = commands.api("uuid_transfer", self._uuid, *words)
        self._leaving = name

        def replied(reply: esl.Reply | LegError) -> None:
            if isinstance(reply, LegError):
                self._leaving = ""
                self._set("app_disable_expand_variables", "true")
                self._post(TransferFailed(name, "refused"))
            else:
                self._call.link.deadlines.after(LEAVES_SECONDS, self._left)

        self._set("app_disable_expand_variables", "false")  # the dialplan it goes to expands its own
        self._call.request(command, on_reply=replied)

    def _left(self) -> None:
        """The dialplan has the call; we have nothing more to do with it."""
        if self._leaving:
            self._handed_over(self._leaving)
            self._call.exit()

    def _gone(self, count: int) -> None:
        """Somebody else took the caller elsewhere: we let go, or we would hang up on two people who talk."""
        if count == self._parkings and not (self.is_over or self._leaving or self._call.hangup_cause):
            log.warning("call=%s was taken away by somebody else (uuid_transfer, uuid_bridge)", self._uuid)
            self.is_over = True
            self._call.request(commands.api("uuid_audio_fork", self._uuid, "stop"))
            self._set("app_disable_expand_variables", "false")
            self._call.exit()

    def _warm(self, name: str, dial: str, briefing: Sound | None) -> None:
        self._count += 1
        count = self._count
        variables = {
            "ignore_early_media": "true",
            "originate_timeout": str(ORIGINATE_SECONDS),
            "api_on_answer": f"uuid_setvar {self._uuid} {ANSWERED} true",
        }
        path: Path | None = None
        if briefing is not None and self._seen_as:
            heard = twice(briefing)
            path = self._folder / f"briefing-{_NOT_A_NAME.sub('_', self._uuid)}-{count}.wav"
            variables |= {
                "group_confirm_key": "exec",
                "group_confirm_file": asked(f"{self._seen_as}/{path.name}"),
                "group_confirm_timeout": str(math.ceil(heard.seconds + DECIDES_SECONDS) + 2),
            }
            argument = commands.dial_string(variables, dial)
            write_clip(path, heard)
        else:
            argument = commands.dial_string(variables, dial)
        self._ringing = name
        for variable, value in self._callers_side().items():
            self._set(variable, value)
        self._call.execute(
            "bridge",
            argument,
            timeout=CONVERSATION_SECONDS,
            on_done=lambda ended: self._bridge_ended(count, path, ended),
        )
        self._call.link.deadlines.after(ORIGINATE_SECONDS + OVERDUE_SECONDS, lambda: self._overdue(count))

    def _callers_side(self) -> dict[str, str]:
        """Variables of the caller's channel."""
        found = {ANSWERED: "false", "continue_on_fail": "true", "hangup_after_bridge": "true"}
        if self._ringback:
            # At once: who picks up at once never rings, and the caller would hear nothing until the key (measured).
            found |= {"ringback": self._ringback, "transfer_ringback": self._ringback, "instant_ringback": "true"}
        return found

    def _overdue(self, count: int) -> None:
        """FreeSWITCH never said how it ended."""
        name = self._ringing
        if name and count == self._count:
            self._ringing = ""
            self._post(TransferFailed(name, "no_answer"))

    def _bridge_ended(self, count: int, briefing: Path | None, ended: esl.Event | LegError) -> None:
        """Nobody took the call, or the conversation is over (then the hang-up follows)."""
        if briefing is not None:
            briefing.unlink(missing_ok=True)
        name = self._ringing
        if not name or count != self._count:
            return
        self._ringing = ""
        if isinstance(ended, LegError):
            if self._call.connected and not self._call.hangup_cause:
                self._post(TransferFailed(name, "refused"))
        elif not ended.headers.get("Hangup-Cause"):
            self._post(TransferFailed(name, reason_of(ended)))

    def _handed_over(self, name: str) -> None:
        self._ringing = self._leaving = ""
        self.is_over = True
        self._call.request(commands.api("uuid_audio_fork", self._uuid, "stop"))  # refused where there is none
        self._post(Transferred(name))

    def _set(self, name: str, value: str) -> None:
        self._call.request(commands.api("uuid_setvar", self._uuid, name, value))


def twice(briefing: Sound) -> Sound:
    """What whoever answers hears: a moment of silence, the briefing, a pause, and the briefing again."""

    def silence(seconds: float) -> bytes:
        return bytes(round(seconds * briefing.rate) * 2)

    pcm = silence(LEAD_IN_SECONDS) + briefing.pcm + silence(PAUSE_SECONDS) + briefing.pcm
    return Sound(pcm, briefing.rate)


def asked(path: str) -> commands.Trusted:
    """The ``group_confirm_file`` that plays ``path`` and waits for a key: 1 accepts, anything else declines.

    The quotes hold two words together; a dial string unwraps one layer of backslashes for ``,``, one for ``=``.
    """
    if not re.fullmatch(r"[A-Za-z0-9_./-]+", path):
        raise UnsafeText(f"{path!r} cannot stand in a dial string; expected clips.directory without spaces or signs")
    wait = round(DECIDES_SECONDS * 1000)
    return commands.Trusted(
        f"play_and_get_digits 1 1 1 {wait} none {path} silence_stream://20 esl_agent_key 1 {wait} "
        r"\\\'hangup:CALL_REJECTED inline\\\'"
    )


def reason_of(ended: esl.Event) -> str:
    """Why nobody took the call, from the CHANNEL_EXECUTE_COMPLETE of a ``bridge`` that came to nothing."""
    headers = ended.headers
    cause = headers.get("variable_originate_disposition") or headers.get("variable_last_bridge_hangup_cause", "")
    if headers.get(f"variable_{ANSWERED}") == "true":
        return "declined"
    return REASONS.get(cause, "unreachable")
