"""The event socket's commands: one command stays one command, whatever a caller, model or header says."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.errors import UnsafeText
from esl_agent.wire import esl_commands as commands
from esl_agent.wire.esl_commands import Trusted, safe_text

HOSTILE = st.text(st.sampled_from("${}[]%\\'\"\n\r\0; a(é\u2028\x07\u202e"), max_size=40) | st.text(max_size=40)


@pytest.mark.parametrize(
    ("command", "written"),
    [
        (commands.connect(), b"connect\n\n"),
        (commands.linger(), b"linger\n\n"),
        (commands.linger(5), b"linger 5\n\n"),
        (commands.my_events("json"), b"myevents json\n\n"),
        (commands.filter_("Unique-ID", "x y"), b"filter Unique-ID x y\n\n"),
        (commands.divert_events(True), b"divert_events on\n\n"),
        (commands.resume(), b"resume\n\n"),
        (commands.exit_(), b"exit\n\n"),
        (commands.auth("a ${b}"), b"auth a ${b}\n\n"),
        (commands.api("uuid_break", "u", "all"), b"api uuid_break u all\n\n"),
        (commands.bgapi("j1", "status"), b"bgapi status\nJob-UUID: j1\n\n"),
        (commands.execute("answer"), b"sendmsg\ncall-command: execute\nexecute-app-name: answer\n\n"),
        (
            commands.execute("playback", "{tag=a}/x.wav", event_uuid="e1", lock=True, loops=2),
            b"sendmsg\ncall-command: execute\nexecute-app-name: playback\nevent-uuid: e1\nevent-lock: true\nloops: 2\n"
            b"execute-app-arg: {tag=a}/x.wav\n\n",
        ),
        (
            commands.execute("speak", " é", as_body=True, channel="u2"),
            b"sendmsg u2\ncall-command: execute\nexecute-app-name: speak\n"
            b"content-type: text/plain\ncontent-length: 3\n\n \xc3\xa9",
        ),
        (commands.hang_up("USER_BUSY"), b"sendmsg\ncall-command: hangup\nhangup-cause: USER_BUSY\n\n"),
        (
            commands.unicast(("127.0.0.1", 1), ("127.0.0.1", 2), native=True),
            b"sendmsg\ncall-command: unicast\nlocal-ip: 127.0.0.1\nlocal-port: 1\n"
            b"remote-ip: 127.0.0.1\nremote-port: 2\ntransport: udp\nflags: native\n\n",
        ),
        (commands.as_written("sendmsg\ncall-command: hangup\n\n"), b"sendmsg\ncall-command: hangup\n\n"),
    ],
)
def test_commands_are_written_as_freeswitch_reads_them(command: bytes, written: bytes) -> None:
    assert command == written


def test_custom_comes_last_for_every_word_behind_it_is_a_subclass() -> None:
    line = commands.events("json", ["PLAYBACK_STOP", "BACKGROUND_JOB"], ["mod_audio_fork::connect"])
    assert line == b"event json PLAYBACK_STOP BACKGROUND_JOB CUSTOM mod_audio_fork::connect\n\n"
    assert commands.events("plain", [], ["a::b"]) == b"event plain CUSTOM a::b\n\n"
    with pytest.raises(ValueError, match="CUSTOM alone"):
        commands.events("json", ["CUSTOM", "PLAYBACK_STOP"])
    with pytest.raises(ValueError, match="at least one"):
        commands.events("json", [])


@pytest.mark.parametrize("character", ["\n", "\r", "\0", "\n\napi system touch /tmp/pwned"])
@pytest.mark.parametrize("kind", [str, Trusted])
def test_a_line_break_never_enters_a_command(character: str, kind: Callable[[str], str]) -> None:
    text = kind(f"hello{character}")
    for build in (
        lambda: commands.execute("playback", text),
        lambda: commands.execute("playback", text, as_body=True),
        lambda: commands.execute(text),
        lambda: commands.execute("playback", "x", event_uuid=text),
        lambda: commands.execute("playback", "x", channel=text),
        lambda: commands.hang_up(text),
        lambda: commands.api("uuid_setvar", text),
        lambda: commands.api(text),
        lambda: commands.bgapi(text, "status"),
        lambda: commands.bgapi("j", "status", text),
        lambda: commands.filter_("Unique-ID", text),
        lambda: commands.filter_(text, "x"),
        lambda: commands.events("json", [text]),
        lambda: commands.events("json", [], [text]),
        lambda: commands.auth(text),
        lambda: commands.unicast((text, 1), ("h", 2)),
    ):
        with pytest.raises(UnsafeText):
            build()


@pytest.mark.parametrize(
    "text",
    ["${system(id)}", "a $${b}", "$\\{x}", "$\\\\'{x}", "$'{x}", "$$\\{x}", "%[a=b]c", "%;[a=b]c", "x %[a]"],
)
def test_an_expansion_from_outside_is_refused_and_our_own_is_not(text: str) -> None:
    with pytest.raises(UnsafeText, match="would expand"):
        commands.execute("log", text)
    with pytest.raises(UnsafeText, match="would expand"):
        commands.api("uuid_setvar", "u", "name", text)
    assert text.encode() in commands.execute("log", Trusted(text))


def test_money_and_percentages_may_be_said() -> None:
    assert b"costs $5, 50 % off" in commands.execute("say", "costs $5, 50 % off")


def test_half_a_character_is_refused_before_it_is_sent() -> None:
    with pytest.raises(UnsafeText, match="surrogate"):
        commands.execute("say", "\ud800")


@pytest.mark.parametrize("text", ["", "\n", "a\n\nb", "a\rb", "a\0b"])
def test_our_own_commands_are_one_command_each(text: str) -> None:
    with pytest.raises(UnsafeText, match="not one event socket command"):
        commands.as_written(text)


@given(HOSTILE)
def test_no_argument_can_end_a_command(text: str) -> None:
    try:
        command = commands.execute("log", text)
    except UnsafeText:
        return
    assert command.count(b"\n\n") == 1
    assert command.endswith(b"\n\n")
    assert b"\r" not in command
    assert command.count(b"\n") == (4 if not text else 5)


@given(HOSTILE, st.integers(1, 50))
def test_outside_text_made_safe_passes_the_encoder_and_keeps_its_limit(text: str, limit: int) -> None:
    safe = safe_text(text, limit)
    assert len(safe) <= limit
    commands.api("uuid_setvar", "u", "esl_agent_x", safe)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", safe)
    commands.api("uuid_setvar", "u", "esl_agent_x", safe + "{x}")  # nor does it complete what follows it


def test_outside_text_made_safe_stays_readable() -> None:
    assert safe_text("Zoë Müller\r\n\r\napi status") == "Zoë Müller api status"
    assert safe_text("pay ${amount} now, 50% [off]") == "pay $(amount} now, 50% (off]"
    assert safe_text("x" * 500, 10) == "x" * 10


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (commands.connect(), "connect"),
        (commands.api("uuid_kill", "u"), "api uuid_kill"),
        (commands.bgapi("j", "originate", "x"), "bgapi originate"),
        (commands.execute("playback", "/secret.wav", lock=True), "execute playback"),
        (commands.hang_up(), "hangup"),
        (commands.events("json", ["DTMF"]), "event"),
        (commands.auth("secret"), "auth"),
    ],
)
def test_a_command_is_named_without_what_it_says(command: bytes, name: str) -> None:
    assert commands.name_of(command) == name
