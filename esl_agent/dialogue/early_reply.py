"""The model is asked before the caller has ended, on words that do not change any more. Off by default.

The turn that answers such a *guess* is the one in flight while the caller is still heard: it may be written and
synthesised, and makes no sound. With the final transcript it goes live if the words are the same, else it is
abandoned and the model is asked anew. A guess that fails costs nothing but its price.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from esl_agent.dialogue.actions import Action
from esl_agent.dialogue.interruption import Interruption
from esl_agent.dialogue.phase import Phase

#: No guess is made before the caller has been silent for so long: the newest frames are no voice.
QUIET = 0.1
#: So many guesses at most for one utterance: each is paid for.
MAX_GUESSES = 3

_WORD = re.compile(r"[^\W_]+")


def normalised(text: str) -> str:
    """The words alone: recognisers add case and punctuation at the end."""
    return " ".join(_WORD.findall(text.lower()))


@dataclass(slots=True)
class Partial:
    """The newest words of the open utterance, and since when they are the same."""

    utterance: int
    text: str
    words: str
    since: float
    guesses: int = 0


class EarlyReply(Interruption):
    """A floor on which the agent may have its answer ready before its turn."""

    _partial: Partial | None = None

    def _partial_words(self, utterance: int, text: str, now: float, out: list[Action]) -> None:
        """A recogniser has words of the open utterance."""
        if not self._settings.early_reply.enabled:
            return
        words, partial = normalised(text), self._partial
        if partial is None or partial.utterance != utterance:
            self._partial = Partial(utterance, text, words, now)
        elif partial.words != words:
            partial.text, partial.words, partial.since = text, words, now
            if self._guess is not None and self._guess.words != words:
                self._drop_guess(now, out)

    def _guess_if_due(self, now: float, out: list[Action]) -> bool:
        """Ask the model with the words there are, if they are likely to be all. Called for each frame."""
        partial = self._partial
        if partial is None or not partial.words or self._turn is not None or self.phase is not Phase.HEARING:
            return False
        if now < partial.since + self._settings.early_reply.stable or now < self._ear.last_voiced + QUIET:
            return False
        if partial.guesses >= MAX_GUESSES or self._utterances.only != partial.utterance or self._settling.is_busy:
            return False
        partial.guesses += 1
        self._make_guess(partial.utterance, partial.text, partial.words, now, out)
        return True

    def _guess_settled(self, utterance: int, words: str | None, now: float, out: list[Action]) -> bool:
        """An utterance is awaited no more: its final ``words``, None if there are none to come. True if the guess that
        was made with it is the answer now."""
        if self._guess is None or self._guess.utterance != utterance:
            return False
        if words is not None and normalised(words) != self._guess.words:
            self._drop_guess(now, out)
            return False
        self._guess_right(now, out)
        return True
