"""Is what we hear our own voice coming back?

What the agent plays returns from the far end: through a telephone's hybrid (some milliseconds long, 15-40 dB down) or
a loudspeaker and a room (longer, smeared). We know exactly what was played, so nothing has to be guessed: a short
filter is fitted that makes what was heard out of what was played. Echo is explained by it, a caller is not.

Measured over telephone-band speech (mu-law, noise at -65 dBFS), share of the energy of 220 ms that such a filter
explains at the best delay within 0.6 s: another voice 1-37 % (1st to 99th percentile), a pure echo 70-99 %, one through
a hybrid 62-99 %, one through a room 24-89 %.

Costs nothing until it is asked; the ear asks only when it would otherwise report an onset.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import soxr
from numpy.lib.stride_tricks import sliding_window_view

from esl_agent.audio.pcm import FRAME_SECONDS, Sound, SoundStream

Samples = npt.NDArray[np.float32]

#: Everything is compared at this rate: telephone echo has little above 4 kHz.
RATE = 8000
FRAME = round(RATE * FRAME_SECONDS)
#: The longest echo delay looked for, and how much earlier than told the sound may have been heard.
MAX_DELAY = 0.5
MAX_EARLY = 0.1
#: So long after the agent's last sound its echo may still arrive.
TAIL = 0.5
#: Taps of the fitted filter before and after the strongest one (1 and 3 ms).
TAPS_BEFORE = 8
TAPS_AFTER = 24
#: Search around a delay that is known, in samples (4 ms).
NEAR = 32
#: An echo's share of explained energy: sure; and enough for something ``FAINT`` (power) below what was played.
SURE = 0.5
LIKELY = 0.25
FAINT = 0.06
#: Louder than the known echo by this much (power): somebody speaks. 6 dB with pre-emphasis; or 9 dB without, where a
#: dull syllable shows over a sharp echo.
DOUBLE_TALK = (4.0, 8.0)
#: An echo is never nearer to what was played than this (power, -6 dB): else one loud frame could make us deaf.
MAX_COUPLING = 0.25
#: Energy per sample of no interest (pre-emphasised; the least step of mu-law).
_QUIET = 4.0


class Echo:
    """One per call. Times are those of the frames' clock."""

    __slots__ = ("_coupling", "_delay", "_heard", "_is_aligned", "audible_until")

    def __init__(self) -> None:
        self._heard: list[_Heard] = []
        self._delay: int | None = None
        self._coupling = [0.0, 0.0]
        self._is_aligned = False
        self.audible_until = 0.0
        """No echo of ours is to be expected after this."""

    def playing(self, audio: Sound | SoundStream, start: float, began: float) -> None:
        """``audio``, from ``start`` seconds into it, is heard by the caller from ``began`` on."""
        for each in self._heard:
            each.until = min(each.until, began)
        self._heard = [each for each in self._heard if each.until > began - MAX_DELAY - TAIL]
        self._heard.append(_Heard(audio, start, began))
        self._is_aligned = False
        self.audible_until = float("inf")

    def silent(self, now: float) -> None:
        """The agent is not heard any more."""
        for each in self._heard:
            each.until = min(each.until, now)
        self.audible_until = min(self.audible_until, now + TAIL)

    @property
    def delay(self) -> float | None:
        """Seconds from a sound played to its echo, once one was heard."""
        return None if self._delay is None else self._delay / RATE

    def explains(self, frames: Sequence[bytes], rate: int, ended: float) -> list[bool]:
        """Which of ``frames`` (consecutive, the last one ``ended`` then) are our own voice."""
        plain = _at_rate(b"".join(frames), rate)
        heard = _emphasise(plain)
        early, late = round(MAX_EARLY * RATE), round(MAX_DELAY * RATE)
        sound = self._played(ended - len(heard) / RATE - MAX_DELAY, len(heard) + late + early)
        played = _emphasise(sound)
        if not played.any():
            return [False] * len(frames)
        energy = _energies(heard)
        scaled = heard * np.repeat(1 / np.sqrt(energy + 0.1 * energy.mean() + _QUIET), FRAME)
        found = None
        if self._delay is not None:
            near = late - self._delay
            found = _fit(heard, scaled, played, max(0, near - NEAR), near + NEAR)
        if found is None or found.share < SURE:
            wide = _fit(heard, scaled, played, 0, late + early)
            if found is None or wide.share > max(found.share, SURE):
                found = wide
        usual = max(FAINT, DOUBLE_TALK[0] * self._coupling[0])
        if found.share >= SURE or (found.share >= LIKELY and energy.mean() < usual * found.played.mean()):
            self._delay = late - found.offset
            # The echo of the clip before tells nothing about when the newest one really began.
            self._is_aligned = ended - (len(heard) / 2 + self._delay) / RATE > self._heard[-1].began
            self._couple(energy, _smeared(played, found.offset, len(heard)), 0)
            self._couple(_energies(plain), _smeared(sound, found.offset, len(heard)), 1)
        elif not self._coupling[0]:
            return [False] * len(frames)
        expected = [self._expected(each, late, len(heard), number) for number, each in enumerate((played, sound))]
        return [bool(each) for each in (energy <= expected[0]) & (_energies(plain) <= expected[1])]

    def _couple(self, heard: Samples, played: Samples, which: int) -> None:
        """Learn how much of what is played comes back, from both powers per frame."""
        coupling = min(float(np.median(heard / (played + _QUIET))), MAX_COUPLING)
        known = self._coupling[which]
        self._coupling[which] = known + (coupling - known) * (0.3 if known else 1.0)

    def _expected(self, played: Samples, late: int, size: int, which: int) -> Samples:
        """The most power per frame that is still echo. ``played`` begins ``late`` samples before what was heard. While
        the delay is known from another clip only, its uncertainty counts too."""
        early = round(MAX_EARLY * RATE)
        shifts = (0,) if self._is_aligned else (-early, 0, early)
        places = [min(max(0, late - (self._delay or 0) + shift), late + early) for shift in shifts]
        loudest = np.maximum.reduce([_smeared(played, place, size) for place in places])
        most: Samples = DOUBLE_TALK[which] * (self._coupling[which] * loudest + _QUIET)
        return most

    def covers(self, frame: bytes, rate: int, ended: float) -> bool:
        """Whether the known echo may be as loud as ``frame``; cheaper than ``explains``, and learns nothing."""
        if self._delay is None:
            return False
        lead = 3 * FRAME
        sound = self._played(ended - (self._delay + FRAME + lead) / RATE, FRAME + lead)
        heard = _emphasise(_at_rate(frame, rate))
        loudest = float(_smeared(_emphasise(sound), lead, FRAME)[0])
        return float(heard @ heard) / FRAME <= DOUBLE_TALK[0] * (self._coupling[0] * loudest + _QUIET)

    def _played(self, since: float, samples: int) -> Samples:
        """What the agent played from ``since`` on; zeros where it was silent."""
        out = np.zeros(samples, np.float32)
        for each in self._heard:
            each.mix_into(out, since)
        return out


