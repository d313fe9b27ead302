"""One clause on its way to the caller's ear: asked for, made, with the leg, heard."""

from __future__ import annotations

from dataclasses import dataclass

from esl_agent.audio.pcm import Sound, SoundStream

#: Until a stream's length is known: seconds of speech for each character of its text.
SECONDS_A_CHARACTER = 0.06
#: Of a clause whose voice failed in the middle no more than this share of its words is in the sound there is.
BROKEN = 0.9


@dataclass(slots=True)
class ClipState:
    """One clause on its way to the caller's ear."""

    number: int
    text: str
    is_filler: bool = False
    sound: Sound | SoundStream | None = None
    whole_at: float | None = None
    """Since when ``sound`` is complete."""
    grown_at: float = 0.0
    grown_to: int = 0
    """When an incomplete stream was last seen to have grown, and to how many bytes."""
    asked_at: float | None = None
    played_at: float | None = None
    """Since when it is with the leg; None before that, and again when it was stopped and reported."""
    stopped_at: float | None = None
    """Since when the leg owes the report of a clip that was stopped."""
    done_at: float | None = None
    start: float = 0.0
    """Heard so far, in seconds: where it goes on."""
    retries: int = 0
    is_broken: bool = False
    """Its voice failed in the middle: ``sound`` is all there will be of it."""

    @property
    def is_out(self) -> bool:
        """With the leg, its report outstanding."""
        return self.played_at is not None and self.done_at is None

    @property
    def seconds(self) -> float:
        """How long it is, as far as known."""
        known = self.sound.seconds if self.sound is not None else 0.0
        return known if self.whole_at is not None else max(known, SECONDS_A_CHARACTER * len(self.text))

    @property
    def text_seconds(self) -> float:
        """How long all of its words take: longer than its sound, where the voice failed in the middle."""
        seconds = self.seconds
        return max(seconds / BROKEN, SECONDS_A_CHARACTER * len(self.text)) if self.is_broken else seconds

    @property
    def is_stalled(self) -> bool:
        """Whoever plays it waits for more of its sound."""
        return isinstance(self.sound, SoundStream) and not self.sound.is_ended

    @property
    def made_nothing_since(self) -> float | None:
        """Since when, while it is being synthesised, it has had no more sound; None if it is not."""
        if self.asked_at is None or self.whole_at is not None or self.done_at is not None:
            return None
        return self.asked_at if self.sound is None else self.grown_at

    def break_off(self, now: float) -> None:
        """Its voice failed in the middle."""
        self.whole_at, self.is_broken = now, True
