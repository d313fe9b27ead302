"""One turn of the agent: text in, clauses, clips in order, heard out. At most two clips are with the leg at a time.

A clip that was stopped comes back with the position it was heard to, and is played again from there when the turn may
play again. A clip's number is given once; its place in the order is its place in ``clips``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.dialogue.actions import Action, Play, Synthesise
from esl_agent.dialogue.clauses import ClauseCutter, cut
from esl_agent.dialogue.clip_state import ClipState
from esl_agent.dialogue.errands import Errands
from esl_agent.dialogue.settings import LimitSettings
from esl_agent.dialogue.tools import TransferRequest

#: Clips queued with the leg at once: one that sounds and one behind it, so that there is no gap.
MAX_OUTSTANDING = 2
#: How long stopped clips may take to be reported: an abandoned turn is measured without them then, a suspended one
#: goes on without them.
SETTLE = 2.0
#: Clips synthesised but not yet with the leg.
MAX_AHEAD = 1
#: A stopped clip of which no more than this is left was heard: nobody misses the end of its last syllable.
REST = 0.2


class Kind(Enum):
    """Why the agent speaks."""

    GREETING = "greeting"
    REPLY = "reply"
    PROMPT = "prompt"
    APOLOGY = "apology"
    CLOSING = "closing"
    FILLER = "filler"
    """Nothing but a filler, while the caller's words are awaited."""


