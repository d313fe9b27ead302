"""The far end of an event socket, by hand: reads our commands, writes what a test wants FreeSWITCH to say."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent

from esl_agent.errors import EslAgentError
from esl_agent.legs.freeswitch import Listener, Session

PATIENCE = 5.0
UUID = "56cd32a6-d898-46df-8b90-50c2d351ea30"
OTHER = "00000000-0000-0000-0000-000000000001"
OK = b"Content-Type: command/reply\nReply-Text: +OK\n\n"
BYE = b"Content-Type: command/reply\nReply-Text: +OK bye\n\n"
LINGER_NOTICE = (
    b"Content-Type: text/disconnect-notice\nControlled-Session-UUID: %s\nContent-Disposition: linger\n"
    b"Channel-Name: sofia/agents/1\nLinger-Time: -1\nContent-Length: 0\n\n" % UUID.encode()
)
FINAL_NOTICE = (
    b"Content-Type: text/disconnect-notice\nControlled-Session-UUID: %s\nContent-Disposition: disconnect\n"
    b"Content-Length: 67\n\nDisconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n" % UUID.encode()
)


def connected(control: str = "full") -> bytes:
    return (
        f"Event-Name: CHANNEL_DATA\nUnique-ID: {UUID}\nvariable_uuid: {UUID}\nCaller-Caller-ID-Number: 4915550001\n"
        f"Content-Type: command/reply\nReply-Text: %2BOK%0A\nSocket-Mode: async\nControl: {control}\n\n"
    ).encode()


def api(text: str) -> bytes:
    return b"Content-Type: api/response\nContent-Length: %d\n\n" % len(text.encode()) + text.encode()


def refused(text: str) -> bytes:
    return f"Content-Type: command/reply\nReply-Text: -ERR {text}\n\n".encode()


def event(name: str, body: str = "", uuid: str = UUID, **headers: str) -> bytes:
    """A plain event; ``__`` in a header's name stands for ``-``, values are written as given (encode them yourself)."""
    lines = {"Event-Name": name, "Unique-ID": uuid, **{key.replace("__", "-"): value for key, value in headers.items()}}
    inner = "".join(f"{key}: {value}\n" for key, value in lines.items())
    inner += f"Content-Length: {len(body.encode())}\n\n{body}" if body else "\n"
    return b"Content-Length: %d\nContent-Type: text/event-plain\n\n" % len(inner.encode()) + inner.encode()


def done(app: str, application_uuid: str, **headers: str) -> bytes:
    return event("CHANNEL_EXECUTE_COMPLETE", Application=app, Application__UUID=application_uuid, **headers)


class Peer:
    """Reads whole commands; everything it waits for comes within PATIENCE or the test fails."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self._buffer = b""

    def command(self) -> str:
        """The next command without its empty line; ``""`` once we closed."""
        while b"\n\n" not in self._buffer:
            try:
                data = self.sock.recv(65536)
            except ConnectionError:
                return ""
            if not data:
                return ""
            self._buffer += data
        command, _, self._buffer = self._buffer.partition(b"\n\n")
        return command.decode()

    def expect(self, start: str) -> str:
        command = self.command()
        assert command.startswith(start), f"expected {start!r}, got {command!r}"
        return command

    def say(self, *pieces: bytes) -> None:
        self.sock.sendall(b"".join(pieces))

    def answer(self, start: str, *pieces: bytes) -> str:
        command = self.expect(start)
        self.say(*pieces or (OK,))
        return command

    def is_closed(self) -> bool:
        """Waits until we closed, reading over what is still said."""
        while self.command():
            pass
        return True

    def reset(self) -> None:
        """Drops the connection with RST, as a crashed machine's kernel does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


def header(command: str, name: str) -> str:
    """A header of a ``sendmsg``."""
    return dict(line.split(": ", 1) for line in command.split("\n")[1:])[name]


@contextmanager
def call(**options: Any) -> Iterator[tuple[Session, Peer]]:
    """A session that has taken its call, and its peer. At the end nothing of it may be left running."""
    ours, theirs = tcp_pair()
    options = {"min_age": 0.0, "goodbye_timeout": 0.05, **options}
    session, peer = Session(("127.0.0.1", 1), ours, **options), Peer(theirs)
    try:
        gevent.spawn(peer.answer, "connect", connected())
        session.connect(PATIENCE)
        yield session, peer
    finally:
        session.link.close("the test is over")
        theirs.close()


@contextmanager
def door(application: Callable[[Session], Any], max_connections: int = 100, **options: Any) -> Iterator[Listener]:
    listener = Listener("127.0.0.1", 0, application, max_connections, **options)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()


def knock(listener: Listener) -> Peer:
    return Peer(socket.create_connection(("127.0.0.1", listener.bound_port), timeout=PATIENCE))


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    return ours, theirs


def until(condition: Callable[[], Any]) -> None:
    """Lets the other greenlets run until ``condition`` holds; fails after PATIENCE."""
    with gevent.Timeout(PATIENCE, AssertionError(f"never came true: {condition}")):
        while not condition():
            gevent.sleep(0.001)


def run(function: Callable[..., Any], *arguments: Any, **options: Any) -> gevent.Greenlet:
    """A greenlet whose value is what ``function`` returned, or the error of ours it raised."""
    return gevent.spawn(lambda: _caught(function, arguments, options))


def _caught(function: Callable[..., Any], arguments: Any, options: Any) -> Any:
    try:
        return function(*arguments, **options)
    except EslAgentError as error:
        return error
