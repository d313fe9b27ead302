"""What a caller hears while somebody is called for him, where we play his sound ourselves: a tone and a pause. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from esl_agent.audio.pcm import Sound

#: One period of a tone as FreeSWITCH's tone_stream writes it: milliseconds on and off, one or two frequencies (Hz).
_TONE = re.compile(r"(?:tone_stream://)?%\((\d{1,5}),(\d{1,5}),(\d{2,4}(?:\.\d+)?)(?:,(\d{2,4}(?:\.\d+)?))?\)")
#: North America's, which everybody knows from films.
USUAL = "%(2000,4000,440,480)"
RATE = 8000
#: Each frequency's amplitude: the tone is -19 dBm0, as ITU-T Q.35 has it for ring-back.
_AMPLITUDE = 2000.0
_FADE_SECONDS = 0.005


@lru_cache(maxsize=16)
def ring_back(written: str) -> Sound | None:
    """One period of it: tone, then silence. ``written`` is ``transfer.ringback``; a stream that only FreeSWITCH has
    (``local_stream://moh``) becomes the usual tone. None for nothing: the operator wants silence."""
    if not written.strip():
        return None
    found = _TONE.fullmatch(written.strip()) or _TONE.fullmatch(USUAL)
    assert found is not None
    on, off = int(found[1]) / 1000, int(found[2]) / 1000
    times = np.arange(round(on * RATE)) / RATE
    tone = sum((np.sin(2 * np.pi * float(each) * times) for each in found.groups()[2:] if each), np.zeros(times.size))
    edge = min(times.size, round(_FADE_SECONDS * RATE))
    slope = np.linspace(0.0, 1.0, edge)
    tone[:edge] *= slope
    tone[times.size - edge :] *= slope[::-1]
    pcm = (tone * _AMPLITUDE).astype("<i2").tobytes() + bytes(round(off * RATE) * 2)
    return Sound(pcm, RATE) if pcm else None
