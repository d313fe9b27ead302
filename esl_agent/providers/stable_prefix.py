"""Which words of a growing transcript will stay: those that two recognitions after each other agree on.

Known as local agreement (Liu et al., "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial
Hypothesis Selection", Interspeech 2020). Pure: text in, text out.
"""

from __future__ import annotations

from collections.abc import Sequence


class StablePrefix:
    """One for each utterance. ``words`` that are committed never change again."""

    def __init__(self) -> None:
        self._committed: list[str] = []
        self._before: list[str] = []
        self._settled: list[str] = []

    @property
    def committed(self) -> str:
        return " ".join([*self._settled, *self._committed])

    def hear(self, text: str) -> str:
        """A new recognition of the sound since the last ``settle``. All words so far: those that stay, then those of
        ``text`` that follow them."""
        words = text.split()
        same = _agreement(self._before, words)
        if same > len(self._committed):
            self._committed += words[len(self._committed) : same]
        self._before = words
        return " ".join([*self._settled, *self._committed, *words[len(self._committed) :]])

    def settle(self, text: str) -> str:
        """The last recognition of the sound since the last ``settle``; what follows begins after it."""
        self._settled += [*self._committed, *text.split()[len(self._committed) :]]
        self._committed, self._before = [], []
        return self.committed


def _agreement(before: Sequence[str], after: Sequence[str]) -> int:
    """How many words from the beginning on are the same but for case and punctuation."""
    count = 0
    for one, other in zip(before, after, strict=False):
        if _plain(one) != _plain(other):
            break
        count += 1
    return count


def _plain(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum()) or word
