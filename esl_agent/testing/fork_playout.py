"""What jambonz's mod_audio_fork does with the sound it is sent: held back, played, thrown away. Pure.

By its lws_glue.cpp: the first 1280 samples are collected before any is played, then 640 at a time; ``stop_play``
empties what is ready and leaves what is still collected.
"""

from __future__ import annotations

from esl_agent.testing.line import LiveRate

FIRST_SAMPLES, LOT_SAMPLES = 1280, 640


class ForkPlayout:
    """``rate``: of what is sent; ``line``: of the channel."""

    def __init__(self, rate: int, line: int) -> None:
        self._rerate = None if rate == line else LiveRate(rate, line)
        self._collected = bytearray()
        self._ready = bytearray()
        self._threshold = FIRST_SAMPLES * 2

    def feed(self, pcm: bytes) -> None:
        self._collected += pcm
        if len(self._collected) >= self._threshold:
            self._threshold = LOT_SAMPLES * 2
            lot = bytes(self._collected)
            self._ready += lot if self._rerate is None else self._rerate.frame(lot)
            self._collected.clear()

    def clear(self) -> None:
        """``stop_play``."""
        self._ready.clear()

    def take(self, size: int) -> bytes:
        """What is heard in these 20 ms; shorter or empty where there is less."""
        piece = bytes(self._ready[:size])
        del self._ready[:size]
        return piece
