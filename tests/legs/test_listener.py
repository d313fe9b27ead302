"""The door: who is let in, who is refused and how, and how it is closed for the night."""

from __future__ import annotations

import errno
import logging
import socket
from typing import Any

import gevent
import pytest
from gevent.server import StreamServer
from greenswitch.esl import OutboundSessionHasGoneAway

from esl_agent.errors import LegError
from esl_agent.legs.esl_door import Door
from esl_agent.legs.freeswitch import Listener, Session
from tests.legs.esl_peer import (
    BYE,
    FINAL_NOTICE,
    OK,
    PATIENCE,
    UUID,
    Peer,
    connected,
    door,
    event,
    header,
    knock,
    until,
)


def hold(session: Session) -> None:
    session.wait_over(PATIENCE)


def enter(listener: Listener) -> Peer:
    peer = knock(listener)
    peer.answer("connect", connected())
    return peer


def read_refusal(peer: Peer) -> str:
    """Plays FreeSWITCH for a refused call; the hang-up cause."""
    peer.answer("connect", connected())
    peer.answer("linger")
    peer.answer("myevents")
    cause = header(peer.answer("sendmsg\ncall-command: hangup"), "hangup-cause")
    peer.say(event("CHANNEL_HANGUP", Hangup__Cause=cause), event("CHANNEL_HANGUP_COMPLETE", Hangup__Cause=cause))
    peer.answer("exit", BYE, FINAL_NOTICE)
    peer.sock.close()
    return cause


def test_an_application_object_is_run_in_the_calls_own_greenlet() -> None:
    seen: list[Any] = []

    class Application:
        def __init__(self, session: Session) -> None:
            seen.append((session.uuid, gevent.getcurrent()))

        def run(self) -> None:
            seen.append(gevent.getcurrent())

    with door(Application) as listener:
        enter(listener)
        until(lambda: len(seen) == 2)
        assert seen[0] == (UUID, seen[1])


def test_when_the_application_returns_freeswitch_is_told_goodbye() -> None:
    with door(lambda session: None) as listener:
        peer = enter(listener)
        peer.answer("exit", BYE, FINAL_NOTICE)
        peer.sock.close()
        until(lambda: listener.connection_count == 0)
        assert (listener.admitted, listener.failed_applications) == (1, 0)


def test_a_mistake_in_one_application_harms_no_other_call(caplog: pytest.LogCaptureFixture) -> None:
    def application(session: Session) -> None:
        if session.session_data and session.session_data["Control"] != "full":
            raise ZeroDivisionError("a mistake")
        hold(session)

    with door(application) as listener:
        good, bad = enter(listener), knock(listener)
        bad.answer("connect", connected("single-channel"))
        bad.expect("exit")
        until(lambda: listener.failed_applications == 1)
        assert listener.connection_count >= 1
        good.say(event("CHANNEL_HANGUP_COMPLETE", Hangup__Cause="NORMAL_CLEARING"))
        good.expect("exit")
        assert "a mistake" in caplog.text


def test_a_caller_who_hangs_up_is_no_mistake_of_the_application(caplog: pytest.LogCaptureFixture) -> None:
    caught: list[BaseException] = []

    def application(session: Session) -> None:
        session.wait_over(PATIENCE)
        try:
            session.raise_if_disconnected()
        except OutboundSessionHasGoneAway as error:
            caught.append(error)
            raise

    with door(application) as listener:
        enter(listener).sock.close()
        until(lambda: caught and listener.connection_count == 0)
        assert listener.failed_applications == 0
        assert "Traceback" not in caplog.text


def test_a_call_too_many_hears_a_cause_and_is_over_before_we_leave() -> None:
    with door(hold, 1, refusal_cause="SWITCH_CONGESTION") as listener:
        first = enter(listener)
        until(lambda: listener.connection_count == 1)
        assert read_refusal(knock(listener)) == "SWITCH_CONGESTION"
        assert (listener.admitted, listener.refused, listener.connection_count) == (1, 1, 1)
        first.sock.close()


def test_a_refused_call_that_never_hangs_up_is_left_in_time() -> None:
    with door(hold, 0, refusal_timeout=0.01) as listener:
        peer = knock(listener)
        peer.answer("connect", connected())
        for _ in range(3):
            peer.say(OK)
        assert peer.is_closed()


