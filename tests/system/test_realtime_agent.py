"""Whole calls that a speech-to-speech agent has: every part is real but FreeSWITCH and the agent's own service.

Both ways in which FreeSWITCH hears us: as clips that it plays, and as frames that we send.
"""

from __future__ import annotations

import dataclasses
import gc
import wave
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from service import FAILURE, GREETING, SPEECH, Service, Traces, until

from esl_agent.dialogue.settings import BargeInSettings
from esl_agent.lineup import make_engines
from esl_agent.testing.caller import BargeIn, Press, Say, Wait
from esl_agent.testing.fs_call import PretendCall
from esl_agent.testing.pretend_realtime import KEY, Called, Persona, PretendRealtime, Reply
from esl_agent.testing.web import drop

pytestmark = pytest.mark.system

ANSWER = "We open at seven in the morning."
LONG = "We have rye bread, and white bread, and rolls, and cakes of all kinds, and then there are the biscuits."
MORE = """
prompt: You answer the telephone of a bakery.
agent: {{engine: openai_realtime, url: "{url}", api_key_env: REALTIME_KEY, model: gpt-realtime-2.1-mini}}
relay: {{connect: 1.0}}
tools: {{builtin: [hang_up, set_variable]}}
budget: {{call_limit: {limit}}}
"""
PRICES = "prices: {openai/gpt-realtime*: {audio_output: 1000}}\n"


class Calls(Service):
    """DID 5000 has an agent."""

    def __init__(self, directory: Path, server: PretendRealtime, media: str, limit: float) -> None:
        more = MORE.format(url=server.url, limit=limit)
        super().__init__(directory, media=media, dids=("5000",), agent=PRICES, more=more)
        self.peer = server
        [did] = self.server.reception.lineup.config.dids
        made = dataclasses.replace(make_engines(did), tts=self.tts)
        self.server.reception.lineup.engines["= 5000"] = made

    def agent_said(self, call: PretendCall) -> list[str]:
        """What was heard of each turn."""
        return [said for note in self.note(call, "turn") if (said := note["agent"].text.strip())]

    def said(self, call: PretendCall) -> list[str]:
        """What the DID's own voice said of which something was heard."""
        texts = {(note["turn"], note["clip"]): str(note["text"].text) for note in self.note(call, "clause")}
        heard = [(note["turn"], note["clip"]) for note in self.note(call, "played") if note["heard"] > 0]
        return [texts[clip] for clip in heard if clip in texts]

    def told(self, number: int, kind: str) -> list[dict[str, Any]]:
        """Events of ``kind`` that session ``number`` was sent."""
        return [event for event in self.peer.sessions[number].received if event["type"] == kind]


