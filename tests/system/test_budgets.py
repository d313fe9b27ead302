"""Whole calls that cost something: the record, the CDR, and what becomes of those that cost too much."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from service import GREETING, SPEECH, Service, Traces, until

from esl_agent.dialogue.settings import LimitSettings
from esl_agent.providers.base import Engines, Identity
from esl_agent.providers.resilience_settings import ResilienceSettings
from esl_agent.providers.resilient import resilient
from esl_agent.testing.caller import HangUp, Say, Wait
from esl_agent.testing.fs_bridge import Callee
from esl_agent.testing.fs_call import PretendCall
from esl_agent.testing.fs_machine import Options
from esl_agent.testing.providers import GOODBYE, CannedLlm, CannedStt, ToneTts

pytestmark = pytest.mark.system

#: A character a cent, or three seconds of speech.
PRICES = """
currency: EUR
prices:
  dear: {input: 100, output: 100, characters: 10, minute: 0.2}
  cheap: {}
"""
LONG = "This is the first clause of a long answer, and it goes on. This is its second one, and the last."


class Paid:
    """A service whose engines have a dear one and a cheap one each."""

    def __init__(self, directory: Path, budget: str, more: str = "") -> None:
        self.service = Service(directory, agent=PRICES, more=f"budget: {budget}\n{more}")
        self.llm = self.named(CannedLlm(["Yes, of course."], sleep=gevent.sleep), "dear/model")
        self.cheap_llm = self.named(CannedLlm(["No."], sleep=gevent.sleep), "cheap")
        self.tts = self.named(ToneTts(8000, per_character=0.02, sleep=gevent.sleep), "dear/voice")
        self.cheap_tts = self.named(ToneTts(8000, per_character=0.02, pitch=500, sleep=gevent.sleep), "cheap")
        stt = self.named(CannedStt(["hello"], sleep=gevent.sleep), "dear/ear")
        limits = LimitSettings(stt=0.5, llm=0.5, tts=0.5)
        self.engines = resilient(
            [stt], [self.llm, self.cheap_llm], [self.tts, self.cheap_tts], ResilienceSettings(), limits
        )
        self.service.server.reception.lineup.engines["= 5000"] = self.engines

    @staticmethod
    def named(engine: Any, name: str) -> Any:
        engine.identity = Identity(name)
        return engine

    def record(self, call: PretendCall) -> dict[str, Any]:
        assert call.wait_released(3.0)
        path = self.service.directory / "records" / f"{call.uuid}.json"
        until(path.exists)
        return json.loads(path.read_text())["costs"]


@contextmanager
def paid(directory: Path, budget: str = "{}", more: str = "") -> Iterator[Paid]:
    traces = Traces()
    made = Paid(directory, budget, more)
    try:
        yield made
    finally:
        made.service.close()
    traces.assert_nothing_was_left()


def test_record_and_cdr_say_what_a_call_used_and_what_that_cost(tmp_path):
    with paid(tmp_path) as it:
        it.llm._replies = ["Yes, of course.", GOODBYE]
        call = it.service.call(Say(SPEECH, pause=0.2), Say(SPEECH, pause=0.2))
        assert call.wait(8.0), it.service.story(call)
        record = it.record(call)
        parts = {part["stage"]: part for part in record["parts"]}
        assert {stage: part["provider"] for stage, part in parts.items()} == {
            "stt": "dear/ear", "llm": "dear/model", "tts": "dear/voice",
        }  # fmt: skip
        said = it.service.said(call)[1:]
        assert said[0] == "Yes, of course."
        assert parts["tts"]["characters"] == len("Yes, of course.") + len("Goodbye.")
        assert parts["tts"]["cost"] == pytest.approx(0.01 * parts["tts"]["characters"])
        assert 0.5 < parts["stt"]["seconds"] < 4.0
        assert parts["llm"]["requests"] == 2
        assert parts["llm"]["estimated"] is True
        assert record["currency"] == "EUR"
        assert record["total"] == pytest.approx(math.fsum(part["cost"] for part in record["parts"]), abs=1e-8)
        variables = call.machine.channel.variables
        assert float(variables["esl_agent_cost"]) == pytest.approx(record["total"], abs=1e-6)
        assert int(variables["esl_agent_tts_characters"]) == parts["tts"]["characters"]
        assert int(variables["esl_agent_llm_tokens"]) == parts["llm"]["input_tokens"] + parts["llm"]["output_tokens"]
        assert float(variables["esl_agent_stt_seconds"]) == pytest.approx(parts["stt"]["seconds"], abs=0.06)
        (costs,) = it.service.note(call, "costs")
        assert costs["currency"] == "EUR"


def test_whoever_watches_the_switch_is_told_at_the_end_and_a_models_name_is_only_a_name(tmp_path):
    with paid(tmp_path, "{call: 0.01}") as it:
        it.llm._replies = [GOODBYE]
        it.llm.identity = Identity("dear/${system(reboot)};esl_agent_cost=0\n\nexit\n\n%[x=1]")
        call = it.service.call(Say(SPEECH, pause=0.2), keep_wire=True)
        assert call.wait(8.0), it.service.story(call)
        record = it.record(call)
        commands = [command for _, way, command in call.wire if way == "<"]
        sent = b"".join(commands)
        (costs,) = re.findall(rb"Event-Subclass: esl_agent::costs\n(.*?)\n\n", sent, re.DOTALL)
        facts = dict(line.split(": ", 1) for line in costs.decode().split("\n"))
        assert float(facts["cost"]) == pytest.approx(record["total"], abs=1e-6)
        assert facts["currency"] == "EUR"
        assert facts["stt"] == "dear/ear"
        assert "\nexit\n" not in facts["llm"]
        assert b"${" not in sent
        assert b"%[" not in sent
        assert b"Event-Subclass: esl_agent::budget\n" in sent
        assert float(call.machine.channel.variables["esl_agent_cost"]) > 0


def test_past_its_budget_a_call_goes_on_with_cheaper_engines(tmp_path):
    with paid(tmp_path, "{call: 0.05}") as it:
        it.cheap_llm._replies = [GOODBYE]
        call = it.service.call(Say(SPEECH, pause=0.2), Say(SPEECH, pause=0.2))
        assert call.wait(8.0), it.service.story(call)
        assert it.service.said(call) == [GREETING, "Yes, of course.", "Goodbye."]
        assert len(it.llm.asked) == 1
        (passed,) = it.service.note(call, "budget")
        assert (passed["scope"], passed["limit"]) == ("call", False)
        switched = it.service.note(call, "switched")
        assert {(note["stage"], note["after"]) for note in switched} == {("llm", "cheap"), ("tts", "cheap")}
        assert all("budget" in note["reason"] for note in switched)


def test_past_its_limit_a_call_finishes_its_sentence_and_is_ended(tmp_path):
    with paid(tmp_path, "{call_limit: 0.2}") as it:
        it.llm._replies = [LONG]
        call = it.service.call(Say(SPEECH, pause=0.2), Wait(10.0))
        assert call.wait(8.0), it.service.story(call)
        said = it.service.said(call)
        assert said[0] == GREETING
        assert " ".join(said[1:-1]) == LONG
        assert said[-1] == "Time is up."
        assert call.hangup_cause == "NORMAL_CLEARING"
        assert not it.service.note(call, "stop_playback")


def test_past_the_days_limit_no_call_of_this_number_is_answered_and_others_are(tmp_path):
    with paid(tmp_path, "{day_limit: 0.2, refusal_cause: USER_BUSY}") as it:
        it.llm._replies = [LONG]
        first = it.service.call(Say(SPEECH, pause=0.2), Wait(10.0))
        assert first.wait(8.0), it.service.story(first)
        refused = it.service.call(Say(SPEECH, pause=0.2))
        assert refused.wait(5.0), it.service.story(refused)
        assert not refused.is_answered
        assert refused.hangup_cause == "USER_BUSY"
        it.service.assert_healthy(it.service.healthy_call())


def test_past_the_days_limit_the_last_resort_gets_those_who_call(tmp_path):
    more = """
