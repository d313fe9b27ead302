"""How calls end: hang-ups, linger, lost events and the zombie traps, at virtual time."""

from __future__ import annotations

import pytest
from virtual_agent import Agent, app, play

from esl_agent.testing.fs_channel import Party
from esl_agent.testing.fs_effects import Close
from esl_agent.testing.fs_ending import Phase
from esl_agent.testing.fs_machine import Options

REST = ["STATE CS_HANGUP", "STATE CS_REPORTING", "HANGUP_COMPLETE"]


def on_a_call(linger: str = "linger", options: Options | None = None) -> Agent:
    agent = Agent(Party("u"), options)
    agent.answered(linger=linger)
    return agent


def words(agent: Agent, since: float) -> list[str]:
    return [line.split(" ", 1)[1] for line in agent.story(since)]


def test_a_bye_in_a_locked_playback_tells_in_the_measured_order() -> None:
    agent = on_a_call()
    agent.say(play("/a3.wav", "h1"), play("/b2.wav", "h2"))
    agent.until(2.0)
    agent.machine.caller_hangs_up(2.0)
    agent.until(3.0)
    assert words(agent, 2.0) == [
        "HANGUP",
        "PLAYBACK_STOP done",
        "COMPLETE playback h1 PLAYBACK ERROR",
        "UNPARK",
        "COMPLETE socket PLAYBACK ERROR",
        *REST,
        "notice linger",
    ]
    assert agent.event("CHANNEL_HANGUP_COMPLETE").count(b"Hangup-Cause: NORMAL_CLEARING") == 2


def test_a_kill_hangs_up_at_once_and_the_notice_comes_before_the_end() -> None:
    agent = on_a_call()
    agent.say(play("/a3.wav", "k1"))
    agent.until(1.5)
    agent.say("api uuid_kill u NORMAL_CLEARING")
    assert words(agent, 1.5) == ["HANGUP"]
    agent.until(2.0)
    assert words(agent, 1.5) == [
        "HANGUP",
        "notice linger",
        "PLAYBACK_STOP done",
        "COMPLETE playback k1 FILE PLAYED",
        "UNPARK",
        "COMPLETE socket FILE PLAYED",
        *REST,
    ]


def test_the_notice_may_even_come_before_the_hang_up() -> None:
    agent = on_a_call(options=Options(notice_first=True))
    agent.until(1.5)
    agent.say("api uuid_kill u")
    agent.until(2.0)
    assert words(agent, 1.5)[:2] == ["notice linger", "HANGUP"]


@pytest.mark.parametrize(
    "message", [app("hangup", "USER_BUSY"), "sendmsg\ncall-command: hangup\nhangup-cause: USER_BUSY"]
)
def test_a_hang_up_by_message_waits_for_a_locked_playback(message: str) -> None:
    agent = on_a_call()
    agent.say(play("/a3.wav", "k1"))
    agent.until(1.5)
    agent.say(message)
    agent.until(4.0)
    assert agent.machine.is_up
    agent.until(4.1)
    assert agent.machine.channel.cause == "USER_BUSY"
    assert words(agent, 4.0)[-4:] == [*REST, "notice linger"]


def test_without_linger_a_kill_loses_every_event() -> None:
    agent = on_a_call("nolinger")
    agent.say("api uuid_kill u")
    agent.until(2.0)
    assert words(agent, 1.0) == ["notice disconnect"]
    assert agent.is_closed


def test_without_linger_a_bye_arrives_whole_and_the_socket_closes() -> None:
    agent = on_a_call("nolinger")
    agent.machine.caller_hangs_up(1.0)
    agent.until(2.0)
    assert words(agent, 1.0) == ["HANGUP", "UNPARK", "COMPLETE socket _none_", *REST, "notice disconnect"]
    assert agent.is_closed
    assert agent.machine.phase is Phase.OVER


