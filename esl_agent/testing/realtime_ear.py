"""How a pretend realtime service hears: sound in one of three formats, and a caller who speaks or does not."""

from __future__ import annotations

import audioop
from dataclasses import dataclass
from typing import Any, Literal

from esl_agent.audio.g711 import LAWS
from esl_agent.audio.resample import VoiceResampler
from esl_agent.testing.realtime_script import RATE

#: How a session names a format -> (rate, law of G.711 or none).
FORMATS: dict[str, tuple[int, str]] = {
    "audio/pcm": (RATE, ""),
    "audio/pcmu": (8000, "PCMU"),
    "audio/pcma": (8000, "PCMA"),
    "pcm16": (RATE, ""),
    "g711_ulaw": (8000, "PCMU"),
    "g711_alaw": (8000, "PCMA"),
}
#: Voice in a row that is the beginning of speech, milliseconds.
ONSET_MS = 60
#: Loudness (RMS of PCM16) that is voice at threshold 1.0.
LOUD = 1000.0
#: Silence that ends a turn with semantic_vad, by its eagerness.
PATIENCE_MS = {"low": 1200, "medium": 600, "auto": 600, "high": 300}


def decoded(sound: bytes, format: str) -> tuple[bytes, int]:
    """(PCM16, rate)"""
    rate, law = FORMATS[format]
    return (LAWS[law].decode(sound) if law else sound), rate


def encoded(pcm: bytes, format: str) -> bytes:
    """PCM16 at RATE as ``format`` has it."""
    rate, law = FORMATS[format]
    if rate != RATE:
        pcm = VoiceResampler(RATE, rate).feed(pcm, last=True)
    return LAWS[law].encode(pcm) if law else pcm


def bytes_per_ms(format: str) -> int:
    rate, law = FORMATS[format]
    return rate // 1000 * (1 if law else 2)


@dataclass(slots=True)
class Ear:
    """Speech by loudness, in steps of 20 ms of the sound that came, whenever it came."""

    settings: dict[str, Any]
    """``turn_detection`` of the session."""
    rate: int = RATE
    at_ms: int = 0
    is_speech: bool = False
    _rest: bytes = b""
    _loud_ms: int = 0
    _quiet_ms: int = 0

    def hear(self, pcm: bytes) -> list[tuple[Literal["started", "stopped"], int]]:
        """What ``pcm`` begins and ends, each with when, in milliseconds of all sound so far."""
        found: list[tuple[Literal["started", "stopped"], int]] = []
        step = self.rate // 50 * 2
        pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % step
        self._rest = pcm[whole:]
        for at in range(0, whole, step):
            self.at_ms += 20
            is_loud = audioop.rms(pcm[at : at + step], 2) > LOUD * self.settings.get("threshold", 0.5)
            self._loud_ms = self._loud_ms + 20 if is_loud else 0
            self._quiet_ms = 0 if is_loud else self._quiet_ms + 20
            if not self.is_speech and self._loud_ms >= ONSET_MS:
                self.is_speech = True
                padding = self.settings.get("prefix_padding_ms", 300)
                found.append(("started", max(0, self.at_ms - ONSET_MS - padding)))
            elif self.is_speech and self._quiet_ms >= self._silence_ms:
                self.is_speech = False
                found.append(("stopped", self.at_ms - self._quiet_ms))
        return found

    @property
    def _silence_ms(self) -> int:
        if self.settings.get("type") == "semantic_vad":
            return PATIENCE_MS[self.settings.get("eagerness", "auto")]
        silence: int = self.settings.get("silence_duration_ms", 500)
        return silence
