"""The silence that a voice puts before its first sound: time in which a caller waits for nothing.

Measured over eight sentences, median to the first sound of -50 dBFS: flite rms 160 ms, slt 210, awb 255, kal16 215,
kal 210 (at worst 310); espeak-ng 0 to 20.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from esl_agent.audio.pcm import rms

#: RMS of 10 ms from which a voice is heard: -50 dBFS.
AUDIBLE = 100
#: What stays of the silence: the first consonant is softer than what follows.
KEPT = 0.01
#: No more than this is looked at, and taken away at most: sound as soft as that for longer is meant.
MOST = 0.5
_BLOCK = 0.01


def from_first_sound(pieces: Iterable[bytes], rate: int) -> Iterator[bytes]:
    """``pieces`` of PCM16 mono without the silence they begin with. Sound that is silent altogether stays as it is,
    and so does what follows the first sound."""
    block = round(rate * _BLOCK) * 2
    kept, most = round(rate * KEPT) * 2, round(rate * MOST) * 2
    held, at = b"", 0
    rest = iter(pieces)
    for piece in rest:
        held += piece
        while at + block <= len(held) and at < most and rms(held[at : at + block]) < AUDIBLE:
            at += block
        if at + block <= len(held) or at >= most:
            yield held[max(0, at - kept) :]
            break
    else:
        if held:
            yield held
    yield from rest
