"""uuid_audio_fork on the pretend channel: replies, events, and the ways to get it wrong."""

from __future__ import annotations

import pytest
from virtual_agent import Agent

from esl_agent.testing.fs_channel import Party
from esl_agent.testing.fs_effects import CloseFork, ForkFlow, ForkText, OpenFork
from esl_agent.testing.fs_ending import Phase
from esl_agent.testing.fs_machine import Options

START = "api uuid_audio_fork u start ws://127.0.0.1:9/x?t=1 mono 16000"
STOP = "api uuid_audio_fork u stop"
OK, FAILED = "+OK Success\n", "-ERR Operation Failed\n"


def on_a_call(options: Options | None = None) -> Agent:
    agent = Agent(Party("u"), options)
    agent.answered()
    return agent


def body(agent: Agent, command: str) -> str:
    before = len(agent.written)
    agent.say(command)
    return agent.written[before].decode().split("\n\n", 1)[1]


def customs(agent: Agent) -> list[str]:
    return [line.split(" ")[2] for line in agent.story() if " CUSTOM " in line]


def test_a_start_is_ok_at_once_and_proves_nothing() -> None:
    agent = on_a_call()
    assert body(agent, START) == OK
    assert agent.effects == [OpenFork("audio_fork", "ws://127.0.0.1:9/x?t=1", "mono", 16000, "")]
    agent.until(5.0)
    assert customs(agent) == []


def test_the_connect_event_comes_a_frame_after_the_handshake() -> None:
    agent = on_a_call()
    agent.say(START)
    agent.machine.fork_connected("audio_fork", 1.0)
    agent.until(1.02)
    assert customs(agent) == []
    agent.until(1.03)
    assert customs(agent) == ["mod_audio_fork::connect"]


@pytest.mark.parametrize("reason", ["Unable to connect", "HS: ws upgrade unauthorized", "read failed"])
def test_after_a_failure_only_a_stop_allows_a_new_start(reason: str) -> None:
    agent = on_a_call()
    agent.say(START)
    agent.machine.fork_failed("audio_fork", reason, 1.0)
    agent.until(1.1)
    assert agent.event("CUSTOM").endswith(f'\n\n{{"reason":"{reason}"}}'.encode())
    assert body(agent, START) == FAILED
    assert body(agent, STOP) == OK
    assert body(agent, START) == OK


def test_a_second_start_is_refused_and_a_second_stop_too() -> None:
    agent = on_a_call()
    assert [body(agent, command) for command in (START, START, STOP, STOP)] == [OK, FAILED, OK, FAILED]


def test_the_far_end_closing_is_a_disconnect_without_a_body_and_the_bug_stays() -> None:
    agent = on_a_call()
    agent.say(START)
    agent.machine.fork_connected("audio_fork", 1.0)
    agent.until(1.1)
    agent.machine.fork_closed("audio_fork", 1.1)
    agent.until(1.2)
    assert customs(agent)[-1] == "mod_audio_fork::disconnect"
    assert b"\nContent-Length: 0" not in agent.event("CUSTOM")
    assert agent.event("CUSTOM").endswith(b"\n\n")
    assert body(agent, START) == FAILED
    assert body(agent, 'api uuid_audio_fork u send_text {"a":1}') == OK


@pytest.mark.parametrize(
    ("words", "bug", "metadata"),
    [
        ('{"a":1}', "audio_fork", '{"a":1}'),
        ("", "audio_fork", ""),
        ("mybug", "mybug", ""),
        ('mybug {"a": "b c"}', "mybug", '{"a": "b c"}'),
        ('\'{"a": "b c"}\'', "audio_fork", '{"a": "b c"}'),
        ('{"a": "b c", "d": 1}', '{"a":', '"b c", "d": 1}'),
    ],
)
def test_metadata_with_spaces_is_broken_as_measured(words: str, bug: str, metadata: str) -> None:
    agent = on_a_call()
    assert body(agent, f"{START} {words}".strip()) == OK
    (fork,) = agent.effects
    assert isinstance(fork, OpenFork)
    assert (fork.bug, fork.metadata) == (bug, metadata)
    assert body(agent, STOP) == (OK if bug == "audio_fork" else FAILED)


@pytest.mark.parametrize(
    ("text", "reply"),
    [('{"event":"dtmf"}', OK), ("hello", FAILED), ('{"event": "dtmf"}', FAILED)],
)
def test_send_text_takes_only_json_without_spaces(text: str, reply: str) -> None:
    agent = on_a_call()
    agent.say(START)
    agent.machine.fork_connected("audio_fork", 1.0)
    agent.until(1.1)
    assert body(agent, f"api uuid_audio_fork u send_text {text}") == reply
    assert (ForkText("audio_fork", text) in agent.effects) is (reply == OK)


def test_pause_resume_and_stop_with_a_last_word() -> None:
    agent = on_a_call()
    agent.say(START)
    for command in ("pause", "resume", 'stop {"bye":1}'):
        assert body(agent, f"api uuid_audio_fork u {command}") == OK
    assert agent.effects[1:] == [
        ForkFlow("audio_fork", False),
        ForkFlow("audio_fork", True),
        CloseFork("audio_fork", '{"bye":1}'),
    ]


def test_graceful_shutdown_leaks_the_websocket() -> None:
    agent = on_a_call()
    agent.say(START)
    assert body(agent, "api uuid_audio_fork u graceful-shutdown") == OK
    assert body(agent, STOP) == OK
    assert not any(isinstance(effect, CloseFork) for effect in agent.effects)


def test_a_hang_up_closes_the_fork_without_an_event_of_its_own() -> None:
    agent = on_a_call()
    agent.say(START)
    agent.machine.caller_hangs_up(1.0)
    agent.until(2.0)
    assert agent.effects[-1] == CloseFork("audio_fork")
    assert customs(agent) == []


@pytest.mark.parametrize("words", ["start ws://x/ mono", "start ws://x/", "start"])
def test_a_start_without_a_rate_takes_freeswitch_down(words: str) -> None:
    agent = on_a_call()
    assert agent.say(f"api uuid_audio_fork u {words}") == []
    assert agent.machine.phase is Phase.CRASHED
    assert "uuid_audio_fork" in agent.machine.crash_reason
    assert agent.is_closed


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ('{"type":"json","a":1}', "mod_audio_fork::json"),
        ('{"a":1}', "mod_audio_fork::json"),
        ('{"type":"disconnect","data":{"r":1}}', "mod_audio_fork::disconnect"),
        ('{"type":"unknown"}', None),
        ("hello", None),
    ],
)
def test_messages_of_the_far_end_become_events_or_nothing(message: str, event: str | None) -> None:
    agent = on_a_call()
    agent.say(START)
    agent.machine.fork_message("audio_fork", message, 1.0)
    agent.until(1.1)
    assert customs(agent) == ([event] if event else [])


def test_audio_fork_is_an_application_only_when_asked_for() -> None:
    command = "sendmsg\ncall-command: execute\nexecute-app-name: audio_fork\nexecute-app-arg: ws://x/ mono 8000"
    for enabled in (False, True):
        agent = on_a_call(Options(audio_fork_application=enabled))
        agent.say(command)
        agent.until(2.0)
        assert any(isinstance(effect, OpenFork) for effect in agent.effects) is enabled


def test_a_url_of_another_scheme_is_accepted_and_never_answers() -> None:
    agent = on_a_call()
    assert body(agent, "api uuid_audio_fork u start http://x/ mono 8000") == OK
    agent.until(100.0)
    assert agent.effects == []
    assert customs(agent) == []
