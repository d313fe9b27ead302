"""What the pretend FreeSWITCH writes, against the literal bytes of a real one (FreeSWITCH 1.11.3-dev)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from virtual_agent import TONE, Agent, play

from esl_agent.testing.fs_channel import Party
from esl_agent.testing.fs_machine import Options

CAPTURED = Path(__file__).parent / "captured"
SUBSCRIBE = (
    "event plain PLAYBACK_START PLAYBACK_STOP BACKGROUND_JOB MEDIA_BUG_START MEDIA_BUG_STOP "
    "CUSTOM mod_audio_fork::connect mod_audio_fork::connect_failed"
)
#: Headers whose values differ from run to run.
VARYING = re.compile(r"^(Event-Date-.*|Event-Sequence|.*-Time|Content-Length|Job-UUID)$")


def captured(name: str) -> bytes:
    return (CAPTURED / f"{name}.txt").read_bytes()


def party_of(frame: bytes) -> Party:
    text = frame.decode()
    uuid = re.search(r"(?:Unique-ID|Job-Owner-UUID)(?:: |\":\")([-0-9a-f]{36})", text)
    did = re.search(r"Caller-Destination-Number(?:: |\":\")(\w+)", text)
    assert uuid
    return Party(uuid[1], did[1] if did else "s2")


def lines(frame: bytes, *, variables: bool) -> list[str]:
    """Header lines with what differs from run to run replaced."""
    kept = []
    for line in frame.decode().split("\n"):
        name, colon, value = line.partition(": ")
        if name.startswith("variable_"):
            if variables:
                kept.append(name)
        elif colon and VARYING.match(name):
            kept.append(f"{name}: ({'0' if value == '0' else 'varies'})")
        else:
            kept.append(line)
    return kept


def on_a_call(real: bytes) -> Agent:
    agent = Agent(party_of(real))
    agent.say("connect", "linger", "myevents", SUBSCRIBE, "sendmsg\ncall-command: execute\nexecute-app-name: answer")
    agent.until(0.3)
    return agent


def test_nothing_is_said_before_connect() -> None:
    agent = Agent(Party("u"))
    agent.until(10.0)
    assert agent.say("linger", "myevents") == []


def test_the_connect_reply_is_the_captured_one() -> None:
    real = captured("connect")
    agent = Agent(party_of(real))
    (reply,) = agent.say("connect")
    assert lines(reply, variables=True) == lines(real, variables=True)
    assert reply.endswith(b"Control: full\n\n")


REPLIES = {
    "linger": b"Content-Type: command/reply\nReply-Text: +OK will linger\n\n",
    "linger 10": b"Content-Type: command/reply\nReply-Text: +OK will linger 10 seconds\n\n",
    "linger abc": b"Content-Type: command/reply\nReply-Text: +OK will linger 0 seconds\n\n",
    "nolinger": b"Content-Type: command/reply\nReply-Text: +OK will not linger\n\n",
    "getvar no_such": b"Content-Type: command/reply\nReply-Text: -ERR command not found\n\n",
    "myevents": b"Content-Type: command/reply\nReply-Text: +OK Events Enabled\n\n",
    "resume": b"Content-Type: command/reply\nReply-Text: +OK\n\n",
    "foo bar": b"Content-Type: command/reply\nReply-Text: -ERR command not found\n\n",
    "filter Unique-ID x": b"Content-Type: command/reply\nReply-Text: +OK filter added. [Unique-ID]=[x]\n\n",
    "filter delete all": b"Content-Type: command/reply\nReply-Text: +OK filter deleted. [all][]\n\n",
    "event plain NOSUCH": b"Content-Type: command/reply\nReply-Text: -ERR no keywords supplied\n\n",
    "event plain PLAYBACK_START": b"Content-Type: command/reply\nReply-Text: +OK event listener enabled plain\n\n",
    "divert_events on": b"Content-Type: command/reply\nReply-Text: +OK events diverted\n\n",
    "divert_events off": b"Content-Type: command/reply\nReply-Text: +OK events not diverted\n\n",
    "divert_events": b"Content-Type: command/reply\nReply-Text: -ERR missing value.\n\n",
    "api nosuchcmd": b"Content-Type: api/response\nContent-Length: 34\n\n-ERR nosuchcmd Command not found!\n",
    "api uuid_break nobody": b"Content-Type: api/response\nContent-Length: 22\n\n-ERR No such channel!\n",
    "api uuid_exists nobody": b"Content-Type: api/response\nContent-Length: 5\n\nfalse",
    "api uuid_audio_fork nobody stop": b"Content-Type: api/response\nContent-Length: 22\n\n-ERR Operation Failed\n",
    "sendmsg\ncall-command: execute\nexecute-app-name: answer": b"Content-Type: command/reply\nReply-Text: +OK\n\n",
}


@pytest.mark.parametrize("command", REPLIES, ids=lambda command: command.split("\n")[0])
def test_a_command_gets_the_captured_reply(command: str) -> None:
    agent = Agent(Party("u"))
    agent.say("connect")
    assert agent.say(command) == [REPLIES[command]]


def test_a_second_myevents_is_refused_and_does_not_change_the_format() -> None:
    agent = Agent(Party("u"))
    agent.say("connect", "myevents")
    assert agent.say("myevents json") == [b"Content-Type: command/reply\nReply-Text: -ERR aready enabled.\n\n"]
    assert agent.machine.subscriptions.form == "plain"


@pytest.mark.parametrize("command", ["api status", "bgapi status", "event plain DTMF", "linger"])
def test_without_full_the_privileged_commands_are_unknown(command: str) -> None:
    agent = Agent(Party("u"), Options(full=False))
    agent.say("connect")
    assert agent.say(command) == [b"Content-Type: command/reply\nReply-Text: -ERR command not found\n\n"]
    assert agent.say("filter a b") == [b"Content-Type: command/reply\nReply-Text: +OK filter added. [a]=[b]\n\n"]


def test_exit_says_goodbye_as_captured_and_closes() -> None:
    agent = Agent(Party("d6c3ed31-772d-42e6-b133-583c992ecad4"))
    agent.say("connect")
    bye, notice = agent.say("exit")
    assert bye == b"Content-Type: command/reply\nReply-Text: +OK bye\n\n"
    assert notice == (
        b"Content-Type: text/disconnect-notice\nControlled-Session-UUID: d6c3ed31-772d-42e6-b133-583c992ecad4\n"
        b"Content-Disposition: disconnect\nContent-Length: 67\n\n"
        b"Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
    )
    assert len(notice) == 218
    assert agent.is_closed


def test_the_linger_notice_is_the_captured_one() -> None:
    agent = Agent(Party("56cd32a6-d898-46df-8b90-50c2d351ea30"))
    agent.say("connect", "linger", f"api uuid_kill {agent.machine.channel.uuid}")
    agent.until(1.0)
    notice = next(frame for frame in agent.written if b"disconnect-notice" in frame)
    assert notice == (
        b"Content-Type: text/disconnect-notice\nControlled-Session-UUID: 56cd32a6-d898-46df-8b90-50c2d351ea30\n"
        b"Content-Disposition: linger\nChannel-Name: sofia/agents/4915550001@127.0.0.1\nLinger-Time: -1\n"
        b"Content-Length: 0\n\n"
    )


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("channel_answer", "CHANNEL_ANSWER"),
        ("channel_execute", "CHANNEL_EXECUTE"),
        ("playback_stop", "PLAYBACK_STOP"),
        ("execute_complete", "CHANNEL_EXECUTE_COMPLETE"),
    ],
)
def test_an_event_of_a_playback_has_the_captured_lines(name: str, event: str) -> None:
    real = captured(name)
    agent = on_a_call(real)
    agent.say(play(TONE, "11111111-aaaa-4bbb-8ccc-000000000001"))
    agent.until(5.0)
    assert lines(agent.event(event), variables=False) == lines(real, variables=False)


def test_params_before_a_file_appear_as_headers_as_captured() -> None:
    real = captured("playback_start")
    agent = on_a_call(real)
    agent.say(play("{my_tag=abc,playback_tag=7}" + TONE, "tag3"))
    agent.until(0.5)
    assert lines(agent.event("PLAYBACK_START"), variables=False) == lines(real, variables=False)


def test_a_digit_has_the_captured_lines_and_no_variables() -> None:
    real = captured("dtmf")
    agent = on_a_call(real)
    agent.machine.press("1", 0.4)
    agent.until(0.4)
    assert lines(agent.event("DTMF"), variables=True) == lines(real, variables=True)


@pytest.mark.parametrize(
    ("name", "event", "outcome"),
    [("media_bug_start", "MEDIA_BUG_START", ""), ("fork_connect", "CUSTOM", ""), ("connect_failed", "CUSTOM", "x")],
)
def test_an_event_of_the_fork_has_the_captured_lines(name: str, event: str, outcome: str) -> None:
    real = captured(name)
    agent = on_a_call(real)
    (reply,) = agent.say(f"api uuid_audio_fork {agent.machine.channel.uuid} start ws://127.0.0.1:8765/x mono 16000")[:1]
    assert reply == b"Content-Type: api/response\nContent-Length: 12\n\n+OK Success\n"
    if outcome:
        agent.machine.fork_failed("audio_fork", "Unable to connect", 0.3)
    else:
        agent.machine.fork_connected("audio_fork", 0.3)
    agent.until(0.4)
    assert lines(agent.event(event), variables=False) == lines(real, variables=False)


def test_a_background_job_has_the_captured_lines() -> None:
    real = captured("background_job")
    agent = on_a_call(real)
    reply = agent.say(f"bgapi uuid_break {agent.machine.channel.uuid} all")[0].decode()
    agent.until(0.4)
    job = re.search(r"^Job-UUID: (.*)$", reply, re.M)
    assert job
    assert reply == f"Content-Type: command/reply\nReply-Text: +OK Job-UUID: {job[1]}\nJob-UUID: {job[1]}\n\n"
    assert lines(agent.event("BACKGROUND_JOB"), variables=True) == lines(real, variables=True)


@pytest.mark.parametrize(
    ("name", "event"), [("hangup", "CHANNEL_HANGUP"), ("hangup_complete", "CHANNEL_HANGUP_COMPLETE")]
)
def test_an_event_of_the_hang_up_has_the_captured_lines(name: str, event: str) -> None:
    real = captured(name)
    agent = on_a_call(real)
    agent.machine.caller_hangs_up(0.4)
    agent.until(0.5)
    assert lines(agent.event(event), variables=False) == lines(real, variables=False)


def test_a_json_event_has_the_captured_names_and_values() -> None:
    real = captured("json_execute")
    agent = Agent(party_of(real))
    agent.say("connect", "linger", "myevents json", "sendmsg\ncall-command: execute\nexecute-app-name: answer")
    agent.until(0.3)
    frame = agent.event("CHANNEL_EXECUTE")
    ours, theirs = (json.loads(text.split(b"\n\n", 1)[1]) for text in (frame, real))
    fixed = [name for name in theirs if not VARYING.match(name) and not name.startswith("variable_")]
    assert [name for name in ours if not name.startswith("variable_")] == [
        name for name in theirs if not name.startswith("variable_")
    ]
    assert {name: ours[name] for name in fixed if name != "Application-UUID"} == {
        name: theirs[name] for name in fixed if name != "Application-UUID"
    }
    assert frame.startswith(b"Content-Length: %d\nContent-Type: text/event-json\n\n{" % len(frame.split(b"\n\n", 1)[1]))


@pytest.mark.parametrize("name", ["channel_execute", "playback_stop", "hangup_complete"])
def test_an_event_has_at_least_as_much_to_read_as_a_real_one_nearly(name: str) -> None:
    real = captured(name)
    agent = on_a_call(real)
    agent.say(play(TONE, "x"))
    agent.until(4.0)
    agent.machine.caller_hangs_up(4.0)
    agent.until(5.0)
    event = {"channel_execute": "CHANNEL_EXECUTE", "playback_stop": "PLAYBACK_STOP"}.get(
        name, "CHANNEL_HANGUP_COMPLETE"
    )
    ours = [frame for frame in agent.written if f"Event-Name: {event}\n".encode() in frame][-1]
    assert 0.85 < len(ours) / len(real) < 1.15


def test_every_frame_is_exactly_as_long_as_it_says() -> None:
    agent = on_a_call(captured("channel_execute"))
    agent.say(play(TONE, "x"))
    agent.until(4.0)
    events = [frame for frame in agent.written if frame.startswith(b"Content-Length")]
    assert len(events) >= 6
    for frame in events:
        head, _, body = frame.partition(b"\n\n")
        assert int(head.split(b"\n")[0].split(b": ")[1]) == len(body)
