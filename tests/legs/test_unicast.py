"""Unicast beyond the contract: what FreeSWITCH sends, what ends it, and how it is taken up again."""

from __future__ import annotations

import errno

import gevent
import numpy as np
import pytest
from gevent import socket
from virtual_line import UnicastLine

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue.events import Audio, MediaLost, MediaStarted, Played
from esl_agent.errors import LegError
from esl_agent.legs.base import Clip
from esl_agent.legs.unicast import STALL_SECONDS
from esl_agent.legs.unicast_ports import Ranges, UnicastPorts
from esl_agent.testing.freeswitch import wait_for

TONE = Sound(np.full(40000, 4000, "<i2").tobytes(), 8000)


@pytest.fixture
def line():
    return UnicastLine().started()


def last(line: UnicastLine) -> bytes:
    return bytes(line.of(Audio)[-1].pcm)


def commands(line: UnicastLine, word: str) -> list[str]:
    return [said for said in line.call.said if word in said]


@pytest.mark.parametrize("noise", [b"\xff" * 320, b"\xff" * 160, b"\0\0", b"\xff\xff", b"\xff"])
@pytest.mark.parametrize("native", [False, True])
def test_comfort_noise_is_one_frame_of_silence(noise, native):
    line = UnicastLine(native=native).started()
    before = len(line.of(Audio))
    line.deliver(noise)
    assert len(line.of(Audio)) == before + 1
    assert last(line) == bytes(320)


def test_datagrams_of_other_sizes_are_cut_to_frames(line):
    before = len(line.of(Audio))
    sound = np.arange(1, 481, dtype="<i2").tobytes()
    line.deliver(sound[:100])
    line.deliver(sound[100:801])
    line.deliver(sound[800:])
    assert b"".join(event.pcm for event in line.of(Audio)[before:]) == sound


