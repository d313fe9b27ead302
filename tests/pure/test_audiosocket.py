"""Asterisk's AudioSocket: bytes and frames, and what the first frames say of the sound."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.audio.g711 import LAWS
from esl_agent.audio.pcm import frame_bytes
from esl_agent.errors import WireError
from esl_agent.testing.caller import recording
from esl_agent.testing.line import telephone
from esl_agent.wire import audiosocket as wire
from esl_agent.wire.audiosocket_sound import GAPS, MOST_FRAMES, LawFinder, LineSound, Opening

CORPUS = Path(__file__).parents[1] / "corpus" / "audiosocket"
CALL = UUID("e04aaef1-1b68-4b61-b77c-122871a9e6e5")
NAMED = wire.call_frame(CALL)


def parsed(*pieces: bytes) -> list[wire.Frame]:
    parser = wire.Parser()
    return [frame for piece in pieces for frame in parser.feed(piece)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(min(place, len(data)) for place in places)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


# frames


@pytest.mark.parametrize(
    ("name", "uuid", "kind", "size"),
    [
        ("slin", "4a1af06a-a676-4dbc-b79a-737d1b921f0e", 0x10, 320),
        ("slin24", "e04aaef1-1b68-4b61-b77c-122871a9e6e5", 0x13, 960),
    ],
)
def test_what_a_real_asterisk_wrote_is_understood(name, uuid, kind, size):
    call, *sound = parsed((CORPUS / f"{name}.bin").read_bytes())
    assert str(wire.call_uuid(call)) == uuid
    assert [(frame.kind, len(frame.payload)) for frame in sound] == [(kind, size)] * 4


def test_a_real_key_is_understood():
    _, key = parsed(NAMED, b"\x03\x00\x01\x35")
    assert wire.digit(key) == "5"


sounds = st.builds(wire.sound_frame, st.sampled_from(sorted(wire.RATES)), st.binary(min_size=1, max_size=2000))
keys = st.builds(wire.digit_frame, st.sampled_from(sorted(wire.DIGITS)))
others = st.sampled_from([wire.GOODBYE_FRAME, b"\xff\x00\x00", b"\xff\x00\x01\x02", b"\x13\x00\x00"])


@given(st.lists(st.one_of(sounds, keys, others), max_size=8), st.lists(st.integers(0, 20000), max_size=30))
def test_however_the_bytes_are_cut_and_merged_the_frames_are_the_same(frames, places):
    data = NAMED + b"".join(frames)
    found = parsed(*cut(data, places))
    assert b"".join(wire.header(frame.kind, len(frame.payload)) + frame.payload for frame in found) == data
    assert len(found) == 1 + len(frames)


def test_byte_by_byte_is_no_different():
    data = NAMED + wire.sound_frame(0x13, bytes(range(240)) * 4) + wire.digit_frame("#")
    assert parsed(*(data[at : at + 1] for at in range(len(data)))) == parsed(data)


@given(st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=10), st.booleans())
def test_nonsense_is_a_wire_error_and_never_held_without_limit(data, places, is_named):
    parser = wire.Parser()
    pieces = cut(NAMED * is_named + data, places)
    if is_refused(parser, pieces):
        assert not parser.is_midway
        with pytest.raises(WireError):
            parser.feed(b"")


def is_refused(parser: wire.Parser, pieces: list[bytes]) -> bool:
    try:
        for piece in pieces:
            parser.feed(piece)
    except WireError:
        return True
    return False


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\x13", "first frame must be the call's UUID"),
        (b"G", "first frame must be the call's UUID"),
        (b"\x00\x00\x00", "first frame must be the call's UUID"),
        (b"\x01\x00\x24", "a UUID has 16 bytes, got 36"),
        (b"\x01\x00\x00", "a UUID has 16 bytes, got 0"),
        (NAMED + b"\x01", "a second UUID"),
        (NAMED + b"\x02", "0x02 is none of AudioSocket's"),
        (NAMED + b"\x19", "0x19 is none of AudioSocket's"),
        (NAMED + b"\x13\xff\xff", "65535 bytes; at most 32768"),
        (NAMED + b"\x03\x00\x02", "a key is one byte, got 2"),
        (NAMED + b"\x00\x01\x00", "256 bytes; at most 64"),
    ],
)
def test_what_is_not_audiosocket_is_refused_as_soon_as_it_can_be_seen(data, complaint):
    with pytest.raises(WireError, match=complaint):
        parsed(data)


def test_a_frame_that_has_begun_is_known_to_be_unfinished():
    parser = wire.Parser()
    parser.feed(NAMED + b"\x13\x03")
    assert parser.is_midway
    parser.feed(b"\xc0" + bytes(960))
    assert not parser.is_midway


def test_a_key_that_is_none_is_no_key():
    assert [wire.digit(wire.Frame(wire.DIGIT, key)) for key in (b"d", b"*", b"f", b"\r", b"\xb2")] == [
        "D",
        "*",
        "",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("kind", "pcm"), [(0x13, b""), (0x13, bytes(40000)), (0x00, b"12"), (0x03, b"5"), (0x19, b"12")]
)
def test_what_would_end_the_call_is_never_made(kind, pcm):
    with pytest.raises(ValueError, match="no sound that Asterisk takes"):
        wire.sound_frame(kind, pcm)


def test_a_frame_of_slin24_looks_as_asterisk_writes_it():
    assert wire.sound_frame(0x13, bytes(960))[:3] == b"\x13\x03\xc0"
    assert wire.GOODBYE_FRAME == b"\x00\x00\x00"


# what the first frames say


def learnt(kind: int, size: int, gap: float, count: int = GAPS + 1) -> LineSound | None:
    opening = Opening()
    found = [opening.hear(kind, b"\xff" * size, number * gap) for number in range(count)]
    return next((each for each in found if each), None)


@pytest.mark.parametrize(("kind", "rate"), wire.RATES.items())
def test_the_first_frame_says_the_rate_whatever_its_length(kind, rate):
    assert Opening().hear(kind, bytes(frame_bytes(rate)), 0.0) == LineSound(kind, rate)
    if kind != wire.SLIN:
        assert Opening().hear(kind, bytes(frame_bytes(rate) * 3), 0.0) == LineSound(kind, rate)
    assert LineSound(kind, rate).advice == ""


@pytest.mark.parametrize(("rate"), [rate for rate in wire.RATES.values() if rate != 8000])
def test_an_older_asterisk_is_heard_at_its_rate_and_spoken_to_at_8000(rate):
    sound = learnt(wire.SLIN, frame_bytes(rate), 0.02)
    assert sound == LineSound(wire.SLIN, rate)
    assert sound.sends == 8000
    assert "c(slin)" in sound.advice


def test_g711_for_want_of_a_codec_in_the_dialplan_is_known_and_said():
    sound = learnt(wire.SLIN, 160, 0.02)
    assert sound == LineSound(wire.SLIN, 8000, "PCMU")
    assert "c(slin)" in sound.advice


@pytest.mark.parametrize(
    ("size", "gap", "sound"),
    [
        (160, 0.01, LineSound()),
        (480, 0.03, LineSound()),
        (640, 0.04, LineSound()),
        (960, 0.06, LineSound()),
        (240, 0.03, LineSound(law="PCMU")),
        (480, 0.06, LineSound(law="PCMU")),
        (80, 0.01, LineSound(law="PCMU")),
    ],
)
def test_a_caller_with_longer_or_shorter_packets_is_not_taken_for_another_rate(size, gap, sound):
    assert learnt(wire.SLIN, size, gap) == sound


@given(
    st.sampled_from([(160, "PCMU", 8000), (640, "", 16000), (960, "", 24000)]),
    st.lists(st.floats(0.013, 0.029), min_size=GAPS, max_size=GAPS),
    st.lists(st.integers(0, GAPS), max_size=2),
)
def test_jitter_and_frames_that_are_read_together_change_nothing(expected, gaps, together):
    """13 to 29 ms is what a real caller's frames had; a busy hub reads a few of them at one moment."""
    size, law, rate = expected
    times = [sum(gaps[:count]) / sum(gaps) * 0.02 * GAPS for count in range(GAPS + 1)]
    for at in together:
        if at + 1 < len(times):
            times[at] = times[at + 1]
    assert decided(size, [*times, *(times[-1] + 0.02 * count for count in range(1, 10))]) == LineSound(
        wire.SLIN, rate, law
    )


