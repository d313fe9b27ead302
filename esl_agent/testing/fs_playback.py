"""What runs on a pretend channel: the queue of ``sendmsg``, playbacks inside playbacks, locks and breaks. Pure.

Laws (each measured on FreeSWITCH 1.11.3-dev; a test has the same name):

1. A message runs 20.5 ms after it was queued, or at once when a locked application before it ends.
2. Without ``event-lock`` a running playback lets the next message run inside it and goes on afterwards.
3. A break ends the innermost playback 20.5 ms later, the ones around it 20 ms apart; ``all`` empties the queue
   at once, without any event.
4. The start of an application clears a pending break.
5. Only ``Playback-Status`` tells a break from the end; ``Application-Response`` is FILE PLAYED both times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from esl_agent.testing.fs_channel import Channel
from esl_agent.testing.fs_sounds import Load, Playable, resolve
from esl_agent.testing.fs_wire import Headers

#: From a command to the loop of the channel noticing it.
WAKE = 0.0205
FRAME = 0.02
#: FreeSWITCH reads files in blocks of this many samples; playback_ms counts them.
READ_BLOCK = 8192


class Host(Protocol):
    """What the executor needs of its machine."""

    now: float
    channel: Channel

    def emit(self, name: str, tail: Headers) -> None: ...
    def after(self, delay: float, action: Callable[[], None]) -> None: ...
    def note(self, what: str, detail: str = "") -> None: ...
    def pre_answer(self) -> None: ...
    def run(self, job: Job) -> None: ...
    def hang_up_by_message(self, cause: str) -> None: ...
    def start_unicast(self, headers: Mapping[str, str]) -> None: ...
    def completed(self, application: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """One ``sendmsg``. ``app`` is empty for ``call-command: hangup``, whose cause is ``arg``, and for ``unicast``."""

    app: str
    arg: str
    uuid: str
    locked: bool = False
    loops: int = 1
    unicast: Mapping[str, str] | None = None
    """The headers of ``call-command: unicast``."""


@dataclass(slots=True, eq=False)
class Playing:
    """A playback that has begun and not ended. Only the innermost one sounds."""

    job: Job
    playable: Playable
    resumed_at: float
    before: float = 0.0
    """Seconds played before it was last interrupted."""
    round: int = 0
    """Counts resumptions, so that a timer of an earlier stretch is known as such."""
    taken: int = 0
    """Bytes of the sound that ``take_frame`` gave away."""

    def position(self, now: float) -> float:
        """Seconds of the file that sounded, in whole frames."""
        played = self.before + max(0.0, now - self.resumed_at)
        return min(int(played / FRAME + 1e-6) * FRAME, self.playable.seconds)

    def take_frame(self, size: int) -> bytes:
        """The next ``size`` bytes of the sound, shorter at its end, empty for silence."""
        sound = self.playable.sound
        if sound is None:
            return b""
        self.taken += size
        return sound.pcm[self.taken - size : self.taken]


class Executor:
    """Runs jobs one inside or after the other."""

    def __init__(self, host: Host, load: Load) -> None:
        self._host = host
        self._load = load
        self._queue: deque[Job] = deque()
        self.stack: list[Playing] = []
        self._is_breaking = False
        self._free_at = 0.0
        self.lasting: Job | None = None
        """An application other than a playback that takes its time (``bridge``)."""
        self.last_response = "_none_"

    @property
    def playing(self) -> Playing | None:
        """The playback that sounds now."""
        return self.stack[-1] if self.stack else None

    def queue(self, job: Job, delay: float = WAKE) -> None:
        if delay > WAKE:
            self._host.after(delay - WAKE, lambda: self.queue(job))
            return
        self._queue.append(job)
        self._host.after(delay, self.drain)

    def break_off(self, everything: bool) -> None:
        """``uuid_break``. Harmless when nothing plays, but ``everything`` always empties the queue."""
        if everything:
            self._queue.clear()
        if self.stack and not self._is_breaking:
            self._is_breaking = True
            self._host.after(WAKE, self._break)

    def stop_now(self, delay: float, status: str = "done") -> None:
        """End the innermost playback after ``delay`` (uuid_fileman stop, a terminator digit)."""
        top = self.playing
        self._host.after(delay, lambda: self._end_if_top(top, status))

    def abandon(self, response: str) -> None:
        """The channel ends: everything running ends with status done; what was queued gets no event."""
        self._queue.clear()
        self._is_breaking = False
        while self.stack:
            self._finish(self.stack.pop(), "done", response)
        if self.lasting is not None:
            self.finish(self.lasting)

    def finish(self, job: Job) -> None:
        """An application that took its time has ended."""
        if self.lasting is job:
            self.lasting = None
            self._complete(job, "_none_")

    def forget_queue(self) -> None:
        """What has not begun never will."""
        self._queue.clear()

    def drain(self) -> None:
        """Run what is queued, as far as locks allow."""
        if self._is_breaking:
            return
        if self._host.now < self._free_at - 1e-9:
            self._host.after(self._free_at - self._host.now, self.drain)
            return
        while self._queue and not (self.stack and self.stack[-1].job.locked) and not self._is_breaking:
            self._execute(self._queue.popleft())

    def _execute(self, job: Job) -> None:
        host = self._host
        if job.unicast is not None:
            host.start_unicast(job.unicast)
            return
        if not job.app:
            host.hang_up_by_message(job.arg)
            return
        if job.app == "playback":
            host.pre_answer()
        host.channel.set(current_loop=1, total_loops=1)
        if job.arg:
            host.channel.set(current_application_data=job.arg)
        else:
            host.channel.unset("current_application_data")
        host.channel.set(current_application=job.app)
        host.emit("CHANNEL_EXECUTE", self._tail(job))
        if job.app == "playback":
            self._play(job)
            return
        if job.app == "bridge":
            self.lasting = job
            host.run(job)
            return
        host.run(job)
        if job.app == "break" and self.stack:
            self._is_breaking = True
            host.after(0.001, self._break)
        self._complete(job, "_none_")

    def _play(self, job: Job) -> None:
        self._is_breaking = False
        playable = resolve(job.arg, self._load) if job.arg else None
        if playable is None:
            self._complete(job, "FILE NOT FOUND" if job.arg else "PLAYBACK ERROR")
            return
        host = self._host
        if self.stack:
            outer = self.stack[-1]
            outer.before += max(0.0, host.now - outer.resumed_at)
            outer.round += 1
        playing = Playing(job, playable, host.now)
        self.stack.append(playing)
        host.note("playback started", playable.path)
        host.emit("PLAYBACK_START", self._file(playable))
        self._time_end(playing)

    def _time_end(self, playing: Playing) -> None:
        stretch, left = playing.round, playing.playable.seconds - playing.before
        frames = -(-max(0.0, left) // FRAME) if left % FRAME > 1e-6 else round(left / FRAME)
        self._host.after(frames * FRAME, lambda: self._end_if_top(playing, "done", stretch))

    def _end_if_top(self, playing: Playing | None, status: str, stretch: int | None = None) -> None:
        if playing is None or self.playing is not playing or (stretch is not None and playing.round != stretch):
            return
        self.stack.pop()
        whole = status == "done" and stretch is not None
        self._finish(playing, status, "FILE PLAYED", whole)
        self._resume()
        if whole:
            self._repeat(playing.job)
        self.drain()

    def _repeat(self, job: Job) -> None:
        if job.loops > 1:
            self._queue.appendleft(Job(job.app, job.arg, job.uuid, job.locked, job.loops - 1))

    def _resume(self) -> None:
        if self.stack:
            outer = self.stack[-1]
            outer.resumed_at = self._host.now
            outer.round += 1
            self._time_end(outer)

    def _break(self) -> None:
        if not self._is_breaking or not self.stack:
            self._is_breaking = False
            return
        self._finish(self.stack.pop(), "break", "FILE PLAYED")
        self._free_at = self._host.now + FRAME
        if self.stack:
            self._resume()
            self._host.after(FRAME, self._break)
        else:
            self._is_breaking = False
            self._host.after(FRAME, self.drain)

    def _finish(self, playing: Playing, status: str, response: str, whole: bool = False) -> None:
        host = self._host
        rate = host.channel.party.rate
        heard = playing.playable.seconds if whole else playing.position(host.now)
        samples = round(heard * rate)
        blocks = samples if whole else -(-samples // READ_BLOCK) * READ_BLOCK
        host.channel.set(
            playback_last_offset_pos=samples,
            playback_seconds=blocks // rate,
            playback_ms=blocks * 1000 // rate,
            playback_samples=blocks,
        )
        host.note("playback stopped", f"{status} {heard:.2f} {playing.playable.path}")
        host.emit("PLAYBACK_STOP", [*self._file(playing.playable), ("Playback-Status", status)])
        self._complete(playing.job, response)

    def _complete(self, job: Job, response: str) -> None:
        self.last_response = response
        self._host.completed(job.app)
        self._host.channel.set(current_application_response=response)
        tail = self._tail(job)
        uuid = tail.pop()
        self._host.emit("CHANNEL_EXECUTE_COMPLETE", [*tail, ("Application-Response", response), uuid])

    def _tail(self, job: Job) -> Headers:
        data = [("Application-Data", job.arg)] if job.arg else []
        return [("Application", job.app), *data, ("Application-UUID", job.uuid)]

    def _file(self, playable: Playable) -> Headers:
        kind = [] if playable.file_type == "file" else [("Playback-File-Type", playable.file_type)]
        return [*kind, ("Playback-File-Path", playable.path), *playable.params]
