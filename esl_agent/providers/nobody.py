"""Who listens and thinks on a call with a speech-to-speech agent: nobody, which costs nothing and starts nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.errors import ProviderError, Stage
from esl_agent.providers.base import Identity, ReplyPart, Transcript


class Nobody:
    """A recogniser and a language model in form; whoever asks it is refused."""

    streaming = False
    identity = Identity("nobody")

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        raise _refused("stt")

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        raise _refused("llm")


def _refused(stage: Stage) -> ProviderError:
    return ProviderError(stage, "this call has an agent that does it by itself", blame="setup")