destinations:
  desk: {mode: warm, dial: user/1010, timeout: 5, briefing: "A call for you."}
last_resort: {transfer: desk, say: "I put you through."}
"""
    with paid(tmp_path, "{day_limit: 0.2}", more) as it:
        it.llm._replies = [LONG]
        options = Options(callees={"1010": Callee(rings=0.2, decides=0.2, talks=0.5)})
        first = it.service.call(Say(SPEECH, pause=0.2), Wait(10.0), options=options)
        assert first.wait(10.0), it.service.story(first)
        assert it.service.said(first)[-1] == "I put you through."
        second = it.service.call(Say(SPEECH, pause=0.2), Wait(10.0), options=options)
        assert second.wait(10.0), it.service.story(second)
        assert it.service.said(second) == ["I put you through."]
        assert it.service.note(second, "transferred")
        assert len(it.llm.asked) == 1


def test_a_caller_who_hangs_up_in_mid_answer_is_counted_for_what_was_made(tmp_path):
    with paid(tmp_path) as it:
        it.llm._replies = [LONG]
        it.llm._word_by_word, it.llm._per_word = True, 0.2
        call = it.service.call(Say(SPEECH, pause=0.2), Wait(2.5), HangUp())
        assert call.wait(8.0), it.service.story(call)
        parts = {part["stage"]: part for part in it.record(call)["parts"]}
        assert parts["llm"]["estimated"] is True
        assert 0 < parts["llm"]["output_tokens"] < len(LONG) // 4
        (costs,) = it.service.note(call, "costs")
        assert int(costs["llm_tokens"]) == parts["llm"]["input_tokens"] + parts["llm"]["output_tokens"]


def test_a_voice_that_refuses_is_not_paid_and_the_one_that_speaks_instead_is(tmp_path):
    with paid(tmp_path) as it:
        it.llm._replies = [GOODBYE]
        it.tts.trouble.fail, it.tts.trouble.retryable = 100, False
        call = it.service.call(Say(SPEECH, pause=0.2))
        assert call.wait(8.0), it.service.story(call)
        assert it.service.said(call)[-1] == "Goodbye."
        voices = {part["provider"]: part for part in it.record(call)["parts"] if part["stage"] == "tts"}
        assert list(voices) == ["cheap"]
        assert voices["cheap"]["characters"] == len("Goodbye.")
        assert voices["cheap"]["cost"] == 0.0


def test_an_engine_without_a_wrapper_costs_nothing_and_harms_nothing(tmp_path):
    with paid(tmp_path) as it:
        it.service.server.reception.lineup.engines["= 5000"] = Engines(
            CannedStt(["hi"], sleep=gevent.sleep), CannedLlm([GOODBYE], sleep=gevent.sleep), it.cheap_tts
        )
        call = it.service.call(Say(SPEECH, pause=0.2))
        assert call.wait(8.0), it.service.story(call)
        assert it.record(call) == {"currency": "EUR", "total": 0.0, "parts": []}
