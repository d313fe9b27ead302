"""WAV as it streams: headers with lies in them, and bytes cut anywhere."""

from __future__ import annotations

import io
import struct
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.audio.samples import Samples
from esl_agent.errors import WireError
from esl_agent.wire.riff import WavFormat, WavStream

RAMP = struct.pack("<100h", *range(-5000, 5000, 100))


def header(size: int, tag: int = 1, bits: int = 16, channels: int = 1, rate: int = 22050, before: bytes = b"") -> bytes:
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    return (
        b"RIFF\xff\xff\xff\xffWAVE" + before + b"fmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", size)
    )


def fed(data: bytes, cuts: list[int]) -> tuple[bytes, WavStream]:
    wav, found, at = WavStream(), b"", 0
    for cut in cuts:
        found += wav.feed(data[at : at + cut])
        at += cut
    return found + wav.feed(data[at:]), wav


@given(st.lists(st.integers(0, 60), max_size=12), st.sampled_from([0, 200, 0xFFFFFFFF, 0x7FFFF000]))
def test_sound_is_whole_however_it_is_cut_and_whatever_size_the_header_claims(cuts, size):
    sound, wav = fed(header(size, before=b"LIST\x03\x00\x00\x00abc\x00") + RAMP, cuts)
    wav.end()
    assert sound == RAMP
    assert wav.format == WavFormat("s16", 1, 22050)


def test_what_python_writes_is_read_and_what_follows_the_samples_is_not_spoken():
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(RAMP)
    sound, wav = fed(file.getvalue() + b"LIST\x04\x00\x00\x00junk", [1, 43])
    wav.end()
    assert sound == RAMP
    assert wav.format == WavFormat("s16", 1, 16000)


@pytest.mark.parametrize(
    "data",
    [
        b"<html><body>no such page",
        b"RIFF\x00\x00\x00\x00AVI LIST",
        header(8, tag=3, bits=32),
        header(8, tag=85),
        header(8, bits=12),
        header(8, channels=6),
        header(8, rate=100),
        b"RIFF\x00\x00\x00\x00WAVEdata\x08\x00\x00\x00",
        b"RIFF\x00\x00\x00\x00WAVEfmt \x04\x00\x00\x00abcd",
        b"RIFF\x00\x00\x00\x00WAVELIST\xff\xff\xff\x7f",
    ],
)
def test_what_is_no_sound_for_a_telephone_is_refused(data):
    with pytest.raises(WireError):
        WavStream().feed(data)


@pytest.mark.parametrize("data", [b"", header(8)[:30], header(200) + RAMP[:100]])
def test_a_file_that_ends_too_early_is_noticed(data):
    wav = WavStream()
    wav.feed(data)
    with pytest.raises(WireError):
        wav.end()


@pytest.mark.parametrize(
    ("encoding", "channels", "data", "samples"),
    [
        ("u8", 1, b"\x80\x00\xff", (0, -32768, 32512)),
        ("s16", 1, struct.pack("<3h", 1, -2, 32767), (1, -2, 32767)),
        ("s16", 2, struct.pack("<4h", 100, 300, -20, 20), (200, 0)),
        ("s24", 1, b"\x00\x01\x00\xff\xff\x7f", (1, 32767)),
        ("s32", 1, struct.pack("<2i", 5 << 16, -(7 << 16)), (5, -7)),
        ("ulaw", 1, b"\xff\x00", (0, -32124)),
        ("alaw", 1, b"\xd5\x2a", (8, -32256)),
    ],
)
@pytest.mark.parametrize("cut", [1, 2, 3, 100])
def test_samples_of_every_kind_become_pcm16_however_they_are_cut(encoding, channels, data, samples, cut):
    decoder = Samples(encoding, channels)
    pcm = b"".join(decoder.feed(data[at : at + cut]) for at in range(0, len(data), cut))
    assert struct.unpack(f"<{len(samples)}h", pcm) == samples


def test_half_a_sample_at_the_end_is_held_back_for_ever():
    decoder = Samples("s16", 2)
    assert decoder.feed(b"\x01\x00\x03") == b""
    assert decoder.feed(b"\x00\x09") == b"\x02\x00"
