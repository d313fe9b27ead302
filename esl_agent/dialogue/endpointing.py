"""Voiced and unvoiced frames -> the utterance began, the utterance ended; with pre-roll."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum

from esl_agent.audio.pcm import FRAME_SECONDS
from esl_agent.dialogue.patience import Mode, Patience
from esl_agent.dialogue.settings import BargeInSettings, EndpointingSettings

__all__ = ["Change", "Endpointer", "Mode", "frames"]


class Change(Enum):
    BEGAN = "began"
    ENDED = "ended"


#: Asked before an utterance begins: which of the newest frames, though voiced, are not the caller's voice.
Doubt = Callable[[Sequence[bytes], Sequence[bool], float], Sequence[bool]]


#: Onset is looked for in a window of this length: two syllables apart still count together.
ONSET_WINDOW = 0.2
#: Barge-in may have this much unvoiced sound between its voiced frames.
BARGE_IN_SLACK = 0.1
#: So many unvoiced frames (0.2 s) are a pause; fewer are part of a word.
PAUSE = 10
#: The caller who goes on so soon after an utterance ended had not finished.
CUT = 1.0
#: So many words over the agent are more than a back-channel: the utterance is waited for like any other.
CLAIM = 3


class Endpointer:
    """One per call. Between utterances it waits for enough voice; within one, for enough silence.

    ``last_voiced`` is the time of the newest voiced frame: when the caller stopped speaking, as far as we know.
    """

    __slots__ = (
        "_barge_mask",
        "_bits",
        "_doubt",
        "_ended_at",
        "_fell_silent",
        "_gap",
        "_keep",
        "_onset_mask",
        "_over_agent",
        "_patience",
        "_plain",
        "_quiet",
        "_settle",
        "_silence",
        "_speaking",
        "_sure",
        "_unsettled",
        "last_voiced",
        "onset",
    )

    def __init__(
        self,
        endpointing: EndpointingSettings,
        barge_in: BargeInSettings,
        doubt: Doubt | None = None,
        language: str = "en",
    ) -> None:
        self._doubt = doubt
        self._plain = frames(endpointing.onset)
        self._over_agent = frames(barge_in.min_speech)
        window = max(frames(ONSET_WINDOW), self._plain)
        barge_window = self._over_agent + frames(BARGE_IN_SLACK)
        self._onset_mask = (1 << window) - 1
        self._barge_mask = (1 << barge_window) - 1
        self._keep: deque[bytes] = deque(maxlen=frames(endpointing.pre_roll) + max(window, barge_window))
        self._patience = Patience(endpointing, language)
        self._settle = frames(barge_in.settle)
        self._sure = max(1, frames(barge_in.sure) - self._over_agent)
        self._unsettled = 0
        self._ended_at = self._fell_silent = -math.inf
        self._gap = 0.0
        self._silence = frames(endpointing.silence)
        self._bits = 0
        self._quiet = 0
        self._speaking = False
        self.last_voiced = 0.0
        self.onset = 0.0

    def feed(self, frame: bytes, voiced: bool, now: float, *, over_agent: bool) -> Change | None:
        """Account for the next 20 ms frame. ``over_agent``: the agent is heard now, so more voice is needed."""
        if voiced:
            self.last_voiced = now
        if self._speaking:
            return self._go_on(voiced, now)
        self._keep.append(frame)
        mask = self._barge_mask if over_agent else self._onset_mask
        if voiced and not self._bits & mask:
            self.onset = now - FRAME_SECONDS
        self._bits = (self._bits << 1 | voiced) & (self._onset_mask | self._barge_mask)
        needed = self._over_agent if over_agent else self._plain
        if not voiced or (self._bits & mask).bit_count() < needed:
            return None
        if self._doubt is not None and not self._is_believed(mask, needed, now):
            return None
        self._gap = self.onset - self._fell_silent if now - self._ended_at < CUT else 0.0
        self._speaking = True
        self._quiet = 0
        self._unsettled = self._sure if over_agent else 0
        self._patience.began()
        if over_agent:
            self._silence = self._settle
        else:
            self._is_meant()
        return Change.BEGAN

    def _go_on(self, voiced: bool, now: float) -> Change | None:
        """Account for a frame of the open utterance."""
        if not voiced:
            self._quiet += 1
            if self._quiet < self._silence:
                return None
            if not self._unsettled:
                self._patience.ended()
                self._ended_at, self._fell_silent = now, now - self._quiet * FRAME_SECONDS
            self.rest()
            return Change.ENDED
        if self._quiet >= PAUSE:
            self._patience.paused(self._quiet * FRAME_SECONDS)
            self._reconsider()
        self._quiet = 0
        if self._unsettled:
            self._unsettled -= 1
            if not self._unsettled:
                self._is_meant()
        return None

    def _is_meant(self) -> None:
        """The utterance is no cough and no back-channel: it is waited for like any other, and teaches."""
        self._unsettled = 0
        if self._gap:
            self._patience.was_cut(self._gap)
            self._gap = 0.0
        self._reconsider()

    def _reconsider(self) -> None:
        """How long the silence must be, after what has just become known."""
        self._silence = self._settle if self._unsettled else frames(self._patience.silence)

    def _is_believed(self, mask: int, needed: int, now: float) -> bool:
        """Whether enough of the voiced frames stand up to doubt. Those that do not are unvoiced from here on."""
        assert self._doubt is not None
        count = min(mask.bit_length(), len(self._keep))
        newest = list(self._keep)[-count:]
        voiced = [bool(self._bits >> place & 1) for place in range(count - 1, -1, -1)]
        for place, is_doubted in enumerate(self._doubt(newest, voiced, now)):
            if is_doubted:
                self._bits &= ~(1 << count - 1 - place)
        left = self._bits & mask
        self.onset = now - left.bit_length() * FRAME_SECONDS
        return left.bit_count() >= needed

    @property
    def is_speaking(self) -> bool:
        """Whether an utterance is open."""
        return self._speaking

    @property
    def voiced_frames(self) -> int:
        """Voiced frames within the window in which an onset is looked for."""
        return self._bits.bit_count()

    @property
    def silence(self) -> float:
        """Seconds of silence that end the open utterance, as far as is known now."""
        return self._silence * FRAME_SECONDS

    def understood(self, text: str) -> None:
        """The words of the open utterance so far."""
        if self._speaking:
            self._patience.understood(text)
            if self._unsettled and len(text.split()) >= CLAIM:
                self._is_meant()
            else:
                self._reconsider()

    def speaks(self, language: str) -> None:
        """The caller's language from now on."""
        self._patience.speaks(language)

    def listen_for(self, mode: Mode) -> None:
        """What kind of answer is awaited from now on."""
        self._patience.listen_for(mode)

    def memory(self) -> bytes:
        """The newest sound while no utterance is open, the newest frame included."""
        return b"".join(self._keep)

    def pre_roll(self) -> bytes:
        """The sound up to and including the frame at which the utterance began. Empties the memory."""
        sound = b"".join(self._keep)
        self._keep.clear()
        return sound

    def rest(self) -> None:
        """Forget the utterance: wait for the next onset."""
        self._speaking = False
        self._bits = 0
        self._quiet = 0


def frames(seconds: float) -> int:
    """How many frames ``seconds`` are, at least one."""
    return max(1, round(seconds / FRAME_SECONDS))
