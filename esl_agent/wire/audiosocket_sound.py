"""What sound an AudioSocket connection carries, from its first frames; and G.711 that comes under PCM's name.

A kind of ``0x11`` or more says its rate, and so does ``0x10`` with 320 bytes. Other sizes under ``0x10`` have two
causes:

- An Asterisk before 20.17, 21.12, 22.7 and 23.1 labels every rate ``0x10``: with ``c(slin24)`` 960 bytes come for
  20 ms. It plays whatever comes back as 8 kHz, so the two directions have different rates.
- ``Dial(AudioSocket/...)`` without ``c(...)`` takes the caller's codec, on every version: 160 bytes of G.711 come for
  20 ms.

A caller's packets may also hold 10 to 60 ms instead of 20, so the time between frames is asked too. Which of the two
laws G.711 has nobody says: the one that sounds smoother is right, in 99 of 100 frames of speech at any level.
"""

from __future__ import annotations

import audioop
import math
from dataclasses import dataclass, replace

from esl_agent.audio.g711 import LAWS
from esl_agent.wire.audiosocket import RATES, SLIN

#: So many gaps between frames say how long a frame is; the shortest and the longest quarter do not count.
GAPS = 8
#: Where no two frames have one size it is decided after so many.
MOST_FRAMES = 32
#: Frames closer together were read at one moment, by somebody who was busy before.
TOGETHER = 0.002
#: How much sound an RTP packet holds where it is not 20 ms.
OTHER_LENGTHS = (0.010, 0.030, 0.040, 0.060)
USUAL_LENGTH = 0.020
#: Frames that must agree before the other law is believed, net of those that do not.
CONVINCED = 3
#: Frames of which both laws make nearly the same do not count.
_LEAST_DIFFERENCE = 4


@dataclass(frozen=True, slots=True)
class LineSound:
    """``kind`` labels the frames both ways; ``rate`` is of what comes, ``sends`` of what may be sent. ``law``: of G.711
    under PCM's name (``PCMU``, ``PCMA``), as far as is known; empty: it is PCM."""

    kind: int = SLIN
    rate: int = 8000
    law: str = ""

    @property
    def sends(self) -> int:
        return RATES[self.kind]

    @property
    def advice(self) -> str:
        """What to change in the dialplan, if anything."""
        if self.law:
            return (
                "G.711 comes labelled as PCM: the dialplan lacks the codec; "
                "write Dial(AudioSocket/host:port/uuid/c(slin)) or, since 20.17 and 22.7, c(slin24)"
            )
        if self.rate != self.sends:
            return (
                f"sound at {self.rate} Hz comes labelled 8000 Hz: this Asterisk is older than 20.17, 21.12, 22.7 or "
                "23.1 and plays ours at 8000 Hz; write c(slin) in Dial(AudioSocket/...), or take a newer Asterisk"
            )
        return ""


def _by_length(size: int, seconds: float) -> LineSound | None:
    """What frames of ``size`` bytes under 0x10 are, if each holds ``seconds``."""
    samples = size / seconds
    if abs(samples - 8000) < 1:
        return LineSound(law="PCMU")
    rate = next((rate for rate in RATES.values() if abs(rate * 2 - samples) < 101), None)
    return None if rate is None else LineSound(SLIN, rate)


class Opening:
    """Told of every frame of sound until it knows what they are."""

    __slots__ = ("_arrived", "_count", "_finder", "_size")

    def __init__(self) -> None:
        self._size = self._count = 0
        self._arrived: list[float] = []
        self._finder = LawFinder()

    def hear(self, kind: int, payload: bytes, now: float) -> LineSound | None:
        """A frame came at ``now``. None: more are needed."""
        size = len(payload)
        if kind != SLIN or size == 320:
            return LineSound(kind, RATES[kind])
        if size != self._size:
            self._size = size
            self._arrived.clear()
        elif len(self._arrived) == 1 and now - self._arrived[0] < TOGETHER:
            self._arrived.clear()  # of the first that were read together only the last came in its time
        self._arrived.append(now)
        self._count += 1
        self._finder.decode(payload)
        is_clear = len(self._arrived) > GAPS and self._by_time(self._gap()) == self._by_time(self._mean())
        return self.decide() if is_clear or self._count >= MOST_FRAMES else None

    def decide(self) -> LineSound | None:
        """What it is, as far as is known by now; None if nothing came."""
        if not self._size:
            return None
        sound, other, usual = (self._by_time(each) for each in (self._gap(), self._mean(), USUAL_LENGTH))
        if other == usual:
            sound = usual
        return replace(sound, law=self._finder.law.name) if sound.law else sound

    def _by_time(self, measured: float) -> LineSound:
        """What frames of this size are that come ``measured`` seconds apart; 0: that is not known."""
        candidates = [
            (seconds, sound)
            for seconds in (USUAL_LENGTH, *OTHER_LENGTHS)
            if (sound := _by_length(self._size, seconds)) is not None
        ]
        if not candidates:
            return LineSound()
        return min(candidates, key=lambda each: abs(math.log(each[0] / (measured or USUAL_LENGTH))))[1]

    def _mean(self) -> float:
        """Seconds between frames from the first to the last; 0 where too few came."""
        count = len(self._arrived) - 1
        return (self._arrived[-1] - self._arrived[0]) / count if count >= GAPS // 2 else 0.0

    def _gap(self) -> float:
        """Seconds between frames, however late some were read; 0 where too few came."""
        gaps = sorted(after - before for before, after in zip(self._arrived, self._arrived[1:], strict=False))
        if len(gaps) < GAPS // 2:
            return 0.0
        middle = gaps[len(gaps) // 4 : len(gaps) - len(gaps) // 4]
        return sum(middle) / len(middle)


class LawFinder:
    """Decodes G.711 whose law is not known for sure: ``law`` until frames say otherwise."""

    __slots__ = ("_score", "law")

    def __init__(self, law: str = "PCMU") -> None:
        self.law = LAWS[law]
        self._score = 0  # above 0: mu-law

    def decode(self, payload: bytes) -> bytes:
        """PCM16 of it."""
        if len(payload) < 2:
            return self.law.decode(payload)
        mu, a = LAWS["PCMU"].decode(payload), LAWS["PCMA"].decode(payload)
        difference = _roughness(a) - _roughness(mu)
        if abs(difference) > _LEAST_DIFFERENCE:
            self._score = max(-50, min(50, self._score + (1 if difference > 0 else -1)))
        if self._score <= -CONVINCED:
            self.law = LAWS["PCMA"]
        elif self._score >= CONVINCED:
            self.law = LAWS["PCMU"]
        return mu if self.law.name == "PCMU" else a


def _roughness(pcm: bytes) -> int:
    """How far it goes from sample to sample, and from nought: of two readings the right one has less of both."""
    steps = audioop.add(pcm[2:], audioop.mul(pcm[:-2], 2, -1), 2)
    return audioop.rms(steps, 2) + audioop.rms(pcm, 2)