def decided(size: int, times: list[float]) -> LineSound | None:
    opening = Opening()
    found = (opening.hear(wire.SLIN, b"\xff" * size, at) for at in times)
    return next((each for each in found if each), None)


@given(
    st.sampled_from([(160, "PCMU", 8000), (640, "", 16000), (960, "", 24000)]), st.floats(0.0, 0.25), st.integers(0, 20)
)
def test_a_hub_that_is_busy_when_a_call_comes_does_not_hear_it_at_another_pitch(expected, late, first):
    """For ``late`` seconds from frame ``first`` on nothing is read; then what came meanwhile, at one moment."""
    size, law, rate = expected
    times = [number * 0.02 for number in range(40)]
    free = first * 0.02 + late
    assert decided(size, [max(at, free) if number >= first else at for number, at in enumerate(times)]) == LineSound(
        wire.SLIN, rate, law
    )


def test_the_first_frames_tell_the_law_so_that_nothing_of_the_call_is_decoded_wrongly():
    opening, coded = Opening(), LAWS["PCMA"].encode(bytes(320))
    found = [opening.hear(wire.SLIN, coded, number * 0.02) for number in range(GAPS + 1)]
    assert found[-1] == LineSound(law="PCMA")
    assert LawFinder(found[-1].law).decode(coded) == LAWS["PCMA"].decode(coded)


