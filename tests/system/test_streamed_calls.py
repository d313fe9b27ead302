"""Whole calls whose agent streams: every part is real but the engines and FreeSWITCH."""

from __future__ import annotations

import dataclasses
import wave
from pathlib import Path

import numpy as np
import pytest
from service import GREETING, REPLY, SPEECH, Service, Traces, until

from esl_agent.testing.caller import BargeIn, HangUp, PretendCaller, Say
from esl_agent.testing.fs_machine import Options
from esl_agent.testing.fs_playback import Job
from esl_agent.testing.providers import GOODBYE

pytestmark = pytest.mark.system


@pytest.fixture
def service(tmp_path):
    traces = Traces()
    made = Service(tmp_path, media="unicast")
    yield made
    made.close()
    traces.assert_nothing_was_left()


def sides(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Caller and agent: the loudness of each 20 ms."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).astype(float)
        size = file.getframerate() // 50
    frames = samples[: len(samples) // size * size].reshape(-1, size, 2)
    loudness = np.sqrt((frames**2).mean(axis=1))
    return loudness[:, 0], loudness[:, 1]


def test_a_caller_who_talks_over_a_streaming_agent_stops_it_and_is_answered(service):
    service.llm._replies = [REPLY, GOODBYE]
    path = service.directory / "call.wav"
    call = service.call(Say(SPEECH, pause=0.2), BargeIn(SPEECH, after=0.8), record=path)
    assert call.wait(12.0), service.story(call)
    assert call.hangup_cause == "NORMAL_CLEARING"
    assert service.said(call)[0] == GREETING
    assert service.said(call)[-1] == "Goodbye."
    spoken = [message.content for message in service.llm.asked[-1] if message.role == "assistant"][-1]
    assert spoken.startswith("That is")
    assert len(spoken) < len(REPLY)
    assert "fork started" not in [what for _, what, _ in call.facts]
    assert [what for _, what, _ in call.facts].count("unicast") == 1
    assert "playback started" not in [what for _, what, _ in call.facts]
    _, agent = sides(path)
    began = call.caller.spoken[1].began - call.started_at
    at = next(index for index, when in enumerate(call.frame_times) if when >= began)
    assert agent[at - 5 : at].min() > 200  # it was speaking
    assert (agent[at + 15 : at + 27] < 50).all()  # and is silent while the caller talks
    assert agent[at + 27 :].max() > 200  # and answers


def test_a_wideband_caller_is_heard_and_answered_too(service):
    service.llm._replies = [GOODBYE]
    call = service.switch.call("5000", audio=PretendCaller([Say(SPEECH, pause=0.2)], rate=48000), codec_rate=48000)
    assert call.wait(10.0), service.story(call)
    assert service.said(call) == [GREETING, "Goodbye."]


def test_an_application_somebody_else_ran_costs_a_moment_and_not_the_call(service):
    service.llm._replies = [GOODBYE]
    call = service.call(Say(SPEECH, pause=1.5))
    service.until(call, "played")
    call.do(lambda machine: machine.executor.queue(Job("playback", "silence_stream://200", "somebody's")))
    service.until(call, "media", 2)
    assert call.wait(12.0), service.story(call)
    assert service.said(call) == [GREETING, "Goodbye."]


def test_without_the_module_auto_is_unicast(tmp_path):
    service = Service(tmp_path, media="auto")
    try:
        service.switch.options = dataclasses.replace(service.switch.options, apis={"module_exists": "false"})
        service.llm._replies = [GOODBYE]
        call = service.call(Say(SPEECH, pause=0.2))
        assert call.wait(10.0), service.story(call)
        assert service.said(call) == [GREETING, "Goodbye."]
        assert [what for _, what, _ in call.facts].count("unicast") == 1
    finally:
        service.close()


def test_a_call_for_which_no_port_is_left_is_refused_and_said(service, caplog):
    service.server.freeswitch.media.ports._theirs.clear()
    call = service.call(HangUp(), options=Options())
    assert call.wait(3.0)
    assert call.hangup_cause == "NORMAL_TEMPORARY_FAILURE"
    assert "unicast.freeswitch_ports" in caplog.text
    until(lambda: not service.server.reception.calls)


def test_an_agent_that_streams_over_the_fork_is_heard_and_stopped(tmp_path):
    service = Service(tmp_path, media="{kind: audio_fork, playback: stream}")
    try:
        service.switch.options = dataclasses.replace(service.switch.options, jambonz=True)
        service.llm._replies = [REPLY, GOODBYE]
        path = tmp_path / "call.wav"
        call = service.call(Say(SPEECH, pause=0.2), BargeIn(SPEECH, after=0.8), record=path)
        assert call.wait(12.0), service.story(call)
        assert service.said(call)[0] == GREETING
        assert service.said(call)[-1] == "Goodbye."
        assert "playback started" not in [what for _, what, _ in call.facts]
        _, agent = sides(path)
        began = call.caller.spoken[1].began - call.started_at
        at = next(index for index, when in enumerate(call.frame_times) if when >= began)
        assert agent[at - 5 : at].min() > 200
        assert (agent[at + 17 : at + 27] < 50).all()
    finally:
        service.close()
