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

from esl_agent.testing import fs_wire
from esl_agent.testing.fs_api import Api
from esl_agent.testing.fs_bridge import Bridges, Callee
from esl_agent.testing.fs_channel import Channel, Party
from esl_agent.testing.fs_commands import Commands
from esl_agent.testing.fs_effects import Effect
from esl_agent.testing.fs_ending import CONNECT_PATIENCE, Ending, Phase
from esl_agent.testing.fs_fork import Forks
from esl_agent.testing.fs_playback import WAKE, Executor, Job, Playing
from esl_agent.testing.fs_socket import EventSocket
from esl_agent.testing.fs_sounds import Load
from esl_agent.testing.fs_subscriptions import Subscriptions
from esl_agent.testing.fs_unicast import Unicast
from esl_agent.testing.fs_wire import Headers


@dataclass(frozen=True, slots=True)
class Options:
    """What may differ between one FreeSWITCH and another."""

    full: bool = True
    """``socket host async full``; without it api, event and linger are refused."""
    has_next_action: bool = False
    """Something follows ``socket`` in the dialplan: the call outlives the agent."""
    audio_fork_application: bool = False
    """``execute audio_fork`` exists as a dialplan application."""
    jambonz: bool = False
    """mod_audio_fork is jambonz's build: it plays what it is sent."""
    loses_events_without_linger: bool = True
    notice_first: bool = False
    """With linger: the notice comes before CHANNEL_HANGUP (seen with uuid_kill and media bugs)."""
    epoch: float = 1_795_197_000.0
    """Wall clock at time 0."""
    apis: Mapping[str, str] = field(default_factory=dict)
    """Fixed answers to further API commands."""
    callees: Mapping[str, Callee] = field(default_factory=dict)
    """Whom ``bridge`` finds, by the user or number that a dial string ends with."""


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
        self.channel = Channel(party, self.options.epoch, now)
        self.facts: list[tuple[float, str, str]] = []
        self.crash_reason = ""
        self.writes_when_idle = False
        """Something is written to the caller while nothing plays; read when the sound began."""
        self._count = 0
        self._new_uuid = new_uuid
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self.socket = EventSocket(lambda: self.now, self._agent_left)
        self.subscriptions = Subscriptions()
        self.executor = Executor(self, load)
        self.forks = Forks(self, self.options.jambonz)
        self.unicast = Unicast(self)
        self.bridges = Bridges(self, self.options.callees, load)
        self._commands = Commands(self, Api(self, self.options.apis), self.options.full)
        self.ending = Ending(
            self,
            self.new_uuid(),
            is_lossy=self.options.loses_events_without_linger,
            is_notice_first=self.options.notice_first,
            has_next_action=self.options.has_next_action,
        )
        self.after(CONNECT_PATIENCE, self.ending.give_up_waiting)

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
        return self.socket.take()

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the agent."""
        self.tick(now)
        if self.socket.is_open:
            for command in self.socket.feed(data):
                self._commands.run(command)
            self.socket.release_events()

    def peer_closed(self, now: float) -> None:
        """The agent closed its socket, or it broke."""
        self.tick(now)
        if self.socket.is_open:
            self.socket.lost()
            self.note("agent gone")
            self._agent_left()

    def unreachable(self, why: str, now: float) -> None:
        """The agent does not listen: ``socket`` returns at once and the dialplan goes on."""
        self.tick(now)
        self.socket.lost()
        self.note("agent unreachable", why)
        self.phase = Phase.ON_ITS_OWN
        self.ending.go_on()

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
        self.ending.caller_left()

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
        self.socket.close(at_once=True)

    def reset(self) -> None:
        """The event socket ends with a RST."""
        self.socket.close(reset=True, at_once=True)

    def stall(self, seconds: float) -> None:
        """Nothing is sent for a while; then everything at once."""
        self.socket.faults.stalled_until = self.now + seconds
        self.after(seconds, self.socket.unstall)

    def split_every(self, size: int) -> None:
        """Everything sent arrives in pieces of ``size`` bytes."""
        self.socket.faults.piece = size

    def garbage(self, data: bytes) -> None:
        """Send bytes that are no protocol."""
        self.socket.write(data)

    def refuse(self, command_prefix: str, reply: str) -> None:
        """Commands that begin so are not carried out and get ``reply``."""
        self.socket.faults.refused[command_prefix] = reply

    def never_reply(self, command_prefix: str) -> None:
        """Commands that begin so are swallowed."""
        self.socket.faults.unanswered.add(command_prefix)

    def lose_events(self, name: str, count: int = -1) -> None:
        """The next ``count`` events of this name or subclass (-1: all) are lost."""
        self.socket.faults.lost[name] = count

    # what the parts need of the machine

    def _agent_left(self) -> None:
        self.ending.agent_left()

    def after(self, delay: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (self.now + delay, self._count, action))

    def new_uuid(self) -> str:
        self._count += 1
        return self._new_uuid() if self._new_uuid else f"00000000-0000-4000-8000-{self._count:012x}"

    def note(self, what: str, detail: str = "") -> None:
        self.facts.append((self.now, what, detail))

    def act(self, effect: Effect) -> None:
        self.socket.act(effect)

    def emit(self, name: str, tail: Headers, subclass: str = "", body: str = "") -> None:
        values = {"Unique-ID": self.channel.uuid, "Event-Name": name, "Event-Subclass": subclass}
        if not self.socket.is_open or not self.subscriptions.wants(name, subclass, values):
            return
        if self.socket.faults.loses(subclass or name):
            return
        form = self.subscriptions.form
        if name == "BACKGROUND_JOB":
            fragments = self.channel.job_event(self.now, form, tail)
        else:
            fragments = self.channel.event(self.now, name, form, tail, subclass)
        self.socket.write_event(fs_wire.event_frame(fragments, body, form))

    def crash(self, reason: str) -> None:
        """The whole FreeSWITCH process dies; ``crash_reason`` says of what."""
        self.note("freeswitch crashed", reason)
        self.crash_reason = reason
        self.phase = Phase.CRASHED
        self.is_up = False
        self._due.clear()
        self.socket.close(at_once=True)

    def answer(self) -> None:
        if self.channel.answer_state != "answered":
            self.writes_when_idle = self.channel.variables.get("send_silence_when_idle", "0") != "0"
            self.channel.answer(self.now)
            self.note("answered")
            self.emit("CHANNEL_ANSWER", [])
            self.channel.call_state = "ACTIVE"

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
        self.leave_park()
        self.unicast.end()
        self.channel.state = "CS_ROUTING"
        self.phase = Phase.TRANSFERRED
        self.emit("CHANNEL_STATE", [])

    def start_unicast(self, headers: Mapping[str, str]) -> None:
        self.unicast.activate(headers)

    def completed(self, application: str) -> None:
        self.unicast.completed(application)

    def leave_park(self) -> None:
        self.executor.abandon("PLAYBACK ERROR")
        self.ending.leave_socket()

    def unicast_failed(self, reason: str, now: float) -> None:
        self.tick(now)
        self.unicast.failed(reason)

    def kill(self, cause: str) -> None:
        self.ending.kill(cause)

    def hang_up_by_message(self, cause: str) -> None:
        self.ending.by_message(cause)

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
        elif job.app == "bridge":
            self.bridges.start(job)
        elif job.app == "audio_fork" and self.options.audio_fork_application:
            self.forks.command(f"start {job.arg}")
        elif job.app != "break":
            self.note("application", f"{job.app} {job.arg}".strip())
