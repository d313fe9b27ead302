"""WAV files of a pretend call: what ``playback`` reads and the recording it leaves."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import numpy as np

from esl_agent.audio.pcm import Sound
from esl_agent.testing.line import resample

#: Files kept in memory; prompts repeat.
KEPT_FILES = 200


class SoundFiles:
    """WAV files for ``playback``, resampled to the channel's rate; only their length if nobody listens."""

    def __init__(self, rate: int, is_heard: bool) -> None:
        self._rate = rate
        self._is_heard = is_heard
        self._kept: dict[tuple[str, int, int], Sound] = {}

    def load(self, path: str) -> Sound | None:
        """The sound of ``path``, or None: not there, or no PCM16 mono WAV."""
        try:
            stat = os.stat(path)
            key = (path, stat.st_mtime_ns, stat.st_size)
            kept = self._kept.get(key)
            if kept is None:
                kept = self._kept[key] = self._read(path)
                while len(self._kept) > KEPT_FILES:
                    del self._kept[next(iter(self._kept))]
            return kept
        except (OSError, EOFError, wave.Error, ValueError):
            return None

    def heard(self) -> dict[str, Sound]:
        """The newest KEPT_FILES files by path; empty if nobody listens."""
        return {path: sound for (path, _, _), sound in self._kept.items()} if self._is_heard else {}

    def _read(self, path: str) -> Sound:
        with wave.open(path, "rb") as file:
            rate, count = file.getframerate(), file.getnframes()
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise ValueError(f"{path}: expected PCM16 mono")
            if not self._is_heard:
                return Sound(bytes(count * 2), rate)
            return resample(Sound(file.readframes(count), rate), self._rate)


class Recording:
    """Both sides of a call on one clock. Kept in memory, written once: left the caller, right the agent."""

    def __init__(self, path: Path | None, rate: int) -> None:
        self._path = path
        self._rate = rate
        self._left: list[bytes] = []
        self._right: list[bytes] = []

    def add(self, said: bytes, heard: bytes) -> None:
        """20 ms of both sides."""
        self._left.append(said)
        self._right.append(heard)

    def heard(self) -> bytes:
        return b"".join(self._right)

    def finish(self) -> None:
        """Write the file, if one is wanted. Idempotent."""
        path, self._path = self._path, None
        if path is None or not self._left:
            return
        left = np.frombuffer(b"".join(self._left), "<i2")
        right = np.frombuffer(b"".join(self._right), "<i2")
        with wave.open(str(path), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(self._rate)
            file.writeframes(np.column_stack([left, right]).tobytes())
