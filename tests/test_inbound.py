"""Logging in at FreeSWITCH's event socket, as fs_cli does, and every way in which that fails."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from esl_agent import inbound
from esl_agent.errors import CommandRefused, CommandTimeout, LegClosed, LegError, UnsafeText
from tests.inbound_peer import PASSWORD, REJECTED, EventSocketPeer

VERSION = "FreeSWITCH Version 1.11.3-dev~64bit ( 64bit)\n"
#: Seconds that are waited for what never comes.
SHORT = 0.05

Start = Callable[..., EventSocketPeer]


@pytest.fixture
def start() -> Iterator[Start]:
    peers: list[EventSocketPeer] = []

    def make(*arguments: Any, **options: Any) -> EventSocketPeer:
        peers.append(EventSocketPeer(*arguments, **options))
        return peers[-1]

    yield make
    for peer in peers:
        peer.stop()


def connect(peer: EventSocketPeer, password: str = PASSWORD, timeout: float = 5.0) -> inbound.EventSocket:
    return inbound.connect("127.0.0.1", peer.port, password, timeout)


def test_a_right_password_opens_the_door_and_questions_are_answered(start: Start) -> None:
    peer = start({"version": VERSION})
    with connect(peer) as fs:
        assert fs.api("version") == "FreeSWITCH Version 1.11.3-dev~64bit ( 64bit)"
    assert peer.commands == [f"auth {PASSWORD}", "api version"]


def test_many_questions_in_one_go_get_each_its_own_answer(start: Start) -> None:
    with connect(start({"uuid_getvar": lambda arguments: f"{arguments.split()[0]}!\n"})) as fs:
        asked = [fs.ask("uuid_getvar", str(n), "esl_agent_state") for n in range(100)]
        assert [each.get().text for each in asked] == [f"{n}!" for n in range(100)]


def test_a_wrong_password_is_named_as_such_and_never_printed(start: Start) -> None:
    with pytest.raises(inbound.WrongPassword, match=r"refuses the password \(-ERR invalid\)") as caught:
        connect(start(), "hunter2")
    assert "password_env" in caught.value.cure
    assert "hunter2" not in str(caught.value)


def test_an_address_that_freeswitch_does_not_allow_is_told_which_list_to_look_at(start: Start) -> None:
    with pytest.raises(inbound.NotAllowed, match="Access Denied, go away") as caught:
        connect(start(greeting=REJECTED))
    assert "apply-inbound-acl" in caught.value.cure


def test_a_port_where_nobody_listens_is_not_reachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(inbound.NotReachable, match="Connection refused") as caught:
        inbound.connect("127.0.0.1", port, PASSWORD)
    assert "mod_event_socket" in caught.value.cure


@pytest.mark.parametrize(
    "greeting",
    [b"", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", b"Content-Type: auth/requ"],
    ids=["silent, as an agent's own port", "ssh", "half a greeting"],
)
def test_whoever_never_asks_for_a_password_is_no_event_socket(start: Start, greeting: bytes) -> None:
    with pytest.raises(inbound.NotAnEventSocket, match="sends no auth/request within"):
        connect(start(greeting=greeting), timeout=SHORT)


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\nServer: x\n\n",
        b"Content-Type: command/reply\nReply-Text: +OK\n\n",
        b"Content-Type: text/event-plain\nContent-Length: 22\n\nEvent-Name: HEARTBEAT\n",
        b"\xff\xfe\x00\x01\n\n",
    ],
)
def test_nonsense_is_no_event_socket(start: Start, greeting: bytes) -> None:
    with pytest.raises(inbound.NotAnEventSocket, match="is no event socket"):
        connect(start(greeting=greeting))


def test_a_freeswitch_that_never_answers_the_password_is_given_up(start: Start) -> None:
    with pytest.raises(inbound.NotAnEventSocket, match=r"no answer to 'auth' within 0\.05 s"):
        connect(start(stall_at=f"auth {PASSWORD}"), timeout=SHORT)


def test_a_freeswitch_that_goes_away_at_the_password_is_given_up(start: Start) -> None:
    with pytest.raises(inbound.NotAnEventSocket, match="closed the connection"):
        connect(start(hang_up_at=f"auth {PASSWORD}"))


def test_an_unknown_command_is_refused_in_freeswitchs_words(start: Start) -> None:
    with connect(start()) as fs, pytest.raises(CommandRefused, match="-ERR nosuchcmd Command not found!"):
        fs.api("nosuchcmd")


def test_a_question_that_is_never_answered_ends_at_its_deadline(start: Start) -> None:
    with connect(start(stall_at="api status")) as fs, pytest.raises(CommandTimeout):
        fs.api("status", timeout=SHORT)


def test_a_connection_that_dies_ends_every_question(start: Start) -> None:
    with connect(start(hang_up_at="api status")) as fs:
        pending = [fs.ask("status"), fs.ask("version")]
        for each in pending:
            with pytest.raises(LegClosed):
                each.get()
        with pytest.raises(LegError):
            fs.api("version")


def test_no_argument_can_begin_another_command(start: Start) -> None:
    peer = start({"file_exists": "false"})
    with connect(peer) as fs, pytest.raises(UnsafeText):
        fs.api("file_exists", "/x\n\napi fsctl shutdown")
    assert not any("shutdown" in command for command in peer.commands)
