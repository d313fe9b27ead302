"""The sound of an utterance that is still being spoken: read in a thread, looked at meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from esl_agent.audio.pcm import rms
from esl_agent.audio.vad import VadSettings, VoiceDetector
from esl_agent.errors import ProviderError
from esl_agent.providers import utterance

#: Seconds of sound that one look for voice takes.
_FRAME = 0.02
#: When in doubt, voiced: quiet is what nobody transcribes.
_VAD = VadSettings(aggressiveness=1, min_volume=150, adapt=False)


class HeardSoFar:
    """``pcm`` grows until ``is_ended``. ``voiced_until``: bytes up to the end of the last voiced frame."""

    def __init__(self, audio: Iterator[bytes], rate: int, wanted: int = 0) -> None:
        """Starts to read; ``pcm`` is at ``wanted`` samples a second (0: at ``rate``). The thread ends with ``audio``,
        whoever still wants it."""
        self.pcm = bytearray()
        self.rate = wanted or rate
        self._rate_in = rate
        self.voiced_until = 0
        self.is_ended = False
        self._audio = audio
        self._error: ProviderError | None = None
        self._more = threading.Condition()
        threading.Thread(target=self._read, name="provider hearing", daemon=True).start()

    @property
    def quiet(self) -> float:
        """Seconds since the last voiced frame."""
        return (len(self.pcm) - self.voiced_until) / 2 / self.rate

    def wait(self, seconds: float) -> None:
        """Until there is more, the end, or so many seconds are over. Raises what reading it raised."""
        with self._more:
            if not self.is_ended:
                self._more.wait(seconds)
        if self._error is not None:
            raise self._error

    def quietest(self, start: int, end: int) -> int:
        """Where between two offsets 0.2 s are the quietest: a place to cut, in whole samples."""
        step = int(self.rate * 0.1) * 2
        levels = [(rms(bytes(self.pcm[at - step : at + step])), at) for at in range(start + step, end - step + 1, step)]
        return min(levels)[1] if levels else end

    def _read(self) -> None:
        voice = VoiceDetector(_VAD, self.rate)
        size = int(self.rate * _FRAME) * 2
        try:
            for frame in utterance.sound(self._audio, self._rate_in, self.rate, chunk=_FRAME):
                is_voiced = len(frame) == size and voice.is_voiced(frame)
                with self._more:
                    self.pcm += frame
                    if is_voiced:
                        self.voiced_until = len(self.pcm)
                    self._more.notify_all()
        except ProviderError as error:  # told to whoever waits
            self._error = error
        finally:
            with self._more:
                self.is_ended = True
                self._more.notify_all()
