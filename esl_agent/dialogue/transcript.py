"""What was said on the call, cut to what the caller really heard."""

from __future__ import annotations

from dataclasses import dataclass, field

from esl_agent.dialogue.actions import Message

#: A clip heard this far counts as heard: what is missing is the release of its last sound.
WHOLE = 0.97


@dataclass(slots=True)
class _Spoken:
    text: str
    seconds: float
    heard: float = 0.0
    is_awaited: bool = True

    def heard_text(self) -> str:
        share = self.heard / self.seconds if self.seconds > 0 else 1.0
        if share >= WHOLE:
            return self.text
        words = self.text.split()
        return " ".join(words[: int(len(words) * share)])


@dataclass(slots=True)
class _Entry:
    caller: str = ""
    clips: dict[int, _Spoken] = field(default_factory=dict)

    def agent(self) -> str:
        return " ".join(text for clip in self.clips.values() if (text := clip.heard_text()))


class Transcript:
    """The call's history. Entries keep the order in which they began, whenever their words arrive."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._utterances: dict[int, _Entry] = {}
        self._turns: dict[int, _Entry] = {}

    def open_utterance(self, utterance: int) -> None:
        """The caller began to speak; the words come later."""
        self._add(self._utterances, utterance)

    def open_turn(self, turn: int) -> None:
        """The agent is about to speak; nothing counts until it is heard."""
        self._add(self._turns, turn)

    def understood(self, utterance: int, text: str) -> None:
        self._utterances[utterance].caller = " ".join(text.split())

    def spoken(self, turn: int, clip: int, text: str, seconds: float) -> None:
        """A clip of ``seconds`` was given to the leg, maybe not for the first time. No more of it is heard yet.
        Ignored for a turn that was never opened."""
        if entry := self._turns.get(turn):
            spoken = entry.clips.setdefault(clip, _Spoken(text, seconds))
            spoken.is_awaited = True

    def lasts(self, turn: int, clip: int, seconds: float) -> None:
        """How long a clip that was already given to the leg turned out to be."""
        if spoken := self._spoken(turn, clip):
            spoken.seconds = seconds

    def heard(self, turn: int, clip: int, seconds: float) -> None:
        """The caller heard the first ``seconds`` of a clip. One report counts each time the clip was given to the leg;
        unknown clips are ignored."""
        spoken = self._spoken(turn, clip)
        if spoken and spoken.is_awaited:
            spoken.is_awaited = False
            spoken.heard = max(spoken.heard, seconds)

    def _spoken(self, turn: int, clip: int) -> _Spoken | None:
        entry = self._turns.get(turn)
        return entry.clips.get(clip) if entry else None

    def agent_text(self, turn: int) -> str:
        """What the caller heard of a turn."""
        entry = self._turns.get(turn)
        return entry.agent() if entry else ""

    @property
    def owes_reply(self) -> bool:
        """True if the caller said something that the agent's words have not answered yet."""
        last = self._last()
        return last is not None and last.role == "user"

    def _last(self) -> Message | None:
        messages = self.messages()
        return messages[-1] if messages else None

    def messages(self, prompt: str = "", limit: int = 0) -> tuple[Message, ...]:
        """The history for a model: system prompt, then caller and agent in alternation.

        ``limit`` > 0 keeps that many newest messages, beginning with one of the caller's where there is one.
        """
        history: list[Message] = []
        for entry in self._entries:
            if entry.caller:
                self._append(history, Message("user", entry.caller))
            if entry.clips and (text := entry.agent()):
                self._append(history, Message("assistant", text))
        if limit and len(history) > limit:
            history = history[-limit:]
            while len(history) > 1 and history[0].role != "user":
                history = history[1:]
        return (Message("system", prompt), *history) if prompt else tuple(history)

    @staticmethod
    def _append(history: list[Message], message: Message) -> None:
        if history and history[-1].role == message.role:
            message = Message(message.role, f"{history.pop().content} {message.content}")
        history.append(message)

    def _add(self, index: dict[int, _Entry], number: int) -> None:
        entry = index[number] = _Entry()
        self._entries.append(entry)
