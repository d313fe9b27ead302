"""One call as chan_websocket brings it: who calls, keys, sound both ways, and its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gevent import get_hub

from esl_agent.audio.g711 import LAWS
from esl_agent.audio.pcm import Reframer, SoundFormat
from esl_agent.legs.asterisk import Caller
from esl_agent.wire import chan_websocket as wire
from esl_agent.wire.websocket import sound_message, text_message

log = logging.getLogger(__name__)

#: Asterisk closes the connection at once after HANGUP (22.10.1); if not, we do.
HANG_UP_SECONDS = 1.0
#: Keys kept for whoever is not there yet to be told of them.
MAX_EARLY_DIGITS = 32
#: Channel variables, set in the dialplan with two leading underscores to be inherited by the media channel.
DID, NUMBER, NAME, CHANNEL = "ESL_AGENT_DID", "ESL_AGENT_CALLER", "ESL_AGENT_NAME", "ESL_AGENT_CHANNEL"


class Wire(Protocol):
    """The connection as its line uses it."""

    is_closed: bool

    def write(self, data: bytes) -> None: ...
    def close(self, reason: str, code: int = 1000) -> None: ...


class Listener(Protocol):
    """Who has the sound of a line. Called on the hub; must not block."""

    def on_frame(self, frame: bytes) -> None:
        """20 ms of the caller, PCM16 at the line's rate."""

    def on_event(self, event: wire.Event) -> None: ...

    def on_gone(self) -> None:
        """The line ended, or is about to: nobody hears us any more. Told once."""


class MediaWebSocketLine:
    """A ``legs.asterisk.Line``. ``sound``: how its sound is written."""

    def __init__(self, id: str, start: wire.MediaStart, sound: SoundFormat, connection: Wire) -> None:
        self.id = id
        self.start = start
        self.channel = start.channel
        """The media channel's name, by which AMI finds the caller."""
        self.rate = sound.rate
        self.caller = caller_of(start)
        self.is_open = True
        self._connection = connection
        self._law = {"ulaw": LAWS["PCMU"], "alaw": LAWS["PCMA"]}.get(sound.encoding)
        self._reframer = Reframer(sound.rate)
        self._listener: Listener | None = None
        self._on_digit: Callable[[str], None] | None = None
        self._on_end: Callable[[], None] | None = None
        self._digits: list[str] = []
        self._was_answered = False
        self._goodbye: Any = None

    # As a Line

    def answer(self) -> None:
        """With dial option ``n`` Asterisk waits for this; without, it drops a second answer."""
        if not self._was_answered:
            self._was_answered = True
            self.command(wire.Command.ANSWER)

    def hang_up(self) -> None:
        if self.is_open and self._goodbye is None:
            self.command(wire.Command.HANGUP)
            self._nobody_hears()
            self._goodbye = get_hub().loop.timer(HANG_UP_SECONDS)
            self._goodbye.start(self._connection.close, "hung up")

    def close(self) -> None:
        self._connection.close("the call is over")

    @property
    def on_digit(self) -> Callable[[str], None] | None:
        """Told of every key; of those that were pressed before it was set, too."""
        return self._on_digit

    @on_digit.setter
    def on_digit(self, told: Callable[[str], None] | None) -> None:
        self._on_digit = told
        early, self._digits = self._digits, []
        for digit in early:
            self._tell_digit(digit)

    @property
    def on_end(self) -> Callable[[], None] | None:
        """Told once that the line is gone, at once where it is already."""
        return self._on_end

    @on_end.setter
    def on_end(self, told: Callable[[], None] | None) -> None:
        if self.is_open:
            self._on_end = told
        elif told is not None:
            told()

    # For its sound

    def listen(self, listener: Listener) -> bool:
        """Frames and events go to ``listener`` from now on. False: the line has ended, nothing will come."""
        self._listener = listener if self.is_open else None
        return self.is_open

    def unlisten(self) -> None:
        self._listener = None

    def send(self, messages: Sequence[bytes | str]) -> None:
        """Frames (PCM16) and commands, in one write. After ``hang_up`` nothing is sent."""
        if self.is_open and self._goodbye is None:
            law = self._law
            self._connection.write(
                b"".join(
                    text_message(each)
                    if isinstance(each, str)
                    else sound_message(each if law is None else law.encode(each))
                    for each in messages
                )
            )

    def command(self, what: wire.Command, correlation_id: str = "") -> None:
        self.send([wire.command(what, self.start.is_json, correlation_id)])

    # For its connection

    def take_sound(self, data: bytes) -> None:
        if (listener := self._listener) is None:
            return
        if self._law is not None:
            data = self._law.decode(data)
        elif len(data) % 2:
            data = data[:-1]  # half a sample would shift all that follow
        for frame in self._reframer.feed(data):
            listener.on_frame(frame)

    def take_event(self, event: wire.Event) -> None:
        if isinstance(event, wire.DigitEnded):
            self._tell_digit(event.digit)
        elif isinstance(event, wire.Failed):
            log.warning("call=%s Asterisk says: %s", self.id, event.text)
        elif self._listener is not None:
            self._listener.on_event(event)

    def ended(self, reason: str) -> None:
        """The connection is gone."""
        if not self.is_open:
            return
        self.is_open = False
        log.info("call=%s line ended: %s", self.id, reason)
        if self._goodbye is not None:
            self._goodbye.stop()
            self._goodbye.close()
        told, self._on_end = self._on_end, None
        self._on_digit = None
        self._nobody_hears()
        if told is not None:
            told()

    def _nobody_hears(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.on_gone()

    def _tell_digit(self, digit: str) -> None:
        if self._on_digit is not None:
            self._on_digit(digit)
        elif self.is_open and len(self._digits) < MAX_EARLY_DIGITS:
            self._digits.append(digit)


def caller_of(start: wire.MediaStart) -> Caller:
    """Who calls, by the channel variables. One that was inherited has the underscores it was set with."""
    variables: dict[str, str] = {}
    for name, value in start.variables.items():
        plain = name.removeprefix("_").removeprefix("_")
        if plain == name or plain not in start.variables:
            variables[plain] = value
    channel, did, number, name = (variables.get(each, "") for each in (CHANNEL, DID, NUMBER, NAME))
    return Caller(channel, did, number, name, variables)