def test_linger_without_a_number_never_ends_by_itself() -> None:
    agent = on_a_call()
    agent.machine.caller_hangs_up(1.0)
    agent.until(100_000.0)
    assert (agent.machine.phase, agent.is_closed) == (Phase.LINGERING, False)
    agent.say("exit")
    assert (agent.machine.phase, agent.is_closed) == (Phase.OVER, True)


def test_linger_2_closes_after_two_and_a_half_seconds() -> None:
    agent = on_a_call("linger 2")
    agent.machine.caller_hangs_up(1.0)
    agent.until(3.5)
    assert not agent.is_closed
    agent.until(3.6)
    assert agent.is_closed
    assert words(agent, 3.5) == ["notice disconnect"]


def test_a_lingering_socket_still_answers_but_the_channel_is_gone() -> None:
    agent = on_a_call()
    agent.machine.caller_hangs_up(1.0)
    agent.until(2.0)
    answers = agent.say(
        "api uuid_exists u", "api uuid_getvar u hangup_cause", "getvar hangup_cause", app("playback", "x"),
        "api uuid_dump u", "api uuid_audio_fork u stop",
    )  # fmt: skip
    assert [answer.split(b"\n\n", 1)[1] or answer.split(b"\n")[1] for answer in answers] == [
        b"false",
        b"-ERR No such channel!\n",
        b"Reply-Text: NORMAL_CLEARING",
        b"Reply-Text: +OK",
        b"-ERR No such channel!\n",
        b"-ERR Operation Failed\n",
    ]
    agent.until(10.0)
    assert words(agent, 2.0) == []


def test_a_caller_who_cancels_before_the_answer_has_another_cause() -> None:
    agent = Agent(Party("u"))
    agent.say("connect", "linger", "myevents")
    agent.until(0.5)
    agent.machine.caller_hangs_up(0.5)
    agent.until(1.0)
    assert agent.machine.channel.cause == "ORIGINATOR_CANCEL"


def test_an_agent_that_never_connects_leaves_a_zombie() -> None:
    agent = Agent(Party("u"))
    agent.until(24.0)
    assert agent.machine.phase is Phase.WAITING
    agent.until(25.0)
    assert agent.machine.phase is Phase.ZOMBIE
    assert agent.is_closed
    assert words(agent, 0.0) == ["notice disconnect"]
    agent.until(100_000.0)
    assert agent.machine.is_up, "parked for ever"
    agent.machine.caller_hangs_up(100_000.0)
    agent.until(100_001.0)
    assert agent.machine.phase is Phase.OVER


@pytest.mark.parametrize(
    ("commands", "leaves_at", "phase"),
    [
        ((), 0.0, Phase.ZOMBIE),
        (("connect",), 0.005, Phase.ZOMBIE),
        (("connect", "exit"), None, Phase.ZOMBIE),
        (("connect",), 0.11, Phase.OVER),
    ],
)
def test_an_agent_that_leaves_too_early_leaves_a_zombie(
    commands: tuple[str, ...], leaves_at: float | None, phase: Phase
) -> None:
    agent = Agent(Party("u"))
    agent.say(*commands)
    if leaves_at is not None:
        agent.until(leaves_at)
        agent.machine.peer_closed(leaves_at)
    agent.until(5.0)
    assert agent.machine.phase is phase


def test_an_agent_that_dies_lets_the_prompt_end_and_then_the_call() -> None:
    agent = on_a_call()
    agent.say(play("/a3.wav", "x1"))
    agent.until(2.0)
    agent.machine.peer_closed(2.0)
    agent.until(4.0)
    assert agent.machine.phase is Phase.ON_ITS_OWN
    agent.until(4.2)
    assert agent.machine.phase is Phase.OVER
    assert agent.machine.channel.cause == "NORMAL_CLEARING"


def test_after_resume_the_prompt_is_cut_when_the_agent_leaves() -> None:
    agent = on_a_call()
    agent.say(play("/a3.wav", "x1"))
    agent.until(2.0)
    agent.say("resume", "exit")
    agent.until(2.1)
    assert agent.machine.phase is Phase.OVER


