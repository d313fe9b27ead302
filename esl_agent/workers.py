"""The greenlets of one call that listen, think and speak. Each posts what it gets; late results carry numbers."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping

import gevent

from esl_agent.audio.pcm import Sound, SoundStream
from esl_agent.audio.silence import from_first_sound
from esl_agent.dialogue.actions import Message, ToolCall, ToolSpec
from esl_agent.dialogue.events import (
    HangUpWanted,
    ProviderFailed,
    ReplyEnded,
    ReplyText,
    Summarised,
    Synthesised,
    SynthesisEnded,
    ToolCalled,
    ToolReturned,
    Transcribed,
)
from esl_agent.dialogue.summary import MAX_CHARACTERS as MAX_SUMMARY_CHARACTERS
from esl_agent.errors import ProviderError, Stage
from esl_agent.http_tools import HttpTools
from esl_agent.legs.base import Post
from esl_agent.providers.base import Engines, HangUpPart, TextPart, TextToSpeech, ToolCallPart
from esl_agent.providers.feed import Feed
from esl_agent.speech_cache import SpeechCache

log = logging.getLogger(__name__)

#: A clip is never longer than this: a voice that does not stop is a fault, not a long sentence.
MAX_CLIP_SECONDS = 60.0

#: A stream is given to the leg once it has this much: five frames, so that the first hitch of the voice is not heard.
FIRST_SOUND = 0.1

#: A reply is cut here: some twenty minutes of talk, or a model in a loop.
MAX_REPLY_CHARACTERS = 20_000

#: Transcripts of one utterance, partial ones included: a hundred a second for an utterance of the longest kind.
MAX_TRANSCRIPTS = 3000

#: Characters of one transcript: some six minutes of talk.
MAX_TRANSCRIPT = 5000

_Key = tuple[str, int, int]
#: Its number is that of no turn.
_SUMMARY: _Key = ("summary", -1, 0)


class Workers:
    """At most one worker for each utterance, each turn's model, and each clip. Killing one saves money; correctness
    never depends on it."""

    def __init__(
        self,
        engines: Engines,
        cache: SpeechCache,
        rate: int,
        post: Post,
        call_id: str,
        *,
        streams: bool = False,
        http: HttpTools | None = None,
        languages: Mapping[str, Engines] | None = None,
    ) -> None:
        """``streams``: the leg plays sound while it is still being made (``MediaStream.streams``). ``http``: the tools
        that ask a server. ``languages``: who serves the call once it goes on in another language."""
        self._http = http or HttpTools({})
        self._languages = languages or {}
        self._tools = 0
        self._streams = streams
        self._engines = engines
        self._cache = cache
        self._rate = rate
        self._post = post
        self._call_id = call_id
        self._running: dict[_Key, gevent.Greenlet] = {}
        self._feeds: dict[int, Feed] = {}

    def open_utterance(self, utterance: int) -> None:
        self._feeds[utterance] = Feed()
        if self._engines.stt.streaming:
            self._listen(utterance)

    def send_audio(self, utterance: int, pcm: bytes) -> None:
        if feed := self._feeds.get(utterance):
            feed.add(pcm)

    def close_utterance(self, utterance: int) -> None:
        if feed := self._feeds.get(utterance):
            feed.end()
            if ("stt", utterance, 0) not in self._running:  # also where the language changed meanwhile
                self._listen(utterance)

    def retry_utterance(self, utterance: int) -> None:
        self._listen(utterance)

    def abandon_utterance(self, utterance: int) -> None:
        self._kill(("stt", utterance, 0))
        self._drop_feed(utterance)

    def switch_language(self, language: str) -> None:
        """For requests to come, not for what was asked before. Ignored for a language without engines of its own."""
        self._engines = self._languages.get(language, self._engines)

    def run_tool(self, turn: int, call: ToolCall) -> None:
        def run() -> None:
            try:
                returned = self._http.run(turn, call)
            except Exception:  # an edge that logs: whoever called the tool is owed an answer
                log.exception("call=%s tool: unexpected error", self._call_id)
                returned = ToolReturned(turn, call.id, "it failed", failed=True)
            self._post(returned)

        self._tools += 1
        self._start(("tool", turn, self._tools), run)

    def ask_model(
        self, turn: int, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...] = (), ask: int = 0
    ) -> None:
        llm = self._engines.llm

        def think() -> None:
            size = 0
            for part in llm.reply(messages, tools):
                if isinstance(part, HangUpPart):
                    self._post(HangUpWanted(turn, ask))
                elif isinstance(part, ToolCallPart):
                    self._post(ToolCalled(turn, part.call, ask))
                elif isinstance(part, TextPart) and part.text:
                    text = part.text[: MAX_REPLY_CHARACTERS - size]
                    self._post(ReplyText(turn, text, ask))
                    size += len(text)
                size += 1  # pieces without words end too
                if size >= MAX_REPLY_CHARACTERS:
                    log.warning("call=%s llm: more than %d characters; cut", self._call_id, MAX_REPLY_CHARACTERS)
                    break
            self._post(ReplyEnded(turn, ask=ask))

        for key in [key for key in self._running if key[:2] == ("llm", turn)]:
            self._kill(key)
        self._start(("llm", turn, ask), think)

    def summarise(self, number: int, messages: tuple[Message, ...]) -> None:
        """At most one at a time. Its failure is logged, and heard by nobody."""

        llm = self._engines.llm

        def think() -> None:
            text = ""
            try:
                for part in llm.reply(messages):
                    text += part.text if isinstance(part, TextPart) else ""
                    if len(text) > MAX_SUMMARY_CHARACTERS:
                        break
            except (ProviderError, gevent.Timeout) as error:
                log.warning("call=%s summary: %s", self._call_id, error)
                text = ""
            except Exception:  # an edge that logs: a provider's bug must not end the call
                log.exception("call=%s summary: unexpected error", self._call_id)
                text = ""
            self._post(Summarised(number, text))

        self.abandon_summary()
        self._start(_SUMMARY, think)

    def abandon_summary(self) -> None:
        self._kill(_SUMMARY)

    def synthesise(self, turn: int, clip: int, text: str) -> None:
        engines = self._engines
        if known := self._cache.get(engines.tts.voice, text):
            self._post(Synthesised(turn, clip, known))
            return
        if self._streams:
            self._start(("tts", turn, clip), lambda: self._stream(turn, clip, engines.tts, text))
        else:
            self._start(("tts", turn, clip), lambda: self._post(Synthesised(turn, clip, speak(engines, text))))

    def _stream(self, turn: int, clip: int, tts: TextToSpeech, text: str) -> None:
        stream, is_posted = SoundStream(tts.rate), False
        try:
            for piece in pieces(tts.speak(text), stream.rate, text):
                stream.append(piece)
                if not is_posted and stream.seconds >= FIRST_SOUND:
                    is_posted = True
                    self._post(Synthesised(turn, clip, stream))
        finally:
            stream.end()
        if is_posted:
            self._post(SynthesisEnded(turn, clip))
        else:
            self._post(Synthesised(turn, clip, Sound(bytes(stream.pcm), stream.rate)))

    def abandon_turn(self, turn: int) -> None:
        for key in [key for key in self._running if key[0] != "stt" and key[1] == turn]:
            self._kill(key)

    def close(self) -> None:
        """Stop everything. Idempotent; does not wait for the greenlets to end."""
        for key in list(self._running):
            self._kill(key)
        for utterance in list(self._feeds):
            self._drop_feed(utterance)

    def _listen(self, utterance: int) -> None:
        feed = self._feeds.get(utterance)
        if feed is None:
            return

        stt = self._engines.stt

        def listen() -> None:
            transcripts = stt.recognise(iter(feed), self._rate)
            for transcript in itertools.islice(transcripts, MAX_TRANSCRIPTS):
                self._post(Transcribed(utterance, transcript.text[:MAX_TRANSCRIPT], transcript.final))
                if transcript.final:
                    self._drop_feed(utterance)
                    return
            raise ProviderError("stt", "no final transcript from the recogniser", retryable=True)

        self._start(("stt", utterance, 0), listen)

    def _drop_feed(self, utterance: int) -> None:
        if feed := self._feeds.pop(utterance, None):
            feed.end()

    def _start(self, key: _Key, work: Callable[[], None]) -> None:
        self._kill(key)
        worker = gevent.Greenlet(self._guarded, key, work)
        self._running[key] = worker
        worker.link(lambda done: self._forget(key, done))
        worker.start()

    def _guarded(self, key: _Key, work: Callable[[], None]) -> None:
        try:
            work()
        except ProviderError as error:
            self._failed(key, str(error), retryable=error.retryable)
        except gevent.Timeout as error:
            log.warning("call=%s %s: %s", self._call_id, key[0], error)
            self._failed(key, f"{key[0]}: timed out: {error}", retryable=True)
        except Exception as error:  # an edge that logs: a provider's bug must not end the call
            log.exception("call=%s %s: unexpected error", self._call_id, key[0])
            self._failed(key, type(error).__name__, retryable=False)

    def _failed(self, key: _Key, error: str, *, retryable: bool) -> None:
        stage: Stage = key[0]  # type: ignore[assignment]
        clip, ask = (-1, key[2]) if stage == "llm" else (key[2], 0)
        self._post(ProviderFailed(stage, key[1], error, retryable, clip, ask))

    def _forget(self, key: _Key, worker: gevent.Greenlet) -> None:
        if self._running.get(key) is worker:
            del self._running[key]

    def _kill(self, key: _Key) -> None:
        if worker := self._running.pop(key, None):
            worker.kill(block=False)


def pieces(made: Iterable[bytes], rate: int, text: str) -> Iterator[bytes]:
    """``text`` as a voice made it, from its first sound on, in whole samples. Raises ProviderError; blocks
    cooperatively."""
    size, odd = 0, b""
    for piece in from_first_sound(made, rate):
        piece = odd + piece
        whole = len(piece) // 2 * 2
        odd = piece[whole:]
        size += whole
        if size > MAX_CLIP_SECONDS * rate * 2:
            raise ProviderError("tts", f"more than {MAX_CLIP_SECONDS:g} s of sound for {len(text)} characters")
        if whole:
            yield piece[:whole]
    if not size:
        raise ProviderError("tts", f"no sound for {len(text)} characters of text")


def speak(engines: Engines, text: str) -> Sound:
    """All of ``text`` as one piece of sound, from whichever voice works. Raises ProviderError; blocks cooperatively."""
    tts = engines.tts
    make = getattr(tts, "whole", tts.speak)
    return Sound(b"".join(pieces(make(text), tts.rate, text)), tts.rate)


def prepared(engines: Engines, text: str) -> Sound:
    """``speak``, before a call needs it, in the preferred voice: what is kept under its name is its sound."""
    tts = engines.tts
    make = getattr(tts, "preferred", tts.speak)
    return Sound(b"".join(pieces(make(text), tts.rate, text)), tts.rate)
