"""The sound of a speech-to-speech agent: which format a line and an agent have in common, and what lies between them.

A line of 24 kHz and an agent of 24 kHz pass PCM16 through untouched, both ways. A line of 8 kHz gets G.711: what came
over a telephone line is companded again without a loss, and the agent's answer is what the line would have made of it.
Any other line is resampled towards the agent; what the agent says keeps its rate, the leg's playout sees to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from esl_agent.audio.g711 import G711, LAWS, RATE
from esl_agent.audio.pcm import SoundFormat
from esl_agent.audio.resample import Resampler, line_resampler

Law = Literal["ulaw", "alaw"]


def chosen(formats: Sequence[SoundFormat], rate: int, law: Law = "ulaw") -> SoundFormat:
    """Which of an agent's ``formats`` (at least one, the preferred first) suits a line of ``rate`` samples a second:
    PCM of that rate, else G.711 for 8 kHz (``law`` rather than the other), else PCM that keeps all of the line."""
    pcm = [each for each in formats if each.encoding == "pcm"]
    for each in pcm:
        if each.rate == rate:
            return each
    companded = [each for each in formats if each.encoding != "pcm"]
    if companded and rate == RATE:
        return next((each for each in companded if each.encoding == law), companded[0])
    return next((each for each in pcm if each.rate >= rate), (*pcm, *formats)[0])


def _law(sound: SoundFormat) -> G711 | None:
    return None if sound.encoding == "pcm" else LAWS["PCMU" if sound.encoding == "ulaw" else "PCMA"]


class ToAgent:
    """The caller's frames, PCM16 at ``rate``, as the agent takes them."""

    __slots__ = ("_law", "_resampler", "rate")

    def __init__(self, rate: int, sound: SoundFormat) -> None:
        self.rate = rate
        self._law = _law(sound)
        self._resampler: Resampler | None = line_resampler(rate, sound.rate)

    @property
    def is_passthrough(self) -> bool:
        """Frames leave as they came."""
        return self._law is None and self._resampler is None

    def feed(self, pcm: bytes) -> bytes:
        """Nothing, where a resampler holds all of it back."""
        if self._resampler is not None:
            pcm = self._resampler.feed(pcm)
        return pcm if self._law is None else self._law.encode(pcm)


class FromAgent:
    """One item's sound, in pieces of any length, as PCM16 at the format's own rate."""

    __slots__ = ("_law", "_odd", "rate")

    def __init__(self, sound: SoundFormat) -> None:
        self.rate = sound.rate
        self._law = _law(sound)
        self._odd = b""

    def feed(self, sound: bytes) -> bytes:
        """Whole samples."""
        if self._law is not None:
            return self._law.decode(sound)
        if not self._odd and not len(sound) % 2:
            return sound
        sound = self._odd + sound
        whole = len(sound) // 2 * 2
        self._odd = sound[whole:]
        return sound[:whole]
