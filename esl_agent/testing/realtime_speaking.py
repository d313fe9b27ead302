"""One response of the pretend realtime service: sent in pieces by a greenlet of its own, sooner than it is heard."""

from __future__ import annotations

import base64
import json
from itertools import cycle
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event
from websockets.exceptions import ConnectionClosed

from esl_agent.testing.realtime_ear import bytes_per_ms, encoded
from esl_agent.testing.realtime_script import Reply
from esl_agent.testing.web import drop

if TYPE_CHECKING:
    from esl_agent.testing.realtime_conversation import Conversation

#: Lengths of the pieces that sound comes in, in bytes: odd, so that samples are cut in two.
PIECES = (4801, 9607, 2399, 14411)


class Speaking:
    """``over`` once its response.done is sent."""

    def __init__(self, talk: Conversation, reply: Reply) -> None:
        self.id = talk.new_id("resp")
        self.over = Event()
        self._talk = talk
        self._reply = reply
        self._output: list[dict[str, Any]] = []
        self._cancelled = ""
        self._is_cancelled = Event()
        self._sent = 0
        self._text_tokens = self._said_ms = 0
        self._open: tuple[str, int] | None = None

    @property
    def is_over(self) -> bool:
        return bool(self.over.is_set())

    def cancel(self, reason: str) -> None:
        """Nothing more of it but what is ``late``."""
        self._cancelled = self._cancelled or reason
        self._is_cancelled.set()

    def run(self) -> None:
        """All of it."""
        try:
            self._begin()
            for words, pcm in self._reply.items() if self._reply.status != "failed" else ():
                self._say(words, pcm)
                if self._cancelled:
                    break
            for called in self._reply.calls if not self._cancelled else ():
                self._call(called.id, called.name, json.dumps(dict(called.arguments)))
            self._end()
        except ConnectionClosed:
            return
        finally:
            self.over.set()

    def _begin(self) -> None:
        self._talk.say("response.created", response=self._resource("in_progress"))
        self._talk.tell_limits()

    def _say(self, words: str, pcm: bytes) -> None:
        talk, index = self._talk, len(self._output)
        id = talk.new_id("item")
        item: dict[str, Any] = {"id": id, "object": "realtime.item", "type": "message", "role": "assistant"}
        item["content"] = []
        place = {"response_id": self.id, "item_id": id, "output_index": index, "content_index": 0}
        talk.say("response.output_item.added", response_id=self.id, output_index=index, item=item | _GOING)
        talk.add_item(item, _GOING)
        talk.say("response.content_part.added", **place, part={"type": "audio", "transcript": ""})
        said = self._stream(place, words, pcm)
        talk.say("response.output_audio.done", **place)
        talk.say("response.output_audio_transcript.done", **place, transcript=said)
        talk.say("response.content_part.done", **place, part={"type": "audio", "transcript": said})
        status = {"status": "incomplete" if self._cancelled else "completed"}
        item["content"] = [{"type": talk.said_as, "transcript": said}]
        talk.say("response.output_item.done", response_id=self.id, output_index=index, item=item | status)
        talk.item_done(item, status)
        self._output.append(item | status)

    def _stream(self, place: dict[str, Any], words: str, pcm: bytes) -> str:
        """The sound of an item and its words in between; returns the words that were sent."""
        talk, said = self._talk, ""
        sound = encoded(pcm, talk.said_in)
        left = [f"{word} " for word in words.split()]
        at, sizes = 0, cycle(PIECES)
        talk.sounded[place["item_id"]] = 0
        while at < len(sound) and not self._cancelled:
            if left:
                said += left[0]
                talk.say("response.output_audio_transcript.delta", **place, delta=left.pop(0))
            at = self._piece(place, sound, at, next(sizes))
            self._hold()
        for word in left if not self._cancelled else ():
            said += word
            talk.say("response.output_audio_transcript.delta", **place, delta=word)
        for _ in range(self._reply.late if self._cancelled else 0):
            at = self._piece(place, sound, at, next(sizes))
        self._said_ms += talk.sounded[place["item_id"]] // bytes_per_ms(talk.said_in)
        self._text_tokens += len(said) // 4 + 1
        return said.strip()

    def _piece(self, place: dict[str, Any], sound: bytes, at: int, size: int) -> int:
        talk, piece = self._talk, sound[at : at + size]
        if not piece:
            return at
        talk.sounded[place["item_id"]] += len(piece)
        talk.has_spoken = True
        talk.say("response.output_audio.delta", **place, delta=base64.b64encode(piece).decode())
        self._sent += 1
        talk.server.strike("response", talk.connection)
        if self._reply.drop_after == self._sent:
            drop(talk.connection)
        gevent.sleep(len(piece) / bytes_per_ms(talk.said_in) / 1000 / talk.server.speed)
        return at + len(piece)

    def _hold(self) -> None:
        if self._reply.pause_after == self._sent and not self._cancelled:
            gevent.wait([self._is_cancelled, self._talk.go_on], count=1)

    def _call(self, call: str, name: str, arguments: str) -> None:
        talk, index = self._talk, len(self._output)
        id = talk.new_id("item")
        item = {"id": id, "object": "realtime.item", "type": "function_call", "call_id": call, "name": name}
        place = {"response_id": self.id, "item_id": id, "output_index": index, "call_id": call}
        empty = item | {"arguments": ""} | _GOING
        talk.say("response.output_item.added", response_id=self.id, output_index=index, item=empty)
        talk.add_item(item | {"arguments": ""}, _GOING)
        half = len(arguments) // 2
        for piece in (arguments[:half], arguments[half:]):
            talk.say("response.function_call_arguments.delta", **place, delta=piece)
        talk.say("response.function_call_arguments.done", **place, name=name, arguments=arguments)
        done, status = item | {"arguments": arguments}, {"status": "completed"}
        talk.say("response.output_item.done", response_id=self.id, output_index=index, item=done | status)
        talk.item_done(done, status)
        self._text_tokens += len(arguments) // 4 + 4
        self._output.append(done | status)

    def _end(self) -> None:
        status = "cancelled" if self._cancelled else self._reply.status
        details: dict[str, Any] = {"type": status}
        if self._cancelled:
            details["reason"] = self._cancelled
        elif status == "incomplete":
            details["reason"] = "max_output_tokens"
        elif status == "failed":
            code, message = self._reply.error
            details["error"] = {"type": "server_error", "code": code, "message": message}
        self.over.set()
        self._talk.say("response.done", response=self._resource(status, details))

    def _resource(self, status: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "status_details": details if status != "completed" else None,
            "output": self._output,
            "conversation_id": "conv_1",
            "output_modalities": ["audio"],
            "metadata": None,
            "usage": None,
        }
        if details is not None:
            sound = self._said_ms // 50
            out = self._text_tokens + sound if self._reply.output_tokens is None else self._reply.output_tokens
            found["usage"] = self._talk.usage(out, sound)
        return found


_GOING = {"status": "in_progress"}
