"""An echo in the place of a speech-to-speech service: every path of the sound can be tried without an account.

    with EchoService(8765) as service:
        ...                       # a DID's agent: {engine: openai_realtime, url: service.url}

The caller hears a tone, and then whatever they say, when they have said it. It is the tests' pretend service, which
keeps all that it hears: for a few calls, not for a day of them.
"""

from __future__ import annotations

import numpy as np

from esl_agent.testing.pretend_realtime import PretendRealtime
from esl_agent.testing.realtime_script import RATE, Asked, Reply

#: Where it listens unless told otherwise.
PORT = 8765
#: What is quieter, of 32768, before and after somebody's words is not repeated, but for MARGIN samples.
QUIET = 300
MARGIN = RATE // 10


class EchoService(PretendRealtime):
    """A realtime service on 127.0.0.1 that asks for no key."""

    def __init__(self, port: int = PORT) -> None:
        super().__init__(says_back, key=None, port=port)

    def advice(self) -> str:
        """How a DID gets to it."""
        return (
            "An echo in the place of a realtime service: it says back what the caller says. In a DID:\n"
            f"agent: {{engine: openai_realtime, url: {self.url}}}"
        )


def says_back(asked: Asked) -> Reply:
    """What the caller said last; a tone to begin with."""
    if asked.why == "speech" and asked.said:
        return Reply("This is what you said.", sound=_words(asked.said))
    return Reply("Say something.")


def _words(pcm: bytes) -> bytes:
    loud = np.flatnonzero(np.abs(np.frombuffer(pcm, "<i2").astype(np.int32)) > QUIET)
    return pcm if not len(loud) else pcm[2 * max(0, int(loud[0]) - MARGIN) : 2 * (int(loud[-1]) + MARGIN)]