class _Heard:
    """A stretch of the agent's sound and when it was heard."""

    __slots__ = ("audio", "began", "start", "until")

    def __init__(self, audio: Sound | SoundStream, start: float, began: float) -> None:
        self.audio = audio
        self.start = start
        self.began = began
        self.until = float("inf")

    def mix_into(self, out: Samples, since: float) -> None:
        """Put into ``out``, which begins at ``since``, what was heard of it then."""
        first = max(0, round((self.began - since) * RATE))
        last = min(len(out), round(min(self.until - since, 1e3) * RATE))
        if last <= first:
            return
        place = round((since - self.began + self.start) * RATE) + first
        sound = _excerpt(self.audio, max(0, place), last - first)
        out[first : first + len(sound)] = sound


class _Fit:
    """The best filter: where it is, which share of what was heard it explains, and the played power per frame there."""

    __slots__ = ("offset", "played", "share")

    def __init__(self, offset: int, share: float, played: Samples) -> None:
        self.offset = offset
        self.share = share
        self.played = played


def _fit(heard: Samples, scaled: Samples, played: Samples, first: int, last: int) -> _Fit:
    """Fit ``played``, shifted by some offset in ``first..last``, to ``heard``. ``scaled``: every frame counts alike."""
    size = len(heard)
    offset = first + _best_offset(scaled, played[first : last + size])
    lead = np.zeros(TAPS_AFTER, np.float32)
    around = np.concatenate([lead, played, np.zeros(TAPS_BEFORE, np.float32)])
    rows = sliding_window_view(around[offset : offset + size + TAPS_AFTER + TAPS_BEFORE], size)
    weights = np.divide(scaled, heard, out=np.zeros_like(heard), where=heard != 0)
    weighted = rows * weights
    matrix = weighted @ weighted.T
    matrix[np.diag_indices_from(matrix)] += 0.01 * np.trace(matrix) / len(matrix) + 1e-6
    target = weighted @ scaled
    taps = np.linalg.solve(matrix, target)
    rest = scaled - taps @ weighted
    share = 1 - float(rest @ rest) / (float(scaled @ scaled) + 1e-9)
    return _Fit(offset, share, _smeared(played, offset, size))


