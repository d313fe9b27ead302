"""The event socket's framing: what FreeSWITCH really wrote, in any pieces, and what it never may."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.errors import WireError
from esl_agent.wire.esl import AuthRequest, Disconnect, Event, Frame, Limits, Parser, Reply, Unknown

CORPUS = Path(__file__).parent.parent / "corpus" / "esl"
FILES = sorted(path.name for path in CORPUS.glob("*.bin"))
STREAM = b"".join((CORPUS / name).read_bytes() for name in FILES)


def frame_ends() -> set[int]:
    parser = Parser()
    return {end for end in range(1, len(STREAM) + 1) if parser.feed(STREAM[end - 1 : end])}


FRAME_ENDS = frame_ends()


def read(data: bytes, limits: Limits | None = None) -> list[Frame]:
    parser = Parser(limits)
    frames = parser.feed(data)
    parser.eof()
    return frames


def corpus(name: str) -> list[Frame]:
    return read((CORPUS / name).read_bytes())


def event(block: bytes, body: bytes = b"") -> bytes:
    inner = block + (b"Content-Length: %d\n\n" % len(body) + body if body else b"\n")
    return b"Content-Length: %d\nContent-Type: text/event-plain\n\n" % len(inner) + inner


def json_event(value: object) -> bytes:
    inner = orjson.dumps(value)
    return b"Content-Length: %d\nContent-Type: text/event-json\n\n" % len(inner) + inner


def test_the_answer_to_connect_tells_who_calls_whom() -> None:
    (reply,) = corpus("connect_sip.bin")
    assert isinstance(reply, Reply)
    assert reply.ok
    assert reply.text == "+OK"
    assert reply.headers["Control"] == "full"
    assert reply.headers["Unique-ID"] == "56cd32a6-d898-46df-8b90-50c2d351ea30"
    assert reply.headers["FreeSWITCH-IPv6"] == "fd00::2"
    assert reply.headers["variable_switch_r_sdp"].startswith("v=0\r\n")


def test_without_full_linger_api_and_event_are_refused() -> None:
    frames = corpus("connect_without_full.bin")
    texts = [frame.text for frame in frames if isinstance(frame, Reply)]
    assert texts == [
        "+OK",
        "-ERR command not found",
        "+OK Events Enabled",
        "-ERR command not found",
        "-ERR command not found",
        "-ERR command not found",
        "+OK filter added. [a]=[b]",
        "+OK bye",
    ]
    assert [frame.ok for frame in frames if isinstance(frame, Reply)].count(False) == 4
    last = frames[-1]
    assert isinstance(last, Disconnect)
    assert not last.lingering
    assert last.body.startswith(b"Disconnected, goodbye.\n")


def test_a_hang_up_in_json_and_the_linger_notice_behind_it() -> None:
    hangup, notice, bye, final = corpus("json_hangup.bin")
    assert isinstance(hangup, Event)
    assert (hangup.name, hangup.subclass, hangup.body) == ("CHANNEL_HANGUP_COMPLETE", "", b"")
    assert hangup.headers["Hangup-Cause"] == hangup.headers["variable_hangup_cause"] == "NORMAL_CLEARING"
    assert isinstance(notice, Disconnect)
    assert notice.lingering
    assert isinstance(bye, Reply)
    assert isinstance(final, Disconnect)
    assert not final.lingering


def test_a_caller_who_hangs_up_in_a_playback_is_told_in_order() -> None:
    names = [frame.name for frame in corpus("plain_hangup_with_linger.bin") if isinstance(frame, Event)]
    assert names == [
        "CHANNEL_EXECUTE_COMPLETE",
        "CHANNEL_UNPARK",
        "CHANNEL_EXECUTE_COMPLETE",
        "CHANNEL_STATE",
        "CHANNEL_STATE",
        "CHANNEL_HANGUP_COMPLETE",
    ]


def test_an_api_reply_is_its_body_without_the_last_newline() -> None:
    replies = [frame for frame in corpus("plain_hangup_with_linger.bin") if isinstance(frame, Reply)]
    assert replies[0].text == "false"
    assert replies[1].text == "-ERR No such channel!"
    assert replies[1].body == b"-ERR No such channel!\n"
    assert replies[2].text == "NORMAL_CLEARING"


def test_the_audio_modules_json_stays_a_body() -> None:
    (custom,) = corpus("plain_custom_with_body.bin")
    assert isinstance(custom, Event)
    assert (custom.name, custom.subclass) == ("CUSTOM", "mod_audio_fork::play_audio")
    assert orjson.loads(custom.body)["textContent"] == "Hi"


def test_a_background_job_brings_its_result() -> None:
    (job,) = corpus("plain_background_job.bin")
    assert isinstance(job, Event)
    assert job.headers["Job-UUID"] == "80aa0d9c-31d4-4577-9d8f-18feb9dfb404"
    assert (job.body, job.data) == (b"+OK\n", "+OK\n")


def test_an_inbound_connection_is_asked_for_its_password() -> None:
    first, accepted, *_ = corpus("inbound_auth.bin")
    assert first == AuthRequest()
    assert isinstance(accepted, Reply)
    assert accepted.text == "+OK accepted"


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_how_the_bytes_were_cut_changes_nothing(cuts: list[int]) -> None:
    parser = Parser()
    edges = [0, *sorted(cuts), len(STREAM)]
    frames = [frame for start, end in pairwise(edges) for frame in parser.feed(STREAM[start:end])]
    parser.eof()
    assert frames == read(STREAM)


def test_one_byte_at_a_time_gives_the_same_frames() -> None:
    data = (CORPUS / "json_hangup.bin").read_bytes()
    parser = Parser()
    assert [frame for byte in data for frame in parser.feed(bytes([byte]))] == read(data)


@given(st.integers(1, len(STREAM) - 1) | st.sampled_from(sorted(FRAME_ENDS)))
def test_a_stream_that_breaks_off_is_an_error_or_whole_frames(end: int) -> None:
    parser = Parser()
    frames = parser.feed(STREAM[:end])
    whole = read(STREAM)
    assert frames == whole[: len(frames)]
    if end in FRAME_ENDS:
        parser.eof()
        assert frames + read(STREAM[end:]) == whole
    else:
        with pytest.raises(WireError, match="ended inside"):
            parser.eof()


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"Content-Type: command/reply\n", b"Content-Type: text/event-json\n"]),
)
def test_nonsense_is_a_wire_error_and_nothing_else(data: bytes, before: bytes) -> None:
    parser = Parser(Limits(header_bytes=100, headers=5, body_bytes=50))
    try:
        frames = parser.feed(before + data)
        parser.eof()
    except WireError:
        return
    assert all(isinstance(frame, Reply | Event | Disconnect | AuthRequest | Unknown) for frame in frames)


@given(st.integers(0, len(STREAM) - 1), st.binary(min_size=1, max_size=4))
def test_damaged_bytes_never_raise_anything_but_a_wire_error(at: int, damage: bytes) -> None:
    parser = Parser()
    try:
        parser.feed(STREAM[:at] + damage + STREAM[at + len(damage) :])
        parser.eof()
    except WireError:
        assert len(STREAM) > at


def test_frames_before_the_nonsense_are_not_lost() -> None:
    parser = Parser()
    (reply,) = parser.feed(b"Content-Type: command/reply\nReply-Text: +OK\n\nnonsense\n\n")
    assert isinstance(reply, Reply)
    assert "nonsense" in parser.error
    with pytest.raises(WireError, match="nonsense"):
        parser.feed(b"")


def test_a_newline_in_a_callers_name_forges_no_header() -> None:
    (frame,) = read(event(b"Event-Name: DTMF\nCaller-Caller-ID-Name: Bob%0AEvent-Name: CHANNEL_HANGUP\n"))
    assert isinstance(frame, Event)
    assert frame.name == "DTMF"
    assert frame.headers["Caller-Caller-ID-Name"] == "Bob\nEvent-Name: CHANNEL_HANGUP"


def test_values_are_decoded_once() -> None:
    (frame,) = read(event(b"Event-Name: DTMF\nvariable_x: 100%2541\n"))
    assert isinstance(frame, Event)
    assert frame.headers["variable_x"] == "100%41"


def test_a_header_name_is_never_decoded() -> None:
    (frame,) = read(event(b"Event-Name: DTMF\nvariable_sip_h_X%3A%20y: 1\n"))
    assert isinstance(frame, Event)
    assert frame.headers["variable_sip_h_X%3A%20y"] == "1"


def test_a_body_is_never_read_as_headers() -> None:
    body = b'{"type": "mark", "pct": "100%41"}\nEvent-Name: CHANNEL_HANGUP\n\nUnique-ID: x'
    (frame,) = read(event(b"Event-Name: CUSTOM\nEvent-Subclass: a%3A%3Ab\n", body))
    assert isinstance(frame, Event)
    assert frame.body == body
    assert list(frame.headers) == ["Event-Name", "Event-Subclass", "Content-Length"]


@pytest.mark.parametrize("character", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_a_line_feed_ends_a_header(character: str) -> None:
    (frame,) = read(event(f"Event-Name: DTMF\nvariable_x: a{character}Event-Name: b\n".encode()))
    assert isinstance(frame, Event)
    assert frame.name == "DTMF"
    assert frame.headers["variable_x"] == f"a{character}Event-Name: b"


def test_bad_utf8_in_a_callers_name_is_replaced() -> None:
    (plain,) = read(event(b"Event-Name: DTMF\nCaller-Caller-ID-Name: M%FCller \xfc\n"))
    assert isinstance(plain, Event)
    assert plain.headers["Caller-Caller-ID-Name"] == "M\ufffdller \ufffd"
    inner = b'{"Event-Name":"DTMF","Caller-Caller-ID-Name":"M\xfcller"}'
    (json,) = read(b"Content-Length: %d\nContent-Type: text/event-json\n\n" % len(inner) + inner)
    assert isinstance(json, Event)
    assert json.headers["Caller-Caller-ID-Name"] == "M\ufffdller"


def test_an_empty_value_is_empty_in_both_formats() -> None:
    (plain,) = read(event(b"Event-Name: DTMF\nvariable_x: _undef_\n"))
    (json,) = read(json_event({"Event-Name": "DTMF", "variable_x": ""}))
    assert isinstance(plain, Event)
    assert plain == json


def test_the_first_of_two_headers_counts() -> None:
    (frame,) = read(event(b"Event-Name: DTMF\nUnique-ID: mine\nUnique-ID: forged\n"))
    assert isinstance(frame, Event)
    assert frame.headers["Unique-ID"] == "mine"


def test_json_keeps_its_body_and_writes_lists_as_freeswitch_does() -> None:
    (frame,) = read(
        json_event({"Event-Name": "CUSTOM", "Event-Subclass": "m::x", "variable_a": ["1", "2"], "_body": "é"})
    )
    assert frame == Event(
        "CUSTOM", "m::x", {"Event-Name": "CUSTOM", "Event-Subclass": "m::x", "variable_a": "ARRAY::1|:2"}, "é".encode()
    )


def test_a_variable_of_several_lines_stays_in_its_reply() -> None:
    (reply,) = read(b"Content-Type: command/reply\nReply-Text: v=0\no=- 1 1\nContent-Type: text/event-json\n\n")
    assert isinstance(reply, Reply)
    assert reply.text == "v=0\no=- 1 1"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"nonsense\n\n", "expected 'Name: value'"),
        (b"Reply-Text: +OK\n\n", "no Content-Type"),
        (b"Content-Type: command/reply\n\n", "no Reply-Text"),
        (b"Content-Type: api/response\nContent-Length: -1\n\n", "expected a number"),
        (b"Content-Type: api/response\nContent-Length: 1e3\n\n", "expected a number"),
        ("Content-Type: api/response\nContent-Length: ٣\n\n".encode(), "expected a number"),
        (b"Content-Type: api/response\nContent-Length: 9999999999\n\n", "at most"),
        (b"Content-Type: api/response\nContent-Length: 99999999999999999999\n\n", "expected a number"),
        (b"x" * 300_000, "longer than"),
        (b"a: b\n" * 2500 + b"\n", "2501 headers|2500 headers"),
        (event(b"Event-Name: DTMF\nContent-Length: 50\n"), "announces a body"),
        (event(b"no colon\n"), "expected 'Name: value'"),
        (event(b"A: b\n"), "no Event-Name"),
        (event(b""), "no headers"),
        (json_event([1]), "expected an object"),
        (json_event({"A": "b"}), "no Event-Name"),
        (json_event({"Event-Name": "DTMF", "x": {}}), "expected text"),
        (b"Content-Length: 3\nContent-Type: text/event-json\n\n{]}", "not JSON"),
    ],
)
def test_what_freeswitch_never_sends_is_named(data: bytes, says: str) -> None:
    with pytest.raises(WireError, match=says):
        read(data)


def test_frames_we_never_ask_for_are_kept_apart() -> None:
    assert read(b"Content-Type: log/data\nContent-Length: 3\nLog-Level: 7\n\nabc") == [
        Unknown("log/data", {"Content-Type": "log/data", "Content-Length": "3", "Log-Level": "7"}, b"abc")
    ]
    (rude,) = read(b"Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n")
    assert isinstance(rude, Disconnect)
    assert not rude.lingering
