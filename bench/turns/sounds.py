"""What is on a telephone line and is no speech: noises, coughs, clicks, tones. Made here; floats, full scale 32768.

``noise(kind, ...)`` is as loud as asked in dBFS (RMS). Everything is the same for the same seed.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from bench.turns.speech import band, levelled, said, texts

NOISES = ("white", "pink", "hum", "babble")
DIGITS = {
    key: (low, high)
    for low, row in zip((697, 770, 852, 941), ("123A", "456B", "789C", "*0#D"), strict=True)
    for high, key in zip((1209, 1336, 1477, 1633), row, strict=True)
}
#: How many speak at once in the babble.
VOICES = 6


def noise(kind: str, rate: int, seconds: float, level: float, seed: int) -> np.ndarray:
    """``seconds`` of one of NOISES at ``level`` dBFS."""
    count = round(rate * seconds)
    samples = band(_RAW[kind](rate, count, np.random.default_rng(seed)), rate)
    return samples * (amplitude(level) / np.sqrt(np.mean(samples**2)))


def amplitude(level: float) -> float:
    return float(32768 * 10 ** (level / 20))


def cough(rate: int, seed: int, level: float = -20.0) -> np.ndarray:
    """A burst of noise (0.06 s), a voiceless stretch that decays: 0.2 to 0.5 s, one or two of them."""
    random = np.random.default_rng(seed)
    count = round(random.uniform(0.2, 0.5) * rate)
    time = np.arange(count) / rate
    shape = np.exp(-time / 0.03) + 0.35 * np.exp(-time / random.uniform(0.08, 0.16))
    shape *= np.clip(time / 0.004, 0, 1) * np.clip((time[-1] - time) / 0.02, 0, 1)
    spectrum = np.fft.rfft(random.normal(size=count))
    hertz = np.fft.rfftfreq(count, 1 / rate)
    for centre in random.uniform((450, 1300, 2300), (750, 1800, 3200)):
        spectrum *= 1 + 3 * np.exp(-(((hertz - centre) / 250) ** 2))
    samples = np.fft.irfft(spectrum / (1 + hertz / 1500), count) * shape
    return levelled(band(samples, rate), rate, level)


def clicks(rate: int, seed: int, level: float = -6.0) -> np.ndarray:
    """One to four clicks of 1 to 5 ms within 0.4 s; ``level`` is their peak."""
    random = np.random.default_rng(seed)
    samples = np.zeros(round(0.4 * rate))
    for _ in range(random.integers(1, 5)):
        count = round(random.uniform(0.001, 0.005) * rate)
        at = random.integers(0, len(samples) - count)
        samples[at : at + count] += random.normal(size=count) * np.exp(-np.arange(count) / (0.3 * count))
    samples = band(samples, rate)
    return samples * (amplitude(level) / np.max(np.abs(samples)))


def dtmf(rate: int, seed: int, level: float = -16.0) -> np.ndarray:
    """Three digits of 80 to 150 ms with 60 to 120 ms between them; ``level`` is each tone's peak."""
    random = np.random.default_rng(seed)
    pieces: list[np.ndarray] = []
    for key in random.choice(list("0123456789*#"), 3):
        pieces += [_tones(rate, random.uniform(0.08, 0.15), DIGITS[key], level)]
        pieces += [np.zeros(round(random.uniform(0.06, 0.12) * rate))]
    return np.concatenate(pieces[:-1])


def ring_back(rate: int, seed: int, level: float = -19.0) -> np.ndarray:
    """Two seconds, of the United States, the United Kingdom (0.4 on, 0.2 off) or the rest of Europe."""
    match seed % 3:
        case 0:
            return _tones(rate, 2.0, (440, 480), level)
        case 1:
            ring = _tones(rate, 0.4, (400, 450), level)
            return np.concatenate([ring, np.zeros(round(0.2 * rate)), ring])
        case _:
            return _tones(rate, 1.0, (425,), level)


def busy(rate: int, seed: int, level: float = -19.0) -> np.ndarray:
    """Three beats, of the United States or of Europe."""
    tones, on = (((480, 620), 0.5), ((425,), 0.48))[seed % 2]
    beat = [_tones(rate, on, tones, level), np.zeros(round(on * rate))]
    return np.concatenate((beat * 3)[:-1])


def beep(rate: int, seed: int, level: float = -16.0) -> np.ndarray:
    """An answering machine's beep: 0.3 to 0.6 s at 700 to 1400 Hz."""
    random = np.random.default_rng(seed)
    return _tones(rate, random.uniform(0.3, 0.6), (random.uniform(700, 1400),), level)


def _tones(rate: int, seconds: float, hertz: tuple[float, ...], level: float) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    edge = np.clip(time / 0.003, 0, 1) * np.clip((seconds - time) / 0.003, 0, 1)
    return np.asarray(sum(np.sin(2 * np.pi * each * time) for each in hertz) * edge * amplitude(level))


def _white(rate: int, count: int, random: np.random.Generator) -> np.ndarray:
    return random.normal(size=count)


def _pink(rate: int, count: int, random: np.random.Generator) -> np.ndarray:
    spectrum = np.fft.rfft(random.normal(size=count))
    hertz = np.maximum(np.fft.rfftfreq(count, 1 / rate), 20)
    return np.fft.irfft(spectrum / np.sqrt(hertz), count)


def _hum(rate: int, count: int, random: np.random.Generator) -> np.ndarray:
    """Mains of 50 or 60 Hz with its harmonics; a narrow-band line lets the seventh and above through."""
    time = np.arange(count) / rate
    mains = random.choice((50.0, 60.0))
    samples = 0.02 * random.normal(size=count)
    for harmonic in range(1, 40):
        samples += np.sin(2 * np.pi * mains * harmonic * time + random.uniform(0, 6.28)) / harmonic
    return samples


def _babble(rate: int, count: int, random: np.random.Generator) -> np.ndarray:
    samples = np.zeros(count)
    for _ in range(VOICES):
        track = _voice(rate)
        samples += np.resize(np.roll(track, -random.integers(0, len(track))), count)
    return samples


@cache
def _voice(rate: int) -> np.ndarray:
    """All sentences, one after another."""
    return np.concatenate([said(name, rate).samples for name, text in texts().items() if len(text.split()) > 3])


_RAW = {"white": _white, "pink": _pink, "hum": _hum, "babble": _babble}
