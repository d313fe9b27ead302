"""A stage that survives its providers: an ordered list of them behind the face of one.

Each of the three wrappers is made once for a DID, and ``for_call`` makes the view of one call, which remembers who
failed it. Every request runs in greenlets of its own (attempt.py), through the candidates in order (request.py,
choice.py), within the stage's limit of ``limits``; the process shares what it knows of a provider's health and of its
account's free slots (breaker.py, accounts.py).

What is told as ``Used``: a model's tokens as its server counted them, estimated from the text where a request was given
up before the server said; a voice's characters, all of a clause once it was asked for; the seconds of sound that a
recogniser took. A request that ended with an error before anything came of it is not counted; one that we gave up is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Generic, TypeVar

import gevent

from esl_agent.audio.resample import VoiceResampler
from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.dialogue.settings import LimitSettings
from esl_agent.errors import ProviderError, Stage
from esl_agent.providers.accounts import ACCOUNTS, Accounts, Resting
from esl_agent.providers.attempt import Tally
from esl_agent.providers.base import (
    CallContext,
    Engines,
    HangUpPart,
    Identity,
    LanguageModel,
    ReplyPart,
    SpeechToText,
    TextPart,
    TextToSpeech,
    ToolCallPart,
    Transcript,
    UsagePart,
)
from esl_agent.providers.choice import Choice
from esl_agent.providers.feed import Feed, pumped
from esl_agent.providers.request import Patience, Request, Restarted
from esl_agent.providers.resilience_settings import ResilienceSettings

log = logging.getLogger(__name__)

#: We give up before the dialogue does, which would ask again: by so many seconds, or by this share of its limit.
MARGIN, MARGIN_SHARE = 0.25, 0.1
#: A clause is never longer than this: a voice that does not stop is a fault, not a long sentence.
MAX_CLAUSE_SECONDS = 60.0
#: Seconds that a phrase may take which is made before anybody waits for it.
UNHURRIED = 30.0

#: For whoever is no call: what it uses is nobody's, and nothing is remembered.
NOBODY = CallContext("", lambda told: None)

P = TypeVar("P", bound=SpeechToText | LanguageModel | TextToSpeech)


class _Stage(Generic[P]):
    """What the three wrappers have in common."""

    stage: Stage

    def __init__(
        self,
        providers: Sequence[P],
        settings: ResilienceSettings,
        limits: LimitSettings,
        accounts: Accounts = ACCOUNTS,
        context: CallContext = NOBODY,
    ) -> None:
        """``providers``: at least one, the preferred first."""
        self.providers: tuple[P, ...] = tuple(providers)
        self._settings = settings
        self._limits = limits
        self._accounts = accounts
        self._context = context
        self._choice: Choice[P] = Choice(self.stage, self.providers, settings, accounts, context)
        self._preparing: gevent.Greenlet | None = None

    @property
    def identity(self) -> Identity:
        """Whom the next request goes to."""
        return self._asked().order()[0].account.identity

    def for_call(self, context: CallContext) -> Any:
        """The stage as one call uses it. Whoever is asked first gets ready meanwhile, in a greenlet."""
        bound = type(self)(self.providers, self._settings, self._limits, self._accounts, context)
        bound._prepare()
        return bound

    def close(self) -> None:
        """The call is over. Idempotent."""
        if self._preparing is not None:
            self._preparing.kill(block=False)
        self._choice.close()

    def warm(self) -> None:
        """The service starts."""
        for each in self.providers:
            if start := getattr(each, "warm", None):
                start()

    def _asked(self) -> Choice[P]:
        """A call remembers who failed it; nobody does not."""
        if self._context is not NOBODY:
            return self._choice
        return Choice(self.stage, self.providers, self._settings, self._accounts, NOBODY)

    def _prepare(self) -> None:
        try:
            prepare = getattr(self._choice.order()[0].provider, "prepare", None)
        except Exception:  # an edge that logs: a provider that cannot be bound fails when it is asked
            log.exception("call=%s %s: cannot be bound to the call", self._context.id, self.stage)
            return
        if prepare is None:
            return

        def run() -> None:
            try:
                prepare()
            except ProviderError as error:
                log.info("call=%s not prepared: %s", self._context.id, error)
            except Exception:  # an edge that logs: the provider is asked all the same
                log.exception("call=%s %s: cannot be prepared", self._context.id, self.stage)

        self._preparing = gevent.spawn(run)


def _limit(seconds: float) -> float:
    return seconds - min(MARGIN, seconds * MARGIN_SHARE)


class ResilientRecogniser(_Stage[SpeechToText]):
    """As base.SpeechToText. Whoever takes over gets the whole utterance, from its beginning."""

    stage: Stage = "stt"

    @property
    def streaming(self) -> bool:
        """Of the provider that is asked next. One that does not stream may stand behind one that does: it is asked at
        the sound's end, whenever ``recognise`` was called."""
        return self._asked().order()[0].made.streaming

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        clock = self._accounts.clock
        feed, pump = pumped(audio, clock)
        patience = self._settings.stt

        def waited() -> float:
            """Seconds since the caller stopped."""
            return 0.0 if feed.ended_at is None else max(0.0, clock() - feed.ended_at)

        request = Request[SpeechToText, Transcript](
            self._asked(),
            lambda provider, tally: _listen(provider, feed, rate, tally),
            Patience(
                patience.first, _limit(self._limits.stt), math.inf, patience.tries, slot=self._settings.slot, total=True
            ),
            waited,
            is_waiting=lambda: feed.ended_at is not None,
            is_last=lambda transcript: transcript.final,
            ready=lambda provider: None if provider.streaming else feed.wait_for_end(),
            keeps=False,
        )
        try:
            for piece in request.run():
                if not isinstance(piece, Restarted):
                    yield piece
        finally:
            if pump is not None:
                pump.kill(block=False)


