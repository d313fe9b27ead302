"""A pretend vosk-server: as ``websocket/asr_server.py`` at c2e82f0, and no more forgiving.

One answer for each piece of sound; what is sent as text is compared letter by letter, and text that is no order is
sound to it, of which the recogniser's library makes an error.
"""

from __future__ import annotations

import json
from typing import Any

from websockets.sync.server import ServerConnection

from esl_agent.testing.ears import PretendEars, say, understood, words

#: What the server takes for the rate until it is told another.
RATE = 8000


class PretendVosk(PretendEars):
    """``rates`` has what each connection's sound was taken for; ``stretch``: seconds after which speech is cut."""

    def __init__(self, stretch: float = 60.0, alternatives: bool = False) -> None:
        """``alternatives``: it was started to tell several results for each stretch, as the C++ server can be."""
        super().__init__(self._listen)
        self.rates: list[int] = []
        self.configs: list[dict[str, Any]] = []
        self._stretch = stretch
        self._alternatives = alternatives

    def _listen(self, connection: ServerConnection) -> None:
        heard, told = self.new_connection(connection)
        rate, recogniser = RATE, None
        for message in connection:
            if isinstance(message, str) and "config" in message:
                self.configs.append(json.loads(message)["config"])
                rate = int(self.configs[-1].get("sample_rate", rate))
                continue
            if recogniser is None:
                recogniser = _Recogniser(rate, self._stretch, self._alternatives)
                self.rates.append(rate)
            if isinstance(message, bytes):
                heard += message
                say(connection, recogniser.accept(message))
                self.strike("sound", connection)
                continue
            told.append(message)
            self.strike("end", connection)
            if message not in ('{"eof" : 1}', '{"reset" : 1}'):
                connection.close(1011)  # the handler dies of a TypeError
                return
            say(connection, recogniser.result())
            if "eof" in message:
                return


class _Recogniser:
    def __init__(self, rate: int, stretch: float, alternatives: bool) -> None:
        self._rate = rate
        self._alternatives = alternatives
        self._size = int(rate * stretch) * 2
        self._pcm = b""

    def accept(self, pcm: bytes) -> dict[str, Any]:
        self._pcm += pcm
        if len(self._pcm) >= self._size:
            return self.result()
        return {"partial": understood(self._pcm, self._rate)}

    def result(self) -> dict[str, Any]:
        text, self._pcm = understood(self._pcm, self._rate), b""
        found: dict[str, Any] = {"text": text}
        if text:
            found["result"] = [
                {"word": each["word"], "start": each["start"], "end": each["end"], "conf": each["confidence"]}
                for each in words(text, 0.0)
            ]
        if self._alternatives:
            second = {"text": f"{text} or so", "confidence": 120.5}
            return {"alternatives": [{"confidence": 240.25, **found}, second]}
        return found
