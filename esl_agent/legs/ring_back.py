"""A caller's ring-back, played on the caller's own MediaStream, beside the dialogue's clips.

ring = RingBack(mailbox.post)
ring.media = make_media(ring.post)       what is told of our tone never reaches the call
ring.start(sound) ... ring.stop()
"""

from __future__ import annotations

import itertools

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue.events import Event, PlaybackBegan, Played
from esl_agent.legs.base import Clip, MediaStream, Post

#: Turns of the dialogue are numbered from 1.
TURN = -1
#: A period of which so much less was heard was cut by somebody else: it is not begun again.
_CUT_SECONDS = 0.05


class RingBack:
    """Sounds from ``start`` to ``stop``, period after period. While it does the dialogue has nothing to say."""

    def __init__(self, post: Post) -> None:
        self.media: MediaStream | None = None
        self._post = post
        self._sound: Sound | None = None
        self._numbers = itertools.count(1)

    def post(self, event: Event) -> None:
        """What the media tells: the call's, but for what it tells of our tone."""
        if type(event) in (PlaybackBegan, Played) and event.turn == TURN:  # type: ignore[union-attr]
            if isinstance(event, Played):
                self._played(event)
        else:
            self._post(event)

    def start(self, sound: Sound | None) -> None:
        """``sound``: one period; None is silence."""
        self._sound = sound
        self._play()

    def stop(self) -> None:
        """Silence now. Idempotent."""
        sound, self._sound = self._sound, None
        if sound is not None and self.media is not None:
            self.media.clear()

    def close(self) -> None:
        """The call is over: its media is let go of."""
        self._sound = self.media = None

    def _play(self) -> None:
        if self._sound is not None and self.media is not None:
            self.media.play(Clip(TURN, next(self._numbers), self._sound))

    def _played(self, event: Played) -> None:
        if self._sound is not None and event.heard > self._sound.seconds - _CUT_SECONDS:
            self._play()
