"""A history for engines that know only questions and answers: what the caller said, and what was heard of the answer.

Where an answer broke off, a model is asked for the rest in words that the caller never said (``UNHEARD``). A language
model goes on from there. Rules, and services that keep the conversation themselves, do not know what that means: they
are asked what the caller did say, and what was heard of the answer already is left out of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from esl_agent.dialogue.actions import Message
from esl_agent.dialogue.transcript import UNHEARD
from esl_agent.providers.base import ReplyPart
from esl_agent.providers.llm_said import parts


@dataclass(slots=True)
class Exchange:
    """What the caller said, without a word of ours, and all that followed until the caller spoke again."""

    words: str
    answer: str = ""
    """What was heard of it."""
    is_answered: bool = False
    tool: str = ""
    """The tool that was called last."""
    result: str | None = None
    """What it answered."""
    is_rest: bool = False
    """The answer broke off: it is the rest that is wanted."""


def exchanges(messages: Sequence[Message]) -> list[Exchange]:
    """In order. What was said before the caller's first words is in none."""
    found: list[Exchange] = []
    for message in messages:
        if message.role == "user":
            words = message.content
            if UNHEARD in words:
                words = " ".join(words.replace(UNHEARD, " ").split())
                if not words:
                    _wants_rest(found)
                    continue
            found.append(Exchange(words))
        elif found and message.role == "assistant":
            last = found[-1]
            last.answer = f"{last.answer} {message.content}".strip()
            last.is_answered, last.is_rest = True, False
            last.tool = message.tool_calls[-1].name if message.tool_calls else last.tool
        elif found and message.role == "tool":
            found[-1].result = message.content
    return found


def _wants_rest(found: list[Exchange]) -> None:
    if found:
        found[-1].is_rest = True


def normalised(text: str) -> list[str]:
    """The words of ``text`` in lower case, without punctuation, in any script."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("\u2019", "'"))


def sentences(text: str) -> list[str]:
    """``text`` in pieces that end with a sentence, or a part of one, and lose nothing but what is before them."""
    return re.findall(r"\S.*?(?:[.!?;:]+(?:\s+|$)|$)", text, re.DOTALL)


def unheard(texts: Sequence[str], heard: str) -> list[str]:
    """``texts`` without the sentences at their beginning that were ``heard``. Empty: there are no others, or what was
    heard is the beginning of something else."""
    left = normalised(heard)
    if normalised(" ".join(texts))[: len(left)] != left:
        return []
    rest: list[str] = []
    for text in texts:
        pieces = sentences(text)
        while pieces and left and (words := normalised(pieces[0])) == left[: len(words)]:
            left = left[len(words) :]
            pieces.pop(0)
        if pieces:
            rest.append("".join(pieces))
            left = []
    return rest


class Conversation:
    """One call's conversation with a service that keeps it itself and is asked each thing once: said twice, a "yes"
    would answer its next question."""

    def __init__(self, ask: Callable[[str], list[str]], hang_up_on: str) -> None:
        """``ask``: what the service answers to the caller's words."""
        self._ask = ask
        self._hang_up_on = hang_up_on
        self._asked = ""
        self._answered: list[str] = []

    def reply(self, messages: Sequence[Message]) -> Iterator[ReplyPart]:
        """The service's answer, or the rest of the one that broke off. What another model began, it answers anew."""
        found = exchanges(messages)
        last = found[-1] if found else Exchange("")
        said: list[str] = []
        if last.is_rest and last.words == self._asked:
            said = unheard(self._answered, last.answer)
        if not said:
            said = self._ask(last.words)
            self._asked, self._answered = last.words, said
        yield from parts(said, self._hang_up_on)
