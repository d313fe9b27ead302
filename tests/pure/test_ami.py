"""The manager interface's framing: what Asterisk really wrote, in any pieces, and what it never may."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.errors import UnsafeText, WireError
from esl_agent.wire.ami import MAX_SENT_HEADERS, MAX_SENT_LINE, Limits, Message, Parser, action

CORPUS = Path(__file__).parent.parent / "corpus" / "ami"
FILES = sorted(path.name for path in CORPUS.glob("*.bin"))
BANNER = b"Asterisk Call Manager/11.0.0\r\n"


def read(data: bytes, limits: Limits | None = None) -> list[Message]:
    parser = Parser(limits)
    messages = parser.feed(data)
    parser.eof()
    return messages


def corpus(name: str) -> list[Message]:
    return read((CORPUS / name).read_bytes())


def in_pieces(data: bytes, sizes: list[int]) -> list[Message]:
    parser, found, begin = Parser(), [], 0
    for size in [*sizes, len(data)]:
        found += parser.feed(data[begin : begin + size])
        begin += size
    parser.eof()
    return found


def test_a_call_in_is_told_by_who_dials_the_line():
    messages = corpus("call_in.bin")
    (dialled,) = [each for each in messages if each.event == "DialBegin"]
    assert dialled.get("Channel").startswith("PJSIP/sipp-in-")
    assert dialled.get("DestChannel").startswith("AudioSocket/127.0.0.1:9301-")
    assert dialled.get("Exten") == "6001"
    assert dialled.get("CallerIDNum") == "sipp"
    assert messages[0].response == "Success"
    assert messages[-1].response == "Goodbye"


def test_every_variable_of_a_channel_is_kept():
    (status,) = [each for each in corpus("call_in.bin") if each.event == "Status"]
    assert "SIPDOMAIN=127.0.0.1" in status.all("Variable")
    assert len(status.all("Variable")) > 10
    assert status.get("Variable") == status.all("Variable")[0]
    assert status.get("DNID") == "6001"


def test_a_message_with_event_and_response_is_an_event():
    (told,) = [each for each in corpus("out_486.bin") if each.event == "OriginateResponse"]
    assert dict(told.headers)["Response"] == "Failure"
    assert told.response == ""
    assert told.action_id == "2"


def test_an_action_before_the_login_and_a_wrong_secret_are_refused():
    denied, failed = corpus("login_refused.bin")
    assert (denied.response, denied.get("Message")) == ("Error", "Permission denied")
    assert (failed.response, failed.get("Message")) == ("Error", "Authentication failed")


def test_the_banner_is_no_message():
    parser = Parser()
    assert parser.feed(BANNER[:10]) == []
    assert parser.banner is None
    assert parser.feed(BANNER[10:]) == []
    assert parser.banner == "Asterisk Call Manager/11.0.0"
    parser.eof()


@pytest.mark.parametrize("name", FILES)
def test_one_byte_at_a_time_says_the_same(name):
    data = (CORPUS / name).read_bytes()
    assert in_pieces(data, [1] * len(data)) == read(data)


@given(st.sampled_from(FILES), st.lists(st.integers(1, 900), max_size=30))
def test_any_pieces_say_the_same(name, sizes):
    data = (CORPUS / name).read_bytes()
    assert in_pieces(data, sizes) == read(data)


@given(st.binary(max_size=400))
def test_garbage_after_the_banner_is_a_wire_error_or_messages(data):
    parser = Parser(Limits(line_bytes=64, block_bytes=200, headers=8))
    try:
        found = parser.feed(BANNER + data)
    except WireError:
        return
    assert all(isinstance(each, Message) for each in found)


@given(st.binary(min_size=1, max_size=60).filter(lambda data: not b"Asterisk Call Manager".startswith(data[:21])))
def test_what_is_no_asterisk_is_found_out_at_once(data):
    with pytest.raises(WireError, match="no Asterisk manager interface"):
        Parser().feed(data)


@given(st.integers(0, 15), st.data())
def test_a_byte_that_is_wrong_breaks_nothing(which, data):
    """Flip, drop or double bytes of what Asterisk sent: a WireError or messages, never another exception."""
    original = bytearray((CORPUS / FILES[which % len(FILES)]).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(len(BANNER), len(original) - 1))
        original[place : place + 1] = data.draw(st.binary(max_size=3))
    with suppress(WireError):
        read(bytes(original))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"Event: X\r\nValue: " + b"v" * 200, "line"),
        (b"Event: X\r\nValue: " + b"v" * 200 + b"\r\n\r\n", "line"),
        (b"A: b\r\n" * 200, "message"),
        (b"A: b\r\n" * 20 + b"\r\n", "headers"),
    ],
)
def test_more_than_a_server_may_send_is_a_wire_error(data, what):
    with pytest.raises(WireError, match=what):
        Parser(Limits(line_bytes=100, block_bytes=600, headers=10)).feed(BANNER + data)


def test_a_limit_counts_for_pieces_too():
    parser = Parser(Limits(line_bytes=100, block_bytes=600))
    parser.feed(BANNER)
    for _ in range(100):
        parser.feed(b"v")
    with pytest.raises(WireError):
        parser.feed(b"v")


def test_a_connection_that_ends_within_a_message_says_so():
    parser = Parser()
    parser.feed(BANNER + b"Event: Hangup\r\n")
    with pytest.raises(WireError, match="ended within"):
        parser.eof()


def test_the_first_of_two_headers_counts():
    message = Message((("Channel", "PJSIP/1"), ("Channel", "PJSIP/forged")))
    assert message.get("Channel") == "PJSIP/1"
    assert message.get("Nothing", "else") == "else"


def test_an_action_is_written_as_asterisk_reads_it():
    written = action("Redirect", [("ActionID", "7"), ("Channel", "PJSIP/1001-0000002a"), ("Exten", "100")])
    assert written == b"Action: Redirect\r\nActionID: 7\r\nChannel: PJSIP/1001-0000002a\r\nExten: 100\r\n\r\n"


@pytest.mark.parametrize("value", ["a\r\nAction: Hangup", "a\nb", "a\rb", "a\0b", "\ud800", "x" * MAX_SENT_LINE])
def test_a_value_that_would_be_more_than_a_value_is_refused(value):
    with pytest.raises(UnsafeText):
        action("Setvar", [("Value", value)])


@pytest.mark.parametrize("key", ["", "A: B", "A\r\n", "Ä", "1st", "A b", "Action", "x" * 65])
def test_a_key_that_is_none_is_refused(key):
    with pytest.raises(UnsafeText):
        action("Setvar", [(key, "v")])


@pytest.mark.parametrize("name", ["", "Ping\r\nAction: Logoff", "Core Show", "x" * 41])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(UnsafeText):
        action(name)


def test_more_headers_than_asterisk_takes_are_refused():
    action("UserEvent", [("A", "b")] * (MAX_SENT_HEADERS - 1))
    with pytest.raises(UnsafeText):
        action("UserEvent", [("A", "b")] * MAX_SENT_HEADERS)


@given(st.lists(st.tuples(st.from_regex(r"[A-Z][a-z-]{0,9}", fullmatch=True), st.text(max_size=60)), max_size=8))
def test_what_can_be_written_is_read_back_the_same_and_is_one_message(headers):
    try:
        data = action("Setvar", headers)
    except UnsafeText:
        assert any(key == "Action" or set(value) & set("\r\n\0") for key, value in headers) or any(
            "\ud800" <= each <= "\udfff" for _, value in headers for each in value
        )
        return
    (message,) = read(BANNER + data)
    assert message.headers == (("Action", "Setvar"), *headers)
