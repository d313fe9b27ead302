"""Is this frame voiced? webrtcvad, a level that adapts to the line's noise, and the peak of an onset.

Lines differ by 20 dB, so no fixed threshold can be right for two of them; and webrtcvad alone takes babble and
hum for speech. Each frame must convince both: webrtcvad (shape) and the level gate (nearer than the noise). How much
nearer depends on how much the noise varies: white noise hardly does, so that 3 dB are enough and soft syllables are
heard; babble does, and a fixed distance would either let it through or miss the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import webrtcvad

from esl_agent.audio.pcm import peak, rms
from esl_agent.audio.resample import LineResampler
from esl_agent.setting import STRICT, setting

#: webrtcvad decides at 8 kHz, whatever it is given. Of these rates it filters down by itself in 1 us; 12 and 24 kHz it
#: does not know, and for 48 kHz it takes 13 us, where LineResampler takes 5 (bench.frame_budget).
VAD_RATES = (8000, 16000, 32000)
RESAMPLED = (12000, 24000, 48000)


@dataclass(frozen=True, slots=True)
class VadSettings:
    """Which frames count as voiced."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    aggressiveness: int = setting(
        2, "webrtcvad mode: 0 lets most through, 3 least.", ge=0, le=3, env="VAD_AGGRESSIVENESS"
    )
    min_volume: int = setting(
        500,
        "RMS level (0-32768) a frame needs to be voiced on a line whose noise is not known yet. The threshold in use "
        "follows the line's noise from there, between an eighth and sixteen times this value.",
        ge=0,
        le=20000,
        env="MIN_VOLUME_THRESHOLD",
    )
    adapt: bool = setting(True, "Let the level threshold follow the line's noise. Off: min_volume is the threshold.")


class VoiceDetector:
    """Decides frame by frame. Feed it every 20 ms frame of one call, in order.

    ``rate``: 8, 12, 16, 24, 32 or 48 kHz; ValueError for others.
    """

    #: A voiced frame is this much louder than the noise, and than the loudest of it (3 dB).
    OVER_NOISE = 1.4
    #: ... and by this more for noise that varies (babble: 2 to 1). In two hours of babble it leaves 3 onsets of 12.
    OVER_SPREAD = 0.1
    #: So many frames teach the noise quickly, whatever they are: nobody speaks in the first moment of a call.
    FIRST = 15
    #: The level gate opens for a frame whose peak is this many times the threshold: plosives and onsets are
    #: short, so their RMS over 20 ms understates them.
    ONSET_PEAK = 4.0

    __slots__ = (
        "_adapt",
        "_ceiling",
        "_first",
        "_floor",
        "_rate",
        "_resampler",
        "_vad",
        "level",
        "loudest",
        "noise",
        "threshold",
    )

    def __init__(self, settings: VadSettings, rate: int) -> None:
        self._vad = webrtcvad.Vad(settings.aggressiveness)
        self._resampler = LineResampler(rate, 8000) if rate in RESAMPLED else None
        self._rate = 8000 if rate in RESAMPLED else rate
        if self._rate not in VAD_RATES:
            raise ValueError(f"{rate} Hz: voices are detected at 8, 12, 16, 24, 32 and 48 kHz")
        self._adapt = settings.adapt
        self._floor = settings.min_volume / 8
        self._ceiling = settings.min_volume * 16
        self._first = self.FIRST if settings.adapt else 0
        self.threshold = float(settings.min_volume)
        self.noise = self.loudest = self.threshold / 3
        self.level = 0

    def is_voiced(self, frame: bytes) -> bool:
        """True if the frame is speech louder than this line's noise. ``level`` then holds its RMS."""
        level = self.level = rms(frame)
        loud = level >= self.threshold or (
            level * 2 >= self.threshold and peak(frame) >= self.threshold * self.ONSET_PEAK
        )
        voiced = loud and self._is_speech(frame)
        if self._first:
            self._learn_quickly(level)
        elif self._adapt and not voiced:
            self._learn(level)
        return voiced

    def _is_speech(self, frame: bytes) -> bool:
        if self._resampler is not None:
            frame = self._resampler.feed(frame)
        return bool(self._vad.is_speech(frame, self._rate))

    def _learn(self, level: int) -> None:
        """``noise`` falls quickly (half in 0.1 s) and rises slowly (half in about 1 s): a pause shows the true floor.
        ``loudest`` does the opposite: it follows what the noise rises to from time to time."""
        noise = self.noise
        self.noise = noise = noise + (level - noise) * (0.13 if level < noise else 0.014)
        loudest = self.loudest
        if level > loudest:
            self.loudest = loudest = loudest + (min(level, loudest * 4 + 1) - loudest) * 0.1
        else:
            self.loudest = loudest = loudest + (level - loudest) * 0.01
        top = loudest if loudest > noise else noise
        over = self.OVER_NOISE + self.OVER_SPREAD * min(top / (noise + 1) - 1, 1.5)
        self.threshold = min(max(top * over, self._floor), self._ceiling)

    def _learn_quickly(self, level: int) -> None:
        """``noise`` is the least of the first frames, ``loudest`` their mean within 8 dB of it: should somebody speak
        already, he hardly does so without a dip."""
        heard = self.FIRST - self._first
        self._first -= 1
        self.noise = min(self.noise, level) if heard else float(level)
        mean = self.loudest + (level - self.loudest) / (heard + 1)
        self.loudest = min(mean, self.noise * 2.5)
        self.threshold = min(max(self.loudest * self.OVER_NOISE, self._floor), self._ceiling)
