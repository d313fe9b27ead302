"""What chan_websocket does with the messages it is sent: a queue of frames and marks, given out every 20 ms.

``FarChannel`` is pure: whoever calls ``tick`` is Asterisk's timer. By chan_websocket.c (22.10.1) and what was measured.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping

QUEUE_MAX, XOFF_LEVEL, XON_LEVEL = 1000, 900, 800
MAX_COMMAND_BYTES = 128
MAX_SOUND_BYTES = 65280


class FarChannel:
    """One channel. ``events`` collects the text messages it sends, ``closed`` is the code it closes with.

    ``waits``: dial option ``n``, the caller is answered by ANSWER alone. ``knows_marks``: False before 20.18 and 22.8.
    """

    def __init__(
        self,
        format: str = "slin24",
        frame_bytes: int = 960,
        is_json: bool = True,
        waits: bool = False,
        knows_marks: bool = True,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.channel_id = "1795197266.119"
        self.events: list[str] = []
        self.ignored: list[str] = []
        """Commands that were too long or unknown."""
        self.lost = 0
        """Bytes that were never queued."""
        self.closed: int | None = None
        self.is_answered = not waits
        self.answers = 0
        self._frame_bytes = frame_bytes
        self._is_json = is_json
        self._knows_marks = knows_marks
        self._queue: deque[bytes | str] = deque()
        self._length = 0
        self._is_full = self._is_paused = self._is_bulk = self._tells_drained = False
        self._leftover = b""
        self._start(format, variables or {})

    def receive(self, message: bytes | str) -> None:
        """A message from the agent."""
        if self.closed is not None:
            return
        if isinstance(message, bytes):
            self._sound(message)
        elif len(message.encode()) > MAX_COMMAND_BYTES:
            self.ignored.append(message)
        else:
            self._command(message.strip())

    def tick(self) -> bytes:
        """What is given out in these 20 ms; empty: nothing, and no RTP leaves."""
        if self._is_paused or self.closed is not None:
            return b""
        if self._is_full and self._length < XON_LEVEL:
            self._is_full = False
            self._tell("MEDIA_XON")
        if not self._queue and self._tells_drained:
            self._tells_drained = False
            self._tell("QUEUE_DRAINED")
        while self._queue and isinstance(self._queue[0], str):
            self.events.append(str(self._queue.popleft()))
        if not self._queue:
            return b""
        self._length -= 1
        frame = self._queue.popleft()
        assert isinstance(frame, bytes)
        return frame

    def _sound(self, data: bytes) -> None:
        if len(data) > MAX_SOUND_BYTES:
            self.closed = 1009
            return
        if self._length >= QUEUE_MAX:
            self.lost += len(data)
            return
        data = self._leftover + data
        self._leftover = b""
        whole = len(data) - len(data) % self._frame_bytes
        for at in range(0, whole, self._frame_bytes):
            self._enqueue(data[at : at + self._frame_bytes])
        if self._is_bulk:
            self._leftover = data[whole:]
        else:
            self.lost += len(data) - whole

    def _enqueue(self, frame: bytes) -> None:
        self._queue.append(frame)
        self._length += 1
        if not self._is_full and self._length >= XOFF_LEVEL:
            self._is_full = True
            self._tell("MEDIA_XOFF")

    def _command(self, message: str) -> None:
        name, _, argument = message.partition(" ")
        if self._is_json:
            try:
                words = json.loads(message)
            except ValueError:
                self._tell("ERROR", error_text="Unable to parse JSON command")
                return
            name, argument = words.get("command", ""), words.get("correlation_id", "")
        match name:
            case "ANSWER":
                self.is_answered, self.answers = True, self.answers + 1
            case "HANGUP":
                self.closed = 1000
            case "START_MEDIA_BUFFERING":
                self._is_bulk = True
            case "STOP_MEDIA_BUFFERING":
                self._is_bulk = False
                if self._leftover:
                    self._enqueue(self._leftover)
                    self._leftover = b""
                self._queue.append(self._event("MEDIA_BUFFERING_COMPLETED", correlation_id=argument))
            case "MARK_MEDIA" if self._knows_marks:
                self._queue.append(self._event("MEDIA_MARK_PROCESSED", correlation_id=argument))
            case "FLUSH_MEDIA":
                self._queue.clear()
                self._length, self._leftover, self._is_bulk = 0, b"", False
            case "REPORT_QUEUE_DRAINED":
                self._tells_drained = True
            case "GET_STATUS":
                self._status()
            case "PAUSE_MEDIA" | "CONTINUE_MEDIA":
                self._is_paused = name == "PAUSE_MEDIA"
            case _:
                self.ignored.append(message)

    def _start(self, format: str, variables: Mapping[str, str]) -> None:
        channel = {"connection_id": "agentws", "channel": "WebSocket/agentws/0x7f321401ca50"}
        words = {"format": format, "optimal_frame_size": self._frame_bytes, "ptime": 20}
        if self._is_json:
            inherited = {"DIALEDPEERNUMBER": f"agentws/c({format})f(json)", **variables}
            start = {"event": "MEDIA_START", **channel, "channel_id": self.channel_id, **words}
            self.events.append(_json({**start, "channel_variables": inherited}))
        else:
            named = {**channel, "channel_id": self.channel_id, **words}
            self.events.append(" ".join(["MEDIA_START", *(f"{key}:{value}" for key, value in named.items())]))

    def _status(self) -> None:
        flags = {"queue_full": self._is_full, "bulk_media": self._is_bulk, "media_paused": self._is_paused}
        levels = {"queue_length": self._length, "xon_level": XON_LEVEL, "xoff_level": XOFF_LEVEL}
        if self._is_json:
            self.events.append(_json({"event": "STATUS", "channel_id": self.channel_id, **levels, **flags}))
        else:
            words = {"channel_id": self.channel_id, **levels, **{k: str(v).lower() for k, v in flags.items()}}
            self.events.append(" ".join(["STATUS", *(f"{key}:{value}" for key, value in words.items())]))

    def _tell(self, name: str, **words: str) -> None:
        self.events.append(self._event(name, **words))

    def _event(self, name: str, **words: str) -> str:
        if self._is_json:
            return _json({"event": name, "channel_id": self.channel_id, **words})
        if "error_text" in words:
            return f"{name} channel_id:{self.channel_id} error_text:{words['error_text']}"
        return " ".join([name, *words.values()])

    def press(self, digit: str) -> None:
        """The caller pressed a key."""
        if self._is_json:
            self._tell("DTMF_END", digit=digit)
        else:
            self.events.append(f"DTMF_END digit:{digit} channel_id:{self.channel_id}")


def _json(words: Mapping[str, object]) -> str:
    return json.dumps(words, separators=(",", ":"))


def unwrapped(data: bytes) -> list[bytes | str]:
    """The messages in what a server wrote: whole frames, not masked (RFC 6455)."""
    found: list[bytes | str] = []
    while data:
        size, head = data[1], 2
        if size == 126:
            size, head = int.from_bytes(data[2:4], "big"), 4
        payload = data[head : head + size]
        found.append(payload.decode() if data[0] == 0x81 else payload)
        data = data[head + size :]
    return found
