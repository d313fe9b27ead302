"""A realtime service that says what it hears: each piece of the caller's sound comes back as one of a response that
does not end. ``python -m bench.asterisk.echo_service PORT``.

As little as it can be, so that a hundred sessions cost it a fraction of a core: plain sockets, and no message with
sound is parsed. Strict it is not: that is testing/pretend_realtime.py. On ``settle`` (standard input) the callers that
are measured seem to speak up, and their echo begins again: what piled up while calls began is forgotten. On ``collect``
it leaves what they have been heard to say, and when.
"""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
import re
import selectors
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Their prompt names the number: what these heard is kept.
MEASURED = re.compile(rb"You are number (500[1-9])\.")
#: Frames of the others' sound that come back in one message: services speak in pieces of a tenth of a second and more.
#: (960 bytes are base64 without padding, so that pieces can be joined.)
TOGETHER = 5
_KEY = re.compile(rb"sec-websocket-key: *(\S+)", re.IGNORECASE)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SOUND, _AUDIO = b'{"type":"input_audio_buffer.append"', b'"audio":"'
_DELTA = (
    b'{"type":"response.output_audio.delta","event_id":"e","response_id":"resp_%d","item_id":"item_%d",'
    b'"output_index":0,"content_index":0,"delta":"%b"}'
)
_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A


class Session:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.number = ""
        self.heard: list[tuple[float, bytes]] = []
        self._data = bytearray()
        self._is_open = self._is_speaking = False
        self._response = 0
        self._ready: list[bytes] = []

    def close(self) -> None:
        self._is_speaking = False
        self.sock.close()

    def begin_again(self) -> None:
        """As when the caller speaks, and is answered at once. Of a hundred at the same moment the agent would need time
        for, only those that are measured."""
        if self._is_speaking and self.number:
            self._say(type="input_audio_buffer.speech_started", audio_start_ms=0, item_id=f"said_{self._response}")
            self._end()
            self._say(type="input_audio_buffer.speech_stopped", audio_end_ms=0, item_id=f"said_{self._response}")
            self._begin()

    def _begin(self) -> None:
        self._is_speaking = True
        self._response += 1
        response = {"id": f"resp_{self._response}", "status": "in_progress", "output": []}
        self._say(type="response.created", response=response)

    def _end(self) -> None:
        self._is_speaking = False
        response = {"id": f"resp_{self._response}", "status": "cancelled", "output": [], "usage": None}
        self._say(type="response.done", response=response)

    def readable(self) -> bool:
        """False: it is over."""
        try:
            data = self.sock.recv(65536)
        except OSError:
            return False
        now = time.monotonic()
        self._data += data
        if not self._is_open and b"\r\n\r\n" in self._data:
            self._shake()
        try:
            while self._is_open and (frame := self._frame()) is not None:
                self._obey(*frame, now)
        except OSError:
            return False
        return bool(data)

    def _shake(self) -> None:
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        found = _KEY.search(head)
        assert found is not None, "no WebSocket"
        accept = base64.b64encode(hashlib.sha1(found[1] + _GUID).digest())
        upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self.sock.sendall(upgrade + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        self._is_open = True
        self._say(type="session.created", session={"type": "realtime"})

    def _frame(self) -> tuple[int, bytes] | None:
        """A whole message, unmasked: none of ours is in fragments."""
        data = self._data
        if len(data) < 2:
            return None
        kind, size, at = data[0], data[1] & 0x7F, 2
        if size == 126 and len(data) >= 4:
            size, at = int.from_bytes(data[2:4], "big"), 4
        elif size == 127 and len(data) >= 10:
            size, at = int.from_bytes(data[2:10], "big"), 10
        end = at + 4 + size
        if len(data) < end or (size in (126, 127) and at == 2):
            return None
        mask = bytes(data[at : at + 4]) * (size // 4 + 1)
        payload = int.from_bytes(data[at + 4 : end], "little") ^ int.from_bytes(mask[:size], "little")
        del data[:end]
        return kind, payload.to_bytes(size, "little")

    def _obey(self, kind: int, payload: bytes, now: float) -> None:
        if kind == _PING:
            self._send(payload, _PONG)
        elif kind == _CLOSE:
            self._send(payload, _CLOSE)
            raise ConnectionResetError
        elif payload.startswith(_SOUND):
            sound = payload[payload.index(_AUDIO) + len(_AUDIO) : -2]
            self._ready.append(sound)
            if self.number:
                self.heard.append((now, sound))
            if not self._is_speaking:
                self._ready.clear()
            elif self.number or len(self._ready) >= TOGETHER:
                self._send(_DELTA % (self._response, self._response, b"".join(self._ready)))
                self._ready.clear()
        elif kind == _TEXT:
            self._obey_rest(json.loads(payload), payload)

    def _obey_rest(self, event: dict[str, Any], payload: bytes) -> None:
        match event["type"]:
            case "session.update":
                found = MEASURED.search(payload)
                self.number = found[1].decode() if found else ""
                self._say(type="session.updated", session=event["session"])
            case "conversation.item.create":
                self._say(type="conversation.item.added", item=event["item"] | {"id": "item_0"})
            case "response.create":
                self._begin()
            case "response.cancel" if self._is_speaking and event.get("response_id") == f"resp_{self._response}":
                self._end()

    def _say(self, **event: Any) -> None:
        self._send(json.dumps(event | {"event_id": "e"}).encode())

    def _send(self, payload: bytes, kind: int = _TEXT) -> None:
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", kind, size)
        elif size <= 0xFFFF:
            head = struct.pack("!BBH", kind, 126, size)
        else:
            head = struct.pack("!BBQ", kind, 127, size)
        self.sock.sendall(head + payload)


def main(port: int) -> None:
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    selector.register(listener, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    sessions: list[Session] = []
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sessions.append(Session(sock))
                selector.register(sock, selectors.EVENT_READ, sessions[-1])
            elif key.fileobj is sys.stdin:
                words = sys.stdin.readline().split()
                if not words:
                    return
                if words[0] == "settle":
                    for each in sessions:
                        with suppress(OSError):  # gone, which is noticed by reading
                            each.begin_again()
                    continue
                heard = {each.number: each.heard for each in sessions if each.number}
                Path(words[1]).write_bytes(pickle.dumps(heard))
                sessions.clear()
                print("collected", flush=True)
            elif not key.data.readable():
                selector.unregister(key.data.sock)
                key.data.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
