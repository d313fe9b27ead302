"""A pretend FreeSWITCH for tests, demos and benchmarks: calls an agent over a real event socket and audio fork.

    switch = PretendFreeSwitch(("127.0.0.1", 8084))
    call = switch.call("4930123456", audio=PretendCaller([Say("tt-weasels"), HangUp()]), record="call.wav")
    call.wait(60)

Works in any gevent process, patched or not. One clock greenlet serves every call; sockets are served from the hub, so
a call costs no greenlet. ``PreparedAudio`` and no ``record`` is the cheap way to make many calls.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import gevent
from gevent import socket

from esl_agent.audio.pcm import Sound
from esl_agent.testing.caller import Deed
from esl_agent.testing.fork_client import PreparedAudio
from esl_agent.testing.fs_call import PretendCall
from esl_agent.testing.fs_channel import Party
from esl_agent.testing.fs_files import SoundFiles
from esl_agent.testing.fs_machine import Machine, Options

#: Calls are spread over this many slots of the 20 ms, as real calls are.
SLOTS = 4
FRAME = 0.02


class CallerAudio(Protocol):
    """Who sits at the other end. ``PretendCaller`` is one."""

    rate: int
    """Must be the channel's codec rate."""
    is_connected: bool
    """Set by the call: it is answered, or there is early media."""

    def next_frame(self, heard: bytes, now: float) -> bytes: ...
    def take_deeds(self) -> list[Deed]: ...


class PretendFreeSwitch:
    """Makes calls to the agent at ``agent``. ``options`` hold for every call."""

    def __init__(self, agent: tuple[str, int] = ("127.0.0.1", 8084), *, options: Options | None = None) -> None:
        self.agent = agent
        self.options = options or Options(epoch=time.time() - time.monotonic())
        self.calls: list[PretendCall] = []
        self.worst_lag = 0.0
        """Seconds the clock was late at worst: a generator that falls behind looks like a late agent."""
        self._slots: list[list[PretendCall]] = [[] for _ in range(SLOTS)]
        self._files: dict[tuple[int, bool], SoundFiles] = {}
        self._clock: gevent.Greenlet | None = None

    def call(
        self,
        did: str,
        caller: str = "4915550001",
        *,
        caller_name: str | None = None,
        audio: CallerAudio | PreparedAudio | Sequence[bytes] | None = None,
        codec_rate: int = 8000,
        variables: Mapping[str, str] | None = None,
        record: str | Path | None = None,
        merge_frames: int = 1,
        keep_wire: bool = False,
        options: Options | None = None,
    ) -> PretendCall:
        """A call from ``caller`` to ``did`` reaches the agent. Returns once the event socket is connected, or
        refused (then ``call.state`` is OVER, or ON_ITS_OWN if the dialplan goes on).

        ``audio`` frames given as a list must be at the fork's rate and repeat for ever. ``record``: stereo WAV, left
        the caller, right the agent, at ``codec_rate``. ``merge_frames`` sends so many frames in one message, as
        FreeSWITCH does when it is short of CPU. ``keep_wire`` keeps the event socket's bytes in ``call.wire``.
        Raises ValueError for an ``audio`` of another rate.
        """
        if isinstance(audio, list | tuple):
            audio = PreparedAudio(audio)
        live = None if audio is None or isinstance(audio, PreparedAudio | Sequence) else audio
        if live is not None and live.rate != codec_rate:
            raise ValueError(f"pretend FreeSWITCH: the caller speaks at {live.rate} Hz, the codec has {codec_rate} Hz")
        is_heard = live is not None or record is not None
        party = Party(
            str(uuid.uuid4()), did, caller, caller if caller_name is None else caller_name, codec_rate, variables or {}
        )
        machine = Machine(
            party,
            self._files.setdefault((codec_rate, is_heard), SoundFiles(codec_rate, is_heard)).load,
            now=time.monotonic(),
            options=options or self.options,
            new_uuid=lambda: str(uuid.uuid4()),
        )
        call = PretendCall(
            machine, audio if isinstance(audio, PreparedAudio) else None, live, record, merge_frames, keep_wire
        )
        try:
            sock = socket.create_connection(self.agent, 10.0)
        except OSError as error:
            call.refused(str(error))
            return call
        self.calls.append(call)
        self._slots[len(self.calls) % SLOTS].append(call)
        call.connected(sock)
        if self._clock is None:
            self._clock = gevent.spawn(self._run)
        return call

    def sounds(self) -> dict[str, Sound]:
        """Files that were played lately, by path, as they sounded on calls that somebody heard."""
        return {path: sound for files in self._files.values() for path, sound in files.heard().items()}

    def close(self) -> None:
        """End every call without ceremony and stop the clock."""
        if self._clock is not None:
            self._clock.kill()
            self._clock = None
        for call in self.calls:
            call.close()

    def __enter__(self) -> PretendFreeSwitch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        """Slot after slot on an absolute schedule; late slots are made up for at once."""
        started = time.monotonic()
        step = 0
        while True:
            step += 1
            due = started + step * FRAME / SLOTS
            wait = due - time.monotonic()
            gevent.sleep(max(0.0, wait))
            self.worst_lag = max(self.worst_lag, time.monotonic() - due)
            slot = self._slots[step % SLOTS]
            for call in slot:
                call.frame(due)
            if step % 50 < SLOTS:
                slot[:] = [call for call in slot if not call.is_released]


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether ``condition`` came true within ``seconds``; for system tests."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        gevent.sleep(0.01)
    return True
