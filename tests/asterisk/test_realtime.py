"""Whole calls through a real Asterisk to a speech-to-speech agent: 24 kHz all the way, whichever door."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from esl_agent import config as configuration
from esl_agent.audio import agent_sound, playout
from esl_agent.audio.pcm import Sound
from esl_agent.audio.resample import VoiceResampler
from esl_agent.lineup import Lineup, make_engines
from esl_agent.testing.caller import BargeIn, HangUp, PretendCaller, Say, Step, Wait, recording
from esl_agent.testing.line import telephone, trim
from esl_agent.testing.pretend_realtime import KEY, Persona, PretendRealtime
from esl_agent.testing.realtime_conversation import Conversation
from esl_agent.testing.sip_phone import SipCall, SipPhone
from tests.asterisk.agent import DOORS, GREETING, LONG, REPLY, Agent, RecordedTts, until, voice_of
from tests.asterisk.likeness import likeness

pytestmark = pytest.mark.system

DIDS = {door: f"500{n}" for n, door in enumerate(DOORS)}
WORDS = "queue-thankyou"
DID = """
did: {did}
prompt: You are number {did}.
phrases: {{greeting: "{greeting}"}}
agent: {{engine: openai_realtime, url: "{url}", api_key_env: REALTIME_KEY, model: gpt-realtime-2.1-mini}}
tts: embedded
"""


def persona(*answers: str) -> Persona:
    """Its sound is made before anybody calls: the callers are on this hub too."""
    made = {text: voice_of(text).pcm for text in (GREETING, *answers)}
    return Persona(GREETING, answers, made.__getitem__)


def all_over(agent: Agent, calls: Mapping[str, SipCall]) -> None:
    """Looking closely at one call would hold up the others."""
    for door, call in calls.items():
        assert call.wait_over(25), (door, agent.story())


@pytest.fixture
def peer(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendRealtime]:
    """The service behind the DIDs of all doors. Makes every resampler of a call a fault."""
    monkeypatch.setenv("REALTIME_KEY", KEY)
    with PretendRealtime(persona(REPLY)) as server:
        (tmp_path / "dids").mkdir()
        (tmp_path / "agent.yaml").write_text("")
        for did in DIDS.values():
            text = DID.format(did=did, greeting=GREETING, url=server.url)
            (tmp_path / "dids" / f"{did}.yaml").write_text(text)
        config = configuration.load(tmp_path, environment={})
        engines = {did.key: dataclasses.replace(make_engines(did), tts=RecordedTts()) for did in config.dids}
        monkeypatch.setattr(agent.server.reception, "lineup", Lineup(config, engines))

        def no_resampler(rate_in: int, rate_out: int) -> None:
            assert rate_in == rate_out, f"{rate_in} Hz became {rate_out} Hz"

        monkeypatch.setattr(agent_sound, "line_resampler", no_resampler)
        monkeypatch.setattr(playout, "VoiceResampler", no_resampler)
        assert VoiceResampler is not playout.VoiceResampler
        yield server


def session_of(peer: PretendRealtime, did: str) -> Conversation:
    """That of the call to ``did``: it was told which number it is."""
    (found,) = (each for each in peer.sessions if f"number {did}." in json.dumps(each.session))
    return found


def test_each_side_hears_the_other_at_24_khz_and_nothing_is_resampled(
    agent: Agent, caller: SipPhone, peer: PretendRealtime
) -> None:
    script: list[Step] = [Say(WORDS, pause=0.2), Wait(4.0), HangUp()]
    calls = {door: caller.dial(f"{DOORS[door]}{DIDS[door]}", PretendCaller(list(script))) for door in DOORS}
    all_over(agent, calls)
    for door, call in calls.items():
        heard = call.sound.heard()
        for text in (GREETING, REPLY):
            score, _ = likeness(heard, voice_of(text))
            assert score > 0.95, (door, text, score, agent.story())
        session = session_of(peer, DIDS[door])
        assert (session.heard_in, session.said_in) == ("audio/pcm", "audio/pcm"), door
        score, _ = likeness(Sound(bytes(session.heard), 24000), telephone(trim(recording(WORDS)), 8000))
        assert score > 0.9, (door, score)
        assert session.errors == [], door
        (call_id,) = agent.calls_to(DIDS[door])
        assert [fact["rate"] for fact in agent.facts(call_id, "media")] == [24000], door
        assert sum(fact.get("audio_output_tokens", 0) for fact in agent.facts(call_id, "used")) > 0
    until(lambda: agent.is_idle)


def test_a_caller_who_talks_over_the_agent_silences_it_and_it_knows_how_far_it_was_heard(
    agent: Agent, caller: SipPhone, peer: PretendRealtime
) -> None:
    peer.script = persona(LONG, REPLY)
    script: list[Step] = [Say("digits-1", pause=0.2), BargeIn(WORDS, after=1.0), Wait(4.0), HangUp()]
    calls = {door: caller.dial(f"{DOORS[door]}{DIDS[door]}", PretendCaller(list(script))) for door in DOORS}
    all_over(agent, calls)
    for door, call in calls.items():
        _, over = call.sound.caller.spoken
        assert over.purpose == "barge_in"
        assert len(call.sound.loud(over.began - 0.5, over.began)) > 10, "the agent was speaking"
        assert call.sound.loud(over.began, over.ended), "it could not know before"
        assert not call.sound.loud(over.began + 0.8, over.began + 1.2), (door, "it went on")
        score, _ = likeness(call.sound.heard(), voice_of(REPLY))
        assert score > 0.95, (door, score)
        session = session_of(peer, DIDS[door])
        (truncated,) = (each for each in session.received if each["type"] == "conversation.item.truncate")
        assert 0 < truncated["audio_end_ms"] < voice_of(LONG).seconds * 1000, door
        assert session.errors == [], door
    until(lambda: agent.is_idle)