def _best_offset(heard: Samples, played: Samples) -> int:
    """Where in ``played`` something like ``heard`` begins, by normalised correlation of either sign."""
    size = 1 << (len(played) - 1).bit_length()
    spectrum = np.fft.rfft(played, size) * np.conj(np.fft.rfft(heard, size))
    product = np.fft.irfft(spectrum, size)[: len(played) - len(heard) + 1]
    sums = np.concatenate([[0.0], np.cumsum(np.square(played, dtype=np.float64))])
    energy = sums[len(heard) :] - sums[: -len(heard)]
    return int(np.argmax(np.square(product) / (energy + 1e-3 * energy.max() + 1)))


def _smeared(played: Samples, offset: int, size: int) -> Samples:
    """Power of ``played`` per frame from ``offset`` on; each frame as loud as the loudest of itself and the two before,
    for an echo rings on."""
    lead = min(offset, 2 * FRAME)
    padded = np.concatenate([np.zeros(2 * FRAME - lead, np.float32), played[offset - lead : offset + size]])
    power = _energies(np.pad(padded, (0, 2 * FRAME + size - len(padded))))
    return np.maximum(np.maximum(power[2:], power[1:-1]), power[:-2])


def _energies(samples: Samples) -> Samples:
    """Mean power of each frame."""
    power: Samples = np.square(samples).reshape(-1, FRAME).mean(axis=1)
    return power


def _emphasise(samples: Samples) -> Samples:
    """The first difference: speech is flatter so, and unlike voices correlate less."""
    return np.diff(samples, prepend=samples[:1])


def _at_rate(pcm: bytes | bytearray, rate: int) -> Samples:
    """``pcm`` at ``RATE``."""
    samples = np.frombuffer(bytes(pcm), "<i2").astype(np.float32)
    return samples if rate == RATE else soxr.resample(samples, rate, RATE, quality="LQ")


def _excerpt(audio: Sound | SoundStream, first: int, count: int) -> Samples:
    """``count`` samples at ``RATE`` from number ``first`` on, fewer at the sound's end. Whatever the rate, the sound is
    cut at multiples of 40 ms, which are whole samples at both rates, with one more on either side."""
    if audio.rate == RATE:
        return _at_rate(audio.pcm[first * 2 : (first + count) * 2], RATE)
    ours, theirs = RATE // 25, audio.rate // 25
    begin = max(0, first // ours - 1)
    end = (first + count) // ours + 2
    sound = _at_rate(audio.pcm[begin * theirs * 2 : end * theirs * 2], audio.rate)
    return sound[first - begin * ours : first - begin * ours + count]
