"""The pretend Realtime API is as strict as the real one, and as inconvenient."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from esl_agent.testing.pretend_realtime import KEY, Called, Persona, PretendRealtime, Reply, tone
from tests.providers.contract_stt import until

QUIET = bytes(48000)


class Client:
    """A client without any manners of its own."""

    def __init__(self, server: PretendRealtime, headers: dict[str, str] | None = None, **query: str) -> None:
        model = query.get("model", "gpt-realtime-mini")
        given = {"Authorization": f"Bearer {KEY}"} if headers is None else headers
        self.socket = connect(f"{server.url}?model={model}", additional_headers=given, proxy=None, max_size=2**24)

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, "event_id": "mine", **fields}))

    def until(self, *kinds: str) -> dict[str, Any]:
        """The next event of these kinds."""
        while True:
            event: dict[str, Any] = json.loads(self.socket.recv(5.0))
            if event["type"] in kinds:
                return event

    def say(self, pcm: bytes) -> None:
        self.send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())

    def refused(self, kind: str, **fields: Any) -> tuple[str, str]:
        """(code, param) of the error that this message is answered with."""
        self.send(kind, **fields)
        error = self.until("error")["error"]
        assert error["event_id"] == "mine"
        return error["code"], error["param"] or ""


@pytest.fixture
def server() -> Iterator[PretendRealtime]:
    with PretendRealtime([Reply("Good morning.", tone(1.0))]) as pretend:
        yield pretend


@pytest.fixture
def client(server) -> Iterator[Client]:
    made = Client(server)
    with made.socket:
        made.until("session.created")
        yield made


def session(**fields: Any) -> dict[str, Any]:
    return {"session": {"type": "realtime", **fields}}


def heard(**fields: Any) -> dict[str, Any]:
    return session(audio={"input": fields})


def said(**fields: Any) -> dict[str, Any]:
    return session(audio={"output": fields})


def item(**fields: Any) -> dict[str, Any]:
    return {"item": {"type": "message", **fields}}


VAD = {"type": "server_vad"}
UNKNOWN, INVALID, TYPE, MISSING = (
    "unknown_parameter", "invalid_value", "invalid_type", "missing_required_parameter",
)  # fmt: skip
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("session.update", {"session": {"instructions": "x"}}, MISSING, "session.type"),
    ("session.update", session(temperature=0.6), UNKNOWN, "session.temperature"),
    ("session.update", session(modalities=["text", "audio"]), UNKNOWN, "session.modalities"),
    ("session.update", session(input_audio_format="pcm16"), UNKNOWN, "session.input_audio_format"),
    ("session.update", session(voice="ash"), UNKNOWN, "session.voice"),
    ("session.update", session(output_modalities=["audio", "text"]), INVALID, "session.output_modalities"),
    ("session.update", session(instructions=7), TYPE, "session.instructions"),
    ("session.update", session(max_output_tokens=5000), INVALID, "session.max_output_tokens"),
    ("session.update", session(tools=[{"type": "function"}]), MISSING, "session.tools[0].name"),
    (
        "session.update", session(tools=[{"type": "function", "function": {"name": "f"}}]),
        MISSING, "session.tools[0].name",
    ),
    ("session.update", heard(format="pcm16"), TYPE, "session.audio.input.format"),
    ("session.update", heard(format={"type": "audio/pcm", "rate": 16000}), INVALID, "session.audio.input.format.rate"),
    ("session.update", heard(format={"type": "audio/pcmu", "rate": 8000}), UNKNOWN, "session.audio.input.format.rate"),
    (
        "session.update", heard(turn_detection={**VAD, "threshold": 7}),
        INVALID, "session.audio.input.turn_detection.threshold",
    ),
    (
        "session.update", heard(turn_detection={**VAD, "eagerness": "low"}),
        UNKNOWN, "session.audio.input.turn_detection.eagerness",
    ),
    (
        "session.update", heard(turn_detection={"type": "semantic_vad", "threshold": 0.5}),
        UNKNOWN, "session.audio.input.turn_detection.threshold",
    ),
    (
        "session.update", heard(turn_detection={**VAD, "idle_timeout_ms": 100}),
        INVALID, "session.audio.input.turn_detection.idle_timeout_ms",
    ),
    (
        "session.update", heard(transcription={"model": "m", "temp": 1}),
        UNKNOWN, "session.audio.input.transcription.temp",
    ),
    ("session.update", said(voice="nobody"), INVALID, "session.audio.output.voice"),
    ("session.update", said(speed=3), INVALID, "session.audio.output.speed"),
    ("session.update", {}, MISSING, "session"),
    ("session.update", {**session(), "more": 1}, UNKNOWN, "more"),
    ("input_audio_buffer.append", {"audio": "no base64!"}, INVALID, "audio"),
    ("input_audio_buffer.append", {"audio": "YWJj"}, INVALID, "audio"),
    ("input_audio_buffer.append", {}, MISSING, "audio"),
    ("input_audio_buffer.append", {"audio": "", "rate": 8000}, UNKNOWN, "rate"),
    ("input_audio_buffer.commit", {}, "input_audio_buffer_commit_empty", ""),
    ("conversation.item.create", item(role="user", content=[]), INVALID, "item.content"),
    (
        "conversation.item.create", item(role="assistant", content=[{"type": "output_audio", "audio": "YWI="}]),
        INVALID, "item.content[0].type",
    ),
    (
        "conversation.item.create", item(role="user", content=[{"type": "text", "text": "x"}]),
        INVALID, "item.content[0].type",
    ),
    (
        "conversation.item.create", item(role="assistant", content=[{"type": "input_text", "text": "x"}]),
        INVALID, "item.content[0].type",
    ),
    (
        "conversation.item.create", {"item": {"type": "function_call_output", "call_id": "x", "output": {"a": 1}}},
        TYPE, "item.output",
    ),
    (
        "conversation.item.create", {"item": {"type": "function_call_output", "call_id": "x", "output": ""}},
        "invalid_tool_call_id", "item.call_id",
    ),
    (
        "conversation.item.truncate", {"item_id": "x", "content_index": 0, "audio_end_ms": 100},
        "item_truncate_invalid_item_id", "item_id",
    ),
    (
        "conversation.item.truncate", {"item_id": "x", "content_index": 0, "audio_end_ms": 1.5},
        TYPE, "audio_end_ms",
    ),
    ("conversation.item.delete", {"item_id": "x"}, "item_delete_invalid_item_id", "item_id"),
    ("conversation.item.delete", {"item_id": 7}, TYPE, "item_id"),
    ("response.create", {"response": {"modalities": ["audio"]}}, UNKNOWN, "response.modalities"),
    ("response.cancel", {}, "response_cancel_not_active", ""),
    ("output_audio_buffer.clear", {}, INVALID, "type"),
    ("transcription_session.update", {"session": {}}, INVALID, "type"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "fields", "code", "param"), REFUSED, ids=[f"{n} {each[0]} {each[3]}" for n, each in enumerate(REFUSED)]
)
def test_it_refuses(client, server, kind, fields, code, param):
    assert client.refused(kind, **fields) == (code, param)
    before = server.sessions[0].session
    client.send("response.create")
    assert client.until("response.done")["response"]["status"] == "completed"
    assert server.sessions[0].session == before


@pytest.mark.parametrize("message", ["", "nonsense", "[]", b"\x00", '{"event_id": "mine"}', '{"type": 7}'])
def test_what_is_no_event_is_an_error_and_no_end(client, message):
    client.socket.send(message)
    assert client.until("error")["error"]["type"] == "invalid_request_error"


def test_one_bad_field_rejects_the_whole_update(client, server):
    client.refused("session.update", **session(instructions="new", temperature=1))
    assert server.sessions[0].session["instructions"] == "Be friendly."


def test_what_an_update_leaves_out_keeps_its_value(client):
    client.send("session.update", **said(voice="ash"))
    client.until("session.updated")
    client.send("session.update", **heard(turn_detection={**VAD, "threshold": 0.7}, transcription=None))
    told = client.until("session.updated")["session"]
    assert told["audio"]["output"]["voice"] == "ash"
    assert told["audio"]["input"]["turn_detection"] == {
        "type": "server_vad", "threshold": 0.7, "prefix_padding_ms": 300, "silence_duration_ms": 200,
        "create_response": True, "interrupt_response": True,
    }  # fmt: skip


def test_the_beta_s_header_is_welcomed_with_an_error_and_a_dead_line(server):
    client = Client(server, {"Authorization": f"Bearer {KEY}", "OpenAI-Beta": "realtime=v1"})
    assert client.until("error")["error"]["code"] == "beta_api_shape_disabled"
    with pytest.raises(ConnectionClosed) as caught:
        client.socket.recv(5.0)
    assert caught.value.rcvd is None


def test_a_wrong_key_gets_no_connection(server):
    with pytest.raises(InvalidStatus) as caught:
        Client(server, {"Authorization": "Bearer sk-wrong"})
    assert caught.value.response.status_code == 401


def test_an_unknown_model_is_told_and_let_go():
    with PretendRealtime(models=["gpt-realtime-2.1"]) as server:
        client = Client(server)
        assert client.until("error")["error"]["code"] == "model_not_found"
        with pytest.raises(ConnectionClosed):
            client.socket.recv(5.0)


def test_a_voice_is_for_the_whole_call_once_it_was_heard(client):
    client.send("session.update", **said(voice="ash"))
    client.until("session.updated")
    client.send("response.create")
    client.until("response.done")
    assert client.refused("session.update", **said(voice="coral"))[0] == "cannot_update_voice"
    client.send("session.update", **said(voice="ash"))
    client.until("session.updated")


def test_one_response_at_a_time(client, server):
    server.script = lambda asked: Reply("A story.", tone(5.0), pause_after=1)
    client.send("response.create")
    first = client.until("response.created")["response"]["id"]
    assert client.refused("response.create")[0] == "conversation_already_has_active_response"
    assert client.refused("response.cancel", response_id="resp_other")[0] == "response_cancel_not_active"
    client.send("response.cancel", response_id=first)
    done = client.until("response.done")["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert done["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("until_ms", "code"), [(0, "unsupported_content_type"), (-5, "unsupported_content_type"), (1001, "invalid_value")]
)
def test_an_item_is_cut_to_what_it_has_and_no_more(client, server, until_ms, code):
    client.send("response.create")
    id = client.until("response.output_item.added")["item"]["id"]
    client.until("response.done")
    place = {"item_id": id, "content_index": 0}
    assert client.refused("conversation.item.truncate", **place, audio_end_ms=until_ms)[0] == code
    client.send("conversation.item.truncate", **place, audio_end_ms=1000)
    assert client.until("conversation.item.truncated")["audio_end_ms"] == 1000
    client.send("conversation.item.truncate", **place, audio_end_ms=300)
    client.until("conversation.item.truncated")
    assert client.refused("conversation.item.truncate", **place, audio_end_ms=301)[0] == "invalid_value"
    assert server.sessions[0].truncated == {id: 300}


def test_a_hundred_milliseconds_are_enough_to_commit(client, server):
    client.send("session.update", **heard(turn_detection=None))
    client.until("session.updated")
    client.say(tone(0.099))
    assert client.refused("input_audio_buffer.commit")[0] == "input_audio_buffer_commit_empty"
    client.say(tone(0.001))
    client.send("input_audio_buffer.commit")
    client.until("input_audio_buffer.committed")
    assert server.sessions[0].utterances == 1


def test_a_caller_is_heard_to_begin_and_to_end_where_he_did(client):
    client.send("session.update", **heard(turn_detection={**VAD, "prefix_padding_ms": 100, "silence_duration_ms": 300}))
    client.until("session.updated")
    client.say(bytes(48000) + tone(0.6) + QUIET)
    assert client.until("input_audio_buffer.speech_started")["audio_start_ms"] == 900
    assert client.until("input_audio_buffer.speech_stopped")["audio_end_ms"] == 1600


def test_a_quiet_caller_is_heard_at_a_low_threshold_alone(client, server):
    for threshold in (0.9, 0.1):
        client.send("session.update", **heard(turn_detection={**VAD, "threshold": threshold}))
        client.until("session.updated")
        assert server.sessions[0].utterances == 0
        client.say(tone(0.5, level=600) + QUIET)
    client.until("input_audio_buffer.committed")


def test_who_speaks_over_it_is_answered_anew(client, server):
    replies = [Reply("A long story.", tone(9.0), pause_after=2), Reply("Yes?")]
    server.script = lambda asked: replies.pop(0)
    client.send("response.create")
    client.until("response.output_audio.delta")
    client.say(tone(0.5) + QUIET)
    client.until("input_audio_buffer.speech_started")
    done = client.until("response.done")["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert client.until("response.done")["response"]["status"] == "completed"


def test_sound_comes_faster_than_it_is_heard_and_cut_at_odd_places(client):
    client.send("response.create")
    pieces = []
    while (event := client.until("response.output_audio.delta", "response.done"))["type"] != "response.done":
        pieces.append(base64.b64decode(event["delta"]))
    assert b"".join(pieces) == tone(1.0)
    assert any(len(piece) % 2 for piece in pieces)


def test_an_hour_is_the_end():
    now = [0.0]
    with PretendRealtime(clock=lambda: now[0]) as server:
        client = Client(server)
        client.until("session.created")
        now[0] = 3599.0
        client.send("response.create")
        client.until("response.done")
        now[0] = 3600.0
        client.send("input_audio_buffer.clear")
        assert client.until("error")["error"]["code"] == "session_expired"
        with pytest.raises(ConnectionClosed) as caught:
            client.socket.recv(5.0)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001


def test_a_persona_greets_answers_and_calls(client, server):
    server.script = Persona("Hello.", ("One.", "Two."), calls={2: Called("call_1", "f")}, after_tools="Done.")
    client.send("response.create")
    assert client.until("response.output_audio_transcript.done")["transcript"] == "Hello."
    client.until("response.done")
    client.say(tone(0.5) + QUIET)
    assert client.until("response.output_audio_transcript.done")["transcript"] == "One."
    client.until("response.done")
    client.say(tone(0.5) + QUIET)
    assert client.until("response.function_call_arguments.done")["name"] == "f"
    client.until("response.done")
    client.send("conversation.item.create", item={"type": "function_call_output", "call_id": "call_1", "output": "x"})
    client.send("response.create")
    assert client.until("response.output_audio_transcript.done")["transcript"] == "Done."


def test_two_calls_have_nothing_in_common(server):
    one, other = Client(server), Client(server)
    with one.socket, other.socket:
        one.until("session.created")
        other.until("session.created")
        one.say(tone(0.3))
        one.send("response.create")
        one.until("response.done")
        until(lambda: server.sessions[0].heard)
    assert [len(each.heard) for each in server.sessions] == [len(tone(0.3)), 0]
    assert server.sessions[1].speaking is None
