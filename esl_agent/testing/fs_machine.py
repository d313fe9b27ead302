"""A pretend FreeSWITCH channel on one outbound event socket. Pure: no I/O, time is an argument.

    machine.receive(data, now)      bytes the agent wrote
    machine.tick(now)               at or after ``next_deadline``
    machine.outgoing()              effects in order: Write, Close, OpenFork ...
    machine.facts                   what happened, as (time, what, detail)

Laws:

1. Nothing is said before ``connect``.
2. Replies and ``api`` are immediate; what ``sendmsg`` asks for happens a frame later.
3. An agent that leaves within 0.1 s, or never says ``connect`` for 24.5 s, leaves a zombie: parked until the caller
   hangs up.
4. Without ``linger`` a hang-up by ``uuid_kill`` loses every event after it.
5. With ``linger`` the socket stays until ``exit``; the notice may precede CHANNEL_HANGUP_COMPLETE.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from esl_agent.testing import fs_wire
from esl_agent.testing.fs_api import Api
from esl_agent.testing.fs_channel import Channel, Party
from esl_agent.testing.fs_effects import Close, Effect, Write
from esl_agent.testing.fs_faults import Faults
from esl_agent.testing.fs_fork import Forks
from esl_agent.testing.fs_playback import WAKE, Executor, Job, Playing
from esl_agent.testing.fs_sounds import Load
from esl_agent.testing.fs_subscriptions import Subscriptions
from esl_agent.testing.fs_wire import Command, CommandReader, Headers

#: Seconds FreeSWITCH waits for ``connect``.
CONNECT_PATIENCE = 24.5
#: An agent that leaves sooner than this after the accept leaves a zombie.
ZOMBIE_WINDOW = 0.1
#: From the caller's BYE to CHANNEL_HANGUP.
BYE_DELAY = 0.025


class Phase(Enum):
    """Who has the call."""

    WAITING = "connected to the agent, which has not said connect"
    CONTROLLED = "the agent has it"
    LINGERING = "over, the socket lingers"
    ZOMBIE = "parked, nobody will ever come back to it"
    ON_ITS_OWN = "the agent is gone and the dialplan goes on"
    OVER = "over"
    CRASHED = "FreeSWITCH is down"


@dataclass(frozen=True, slots=True)
class Options:
    """What may differ between one FreeSWITCH and another."""

    full: bool = True
    """``socket host async full``; without it api, event and linger are refused."""
    has_next_action: bool = False
    """Something follows ``socket`` in the dialplan: the call outlives the agent."""
    audio_fork_application: bool = False
    """``execute audio_fork`` exists as a dialplan application."""
    loses_events_without_linger: bool = True
    notice_first: bool = False
    """With linger: the notice comes before CHANNEL_HANGUP (seen with uuid_kill and media bugs)."""
    epoch: float = 1_795_197_000.0
    """Wall clock at time 0."""
    apis: Mapping[str, str] = field(default_factory=dict)
    """Fixed answers to further API commands."""


class Machine:
    """One call. See the module."""

    def __init__(
        self,
        party: Party,
        load: Load,
        *,
        now: float = 0.0,
        options: Options | None = None,
        new_uuid: Callable[[], str] | None = None,
    ) -> None:
        self.options = options or Options()
        self.phase = Phase.WAITING
        self.is_up = True
        self.now = self.started_at = now
        self.channel = Channel(party, self.options.epoch)
        self.faults = Faults()
        self.facts: list[tuple[float, str, str]] = []
        self.crash_reason = ""
        self._count = 0
        self._new_uuid = new_uuid
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._effects: list[Effect] = []
        self._reader = CommandReader()
        self._held_events: list[bytes] = []
        self._stalled: list[Effect] = []
        self._is_open = True
        self._linger: int | None = None
        self._was_noticed = False
        self.subscriptions = Subscriptions()
        self.executor = Executor(self, load)
        self.forks = Forks(self)
        self._api = Api(self, self.options.apis)
        self._socket_uuid = self.new_uuid()
        self.after(CONNECT_PATIENCE, self._give_up_waiting)

    # what the shell drives

    @property
    def next_deadline(self) -> float | None:
        return self._due[0][0] if self._due else None

    @property
    def playing(self) -> Playing | None:
        """The playback the caller hears now."""
        return self.executor.playing

    def outgoing(self) -> list[Effect]:
        """Everything to be done since the last call, in order."""
        effects, self._effects = self._effects, []
        return effects

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the agent."""
        self.tick(now)
        if not self._is_open:
            return
        for command in self._reader.feed(data):
            self._command(command)
        if not self._reader.is_partial:
            for frame in self._held_events:
                self._write(frame)
            self._held_events.clear()

    def peer_closed(self, now: float) -> None:
        """The agent closed its socket, or it broke."""
        self.tick(now)
        if self._is_open:
            self._is_open = False
            self.note("agent gone")
            self._left_alone()

    def unreachable(self, why: str, now: float) -> None:
        """The agent does not listen: ``socket`` returns at once and the dialplan goes on."""
        self.tick(now)
        self._is_open = False
        self.note("agent unreachable", why)
        self.phase = Phase.ON_ITS_OWN
        self._go_on()

    def tick(self, now: float) -> None:
        """Do all that is due. Time never runs backwards: an earlier ``now`` counts as the last one."""
        now = max(now, self.now)
        while self._due and self._due[0][0] <= now:
            due, _, action = heapq.heappop(self._due)
            self.now = max(due, self.now)
            action()
        self.now = now

    def caller_hangs_up(self, now: float) -> None:
        """The caller's BYE, or CANCEL before the answer."""
        self.tick(now)
        self.note("caller hangs up")
        cause = "NORMAL_CLEARING" if self.channel.answer_state == "answered" else "ORIGINATOR_CANCEL"
        self.after(BYE_DELAY, lambda: self._bye(cause))

    def press(self, digit: str, now: float) -> None:
        """The caller presses a key."""
        self.tick(now)
        self.digit(digit)

    def fork_connected(self, bug: str, now: float) -> None:
        self.tick(now)
        self.after(WAKE, lambda: self.forks.connected(bug))

    def fork_failed(self, bug: str, reason: str, now: float) -> None:
        self.tick(now)
        self.after(WAKE, lambda: self.forks.failed(bug, reason))

    def fork_closed(self, bug: str, now: float) -> None:
        self.tick(now)
        self.after(0.005, lambda: self.forks.closed(bug))

    def fork_message(self, bug: str, text: str, now: float) -> None:
        self.tick(now)
        self.after(0.005, lambda: self.forks.message(bug, text))

    # faults by name

    def drop_eof(self) -> None:
        """The event socket ends with a FIN in the middle of the call."""
        self._act_now(Close())

    def reset(self) -> None:
        """The event socket ends with a RST."""
        self._act_now(Close(reset=True))

    def stall(self, seconds: float) -> None:
        """Nothing is sent for a while; then everything at once."""
        self.faults.stalled_until = self.now + seconds
        self.after(seconds, self._unstall)

    def split_every(self, size: int) -> None:
        """Everything sent arrives in pieces of ``size`` bytes."""
        self.faults.piece = size

    def garbage(self, data: bytes) -> None:
        """Send bytes that are no protocol."""
        self._write(data)

    def refuse(self, command_prefix: str, reply: str) -> None:
        """Commands that begin so are not carried out and get ``reply``."""
        self.faults.refused[command_prefix] = reply

    def never_reply(self, command_prefix: str) -> None:
        """Commands that begin so are swallowed."""
        self.faults.unanswered.add(command_prefix)

    def lose_events(self, name: str, count: int = -1) -> None:
        """The next ``count`` events of this name or subclass (-1: all) are lost."""
        self.faults.lost[name] = count

    # what the parts need of the machine

    def after(self, delay: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (self.now + delay, self._count, action))

    def new_uuid(self) -> str:
        self._count += 1
        return self._new_uuid() if self._new_uuid else f"00000000-0000-4000-8000-{self._count:012x}"

    def note(self, what: str, detail: str = "") -> None:
        self.facts.append((self.now, what, detail))

    def act(self, effect: Effect) -> None:
        if self.now < self.faults.stalled_until and isinstance(effect, Write | Close):
            self._stalled.append(effect)
        else:
            self._act_now(effect)

    def emit(self, name: str, tail: Headers, subclass: str = "", body: str = "") -> None:
        values = {"Unique-ID": self.channel.uuid, "Event-Name": name, "Event-Subclass": subclass}
        if not self._is_open or not self.subscriptions.wants(name, subclass, values):
            return
        if self.faults.loses(subclass or name):
            return
        form = self.subscriptions.form
        if name == "BACKGROUND_JOB":
            fragments = self.channel.job_event(self.now, form, tail)
        else:
            fragments = self.channel.event(self.now, name, form, tail, subclass)
        frame = fs_wire.event_frame(fragments, body, form)
        if self._reader.is_partial:
            self._held_events.append(frame)
        else:
            self._write(frame)

    def crash(self, reason: str) -> None:
        """The whole FreeSWITCH process dies; ``crash_reason`` says of what."""
        self.note("freeswitch crashed", reason)
        self.crash_reason = reason
        self.phase = Phase.CRASHED
        self.is_up = False
        self._due.clear()
        self._act_now(Close())

    def answer(self) -> None:
        if self.channel.answer_state != "answered":
            self.channel.answer(self.now)
            self.note("answered")
            self.emit("CHANNEL_ANSWER", [])
            self.channel.call_state = "ACTIVE"
            self.channel.set(endpoint_disposition="ANSWER")

    def pre_answer(self) -> None:
        if self.channel.answer_state == "ringing":
            self.channel.answer_state = "early"
            self.note("early media")
            self.channel.call_state = "EARLY"
            self.emit("CHANNEL_PROGRESS_MEDIA", [])

    def break_playback(self) -> None:
        self.executor.break_off(False)

    def digit(self, digit: str) -> None:
        self.note("digit", digit)
        self.emit("DTMF", [("DTMF-Digit", digit), ("DTMF-Duration", "800"), ("DTMF-Source", "RTP")])
        terminators = self.channel.variables.get("playback_terminators", "*")
        if self.playing and terminators != "none" and (terminators == "any" or digit in terminators):
            self.channel.set(playback_terminator_used=digit)
            self.executor.stop_now(0.0, "break")

    def transfer(self, target: str) -> None:
        self.note("transferred", target)
        self.executor.abandon("PLAYBACK ERROR")
        self._leave_socket()
        self.channel.state = "CS_ROUTING"
        self.emit("CHANNEL_STATE", [])

    def kill(self, cause: str) -> None:
        """``uuid_kill``: CHANNEL_HANGUP at once, the rest a frame later."""
        if not self.is_up:
            return
        if self._linger is None and self.options.loses_events_without_linger:
            self.subscriptions.events.clear()
            self.subscriptions.subclasses.clear()
        if self.options.notice_first:
            self._notice()
        self._mark_hung_up(cause, "send_bye")
        self.after(0.0008, self._notice)
        self.after(WAKE, lambda: self._unwind("FILE PLAYED"))

    def hang_up_by_message(self, cause: str) -> None:
        """``sendmsg hangup``, when its turn in the queue has come."""
        if self.is_up:
            self._mark_hung_up(cause or "NORMAL_CLEARING", "send_bye")
            self.executor.forget_queue()
            self.after(0.0005, lambda: self._unwind("FILE PLAYED"))

    def run(self, job: Job) -> None:
        """Every application but ``playback``."""
        if job.app == "answer":
            self.answer()
        elif job.app == "pre_answer":
            self.pre_answer()
        elif job.app in ("set", "export"):
            name, _, value = job.arg.partition("=")
            self.channel.set(**{name.strip(): value})
        elif job.app == "unset":
            self.channel.unset(job.arg.strip())
        elif job.app == "hangup":
            self.hang_up_by_message(job.arg)
        elif job.app == "transfer":
            self.after(0.0, lambda: self.transfer(job.arg))
        elif job.app == "audio_fork" and self.options.audio_fork_application:
            self.forks.command(f"start {job.arg}")
        elif job.app != "break":
            self.note("application", f"{job.app} {job.arg}".strip())

    # commands

    def _command(self, command: Command) -> None:
        self.note("command", command.line)
        line, verb = command.line, command.verb
        if self.phase is Phase.WAITING and verb != "connect":
            return
        if self.faults.is_unanswered(line):
            return
        refusal = self.faults.refusal(line)
        if refusal is not None:
            self._write(fs_wire.api_response(refusal) if verb == "api" else fs_wire.reply(refusal))
        elif verb == "connect":
            self._connect()
        elif verb in ("api", "bgapi", "event", "linger") and not self.options.full:
            self._reply("-ERR command not found")
        elif verb == "api":
            self._run_api(command.argument)
        elif verb == "bgapi":
            self._bgapi(command)
        elif verb == "sendmsg":
            self._sendmsg(command)
        elif verb == "exit":
            self._reply("+OK bye")
            self._say_goodbye()
        elif verb == "resume":
            self.channel.set(socket_resume="true")
            self._reply("+OK")
        else:
            self._reply(self._simple(command))

    def _simple(self, command: Command) -> str:
        verb, argument = command.verb, command.argument
        if verb == "linger":
            digits = argument.split(" ")[0] if argument else ""
            self._linger = -1 if not argument else int(digits) if digits.isdigit() else 0
            return "+OK will linger" if self._linger < 0 else f"+OK will linger {self._linger} seconds"
        if verb == "nolinger":
            self._linger = None
            return "+OK will not linger"
        if verb == "getvar":
            return self.channel.variables.get(argument) or "-ERR command not found"
        if verb == "sendevent":
            self.after(0.001, lambda: self._sent_event(argument, command))
            return f"+OK {self.new_uuid()}"
        return self.subscriptions.command(command) or "-ERR command not found"

    def _sent_event(self, name: str, command: Command) -> None:
        tail = [(header, value) for header, value in command.headers.items() if header != "event-subclass"]
        self.emit(name, tail, command.headers.get("event-subclass", ""), command.body)

    def _connect(self) -> None:
        if self.phase is Phase.WAITING:
            self.phase = Phase.CONTROLLED
            self.after(WAKE, lambda: self.emit("CHANNEL_PARK", []) if self.is_up else None)
        self._write(fs_wire.connect_reply(self.channel.connect_headers(self.now)))

    def _run_api(self, line: str) -> None:
        answer = self._api.run(line)
        if self.phase is not Phase.CRASHED:
            self._write(fs_wire.api_response(answer or "-ERR no reply\n"))

    def _bgapi(self, command: Command) -> None:
        job = command.headers.get("job-uuid") or self.new_uuid()
        self._write(fs_wire.reply(f"+OK Job-UUID: {job}", [("Job-UUID", job)]))
        answer = self._api.run(command.argument)
        name, _, arguments = command.argument.partition(" ")
        tail = [("Job-UUID", job), ("Job-Owner-UUID", self.channel.uuid), ("Job-Command", name)]
        if arguments:
            tail.append(("Job-Command-Arg", arguments))
        self.after(0.0002, lambda: self.emit("BACKGROUND_JOB", tail, body=answer or "-ERR no reply\n"))

    def _sendmsg(self, command: Command) -> None:
        headers = command.headers
        if command.argument and command.argument != self.channel.uuid:
            self._reply(f"-ERR invalid session id [{command.argument}]")
            return
        self._reply("+OK")
        call_command = headers.get("call-command", "")
        if not self.is_up or call_command not in ("execute", "hangup"):
            return
        if call_command == "hangup":
            job = Job("", headers.get("hangup-cause", "NORMAL_CLEARING"), "")
        else:
            loops = headers.get("loops", "1")
            job = Job(
                headers.get("execute-app-name", ""),
                headers.get("execute-app-arg") or command.body,
                headers.get("event-uuid") or self.new_uuid(),
                headers.get("event-lock") == "true",
                int(loops) if loops.isdigit() else 1,
            )
        self.executor.queue(job)

    # the end

    def _bye(self, cause: str) -> None:
        if self.is_up:
            if self.options.notice_first:
                self._notice()
            self._mark_hung_up(cause, "recv_bye" if cause == "NORMAL_CLEARING" else "recv_cancel")
            self._unwind("PLAYBACK ERROR")

    def _mark_hung_up(self, cause: str, disposition: str) -> None:
        self.is_up = False
        self.channel.cause = cause
        self.channel.answer_state = "hangup"
        self.channel.set(sip_hangup_disposition=disposition)
        self.note("hung up", cause)
        self.emit("CHANNEL_HANGUP", [])
        self.channel.set(hangup_cause=cause, hangup_cause_q850="16" if cause == "NORMAL_CLEARING" else "31")

    def _unwind(self, response: str) -> None:
        if self.executor.stack:
            self.executor.abandon(response)
        if self.phase in (Phase.CONTROLLED, Phase.LINGERING):
            self._leave_socket()
        self.channel.state = "CS_HANGUP"
        self.emit("CHANNEL_STATE", [])
        self.forks.end_all()
        self.channel.state = "CS_REPORTING"
        self.emit("CHANNEL_STATE", [])
        self.channel.call_state = "HANGUP"
        answered = self.channel.answered_at
        self.channel.set(
            duration=int(self.now - self.started_at),
            billsec=int(self.now - answered) if answered else 0,
            billmsec=int((self.now - answered) * 1000) if answered else 0,
        )
        self.emit("CHANNEL_HANGUP_COMPLETE", [])
        if self._is_open:
            self._notice()
        else:
            self.phase = Phase.OVER

    def _leave_socket(self) -> None:
        self.emit("CHANNEL_UNPARK", [])
        response = ("Application-Response", self.executor.last_response)
        where = ("Application-Data", "127.0.0.1:8084 async full")
        self.emit(
            "CHANNEL_EXECUTE_COMPLETE",
            [("Application", "socket"), where, response, ("Application-UUID", self._socket_uuid)],
        )

    def _notice(self) -> None:
        """The linger notice, once; without linger the goodbye, but only when all is over."""
        if self._linger is None:
            if self.channel.state == "CS_REPORTING" or self.options.loses_events_without_linger:
                self._say_goodbye()
            return
        if self._was_noticed:
            return
        self._was_noticed = True
        self.phase = Phase.LINGERING
        self._write(fs_wire.linger_notice(self.channel.uuid, self.channel.name, self._linger))
        if self._linger >= 0:
            self.after(self._linger + 0.5, self._say_goodbye)

    def _say_goodbye(self) -> None:
        if self._is_open:
            self._write(fs_wire.disconnect_notice(self.channel.uuid))
            self.act(Close())

    def _give_up_waiting(self) -> None:
        if self.phase is Phase.WAITING and self._is_open and self.is_up:
            self._say_goodbye()

    def _left_alone(self) -> None:
        """The socket is gone: the running application ends, then the dialplan goes on; or nobody ever comes."""
        if not self.is_up:
            self.phase = Phase.OVER
        elif self.phase is Phase.WAITING or self.now - self.started_at < ZOMBIE_WINDOW:
            self.phase = Phase.ZOMBIE
            self.note("zombie")
        else:
            self.phase = Phase.ON_ITS_OWN
            self.executor.forget_queue()
            self._go_on()

    def _go_on(self) -> None:
        if self.channel.variables.get("socket_resume") == "true":
            self.executor.abandon("PLAYBACK ERROR")
        if self.executor.stack:
            self.after(WAKE, self._go_on)
        elif self.is_up and self.options.has_next_action:
            self.note("dialplan goes on")
        elif self.is_up:
            self._mark_hung_up("NORMAL_CLEARING", "send_bye")
            self._unwind("FILE PLAYED")

    # the wire

    def _reply(self, text: str) -> None:
        self._write(fs_wire.reply(text))

    def _write(self, data: bytes) -> None:
        if self._is_open:
            for piece in self.faults.pieces(data):
                self.act(Write(piece))

    def _act_now(self, effect: Effect) -> None:
        self._effects.append(effect)
        if isinstance(effect, Close) and self._is_open:
            self._is_open = False
            if self.phase is not Phase.CRASHED:
                self._left_alone()

    def _unstall(self) -> None:
        held, self._stalled = self._stalled, []
        for effect in held:
            self._act_now(effect)