@dataclass(slots=True)
class Turn:
    """The state of one turn. Owned by the Cascade; ``steps`` are its timings on the call's clock."""

    number: int
    kind: Kind
    name: str = ""
    """Of a phrase that is spoken without asking the model: its name in the settings."""
    retries: int = 0
    """How often the model was asked again because it failed before its first word."""
    asks: int = 0
    """How often it was asked again within the turn because it failed: answers to earlier requests are late."""
    text_ended: bool = False
    is_broken: bool = False
    """The model, or the voice, failed for good: what there is is said to its end, and the rest is owed."""
    hang_up: bool = False
    progressed_at: float = 0.0
    heard_any: bool = False
    false_interruptions: int = 0
    fillers: int = 0
    """Waits with a filler since the model, or a voice that had failed, was last asked."""
    steps: dict[str, float] = field(default_factory=dict)
    clips: list[ClipState] = field(default_factory=list)
    errands: Errands = field(default_factory=Errands)
    _count: int = 0
    _cutter: ClauseCutter = field(default_factory=ClauseCutter)

    def mark(self, step: str, now: float) -> None:
        """Note when ``step`` happened; the first time counts."""
        self.steps.setdefault(step, now)

    def _mark_for(self, clip: ClipState, step: str, now: float) -> None:
        """Fillers are no step of an answer."""
        if not clip.is_filler:
            self.mark(step, now)

    # Text comes in

    def add_text(self, text: str) -> None:
        self._add(self._cutter.feed(text))

    def flush(self) -> None:
        """The words so far are a clause, whatever follows."""
        if not self.text_ended:
            self._add(self._cutter.flush())

    def say(self, text: str) -> None:
        """Words of our own, behind those so far."""
        if not self.text_ended:
            self.flush()
            self._add(cut(text))

    def end_text(self) -> None:
        if not self.text_ended:
            self.text_ended = True
            self._add(self._cutter.flush())

    def break_off(self) -> None:
        """The model failed in the middle: of its last words only a whole sentence is said."""
        if not self.text_ended:
            self._add(self._cutter.break_off())

    def ask_on(self, now: float, *, offered: bool) -> None:
        """The model is asked for the rest; what comes of it is behind what there is."""
        self.asks += 1
        self.fillers = 0
        self.progressed_at = now
        self.errands.ask_on(self.next_clip, offered=offered)

    def break_at(self, number: int, now: float) -> ClipState | None:
        """The voice failed for good at a clip: what was made is said, nothing behind it. The clip, if some of its
        sound is there."""
        self.text_ended = self.is_broken = True
        self.drop_unheard_fillers()
        place = next(place for place, clip in enumerate(self.clips) if clip.number == number)
        broken = self.clips[place]
        if broken.sound is None:
            del self.clips[place:]
            return None
        del self.clips[place + 1 :]
        broken.break_off(now)
        return broken

    def _add(self, clauses: list[str]) -> None:
        self.clips.extend(self._new_clips(clauses))

    def _new_clips(self, clauses: list[str], *, is_filler: bool = False) -> Iterator[ClipState]:
        for clause in clauses:
            yield ClipState(self._count, clause, is_filler)
            self._count += 1

    def add_filler(self, text: str) -> None:
        """Something to hear until the answer is ready; it comes before all that is not with the leg yet."""
        place = sum(clip.played_at is not None or clip.done_at is not None for clip in self.clips)
        self.clips[place:place] = self._new_clips(cut(text), is_filler=True)

    def take_number(self) -> int:
        """A clip's number that no clip will have."""
        self._count += 1
        return self._count - 1

    def add_sound(self, sound: Sound | SoundStream, now: float) -> int:
        """The next clip, whose sound nobody had to ask for; its number. A stream ends with ``synthesis_ended``."""
        clip = ClipState(self.take_number(), "", sound=sound)
        if isinstance(sound, Sound):
            clip.whole_at = now
        self.clips.append(clip)
        self.mark("first_audio", now)
        return clip.number

    def drop_unheard_fillers(self) -> None:
        """The answer's sound came before the filler's: nobody needs it any more."""
        self.clips = [clip for clip in self.clips if not (clip.is_filler and clip.sound is None)]

    def forgo_filler(self, number: int, now: float) -> bool:
        """A clip's sound will not come (any more). False if it is no filler, and has to be said."""
        clip = self.clip(number)
        if clip is None or not clip.is_filler:
            return False
        clip.whole_at = now
        self.drop_unheard_fillers()
        return True

    @property
    def is_silent(self) -> bool:
        """True if nothing of it is heard or about to be."""
        return all(clip.done_at is not None or (clip.sound is None and not clip.is_filler) for clip in self.clips)

    @property
    def has_words(self) -> bool:
        """True if there is anything of the turn's own to be said."""
        return any(not clip.is_filler for clip in self.clips)

    @property
    def has_new_words(self) -> bool:
        """True if there is anything that the model said to what it was last asked."""
        return any(not clip.is_filler and clip.number >= self.errands.first_clip for clip in self.clips)

    @property
    def next_clip(self) -> int:
        """The number that the next clip will have."""
        return self._count

    @property
    def words(self) -> dict[int, str]:
        """What each of its clips says, heard or not."""
        return {clip.number: clip.text for clip in self.clips if not clip.is_filler}

    @property
    def leaves(self) -> bool:
        """The call leaves the agent when this was heard: better not while the caller speaks."""
        return self.hang_up or isinstance(self.errands.last, TransferRequest)

    @property
    def text(self) -> str:
        """What it has to say, as far as known."""
        return " ".join(clip.text for clip in self.clips if not clip.is_filler)

    # Sound goes out

    def pump(self, now: float, *, may_play: bool = True) -> list[Action]:
        """The next synthesis and the next plays, if there is room for them. One clip is synthesised at a time, and
        nothing is played while the report of a stopped clip is awaited."""
        actions: list[Action] = []
        outstanding = self.outstanding()
        may_play = may_play and not any(clip.stopped_at is not None for clip in self.clips)
        ahead = 0
        is_making = False
        for clip in self.clips:
            if clip.sound is None:
                if clip.asked_at is None and not is_making and ahead <= MAX_AHEAD:
                    clip.asked_at = now
                    self._mark_for(clip, "first_clause", now)
                    actions.append(Synthesise(self.number, clip.number, clip.text))
                break
            is_making = is_making or clip.made_nothing_since is not None
            if clip.played_at is not None or clip.done_at is not None:
                continue
            if may_play and outstanding < MAX_OUTSTANDING:
                clip.played_at = now
                outstanding += 1
                self._mark_for(clip, "play", now)
                actions.append(Play(self.number, clip.number, clip.sound, clip.start))
            else:
                ahead += 1
        return actions

    def synthesised(self, number: int, sound: Sound | SoundStream, now: float) -> bool:
        """Keep the sound of a clip; it may still come while the next try waits for its place. False if it was not
        waited for (late, or a second answer)."""
        clip = self.clip(number)
        if clip is None or clip.sound is not None or (clip.asked_at is None and not clip.retries):
            return False
        clip.sound = sound
        clip.asked_at = now if clip.asked_at is None else clip.asked_at
        clip.grown_at = now
        if isinstance(sound, Sound):
            clip.whole_at = now
        self._mark_for(clip, "first_audio", now)
        if not clip.is_filler:
            self.drop_unheard_fillers()
        return True

    def synthesis_ended(self, number: int, now: float) -> ClipState | None:
        """A clip's stream is whole. None if that was known, or it has none."""
        clip = self.clip(number)
        if clip is None or clip.sound is None or clip.whole_at is not None:
            return None
        clip.whole_at = now
        return clip

    def break_off_streams(self, now: float) -> list[ClipState]:
        """Nothing more is made of what the leg plays while it is made."""
        broken = [clip for clip in self.clips if clip.is_out and clip.whole_at is None]
        for clip in broken:
            clip.break_off(now)
        return broken

    # What became of it

    def stop(self, now: float) -> bool:
        """All clips that are with the leg are being stopped. False if there is none that is not stopped already."""
        playing = [clip for clip in self.clips if clip.is_out and clip.stopped_at is None]
        for clip in playing:
            clip.stopped_at = now
        return bool(playing)

    def played(self, number: int, heard: float, now: float) -> float | None:
        """A clip was heard or cut, up to ``heard`` seconds from its beginning; how many of them count.

        None if it was not playing. A stopped clip of which enough is left waits to go on.
        """
        clip = self.clip(number)
        if clip is None or not clip.is_out or clip.sound is None:
            return None
        self.heard_any = self.heard_any or (heard > 0 and not clip.is_filler)
        self.steps["heard"] = now
        is_stopped, clip.stopped_at = clip.stopped_at is not None, None
        if is_stopped and self.steps.get("silent", 0.0) < self.steps.get("interrupted", 0.0):
            self.steps["silent"] = now
        if is_stopped and (clip.whole_at is None or clip.sound.seconds - heard >= REST):
            clip.start = max(clip.start, heard)
            clip.played_at = None
            return clip.start
        clip.done_at = now
        return clip.seconds if is_stopped else heard

    def lose(self, clip: ClipState, now: float) -> None:
        """The leg never reported a clip: it counts as not heard, beyond what was."""
        clip.done_at = now
        clip.stopped_at = None

    def retry_clip(self, number: int, limit: int) -> bool:
        """Ask for a clip's sound again. False if that was tried often enough or some of its sound came."""
        clip = self.clip(number)
        if clip is None or clip.sound is not None or clip.retries >= limit:
            return False
        clip.retries += 1
        clip.asked_at = None
        self.fillers = 0
        return True

    def is_waited_for(self, number: int) -> bool:
        """True if this clip's sound was asked for and has not all come."""
        clip = self.clip(number)
        return clip is not None and clip.made_nothing_since is not None

    def outstanding(self) -> int:
        return sum(clip.is_out for clip in self.clips)

    # Deadlines

    def overdue_clip(self, now: float, patience: float) -> int | None:
        """The clip whose synthesis has made nothing for longer than ``patience``, if any."""
        for clip in self.clips:
            if (since := clip.made_nothing_since) is not None and now >= since + patience:
                if clip.sound is None or len(clip.sound.pcm) <= clip.grown_to:
                    return clip.number
                clip.grown_to, clip.grown_at = len(clip.sound.pcm), now
        return None

    def overdue_playback(self, now: float, slack: float) -> ClipState | None:
        """The clip whose report ought to have come, if any."""
        clip, by = self._playback_ends_by(slack)
        return clip if now >= by else None

    def _playback_ends_by(self, slack: float) -> tuple[ClipState | None, float]:
        """The oldest clip with the leg, and when it ought to be over at the latest."""
        free_at = 0.0
        for clip in self.clips:
            if clip.done_at is not None:
                free_at = max(free_at, clip.done_at)
            elif clip.stopped_at is not None:
                return clip, clip.stopped_at + SETTLE
            elif clip.played_at is not None:
                if clip.whole_at is None:
                    return clip, math.inf
                return clip, max(free_at, clip.played_at, clip.whole_at) + clip.seconds - clip.start + slack
        return None, math.inf

    def deadline(self, limits: LimitSettings, since: float) -> float:
        """When something of this turn is overdue: the model's next words, a clause's sound, a clip's end."""
        due = [since + limits.call, self._playback_ends_by(limits.playback)[1]]
        if not self.text_ended:
            due.append(self.errands.due(self.progressed_at, limits))
        due.extend(idle + limits.tts for clip in self.clips if (idle := clip.made_nothing_since) is not None)
        return min(due)

    def left(self, now: float) -> float:
        """Seconds of it that were not heard at ``now``, infinity if not known or if there is more than a clip of it."""
        rest = [clip for clip in self.clips if clip.done_at is None]
        if not self.text_ended or len(rest) != 1 or rest[0].whole_at is None:
            return math.inf
        clip = rest[0]
        free_at = max((other.done_at for other in self.clips if other.done_at is not None), default=0.0)
        played = 0.0 if clip.played_at is None else max(0.0, now - max(clip.played_at, free_at))
        return clip.seconds - clip.start - played

    @property
    def is_finished(self) -> bool:
        """All text came, and every clip was heard."""
        return self.text_ended and all(clip.done_at is not None for clip in self.clips)

    def clip(self, number: int) -> ClipState | None:
        return next((clip for clip in self.clips if clip.number == number), None)
