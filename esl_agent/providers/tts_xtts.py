"""TTS ``xtts``: the streaming server of Coqui's XTTS, ``/tts_stream``.

Source: coqui-ai/xtts-streaming-server ``server/main.py``. The speaker is one of the studio's, or cloned once from a
recording. Samples at 24 kHz without the header, whose length would be 0.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers.account import account
from esl_agent.providers.base import EngineContext, Identity
from esl_agent.providers.http import HttpServer
from esl_agent.providers.languages import short_language
from esl_agent.providers.sound import SOUND, Raw, pcm16
from esl_agent.providers.spoken import speakable
from esl_agent.providers.voice_key import voice_key
from esl_agent.providers.xtts_speakers import MAX_SPEAKER, is_speaker, speaker_named
from esl_agent.setting import STRICT, setting
from esl_agent.wire.riff import is_wav

#: What the model speaks at.
RATE = 24000
#: Bytes of a recording to clone from: six seconds are enough.
MAX_RECORDING = 10 * 1024 * 1024
#: Where the model's name for a language is not ISO 639-1.
_LANGUAGES = {"zh": "zh-cn"}


@dataclass(frozen=True, slots=True)
class XttsVoiceOptions:
    """An XTTS streaming server, on a machine of your own."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting("http://127.0.0.1:8000", "Where it listens.", pattern="^https?://")
    speaker: str = setting("Claribel Dervla", "A name of GET /studio_speakers.")
    clone_from: str = setting("", "A WAV file of a voice to speak with instead; whose voice it is has agreed to it.")
    language: str = setting("", "A name of GET /languages. Empty: the language of the DID.", pattern="^[a-z-]*$")
    stream_chunk_size: int | None = setting(None, "Smaller: sound sooner, with more work. Unset: 20.", ge=1, le=200)
    rate: int = setting(RATE, "Samples a second; another than the model's is made by resampling.", ge=8000, le=48000)
    ca_file: str = setting("", "Certificates (PEM) of a private server.")
    at_once: int = setting(0, "Requests at a time that the GPU can do. 0: no limit.", ge=0, le=1000)


class XttsVoice:
    """Asks once for its speaker, then only for speech."""

    def __init__(self, options: XttsVoiceOptions, context: EngineContext) -> None:
        self._options = options
        self._recording = _recording(options.clone_from)
        language = options.language or short_language(context.language)
        self._language = _LANGUAGES.get(language, language)
        self._server = HttpServer("tts", options.url, ca_file=options.ca_file)
        self._speaker = b""
        # Clauses that come together ask for the speaker once.
        self._asking = threading.Lock()
        self.rate = options.rate
        self.identity = Identity("xtts", account(options.url), options.at_once)
        self.voice = voice_key("xtts", options, self._language, hashlib.sha256(self._recording).hexdigest()[:12])

    def warm(self) -> None:
        """Ask for the speaker; returns without waiting. What goes wrong is found out when it is needed."""

        def ask() -> None:
            try:
                self._whose()
            except ProviderError:
                return

        threading.Thread(target=ask, name="xtts speaker", daemon=True).start()

    def speak(self, text: str) -> Iterator[bytes]:
        """PCM16 mono in pieces; nothing at all for text without a letter or digit."""
        if not (spoken := speakable(text)):
            return
        wanted = {"text": spoken, "language": self._language, "add_wav_header": False}
        if self._options.stream_chunk_size is not None:
            wanted["stream_chunk_size"] = str(self._options.stream_chunk_size)
        body = self._whose()[:-1] + b"," + json.dumps(wanted).encode()[1:]
        headers = {"Content-Type": "application/json"}
        with self._server.ask("POST", "tts_stream", data=body, headers=headers, expect=SOUND) as answer:
            yield from pcm16(answer.pieces(), Raw("s16", RATE), self.rate, self._server.error)

    def _whose(self) -> bytes:
        """The speaker as JSON: ``{"speaker_embedding": [...], "gpt_cond_latent": [[...]]}``."""
        with self._asking:
            if not self._speaker:
                found = self._cloned() if self._recording else self._studio()
                if not is_speaker(found):
                    raise self._server.error(f"expected a speaker's numbers, got {found[:60]!r}")
                self._speaker = found
            return self._speaker

    def _studio(self) -> bytes:
        with self._server.ask("GET", "studio_speakers", expect="application/json") as answer:
            found = speaker_named(answer.pieces(), self._options.speaker)
        if found is None:
            name = self._options.speaker
            raise self._server.error(f"no studio speaker is named {name!r}", retryable=False, blame="setup")
        return found

    def _cloned(self) -> bytes:
        files = {"wav_file": ("voice.wav", self._recording, "audio/wav")}
        with self._server.ask("POST", "clone_speaker", files=files, expect="application/json") as answer:
            return answer.whole(MAX_SPEAKER).strip()


def _recording(path: str) -> bytes:
    if not path:
        return b""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_RECORDING + 1)
    except OSError as error:
        raise ConfigError([f"tts: engine xtts: clone_from: {path}: {error.strerror}"]) from None
    if not is_wav(data) or len(data) > MAX_RECORDING:
        raise ConfigError([f"tts: engine xtts: clone_from: {path} is no WAV file of at most {MAX_RECORDING} bytes"])
    return data
