"""The older bridge contract: sound without a token, claimed by the call's UUID."""

from __future__ import annotations

import pytest

from esl_agent.errors import LegError
from esl_agent.legs.audio_server import Listener
from esl_agent.legs.s1_listener import S1Listener, uuid_in

ONE = "11111111-2222-3333-4444-555555555555"
TWO = "99999999-2222-3333-4444-555555555555"


class FakeConnection:
    peer = "127.0.0.1:1"

    def __init__(self) -> None:
        self.closed = ""

    def close(self, reason: str, code: int = 1000) -> None:
        self.closed = reason


class Caller:
    """What a call's fork does with its listener."""

    def __init__(self) -> None:
        self.opened: list[object] = []
        self.frames: list[bytes] = []
        self.closed: list[str] = []
        self.listener = Listener(
            16000,
            self.opened.append,
            self.frames.append,
            lambda text: None,
            lambda connection, reason: self.closed.append(reason),
        )


def guest(s1: S1Listener) -> tuple[Listener, FakeConnection]:
    listener = s1.admit("/any")
    assert listener is not None
    connection = FakeConnection()
    listener.on_open(connection)  # type: ignore[arg-type]
    return listener, connection


@pytest.fixture
def s1() -> S1Listener:
    return S1Listener(("127.0.0.1", 0), 16000, 65536, 4.0)


@pytest.mark.parametrize("text", [ONE, ONE.upper(), f" {ONE}\n", f'{{"uuid":"{ONE}"}}', f'{{"call_uuid": "{ONE}"}}'])
def test_the_uuid_is_found_bare_or_in_json(text):
    assert uuid_in(text) == ONE


@pytest.mark.parametrize(
    "text", ["", "hello", "{", '{"uuid": 5}', f"{ONE}; rm", '{"a":' * 20000, '{"uuid": "../../etc"}', "[]"]
)
def test_other_text_is_no_uuid(text):
    assert uuid_in(text) is None


def test_sound_and_uuid_on_one_connection_belong_together(s1):
    call = Caller()
    s1.expect_call(ONE, call.listener)
    listener, connection = guest(s1)
    listener.on_frame(b"early")
    listener.on_text(ONE)
    listener.on_frame(b"later")
    assert call.opened == [connection]
    assert call.frames == [b"later"]
    listener.on_closed(connection, "gone")
    assert call.closed == ["gone"]


def test_a_helpers_uuid_means_the_only_sound_without_a_call(s1):
    call = Caller()
    s1.expect_call(ONE, call.listener)
    sound, connection = guest(s1)
    sound.on_frame(b"x")
    helper, _ = guest(s1)
    helper.on_text(f'{{"uuid":"{ONE}"}}')
    assert call.opened == [connection]


def test_a_helpers_uuid_is_no_guess_between_two_calls(s1):
    call = Caller()
    s1.expect_call(ONE, call.listener)
    for _ in range(2):
        sound, _ = guest(s1)
        sound.on_frame(b"x")
    helper, _ = guest(s1)
    helper.on_text(ONE)
    assert call.opened == []


def test_a_uuid_nobody_waits_for_claims_nothing(s1):
    listener, connection = guest(s1)
    listener.on_text(TWO)
    listener.on_frame(b"x")
    listener.on_closed(connection, "gone")


def test_it_listens_on_loopback_only():
    with pytest.raises(LegError, match="loopback"):
        S1Listener(("0.0.0.0", 0), 16000, 65536, 4.0)
