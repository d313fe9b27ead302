"""A call over chan_websocket at virtual time: the line and its media are ours, the queue is the pretend one's."""

from __future__ import annotations

from typing import Any

from virtual_line import Line, Ticks

from esl_agent.legs.media_websocket import AHEAD, MediaWebSocketMedia
from esl_agent.legs.media_websocket_line import MediaWebSocketLine
from esl_agent.testing.pretend_chan_websocket import FarChannel, unwrapped
from esl_agent.wire import chan_websocket as wire


class Socket:
    """A connection to a FarChannel."""

    def __init__(self, far: FarChannel) -> None:
        self.far = far
        self.is_closed = False
        self.line: MediaWebSocketLine | None = None
        self.said: list[str] = []

    def write(self, data: bytes) -> None:
        for message in unwrapped(data):
            if isinstance(message, str):
                self.said.append(message)
            self.far.receive(message)

    def close(self, reason: str, code: int = 1000) -> None:
        if not self.is_closed:
            self.is_closed = True
            if self.line is not None:
                self.line.ended(reason)

    def deliver(self) -> None:
        """What the channel told."""
        events, self.far.events = self.far.events, []
        for text in events:
            event = wire.parse(text)
            assert event is not None
            if self.line is None:
                assert isinstance(event, wire.MediaStart)
                self.line = MediaWebSocketLine("ws-1", event, wire.sound_format(event), self)
            elif not self.is_closed:
                self.line.take_event(event)


class WebSocketLine(Line):
    """chan_websocket: a call without a FreeSWITCH, and without a way to get a lost socket back."""

    delay = AHEAD * 0.02 + 0.02
    tries = 1
    gets_sound_back = False

    def __init__(self, rate: int = 8000, is_json: bool = True, knows_marks: bool = True) -> None:
        self.ticks = Ticks()
        format = "slin" if rate == 8000 else f"slin{rate // 1000}"
        self.far = FarChannel(format, rate // 25, is_json, knows_marks=knows_marks)
        self.socket = Socket(self.far)
        super().__init__(rate)

    def make(self) -> Any:
        self.socket.deliver()
        assert self.socket.line is not None
        return MediaWebSocketMedia(self.socket.line, self.ticks, self.posted.append, self.call.clock)

    def carry_out(self, effect: Any) -> None:
        """FreeSWITCH has no part in this."""

    def caller_says(self, frame: bytes) -> None:
        assert self.socket.line is not None
        if not self.socket.is_closed:
            self.socket.line.take_sound(frame)

    def agent_is_heard(self) -> bytes:
        if not self.call.machine.is_up:
            self.socket.close("the peer closed the WebSocket")
        for tick in list(self.ticks.ticks.values()):
            tick()
        heard = self.far.tick()
        self.socket.deliver()
        return heard or bytes(self._line_rate // 25)

    def interrupt(self) -> None:
        self.socket.close("connection lost")

    def never_connects(self) -> None:
        """It has connected, or there were no call."""

    def left_behind(self) -> list[str]:
        assert self.socket.line is not None
        listens = ["a listener"] * (self.socket.line._listener is not None)
        return [*listens, *(str(number) for number in self.ticks.ticks)]