def test_with_a_next_action_the_call_outlives_the_agent() -> None:
    agent = on_a_call(options=Options(has_next_action=True))
    agent.say("exit")
    agent.until(5.0)
    assert agent.machine.is_up
    assert "dialplan goes on" in [what for _, what, _ in agent.machine.facts]


def test_a_transfer_keeps_the_socket_open() -> None:
    agent = on_a_call()
    agent.say("api uuid_transfer u 100 XML default")
    agent.until(2.0)
    assert words(agent, 1.0) == ["UNPARK", "COMPLETE socket _none_", "STATE CS_ROUTING"]
    assert not agent.is_closed


def test_a_message_to_a_strange_uuid_is_refused() -> None:
    agent = on_a_call()
    (reply,) = agent.say("sendmsg nobody\ncall-command: execute\nexecute-app-name: answer")
    assert reply == b"Content-Type: command/reply\nReply-Text: -ERR invalid session id [nobody]\n\n"


def test_events_are_delivered_only_as_asked_for() -> None:
    agent = Agent(Party("u"))
    agent.say("connect", "linger", "myevents", "event plain CUSTOM mod_audio_fork::connect PLAYBACK_START")
    agent.until(1.0)
    agent.say(play("/b2.wav", "p"), "api uuid_audio_fork u start ws://x/ mono 8000")
    agent.machine.fork_connected("audio_fork", 1.0)
    agent.until(2.0)
    assert [line for line in words(agent, 1.0) if "PLAYBACK" in line or "BUG" in line] == []
    assert "CUSTOM mod_audio_fork::connect" in words(agent, 1.0)


# faults


def test_a_stall_delays_everything_and_loses_nothing() -> None:
    agent = on_a_call()
    agent.machine.stall(2.0)
    assert agent.say("api uuid_exists u") == []
    agent.until(2.9)
    assert words(agent, 1.0) == []
    agent.until(3.0)
    assert agent.written[-1].endswith(b"true")


def test_pieces_are_of_the_size_asked_for_and_add_up() -> None:
    agent = on_a_call()
    whole = b"".join(agent.say("api uuid_dump u"))
    agent.machine.split_every(7)
    pieces = agent.say("api uuid_dump u")
    assert {len(piece) for piece in pieces[:-1]} == {7}
    assert len(b"".join(pieces)) == len(whole)


@pytest.mark.parametrize(("name", "reset"), [("drop_eof", False), ("reset", True)])
def test_the_socket_can_end_in_the_middle(name: str, reset: bool) -> None:
    agent = on_a_call()
    getattr(agent.machine, name)()
    assert agent.machine.outgoing() == [Close(reset)]
    agent.until(2.0)
    assert agent.machine.phase is Phase.OVER


def test_commands_can_be_refused_or_swallowed_and_events_lost() -> None:
    agent = on_a_call()
    agent.machine.refuse("api uuid_audio_fork", "-ERR Operation Failed\n")
    agent.machine.never_reply("api uuid_break")
    agent.machine.lose_events("PLAYBACK_STOP", 1)
    agent.machine.garbage(b"\xff\xfe")
    answers = agent.say("api uuid_audio_fork u start", "api uuid_break u", "api uuid_exists u")
    assert [answer.rsplit(b"\n\n", 1)[1] for answer in answers[-2:]] == [b"-ERR Operation Failed\n", b"true"]
    assert agent.machine.crash_reason == ""
    agent.say(play("/b2.wav", "a"), play("/b2.wav", "b"))
    agent.until(10.0)
    assert [line for line in words(agent, 1.0) if line.startswith("PLAYBACK_STOP")] == ["PLAYBACK_STOP done"]


def test_all_is_a_subscription_too() -> None:
    agent = Agent(Party("u"))
    agent.say("connect", "event plain ALL", "filter Unique-ID u")
    agent.say(play("/b2.wav", "p"))
    agent.until(1.0)
    assert "PLAYBACK_START" in words(agent, 0.0)
    agent.say("filter delete all", "filter Unique-ID somebody-else", play("/b2.wav", "q"))
    agent.until(4.0)
    assert words(agent, 1.0) == []
