"""Whole calls: every part is real but the engines and FreeSWITCH."""

from __future__ import annotations

import json

import pytest
from service import GREETING, REPLY, SPEECH, Service, Traces, until

from esl_agent.testing.caller import BargeIn, HangUp, Press, Say, SayNow, Wait
from esl_agent.testing.fs_machine import Options
from esl_agent.testing.providers import GOODBYE

pytestmark = pytest.mark.system


@pytest.fixture
def service(tmp_path):
    traces = Traces()
    made = Service(tmp_path)
    yield made
    made.close()
    traces.assert_nothing_was_left()


def test_a_caller_is_greeted_heard_answered_and_bidden_goodbye(service):
    service.llm._replies = ["Yes, of course.", GOODBYE]
    call = service.call(Say(SPEECH, pause=0.2), Say(SPEECH, pause=0.2), record=service.directory / "call.wav")
    assert call.wait(8.0), service.story(call)
    assert call.hangup_cause == "NORMAL_CLEARING"
    assert service.said(call) == [GREETING, "Yes, of course.", "Goodbye."]
    asked = [(message.role, message.content) for message in service.llm.asked[-1]]
    assert asked[-4:] == [
        ("assistant", GREETING), ("user", "hello"), ("assistant", "Yes, of course."), ("user", "hello"),
    ]  # fmt: skip
    assert call.wait_released(3.0)
    path = service.directory / "records" / f"{call.uuid}.json"
    until(path.exists)
    assert json.loads(path.read_text())["call"] == call.uuid


def test_a_caller_who_talks_over_the_agent_stops_it_and_history_ends_there(service):
    service.llm._replies = [REPLY, GOODBYE]
    call = service.call(Say(SPEECH, pause=0.2), BargeIn(SPEECH, after=0.5))
    assert call.wait(8.0), service.story(call)
    assert len(service.note(call, "stop_playback")) == 1
    spoken = [message.content for message in service.llm.asked[-1] if message.role == "assistant"][-1]
    assert spoken.startswith("That is")
    assert len(spoken) < len(REPLY)
    assert service.said(call)[-1] == "Goodbye."


def test_a_caller_who_says_nothing_is_asked_and_then_let_go(tmp_path):
    service = Service(tmp_path)
    try:
        call = service.call()
        service.until_said(call, GREETING)
        service.until_said(call, "Are you there?")
    finally:
        service.close()


HANG_UPS = {
    "before the answer": [HangUp()],
    "at the answer": [Wait(0.02), HangUp()],
    "mid-greeting": [Wait(0.15), HangUp()],
    "mid-word": [Wait(0.4), SayNow(SPEECH), HangUp()],
    "after a word": [Say(SPEECH, pause=0.2), HangUp()],
    "while it thinks": [Say(SPEECH, pause=0.2), Wait(0.35), HangUp()],
    "mid-reply": [Say(SPEECH, pause=0.2), Wait(0.8), HangUp()],
}


def test_a_caller_may_hang_up_at_any_time(service):
    healthy = service.healthy_call()
    calls = {when: service.call(*script) for when, script in HANG_UPS.items()}
    for when, call in calls.items():
        assert call.wait(5.0), (when, service.story(call))
        assert call.wait_released(3.0), (when, service.story(call))
        assert service.whats(call).count("hung_up") == 1, (when, service.story(call))
    service.assert_healthy(healthy)


HOSTILE = ["a\nevent-uuid: x\n\nconnect", "${system(touch /tmp/owned)}", "z" * 10000, "$\\{x}'\"%[a=b]", "名前\u2028x"]


def test_a_callers_name_is_never_a_command(service, caplog):
    caplog.set_level("INFO")
    service.llm._replies = [GOODBYE]
    calls = [service.call(Say(SPEECH, pause=0.2), caller_name=name, caller=name, keep_wire=True) for name in HOSTILE]
    for call in calls:
        assert call.wait(6.0), service.story(call)
        assert service.said(call)[-1] == "Goodbye."
        ours = b"".join(data for _, direction, data in call.wire if direction == "<")
        assert b"uuid_kill" in ours
        assert b"system(" not in ours
        assert b"zzzz" not in ours
        assert b"event-uuid: x" not in ours
    assert all(line.splitlines() in ([line], []) for line in caplog.messages)
    assert max(map(len, caplog.messages)) < 5000


def test_a_number_nobody_answers_is_refused_as_such(service):
    call = service.call(did="7777")
    assert call.wait(3.0)
    assert call.hangup_cause == "UNALLOCATED_NUMBER"
    assert not call.is_answered
    assert call.wait_released(3.0)


def test_a_number_that_is_none_is_refused_too(service):
    calls = [service.call(did=did) for did in ("", "\n", "5000'; drop", "9" * 10000, "${did}")]
    for call in calls:
        assert call.wait(3.0)
        assert call.hangup_cause == "UNALLOCATED_NUMBER"


def test_a_dialplan_without_full_is_hung_up_with_a_cause_not_left_in_silence(service, caplog):
    call = service.call(options=Options(full=False))
    assert call.wait(3.0)
    assert call.hangup_cause == "NORMAL_TEMPORARY_FAILURE"
    assert call.wait_released(5.0)
    assert "async full" in caplog.text


def test_a_call_too_many_is_refused_and_the_others_go_on(tmp_path):
    service = Service(tmp_path, max_calls=1)
    try:
        first = service.healthy_call()
        service.until(first, "answered")
        second = service.call()
        assert second.wait(3.0)
        assert (second.hangup_cause, second.is_answered) == ("USER_BUSY", False)
        assert first.wait(8.0)
        assert service.said(first)[-1] == "Goodbye."
        until(lambda: not service.server.freeswitch.listener.connection_count)
        third = service.call()
        service.until(third, "answered")
    finally:
        service.close()


def test_keys_pressed_during_a_call_do_no_harm(service):
    call = service.call(Press("1"), Press("#"), Wait(0.3), Press("*"), HangUp())
    assert call.wait(4.0)
    assert [note["digit"].text for note in service.note(call, "digit")] == ["1", "#", "*"]


def test_many_calls_at_once_are_each_answered_with_their_own_sound(tmp_path):
    service = Service(tmp_path, max_calls=30)
    try:
        calls = [service.healthy_call() for _ in range(15)]
        for call in calls:
            service.assert_healthy(call)
    finally:
        service.close()
