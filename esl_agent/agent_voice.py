"""What a speech-to-speech agent says, cut as the leg can play it: sound comes faster than it can be heard."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from esl_agent.audio.agent_sound import FromAgent
from esl_agent.audio.pcm import Sound, SoundFormat, SoundStream
from esl_agent.dialogue.events import AgentSpeaks, AgentSpoke, Event
from esl_agent.errors import ProviderError
from esl_agent.providers.base import SoundEnded, SoundPart

log = logging.getLogger(__name__)

#: The rest of an item is dropped: an agent that speaks for longer without a pause reads something out to nobody.
MAX_ITEM_SECONDS = 300.0
#: Where the leg plays whole sounds: the first part, so that it begins soon, and the others.
FIRST_PART, NEXT_PART = 0.4, 1.5
#: Items whose sound is under way at a time, and those of one response: a response has one or two.
MAX_ITEMS = 32


@dataclass(slots=True)
class _Item:
    response: str
    decode: FromAgent
    stream: SoundStream
    """All of it where the leg streams; elsewhere what is not given out yet."""
    parts: int = 0
    at: float = 0.0
    seconds: float = 0.0
    is_cut: bool = False


class AgentVoice:
    """The sound of one session, as events. ``streams``: the leg plays sound while it grows."""

    def __init__(self, session: int, sound: SoundFormat, *, streams: bool, call_id: str) -> None:
        self._session = session
        self._sound = sound
        self._streams = streams
        self._call_id = call_id
        self._items: dict[str, _Item] = {}
        self._over: list[str] = []
        self.seconds = 0.0
        """What came since the last ``new_response``."""

    def new_response(self) -> Iterator[Event]:
        """What is left of others has ended: it came when they were over."""
        yield from self.close()
        self.seconds = 0.0
        self._over.clear()

    def sound(self, part: SoundPart) -> Iterator[Event]:
        """More of an item. Raises ProviderError for more items than a response can have."""
        self.seconds += len(part.sound) / self._sound.bytes_per_second
        if part.item in self._over:
            return
        item = self._items.get(part.item)
        if item is None:
            if len(self._items) + len(self._over) >= MAX_ITEMS:
                raise ProviderError("agent", f"more than {MAX_ITEMS} items with sound at a time", retryable=True)
            item = _Item(part.response, FromAgent(self._sound), SoundStream(self._sound.rate))
            self._items[part.item] = item
        pcm = item.decode.feed(part.sound)
        room = max(0, round((MAX_ITEM_SECONDS - item.seconds) * self._sound.rate)) * 2
        if len(pcm) > room and not item.is_cut:
            item.is_cut = True
            log.warning("call=%s agent: more than %g s of sound in one item; cut", self._call_id, MAX_ITEM_SECONDS)
        if pcm := pcm[:room]:
            item.seconds += len(pcm) / 2 / self._sound.rate
            item.stream.append(pcm)
            yield from self._given_out(part.item, item)

    def sound_ended(self, part: SoundEnded) -> Iterator[Event]:
        yield from self._end(part.item, part.response)

    def response_ended(self, response: str) -> Iterator[Event]:
        """Whatever of it was not told to have ended has now."""
        for name in [name for name, item in self._items.items() if item.response == response]:
            yield from self._end(name, response)

    def close(self) -> Iterator[Event]:
        """No sound is left that waits for more."""
        for name, item in list(self._items.items()):
            yield from self._end(name, item.response)

    def _given_out(self, name: str, item: _Item) -> Iterator[Event]:
        if self._streams:
            if not item.parts:
                item.parts = 1
                yield AgentSpeaks(self._session, item.response, name, item.stream)
        elif item.stream.seconds >= (NEXT_PART if item.parts else FIRST_PART):
            yield self._part(name, item)

    def _part(self, name: str, item: _Item) -> Event:
        made = Sound(bytes(item.stream.pcm), item.stream.rate)
        part = AgentSpeaks(self._session, item.response, name, made, item.parts, item.at)
        item.parts += 1
        item.at += made.seconds
        item.stream = SoundStream(item.stream.rate)
        return part

    def _end(self, name: str, response: str) -> Iterator[Event]:
        if name in self._over:
            return
        item = self._items.pop(name, None)
        self._over.append(name)
        del self._over[:-MAX_ITEMS]
        if item is not None:
            item.stream.end()
            if not self._streams and item.stream.pcm:
                yield self._part(name, item)
        yield AgentSpoke(self._session, response, name)
