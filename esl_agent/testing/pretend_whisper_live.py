"""A pretend WhisperLive server: as ``whisper_live/server.py`` and ``backend/base.py`` at bde730b, but for its clock.

It looks at the sound it has again and again once there is a second of it, says what it found each time (nothing about
silence), and at ``END_OF_AUDIO``, binary, it closes, whatever it has not looked at.
"""

from __future__ import annotations

import json
from typing import Any

import gevent
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from esl_agent.testing.ears import PretendEars, say, understood

RATE = 16000
LANGUAGES = frozenset(("en", "de", "tr", "fr", "es", "ru", "no", "zh", "he"))


class PretendWhisperLive(PretendEars):
    """``places``: clients at a time. ``knows_int16``: a newer server. ``every``: seconds between two looks."""

    def __init__(self, key: str = "", places: int = 4, knows_int16: bool = True, every: float = 0.005) -> None:
        super().__init__(self._listen)
        self.hellos: list[dict[str, Any]] = []
        self.ended = 0
        self._key = key
        self._places = places
        self._knows_int16 = knows_int16
        self._every = every

    def _admit(self, connection: ServerConnection, request: Any) -> Any:
        if self._key and request.headers.get("Authorization") != f"Bearer {self._key}":
            self.refuse = (401, b"Unauthorized\n")
        return super()._admit(connection, request)

    def _listen(self, connection: ServerConnection) -> None:
        hello = json.loads(connection.recv())
        self.hellos.append(hello)
        if self.open_connections > self._places:
            say(connection, {"uid": hello["uid"], "status": "WAIT", "message": 9.5})
            return
        language = hello["language"]
        if {"task", "model"} - set(hello) or (language is not None and language not in LANGUAGES):
            return
        heard, told = self.new_connection(connection)
        say(connection, {"uid": hello["uid"], "message": "SERVER_READY", "backend": "faster_whisper"})
        kind = hello.get("audio_format", "float32") if self._knows_int16 else "float32"
        look = gevent.spawn(self._look, connection, hello["uid"], heard)
        try:
            for message in connection:
                if message == b"END_OF_AUDIO":
                    self.ended += 1
                    self.strike("end", connection)
                    return
                if isinstance(message, str):
                    told.append(message)
                    connection.close(1011)
                    return
                heard += message if kind == "int16" else _samples(message)
                self.strike("sound", connection)
        finally:
            look.kill()

    def _look(self, connection: ServerConnection, uid: str, heard: bytearray) -> None:
        while True:
            gevent.sleep(self._every)
            if len(heard) < RATE * 2:
                continue
            text = understood(bytes(heard), RATE)
            if text:
                try:
                    say(connection, {"uid": uid, "segments": _segments(text)})
                except ConnectionClosed:
                    return


def _segments(text: str) -> list[dict[str, Any]]:
    """Pairs of words; all but the last are completed."""
    words = text.split()
    pairs = [" ".join(words[at : at + 2]) for at in range(0, len(words), 2)]
    return [
        {"start": f"{n:.3f}", "end": f"{n + 1:.3f}", "text": f" {pair}", "completed": n < len(pairs) - 1}
        for n, pair in enumerate(pairs)
    ]


def _samples(message: bytes) -> bytes:
    return np.rint(np.frombuffer(message, "<f4") * 32768.0).astype("<i2").tobytes()
