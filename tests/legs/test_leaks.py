"""Hundreds of calls come and go: of none is anything left, and no garbage collector is needed for it."""

from __future__ import annotations

import gc
import os
import random
import weakref
from collections.abc import Iterator
from typing import Any

import gevent
import numpy as np
import pytest
from test_unicast import free_ports
from virtual_call import VirtualCall
from virtual_line import ForkLine, Line, StreamingForkLine

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue.events import MediaStarted, Played
from esl_agent.legs.base import Clip
from esl_agent.legs.freeswitch_leg import FreeSwitchLeg
from esl_agent.legs.playout_clock import PlayoutClock
from esl_agent.legs.unicast import UnicastMedia, UnicastOptions
from esl_agent.legs.unicast_ports import Ranges, UnicastPorts

CALLS = 200
TONE = Sound(np.full(8000, 4000, "<i2").tobytes(), 16000)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def descriptors() -> int:
    gevent.idle()  # gevent closes directories when its loop has come round
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.usefixtures("no_collector")
def test_unicast_calls_leave_no_socket_port_timer_or_object_however_they_end():
    ports = UnicastPorts(Ranges("127.0.0.1", "127.0.0.1", free_ports(4), (30000, 30003)))
    clock, posted = PlayoutClock(), []
    chance, left, before = random.Random(1), [], descriptors()
    for count in range(CALLS):
        call = VirtualCall(chance.choice((8000, 16000)))
        leg = FreeSwitchLeg(call, posted.append)  # type: ignore[arg-type]
        leg.prepare("json", 10)
        media = UnicastMedia(
            leg,
            UnicastOptions(16000, False, 1.0, 2, 700),
            lambda on_datagram: ports.take("127.0.0.1", on_datagram),
            clock,
            posted.append,
            call.clock,
        )
        left += [weakref.ref(each) for each in (leg, media, media._endpoint)]
        ends = count % 4  # before the sound, while it is awaited, in the middle of a clip, as it is got back
        if ends:
            media.start()
        media.play(Clip(1, count, TONE))
        stream = SoundStream(8000)
        media.play(Clip(2, count, stream))
        if ends > 1:
            media._on_datagram(bytes(320))
            clock._fire()
        if ends > 2:
            media._lost("a test")
            call.after(0.3)
            assert media._state.name in ("PARKING", "ASKED")
        media.close()
        call.close()
        del call, leg, media
    assert sum(isinstance(event, Played) for event in posted) == 2 * CALLS
    assert sum(isinstance(event, MediaStarted) for event in posted) == CALLS // 2
    assert (descriptors(), ports.taken, clock._timer, any(clock._slots)) == (before, 0, None, False)
    assert not [alive for each in left if (alive := each()) is not None]


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("kind", [ForkLine, StreamingForkLine])
def test_calls_with_a_fork_leave_no_file_tick_or_object(kind, tmp_path):
    left: list[Any] = []
    before = descriptors()
    for count in range(CALLS // 4):
        folder = tmp_path / str(count)
        folder.mkdir()
        line: Line = kind(folder)
        left += [weakref.ref(each) for each in (line.leg, line.media)]
        if count % 3:
            line.started()
        line.media.play(Clip(1, 0, TONE))
        line.pass_(0.1)
        line.media.clear()
        line.media.play(Clip(2, 0, TONE))
        line.media.close()
        assert line.left_behind() == []
        line.call.close()
        assert len(line.of(Played)) == 2
        del line
    assert descriptors() == before
    assert not [alive for each in left if (alive := each()) is not None]
