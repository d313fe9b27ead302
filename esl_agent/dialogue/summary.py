"""The older part of a long call is summarised by the model itself, in a pause, and sent as a summary from then on.

Off unless ``history.summarise_after`` is set. One summary is made at a time; it is begun when a turn has ended and the
caller is to speak, and given up as soon as the model is wanted for an answer, or the call ends. Whatever is late,
failed or empty changes nothing: limits.history still cuts what a model is sent. A summary is made of words of the
caller and the model: it goes back to the model only, as data.
"""

from __future__ import annotations

import math

from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import AbandonSummary, Action, AskModel, Measured, Message, Summarise
from esl_agent.dialogue.deadlines import Deadlines
from esl_agent.dialogue.phase import Phase

#: A token is about so many characters: of English a little more, of most other languages less.
CHARACTERS_A_TOKEN = 4
#: A summary takes no longer, and is no longer: six hundred words.
SECONDS = 30.0
MAX_CHARACTERS = 4000
#: No more than so much of the call is summarised at a time, the newest of it: some two hours of talk.
MAX_SUMMARISED = 60_000
#: Fewer messages are not worth a request.
WORTH = 4
#: After a summary that came to nothing, so many turns pass before the next is tried.
REST = 3


class Summaries(Deadlines):
    """A floor whose memory of a long call is a summary, and the newest words."""

    _summaries = 0
    _summary_ends = math.inf
    """When the summary that is being made is overdue; infinity if none is."""
    _turns_to_rest = 0

    def _deadline(self) -> float | None:
        due = super()._deadline()
        return None if due is None else min(due, self._summary_ends)

    def _overdue(self, now: float, out: list[Action]) -> None:
        if now >= self._summary_ends:
            self._give_up_summary(out)
        else:
            super()._overdue(now, out)

    def _tend_summary(self, now: float, out: list[Action]) -> None:
        """Begin one in a pause, and let it go when something matters more. Called behind everything else."""
        is_pause = self.phase in (Phase.LISTENING, Phase.HOLDING)
        if self._summary_ends < math.inf:
            if self.phase in (Phase.CLOSING, Phase.TRANSFERRING, Phase.HANDED_OVER, Phase.OVER) or any(
                isinstance(action, AskModel) for action in out
            ):
                self._give_up_summary(out, first=True)
        elif is_pause and any(isinstance(action, Measured) for action in out):
            self._turns_to_rest = max(0, self._turns_to_rest - 1)
            if not self._turns_to_rest and self._is_long() and not self._spent:
                self._begin_summary(now, out)

    def _is_long(self) -> bool:
        """Whether what a model is sent has grown too long, or is about to be cut."""
        after = self._settings.history.summarise_after
        if not after or self._question is not None or self._settling.is_busy:
            return False
        messages = self.transcript.messages(self._settings.prompt)
        is_cut = len(messages) > self._limits.history
        return is_cut or sum(map(characters, messages)) > after * CHARACTERS_A_TOKEN

    def _begin_summary(self, now: float, out: list[Action]) -> None:
        older = self.transcript.begin_summary(self._settings.history.keep)
        if len(older) < WORTH:
            return
        self._summaries += 1
        self._summary_ends = now + SECONDS
        prompt = self._settings.history.prompt.replace("{language}", self._language)
        text = "\n".join(map(line, older))[-MAX_SUMMARISED:]
        if before := self.transcript.summary:
            text = f"What you noted before:\n{before}\n\nWhat was said since:\n{text}"
        out.append(Summarise(self._summaries, (Message("system", prompt), Message("user", text))))

    def _summarised(self, event: ev.Summarised) -> None:
        if event.number != self._summaries or self._summary_ends == math.inf:
            return
        self._summary_ends = math.inf
        if text := " ".join(event.text.split())[:MAX_CHARACTERS]:
            self.transcript.summarised(text)
        else:
            self._turns_to_rest = REST

    def _give_up_summary(self, out: list[Action], *, first: bool = False) -> None:
        self._summary_ends = math.inf
        self._turns_to_rest = REST
        out.insert(0 if first else len(out), AbandonSummary(self._summaries))


def characters(message: Message) -> int:
    """How long a message is for a model, about."""
    return len(message.content) + sum(len(call.name) + len(str(dict(call.arguments))) for call in message.tool_calls)


def line(message: Message) -> str:
    """A message as whoever summarises reads it."""
    if message.role == "tool":
        return f"Result: {message.content}"
    who = "Caller" if message.role == "user" else "Agent"
    calls = "".join(f"\nTool: {call.name} {dict(call.arguments)}" for call in message.tool_calls)
    return f"{who}: {message.content}{calls}" if message.content else calls.lstrip("\n")
