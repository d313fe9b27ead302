"""One turn of the agent: text in, clauses, clips in order, heard out. At most two clips are with the leg at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue.actions import Action, Play, Synthesise
from esl_agent.dialogue.clauses import ClauseCutter
from esl_agent.dialogue.settings import LimitSettings

#: Clips queued with the leg at once: one that sounds and one behind it, so that there is no gap.
MAX_OUTSTANDING = 2
#: How long an interrupted turn waits for its clips' reports before it is measured without them.
SETTLE = 2.0
#: Clips synthesised but not yet with the leg.
MAX_AHEAD = 1


class Kind(Enum):
    """Why the agent speaks."""

    GREETING = "greeting"
    REPLY = "reply"
    PROMPT = "prompt"
    APOLOGY = "apology"
    CLOSING = "closing"


@dataclass(slots=True)
class _ClipState:
    text: str
    sound: Sound | SoundStream | None = None
    asked_at: float | None = None
    played_at: float | None = None
    done_at: float | None = None
    retries: int = 0


@dataclass(slots=True)
class Turn:
    """The state of one turn. Owned by the Cascade; ``steps`` are its timings on the call's clock."""

    number: int
    kind: Kind
    retries: int = 0
    text_ended: bool = False
    hang_up: bool = False
    progressed_at: float = 0.0
    heard_any: bool = False
    steps: dict[str, float] = field(default_factory=dict)
    clips: list[_ClipState] = field(default_factory=list)
    _cutter: ClauseCutter = field(default_factory=ClauseCutter)

    def mark(self, step: str, now: float) -> None:
        """Note when ``step`` happened; the first time counts."""
        self.steps.setdefault(step, now)

    def add_text(self, text: str) -> None:
        self.clips.extend(_ClipState(clause) for clause in self._cutter.feed(text))

    def end_text(self) -> None:
        if not self.text_ended:
            self.text_ended = True
            self.clips.extend(_ClipState(clause) for clause in self._cutter.flush())

    def pump(self, now: float) -> list[Action]:
        """The next synthesis and the next plays, if there is room for them. One clip is synthesised at a time."""
        actions: list[Action] = []
        outstanding = self.outstanding()
        ahead = 0
        for number, clip in enumerate(self.clips):
            if clip.played_at is not None:
                continue
            if clip.sound is None:
                if clip.asked_at is None and ahead <= MAX_AHEAD:
                    clip.asked_at = now
                    self.mark("first_clause", now)
                    actions.append(Synthesise(self.number, number, clip.text))
                break
            if outstanding < MAX_OUTSTANDING:
                clip.played_at = now
                outstanding += 1
                self.mark("play", now)
                actions.append(Play(self.number, number, clip.sound))
            else:
                ahead += 1
        return actions

    def synthesised(self, number: int, sound: Sound | SoundStream, now: float) -> bool:
        """Keep the sound of a clip. False if it was not waited for (late, or a second answer)."""
        clip = self._clip(number)
        if clip is None or clip.asked_at is None or clip.sound is not None:
            return False
        clip.sound = sound
        self.mark("first_audio", now)
        return True

    def played(self, number: int, heard: float, now: float) -> bool:
        """A clip was heard or cut. False if it was not playing."""
        clip = self._clip(number)
        if clip is None or clip.played_at is None or clip.done_at is not None:
            return False
        clip.done_at = now
        self.heard_any = self.heard_any or heard > 0
        self.steps["heard"] = now
        return True

    def retry_clip(self, number: int, limit: int) -> bool:
        """Ask for a clip's sound again. False if that was tried often enough or the clip has its sound."""
        clip = self._clip(number)
        if clip is None or clip.sound is not None or clip.retries >= limit:
            return False
        clip.retries += 1
        clip.asked_at = None
        return True

    def is_waited_for(self, number: int) -> bool:
        """True if this clip's sound was asked for and has not come."""
        clip = self._clip(number)
        return clip is not None and clip.asked_at is not None and clip.sound is None

    def outstanding(self) -> int:
        return sum(clip.played_at is not None and clip.done_at is None for clip in self.clips)

    def overdue_clip(self, now: float, patience: float) -> int | None:
        """The clip whose synthesis has taken longer than ``patience``, if any."""
        for number, clip in enumerate(self.clips):
            if clip.sound is None and clip.asked_at is not None:
                return number if now >= clip.asked_at + patience else None
        return None

    def synthesis_asked_at(self) -> float | None:
        return next((clip.asked_at for clip in self.clips if clip.sound is None and clip.asked_at is not None), None)

    def playback_ends_by(self, slack: float) -> float | None:
        """When the oldest clip with the leg ought to be over at the latest; None if none is with the leg."""
        free_at = 0.0
        for clip in self.clips:
            if clip.played_at is None or clip.sound is None:
                return None
            if clip.done_at is None:
                return max(free_at, clip.played_at) + clip.sound.seconds + slack
            free_at = clip.done_at
        return None

    def oldest_playing(self) -> int:
        return next(n for n, clip in enumerate(self.clips) if clip.played_at is not None and clip.done_at is None)

    def deadline(self, limits: LimitSettings, since: float) -> float:
        """When something of this turn is overdue: the model's next words, a clause's sound, a clip's end."""
        due = [since + limits.call]
        if not self.text_ended:
            due.append(self.progressed_at + limits.llm)
        if (asked_at := self.synthesis_asked_at()) is not None:
            due.append(asked_at + limits.tts)
        if (ends_by := self.playback_ends_by(limits.playback)) is not None:
            due.append(ends_by)
        return min(due)

    @property
    def is_finished(self) -> bool:
        """All text came, and every clip was heard."""
        return self.text_ended and all(clip.done_at is not None for clip in self.clips)

    def _clip(self, number: int) -> _ClipState | None:
        return self.clips[number] if 0 <= number < len(self.clips) else None


class Settling:
    """Interrupted turns whose clips have not all been reported yet. Each waits ``SETTLE`` seconds at most."""

    def __init__(self) -> None:
        self._turns: dict[int, tuple[Turn, float]] = {}

    @property
    def due(self) -> float:
        """When the first of them has waited long enough; infinity if there is none."""
        return min((by for _, by in self._turns.values()), default=math.inf)

    def add(self, turn: Turn, now: float) -> None:
        self._turns[turn.number] = (turn, now + SETTLE)

    def played(self, number: int, clip: int, heard: float, now: float) -> Turn | None:
        """Account for a clip's report; the turn, if that was the last one it waited for."""
        if number not in self._turns:
            return None
        turn, _ = self._turns[number]
        turn.played(clip, heard, now)
        return None if turn.outstanding() else self._turns.pop(number)[0]

    def take(self, now: float = math.inf) -> list[Turn]:
        """Give up the turns that have waited long enough by ``now``."""
        late = [number for number, (_, by) in self._turns.items() if now >= by]
        return [self._turns.pop(number)[0] for number in late]
