"""FreeSWITCH's own event socket, scripted: greets, lets in, and answers each API command with what a test gives it."""

from __future__ import annotations

import socket
from collections.abc import Callable

from gevent.server import StreamServer

# As FreeSWITCH 1.11 writes them.
AUTH_REQUEST = b"Content-Type: auth/request\n\n"
ACCEPTED = b"Content-Type: command/reply\nReply-Text: +OK accepted\n\n"
WRONG_PASSWORD = (
    b"Content-Type: command/reply\nReply-Text: -ERR invalid\n\n"
    b"Content-Type: text/disconnect-notice\nContent-Length: 67\n\n"
    b"Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
)
# mod_event_socket.c listener_run.
REJECTED = b"Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n"

PASSWORD = "ClueCon"

Answer = str | Callable[[str], str]


def api_response(body: str) -> bytes:
    data = body.encode()
    return b"Content-Type: api/response\nContent-Length: %d\n\n%b" % (len(data), data)


class EventSocketPeer:
    """``answers``: command (or its first word) -> output, or a function of the arguments. What is missing is unknown
    to it, as to FreeSWITCH. ``hang_up_at`` closes the connection, ``stall_at`` never answers."""

    def __init__(
        self,
        answers: dict[str, Answer] | None = None,
        *,
        greeting: bytes = AUTH_REQUEST,
        hang_up_at: str = "",
        stall_at: str = "",
    ) -> None:
        self.answers = answers or {}
        self.commands: list[str] = []
        self._greeting = greeting
        self._hang_up_at = hang_up_at
        self._stall_at = stall_at
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.port: int = self._server.server_port

    def stop(self) -> None:
        self._server.stop(timeout=1)

    def _serve(self, sock: socket.socket, address: object) -> None:
        sock.sendall(self._greeting)
        if self._greeting != AUTH_REQUEST:
            if self._greeting == REJECTED:
                return
            sock.recv(1)
            return
        buffer = b""
        while data := sock.recv(65536):
            buffer += data
            while b"\n\n" in buffer:
                block, _, buffer = buffer.partition(b"\n\n")
                if not self._answer(sock, block.decode()):
                    return

    def _answer(self, sock: socket.socket, command: str) -> bool:
        self.commands.append(command)
        if command == self._hang_up_at:
            return False
        if command == self._stall_at:
            return True
        if command.startswith("auth "):
            right = command == f"auth {PASSWORD}"
            sock.sendall(ACCEPTED if right else WRONG_PASSWORD)
            return right
        sock.sendall(api_response(self._output(command.removeprefix("api "))))
        return True

    def _output(self, command: str) -> str:
        name, _, arguments = command.partition(" ")
        answer = self.answers.get(command, self.answers.get(name))
        if answer is None:
            return f"-ERR {name} Command not found!\n"
        return answer if isinstance(answer, str) else answer(arguments)
