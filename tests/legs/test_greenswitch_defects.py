"""What operators saw with greenswitch 0.0.19 and must not see with ours, and what ours still takes from it."""

from __future__ import annotations

import importlib.metadata
import inspect
import socket
from typing import Any

import gevent
import greenswitch
import pytest
from gevent.event import AsyncResult
from greenswitch.esl import ESLProtocol, NotConnectedError, OutboundSession, OutboundSessionHasGoneAway

from esl_agent.errors import CommandTimeout, LegClosed, UnsafeText
from esl_agent.legs.esl_link import Link
from esl_agent.legs.freeswitch import Listener, Session, SessionGone
from tests.legs.esl_peer import (
    OK,
    PATIENCE,
    Peer,
    api,
    call,
    connected,
    done,
    door,
    event,
    header,
    knock,
    run,
    tcp_pair,
    until,
)


@pytest.mark.parametrize("ending", ["fin", "rst"])
def test_a_connection_lost_with_a_command_open_frees_the_call_and_its_slot(ending: str) -> None:
    outcomes: list[Any] = []

    def application(session: Session) -> None:
        outcomes.append(run(session.send, "api status").get(timeout=PATIENCE))

    with door(application, 2) as listener:
        for _ in range(5):
            peer = knock(listener)
            peer.answer("connect", connected())
            peer.expect("api status")
            peer.sock.close() if ending == "fin" else peer.reset()
            until(lambda: listener.connection_count == 0)
        assert [type(each) for each in outcomes] == [SessionGone] * 5
        assert listener.refused == 0


def test_a_body_cut_short_ends_one_call_and_freezes_nothing() -> None:
    with call() as (session, peer), call() as (other, other_peer):
        waiting = run(session.send, "api status")
        peer.expect("api status")
        peer.say(b"Content-Length: 500\nContent-Type: text/event-plain\n\nEvent-Name: DTMF\n")
        peer.sock.shutdown(socket.SHUT_WR)
        assert isinstance(waiting.get(timeout=PATIENCE), SessionGone)
        assert "500 bytes were announced" in str(session.link.closed_because)
        gevent.spawn(other_peer.answer, "api status", api("UP"))
        assert other.api("status", timeout=PATIENCE) == "UP"


def test_the_audio_modules_message_reaches_us_as_it_was_sent() -> None:
    seen: list[Any] = []
    message = '{"type": "mark", "pct": "100%41"}'
    with call(on_event=seen.append) as (_, peer):
        peer.say(event("CUSTOM", message, Event__Subclass="mod_audio_fork%3A%3Ajson"))
        until(lambda: seen)
        assert seen[0].subclass == "mod_audio_fork::json"
        assert seen[0].body == message.encode()
        assert not any("type" in name for name in seen[0].headers)


def test_a_callers_name_with_a_newline_hangs_nobody_up() -> None:
    seen: list[Any] = []
    with call(on_event=seen.append) as (session, peer):
        peer.say(event("DTMF", Caller__Caller__ID__Name="Bob%0AEvent-Name: CHANNEL_HANGUP"))
        until(lambda: seen)
        assert seen[0].name == "DTMF"
        session.raise_if_disconnected()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"Reply-Text: +OK\n\n",
        b"no header at all\n\n",
        OK,
        b"\xff\xfe\n\n",
        b"Content-Length: x\nContent-Type: api/response\n\n",
    ],
)
def test_nonsense_from_the_peer_ends_the_call_instead_of_its_reader_only(nonsense: bytes) -> None:
    closed: list[str] = []
    with call(on_closed=closed.append) as (session, peer):
        peer.say(nonsense)
        until(lambda: closed)
        assert not session.connected
        with pytest.raises(NotConnectedError):
            session.send("api status")


def test_a_handler_may_play_a_prompt_and_wait_for_it() -> None:
    with call() as (session, peer):
        played: AsyncResult = AsyncResult()
        session.register_handle("DTMF", lambda _: played.set(session.playback("/menu.wav", response_timeout=PATIENCE)))
        peer.say(event("DTMF", DTMF__Digit="1"))
        key = header(peer.answer("sendmsg"), "event-uuid")
        peer.say(done("playback", key))
        assert played.get(timeout=PATIENCE).headers["Application-UUID"] == key


