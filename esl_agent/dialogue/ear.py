"""The caller's sound, frame by frame: when an utterance begins and when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.audio.vad import VadSettings
from esl_agent.dialogue.endpointing import Change, Endpointer, Mode
from esl_agent.dialogue.settings import CascadeSettings

__all__ = ["FRAMES_GONE", "Detector", "Ear", "Mode"]

#: In an utterance, this long past the silence that ends it without any frame ends it: the caller's sound stopped.
FRAMES_GONE = 1.0


class Detector(Protocol):
    """Decides whether a 20 ms frame is voiced."""

    def is_voiced(self, frame: bytes) -> bool: ...


class Ear:
    """Deaf until ``open``; then feed it every frame."""

    def __init__(self, settings: CascadeSettings, make_detector: Callable[[VadSettings, int], Detector]) -> None:
        self._vad_settings = settings.vad
        self._endpointing = settings.endpointing
        self._make_detector = make_detector
        self._detector: Detector | None = None
        self._endpointer = Endpointer(settings.endpointing, settings.barge_in)
        self._last_frame = 0.0
        self.is_voiced = False
        """Whether the newest frame is the caller's voice."""

    @property
    def is_open(self) -> bool:
        return self._detector is not None

    @property
    def onset(self) -> float:
        """When the newest utterance's voice began."""
        return self._endpointer.onset

    @property
    def last_voiced(self) -> float:
        """When the caller was last heard to speak."""
        return self._endpointer.last_voiced

    @property
    def voiced_frames(self) -> int:
        """Voiced frames within the window in which an onset is looked for: at BEGAN, what has been heard of it."""
        return self._endpointer.voiced_frames

    def open(self, rate: int, now: float) -> None:
        """The caller's sound arrives, at ``rate`` samples a second. Noise is learned anew."""
        self._detector = self._make_detector(self._vad_settings, rate)
        self._last_frame = now

    def hear(self, frame: bytes, now: float, *, over_agent: bool) -> Change | None:
        """What the next 20 ms frame changes. ``over_agent``: the agent is heard now, so more voice is needed."""
        if self._detector is None:
            return None
        self._last_frame = now
        voiced = self.is_voiced = self._detector.is_voiced(frame)
        return self._endpointer.feed(frame, voiced, now, over_agent=over_agent)

    def playing(self, audio: Sound | SoundStream, start: float, began: float) -> None:
        """The agent's sound ``audio`` is heard from time ``began`` on, from ``start`` seconds into it. Its echo is
        not the caller's voice. ``began`` may be wrong by 0.1 s."""

    def silent(self, now: float) -> None:
        """The agent's sound stopped (or ended); its echo may still be on its way."""

    def understood(self, text: str, now: float) -> None:
        """Words of the open utterance so far, as a recogniser has them."""
        self._endpointer.understood(text)

    def listen_for(self, mode: Mode) -> None:
        """What kind of answer is awaited from now on; it holds until the next call."""
        self._endpointer.listen_for(mode)

    def pre_roll(self) -> bytes:
        """The sound that led up to the utterance, its onset included."""
        return self._endpointer.pre_roll()

    def rest(self) -> None:
        """Forget the utterance: wait for the next onset."""
        self._endpointer.rest()

    def utterance_ends_by(self, opened_at: float) -> float:
        """When an utterance is over at the latest: too long, or its frames stopped coming."""
        settings = self._endpointing
        return min(opened_at + settings.max_utterance, self._last_frame + self._endpointer.silence + FRAMES_GONE)
