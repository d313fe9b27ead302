"""The caller's sound, frame by frame: when an utterance begins and when it has ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from esl_agent.audio.echo import Echo
from esl_agent.audio.pcm import FRAME_SECONDS, Sound, SoundStream
from esl_agent.audio.tones import tonal
from esl_agent.audio.vad import VadSettings
from esl_agent.dialogue.endpointing import Change, Endpointer, Mode
from esl_agent.dialogue.settings import CascadeSettings

__all__ = ["FRAMES_GONE", "Detector", "Ear", "Mode"]

#: In an utterance, this long past the silence that ends it without any frame ends it: the caller's sound stopped.
FRAMES_GONE = 1.0
#: The frames' clock lags behind ours by less than this, or it is set anew: frames come late in bunches, and get lost.
MAX_LATE = 0.2


class Detector(Protocol):
    """Decides whether a 20 ms frame is voiced."""

    def is_voiced(self, frame: bytes) -> bool: ...


class SecondOpinion(Protocol):
    """Asked seldom, so it may take a millisecond: whether the end of ``pcm`` is speech."""

    def __call__(self, pcm: bytes, rate: int) -> bool: ...


class Ear:
    """Deaf until ``open``; then feed it every frame. ``second_opinion`` has a say in speech over the agent."""

    def __init__(
        self,
        settings: CascadeSettings,
        make_detector: Callable[[VadSettings, int], Detector],
        second_opinion: SecondOpinion | None = None,
        language: str = "en",
    ) -> None:
        self._vad_settings = settings.vad
        self._endpointing = settings.endpointing
        self._make_detector = make_detector
        self._detector: Detector | None = None
        self._endpointer = Endpointer(settings.endpointing, settings.barge_in, self._doubt, language)
        self._second_opinion = second_opinion
        self._echo = Echo()
        self._rate = 0
        self._last_frame = 0.0
        self._frame_ended = 0.0
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
        self._rate = rate
        self._last_frame = now
        self._frame_ended = 0.0

    def hear(self, frame: bytes, now: float, *, over_agent: bool) -> Change | None:
        """What the next 20 ms frame changes. ``over_agent``: the agent is heard now, so more voice is needed."""
        if self._detector is None:
            return None
        self._last_frame = now
        ended = self._frame_ended + FRAME_SECONDS
        self._frame_ended = ended if ended <= now < ended + MAX_LATE else now
        voiced = self._detector.is_voiced(frame)
        if voiced and self._endpointer.is_speaking and now < self._echo.audible_until:
            voiced = not self._echo.covers(frame, self._rate, self._frame_ended)
        self.is_voiced = voiced
        return self._endpointer.feed(frame, voiced, now, over_agent=over_agent)

    def playing(self, audio: Sound | SoundStream, start: float, began: float) -> None:
        """The agent's sound ``audio`` is heard from time ``began`` on, from ``start`` seconds into it. Its echo is
        not the caller's voice. ``began`` may be wrong by 0.1 s."""
        self._echo.playing(audio, start, began)

    def silent(self, now: float) -> None:
        """The agent's sound stopped (or ended); its echo may still be on its way."""
        self._echo.silent(now)

    def understood(self, text: str, now: float) -> None:
        """Words of the open utterance so far, as a recogniser has them."""
        self._endpointer.understood(text)

    def speaks(self, language: str) -> None:
        """The caller's language from now on: which words leave a sentence open."""
        self._endpointer.speaks(language)

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

    def _doubt(self, frames: Sequence[bytes], voiced: Sequence[bool], now: float) -> list[bool]:
        """Which of the voiced ones of the newest ``frames`` are our own echo or a tone."""
        doubted = tonal(frames, voiced, self._rate)
        if now < self._echo.audible_until:
            echo = self._echo.explains(frames, self._rate, self._frame_ended)
            doubted = [each or ours for each, ours in zip(doubted, echo, strict=True)]
            if self._second_opinion is not None and any(v and not d for v, d in zip(voiced, doubted, strict=True)):
                is_speech = self._second_opinion(self._endpointer.memory(), self._rate)
                doubted = doubted if is_speech else [True] * len(frames)
        return doubted