@pytest.mark.parametrize(("rate", "media_rate"), [(48000, 8000), (16000, 8000), (8000, 16000), (24000, 16000)])
def test_the_dialogue_hears_the_rate_it_asked_for_whatever_the_codec(rate, media_rate):
    line = UnicastLine(rate, media_rate=media_rate).started()
    line.pass_(0.5)
    assert {len(event.pcm) for event in line.of(Audio)} == {media_rate // 25}
    assert len(line.of(Audio)) >= 0.6 * 50


@pytest.mark.parametrize("rate", ["", "0", "-8000", "7999", "96000", "9" * 5000, "\u0668\u0660\u0660\u0660"])
def test_a_rate_that_no_channel_has_is_not_believed(rate):
    line = UnicastLine()
    line.media._learn({"Channel-Read-Codec-Rate": rate})
    line.started().pass_(0.1)
    assert {len(event.pcm) for event in line.of(Audio)} == {320}


def test_g711_stays_g711_on_the_way_only_where_the_call_is_g711():
    assert "flags: native" in commands(UnicastLine(native=True).started(), "unicast")[0]
    assert "native" not in commands(UnicastLine(48000, native=True).started(), "unicast")[0]


def test_the_first_frame_of_a_greeting_leaves_with_the_first_frame_that_comes():
    line = UnicastLine()
    line.media.start()
    line.media.play(Clip(1, 0, TONE))
    assert not line.ticks.ticks
    line.pass_(0.1)
    began = [type(event).__name__ for event in line.posted].index("MediaStarted")
    assert [type(event).__name__ for event in line.posted[began : began + 3]] == [
        "MediaStarted",
        "PlaybackBegan",
        "Audio",
    ]


def test_while_an_application_plays_the_agent_waits_and_goes_on_afterwards(line):
    line.media.play(Clip(1, 0, TONE))
    line.pass_(1.0)
    line.call.execute("playback", "silence_stream://1000")
    line.pass_(0.1)
    line.frames.clear()
    line.pass_(0.8)
    assert not any(line.levels())
    line.pass_(6.0)
    assert line.losses() == [False]
    assert line.of(MediaLost)[0].reason == "'playback' ended the unicast"
    assert line.of(Played) == [Played(1, 0, 5.0)]


def test_a_datagram_that_was_on_its_way_when_an_application_began_does_not_let_the_agent_speak_into_it(line):
    line.media.play(Clip(1, 0, TONE))
    line.pass_(0.5)
    line.call.execute("playback", "silence_stream://1000")
    line.call.after(0.03)
    assert not line.ticks.ticks
    line.endpoints[-1].on_datagram(bytes(320))
    assert not line.ticks.ticks


def test_a_park_that_comes_later_than_it_was_waited_for_is_taken(line):
    hook, late = line.call.on_event_hook, []

    def delayed(event):
        if event.name in ("CHANNEL_UNPARK", "CHANNEL_PARK") and len(late) < 2:
            late.append(event)
            line.call.deadlines.after(1.1, lambda: hook(event))
        else:
            hook(event)

    line.call.on_event_hook = delayed
    line.interrupt()
    line.pass_(4.0)
    assert len(late) == 2
    assert line.losses() == [False]
    assert len(line.of(MediaStarted)) == 2


def test_a_variable_that_is_set_does_not_end_the_sound(line):
    line.call.execute("set", "a=b")
    line.pass_(5.0)
    assert line.losses() == []
    assert len(commands(line, "unicast")) == 1


def test_ended_sound_is_taken_up_in_a_new_park_with_the_same_ports_and_a_time_limit(line):
    line.interrupt()
    line.pass_(2.0)
    first, second = commands(line, "call-command: unicast")
    assert first == second
    (transfer,) = commands(line, "uuid_transfer")
    assert transfer.split()[3:] == ["set:park_timeout=700:NORMAL_TEMPORARY_FAILURE,park", "inline"]
    line.pass_(5.0)
    assert line.call.exits == 0
    assert line.call.machine.crash_reason == ""


def test_a_port_that_freeswitch_could_not_bind_is_not_tried_again():
    line = UnicastLine()
    line.refuses_port = True
    line.media.start()
    line.pass_(0.5)
    line.refuses_port = False
    line.pass_(2.0)
    assert line.losses() == [False]
    assert line.of(MediaStarted)
    ports = [said.split("local-port: ")[1].split()[0] for said in commands(line, "unicast")]
    assert ports == ["14000", "14001"]
    assert line.left_behind()[:1] == ["port 12001"]


def test_a_caller_whose_sound_stalls_is_taken_up_again(line):
    line.is_talking = False
    line.pass_(STALL_SECONDS + 1.0)
    line.is_talking = True
    line.pass_(1.0)
    assert line.losses() == [False]
    assert len(line.of(MediaStarted)) == 2


@pytest.mark.parametrize("when", ["lost", "asked"])
def test_lost_sound_is_not_got_back_out_of_an_application_that_has_the_caller(line, when):
    """It may be a bridge that rings."""
    if when == "asked":
        line = UnicastLine()
        line.refuses_port = True
        line.media.start()
        line.refuses_port = False
    else:
        line.media._lost("a test")
    line.call.execute("playback", "silence_stream://4000")
    line.pass_(3.0)
    assert commands(line, "uuid_transfer") == []
    line.pass_(3.0)
    assert len(commands(line, "uuid_transfer")) == 1
    assert line.losses() == [False]
    assert line.of(MediaStarted)


def test_after_a_bridge_that_came_to_nothing_the_sound_is_got_back_at_once(line):
    line.media._quiet()
    line.call.execute("playback", "silence_stream://200")
    line.pass_(0.7)
    assert len(line.of(MediaStarted)) == 2


def test_lost_sound_is_not_got_back_while_the_channel_is_about_to_be_transferred(line):
    line.media._lost("a test")
    line.leg.transfer("desk", "6000 XML public", "blind", None)
    line.pass_(10.0)
    assert len(commands(line, "uuid_transfer")) == 1
    assert line.losses() == []


def test_a_channel_that_was_transferred_is_not_fetched_back(line):
    line.media.play(Clip(1, 0, TONE))
    line.call.do(lambda machine: machine.transfer("6000 XML public"))
    line.pass_(10.0)
    assert commands(line, "uuid_transfer") == []
    assert line.losses() == []
    line.media.close()
    assert line.of(Played)[-1].heard < 0.1


def test_a_long_bridge_is_no_stall(line):
    line.call.machine.executor.lasting = None
    line.media._running.add("a bridge")
    line.is_talking = False
    line.pass_(30.0)
    assert line.losses() == []


def test_a_command_that_freeswitch_refuses_is_told():
    line = UnicastLine(reconnects=0)
    line.call.machine.refuse("sendmsg", "-ERR no")
    line.media.start()
    line.pass_(1.0)
    assert line.losses() == [True]
    assert "unicast" in line.of(MediaLost)[0].reason


def test_no_second_port_is_ever_asked_for_beside_a_living_one(line):
    for _ in range(3):
        line.interrupt()
        line.pass_(3.0)
    line.is_talking = False
    line.pass_(20.0)
    assert line.call.machine.crash_reason == ""


# A transfer


def test_before_a_transfer_the_line_is_quiet_because_freeswitch_may_hang_otherwise(line):
    line.media.play(Clip(1, 0, TONE))
    line.pass_(0.5)
    line.leg.transfer("desk", "6000", "blind", None)
    assert commands(line, "uuid_transfer") == []
    line.pass_(0.06)
    assert line.ticks.ticks == {}
    line.pass_(0.04)
    assert len(commands(line, "uuid_transfer")) == 1


def test_a_transfer_that_is_refused_lets_the_agent_go_on(line):
    line.call.machine.refuse("api uuid_transfer", "-ERR no")
    line.media.play(Clip(1, 0, TONE))
    line.pass_(0.5)
    line.leg.transfer("desk", "6000", "blind", None)
    line.pass_(6.5)
    assert line.of(Played) == [Played(1, 0, 5.0)]
    assert line.losses() == []


# Real sockets below.


def free_ports(count: int) -> tuple[int, int]:
    """A range of UDP ports that nobody uses now."""
    for first in range(21000, 29000, count):
        socks = []
        try:
            for port in range(first, first + count):
                socks.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                socks[-1].bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for sock in socks:
                sock.close()
        return first, first + count - 1
    raise AssertionError("no free ports")


@pytest.fixture
def ports():
    ours, theirs = free_ports(2), (30000, 30009)
    return UnicastPorts(Ranges("127.0.0.1", "10.0.0.7", ours, theirs))


def test_ports_are_told_as_freeswitch_sees_them_and_come_back_in_turn(ports):
    first, second = (ports.take("127.0.0.1", lambda data: None) for _ in range(2))
    assert first.local[0] == "10.0.0.7"
    assert first.switch == ("127.0.0.1", 30000)
    assert second.switch == ("127.0.0.1", 30001)
    first.close()
    first.close()
    third = ports.take("127.0.0.1", lambda data: None)
    assert (third.local[1], third.switch[1]) == (first.local[1], 30002)
    assert ports.taken == 2
    second.close()
    third.close()


def test_when_all_ports_are_in_use_that_is_said(ports):
    pairs = [ports.take("127.0.0.1", lambda data: None) for _ in range(2)]
    with pytest.raises(LegError, match=r"unicast\.ports"):
        ports.take("127.0.0.1", lambda data: None)
    for pair in pairs:
        pair.close()
    ports.take("127.0.0.1", lambda data: None).close()


def test_a_port_that_somebody_else_holds_is_passed_over(ports):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", ports._ranges.ours[0]))
        pair = ports.take("127.0.0.1", lambda data: None)
        assert pair.local[1] == ports._ranges.ours[1]
        pair.close()


def test_where_no_socket_can_be_had_that_is_said_and_no_port_is_lost(ports, monkeypatch):
    def exhausted(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("esl_agent.legs.unicast_ports.socket.socket", exhausted)
        for _ in range(3):
            with pytest.raises(LegError, match="Too many open files"):
                ports.take("127.0.0.1", lambda data: None)
    ports.take("127.0.0.1", lambda data: None).close()


def test_only_the_calls_own_freeswitch_is_heard(ports, caplog):
    got = []
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as switch,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        pair = ports.take("127.0.0.1", got.append)
        switch.bind(pair.switch)
        stranger.sendto(b"let me in", ("127.0.0.1", pair.local[1]))
        switch.sendto(b"the caller", ("127.0.0.1", pair.local[1]))
        assert wait_for(lambda: got and ports.strangers, 2.0)
        assert (got, ports.strangers) == ([b"the caller"], 1)
        pair.send(b"the agent")
        assert switch.recv(100) == b"the agent"
        for _ in range(100):
            stranger.sendto(b"let me in", ("127.0.0.1", pair.local[1]))
        switch.sendto(b"more", ("127.0.0.1", pair.local[1]))
        assert wait_for(lambda: len(got) == 2, 2.0)
        assert ports.strangers == 1
        assert caplog.text.count("unicast.freeswitch_host") == 1
        pair.close()
        switch.sendto(b"late", ("127.0.0.1", pair.local[1]))
        gevent.sleep(0)
        assert got == [b"the caller", b"more"]
