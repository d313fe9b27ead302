"""The caller's sound, frame by frame: when an utterance begins and when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from esl_agent.audio.vad import VadSettings
from esl_agent.dialogue.endpointing import Change, Endpointer
from esl_agent.dialogue.settings import CascadeSettings

#: In an utterance, this long past endpointing.silence without any frame ends it: the caller's sound stopped.
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

    def open(self, rate: int, now: float) -> None:
        """The caller's sound arrives, at ``rate`` samples a second. Noise is learned anew."""
        self._detector = self._make_detector(self._vad_settings, rate)
        self._last_frame = now

    def hear(self, frame: bytes, now: float, *, over_agent: bool) -> Change | None:
        """What the next 20 ms frame changes. ``over_agent``: the agent is heard now, so more voice is needed."""
        if self._detector is None:
            return None
        self._last_frame = now
        return self._endpointer.feed(frame, self._detector.is_voiced(frame), now, over_agent=over_agent)

    def pre_roll(self) -> bytes:
        """The sound that led up to the utterance, its onset included."""
        return self._endpointer.pre_roll()

    def rest(self) -> None:
        """Forget the utterance: wait for the next onset."""
        self._endpointer.rest()

    def utterance_ends_by(self, opened_at: float) -> float:
        """When an utterance is over at the latest: too long, or its frames stopped coming."""
        settings = self._endpointing
        return min(opened_at + settings.max_utterance, self._last_frame + settings.silence + FRAMES_GONE)
