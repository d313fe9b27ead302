"""Any sound that a service answers with -> PCM16 mono at the wanted rate, piece by piece.

The state of the decoder and of the resampler is kept over all pieces. Sound that is at the wanted rate already goes
through unchanged, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from esl_agent.audio.resample import VoiceResampler
from esl_agent.audio.samples import Encoding, Samples
from esl_agent.errors import ProviderError, WireError
from esl_agent.providers.mp3 import decoded, is_mp3
from esl_agent.wire.riff import WavStream, is_wav

#: Content types of sound. Anything else with status 200 is an error page.
SOUND = ("audio/", "application/octet-stream")
#: Seconds of one answer: whoever plays it stops before. Bytes of one, header and all (two minutes at 48 kHz).
MAX_SECONDS = 120.0
MAX_BYTES = 16 * 1024 * 1024
_MP3 = ("audio/mpeg", "audio/mp3")
_PIECE = 16000

Failure = Callable[..., ProviderError]
"""``HttpServer.error`` or ``ProviderSocket.error``."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Samples without a header."""

    encoding: Encoding
    rate: int


def pcm16(
    pieces: Iterable[bytes], asked: Raw | None, rate: int, failure: Failure, content_type: str = ""
) -> Iterator[bytes]:
    """Whole samples at ``rate``, at least one. ``asked``: what the service was asked for; None: a WAV file. One that
    sends WAV in place of samples is understood as well, and MP3 where ``content_type`` says so. Raises ProviderError.
    """
    source = iter(_limited(pieces, failure))
    head = b""
    for piece in source:
        head += piece
        if len(head) >= 4:
            break
    whole = chain([head], source)
    size = 0
    try:
        for piece in _decoded(head, whole, asked, rate, failure, content_type in _MP3):
            size += len(piece)
            if size > MAX_SECONDS * rate * 2:
                raise failure(f"more than {MAX_SECONDS:g} s of sound", retryable=False)
            if piece:
                yield piece
    except WireError as error:
        raise failure(str(error)) from None
    if not size:
        raise failure("an answer without sound")


def silence(seconds: float, rate: int) -> bytes:
    return bytes(round(seconds * rate) * 2)


def _limited(pieces: Iterable[bytes], failure: Failure) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_BYTES:
            raise failure(f"more than {MAX_BYTES} bytes of sound", retryable=False)
        yield piece


def _decoded(
    head: bytes, whole: Iterable[bytes], asked: Raw | None, rate: int, failure: Failure, may_be_mp3: bool
) -> Iterator[bytes]:
    if not head:
        return iter(())
    if may_be_mp3 and is_mp3(head):
        return _from_mp3(whole, rate, failure)
    if asked is None or is_wav(head):
        return _from_wav(whole, rate)
    samples = Samples(asked.encoding)
    return _resampled((samples.feed(piece) for piece in whole), asked.rate, rate)


def _from_wav(pieces: Iterable[bytes], rate: int) -> Iterator[bytes]:
    wav, rest = WavStream(), iter(pieces)
    first = next(filter(None, map(wav.feed, rest)), b"")
    if first and wav.format is not None:
        samples = Samples(wav.format.encoding, wav.format.channels)
        sounds = chain([first], map(wav.feed, rest))
        yield from _resampled(map(samples.feed, sounds), wav.format.rate, rate)
    wav.end()


def _from_mp3(pieces: Iterable[bytes], rate: int, failure: Failure) -> Iterator[bytes]:
    """The whole, once it is there: for services that have nothing better."""
    pcm, its_rate = decoded(b"".join(pieces), failure)
    yield from _resampled((pcm[at : at + _PIECE] for at in range(0, len(pcm), _PIECE)), its_rate, rate)


def _resampled(pieces: Iterable[bytes], its_rate: int, rate: int) -> Iterator[bytes]:
    if its_rate == rate:
        yield from pieces
        return
    resampler = VoiceResampler(its_rate, rate)
    for piece in pieces:
        yield resampler.feed(piece)
    yield resampler.feed(b"", last=True)