@pytest.fixture(params=["unicast", "auto"], ids=["streamed", "clips"])
def media(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def peer() -> Iterator[PretendRealtime]:
    with PretendRealtime(Persona(GREETING, (ANSWER, LONG))) as server:
        yield server


@pytest.fixture
def limit() -> float:
    return 0.0


@pytest.fixture
def service(
    tmp_path: Path, peer: PretendRealtime, media: str, limit: float, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Calls]:
    monkeypatch.setenv("REALTIME_KEY", KEY)
    traces = Traces()
    made = Calls(tmp_path, peer, media, limit)
    yield made
    made.close()
    traces.assert_nothing_was_left()


def agent_side(path: Path) -> np.ndarray:
    """The agent's loudness, each 20 ms."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)[:, 1].astype(float)
        size = file.getframerate() // 50
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    return np.asarray(np.sqrt((frames**2).mean(axis=1)))


def test_a_caller_is_greeted_and_answered_by_a_realtime_agent(service: Calls) -> None:
    path = service.directory / "call.wav"
    call = service.call(Say(SPEECH, pause=0.2), record=path)
    service.until(call, "turn", 2)
    assert service.agent_said(call)[:2] == [GREETING, ANSWER], service.story(call)
    call.hang_up()
    assert call.wait(8.0), service.story(call)
    assert agent_side(path).max() > 200
    [session] = service.peer.sessions
    assert session.errors == []
    assert session.heard_in == "audio/pcmu"
    assert [note["text"].text for note in service.note(call, "caller")] == ["utterance 1"]
    used = service.note(call, "used")
    assert {note["name"] for note in used} >= {"openai/gpt-realtime-2.1-mini"}
    assert sum(note.get("audio_output_tokens", 0) for note in used) > 0
    assert service.stt.heard == []
    assert service.llm.asked == []


def test_a_caller_who_talks_over_the_agent_cuts_it_where_it_was_heard(service: Calls) -> None:
    service.peer.script = Persona(GREETING, (LONG, ANSWER))
    path = service.directory / "call.wav"
    call = service.call(Say(SPEECH, pause=0.2), BargeIn(SPEECH, after=1.0), record=path)
    service.until(call, "turn", 3)
    assert service.agent_said(call)[0] == GREETING
    assert service.agent_said(call)[2] == ANSWER, service.story(call)
    assert LONG.startswith(service.agent_said(call)[1][:8])
    assert len(service.agent_said(call)[1]) < len(LONG)
    [truncated] = service.told(0, "conversation.item.truncate")
    [heard] = [note["heard"] for note in service.note(call, "truncate_reply")]
    assert truncated["audio_end_ms"] == pytest.approx(heard * 1000, abs=1)
    assert 700 < truncated["audio_end_ms"] < 2200, service.story(call)
    assert service.peer.sessions[0].errors == []
    call.hang_up()
    assert call.wait(8.0)
    began = call.caller.spoken[1].began - call.started_at
    at = next(index for index, when in enumerate(call.frame_times) if when >= began)
    agent = agent_side(path)
    assert agent[at - 5 : at].min() > 200, "it was not speaking"
    assert (agent[at + 20 : at + 27] < 50).all(), "it went on"


def test_a_greeting_that_is_always_said_is_heard_to_its_end_by_who_talks_over_it(service: Calls) -> None:
    service.peer.script = Persona(LONG, (ANSWER,))
    service.peer.speed = 3.0  # it is still being made when the caller speaks
    lineup = service.server.reception.lineup
    [did] = lineup.config.dids
    cascade = dataclasses.replace(did.cascade, barge_in=BargeInSettings(greeting=False))
    config = dataclasses.replace(lineup.config, dids=(did,), _exact={"5000": dataclasses.replace(did, cascade=cascade)})
    service.server.reception.lineup = dataclasses.replace(lineup, config=config)
    call = service.call(BargeIn(SPEECH, after=0.4), Wait(20.0))
    until(lambda: ANSWER in " ".join(service.agent_said(call)), why=lambda: service.story(call))
    assert " ".join(service.agent_said(call)).split() == f"{LONG} {ANSWER}".split(), service.story(call)
    assert [event for event in service.peer.sessions[0].sent if event["type"] == "input_audio_buffer.speech_started"]
    assert service.told(0, "conversation.item.truncate") == service.told(0, "response.cancel") == []
    assert service.peer.sessions[0].errors == []
    call.hang_up()
    assert call.wait(8.0)


def test_an_agent_uses_a_tool_and_hangs_up_after_its_last_words(service: Calls) -> None:
    called = Called("call_1", "set_variable", {"name": "topic", "value": "bread"})
    bye = Reply("Goodbye.", calls=(Called("call_2", "hang_up"),))
    service.peer.script = _replies(Reply(GREETING), Reply(calls=(called,)), bye)
    call = service.call(Say(SPEECH, pause=0.2), Wait(5.0))
    assert call.wait(10.0), service.story(call)
    assert call.hangup_cause == "NORMAL_CLEARING"
    assert service.agent_said(call) == [GREETING, "Goodbye."], service.story(call)
    [output] = [
        event["item"]
        for event in service.told(0, "conversation.item.create")
        if event["item"]["type"] == "function_call_output" and event["item"]["call_id"] == "call_1"
    ]
    assert output["output"]
    assert [note["name"] for note in service.note(call, "variable")] == ["agent_topic"]
    assert service.peer.sessions[0].errors == []


def _replies(*replies: Reply) -> Any:
    left = list(replies)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


def test_an_agent_that_dies_mid_word_is_replaced_by_one_that_knows_what_was_said(service: Calls) -> None:
    service.peer.script = _replies(Reply(GREETING), Reply(LONG, drop_after=3), Reply(ANSWER))
    call = service.call(Say(SPEECH, pause=0.2), Say(SPEECH, pause=0.5))
    until(lambda: ANSWER in service.agent_said(call), why=lambda: service.story(call))
    assert len(service.note(call, "agent_connected")) == 2
    [closed] = service.note(call, "agent_closed")
    assert closed["retryable"]
    told = [event["item"] for event in service.told(1, "conversation.item.create")]
    assert [item["role"] for item in told[:2]] == ["assistant", "user"]
    assert GREETING in str(told[0]["content"])
    assert service.peer.sessions[1].errors == []
    call.hang_up()
    assert call.wait(8.0)


def test_a_caller_whose_agent_cannot_be_connected_hears_so_and_never_only_silence(service: Calls) -> None:
    service.peer.stop()
    path = service.directory / "call.wav"
    call = service.call(Wait(8.0), record=path)
    assert call.wait(10.0), service.story(call)
    assert service.said(call) == [FAILURE], service.story(call)
    assert agent_side(path).max() > 200
    assert call.hangup_cause == "NORMAL_CLEARING"


def test_a_caller_whose_agent_never_gets_ready_hears_so_in_time(service: Calls) -> None:
    service.peer.trouble["open"] = service.peer.stall
    service.peer.trouble["update"] = service.peer.stall
    call = service.call(Wait(8.0))
    assert call.wait(10.0), service.story(call)
    service.peer.stop()
    assert service.said(call) == ["One moment please.", FAILURE], service.story(call)


def test_a_key_that_the_service_refuses_ends_the_call_in_words(service: Calls) -> None:
    service.peer.key = "sk-another-0123456789"
    call = service.call(Wait(8.0))
    assert call.wait(10.0), service.story(call)
    assert service.said(call) == [FAILURE], service.story(call)
    assert KEY not in service.story(call)


def test_a_connection_that_breaks_while_nobody_speaks_is_mended_without_a_word(service: Calls) -> None:
    call = service.call(Say(SPEECH, pause=1.0))
    service.until(call, "turn", 1)
    service.peer.trouble["sound"] = drop
    service.until(call, "agent_connected", 2)
    service.until(call, "turn", 2)
    assert service.agent_said(call)[0] == GREETING, service.story(call)
    assert service.agent_said(call)[-1] in (ANSWER, LONG)
    call.hang_up()
    assert call.wait(8.0)


def test_keys_that_are_pressed_are_told_to_the_agent(service: Calls) -> None:
    call = service.call(Wait(0.5), Press("4"), Press("2"), Wait(3.0))
    until(lambda: service.note(call, "tell_agent"), why=lambda: service.story(call))
    call.hang_up()
    assert call.wait(8.0)
    assert "4 2" in service.note(call, "tell_agent")[0]["text"].text


@pytest.mark.parametrize("limit", [0.001])
def test_a_call_that_costs_too_much_ends_politely(service: Calls) -> None:
    call = service.call(Say(SPEECH, pause=0.2), Wait(6.0))
    assert call.wait(12.0), service.story(call)
    assert call.hangup_cause == "NORMAL_CLEARING"
    assert service.note(call, "budget")[0]["limit"]
    assert service.agent_said(call)[0] == GREETING
    assert service.said(call) == ["Time is up."], service.story(call)


def test_a_caller_who_hangs_up_mid_word_leaves_nothing_behind(service: Calls) -> None:
    service.peer.script = _replies(Reply(GREETING), Reply(LONG))
    call = service.call(Say(SPEECH, pause=0.2))
    service.until(call, "agent_responding", 2)
    call.hang_up()
    assert call.wait(8.0)
    until(lambda: not service.server.reception.calls)
    used = service.note(call, "used")
    assert used, service.story(call)


def test_a_call_that_is_over_is_freed_without_the_collector(service: Calls) -> None:
    gc.collect()
    gc.disable()
    try:
        call = service.call(Say(SPEECH, pause=0.2), BargeIn(SPEECH, after=0.5))
        service.until(call, "truncate_reply")
        (own,) = service.server.reception.calls.values()
        left = [weakref.ref(each) for each in (own, own.dialogue, own._agent, *own._agent._sessions.values())]
        assert len(left) == 4
        del own
        call.hang_up()
        assert call.wait(8.0)
        until(lambda: not any(each() for each in left), 2.0, lambda: [each() for each in left])
    finally:
        gc.enable()