def test_our_own_handler_for_completed_applications_does_not_stop_playback_from_returning() -> None:
    mine: AsyncResult = AsyncResult()
    with call() as (session, peer):
        session.register_handle("CHANNEL_EXECUTE_COMPLETE", mine.set)
        waiting = run(session.playback, "/x.wav")
        key = header(peer.answer("sendmsg"), "event-uuid")
        peer.say(done("playback", key))
        assert waiting.get(timeout=PATIENCE).name == "CHANNEL_EXECUTE_COMPLETE"
        assert mine.get(timeout=PATIENCE).headers["Application-UUID"] == key


def test_text_from_outside_cannot_send_a_second_command() -> None:
    with call() as (session, peer):
        with pytest.raises(UnsafeText):
            session.call_command("speak", "hello\n\napi system touch /tmp/pwned")
        with pytest.raises(UnsafeText):
            session.call_command("speak", "${system(touch /tmp/pwned)}")
        with pytest.raises(UnsafeText):
            session.send("api status\n\napi system touch /tmp/pwned")
        session.request(b"noevents\n\n")
        assert peer.command() == "noevents"


def test_an_answer_that_never_comes_is_an_ordinary_error_and_takes_no_later_answer() -> None:
    with call() as (session, peer):
        with pytest.raises(CommandTimeout) as caught:
            session.call_command("playback", "/a.wav", block=True, response_timeout=0.01)
        assert isinstance(caught.value, Exception)
        old = header(peer.answer("sendmsg"), "event-uuid")
        second = run(session.call_command, "playback", "/b.wav", block=True, response_timeout=PATIENCE)
        new = header(peer.answer("sendmsg"), "event-uuid")
        peer.say(done("playback", old), done("playback", new))
        assert second.get(timeout=PATIENCE).headers["Application-UUID"] == new


def test_a_call_is_taken_without_anybody_polling_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_sleep(*_: Any) -> None:
        raise AssertionError("somebody polls")

    with door(lambda session: None) as listener:
        monkeypatch.setattr(gevent, "sleep", no_sleep)
        assert knock(listener).command() == "connect"


def test_a_burst_of_calls_never_exceeds_the_limit_and_the_rest_hear_a_cause() -> None:
    running, most = 0, 0

    def application(session: Session) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        session.wait_over(PATIENCE)
        running -= 1

    def freeswitch(peer: Peer) -> str:
        peer.answer("connect", connected())
        while command := peer.command():
            if "call-command: hangup" in command:
                return header(command, "hangup-cause")
            peer.say(OK)
        return "closed"

    with door(application, 5, max_refusals=40, refusal_timeout=0.2) as listener:
        peers = [knock(listener) for _ in range(40)]
        verdicts = [gevent.spawn(freeswitch, peer) for peer in peers]
        until(lambda: sum(each.ready() for each in verdicts) == 35)
        assert [each.value for each in verdicts if each.ready()] == ["NORMAL_TEMPORARY_FAILURE"] * 35
        assert most == listener.connection_count == 5
        assert listener.refused == 35
        for peer in peers:
            peer.sock.close()
        gevent.joinall(verdicts, timeout=PATIENCE)


def test_silent_visitors_are_counted_and_shown_out() -> None:
    answered: list[str | None] = []
    with door(lambda session: answered.append(session.uuid), 3, handshake_timeout=0.05) as listener:
        silent = [knock(listener) for _ in range(3)]
        assert [peer.command() for peer in silent] == ["connect"] * 3
        assert listener.connection_count == 3
        assert all(peer.is_closed() for peer in silent)
        until(lambda: listener.connection_count == 0)
        assert listener.handshake_failures == 3
        knock(listener).answer("connect", connected())
        until(lambda: answered)


