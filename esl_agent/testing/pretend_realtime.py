"""A pretend Realtime API: strict, quick, and with a conversation of its own.

    with PretendRealtime(Persona("Bakery, good morning.", ("We open at seven.",))) as server:
        ...                       # wss:// is server.url, the key is KEY
        server.sessions[0].heard  # the caller's sound

It takes the shape of 2025 to the last field and refuses all else as the service does: an ``error`` event, or none
and a connection that breaks off. ``shape="beta"`` is a local server that speaks the older one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import gevent
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from esl_agent.testing.realtime_conversation import Conversation
from esl_agent.testing.realtime_script import Called, Persona, Reply, Script, in_turn, tone
from esl_agent.testing.realtime_session import Shape
from esl_agent.testing.realtime_shapes import BETA_EVENTS, EVENTS
from esl_agent.testing.web import PretendWebSocket, drop

__all__ = ["KEY", "Called", "Persona", "PretendRealtime", "Reply", "tone"]

KEY = "sk-realtime-0123456789abcdef"
#: Seconds that a session lasts at most.
MAX_AGE = 3600.0
#: Seconds between two looks at the clock while nothing comes.
LOOK = 1.0
#: Today's name of an event -> what it was called before.
_BEFORE = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "conversation.item.added": "conversation.item.created",
}


class PretendRealtime(PretendWebSocket):
    """``sessions`` has every session with all that was received, heard and sent.

    ``trouble["sound"] = drop`` strikes once, when the first sound has come; ``"open"`` before anything is said,
    ``"update"`` after session.updated, ``"item"`` after an item was added, ``"response"`` after a piece of sound was
    sent. ``stall``, ``drop`` and any function of the connection will do, such as one that sends nonsense.
    """

    def __init__(
        self,
        script: Script | Iterable[Reply] = (),
        *,
        shape: Shape = "ga",
        models: Iterable[str] = (),
        key: str | None = KEY,
        speed: float = 50.0,
        clock: Callable[[], float] = time.monotonic,
        caller_words: Callable[[int], str | None] = lambda number: f"utterance {number}",
        port: int = 0,
    ) -> None:
        """``models``: those it knows; empty: any. ``key``: None, and it asks for none. ``speed``: how much faster than
        it is heard its sound is sent.
        ``caller_words``: the transcript of the caller's utterance of that number; None: not understood."""
        super().__init__(self._talk, close_timeout=0.2, port=port)
        self.script: Script = script if callable(script) else in_turn(script)
        self.shape: Shape = shape
        self.models = frozenset(models)
        self.key = key
        self.speed = speed
        self.clock = clock
        self.caller_words = caller_words
        self.transcripts_held = 1
        """So many transcripts are held back and then told, the newest first."""
        self.transcripts_after = 0.02
        """Seconds after the utterance."""
        self.refuses = ""
        """The type of an event that it refuses from now on, as a service does that has changed."""
        self.effective: dict[str, Any] = {}
        """What ``session.updated`` tells otherwise than it was asked, by field of the session."""
        self.sessions: list[Conversation] = []
        self.headers: list[dict[str, str]] = []
        """Of each handshake, names in lower case."""
        self.trouble: dict[str, Callable[[ServerConnection], None]] = {}
        self._struck: set[Any] = set()

    @property
    def url(self) -> str:
        return f"{super().url}/v1/realtime"

    @property
    def events(self) -> Any:
        return EVENTS if self.shape == "ga" else BETA_EVENTS

    def name_of(self, kind: str) -> str:
        return kind if self.shape == "ga" else _BEFORE.get(kind, kind)

    def overrides(self, session: dict[str, Any]) -> dict[str, Any]:
        return {**session, **self.effective}

    def strike(self, point: str, connection: ServerConnection) -> None:
        """Once for each connection."""
        if connection.id not in self._struck and (trouble := self.trouble.pop(point, None)):
            self._struck.add(connection.id)
            trouble(connection)

    def stall(self, connection: ServerConnection) -> None:
        """Silence until the test is over; what comes in is not looked at."""
        self._stopping.wait()

    def _admit(self, connection: ServerConnection, request: Any) -> Any:
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        self.headers.append(headers)
        given = headers.get("authorization", "").removeprefix("Bearer ") or headers.get("api-key", "")
        if given != self.key and self.key is not None and self.refuse is None:
            error = {"code": "invalid_api_key", "type": "invalid_request_error", "param": None}
            error["message"] = f"Incorrect API key provided: {given}."
            self.refuse = (401, json.dumps({"error": error}).encode())
        return super()._admit(connection, request)

    def _talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        query = parse_qs(urlsplit(connection.request.path).query)
        talk = Conversation(self, connection, query.get("model", [""])[0])
        self.sessions.append(talk)
        try:
            if self._is_welcome(talk):
                self.strike("open", connection)
                talk.say("session.created", session=talk.session)
                self._listen(talk)
        except ConnectionClosed:
            return
        finally:
            talk.go_on.set()
            if talk.speaking is not None:
                talk.speaking.cancel("client_cancelled")

    def _is_welcome(self, talk: Conversation) -> bool:
        """Whether it gets a session; what cannot be said with a status comes as an event."""
        model, headers = talk.session["model"], self.headers[-1]
        if self.shape == "ga" and "openai-beta" in headers:
            message = "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API."
            talk.refuse(("beta_api_shape_disabled", message, ""), {})
            gevent.sleep(0.01)
            drop(talk.connection)
            return False
        if self.shape == "beta" and headers.get("openai-beta") != "realtime=v1":
            talk.refuse(("missing_beta_header", "You must provide the header OpenAI-Beta: realtime=v1.", ""), {})
            return False
        if not model or (self.models and model not in self.models):
            talk.refuse(("model_not_found", f"The model '{model}' does not exist or you do not have access.", ""), {})
            return False
        return True

    def _listen(self, talk: Conversation) -> None:
        since = self.clock()
        while True:
            if self.clock() - since >= MAX_AGE:
                message = "Your session hit the maximum duration of 60 minutes."
                talk.refuse(("session_expired", message, ""), {})
                talk.connection.close(1001)
                return
            try:
                talk.obey(talk.connection.recv(LOOK))
            except TimeoutError:
                continue