def _listen(provider: SpeechToText, feed: Feed, rate: int, tally: Tally) -> Generator[Transcript]:
    reader = iter(feed)
    tally.seconds = lambda: reader.taken / (2 * rate)
    try:
        for transcript in provider.recognise(reader, rate):
            if not isinstance(transcript, Transcript):
                raise ProviderError("stt", f"{provider.identity.name}: {type(transcript).__name__}, no transcript")
            yield transcript
            if transcript.final:
                return
        raise ProviderError("stt", f"{provider.identity.name}: no final transcript", retryable=True)
    finally:
        reader.close()


class ResilientModel(_Stage[LanguageModel]):
    """As base.LanguageModel. After the first piece of a reply nobody takes over within it."""

    stage: Stage = "llm"

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        patience, limit = self._settings.llm, self._limits.llm
        request = Request[LanguageModel, ReplyPart](
            self._asked(),
            lambda provider, tally: _think(provider, messages, tools, tally),
            Patience(
                patience.first,
                _limit(limit),
                min(patience.between, _limit(limit)),
                patience.tries,
                patience.hedge,
                self._settings.slot,
            ),
            self._accounts.clock,
            keeps=True,
        )
        for piece in request.run():
            if not isinstance(piece, Restarted):
                yield piece


def _think(
    provider: LanguageModel, messages: Sequence[Message], tools: Sequence[ToolSpec], tally: Tally
) -> Generator[ReplyPart]:
    tally.asked = sum(len(message.content) for message in messages) or 1
    is_empty = True
    for part in provider.reply(messages, tools):
        if isinstance(part, UsagePart):
            tally.told = part.usage
            continue
        if isinstance(part, TextPart) and isinstance(part.text, str):
            tally.answered += len(part.text)
        elif not isinstance(part, HangUpPart | ToolCallPart):
            raise ProviderError("llm", f"{provider.identity.name}: {type(part).__name__}, no part of a reply")
        is_empty = False
        yield part
    if is_empty:
        raise ProviderError("llm", f"{provider.identity.name}: an empty reply", retryable=True)


