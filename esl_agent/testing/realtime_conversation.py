"""One session of the pretend realtime service: what its client may do, and what follows from it."""

from __future__ import annotations

import audioop
import base64
import binascii
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from esl_agent.testing import realtime_session
from esl_agent.testing.realtime_ear import FORMATS, Ear, bytes_per_ms, decoded
from esl_agent.testing.realtime_script import RATE, Asked
from esl_agent.testing.realtime_shapes import Complaint, first
from esl_agent.testing.realtime_speaking import Speaking

if TYPE_CHECKING:
    from esl_agent.testing.pretend_realtime import PretendRealtime

#: Milliseconds that a committed buffer needs, and bytes that one append may have (as base64).
LEAST_MS = 100
MAX_APPEND = 15 * 1024 * 1024
#: Seconds in which a response that was interrupted ends.
LET_GO = 5.0


class Conversation:
    """What was received and sent is kept for whoever tests."""

    def __init__(self, server: PretendRealtime, connection: ServerConnection, model: str) -> None:
        self.server = server
        self.connection = connection
        self.received: list[dict[str, Any]] = []
        """Every event of the client but its sound."""
        self.appended = 0
        """Events with sound."""
        self.sent: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        """Of ``sent``, the ``error`` of each."""
        self.heard = bytearray()
        """All of the caller's sound, PCM16 at the rate of the session's format."""
        self.items: dict[str, dict[str, Any]] = {}
        """The conversation, in order."""
        self.sounded: dict[str, int] = {}
        """Bytes of sound that each item has, or has left after it was truncated."""
        self.truncated: dict[str, int] = {}
        """Milliseconds that items were cut to."""
        self.session = realtime_session.defaults(server.shape, model)
        self.has_spoken = False
        self.go_on = Event()
        """Set: a reply that pauses goes on."""
        self.speaking: Speaking | None = None
        self.utterances = 0
        self._numbers = 0
        self._ear = Ear(self._turn_detection)
        self._buffer = bytearray()
        self._said = b""
        self._results: list[str] = []
        self._held: list[dict[str, Any]] = []
        self._before = (0, 0)

    # How it is set

    @property
    def said_in(self) -> str:
        """The format that it speaks in."""
        return realtime_session.formats(self.session)[1]

    @property
    def said_as(self) -> str:
        """What its sound is called within an item."""
        return "output_audio" if self.server.shape == "ga" else "audio"

    @property
    def heard_in(self) -> str:
        return realtime_session.formats(self.session)[0]

    @property
    def _turn_detection(self) -> dict[str, Any]:
        return realtime_session.heard(self.session)["turn_detection"] or {}

    # What it sends

    def new_id(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind}_{self._numbers:06d}"

    def say(self, kind: str, **fields: Any) -> None:
        """An event, under the name that the server's shape has for it."""
        event = {"type": self.server.name_of(kind), "event_id": self.new_id("event"), **fields}
        event = json.loads(json.dumps(event))
        self.sent.append(event)
        self.connection.send(json.dumps(event, ensure_ascii=False))

    def refuse(self, complaint: Complaint, event: Mapping[str, Any], kind: str = "invalid_request_error") -> None:
        code, message, param = complaint
        error = {"type": kind, "code": code, "message": message, "param": param or None}
        id = event.get("event_id")
        self.errors.append(error | {"event_id": id if isinstance(id, str) else None})
        self.say("error", error=self.errors[-1])

    def tell_limits(self) -> None:
        limits = [
            {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 0.06},
            {"name": "tokens", "limit": 50_000, "remaining": 49_000, "reset_seconds": 0.5},
        ]
        self.say("rate_limits.updated", rate_limits=limits)

    def add_item(self, item: dict[str, Any], status: Mapping[str, str], after: str | None = None) -> None:
        before = next(reversed(self.items), None) if after is None else after
        self.items[item["id"]] = item
        self.say("conversation.item.added", previous_item_id=before, item=item | dict(status))

    def item_done(self, item: dict[str, Any], status: Mapping[str, str]) -> None:
        if item["id"] in self.items:  # it may have been deleted meanwhile
            self.items[item["id"]] = item
        if self.server.shape == "ga":
            self.say("conversation.item.done", previous_item_id=None, item=item | dict(status))

    def usage(self, output: int, sound: int) -> dict[str, Any]:
        """Of a response: all that was heard and said so far is its input, and what was input before is cached."""
        heard = len(self.heard) * 10 // (2 * FORMATS[self.heard_in][0])
        text = 20 + len(json.dumps(list(self.items.values()))) // 40
        (cached_text, cached_sound), self._before = self._before, (text, heard)
        cached_details = {"text_tokens": cached_text, "audio_tokens": cached_sound, "image_tokens": 0}
        return {
            "total_tokens": heard + text + output,
            "input_tokens": heard + text,
            "output_tokens": output,
            "input_token_details": {
                "text_tokens": text,
                "audio_tokens": heard,
                "image_tokens": 0,
                "cached_tokens": cached_text + cached_sound,
                "cached_tokens_details": cached_details,
            },
            "output_token_details": {"text_tokens": max(0, output - sound), "audio_tokens": min(sound, output)},
        }

    # What it is told

    def obey(self, message: str | bytes) -> None:
        """One message of the client."""
        try:
            event = json.loads(message) if isinstance(message, str) else None
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self.refuse(("invalid_json", "Could not parse the message as a JSON object.", ""), {})
            return
        known = self.server.events.get(str(event.get("type")))
        if known is None:
            names = ", ".join(f"'{each}'" for each in self.server.events)
            self.refuse(("invalid_value", f"Invalid value: 'type'. Supported values are: {names}.", "type"), event)
            return
        if event["type"] != "input_audio_buffer.append":
            self.received.append(event)
        complaint = first(known, event)
        if event["type"] == self.server.refuses:
            complaint = "unknown_parameter", "Unknown parameter.", ""
        if complaint is None:
            complaint = getattr(self, "_" + event["type"].replace(".", "_"))(event)
        if complaint is not None:
            self.refuse(complaint, event)

    def _session_update(self, event: dict[str, Any]) -> Complaint | None:
        given = event["session"]
        voice = realtime_session.voice(given)
        if self.has_spoken and voice is not None and voice != realtime_session.voice(self.session):
            return (
                "cannot_update_voice",
                "Cannot update a conversation's voice if assistant audio is present.",
                "session.audio.output.voice",
            )
        self.session = realtime_session.merged(self.session, given)
        self._ear = Ear(self._turn_detection, FORMATS[self.heard_in][0], self._ear.at_ms, self._ear.is_speech)
        self.say("session.updated", session=self.server.overrides(self.session))
        self.server.strike("update", self.connection)
        return None

    def _input_audio_buffer_append(self, event: dict[str, Any]) -> Complaint | None:
        try:
            sound = base64.b64decode(event["audio"], validate=True)
        except binascii.Error:
            return "invalid_value", "Invalid 'audio': expected base64-encoded audio bytes.", "audio"
        if len(event["audio"]) > MAX_APPEND:
            return "string_above_max_length", "Invalid 'audio': string too long.", "audio"
        if FORMATS[self.heard_in][1] == "" and len(sound) % 2:
            return "invalid_value", "Invalid 'audio': expected whole samples of 16 bits.", "audio"
        pcm, rate = decoded(sound, self.heard_in)
        self.appended += 1
        self.heard += pcm
        self._buffer += pcm
        self.server.strike("sound", self.connection)
        if self._turn_detection:
            for what, at in self._ear.hear(pcm):
                self._caller_began(at) if what == "started" else self._caller_ended(at)
            if not self._ear.is_speech:
                del self._buffer[: max(0, len(self._buffer) - rate * 2)]
        return None

    def _caller_began(self, at: int) -> None:
        self._said_item = self.new_id("item")
        self.say("input_audio_buffer.speech_started", audio_start_ms=at, item_id=self._said_item)
        if self.speaking is not None and not self.speaking.is_over and self._turn_detection["interrupt_response"]:
            self.speaking.cancel("turn_detected")
            self.speaking.over.wait(LET_GO)

    def _caller_ended(self, at: int) -> None:
        self.say("input_audio_buffer.speech_stopped", audio_end_ms=at, item_id=self._said_item)
        self._commit(self._said_item)
        if self._turn_detection["create_response"]:
            self._respond("speech")

    def _input_audio_buffer_commit(self, event: dict[str, Any]) -> Complaint | None:
        held = len(self._buffer) * 1000 // (2 * FORMATS[self.heard_in][0])
        if held < LEAST_MS:
            return (
                "input_audio_buffer_commit_empty",
                f"Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, but buffer "
                f"only has {held}.00ms of audio.",
                "",
            )
        self._commit(self.new_id("item"))
        return None

    def _commit(self, id: str) -> None:
        rate = FORMATS[self.heard_in][0]
        pcm = bytes(self._buffer)
        self._buffer.clear()
        self._said = pcm if rate == RATE else audioop.ratecv(pcm, 2, 1, rate, RATE, None)[0]
        self.utterances += 1
        before = next(reversed(self.items), None)
        self.say("input_audio_buffer.committed", item_id=id, previous_item_id=before)
        content = [{"type": "input_audio", "transcript": None}]
        item = {"id": id, "object": "realtime.item", "type": "message", "role": "user", "content": content}
        self.add_item(item, {"status": "completed"})
        self.item_done(item, {"status": "completed"})
        if realtime_session.heard(self.session)["transcription"] is not None:
            self._transcribe(id, len(pcm) / 2 / rate)

    def _transcribe(self, id: str, seconds: float) -> None:
        """Later than the answer begins; where transcripts are held back, the newest comes first."""
        text = self.server.caller_words(self.utterances)
        name = "conversation.item.input_audio_transcription"
        place = {"item_id": id, "content_index": 0}
        if text is None:
            error = {"type": "transcription_error", "code": "audio_unintelligible", "message": "?", "param": None}
            events = [(f"{name}.failed", place | {"error": error})]
        else:
            usage = {"type": "duration", "seconds": max(1.0, round(seconds))}
            events = [(f"{name}.delta", place | {"delta": each}) for each in (text[:3], text[3:]) if each]
            events.append((f"{name}.completed", place | {"transcript": text, "usage": usage}))
        self._held[:0] = [{"kind": kind, **fields} for kind, fields in events]
        if self.utterances % self.server.transcripts_held == 0:
            held, self._held = self._held, []
            gevent.spawn_later(self.server.transcripts_after, self._tell_later, held)

    def _tell_later(self, held: list[dict[str, Any]]) -> None:
        try:
            for each in held:
                self.say(each.pop("kind"), **each)
        except ConnectionClosed:
            return

    def _input_audio_buffer_clear(self, event: dict[str, Any]) -> Complaint | None:
        self._buffer.clear()
        self.say("input_audio_buffer.cleared")
        return None

    def _conversation_item_create(self, event: dict[str, Any]) -> Complaint | None:
        item = {"id": self.new_id("item"), "object": "realtime.item", **event["item"]}
        if item["id"] in self.items:
            return "item_create_duplicate_item_id", f"Item with id '{item['id']}' already exists.", "item.id"
        if item["type"] == "function_call_output":
            calls = [each.get("call_id") for each in self.items.values() if each["type"] == "function_call"]
            if item["call_id"] not in calls:
                return (
                    "invalid_tool_call_id",
                    f"Tool call ID '{item['call_id']}' not found in conversation.",
                    "item.call_id",
                )
            self._results.append(item["output"])
        self.add_item(item, {"status": "completed"})
        self.item_done(item, {"status": "completed"})
        self.server.strike("item", self.connection)
        return None

    def _conversation_item_truncate(self, event: dict[str, Any]) -> Complaint | None:
        id, until = event["item_id"], event["audio_end_ms"]
        if id not in self.items:
            return "item_truncate_invalid_item_id", f"Item with item_id not found: {id}", "item_id"
        if not self.sounded.get(id) or until <= 0 or event["content_index"] != 0:
            return (
                "unsupported_content_type",
                "Only model output audio messages can be truncated",
                "item_id",
            )
        has = self.sounded[id] // bytes_per_ms(self.said_in)
        if until > has:
            return "invalid_value", f"Audio content of {has}ms is already shorter than {until}ms", "audio_end_ms"
        self.sounded[id] = until * bytes_per_ms(self.said_in)
        self.truncated[id] = until
        self.items[id]["content"] = [{"type": self.said_as, "transcript": ""}]
        self.say("conversation.item.truncated", item_id=id, content_index=0, audio_end_ms=until)
        return None

    def _conversation_item_delete(self, event: dict[str, Any]) -> Complaint | None:
        if self.items.pop(event["item_id"], None) is None:
            return "item_delete_invalid_item_id", "Item with item_id not found.", "item_id"
        self.say("conversation.item.deleted", item_id=event["item_id"])
        return None

    def _conversation_item_retrieve(self, event: dict[str, Any]) -> Complaint | None:
        if event["item_id"] not in self.items:
            return "item_retrieve_invalid_item_id", "Item with item_id not found.", "item_id"
        self.say("conversation.item.retrieved", item=self.items[event["item_id"]])
        return None

    def _response_create(self, event: dict[str, Any]) -> Complaint | None:
        if self.speaking is not None and not self.speaking.is_over:
            return (
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {self.speaking.id}. Wait until the response "
                f"is finished before creating a new one.",
                "",
            )
        instructions = event.get("response", {}).get("instructions", "")
        self._respond("tools" if self._results else "asked", instructions)
        return None

    def _respond(self, why: Any, instructions: str = "") -> None:
        if self.speaking is not None and not self.speaking.is_over:
            return
        asked = Asked(
            why, self.utterances, instructions or self.session["instructions"], tuple(self._results), self._said
        )
        self._results.clear()
        self.speaking = Speaking(self, self.server.script(asked))
        gevent.spawn(self.speaking.run)

    def _response_cancel(self, event: dict[str, Any]) -> Complaint | None:
        active = self.speaking
        if active is None or active.is_over or event.get("response_id", active.id) != active.id:
            return "response_cancel_not_active", "Cancellation failed: no active response found", ""
        active.cancel("client_cancelled")
        return None
