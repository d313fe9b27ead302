"""A speech-to-speech agent on a line of chan_websocket that carries what the agent takes: each hears the other's very
samples, by whatever law they are written."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from virtual_line import Line, Ticks
from virtual_websocket import Socket, WebSocketLine

from esl_agent.agent_line import AgentLine
from esl_agent.audio import agent_sound, g711, playout
from esl_agent.dialogue.actions import ConnectAgent
from esl_agent.dialogue.events import AgentConnected, AgentSpeaks, AgentSpoke, Audio, Played
from esl_agent.legs.base import Clip
from esl_agent.providers.accounts import Accounts
from esl_agent.providers.base import CallContext, EngineContext
from esl_agent.providers.openai_realtime import OpenAiRealtime, OpenAiRealtimeOptions
from esl_agent.testing.pretend_chan_websocket import FarChannel
from esl_agent.testing.pretend_realtime import KEY, PretendRealtime, Reply, tone
from esl_agent.testing.realtime_ear import encoded
from tests.providers.contract_stt import until

#: What Dial(WebSocket/...) was given in c(...) -> samples a second, bytes of a frame, what the service calls it.
LINES = {"ulaw": (8000, 160, "audio/pcmu"), "alaw": (8000, 160, "audio/pcma"), "slin24": (24000, 960, "audio/pcm")}
SOUND = tone(1.0, 400.0)


class WrittenLine(WebSocketLine):
    """A line whose frames are looked at as they are on the wire."""

    def __init__(self, format: str) -> None:
        rate, self.size, _ = LINES[format]
        self.ticks = Ticks()
        self.far = FarChannel(format, self.size)
        self.socket = Socket(self.far)
        self.spoken = b""
        self._draw = random.Random(7)
        Line.__init__(self, rate)

    def caller_says(self, frame: bytes) -> None:
        said = self._draw.randbytes(self.size)
        self.spoken += said
        assert self.socket.line is not None
        self.socket.line.take_sound(said)


class Call:
    """A line and its agent, between which nothing but a call's two hands is missing."""

    def __init__(self, format: str, server: PretendRealtime) -> None:
        self.line = WrittenLine(format)
        self.posted: list[Any] = []
        options = OpenAiRealtimeOptions(url=server.url, api_key_env="REALTIME_KEY")
        law: Any = format if format == "alaw" else "ulaw"
        agent, context = OpenAiRealtime(options, EngineContext()), CallContext("one", lambda told: None)
        rate, post, accounts = self.line.media.rate, self.posted.append, Accounts()
        self.agent = AgentLine((agent,), rate, post, context, streams=True, law=law, accounts=accounts)
        self.agent.connect(ConnectAgent(1, "You are a bakery."))
        until(lambda: AgentConnected(1) in self.posted)

    def of(self, kind: type) -> list[Any]:
        return [each for each in self.posted if type(each) is kind]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendRealtime]:
    """Makes every resampler between line and agent a fault."""

    def no_resampler(rate_in: int, rate_out: int) -> None:
        assert rate_in == rate_out, f"{rate_in} Hz became {rate_out} Hz"

    monkeypatch.setattr(agent_sound, "line_resampler", no_resampler)
    monkeypatch.setattr(playout, "VoiceResampler", no_resampler)
    monkeypatch.setenv("REALTIME_KEY", KEY)
    with PretendRealtime([Reply("Good morning.", SOUND)]) as pretend:
        yield pretend


@pytest.fixture(params=LINES)
def format(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "slin24":  # nothing is companded

        def no_law(*given: Any) -> None:
            raise AssertionError("it was companded")

        monkeypatch.setattr(g711.G711, "encode", no_law)
        monkeypatch.setattr(g711.G711, "decode", no_law)
    return str(request.param)


def test_agent_and_caller_hear_each_others_samples(format: str, server: PretendRealtime) -> None:
    call = Call(format, server)
    call.line.media.start()
    call.line.pass_(2.0)
    for event in call.line.of(Audio):
        call.agent.send_audio(1, event.pcm)
    (talk,) = server.sessions
    laws = {"ulaw": "PCMU", "alaw": "PCMA"}
    said = g711.LAWS[laws[format]].decode(call.line.spoken) if format in laws else call.line.spoken
    until(lambda: len(talk.heard) >= len(said))
    assert bytes(talk.heard) == said
    assert (talk.heard_in, talk.said_in) == (LINES[format][2],) * 2

    call.agent.ask(1, "Say good morning.")
    until(lambda: call.of(AgentSpoke))
    (speaks,) = call.of(AgentSpeaks)
    call.line.frames.clear()
    call.line.media.play(Clip(1, 0, speaks.audio))
    call.line.pass_(speaks.audio.seconds + 0.5)
    assert call.line.of(Played)
    assert encoded(SOUND, LINES[format][2]) in b"".join(call.line.frames)
    assert talk.errors == []
    call.agent.close()
    call.line.media.close()
    until(lambda: not server.open_connections)
