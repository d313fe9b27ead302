"""The WebSocket that brings a caller's sound: our fast path and the library's general one say the same."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from esl_agent.errors import WireError
from esl_agent.wire.websocket import MAX_FRAMES_AT_ONCE, AudioSocketProtocol

CORPUS = Path(__file__).parents[1] / "corpus" / "fork"
HANDSHAKE = (CORPUS / "audio_fork_8000.bin").read_bytes()
LIMIT = 65536


def frame(opcode: Opcode, data: bytes, fin: bool = True, mask: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=mask)


def protocol(limit: int = LIMIT, admit=lambda path: True) -> AudioSocketProtocol:
    return AudioSocketProtocol(admit, limit)


def opened(limit: int = LIMIT) -> AudioSocketProtocol:
    made = protocol(limit)
    assert made.receive(HANDSHAKE) == []
    assert made.is_open
    made.outgoing()
    return made


def read(made: AudioSocketProtocol, data: bytes) -> list[bytes | str]:
    """As the server does: a lone frame of sound takes the short way."""
    return [sound] if (sound := made.lone_frame(data)) is not None else made.receive(data)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("audio_fork_8000", "/path/x?token=a%20b&y=1"),
        ("audio_fork_16000_again", "/again"),
        ("audio_stream_8000", "/path?x=1"),
        ("audio_stream_16000_again", "/again"),
    ],
)
def test_the_handshakes_that_freeswitch_modules_really_send_are_taken(name, path):
    asked = []
    made = protocol(admit=lambda path: asked.append(path) or True)
    made.receive((CORPUS / f"{name}.bin").read_bytes())
    answer = made.outgoing().decode()
    assert made.is_open
    assert asked == [path]
    assert answer.startswith("HTTP/1.1 101 ")
    assert ("Sec-WebSocket-Protocol: audio.drachtio.org" in answer) == name.startswith("audio_fork")


def test_the_captured_key_gets_the_captured_answer():
    made = protocol()
    made.receive(HANDSHAKE)
    assert b"Sec-WebSocket-Accept: rHnTQytPe8HWeOzVTjE4nOXAjws=\r\n" in made.outgoing()


messages = st.lists(
    st.one_of(
        st.binary(max_size=700).map(lambda data: ("binary", data, [])),
        st.tuples(st.just("binary"), st.binary(max_size=400), st.lists(st.integers(0, 400), min_size=1, max_size=4)),
        st.tuples(st.just("text"), st.text(max_size=60).map(str.encode), st.lists(st.integers(0, 60), max_size=3)),
        st.binary(max_size=125).map(lambda data: ("ping", data, [])),
        st.just(("binary", b"\x05" * 15360, [])),
    ),
    max_size=8,
)


def wire(said: list) -> tuple[bytes, list, list[bytes]]:
    """Bytes on the wire, the messages in them, and the pings. A ping follows every fragment that is not the last."""
    data, expected, pings = b"", [], []
    for kind, payload, cuts in said:
        if kind == "ping":
            data += frame(Opcode.PING, payload)
            pings.append(payload)
            continue
        pieces = in_pieces(payload, cuts)
        for number, piece in enumerate(pieces):
            opcode = Opcode.CONT if number else Opcode.TEXT if kind == "text" else Opcode.BINARY
            data += frame(opcode, piece, fin=number == len(pieces) - 1)
            if number < len(pieces) - 1:
                data += frame(Opcode.PING, b"between")
                pings.append(b"between")
        if kind == "text" or payload:
            expected.append(payload.decode() if kind == "text" else payload)
    return data, expected, pings


@given(said=messages, cuts=st.lists(st.integers(0, 20000), max_size=30))
def test_however_tcp_cuts_the_stream_the_messages_are_the_same(said, cuts):
    data, expected, pings = wire(said)
    made = protocol()
    got = [message for piece in in_pieces(HANDSHAKE + data, cuts) for message in made.receive(piece)]
    assert got == expected
    answered = made.outgoing()
    at = answered.index(b"\r\n\r\n") + 4
    assert answered[at:] == b"".join(frame(Opcode.PONG, ping, mask=False) for ping in pings)


@given(said=messages, cuts=st.lists(st.integers(0, 20000), max_size=5))
def test_the_short_way_of_a_lone_frame_gives_the_same_messages(said, cuts):
    data, expected, _ = wire(said)
    ends = [len(wire(said[: n + 1])[0]) for n in range(len(said))]
    made = opened()
    assert [message for piece in in_pieces(data, ends + cuts) for message in read(made, piece)] == expected


@settings(max_examples=20)
@given(said=messages)
def test_byte_by_byte_the_messages_are_the_same(said):
    said = [each for each in said if len(each[1]) < 1000]
    data, expected, _ = wire(said)
    made = opened()
    assert [message for i in range(len(data)) for message in made.receive(data[i : i + 1])] == expected


def test_an_unmasked_frame_is_refused():
    made = opened()
    with pytest.raises(WireError, match="mask"):
        made.receive(frame(Opcode.BINARY, bytes(320), mask=False))
    assert made.is_closing


@pytest.mark.parametrize("size", [LIMIT + 1, 2**31, 2**63 - 1])
def test_a_message_over_the_limit_is_refused_from_its_header_alone(size):
    made = opened()
    with pytest.raises(WireError, match="limit"):
        made.receive(b"\x82\xff" + size.to_bytes(8, "big"))
    assert frame(Opcode.CLOSE, Close(1009, "message too big").serialize(), mask=False) in made.outgoing()


def test_fragments_that_are_together_over_the_limit_are_refused():
    made = opened(4096)
    for number in range(4):
        made.receive(frame(Opcode.CONT if number else Opcode.BINARY, bytes(1000), fin=False))
    with pytest.raises(WireError):
        made.receive(frame(Opcode.CONT, bytes(1000), fin=False))


@pytest.mark.parametrize("size", [126, 320, 640, 15360, LIMIT - 8])
def test_a_lone_frame_of_sound_takes_the_short_way(size):
    made = opened()
    assert made.lone_frame(frame(Opcode.BINARY, bytes(size))) == bytes(size)
    assert made.outgoing() == b""


def test_nothing_takes_the_short_way_before_the_handshake_after_the_close_or_over_the_limit():
    sound = frame(Opcode.BINARY, bytes(5000))
    assert protocol().lone_frame(sound) is None
    assert opened(4096).lone_frame(sound) is None
    closed = opened()
    closed.receive(frame(Opcode.CLOSE, b"\x03\xe8"))
    assert closed.lone_frame(sound) is None


def test_a_message_of_the_limit_is_taken():
    assert opened().receive(frame(Opcode.BINARY, bytes(LIMIT))) == [bytes(LIMIT)]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xc2\x80\x00\x00\x00\x00",
        b"\x83\x80\x00\x00\x00\x00",
        b"\x80\x80\x00\x00\x00\x00",
        b"\x09\x80\x00\x00\x00\x00",
        b"\x89\xfe\x00\x7e\x00\x00\x00\x00" + bytes(126),
        b"\x88\x81\x00\x00\x00\x00\x07",
        frame(Opcode.BINARY, b"ab", fin=False) + frame(Opcode.BINARY, b"cd"),
    ],
    ids=["reserved bit", "unknown opcode", "continues nothing", "cut ping", "long ping", "short close", "new in old"],
)
def test_nonsense_after_the_handshake_is_a_wire_error(nonsense):
    with pytest.raises(WireError):
        opened().receive(nonsense)


@pytest.mark.parametrize(
    "tiny", [frame(Opcode.PING, b""), frame(Opcode.PONG, b""), frame(Opcode.BINARY, b""), frame(Opcode.TEXT, b"a")]
)
def test_no_more_small_frames_are_taken_at_once_than_sound_would_need(tiny):
    made = opened()
    made.receive(tiny * MAX_FRAMES_AT_ONCE)
    assert made.frames == MAX_FRAMES_AT_ONCE
    with pytest.raises(WireError, match="frames at once"):
        made.receive(tiny * 5000)
    assert made.frames == 2 * MAX_FRAMES_AT_ONCE + 1


@pytest.mark.parametrize("reason", ["", "x" * 400, "\u00e4" * 100, "\U0001f600" * 31, "\ud800" * 50])
def test_any_reason_can_be_given_for_a_close(reason):
    made = opened()
    made.close(1002, reason)
    said = made.outgoing()
    assert len(said) <= 127
    assert said[2:4] == (1002).to_bytes(2, "big")
    said[4:].decode()


@given(data=st.binary(max_size=300))
def test_garbage_is_a_wire_error_or_waits_for_more(data):
    for made in (protocol(), opened()):
        try:
            made.receive(data)
            made.receive(data)
        except WireError:
            pass


@pytest.mark.parametrize(
    "request_",
    [
        b"connect\n\n\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        HANDSHAKE.replace(b"13\r\n", b"12\r\n"),
        HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        HANDSHAKE.replace(b"Pragma", b"Pra gma"),
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 500 + b"\r\n",
    ],
)
def test_what_is_no_websocket_handshake_opens_nothing(request_):
    made = protocol(admit=lambda path: pytest.fail("must not be asked"))
    try:
        made.receive(request_)
    except WireError:
        pass
    else:
        assert made.refused
        assert made.outgoing().startswith(b"HTTP/1.1 4")
    assert not made.is_open


def test_an_endless_handshake_is_refused():
    made = protocol(4096)
    made.receive(b"X-Padding: a\r\n" * 200)
    with pytest.raises(WireError, match="4096"):
        made.receive(b"X-Padding: a\r\n" * 200)


def test_a_wrong_token_is_answered_with_403_and_what_follows_is_not_read():
    made = protocol(admit=lambda path: False)
    assert made.receive(HANDSHAKE + frame(Opcode.BINARY, bytes(320))) == []
    assert made.refused == "403 Forbidden"
    assert made.is_closing
    assert made.outgoing().startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert made.receive(frame(Opcode.BINARY, bytes(320))) == []


def test_sound_in_the_same_bytes_as_the_handshake_is_not_lost():
    assert protocol().receive(HANDSHAKE + frame(Opcode.BINARY, b"ab")) == [b"ab"]


def test_half_a_handshake_opens_nothing():
    made = protocol()
    assert made.receive(HANDSHAKE[:-1]) == []
    assert not made.is_open
    assert made.outgoing() == b""


def test_a_close_is_answered_and_what_follows_is_not_read():
    made = opened()
    said = frame(Opcode.BINARY, b"ab") + frame(Opcode.CLOSE, b"\x03\xe8") + frame(Opcode.BINARY, b"cd")
    assert made.receive(said) == [b"ab"]
    assert made.is_closing
    assert made.outgoing() == frame(Opcode.CLOSE, b"\x03\xe8", mask=False)


def test_text_that_is_no_utf_8_is_replaced():
    assert opened().receive(frame(Opcode.TEXT, b"a\xffb")) == ["a\ufffdb"]
