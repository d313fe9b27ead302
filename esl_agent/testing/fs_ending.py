"""How a pretend call ends: BYE, kill, the agent's hang-up, linger, and an agent that leaves. Pure.

The order of events is FreeSWITCH's: CHANNEL_HANGUP, PLAYBACK_STOP, CHANNEL_EXECUTE_COMPLETE (playback), CHANNEL_UNPARK,
CHANNEL_EXECUTE_COMPLETE (socket), CHANNEL_STATE twice, CHANNEL_HANGUP_COMPLETE, notice. CHANNEL_DESTROY never comes.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from esl_agent.testing import fs_wire
from esl_agent.testing.fs_channel import Channel
from esl_agent.testing.fs_fork import Forks
from esl_agent.testing.fs_playback import WAKE, Executor
from esl_agent.testing.fs_socket import EventSocket
from esl_agent.testing.fs_subscriptions import Subscriptions
from esl_agent.testing.fs_unicast import Unicast
from esl_agent.testing.fs_wire import Headers

#: Seconds FreeSWITCH waits for ``connect``.
CONNECT_PATIENCE = 24.5
#: An agent that leaves sooner than this after the accept leaves a zombie.
ZOMBIE_WINDOW = 0.1
#: From the caller's BYE to CHANNEL_HANGUP.
BYE_DELAY = 0.025

_Q850 = {"NORMAL_CLEARING": "16", "USER_BUSY": "17", "NO_ANSWER": "19", "CALL_REJECTED": "21"}


class Phase(Enum):
    """Who has the call."""

    WAITING = "connected to the agent, which has not said connect"
    CONTROLLED = "the agent has it"
    LINGERING = "over, the socket lingers"
    ZOMBIE = "parked, nobody will ever come back to it"
    TRANSFERRED = "another extension has it"
    ON_ITS_OWN = "the agent is gone and the dialplan goes on"
    OVER = "over"
    CRASHED = "FreeSWITCH is down"


class Host(Protocol):
    """What the ending needs of its machine."""

    now: float
    started_at: float
    phase: Phase
    is_up: bool
    channel: Channel
    executor: Executor
    forks: Forks
    unicast: Unicast
    socket: EventSocket
    subscriptions: Subscriptions

    def emit(self, name: str, tail: Headers) -> None: ...
    def after(self, delay: float, action: Callable[[], None]) -> None: ...
    def note(self, what: str, detail: str = "") -> None: ...


class Ending:
    """``socket_uuid``: Application-UUID of the ``socket`` application. ``linger``: None, -1 (until exit) or seconds."""

    def __init__(
        self, host: Host, socket_uuid: str, *, is_lossy: bool, is_notice_first: bool, has_next_action: bool
    ) -> None:
        self.linger: int | None = None
        self._host = host
        self._socket_uuid = socket_uuid
        self._is_lossy = is_lossy
        self._is_notice_first = is_notice_first
        self._has_next_action = has_next_action
        self._was_noticed = False

    def caller_left(self) -> None:
        """BYE, or CANCEL before the answer."""
        is_answered = self._host.channel.answer_state == "answered"
        self._host.after(BYE_DELAY, lambda: self._bye("NORMAL_CLEARING" if is_answered else "ORIGINATOR_CANCEL"))

    def kill(self, cause: str) -> None:
        """``uuid_kill``: CHANNEL_HANGUP at once, the rest a frame later; without linger nothing of it arrives."""
        host = self._host
        if not host.is_up:
            return
        if self.linger is None and self._is_lossy:
            host.subscriptions.events.clear()
            host.subscriptions.subclasses.clear()
        if self._is_notice_first and self.linger is not None:
            self._notice()
        self._mark(cause, "send_bye")
        host.after(0.0008, self._notice)
        host.after(WAKE, lambda: self._unwind("FILE PLAYED"))

    def by_message(self, cause: str) -> None:
        """``sendmsg hangup``, when its turn in the queue has come."""
        if self._host.is_up:
            self._mark(cause or "NORMAL_CLEARING", "send_bye")
            self._host.executor.forget_queue()
            self._host.after(0.0005, lambda: self._unwind("FILE PLAYED"))

    def agent_left(self) -> None:
        """The socket is gone: the running application ends, then the dialplan goes on; or nobody ever comes."""
        host = self._host
        if host.phase is Phase.CRASHED:
            return
        if not host.is_up:
            host.phase = Phase.OVER
        elif host.phase is Phase.TRANSFERRED:
            host.note("agent let go of a transferred call")
        elif host.phase is Phase.WAITING or host.now - host.started_at < ZOMBIE_WINDOW:
            host.phase = Phase.ZOMBIE
            host.note("zombie")
        else:
            host.phase = Phase.ON_ITS_OWN
            host.executor.forget_queue()
            self.go_on()

    def go_on(self) -> None:
        """What the dialplan does without an agent, once nothing runs any more."""
        host = self._host
        if not host.is_up:
            return
        if host.channel.variables.get("socket_resume") == "true":
            host.executor.abandon("PLAYBACK ERROR")
        if host.executor.stack or host.executor.lasting:
            host.after(WAKE, self.go_on)
        elif self._has_next_action:
            host.note("dialplan goes on")
        else:
            self._mark("NORMAL_CLEARING", "send_bye")
            self._unwind("FILE PLAYED")

    def give_up_waiting(self) -> None:
        """No ``connect`` came."""
        if self._host.phase is Phase.WAITING and self._host.is_up:
            self.say_goodbye()

    def say_goodbye(self) -> None:
        """The disconnect notice, and FIN."""
        self._host.socket.write(fs_wire.disconnect_notice(self._host.channel.uuid))
        self._host.socket.close()

    def leave_socket(self) -> None:
        """The ``socket`` application ends."""
        host = self._host
        host.emit("CHANNEL_UNPARK", [])
        response = ("Application-Response", host.executor.last_response)
        where = ("Application-Data", "127.0.0.1:8084 async full")
        tail = [("Application", "socket"), where, response, ("Application-UUID", self._socket_uuid)]
        host.emit("CHANNEL_EXECUTE_COMPLETE", tail)

    def _bye(self, cause: str) -> None:
        if self._host.is_up:
            if self._is_notice_first and self.linger is not None:
                self._notice()
            self._mark(cause, "recv_bye" if cause == "NORMAL_CLEARING" else "recv_cancel")
            self._unwind("PLAYBACK ERROR")

    def _mark(self, cause: str, disposition: str) -> None:
        host = self._host
        host.is_up = False
        host.channel.cause = cause
        host.channel.answer_state = "hangup"
        host.note("hung up", cause)
        host.emit("CHANNEL_HANGUP", [])
        q850 = _Q850.get(cause, "31")
        host.channel.set(sip_hangup_disposition=disposition, hangup_cause=cause, hangup_cause_q850=q850)

    def _unwind(self, response: str) -> None:
        host, channel = self._host, self._host.channel
        host.executor.abandon(response)
        if host.phase not in (Phase.ZOMBIE, Phase.TRANSFERRED):
            self.leave_socket()
        channel.state = "CS_HANGUP"
        host.emit("CHANNEL_STATE", [])
        host.forks.end_all()
        host.unicast.end()
        channel.state = "CS_REPORTING"
        host.emit("CHANNEL_STATE", [])
        channel.report(host.now)
        host.emit("CHANNEL_HANGUP_COMPLETE", [])
        host.note("call over", channel.cause)
        if host.socket.is_open:
            self._notice()
        else:
            host.phase = Phase.OVER

    def _notice(self) -> None:
        """The linger notice, once. Without linger the goodbye, as soon as events may be lost."""
        host = self._host
        if self.linger is None:
            if host.channel.state == "CS_REPORTING" or self._is_lossy:
                self.say_goodbye()
            return
        if self._was_noticed:
            return
        self._was_noticed = True
        host.phase = Phase.LINGERING
        host.socket.write(fs_wire.linger_notice(host.channel.uuid, host.channel.name, self.linger))
        if self.linger >= 0:
            host.after(self.linger + 0.5, self.say_goodbye)
