"""One FreeSWITCH call as the rest of the program sees it: facts out, orders in, nothing from outside believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_audio_fork import Socket, Tokens
from virtual_call import UUID, VirtualCall, clip

from esl_agent.dialogue.events import (
    Answered,
    CommandFailed,
    DigitPressed,
    HungUp,
    MediaStarted,
    PlaybackBegan,
    Played,
)
from esl_agent.legs.audio_fork import ForkSettings
from esl_agent.legs.freeswitch_leg import FreeSwitchLeg
from esl_agent.legs.freeswitch_media import FreeSwitchMedia
from esl_agent.wire.esl import Event


class Stage:
    def __init__(self) -> None:
        self.call = VirtualCall()
        self.posted: list[Any] = []
        self.leg = FreeSwitchLeg(self.call, self.posted.append)  # type: ignore[arg-type]

    def prepared(self) -> Stage:
        self.leg.prepare("json", 10)
        return self

    def answered(self) -> Stage:
        self.leg.answer()
        self.call.after(0.5)
        return self


@pytest.fixture
def stage() -> Stage:
    return Stage().prepared()


def test_an_answered_call_is_reported_once(stage):
    stage.answered()
    assert stage.posted == [Answered()]
    stage.answered()
    stage.call.do(lambda machine: machine.emit("CHANNEL_ANSWER", []))
    assert stage.posted == [Answered()]


def test_a_call_that_the_dialplan_answered_is_reported_at_once():
    stage = Stage()
    data = dict(stage.call.session_data) | {"Answer-State": "answered"}
    stage.call.session_data = data
    leg = FreeSwitchLeg(stage.call, stage.posted.append)  # type: ignore[arg-type]
    leg.answer()
    assert stage.posted == [Answered()]
    assert not [line for line in stage.call.said if "answer" in line]


def test_an_answer_that_freeswitch_refuses_is_said(stage):
    stage.call.machine.refuse("sendmsg", "-ERR no")
    stage.answered()
    assert [type(event) for event in stage.posted] == [CommandFailed]
    assert stage.posted[0].what == "answer"


def test_a_lost_answer_event_does_not_lose_the_answer(stage):
    stage.call.machine.lose_events("CHANNEL_ANSWER")
    stage.answered()
    assert stage.posted == [Answered()]


def test_keys_are_reported_in_order(stage):
    stage.answered()
    for digit in "1#*A":
        stage.call.machine.press(digit, stage.call.now)
    stage.call.after(1.0)
    assert stage.posted[1:] == [DigitPressed(digit) for digit in "1#*A"]


def test_a_hang_up_is_reported_with_its_cause(stage):
    stage.answered()
    stage.call.do(lambda machine: machine.caller_hangs_up(stage.call.now))
    stage.call.after(1.0)
    assert stage.posted[1] == HungUp("NORMAL_CLEARING")


def test_our_hang_up_needs_no_end_of_the_playback(stage):
    stage.answered()
    stage.leg.hang_up("USER_BUSY")
    stage.call.after(1.0)
    assert f"api uuid_kill {UUID} USER_BUSY\n\n" in stage.call.said
    assert stage.posted[1] == HungUp("USER_BUSY")


def test_a_refused_hang_up_is_said_and_tried_another_way(stage):
    stage.answered()
    stage.call.machine.refuse("api uuid_kill", "-ERR command not found")
    stage.leg.hang_up("USER_BUSY")
    assert stage.posted[-1].what == "hang_up"
    stage.call.after(1.0)
    assert stage.posted[-1] == HungUp("USER_BUSY")


def test_a_dead_event_socket_is_a_hang_up(stage):
    stage.answered()
    stage.call.do(lambda machine: machine.reset())
    assert stage.posted[1:] == [HungUp("LEG_CLOSED")]


@pytest.mark.parametrize("name", ["CHANNEL_ANSWER", "CHANNEL_HANGUP_COMPLETE"])
def test_another_channels_news_are_none_of_ours(stage, name):
    stage.leg._on_event(Event(name, "", {"Unique-ID": "another", "Hangup-Cause": "USER_BUSY"}))
    assert stage.posted == []


HOSTILE = [
    "a\nb: c",
    "a\r\n\r\napi reloadxml",
    "${system(touch /tmp/x)}",
    "$\\{x}",
    "%[a=b]",
    "x;y=z",
    "\ud800",
    "z" * 9999,
    "\0",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_a_caller_says_becomes_a_command(stage, text):
    stage.answered()
    count = len(stage.call.said)
    stage.leg.show({"esl_agent_state": text, "esl_agent_turn": "1"})
    stage.leg.announce("esl_agent::turn", {"text": text})
    said = stage.call.said[count:]
    assert len(said) == 2
    for command in said:
        assert command.index("\n\n") == len(command) - 2
        assert "${" not in command.replace("\\", "")
        assert "%[" not in command
        assert len(command) < 500
    assert said[0].count(";") == 1
    assert stage.call.machine.facts[-1][1] != "freeswitch crashed"


def test_the_callers_name_and_number_are_kept_as_they_came():
    stage = Stage()
    stage.call.session_data = {
        "Unique-ID": "x\n" * 80,
        "Channel-Destination-Number": "5000",
        "Caller-Caller-ID-Number": "49\n",
        "Caller-Caller-ID-Name": "${x}",
    }
    leg = FreeSwitchLeg(stage.call, stage.posted.append)  # type: ignore[arg-type]
    assert (leg.did, leg.caller, leg.caller_name) == ("5000", "49\n", "${x}")
    assert "\n" not in leg.id
    assert len(leg.id) <= 64


def test_a_call_without_any_data_is_a_call_all_the_same():
    stage = Stage()
    stage.call.session_data = {}
    leg = FreeSwitchLeg(stage.call, stage.posted.append)  # type: ignore[arg-type]
    assert (leg.id, leg.did, leg.caller, leg.caller_name) == ("", "", "", "")


def test_close_may_be_called_twice(stage):
    stage.leg.close()
    stage.leg.close()
    assert stage.call.exits == 2


@pytest.mark.parametrize("command", ["linger", "myevents", "event"])
def test_a_subscription_that_freeswitch_refuses_is_said(command):
    stage = Stage()
    stage.call.machine.refuse(command, "-ERR no")
    stage.prepared()
    assert command in {event.what for event in stage.posted}


class Voice(Stage):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.prepared()
        self.server = Tokens()
        fork = ForkSettings("ws://127.0.0.1:8085", 8000, 3.0, 1)
        self.media = FreeSwitchMedia(
            self.leg,
            self.server,  # type: ignore[arg-type]
            fork,
            folder,
            str(folder),
            self.posted.append,
            clock=self.call.clock,
        )
        self.answered()


def test_a_calls_voice_goes_both_ways(tmp_path):
    voice = Voice(tmp_path / "call")
    (tmp_path / "call").mkdir()
    voice.media.start()
    Socket(voice.server.expected.popitem()[1])
    voice.media.play(clip(1, 0, 0.5))
    voice.call.after(2.0)
    assert voice.posted[1:] == [MediaStarted(8000), PlaybackBegan(1, 0), Played(1, 0, 0.5)]
    voice.media.close()
    voice.media.close()
    assert not (tmp_path / "call").exists()


def test_a_hang_up_in_the_middle_of_everything_leaves_nothing_behind(tmp_path):
    (tmp_path / "call").mkdir()
    voice = Voice(tmp_path / "call")
    voice.media.start()
    socket = Socket(voice.server.expected.popitem()[1])
    voice.media.play(clip(1, 0, 5.0))
    voice.call.after(1.0)
    voice.media.clear()
    voice.call.do(lambda machine: machine.caller_hangs_up(voice.call.now))
    voice.call.after(0.1)
    voice.media.close()
    voice.leg.close()
    assert [type(event) for event in voice.posted].count(Played) == 1
    assert not (tmp_path / "call").exists()
    assert socket.reasons
