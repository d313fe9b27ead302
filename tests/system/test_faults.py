"""Something breaks in the middle of a call. The caller is never left in silence, and no other call notices."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gevent
import pytest
from service import APOLOGY, FAILURE, GREETING, REPLY, SPEECH, Service, Traces, until

from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.providers.base import ReplyPart, TextPart
from esl_agent.testing.caller import HangUp, Say, SayNow, Wait
from esl_agent.testing.fs_call import PretendCall
from esl_agent.testing.fs_machine import Machine, Options
from esl_agent.testing.providers import GOODBYE, CannedLlm, CannedStt, ToneTts, Trouble

pytestmark = pytest.mark.system


@pytest.fixture
def service(tmp_path):
    traces = Traces()
    made = Service(tmp_path, max_calls=30)
    yield made
    made.close()
    traces.assert_nothing_was_left()


@pytest.fixture
def healthy(service):
    """A conversation that goes on beside the fault, and must not notice."""
    call = service.healthy_call()
    yield call
    service.assert_healthy(call)


WHEN: dict[str, Callable[[Service, PretendCall], None]] = {
    "at once": lambda service, call: None,
    "when answered": lambda service, call: service.until(call, "answered"),
    "in the greeting": lambda service, call: service.until(call, "began"),
    "in the caller's word": lambda service, call: service.until(call, "speech"),
    "in the reply": lambda service, call: service.until(call, "began", 2),
}
ENDS: dict[str, Callable[[Machine], None]] = {
    "FIN": lambda machine: machine.drop_eof(),
    "RST": lambda machine: machine.reset(),
    "garbage": lambda machine: machine.garbage(b"\x00\xff\n\nHTTP/1.1 200 OK\r\n\r\n"),
    "endless header": lambda machine: machine.garbage(b"A" * 5_000_000),
}


def test_a_broken_event_socket_ends_its_call_and_no_other(service, healthy):
    calls = {(when, end): service.call(Say(SPEECH, pause=0.2)) for when in WHEN for end in ENDS}

    def break_it(when: str, end: str) -> None:
        WHEN[when](service, calls[when, end])
        calls[when, end].do(ENDS[end])

    gevent.joinall([gevent.spawn(break_it, *which) for which in calls], raise_error=True)
    for (when, end), call in calls.items():
        until(lambda call=call: call.uuid not in service.server.reception.calls)
        heard = service.note(call, "hung_up")
        assert heard == [{"cause": "LEG_CLOSED"}] or (when == "at once" and not heard), (when, end)


def test_an_event_socket_that_comes_byte_by_byte_is_as_good_as_any(service, healthy):
    service.llm._replies = [GOODBYE]
    call = service.call(Say(SPEECH, pause=0.2))
    call.do(lambda machine: machine.split_every(1))
    service.assert_healthy(call)


def test_an_event_socket_that_stalls_does_not_stop_the_conversation(service, healthy):
    service.llm._replies = [GOODBYE]
    call = service.call(Say(SPEECH, pause=0.2))
    service.until(call, "began")
    call.do(lambda machine: machine.stall(0.8))
    assert call.wait(6.0), service.story(call)
    assert "Goodbye." in [str(note["text"].text) for note in service.note(call, "clause")]


def test_a_caller_who_hangs_up_while_the_event_socket_stalls_is_let_go(service, healthy):
    call = service.call(Say(SPEECH, pause=0.2))
    service.until(call, "began")
    call.do(lambda machine: machine.stall(1.0))
    call.hang_up()
    until(lambda: call.uuid not in service.server.reception.calls)


def test_a_websocket_that_dies_comes_back_and_the_conversation_goes_on(service, healthy):
    service.llm._replies = [GOODBYE]
    call = service.call(Wait(1.0), SayNow(SPEECH))
    service.until(call, "media")
    fork = service.server.reception.calls[call.uuid].media._fork
    fork._connection._sock._sock.shutdown(socket.SHUT_RDWR)
    service.until(call, "media", 2)
    assert call.wait(6.0), service.story(call)
    assert service.said(call) == [GREETING, "Goodbye."]


def test_a_caller_whose_sound_never_arrives_is_told_so_and_hung_up(service, healthy):
    call = service.call(options=Options(apis={"uuid_audio_fork": "-ERR no such command\n"}))
    assert call.wait(5.0), service.story(call)
    assert service.said(call)[-1] == FAILURE
    assert call.hangup_cause == "NORMAL_CLEARING"


def test_a_caller_whose_fork_cannot_connect_is_told_so_and_hung_up(service, healthy):
    call = service.call()
    call.do(lambda machine: machine.never_reply("api uuid_audio_fork"))
    assert call.wait(6.0), service.story(call)
    assert service.said(call)[-1] == FAILURE


def troubled(stage: str, trouble: Trouble) -> dict[str, Any]:
    if stage == "stt":
        return {"stt": CannedStt(["hello"], trouble=trouble, sleep=gevent.sleep)}
    if stage == "llm":
        return {"llm": CannedLlm(["It is done."], trouble=trouble, sleep=gevent.sleep)}
    voice = ToneTts(8000, per_character=0.02, trouble=trouble, sleep=gevent.sleep)
    return {"tts": voice, "llm": CannedLlm(["It is done."], sleep=gevent.sleep)}


TROUBLES = [
    ("llm", Trouble(fail=1), "It is done."),
    ("tts", Trouble(fail=1), "It is done."),
    ("llm", Trouble(fail=99, retryable=False), APOLOGY),
    ("tts", Trouble(fail=99, retryable=False), APOLOGY),
    ("stt", Trouble(fail=99, retryable=False), "Pardon me."),
    ("llm", Trouble(never=True), APOLOGY),
    ("tts", Trouble(never=True), APOLOGY),
    ("stt", Trouble(never=True), "Pardon me."),
]


def test_a_caller_hears_something_whatever_engine_fails_or_never_answers(service, healthy):
    calls = []
    for number, (stage, trouble, _) in enumerate(TROUBLES):
        service.serve(f"{5100 + number}", **troubled(stage, trouble))
        calls.append(service.call(Say(SPEECH, pause=0.2), did=f"{5100 + number}"))
    for (_, _, words), call in zip(TROUBLES, calls, strict=True):
        service.until_said(call, words)
        assert call.machine.is_up, service.story(call)


def test_a_caller_who_is_never_understood_is_told_why_the_call_ends(service, healthy):
    service.stt.trouble = Trouble(fail=99, retryable=False)
    call = service.call(Say(SPEECH, pause=0.2), Say(SPEECH, pause=0.2))
    assert call.wait(8.0), service.story(call)
    assert service.said(call) == [GREETING, "Pardon me.", FAILURE]


def test_a_model_that_stops_in_the_middle_of_a_reply_is_heard_as_far_as_it_came(service, healthy):
    service.llm._replies = ["First sentence. Second sentence that never ends."]
    service.llm._word_by_word = True
    service.llm.trouble = Trouble(after_first=60.0)
    call = service.call(Say(SPEECH, pause=0.2))
    until(lambda: len(service.said(call)) >= 2, why=lambda: service.story(call))
    assert call.machine.is_up


def test_when_everything_fails_the_call_ends_with_words(service, healthy):
    """Model and voice are gone; what is said comes from the cache."""
    service.llm.trouble = Trouble(never=True)
    service.tts.trouble = Trouble(never=True)
    call = service.call(Say(SPEECH, pause=0.2), Say(SPEECH, pause=0.2))
    assert call.wait(8.0), service.story(call)
    assert service.said(call)[-2:] == [APOLOGY, FAILURE]
    assert call.hangup_cause == "NORMAL_CLEARING"


LOST = ["PLAYBACK_STOP", "PLAYBACK_START", "CHANNEL_EXECUTE_COMPLETE", "CHANNEL_ANSWER"]


def test_a_lost_event_costs_time_not_the_call(service, healthy):
    service.llm._replies = [GOODBYE]
    calls = []
    for name in LOST:
        call = service.call(Say(SPEECH, pause=0.2))
        call.do(lambda machine, name=name: machine.lose_events(name))
        calls.append(call)
    for name, call in zip(LOST, calls, strict=True):
        assert call.wait(8.0), (name, service.story(call))
        assert call.hangup_cause == "NORMAL_CLEARING", (name, service.story(call))


class Polite:
    """Answers the first question at length and says goodbye after the second."""

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        yield from [TextPart(REPLY)] if sum(each.role == "user" for each in messages) < 2 else GOODBYE


COMMANDS = ["api uuid_break", "api uuid_setvar", "linger", "sendevent", "api uuid_kill"]


def test_a_command_that_freeswitch_refuses_or_never_answers_does_not_hang_the_call(service, healthy):
    service.serve("5000", llm=Polite())
    calls = []
    for command in COMMANDS:
        for fault in (lambda m, c=command: m.refuse(c, "-ERR no"), lambda m, c=command: m.never_reply(c)):
            call = service.call(Say(SPEECH, pause=0.2), Wait(0.6), SayNow(SPEECH))
            call.do(fault)
            calls.append((command, call))
    for command, call in calls:
        until(lambda call=call: "Goodbye." in service.said(call), why=lambda call=call: service.story(call))
        if command != "api uuid_kill":
            assert call.wait(3.0), service.story(call)
    until(lambda: not {call.uuid for _, call in calls} & set(service.server.reception.calls))


def test_a_clip_directory_that_vanishes_does_not_leave_the_caller_on_a_dead_line(service):
    call = service.call(Say(SPEECH, pause=0.2))
    service.until(call, "answered")
    folder = service.server.freeswitch.clips / call.uuid
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    call.wait(8.0)
    assert not call.machine.is_up, service.story(call)


def test_silence_on_the_line_and_nothing_else_ends_the_call_politely(tmp_path):
    service = Service(tmp_path)
    try:
        call = service.call(Wait(60.0))
        service.until(call, "media")
        service.server.reception.calls[call.uuid].end("the test ends it")
        assert call.wait(5.0)
        assert service.said(call)[-1] == "We close now."
    finally:
        service.close()


def test_a_caller_who_leaves_while_being_told_of_a_failure_is_let_go(service, healthy):
    service.llm.trouble = Trouble(never=True)
    call = service.call(Say(SPEECH, pause=0.2), Say(SPEECH, pause=0.1), HangUp())
    assert call.wait(8.0)
    until(lambda: call.uuid not in service.server.reception.calls)
