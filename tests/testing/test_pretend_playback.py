"""Playback, queue, locks and breaks at virtual time, against measured timelines (milliseconds after the command)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_agent import ALL, ANSWER, Agent, app, play

from esl_agent.testing.fs_channel import Party

BREAK = "api uuid_break u"
BREAK_ALL = "api uuid_break u all"


def story(*steps: tuple[float, str], end: float = 8.0) -> list[str]:
    """What an agent sees after writing each command at its second."""
    agent = Agent(Party("u"))
    agent.answered()
    for at, command in steps:
        agent.until(1.0 + at)
        agent.say(command)
    agent.until(1.0 + end)
    return agent.story()


MATRIX = {
    "a playback begins 20 ms after its command and tells its end twice": (
        [(0, play("/b2.wav", "q1"))],
        [
            "20 EXECUTE playback q1",
            "20 PLAYBACK_START",
            "2020 PLAYBACK_STOP done",
            "2020 COMPLETE playback q1 FILE PLAYED",
        ],
    ),
    "without a lock the second plays inside the first, which goes on after it": (
        [(0, play("/a3.wav", "q1", locked=False)), (0.0003, play("/b2.wav", "q2", locked=False))],
        [
            "20 EXECUTE playback q1",
            "20 PLAYBACK_START",
            "20 EXECUTE playback q2",
            "20 PLAYBACK_START",
            "2021 PLAYBACK_STOP done",
            "2021 COMPLETE playback q2 FILE PLAYED",
            "5020 PLAYBACK_STOP done",
            "5020 COMPLETE playback q1 FILE PLAYED",
        ],
    ),
    "a lock on the running one makes them follow each other": (
        [(0, play("/a3.wav", "q1")), (0.0003, play("/b2.wav", "q2", locked=False))],
        [
            "20 EXECUTE playback q1",
            "20 PLAYBACK_START",
            "3020 PLAYBACK_STOP done",
            "3020 COMPLETE playback q1 FILE PLAYED",
            "3020 EXECUTE playback q2",
            "3020 PLAYBACK_START",
            "5020 PLAYBACK_STOP done",
            "5020 COMPLETE playback q2 FILE PLAYED",
        ],
    ),
    "a lock on the second one does not help": (
        [(0, play("/a3.wav", "q1", locked=False)), (0.0003, play("/b2.wav", "q2"))],
        [
            "20 EXECUTE playback q1",
            "20 PLAYBACK_START",
            "20 EXECUTE playback q2",
            "20 PLAYBACK_START",
            "2021 PLAYBACK_STOP done",
            "2021 COMPLETE playback q2 FILE PLAYED",
            "5020 PLAYBACK_STOP done",
            "5020 COMPLETE playback q1 FILE PLAYED",
        ],
    ),
    "a break stops one and the next begins 20 ms later": (
        [(0, play("/a3.wav", "q1")), (0.0003, play("/b2.wav", "q2")), (1.0012, BREAK)],
        [
            "20 EXECUTE playback q1",
            "20 PLAYBACK_START",
            "1022 PLAYBACK_STOP break",
            "1022 COMPLETE playback q1 FILE PLAYED",
            "1042 EXECUTE playback q2",
            "1042 PLAYBACK_START",
            "3042 PLAYBACK_STOP done",
            "3042 COMPLETE playback q2 FILE PLAYED",
        ],
    ),
    "a break of all flushes the queue without a word": (
        [(0, play("/a3.wav", "q1")), (0.1, play("/b2.wav", "q2")), (0.2, app("set", "a=1")), (1.0012, BREAK_ALL)],
        [
            "20 EXECUTE playback q1",
            "20 PLAYBACK_START",
            "1022 PLAYBACK_STOP break",
            "1022 COMPLETE playback q1 FILE PLAYED",
        ],
    ),
    "a break ends nested playbacks one frame apart, innermost first": (
        [(0, play("/a3.wav", "q1", locked=False)), (0.0003, play("/b2.wav", "q2", locked=False)), (1.0012, BREAK)],
        [
            "20 EXECUTE playback q1",
            "20 PLAYBACK_START",
            "20 EXECUTE playback q2",
            "20 PLAYBACK_START",
            "1022 PLAYBACK_STOP break",
            "1022 COMPLETE playback q2 FILE PLAYED",
            "1042 PLAYBACK_STOP break",
            "1042 COMPLETE playback q1 FILE PLAYED",
        ],
    ),
    "barge-in: break all and a new playback at once": (
        [(0, play("/a3.wav", "q1")), (1.0012, BREAK_ALL), (1.0015, play("/b2.wav", "new"))],
        [
            "20 EXECUTE playback q1",
            "20 PLAYBACK_START",
            "1022 PLAYBACK_STOP break",
            "1022 COMPLETE playback q1 FILE PLAYED",
            "1042 EXECUTE playback new",
            "1042 PLAYBACK_START",
            "3042 PLAYBACK_STOP done",
            "3042 COMPLETE playback new FILE PLAYED",
        ],
    ),
    "a break in the same frame as the playback is lost": (
        [(0, play("/b2.wav", "r1")), (0.0003, BREAK)],
        [
            "20 EXECUTE playback r1",
            "20 PLAYBACK_START",
            "2020 PLAYBACK_STOP done",
            "2020 COMPLETE playback r1 FILE PLAYED",
        ],
    ),
    "a break of all in the same frame deletes the playback: no event ever": (
        [(0, play("/b2.wav", "r1")), (0.0003, BREAK_ALL)],
        [],
    ),
    "a break of all while idle does not touch a playback after it": (
        [(0, BREAK_ALL), (0.0001, play("/b2.wav", "r1"))],
        [
            "21 EXECUTE playback r1",
            "21 PLAYBACK_START",
            "2021 PLAYBACK_STOP done",
            "2021 COMPLETE playback r1 FILE PLAYED",
        ],
    ),
    "a double break is harmless": (
        [(0, play("/a3.wav", "q1")), (1, BREAK_ALL), (1.0003, BREAK_ALL), (1.2, play("/b2.wav", "q2"))],
        [
            "20 EXECUTE playback q1",
            "20 PLAYBACK_START",
            "1020 PLAYBACK_STOP break",
            "1020 COMPLETE playback q1 FILE PLAYED",
            "1220 EXECUTE playback q2",
            "1220 PLAYBACK_START",
            "3220 PLAYBACK_STOP done",
            "3220 COMPLETE playback q2 FILE PLAYED",
        ],
    ),
    "sendmsg break waits behind a locked playback": (
        [(0, play("/a3.wav", "q1")), (1, app("break"))],
        [
            "20 EXECUTE playback q1",
            "20 PLAYBACK_START",
            "3020 PLAYBACK_STOP done",
            "3020 COMPLETE playback q1 FILE PLAYED",
            "3020 EXECUTE break",
            "3020 COMPLETE break _none_",
        ],
    ),
    "sendmsg break stops an unlocked playback": (
        [(0, play("/a3.wav", "q1", locked=False)), (1, app("break"))],
        [
            "20 EXECUTE playback q1",
            "20 PLAYBACK_START",
            "1020 EXECUTE break",
            "1020 COMPLETE break _none_",
            "1022 PLAYBACK_STOP break",
            "1022 COMPLETE playback q1 FILE PLAYED",
        ],
    ),
    "a missing file completes without any PLAYBACK event": (
        [(0, play("/no.wav", "t4"))],
        ["20 EXECUTE playback t4", "20 COMPLETE playback t4 FILE NOT FOUND"],
    ),
    "an empty argument is a playback error": (
        [(0, play("", "t5"))],
        ["20 EXECUTE playback t5", "20 COMPLETE playback t5 PLAYBACK ERROR"],
    ),
    "uuid_broadcast takes 100 ms longer": (
        [(0, "api uuid_broadcast u /b2.wav aleg")],
        ["120 EXECUTE playback", "120 PLAYBACK_START", "2120 PLAYBACK_STOP done", "2120 COMPLETE playback FILE PLAYED"],
    ),
    "silence and strings of files play like files": (
        [(0, play("silence_stream://300", "s")), (1, play("file_string:///a3.wav!/b2.wav", "f"))],
        [
            "20 EXECUTE playback s",
            "20 PLAYBACK_START",
            "320 PLAYBACK_STOP done",
            "320 COMPLETE playback s FILE PLAYED",
            "1020 EXECUTE playback f",
            "1020 PLAYBACK_START",
            "6020 PLAYBACK_STOP done",
            "6020 COMPLETE playback f FILE PLAYED",
        ],
    ),
}


def near(ours: list[str], measured: list[str]) -> bool:
    """The same lines, each within 1 ms."""
    if len(ours) != len(measured):
        return False
    pairs = [(a.partition(" "), b.partition(" ")) for a, b in zip(ours, measured, strict=True)]
    return all(a[2] == b[2] and abs(int(a[0]) - int(b[0])) <= 1 for a, b in pairs)


@pytest.mark.parametrize("what", MATRIX)
def test_playback(what: str) -> None:
    steps, measured = MATRIX[what]
    ours = story(*steps)
    assert near(ours, measured), "\n".join(["ours:", *ours, "measured:", *measured])


def test_loops_are_complete_rounds_with_the_same_uuid() -> None:
    lines = story((0, play("/b2.wav", "l") + "\nloops: 2"))
    assert [line.partition(" ")[2] for line in lines].count("COMPLETE playback l FILE PLAYED") == 2


def offset(frame: bytes) -> int:
    found = re.search(rb"variable_playback_last_offset_pos: (\d+)", frame)
    return int(found[1]) if found else -1


def test_what_was_heard_is_exact_to_a_frame() -> None:
    agent = Agent(Party("u"))
    agent.answered()
    agent.say(play("/a3.wav", "q1"))
    agent.until(2.54)
    agent.say(BREAK)
    agent.until(4.0)
    stop = agent.event("PLAYBACK_STOP")
    assert offset(stop) == 12320
    assert b"variable_playback_ms: 2048\n" in stop, "rounded up to blocks of 8192 samples: useless"


def test_a_failed_playback_carries_the_offset_of_the_one_before() -> None:
    agent = Agent(Party("u"))
    agent.answered()
    agent.say(play("/b2.wav", "q1"))
    agent.until(4.0)
    agent.say(play("/no.wav", "q2"))
    agent.until(5.0)
    assert b"FILE%20NOT%20FOUND" in agent.event("CHANNEL_EXECUTE_COMPLETE")
    assert offset(agent.event("CHANNEL_EXECUTE_COMPLETE")) == 16000


def test_only_the_innermost_playback_sounds_and_the_outer_goes_on_where_it_was() -> None:
    agent = Agent(Party("u"))
    agent.answered()
    agent.say(play("/a3.wav", "q1", locked=False))
    agent.until(2.0)
    agent.say(play("/b2.wav", "q2", locked=False))
    agent.until(2.5)
    assert agent.machine.playing is not None
    assert agent.machine.playing.job.uuid == "q2"
    agent.until(4.1)
    assert agent.machine.playing.job.uuid == "q1"
    assert agent.machine.playing.position(4.1) == pytest.approx(1.06, abs=0.021)


@pytest.mark.parametrize(
    ("terminators", "digit", "stops"),
    [
        ("", "*", True),
        ("", "5", False),
        ("none", "*", False),
        ("any", "7", True),
        ("123", "2", True),
        ("123", "*", False),
    ],
)
def test_a_digit_stops_a_prompt_if_it_is_a_terminator(terminators: str, digit: str, stops: bool) -> None:
    agent = Agent(Party("u"))
    agent.answered()
    if terminators:
        agent.say(f"api uuid_setvar u playback_terminators {terminators}")
    agent.say(play("/a3.wav", "q1"))
    agent.until(2.0)
    agent.machine.press(digit, 2.0)
    agent.until(2.1)
    assert any("DTMF" in line for line in agent.story())
    assert any("PLAYBACK_STOP break" in line for line in agent.story()) is stops
    assert agent.machine.channel.variables.get("playback_terminator_used") == (digit if stops else None)


def test_an_api_command_overtakes_a_message_sent_before_it() -> None:
    agent = Agent(Party("u"))
    agent.answered()
    answers = agent.say(app("set", "RECORD_STEREO=true"), "api uuid_getvar u RECORD_STEREO")
    assert answers[1].endswith(b"\n\n_undef_")
    agent.until(1.1)
    assert agent.say("api uuid_getvar u RECORD_STEREO")[0].endswith(b"\n\ntrue")


def test_a_playback_on_an_unanswered_call_makes_early_media() -> None:
    agent = Agent(Party("u"))
    agent.say("connect", "linger", "myevents", f"event plain {ALL}")
    agent.until(1.0)
    agent.say(play("/b2.wav", "e1"))
    agent.until(1.1)
    assert [line.split(" ", 1)[1] for line in agent.story()] == [
        "PROGRESS_MEDIA",
        "EXECUTE playback e1",
        "PLAYBACK_START",
    ]


def test_a_half_written_command_holds_all_events_until_it_ends() -> None:
    agent = Agent(Party("u"))
    agent.say("connect", "linger", "myevents", f"event plain {ALL}", ANSWER)
    agent.machine.receive(b"api uuid_ex", 0.0)
    agent.until(1.0)
    assert not any(b"CHANNEL_ANSWER" in frame for frame in agent.written)
    agent.machine.receive(b"ists u\n\n", 1.0)
    agent.until(1.0)
    assert any(b"CHANNEL_ANSWER" in frame for frame in agent.written)


@given(st.lists(st.sampled_from(["a", "b", "break", "all", "wait", "set"]), max_size=12), st.booleans())
def test_every_playback_that_began_ends_once_and_ends_nest(deeds: list[str], locked: bool) -> None:
    agent = Agent(Party("u"))
    agent.answered()
    for number, deed in enumerate(deeds):
        if deed == "wait":
            agent.until(agent.now + 0.7)
        elif deed == "set":
            agent.say(app("set", "x=1"))
        elif deed in ("break", "all"):
            agent.say(BREAK if deed == "break" else BREAK_ALL)
        else:
            agent.say(play("/a3.wav" if deed == "a" else "/b2.wav", f"n{number}", locked=locked))
    agent.until(agent.now + 60.0)
    open_ones: list[str] = []
    for line in agent.story():
        words = line.split()
        if words[1:3] == ["EXECUTE", "playback"]:
            open_ones.append(words[3])
        elif words[1:3] == ["COMPLETE", "playback"]:
            assert open_ones.pop() == words[3]
    assert not open_ones
