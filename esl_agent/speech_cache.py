"""Sound of the fixed phrases: greetings, prompts, apologies. Shared by all calls of the process.

Only what the operator wrote is kept, never a reply: a reply may hold a name, and is not said twice.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

from esl_agent.audio.pcm import Sound
from esl_agent.disk import aside
from esl_agent.speech_store import SpeechStore

log = logging.getLogger(__name__)

#: A thousand phrases of six seconds at 16 kHz.
MAX_BYTES = 200_000_000


class SpeechCache:
    """(voice, text) -> Sound, least recently used out first, at most ``max_bytes`` of sound.

    ``get`` is what calls use: a look into memory. ``recall`` and ``keep`` are for whoever prepares phrases: they also
    use ``store``, in a thread, while the hub goes on.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, store: SpeechStore | None = None) -> None:
        self._sounds: OrderedDict[tuple[str, str], Sound] = OrderedDict()
        self._max_bytes = max_bytes
        self._bytes = 0
        self._store = store

    def open(self) -> None:
        """Look at the store, before the first ``recall``. Blocks cooperatively."""
        if self._store is not None:
            self._try(self._store, self._store.open)

    def get(self, voice: str, text: str) -> Sound | None:
        sound = self._sounds.get((voice, text))
        if sound is not None:
            self._sounds.move_to_end((voice, text))
        return sound

    def put(self, voice: str, text: str, sound: Sound) -> None:
        key = (voice, text)
        if old := self._sounds.pop(key, None):
            self._bytes -= len(old.pcm)
        self._sounds[key] = sound
        self._bytes += len(sound.pcm)
        while self._bytes > self._max_bytes and len(self._sounds) > 1:
            _, oldest = self._sounds.popitem(last=False)
            self._bytes -= len(oldest.pcm)

    def recall(self, voice: str, rate: int, text: str) -> bool:
        """Whether ``text`` is in memory now, be it from the disk. Blocks cooperatively."""
        if self.get(voice, text) is None and self._store is not None:
            sound = aside(self._store.get, voice, rate, text)
            if sound is not None:
                self.put(voice, text, sound)
        return self.get(voice, text) is not None

    def keep(self, voice: str, text: str, sound: Sound) -> None:
        """``put``, and on the disk as well. Blocks cooperatively."""
        self.put(voice, text, sound)
        if self._store is not None:
            self._try(self._store, self._store.put, voice, text, sound)

    def _try(self, store: SpeechStore, work: Callable[..., None], *arguments: object) -> None:
        """A disk that fails is not asked again: it costs synthesis after a restart, nothing else."""
        try:
            aside(work, *arguments)
        except OSError as error:
            if self._store is not None:
                log.warning("cache: cannot use %s: %s; phrases stay in memory only", store.directory, error.strerror)
            self._store = None