def test_before_enough_frames_came_the_usual_length_is_believed():
    opening = Opening()
    assert opening.decide() is None
    assert opening.hear(wire.SLIN, bytes(960), 0.0) is None
    assert opening.decide() == LineSound(wire.SLIN, 24000)


def test_frames_of_which_no_two_have_one_size_are_not_asked_for_ever():
    opening = Opening()
    found = [opening.hear(wire.SLIN, bytes(340 + 2 * number), number * 0.02) for number in range(MOST_FRAMES)]
    assert found == [None] * (MOST_FRAMES - 1) + [LineSound()]


@pytest.mark.parametrize(("code", "has"), [(b"", False), (b"\1", True), (b"\2", False), (b"\4", False), (b"\5", True)])
def test_an_error_says_whether_the_caller_hung_up(code, has):
    (_, frame) = parsed(NAMED + b"\xff" + len(code).to_bytes(2, "big") + code)
    assert wire.has_hung_up(frame) is has


@pytest.mark.parametrize("size", [33, 1, 21000])
def test_a_size_that_nothing_has_is_taken_for_plain_sound(size):
    assert learnt(wire.SLIN, size, 0.02) == LineSound()


# G.711 of an unknown law


def decoded(law: str, pcm: bytes) -> tuple[LawFinder, list[bytes]]:
    finder = LawFinder()
    coded = LAWS[law].encode(pcm)
    return finder, [finder.decode(coded[at : at + 160]) for at in range(0, len(coded) - 159, 160)]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("name", ["hello-world", "digits-3", "tt-weasels", "vm-goodbye"])
def test_the_law_is_known_by_how_speech_sounds(law, gain, name):
    samples = np.frombuffer(telephone(recording(name), 8000).pcm, "<i2") * gain
    pcm = samples.astype("<i2").tobytes()
    finder, frames = decoded(law, pcm)
    assert finder.law.name == law
    right = LAWS[law].decode(LAWS[law].encode(pcm))
    wrong = [at for at, frame in enumerate(frames) if frame != right[at * 320 : at * 320 + 320]]
    assert max(wrong, default=0) <= 5


@pytest.mark.parametrize("law", LAWS)
def test_the_law_is_known_by_silence(law):
    finder, frames = decoded(law, bytes(320 * 6))
    assert finder.law.name == law
    assert set(frames[-1]) <= {0, 8, 0xF8, 0xFF}


@given(st.binary(max_size=400))
def test_any_bytes_can_be_decoded(data):
    assert len(LawFinder().decode(data)) == 2 * len(data)
