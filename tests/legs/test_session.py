"""One call at the event socket: what is asked is answered, what ends is noticed, and nothing waits for ever."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import gevent
import pytest

from esl_agent.errors import CommandRefused, CommandTimeout, LegClosed, LegError, UnsafeText, WireError
from esl_agent.legs.esl_link import Link
from esl_agent.legs.freeswitch import Session, SessionGone
from esl_agent.wire import esl_commands as commands
from esl_agent.wire.esl import Event, Limits, Reply
from tests.legs.esl_peer import (
    BYE,
    FINAL_NOTICE,
    LINGER_NOTICE,
    OK,
    OTHER,
    PATIENCE,
    UUID,
    Peer,
    api,
    call,
    connected,
    done,
    event,
    header,
    refused,
    run,
    tcp_pair,
    until,
)

CORPUS = Path(__file__).parent.parent / "corpus" / "esl"


def test_taking_a_call_tells_its_uuid_and_caller() -> None:
    ours, theirs = tcp_pair()
    session, peer = Session(("127.0.0.1", 1), ours), Peer(theirs)
    gevent.spawn(peer.answer, "connect", (CORPUS / "connect_sip.bin").read_bytes())
    data = session.connect(PATIENCE)
    assert data["Caller-Destination-Number"]
    assert session.uuid == UUID
    assert session.has_full_control
    assert session.connect() is data
    session.link.close("the test is over")
    theirs.close()


def test_a_hangup_right_behind_the_answer_to_connect_is_noticed() -> None:
    ours, theirs = tcp_pair()
    session, peer = Session(("127.0.0.1", 1), ours, min_age=0.0), Peer(theirs)
    peer.say(connected(), event("CHANNEL_HANGUP_COMPLETE", Hangup__Cause="ORIGINATOR_CANCEL"))
    session.connect(PATIENCE)
    assert session.wait_over(PATIENCE)
    assert session.hangup_cause == "ORIGINATOR_CANCEL"
    with pytest.raises(SessionGone):
        session.answer()
    session.link.close("the test is over")
    theirs.close()


def test_a_peer_that_never_answers_connect_is_let_go() -> None:
    ours, theirs = tcp_pair()
    session = Session(("127.0.0.1", 1), ours)
    with pytest.raises(CommandTimeout, match="connect"):
        session.connect(timeout=0.01)
    assert not session.connected
    assert Peer(theirs).is_closed()
    theirs.close()


def test_answers_reach_those_who_asked_in_order() -> None:
    with call() as (session, peer):
        pendings = [session.request(commands.api("echo", str(number))) for number in range(20)]
        for number in range(20):
            assert peer.command() == f"api echo {number}"
        peer.say(*(api(str(number)) for number in range(20)))
        assert [pending.get(PATIENCE).text for pending in pendings] == [str(number) for number in range(20)]
        assert session.link.replies == 21
        assert session.link.max_reply_latency >= session.link.last_reply_latency > 0


def test_the_late_answer_to_a_command_given_up_goes_to_nobody_else() -> None:
    with call() as (session, peer):
        first = session.request(commands.api("slow"), timeout=0.01)
        with pytest.raises(CommandTimeout):
            first.get()
        second = session.request(commands.api("fast"), timeout=PATIENCE)
        peer.expect("api slow")
        peer.expect("api fast")
        peer.say(api("slow"), api("fast"))
        assert second.get().text == "fast"
        assert session.link.late_replies == 1
        assert first.reply is not None
        assert first.reply.text == "slow"


def test_an_answer_that_never_comes_does_not_shift_the_answers_after_it() -> None:
    with call() as (session, peer):
        swallowed = session.request(commands.api("uuid_setvar"), timeout=PATIENCE)
        executed = session.request(commands.execute("playback", "a.wav"), timeout=PATIENCE)
        asked = session.request(commands.api("status"), timeout=PATIENCE)
        for start in ("api uuid_setvar", "sendmsg", "api status"):
            peer.expect(start)
        peer.say(OK, api("up"))
        assert executed.get().text == "+OK"
        assert asked.get().text == "up"
        with pytest.raises(LegError, match="passed over 'api uuid_setvar'"):
            swallowed.get()
        assert session.link.lost_replies == 1


def test_a_refusal_is_an_error_that_names_the_command() -> None:
    with call() as (session, peer):
        pending = session.request(commands.api("uuid_audio_fork", UUID, "start", "ws://secret"))
        peer.answer("api uuid_audio_fork", api("-ERR Operation Failed\n"))
        with pytest.raises(CommandRefused, match="'api uuid_audio_fork': -ERR Operation Failed") as caught:
            pending.get(PATIENCE)
        assert "secret" not in str(caught.value)


def test_whoever_does_not_want_to_wait_is_called_with_the_answer_or_the_error() -> None:
    results: list[Reply | LegError] = []
    with call() as (session, peer):
        session.request(commands.api("a"), on_reply=results.append)
        session.request(commands.api("b"), on_reply=results.append)
        session.request(commands.api("c"), on_reply=results.append, timeout=0.01)
        peer.say(api("1"), api("-ERR 2"))
        until(lambda: len(results) == 3)
    session.request(commands.api("d"), on_reply=results.append)
    texts = [result.text for result in results if isinstance(result, Reply)]
    assert texts == ["1"]
    assert [type(result) for result in results[1:]] == [CommandRefused, CommandTimeout, SessionGone]


def test_a_callback_that_fails_harms_no_other() -> None:
    seen: list[Event] = []

    def fail(_: Any) -> None:
        seen.append(_)
        raise ValueError("a mistake in the application")

    with call(on_event=fail) as (session, peer):
        session.request(commands.api("a"), on_reply=fail)
        peer.say(api("1"), event("DTMF"), event("DTMF"))
        until(lambda: len(seen) == 3)
        assert session.connected
        assert session.link.failed_callbacks == 2


def test_waiting_in_the_reader_is_refused_instead_of_hanging_the_call() -> None:
    seen: list[BaseException] = []
    with call() as (session, peer):

        def wait(_: Event) -> None:
            try:
                session.api("status")
            except RuntimeError as error:
                seen.append(error)

        session.on_event_hook = wait
        peer.say(event("DTMF"))
        until(lambda: seen)
        assert "would never end" in str(seen[0])


def test_a_playback_is_over_when_its_own_uuid_completes() -> None:
    with call() as (session, peer):
        execution = session.execute("playback", "/a.wav", event_uuid="clip-1", lock=True)
        command = peer.answer("sendmsg")
        assert header(command, "event-lock") == "true"
        assert header(command, "execute-app-arg") == "/a.wav"
        peer.say(done("playback", "other"), done("socket", UUID), done("playback", "clip-1", Application__Response="X"))
        assert execution.wait(PATIENCE).headers["Application-Response"] == "X"


def test_a_playback_in_rounds_is_over_after_the_last() -> None:
    with call() as (session, peer):
        execution = session.execute("playback", "/a.wav", event_uuid="e", loops=2)
        peer.answer("sendmsg")
        peer.say(done("playback", "e", variable_current_loop="1"), done("playback", "e", variable_current_loop="2"))
        assert execution.wait(PATIENCE).headers["variable_current_loop"] == "2"


def test_a_flushed_playback_that_never_reports_ends_by_its_deadline() -> None:
    results: list[Any] = []
    with call() as (session, peer):
        execution = session.execute("playback", "/a.wav", timeout=0.01, on_done=results.append)
        peer.answer("sendmsg")
        with pytest.raises(CommandTimeout, match="execute playback"):
            execution.wait()
        assert len(results) == 1
        peer.say(done("playback", execution.uuid), api("late"))


def test_an_application_freeswitch_refuses_is_over_at_once() -> None:
    with call() as (session, peer):
        execution = session.execute("playback", "/a.wav")
        peer.answer("sendmsg", refused("memory error"))
        with pytest.raises(CommandRefused, match="memory error"):
            execution.wait(PATIENCE)


def test_unsafe_text_leaves_nothing_behind() -> None:
    with call() as (session, _):
        for unsafe in (
            lambda: session.execute("speak", "${x}"),
            lambda: session.start_job("echo", "a\nb"),
            lambda: session.api("echo", "a\nb"),
        ):
            with pytest.raises(UnsafeText):
                unsafe()
        assert len(session.link.deadlines) == 0


def test_a_background_job_is_found_by_its_own_uuid() -> None:
    with call() as (session, peer):
        waiting = run(session.bgapi, "uuid_break", UUID, "all")
        command = peer.answer("bgapi uuid_break", OK)
        job = command.rpartition("Job-UUID: ")[2]
        peer.say(
            event("BACKGROUND_JOB", "wrong\n", Job__UUID="another"), event("BACKGROUND_JOB", "+OK\n", Job__UUID=job)
        )
        assert waiting.get(timeout=PATIENCE) == "+OK"


def test_the_subscription_keeps_custom_last_and_survives_a_second_one() -> None:
    with call() as (session, peer):
        asking = run(session.subscribe, "json", ["PLAYBACK_STOP"], ["mod_audio_fork::connect"])
        assert peer.command() == "myevents json"
        assert peer.command() == "event json PLAYBACK_STOP CUSTOM mod_audio_fork::connect"
        peer.say(refused("aready enabled."), OK)
        assert asking.get(timeout=PATIENCE) is None
        asking = run(session.subscribe, "json", ["NO_SUCH_EVENT"])
        peer.answer("myevents")
        peer.answer("event json NO_SUCH_EVENT", refused("no keywords supplied"))
        assert isinstance(asking.get(timeout=PATIENCE), CommandRefused)


def test_a_variable_is_read_where_its_length_is_known() -> None:
    with call() as (session, peer):
        reading = run(session.getvar, "sip_h_X-Name")
        peer.answer(f"api uuid_getvar {UUID} sip_h_X-Name", api("Bob\n\nContent-Type: x\n\n"))
        assert reading.get(timeout=PATIENCE).startswith("Bob\n\nContent-Type: x")
        reading = run(session.getvar, "unset")
        peer.answer("api uuid_getvar", api("_undef_"))
        assert reading.get(timeout=PATIENCE) is None


def test_the_caller_hanging_up_ends_every_wait_and_says_goodbye() -> None:
    closed: list[str] = []
    with call(on_closed=closed.append, goodbye_timeout=PATIENCE) as (session, peer):
        execution = session.execute("playback", "/a.wav")
        peer.answer("sendmsg")
        peer.say(event("CHANNEL_HANGUP", Hangup__Cause="NORMAL_CLEARING"))
        peer.say(LINGER_NOTICE, event("CHANNEL_HANGUP_COMPLETE", Hangup__Cause="NORMAL_CLEARING"))
        with pytest.raises(SessionGone, match="hung up: NORMAL_CLEARING"):
            execution.wait(PATIENCE)
        assert session.wait_over(PATIENCE)
        peer.answer("exit", BYE, FINAL_NOTICE)
        peer.sock.close()
        assert session.link.wait_closed(PATIENCE)
        session.stop()
        assert len(closed) == 1


def test_the_linger_notice_before_the_hangup_ends_nothing() -> None:
    with call() as (session, peer):
        execution = session.execute("playback", "/a.wav", event_uuid="e")
        peer.answer("sendmsg")
        peer.say(LINGER_NOTICE, event("CHANNEL_HANGUP", Hangup__Cause="USER_BUSY"), done("playback", "e"))
        assert execution.wait(PATIENCE).headers["Application-UUID"] == "e"
        assert session.connected
        assert session.hangup_cause == "USER_BUSY"
        peer.say(event("CHANNEL_HANGUP_COMPLETE", Hangup__Cause="USER_BUSY"))
        peer.expect("exit")


@pytest.mark.parametrize("sign", [LINGER_NOTICE, event("CHANNEL_HANGUP", Hangup__Cause="NORMAL_CLEARING")])
def test_a_hangup_that_never_completes_is_waited_for_only_so_long(sign: bytes) -> None:
    with call(hangup_complete_timeout=0.01) as (session, peer):
        peer.say(sign)
        peer.expect("exit")
        assert session.wait_over(PATIENCE)


def test_the_other_partys_hangup_does_not_end_our_call() -> None:
    seen: list[Event] = []
    with call(on_event=seen.append) as (session, peer):
        peer.say(event("CHANNEL_HANGUP", uuid=OTHER), event("CHANNEL_HANGUP_COMPLETE", uuid=OTHER))
        until(lambda: len(seen) == 2)
        session.raise_if_disconnected()
        assert session.hangup_cause == ""
        assert len(session.link.deadlines) == 0


def test_goodbye_waits_until_freeswitch_will_not_park_the_call() -> None:
    with call(min_age=60.0) as (session, _):
        session.exit()
        session.exit()
        assert len(session.link.deadlines) == 1
        assert session.connected


def test_a_peer_that_ignores_our_goodbye_is_left_anyway() -> None:
    with call(goodbye_timeout=0.01) as (session, peer):
        session.stop()
        assert not session.connected
        assert peer.command() == "exit"
        assert peer.command() == ""


def test_a_final_notice_without_an_end_of_the_stream_ends_the_call() -> None:
    with call(goodbye_timeout=0.01) as (session, peer):
        peer.say(FINAL_NOTICE)
        assert session.link.wait_closed(PATIENCE)


@pytest.mark.parametrize("ending", ["fin", "rst", "garbage", "truncated", "ours"])
def test_however_the_connection_ends_nobody_waits_on(ending: str) -> None:
    closed: list[str] = []
    with call(on_closed=closed.append) as (session, peer):
        waits = [
            session.request(commands.api("never")),
            session.execute("playback", "/a.wav"),
            session.start_job("status"),
        ]
        expected: Any = gevent.event.AsyncResult()
        session.register_expected_event("DTMF", "x", "1", expected)
        getting = [run(each.get) for each in waits]
        for _ in range(3):
            peer.command()
        match ending:
            case "fin":
                peer.sock.close()
            case "rst":
                peer.reset()
            case "garbage":
                peer.say(b"\x16\x03\x01\n\n")
            case "truncated":
                peer.say(b"Content-Length: 9\nContent-Type: api/response\n\nshort")
                peer.sock.close()
            case "ours":
                session.link.close("we had enough")
        assert [type(each.get(timeout=PATIENCE)) for each in getting] == [SessionGone] * 3
        with pytest.raises(SessionGone):
            expected.get(timeout=PATIENCE)
        with pytest.raises(LegClosed):
            session.request(commands.api("after")).get()
        assert len(closed) == 1
        until(lambda: session.link.greenlets() == 0)
        assert len(session.link.deadlines) == 0


def test_answers_that_came_before_the_end_are_still_given() -> None:
    with call() as (session, peer):
        first, second = session.request(commands.api("a")), session.request(commands.api("b"))
        peer.say(api("1"))
        peer.sock.close()
        assert first.get(PATIENCE).text == "1"
        with pytest.raises(SessionGone):
            second.get(PATIENCE)


def test_a_slow_handler_drops_events_and_counts_them_while_the_call_goes_on() -> None:
    release, handled = gevent.event.Event(), []

    def slow(frame: Event) -> None:
        release.wait()
        handled.append(frame)

    with call() as (session, peer):
        session.handlers._max_queued = 2
        session.register_handle("DTMF", slow)
        peer.say(event("DTMF"))
        until(lambda: session.events == 1 and session.handlers.greenlets())
        gevent.idle()
        peer.say(*[event("DTMF")] * 5)
        answering = run(session.api, "status")
        peer.answer("api status", api("UP"))
        assert answering.get(timeout=PATIENCE) == "UP"
        assert session.handlers.dropped == 3
        release.set()
        until(lambda: len(handled) == 3)


def test_handlers_see_the_hangup_although_the_connection_is_gone_by_then() -> None:
    seen: list[str] = []
    with call() as (session, peer):
        session.register_handle("CHANNEL_HANGUP_COMPLETE", lambda frame: seen.append(frame.headers["Hangup-Cause"]))
        session.register_handle("DISCONNECT", lambda frame: seen.append("disconnect"))
        peer.say(event("CHANNEL_HANGUP_COMPLETE", Hangup__Cause="USER_BUSY"), FINAL_NOTICE)
        peer.sock.close()
        until(lambda: seen == ["USER_BUSY", "disconnect"])


def test_a_handler_that_never_ends_is_ended_after_the_call() -> None:
    with call() as (session, peer):
        session.register_handle("DTMF", lambda _: gevent.event.Event().wait())
        peer.say(event("DTMF"))
        until(session.handlers.greenlets)
        session.handlers.close(grace=0.0)
        until(lambda: not session.handlers.greenlets())


def test_handlers_are_named_as_in_greenswitch() -> None:
    seen: list[str] = []
    with call() as (session, peer):

        def mark(text: str) -> Any:
            return lambda _: seen.append(text)

        session.before_handle = mark("before")  # type: ignore[attr-defined]
        by_star = mark("*")
        session.register_handle("DTMF", mark("DTMF"))
        session.register_handle("a::b", mark("a::b"))
        session.register_handle("*", by_star)
        session.register_handle("*", by_star)
        peer.say(event("DTMF"), event("CUSTOM", Event__Subclass="a%3A%3Ab"), event("TALK"))
        until(lambda: len(seen) == 6)
        assert seen == ["before", "DTMF", "before", "a::b", "before", "*"]
        session.unregister_handle("*", by_star)
        with pytest.raises(ValueError, match="No handlers"):
            session.unregister_handle("*", by_star)


def test_digits_are_returned_from_the_variable_that_was_named() -> None:
    with call() as (session, peer):
        asking = run(session.play_and_get_digits, 1, 4, 1, 5000, "#", "/menu.wav", "/bad.wav", "pin", "\\d+")
        command = peer.answer("sendmsg")
        assert header(command, "execute-app-arg") == "1 4 1 5000 # /menu.wav /bad.wav pin \\d+ None None"
        peer.say(done("play_and_get_digits", header(command, "event-uuid"), variable_pin="42"))
        assert asking.get(timeout=PATIENCE) == "42"


@pytest.mark.parametrize(
    ("act", "command"),
    [
        (lambda s: s.answer(), "sendmsg\ncall-command: execute\nexecute-app-name: answer"),
        (lambda s: s.park(), "sendmsg\ncall-command: execute\nexecute-app-name: park"),
        (lambda s: s.hangup("USER_BUSY"), f"api uuid_kill {UUID} USER_BUSY"),
        (lambda s: s.uuid_break(), f"api uuid_break {UUID} all"),
        (lambda s: s.linger(10), "linger 10"),
        (lambda s: s.myevents(), "myevents json"),
        (lambda s: s.filter("Unique-ID", UUID), f"filter Unique-ID {UUID}"),
        (lambda s: s.resume(), "resume"),
        (lambda s: s.setvar("a", "b c"), f"api uuid_setvar {UUID} a b c"),
        (
            lambda s: s.bridge("user/1", block=False),
            "sendmsg\ncall-command: execute\nexecute-app-name: bridge\nexecute-app-arg: user/1",
        ),
        (
            lambda s: s.say(text="5", block=False),
            "sendmsg\ncall-command: execute\nexecute-app-name: say\nexecute-app-arg: en NUMBER pronounced FEMININE 5",
        ),
    ],
)
def test_each_method_sends_its_command(act: Any, command: str) -> None:
    with call() as (session, peer):
        acting = run(act, session)
        assert peer.answer("") == command
        acting.get(timeout=PATIENCE)


def test_without_full_control_hanging_up_does_without_the_api() -> None:
    ours, theirs = tcp_pair()
    session, peer = Session(("127.0.0.1", 1), ours), Peer(theirs)
    gevent.spawn(peer.answer, "connect", connected("single-channel"))
    session.connect(PATIENCE)
    hanging_up = run(session.hangup)
    peer.answer("sendmsg\ncall-command: hangup\nhangup-cause: NORMAL_CLEARING")
    assert hanging_up.get(timeout=PATIENCE) is None
    session.link.close("the test is over")
    theirs.close()


def test_a_peer_that_does_not_read_gets_no_endless_queue() -> None:
    ours, theirs = tcp_pair()
    link = Link(ours, peer="freeswitch", on_frame=print, on_closed=lambda _: None, max_unsent_bytes=1000)
    link.request(b"api echo " + b"x" * 8_388_608 + b"\n\n")
    with pytest.raises(LegError, match="does not read"):
        link.request(b"api status\n\n").get()
    link.close("the test is over")
    until(lambda: link.greenlets() == 0)
    theirs.close()


def test_a_peer_that_sends_too_much_is_closed() -> None:
    with call(limits=Limits(body_bytes=10_000)) as (session, peer):
        peer.say(b"Content-Length: 10001\nContent-Type: text/event-plain\n\n")
        assert session.link.wait_closed(PATIENCE)
        assert "at most 10000" in str(session.link.closed_because)


def test_five_hundred_open_commands_cost_one_timer() -> None:
    with call() as (session, peer):
        pendings = [session.request(commands.api("x"), timeout=60) for _ in range(500)]
        timers = [each for each in gc.get_objects() if type(each).__name__ == "timer" and each.active]
        ours = [each for each in timers if getattr(each.callback, "__self__", None) is session.link.deadlines]
        assert len(ours) == 1
        assert session.link.greenlets() == 1
        gevent.spawn(peer.say, api("y") * 500)
        assert {pending.get(PATIENCE).text for pending in pendings} == {"y"}
        assert len(session.link.deadlines) == 0


def test_wire_errors_never_leave_the_reader() -> None:
    with call() as (session, peer):
        waiting = session.request(commands.api("x"))
        peer.say(b"nonsense\n\n")
        with pytest.raises(LegClosed) as caught:
            waiting.get(PATIENCE)
        assert not isinstance(caught.value, WireError)
        assert "nonsense" in str(caught.value)
