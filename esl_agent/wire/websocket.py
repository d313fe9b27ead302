"""Server side of one WebSocket that carries a call's sound.

Handshake, control frames, fragments and text go through the ``websockets`` library's sans-I/O protocol. What comes
fifty times a second, an unfragmented masked binary frame, is cut out and unmasked here: the library's general frame
objects cost three times as much as all the rest of the frame's way (docs/decisions/audio-receive.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus

from websockets.exceptions import InvalidHandshake, ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from esl_agent.errors import WireError

try:
    from websockets.speedups import apply_mask
except ImportError:  # a wheel without its C extension
    from websockets.utils import apply_mask

#: Frames taken of what was read at once: ten seconds of sound, or so many pings. 32 KiB could hold 5000, and each takes
#: 14 us of everybody's time.
MAX_FRAMES_AT_ONCE = 500
#: Bytes of the reason of a close (RFC 6455, 5.5.1: a control frame has 125, two of them for the code).
MAX_REASON_BYTES = 123

#: What drachtio's mod_audio_fork asks for; others ask for nothing.
SUBPROTOCOLS = ("audio.drachtio.org",)

_TEXT_FIN = 0x81
_BINARY_FIN = 0x82
_MASKED = 0x80
#: The head of a final, masked binary frame of 126 to 65535 bytes: every 20 ms of sound.
_SOUND = b"\x82\xfe"


def sound_message(pcm: bytes) -> bytes:
    """``pcm`` as one final binary message of a server: not masked (RFC 6455, 5.1). At most 65535 bytes."""
    size = len(pcm)
    return (bytes((_BINARY_FIN, size)) if size < 126 else b"\x82\x7e" + size.to_bytes(2, "big")) + pcm


def text_message(text: str) -> bytes:
    """``text`` as one final text message of a server. At most 65535 bytes."""
    data = text.encode()
    size = len(data)
    return (bytes((_TEXT_FIN, size)) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")) + data


class AudioSocketProtocol:
    """Feed it bytes; it gives back messages: ``bytes`` for sound, ``str`` for text.

    ``admit(path)`` is asked once, with the request's path and query; False refuses the handshake with 403.
    Of ``subprotocols`` the first that is offered is taken, or none. Everything to be sent is collected in
    ``outgoing()``.
    """

    def __init__(
        self, admit: Callable[[str], bool], max_message_bytes: int, subprotocols: Sequence[str] = SUBPROTOCOLS
    ) -> None:
        self._admit = admit
        self._limit = max_message_bytes
        known = [Subprotocol(each) for each in subprotocols]
        self._protocol = ServerProtocol(
            subprotocols=known,
            select_subprotocol=lambda _, offered: next((each for each in known if each in offered), None),
            max_size=max_message_bytes,
        )
        self._buffer = bytearray()
        self._fragments: list[bytes] | None = None
        self._fragment_opcode = Opcode.BINARY
        self._fragment_size = 0
        self.refused: str | None = None
        self.frames = 0
        """Frames of any kind that ``receive`` took, ever."""

    @property
    def is_open(self) -> bool:
        return self._protocol.state is State.OPEN

    @property
    def is_closing(self) -> bool:
        """True once nothing more is to be read: refused, closed or closing."""
        return self.refused is not None or self._protocol.state in (State.CLOSING, State.CLOSED)

    def forget(self) -> None:
        """Ask nobody any more: whoever admits need not outlive the connection."""
        self._admit = _nobody

    def outgoing(self) -> bytes:
        """What must be written to the peer now."""
        return b"".join(self._protocol.data_to_send())

    def ping(self) -> None:
        """Ask the peer whether it is there; whatever it sends is an answer."""
        if self.is_open:
            self._protocol.send_ping(b"")

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake. ``reason`` may be any text; what is too long is cut."""
        if self.is_open:
            self._protocol.send_close(code, reason.encode(errors="replace")[:MAX_REASON_BYTES].decode(errors="ignore"))

    def lone_frame(self, data: bytes) -> bytes | None:
        """The sound in ``data`` if that is exactly one plain frame and nothing else is under way, as nearly all reads
        are; else None, and ``data`` is for ``receive``. Nothing has to be sent after it."""
        if (
            data[:2] != _SOUND
            or len(data) != 8 + int.from_bytes(data[2:4], "big")
            or self._buffer
            or self._fragments is not None
            or len(data) > self._limit
            or not self.is_open
        ):
            return None
        return apply_mask(data[8:], data[4:8])

    def receive(self, data: bytes) -> list[bytes | str]:
        """The messages that ``data`` completes. Raises WireError on nonsense, a message over the limit, or too many."""
        if self.is_closing:
            return []
        if not self.is_open:
            data = self._handshake(data)
            if not self.is_open:
                return []
        self._buffer += data
        messages: list[bytes | str] = []
        most = self.frames + MAX_FRAMES_AT_ONCE
        while (message := self._next_frame()) is not None:
            self.frames += 1
            if self.frames > most:
                raise WireError(f"more than {MAX_FRAMES_AT_ONCE} WebSocket frames at once")
            if message != b"":
                messages.append(message)
        return messages

    def _handshake(self, data: bytes) -> bytes:
        """Answer the upgrade request; returns what came after it."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end == -1:
            if len(self._buffer) > self._limit:
                raise WireError(f"WebSocket handshake of more than {self._limit} bytes")
            return b""
        head, rest = bytes(self._buffer[: end + 4]), bytes(self._buffer[end + 4 :])
        self._buffer.clear()
        try:
            self._protocol.receive_data(head)
            requests = self._protocol.events_received()
        except (InvalidHandshake, ProtocolError, ValueError, EOFError) as error:
            raise WireError(f"not a WebSocket handshake: {error}") from error
        if not requests or not isinstance(requests[0], Request):
            raise WireError(f"not a WebSocket handshake: {head[:80]!r}")
        request = requests[0]
        response = self._protocol.accept(request)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS and not self._admit(request.path):
            response = self._protocol.reject(HTTPStatus.FORBIDDEN, "unknown or used token\n")
        self._protocol.send_response(response)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self.refused = f"{int(response.status_code)} {response.reason_phrase}"
        return rest

    def _next_frame(self) -> bytes | str | None:
        """The next whole frame: a message, ``b""`` for a frame that carries none, None if bytes are missing."""
        buffer = self._buffer
        if len(buffer) < 2 or self.is_closing:
            return None
        length, header = buffer[1] & 0x7F, 2
        if length == 126:
            if len(buffer) < 4:
                return None
            length, header = int.from_bytes(buffer[2:4], "big"), 4
        elif length == 127:
            if len(buffer) < 10:
                return None
            length, header = int.from_bytes(buffer[2:10], "big"), 10
        if length > self._limit:
            self.close(1009, "message too big")
            raise WireError(f"WebSocket message of {length} bytes, the limit is {self._limit}")
        masked = buffer[1] & _MASKED
        start = header + 4 if masked else header
        if len(buffer) < start + length:
            return None
        if buffer[0] == _BINARY_FIN and masked and self._fragments is None:
            payload = apply_mask(bytes(buffer[start : start + length]), bytes(buffer[header:start]))
            del buffer[: start + length]
            return bytes(payload)
        frame = bytes(buffer[: start + length])
        del buffer[: start + length]
        return self._general(frame)

    def _general(self, data: bytes) -> bytes | str:
        """Everything but plain sound: through the library, which answers pings and closes by itself."""
        self._protocol.receive_data(data)
        if (error := self._protocol.parser_exc) is not None:
            raise WireError(f"WebSocket: {error}") from error
        for frame in self._protocol.events_received():
            if isinstance(frame, Frame) and frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                return self._assemble(frame)
        return b""

    def _assemble(self, frame: Frame) -> bytes | str:
        if frame.opcode is not Opcode.CONT:
            self._fragments, self._fragment_opcode, self._fragment_size = [], frame.opcode, 0
        assert self._fragments is not None  # the library refuses a continuation of nothing
        self._fragments.append(bytes(frame.data))
        self._fragment_size += len(frame.data)
        if self._fragment_size > self._limit:
            self.close(1009, "message too big")
            raise WireError(f"WebSocket message of more than {self._limit} bytes")
        if not frame.fin:
            return b""
        message, self._fragments = b"".join(self._fragments), None
        return message.decode("utf-8", "replace") if self._fragment_opcode is Opcode.TEXT else message


def _nobody(_: str) -> bool:
    return False
