"""Whole calls that are handed over, or come back; and what else an agent does on the telephone."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest
from service import GREETING, SPEECH, Service, Traces

from esl_agent.dialogue.actions import ToolCall
from esl_agent.providers.base import ReplyPart, TextPart, ToolCallPart
from esl_agent.testing.caller import Say, Wait
from esl_agent.testing.fs_bridge import Callee
from esl_agent.testing.fs_machine import Options
from esl_agent.testing.providers import GOODBYE, CannedLlm, ToneTts, Trouble

pytestmark = pytest.mark.system

MORE = """
destinations:
  desk: {number: 1000, say: "I put you through."}
  sales: {mode: warm, dial: user/1010, timeout: 5, briefing: "A call for you."}
last_resort: {transfer: sales, say: "I get help."}
tools: {builtin: [transfer, hang_up, collect_digits, hold, set_variable]}
dtmf: {timeout: 0.4, first: 2.0}
"""


@pytest.fixture(params=["auto", "unicast"])
def service(request, tmp_path) -> Iterator[Service]:
    traces = Traces()
    made = Service(tmp_path, more=MORE, media=request.param)
    yield made
    made.close()
    traces.assert_nothing_was_left()


def calls(tool: str, say: str, **arguments: object) -> tuple[ReplyPart, ...]:
    return TextPart(say), ToolCallPart(ToolCall("1", tool, arguments))


def serve(service: Service, *replies) -> CannedLlm:
    llm = service.llm = CannedLlm(list(replies), sleep=gevent.sleep)
    service.serve("5000", stt=service.stt, llm=llm, tts=service.tts)
    return llm


def called(callee: Callee) -> Options:
    return Options(callees={"1010": callee})


def test_a_caller_who_asks_for_a_person_is_connected_and_the_agent_is_gone(service):
    serve(service, calls("transfer", "One moment.", to="sales"))
    call = service.call(Say(SPEECH, pause=0.2), options=called(Callee(rings=0.5, decides=0.3, talks=1.0)))
    assert call.wait(10.0), service.story(call)
    assert service.said(call) == [GREETING, "One moment."]
    heard = [detail for _, what, detail in call.facts if what == "callee hears"]
    assert len(heard) == 1, service.story(call)
    assert "briefing-" in heard[0]
    assert service.note(call, "transferred") == [{"name": "sales"}]
    service.until(call, "hung_up")
    phases = [note["phase"] for note in service.note(call, "phase")]
    assert phases[phases.index("transferring") + 1] == "handed_over"
    assert service.whats(call).index("transfer") < service.whats(call).index("transferred")
    assert call.hangup_cause == "NORMAL_CLEARING"


def test_a_colleague_who_declines_gives_the_caller_back_and_the_agent_speaks(service):
    llm = serve(service, calls("transfer", "One moment.", to="sales"), "Nobody is free.", GOODBYE)
    options = called(Callee("declines", rings=0.3, decides=0.3))
    call = service.call(Say(SPEECH, pause=0.2), Say(SPEECH, pause=0.3), options=options)
    assert call.wait(12.0), service.story(call)
    assert service.said(call) == [GREETING, "One moment.", "Nobody is free.", "Goodbye."]
    assert service.note(call, "transfer_failed") == [{"name": "sales", "reason": "declined"}]
    assert llm.asked[1][-1].content == "failed: sales was not reached: they cannot take the call now"


def test_a_blind_transfer_leaves_the_call_to_the_dialplan(service):
    serve(service, calls("transfer", "Of course.", to="desk"))
    call = service.call(Say(SPEECH, pause=0.2))
    service.until(call, "transferred")
    service.until(call, "hung_up")
    assert service.said(call) == [GREETING, "Of course.", "I put you through."]
    assert service.note(call, "hung_up") == [{"cause": "BLIND_TRANSFER"}]


def test_keys_that_were_asked_for_are_the_tools_answer(service):
    ask = calls("collect_digits", "", prompt="Your number?", max_digits=4)
    llm = serve(service, ask, GOODBYE)
    call = service.call(Say(SPEECH, pause=0.2))
    service.until_said(call, "Your number?")
    for digit in "1234":
        call.press(digit)
    assert call.wait(8.0), service.story(call)
    assert llm.asked[1][-1].content == "the caller pressed 1 2 3 4"


def test_a_caller_who_asks_for_a_moment_gets_it(service):
    serve(service, calls("hold", "Take your time.", seconds=4), GOODBYE)
    call = service.call(Say(SPEECH, pause=0.2), Wait(2.9), Say(SPEECH, pause=0.2))
    assert call.wait(12.0), service.story(call)
    assert service.said(call) == [GREETING, "Take your time.", "Goodbye."]  # and not: Are you there?
    assert len(service.note(call, "hold")) == 1


def test_when_model_and_voice_fail_the_last_resort_gets_the_call(service):
    service.serve(
        "5000",
        stt=service.stt,
        llm=CannedLlm(["x"], trouble=Trouble(fail=99, retryable=False)),
        tts=ToneTts(8000, per_character=0.02, trouble=Trouble(fail=99, retryable=False)),
    )
    call = service.call(Say(SPEECH, pause=0.2), options=called(Callee(rings=0.3, decides=0.3, talks=0.5)))
    assert call.wait(10.0), service.story(call)
    assert service.note(call, "transferred") == [{"name": "sales"}], service.story(call)
