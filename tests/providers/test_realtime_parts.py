"""The Realtime API's events -> parts, without a network: whatever comes, it is parts or a ValueError."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.audio.pcm import SoundFormat
from esl_agent.dialogue.actions import ToolCall
from esl_agent.dialogue.tools import UNREADABLE
from esl_agent.providers import realtime_parts
from esl_agent.providers.base import (
    AgentPart,
    CallerWords,
    ResponseBegan,
    ResponseEnded,
    SoundEnded,
    SoundPart,
    Usage,
    UsagePart,
    WordsPart,
)
from esl_agent.providers.realtime_beta import RENAMED
from esl_agent.providers.realtime_messages import PCM, ULAW, append, differences, encoded
from esl_agent.providers.realtime_parts import MAX_ID, MAX_ITEMS, MAX_WORDS, Reading, plain_id, plain_name, read

#: A response as it is documented, with its sound cut in the middle of samples.
SOUND = bytes(range(200))
CALL = {"type": "function_call", "id": "i9", "call_id": "call_9", "name": "f", "arguments": '{"a": 1}'}


def parts(*events: dict[str, Any], sound: SoundFormat = PCM) -> list[AgentPart]:
    reading = Reading(sound, "openai/ear")
    return [part for event in events for part in reading.parts(read(json.dumps(event)))]


def created(id: Any = "r1") -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": id, "status": "in_progress"}}


def delta(sound: bytes, **more: Any) -> dict[str, Any]:
    place = {"response_id": "r1", "item_id": "i1", "content_index": 0}
    return {"type": "response.output_audio.delta", **place, "delta": base64.b64encode(sound).decode(), **more}


def done(**more: Any) -> dict[str, Any]:
    return {"type": "response.done", "response": {"id": "r1", "status": "completed", "output": [], **more}}


def item_done(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "response_id": "r1", "item": item}


@given(st.lists(st.integers(0, 200)))
def test_sound_cut_anywhere_comes_whole_and_in_samples(cuts):
    edges = sorted({0, 200, *cuts})
    found = parts(*(delta(SOUND[a:b]) for a, b in pairwise(edges)))
    assert b"".join(part.sound for part in found if isinstance(part, SoundPart)) == SOUND
    assert all(len(part.sound) % 2 == 0 for part in found if isinstance(part, SoundPart))


def test_a_g711_sample_is_a_byte():
    assert parts(delta(b"\x01"), delta(b"\x02\x03\x04"), sound=ULAW) == [
        SoundPart("r1", "i1", b"\x01"),
        SoundPart("r1", "i1", b"\x02\x03\x04"),
    ]


def test_both_generations_of_names_say_the_same():
    now = {old: new for old, new in RENAMED.items() if new in realtime_parts._READ}
    assert len(now) == 6
    for old, new in now.items():
        event = {"response_id": "r1", "item_id": "i1", "delta": "aGk=", "transcript": "hi", "text": "hi"}
        assert parts({"type": old, **event}) == parts({"type": new, **event}) != []


def test_words_that_come_only_when_they_are_complete_come_once():
    place = {"response_id": "r1", "item_id": "i1"}
    said, whole = (f"response.output_audio_transcript.{end}" for end in ("delta", "done"))
    assert parts({"type": whole, **place, "transcript": "Good morning."}) == [WordsPart("r1", "i1", "Good morning.")]
    assert parts({"type": said, **place, "delta": "Good"}, {"type": whole, **place, "transcript": "Good"}) == [
        WordsPart("r1", "i1", "Good")
    ]


def test_a_call_is_made_once_whether_it_is_told_once_or_twice():
    wanted = (ToolCall("call_9", "f", {"a": 1}),)
    for events in ((item_done(CALL), done()), (done(output=[CALL]),), (item_done(CALL), done(output=[CALL]))):
        assert parts(created(), *events)[-1] == ResponseEnded("r1", "completed", wanted)


def test_a_call_cut_off_in_its_arguments_is_not_made():
    cut = {**CALL, "status": "incomplete", "arguments": '{"a":'}
    assert parts(created(), item_done(cut), done(status="incomplete"))[-1] == ResponseEnded("r1", "incomplete")
    unreadable = parts(created(), item_done({**CALL, "arguments": '{"a":'}), done())[-1]
    assert isinstance(unreadable, ResponseEnded)
    assert unreadable.calls[0].arguments == {UNREADABLE: '{"a":'}


@pytest.mark.parametrize("status", ["cancelled", "failed", "incomplete", "in_progress", "exploded", 7])
def test_only_a_completed_response_calls_anything(status):
    ended = parts(created(), item_done(CALL), done(status=status))[-1]
    assert isinstance(ended, ResponseEnded)
    assert ended.calls == ()


def test_a_response_that_is_told_to_have_ended_twice_ended_once_and_one_unknown_never():
    found = parts(created(), created(), done(), done(), done(id="r2"))
    assert found == [ResponseBegan("r1"), ResponseEnded("r1")]


def test_late_sound_of_a_cancelled_response_names_it():
    found = parts(created(), done(status="cancelled"), delta(b"ab"), created("r2"), delta(b"cd"))
    assert [part.response for part in found if isinstance(part, SoundPart)] == ["r1", "r1"]


def test_a_server_without_ids_is_still_understood():
    found = parts(
        {"type": "response.created", "response": {}},
        {"type": "response.output_audio.delta", "delta": "aGk="},
        {"type": "response.output_audio.done"},
        {"type": "response.done", "response": {"status": "completed"}},
    )
    began = found[0]
    assert isinstance(began, ResponseBegan)
    assert found[1:] == [
        SoundPart(began.response, f"{began.response}.item", b"hi"),
        SoundEnded(began.response, f"{began.response}.item"),
        ResponseEnded(began.response),
    ]


def test_a_server_without_ids_is_understood_as_long_as_the_call_lasts():
    began, over = {"type": "response.created", "response": {}}, {"type": "response.done", "response": {}}
    found = parts(*[began, over] * 200)
    assert len({part.response for part in found if isinstance(part, ResponseBegan)}) == 200
    assert len({part.response for part in found if isinstance(part, ResponseEnded)}) == 200


def test_each_speech_of_the_caller_is_another_one_where_a_server_does_not_say_which():
    buffer = "input_audio_buffer.speech_"
    said = {"type": "conversation.item.input_audio_transcription.completed", "transcript": "hello"}
    found = parts(*[{"type": f"{buffer}started"}, {"type": f"{buffer}stopped"}, said] * 2)
    first, second = found[:3], found[3:]
    assert len({part.item for part in first}) == len({part.item for part in second}) == 1
    assert first[0].item != second[0].item


def test_why_it_failed_is_a_name_and_no_sentence():
    def error(**found: Any) -> str:
        (ended,) = (
            part for part in parts(created(), done(status="failed", status_details=found)) if hasattr(part, "error")
        )
        return ended.error  # type: ignore[attr-defined, no-any-return]

    assert error(error={"code": "rate_limit_exceeded", "message": "You said: my PIN is 1234"}) == "rate_limit_exceeded"
    assert error(error={"code": "my PIN is 1234", "type": "server_error"}) == "server_error"
    assert error(reason="max_output_tokens") == "max_output_tokens"
    assert error(error={"code": "\r\nx", "type": 7}) == ""


def test_tokens_are_counted_by_their_kind():
    usage = {
        "total_tokens": 821, "input_tokens": 789, "output_tokens": 32,
        "input_token_details": {
            "text_tokens": 313, "audio_tokens": 476, "cached_tokens": 640,
            "cached_tokens_details": {"text_tokens": 256, "audio_tokens": 384},
        },
        "output_token_details": {"text_tokens": 9, "audio_tokens": 23},
    }  # fmt: skip
    found = parts(created(), done(status="cancelled", usage=usage))
    assert found[1:] == [
        UsagePart(
            Usage(
                input_tokens=789, cached_tokens=640, output_tokens=32,
                audio_input_tokens=476, cached_audio_tokens=384, audio_output_tokens=23,
            )
        ),
        ResponseEnded("r1", "cancelled"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        ({"type": "duration", "seconds": 4}, Usage(seconds=4.0)),
        (
            {"type": "tokens", "input_tokens": 40, "output_tokens": 9, "input_token_details": {"audio_tokens": 38}},
            Usage(input_tokens=40, output_tokens=9, audio_input_tokens=38),
        ),
        ({"type": "duration", "seconds": -1}, None),
        ("many", None),
    ],
)
def test_a_transcript_has_a_bill_of_its_own(usage, wanted):
    name = "conversation.item.input_audio_transcription.completed"
    found = parts({"type": name, "item_id": "i1", "transcript": " hello ", "usage": usage})
    assert found == [CallerWords("i1", "hello")] + ([UsagePart(wanted, "openai/ear")] if wanted else [])


def test_a_server_that_understood_nothing_may_say_so_with_null():
    name = "conversation.item.input_audio_transcription.completed"
    assert parts({"type": name, "item_id": "i1", "transcript": None}) == [CallerWords("i1", "")]


def test_what_comes_without_end_is_forgotten_in_time():
    reading = Reading(PCM)
    for number in range(1000):
        list(reading.parts(read(json.dumps(delta(b"ab", item_id=f"i{number}")))))
        list(reading.parts(read(json.dumps(created(f"r{number}")))))
    assert len(reading.items) == MAX_ITEMS
    assert len(reading._responses) <= realtime_parts.MAX_RESPONSES


def test_names_from_outside_are_safe_to_pass_on():
    assert plain_id("item_\r\nAction: Originate") == "item___Action:_Originate"
    assert len(plain_id("x" * 10_000)) == MAX_ID
    assert plain_id(7) == plain_id(None) == ""
    assert plain_name("session.audio.output.voice") == "session.audio.output.voice"
    assert plain_name("my PIN is 1234") == plain_name("a\nb") == plain_name({}) == ""
    long = parts({"type": "response.output_text.delta", "response_id": "r", "item_id": "i", "delta": "x" * 10**6})
    assert isinstance(long[0], WordsPart)
    assert len(long[0].text) == MAX_WORDS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "response", "item", "response_id", "item_id", "delta", "transcript", "text", "content_index", "usage", "status",
    "status_details", "error", "output", "id", "call_id", "name", "arguments", "type",
)  # fmt: skip
NESTED = st.recursive(
    JSON, lambda inner: st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6) | st.lists(inner, max_size=3)
)


@given(st.lists(st.tuples(st.sampled_from([*realtime_parts._READ, *RENAMED, "x"]), NESTED, NESTED), max_size=6))
def test_an_event_of_any_shape_is_parts_or_nonsense(events):
    reading = Reading(PCM, "openai/ear")
    for kind, body, response in events:
        event = {**(body if isinstance(body, dict) else {"response": body, "item": body, "delta": body})}
        message = json.dumps({"response": response, **event, "type": kind})
        try:
            found = list(reading.parts(read(message)))
        except ValueError:
            continue
        assert all(isinstance(part, get_args(AgentPart)) for part in found)


@given(st.binary() | st.text())
def test_a_message_of_any_bytes_is_an_event_or_nonsense(message):
    try:
        found = read(message)
    except ValueError:
        return
    assert isinstance(found["type"], str)


# What we send


@given(st.binary(max_size=2000))
def test_sound_goes_out_as_it_is(sound):
    event = json.loads(append(7, sound))
    assert base64.b64decode(event["audio"]) == sound
    assert (event["type"], event["event_id"]) == ("input_audio_buffer.append", "a7")


def test_text_that_cannot_be_unicode_is_sent_all_the_same():
    found = json.loads(encoded({"a": ["\ud800 x", {"\udc00": "y"}]}))
    assert found == {"a": ["? x", {"?": "y"}]}


def test_differences_are_told_by_name():
    asked = {"a": {"b": 1, "c": 0.7}, "d": [1, 2], "e": None, "f": "x"}
    assert differences(asked, asked | {"more": 1}) == []
    assert differences(asked, {"a": {"b": 1, "c": 0.70000001}}) == []
    assert differences(asked, {"a": {"b": 2}, "d": [], "e": {}, "f": "y"}) == [
        "session.a.b", "session.d", "session.e", "session.f",
    ]  # fmt: skip
    assert differences(asked, None) == ["session"]
    assert differences(asked, {"a": 7}) == ["session.a"]