class ResilientVoice(_Stage[TextToSpeech]):
    """As base.TextToSpeech, with the rate and the name of the preferred voice: a fallback's sound is made to fit, and
    must not be kept under that name."""

    stage: Stage = "tts"

    @property
    def rate(self) -> int:
        return self.providers[0].rate

    @property
    def voice(self) -> str:
        return self.providers[0].voice

    def speak(self, text: str) -> Iterator[bytes]:
        """As it comes: after its first piece nobody takes over."""
        for piece in self._request(text, self._asked(), self._limits.tts, keeps=True).run():
            if not isinstance(piece, Restarted):
                yield piece

    def whole(self, text: str) -> list[bytes]:
        """All of it: a voice that fails in the middle is replaced from the beginning."""
        return _collected(self._request(text, self._asked(), self._limits.tts, keeps=False))

    def preferred(self, text: str) -> list[bytes]:
        """``whole``, in the preferred voice or not at all (ProviderError), in time that no caller waits. Raises Resting
        while the voice is left alone."""
        identity = self.providers[0].identity
        if not self._accounts.breaker(self.stage, identity, self.voice).admits:
            raise Resting(self.stage, f"{identity.name} rests after failures", retryable=True)
        choice = Choice(self.stage, self.providers[:1], self._settings, self._accounts, NOBODY)
        return _collected(self._request(text, choice, UNHURRIED, keeps=False))

    def _request(
        self, text: str, choice: Choice[TextToSpeech], limit: float, *, keeps: bool
    ) -> Request[TextToSpeech, bytes]:
        patience = self._settings.tts
        return Request(
            choice,
            lambda provider, tally: _talk(provider, text, self.rate, tally),
            Patience(
                patience.first,
                _limit(limit),
                min(patience.between, _limit(limit)),
                patience.tries,
                slot=self._settings.slot,
                total=not keeps,
            ),
            self._accounts.clock,
            keeps=keeps,
        )


def _collected(request: Request[TextToSpeech, bytes]) -> list[bytes]:
    found: list[bytes] = []
    for piece in request.run():
        if isinstance(piece, Restarted):
            found.clear()
        else:
            found.append(piece)
    return found


def _talk(provider: TextToSpeech, text: str, rate: int, tally: Tally) -> Generator[bytes]:
    """Whole samples at ``rate``, no empty pieces."""
    tally.characters = len(text)
    resampler = None if provider.rate == rate else VoiceResampler(provider.rate, rate)
    size, odd = 0, b""
    for piece in provider.speak(text):
        if not isinstance(piece, bytes | bytearray):
            raise ProviderError("tts", f"{provider.identity.name}: {type(piece).__name__}, no sound")
        size += len(piece)
        if size > MAX_CLAUSE_SECONDS * provider.rate * 2:
            told = f"more than {MAX_CLAUSE_SECONDS:g} s of sound for {len(text)} characters"
            raise ProviderError("tts", f"{provider.identity.name}: {told}")
        joined = odd + piece if odd else bytes(piece)
        whole = len(joined) // 2 * 2
        odd = joined[whole:]
        if sound := (joined[:whole] if resampler is None else resampler.feed(joined[:whole])):
            yield sound
    if not size and any(c.isalnum() for c in text):
        raise ProviderError("tts", f"{provider.identity.name}: no sound for {len(text)} characters", retryable=True)
    if resampler is not None and (rest := resampler.feed(b"", last=True)):
        yield rest


def resilient(
    stt: Sequence[SpeechToText],
    llm: Sequence[LanguageModel],
    tts: Sequence[TextToSpeech],
    settings: ResilienceSettings,
    limits: LimitSettings,
    accounts: Accounts = ACCOUNTS,
) -> Engines:
    """Engines that survive each of their providers; the preferred ones first."""
    return Engines(
        ResilientRecogniser(stt, settings, limits, accounts),
        ResilientModel(llm, settings, limits, accounts),
        ResilientVoice(tts, settings, limits, accounts),
    )
