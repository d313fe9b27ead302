"""The vendor's own SDK talks to the pretend service, and its types take what we and the pretend service send: to the
last field, and nothing beside."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, get_args

import openai
import pytest
from openai.types.beta.realtime import RealtimeClientEventParam as BetaClientEvent
from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime import RealtimeClientEventParam, RealtimeServerEvent
from pydantic import BaseModel

from esl_agent.dialogue.destinations import DestinationSettings, Policy, TransferSettings
from esl_agent.dialogue.tool_settings import BUILTINS
from esl_agent.dialogue.tool_specs import builtin
from esl_agent.providers.base import AgentBrief, CallerWords, EngineContext, ResponseEnded, SoundPart
from esl_agent.providers.openai_realtime import OpenAiRealtime, OpenAiRealtimeOptions
from esl_agent.providers.realtime_messages import ALAW, PCM, ULAW
from esl_agent.providers.realtime_options import TranscriptionSettings, TurnDetectionSettings
from esl_agent.testing.pretend_realtime import KEY, Called, PretendRealtime, Reply, tone
from esl_agent.testing.realtime_ear import encoded
from tests.providers.contract_agent import HISTORY, PROMPT, Call
from tests.providers.contract_stt import until
from tests.providers.sdk_types import problems

VARIABLE = "REALTIME_KEY"
POLICY = Policy({"reception": DestinationSettings(number="100")}, TransferSettings())
TOOLS = tuple(builtin(name, POLICY, ("en", "de")) for name in BUILTINS)
#: What the service tells of a session, an error and an item that the SDK's types leave out or hold for later.
BESIDE = {"session.id", "session.object", "session.expires_at"}

REPLIES = (
    Reply("Bakery, good morning.", more=("How can I help?",)),
    Reply("Let me see.", calls=(Called("call_1", "hang_up"),)),
    Reply("A long story.", tone(8.0), pause_after=3, late=2),
    Reply("Yes?", status="failed"),
    Reply("So", status="incomplete"),
)


def lived(server: PretendRealtime, **options: Any) -> Any:
    """A session in which everything happens that can; what the pretend service kept of it."""
    left = list(REPLIES)
    server.script = lambda asked: left.pop(0) if left else Reply("Go on.")
    sound = options.pop("sound", PCM)
    given = OpenAiRealtimeOptions(url=server.url, api_key_env=VARIABLE, **options)
    agent = OpenAiRealtime(given, EngineContext("de-AT"))
    call = Call(agent.connect(AgentBrief(PROMPT, sound, TOOLS, HISTORY)))
    session = call.session
    session.respond("Greet the caller.")
    call.until(ResponseEnded)
    said = encoded(tone(0.5) + bytes(48000), {PCM: "audio/pcm", ULAW: "audio/pcmu", ALAW: "audio/pcma"}[sound])
    call.say(said, sound.bytes_per_second // 50)
    call.until(ResponseEnded, 2)
    call.until(CallerWords)
    session.return_tools([("call_1", "done")])
    session.tell("The caller pressed 1.")
    session.respond()
    count = len(call.of(SoundPart))
    item = call.until(SoundPart, count + 3).item
    session.cancel(session._reading.response)
    call.until(ResponseEnded, 3)
    session.truncate(item, 0.15)
    session.forget(call.of(SoundPart)[0].item)
    for number in (4, 5):
        session.respond()
        call.until(ResponseEnded, number)
    session.respond("Say what the time is.", interruptible=False)
    call.until(ResponseEnded, 6)
    session.respond("Say goodbye.", is_last=True)
    call.until(ResponseEnded, 7)
    call.end()
    until(lambda: not server.open_connections)
    return server.sessions[-1]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture
def server() -> Iterator[PretendRealtime]:
    with PretendRealtime() as pretend:
        yield pretend


def unknown(value: Any, where: str = "") -> list[str]:
    """The fields of a model of the SDK that it does not declare."""
    if isinstance(value, BaseModel):
        extra = [f"{where}.{name}" for name in value.model_extra or ()]
        return extra + [each for name in type(value).model_fields for each in unknown(getattr(value, name), name)]
    if isinstance(value, list):
        return [each for element in value for each in unknown(element, where)]
    return []


def by_type(union: Any) -> dict[str, type[BaseModel]]:
    """The models of a union of events, by the ``type`` that each has."""
    models = get_args(get_args(union)[0])
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in models}


OPTIONS: list[dict[str, Any]] = [
    {},
    {"sound": ULAW, "transcription": TranscriptionSettings(language="de", prompt="bread"), "max_output_tokens": 900},
    {"sound": ALAW, "noise_reduction": "near_field", "speed": 1.25, "reasoning_effort": "minimal"},
    {"turn_detection": TurnDetectionSettings(type="semantic_vad"), "voice": "voice_0123"},
    {"turn_detection": TurnDetectionSettings(idle_timeout_ms=6000)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=range(len(OPTIONS)))
def test_what_we_send_is_what_the_sdk_would_send(server, options):
    talk = lived(server, **options)
    kinds = {event["type"] for event in talk.received}
    assert kinds == {
        "session.update", "conversation.item.create", "conversation.item.truncate", "conversation.item.delete",
        "response.create", "response.cancel",
    }  # fmt: skip
    assert [each for event in talk.received for each in problems(RealtimeClientEventParam, event, event["type"])] == []
    ids = [event["event_id"] for event in talk.received]
    assert len(set(ids)) == len(ids)
    assert talk.errors == []


def test_sound_is_sent_as_the_sdk_would_send_it():
    import json

    from esl_agent.providers.realtime_messages import append

    event = json.loads(append(7, bytes(range(256)) * 2))
    assert problems(RealtimeClientEventParam, event) == []
    assert base64.b64decode(event["audio"]) == bytes(range(256)) * 2


@pytest.mark.parametrize("options", OPTIONS, ids=range(len(OPTIONS)))
def test_what_the_pretend_service_sends_is_what_the_sdk_knows(server, options):
    talk = lived(server, **options)
    known = by_type(RealtimeServerEvent)
    found: set[str] = set()
    for event in talk.sent:
        found |= set(unknown(known[event["type"]].model_validate(event, strict=True), event["type"]))
    assert found <= BESIDE
    assert len({event["type"] for event in talk.sent}) >= 23


def test_a_server_of_before_is_spoken_to_as_its_sdk_would():
    with PretendRealtime(shape="beta") as server:
        talk = lived(server, shape="beta", model="gpt-4o-realtime-preview", voice="alloy", temperature=0.7, speed=1.1)
    assert [each for event in talk.received for each in problems(BetaClientEvent, event, event["type"])] == []
    assert talk.errors == []
    known = by_type(BetaServerEvent)
    for event in talk.sent:
        known[event["type"]].model_validate(event)
    assert "response.audio.delta" in {event["type"] for event in talk.sent}


def test_the_sdk_has_a_conversation_with_the_pretend_service(server):
    server.script = lambda asked: Reply("Günaydın.", tone(1.0), calls=(Called("call_1", "order_status", {"id": "7"}),))
    client = openai.OpenAI(api_key=KEY, base_url=server.url.replace("ws", "http").removesuffix("/realtime"))
    sound, words, calls = b"", "", []
    with client.realtime.connect(model="gpt-realtime-mini", websocket_connection_options={"proxy": None}) as connection:
        for event in connection:
            if event.type == "session.created":
                connection.session.update(session={"type": "realtime", "audio": {"output": {"voice": "ash"}}})
            elif event.type == "session.updated":
                assert event.session.audio.output.voice == "ash"
                pcm = tone(0.4) + bytes(24000)
                connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())
            elif event.type == "response.output_audio.delta":
                sound += base64.b64decode(event.delta)
            elif event.type == "response.output_audio_transcript.done":
                words = event.transcript
            elif event.type == "response.output_item.done" and event.item.type == "function_call":
                calls.append((event.item.call_id, event.item.name, event.item.arguments))
            elif event.type == "response.done":
                assert event.response.status == "completed"
                assert event.response.usage.output_token_details.audio_tokens == 20
                break
            assert event.type != "error", event
    assert (sound, words) == (tone(1.0), "Günaydın.")
    assert calls == [("call_1", "order_status", '{"id": "7"}')]
    assert "openai-beta" not in server.headers[0]


def test_the_sdk_reads_the_pretend_service_s_errors(server):
    client = openai.OpenAI(api_key=KEY, base_url=server.url.replace("ws", "http").removesuffix("/realtime"))
    with client.realtime.connect(model="gpt-realtime-mini", websocket_connection_options={"proxy": None}) as connection:
        connection.session.update(session={"type": "realtime", "temperature": 0.6}, event_id="mine")  # type: ignore
        error = next(event for event in connection if event.type == "error").error
    assert (error.code, error.param, error.event_id) == ("unknown_parameter", "session.temperature", "mine")