def test_refusals_are_bounded_and_the_rest_wait_in_the_kernels_queue() -> None:
    with door(hold, 0, max_refusals=1) as listener:
        first = knock(listener)
        assert first.command() == "connect"
        second = knock(listener)
        second.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            second.command()
        assert listener.refused == 1
        first.sock.close()
        second.sock.settimeout(PATIENCE)
        assert second.command() == "connect"


def test_when_a_call_ends_the_next_is_let_in() -> None:
    with door(hold, 1) as listener:
        for _ in range(3):
            peer = enter(listener)
            until(lambda: listener.connection_count == 1)
            peer.sock.close()
            until(lambda: listener.connection_count == 0)
        assert (listener.admitted, listener.refused) == (3, 0)


def test_only_the_allowed_may_enter() -> None:
    with door(hold, allow=["192.0.2.0/24"]) as listener:
        assert knock(listener).command() == ""
        assert (listener.turned_away, listener.admitted) == (1, 0)
    with door(hold, allow=["192.0.2.0/24", "127.0.0.1"]) as listener:
        enter(listener)


@pytest.mark.parametrize(
    ("address", "may"),
    [
        (("10.1.2.3", 5), True),
        (("11.1.2.3", 5), False),
        (("::ffff:10.1.2.3", 5, 0, 0), True),
        (("fe80::1%eth0", 5, 0, 2), True),
        (("fe81::1", 5, 0, 2), False),
        ("", False),
    ],
)
def test_addresses_are_judged_in_every_notation(address: Any, may: bool) -> None:
    listener = Door(application=hold, allow=["10.0.0.0/8", "fe80::/16"])
    assert listener._allowed.admits(address) is may


def test_draining_refuses_new_calls_lets_the_running_finish_and_then_stops_listening() -> None:
    with door(hold) as listener:
        peer = enter(listener)
        until(lambda: listener.connection_count == 1)
        listening = gevent.spawn(listener.listen)
        draining = gevent.spawn(listener.drain, PATIENCE)
        until(lambda: listener.is_draining)
        assert read_refusal(knock(listener)) == "NORMAL_TEMPORARY_FAILURE"
        assert not draining.ready()
        peer.sock.close()
        assert draining.get(timeout=PATIENCE) is True
        listening.get(timeout=PATIENCE)
        with pytest.raises(ConnectionRefusedError):
            knock(listener)


def test_draining_gives_up_after_its_time() -> None:
    with door(hold) as listener:
        peer = enter(listener)
        until(lambda: listener.connection_count == 1)
        listening = gevent.spawn(listener.listen)
        assert listener.drain(0.01) is False
        listening.get(timeout=PATIENCE)
        assert listener.connection_count == 1
        peer.sock.close()


def test_listen_returns_after_stop_and_the_last_call() -> None:
    listener = Listener("127.0.0.1", 0, hold)
    listening = gevent.spawn(listener.listen)
    until(lambda: listener.bound_port)
    peer = enter(listener)
    until(lambda: listener.connection_count == 1)
    listener.stop()
    listener.stop()
    gevent.idle()
    assert not listening.ready()
    peer.sock.close()
    listening.get(timeout=PATIENCE)


def test_the_next_free_port_is_taken_and_none_free_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listener = Listener("127.0.0.1", [port, 0], hold)
        listener.start()
        assert listener.bound_port not in (None, 0, port)
        listener.stop()
        with pytest.raises(LegError, match=f"port {port}: .*in use"):
            Listener("127.0.0.1", port, hold).start()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 on this machine")
def test_ipv6_callers_are_welcome() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback")
    listener = Listener("::1", 0, hold, allow=["::1"])
    listener.start()
    peer = Peer(socket.create_connection(("::1", listener.bound_port)))
    assert peer.command() == "connect"
    listener.stop()
    peer.sock.close()


def test_without_free_descriptors_accepting_pauses_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept, tries = StreamServer.do_read, []

    def exhausted(self: StreamServer) -> Any:
        tries.append(1)
        if len(tries) <= 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(self)

    monkeypatch.setattr(StreamServer, "do_read", exhausted)
    monkeypatch.setattr("esl_agent.legs.esl_door.EXHAUSTED_PAUSE", 0.001)
    with caplog.at_level(logging.ERROR), door(hold) as listener:
        enter(listener)
        assert listener.accept_errors == 2
        assert "LimitNOFILE" in caplog.text


def test_an_application_is_needed() -> None:
    with pytest.raises(ValueError, match="Application"):
        Listener()
    with pytest.raises(ValueError, match="bind_port"):
        Listener("127.0.0.1", [], hold)
