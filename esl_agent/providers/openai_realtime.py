"""Agent ``openai_realtime``: OpenAI's Realtime API over a WebSocket, of OpenAI, Azure and what imitates it.

Shapes: openai SDK 3.54, types/realtime. A session is connected in this order: the service tells that there is one, we
tell how it is to be, it tells how it is, and then what was said before is told it again.
"""

from __future__ import annotations

import logging
import time

from esl_agent.audio.pcm import SoundFormat
from esl_agent.errors import ProviderError
from esl_agent.providers import openai_key, realtime_beta, realtime_messages
from esl_agent.providers.account import account
from esl_agent.providers.base import AgentBrief, EngineContext, Identity
from esl_agent.providers.languages import short_language
from esl_agent.providers.llm_answer import key_header
from esl_agent.providers.realtime_options import OpenAiRealtimeOptions, as_https
from esl_agent.providers.realtime_session import RealtimeSession, Setup
from esl_agent.providers.sockets import open_socket

__all__ = ["OpenAiRealtime", "OpenAiRealtimeOptions"]

logger = logging.getLogger(__name__)


class OpenAiRealtime:
    formats: tuple[SoundFormat, ...] = (realtime_messages.PCM, realtime_messages.ULAW, realtime_messages.ALAW)

    def __init__(self, options: OpenAiRealtimeOptions, context: EngineContext) -> None:
        """Raises ConfigError without a key, where one is needed."""
        self._key = openai_key.key(
            "agent: engine openai_realtime", as_https(options.url), options.api_key_env, options.api_key_file
        )
        self._options = options
        self._language = short_language(context.language)
        self.identity = Identity(f"openai/{options.model_asked}", account(options.url, self._key), options.at_once)
        if options.shape == "ga" and options.temperature is not None:
            logger.warning("agent openai_realtime: temperature is not sent: the service has no such setting any more")

    def connect(self, brief: AgentBrief) -> RealtimeSession:
        """A session that is ready to hear. Raises ProviderError."""
        if brief.sound not in self.formats:
            raise ProviderError("agent", f"no sound in {brief.sound}", blame="setup")
        options, is_beta = self._options, self._options.shape == "beta"
        until = time.monotonic() + options.timeout
        socket = open_socket(
            "agent",
            options.address,
            headers=self._headers(),
            secrets=(self._key,) if self._key else (),
            ca_file=options.ca_file,
            timeout=options.timeout,
            ping=(options.ping_interval, options.ping_timeout),
            unread=options.ping_interval + options.ping_timeout,
        )
        make = realtime_beta.session if is_beta else realtime_messages.session
        transcriber = options.transcription.model
        setup = Setup(
            make(options, brief, self._language),
            realtime_messages.history(brief.history),
            realtime_beta.SAID if is_beta else realtime_messages.SAID,
            brief.sound,
            f"openai/{transcriber}" if transcriber else "",
            brief.interruptible,
        )
        session = RealtimeSession(socket, setup)
        try:
            session.get_ready(until)
        except BaseException:
            socket.close_soon()
            raise
        return session

    def _headers(self) -> dict[str, str]:
        options = self._options
        found = key_header(options.key_header, self._key)
        if options.shape == "beta":
            found |= realtime_beta.HEADER
        if options.safety_identifier:
            found["OpenAI-Safety-Identifier"] = options.safety_identifier
        return found