def test_a_command_of_eight_megabytes_arrives_whole_and_the_next_behind_it() -> None:
    ours, theirs = tcp_pair()
    link = Link(ours, peer="freeswitch", on_frame=print, on_closed=lambda _: None, max_unsent_bytes=16_000_000)
    peer = Peer(theirs)
    try:
        long = link.request(b"api echo " + b"x" * 8_388_608 + b"\n\n")
        short = link.request(b"api status\n\n")
        assert link.greenlets() == 2
        assert len(peer.answer("api echo", api("long"))) == 8_388_608 + len("api echo ")
        peer.answer("api status", api("short"))
        assert (long.get(PATIENCE).text, short.get(PATIENCE).text) == ("long", "short")
    finally:
        link.close("the test is over")
        theirs.close()


def test_an_idle_call_costs_no_timer_and_one_sleeping_greenlet() -> None:
    with call() as (session, _):
        assert len(session.link.deadlines) == 0
        assert session.link.greenlets() == 1
        assert session.handlers.greenlets() == 0


# What ours still takes from greenswitch.

INHERITED = {"while_connected", "call_uuid", "caller_id_number"}
UNUSED = {  # greenswitch's own machinery, idle in ours
    "start_event_handlers",
    "receive_events",
    "handle_event",
    "process_events",
    "on_event",
    "on_hangup",
    "on_disconnect",
}


def public(kind: type) -> set[str]:
    return {name for each in kind.__mro__[:-1] for name in vars(each) if not name.startswith("_")}


def test_greenswitch_is_the_release_we_know() -> None:
    assert importlib.metadata.version("greenswitch") == "0.0.19"


def test_every_public_name_of_greenswitchs_session_is_ours_or_known_to_work() -> None:
    theirs = public(OutboundSession)
    ours = {name for kind in Session.__mro__ if kind.__module__.startswith("esl_agent") for name in vars(kind)}
    assert theirs - ours == INHERITED | UNUSED


def test_every_public_name_of_greenswitchs_server_is_ours() -> None:
    ours = {name for kind in Listener.__mro__ if kind.__module__.startswith("esl_agent") for name in vars(kind)}
    assert public(greenswitch.OutboundESLServer) <= ours


def test_the_fields_greenswitch_users_read_are_there() -> None:
    theirs = set(inspect.getsource(ESLProtocol.__init__).split()) | set(
        inspect.getsource(OutboundSession.__init__).split()
    )
    fields = {word.removeprefix("self.") for word in theirs if word.startswith("self.") and word[5:].isidentifier()}
    public_fields = {name for name in fields if not name.startswith("_")}
    with call() as (session, _):
        assert {name for name in public_fields if not hasattr(session, name)} == {"sock_file"}
        assert session.caller_id_number == "4915550001"
        assert session.call_uuid is None


def test_a_session_and_a_listener_are_greenswitchs_to_whoever_asks() -> None:
    assert issubclass(Session, OutboundSession)
    assert issubclass(Listener, greenswitch.OutboundESLServer)
    assert issubclass(SessionGone, OutboundSessionHasGoneAway)
    assert issubclass(SessionGone, NotConnectedError)
    assert issubclass(SessionGone, LegClosed)


def test_the_parameters_are_greenswitchs_too() -> None:
    for name in ("call_command", "playback", "play_and_get_digits", "say", "bridge", "hangup", "linger", "send"):
        theirs = list(inspect.signature(getattr(OutboundSession, name)).parameters)
        ours = list(inspect.signature(getattr(Session, name)).parameters)
        assert ours[: len(theirs)] == theirs, name
    theirs = list(inspect.signature(greenswitch.OutboundESLServer).parameters)
    assert list(inspect.signature(Listener).parameters)[: len(theirs)] == theirs


def test_while_connected_guards_a_block_as_greenswitchs_does() -> None:
    with call() as (session, peer):
        with session.while_connected():
            pass
        peer.say(event("CHANNEL_HANGUP", Hangup__Cause="NORMAL_CLEARING"))
        until(lambda: session.hangup_cause)
        with pytest.raises(OutboundSessionHasGoneAway), session.while_connected():
            pass
        with pytest.raises(OutboundSessionHasGoneAway):
            session.answer()
