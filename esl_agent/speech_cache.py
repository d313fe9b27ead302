"""Sound of sentences that are said often: greetings, prompts, apologies. Shared by all calls of the process."""

from __future__ import annotations

from collections import OrderedDict

from esl_agent.audio.pcm import Sound


class SpeechCache:
    """(voice, text) -> Sound, least recently used out first, at most ``max_bytes`` of sound."""

    def __init__(self, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._sounds: OrderedDict[tuple[str, str], Sound] = OrderedDict()
        self._max_bytes = max_bytes
        self._bytes = 0

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
