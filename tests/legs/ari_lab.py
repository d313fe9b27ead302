"""A pretend Asterisk, our Stasis application, and a stand-in for our AudioSocket server between them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from socket import SHUT_RDWR
from typing import Any

import gevent
from gevent.server import StreamServer

from esl_agent.errors import LegError
from esl_agent.legs.ari import AriClient
from esl_agent.legs.ari_calls import AriCalls
from esl_agent.legs.asterisk import Caller, Control
from esl_agent.testing.freeswitch import wait_for
from esl_agent.testing.pretend_ari import PretendAri, PretendChannel

PATIENCE = 10.0


class Found:
    """A line that came, and who is behind it."""

    def __init__(self, line: str, sock: Any) -> None:
        self.line = line
        self.sock = sock
        self.caller = Caller()
        self.control: Control | None = None
        self.is_known = False
        self.causes: list[int] = []
        self.is_ended = False
        self.digits = ""

    def die(self) -> None:
        """The line breaks."""
        with suppress(OSError):
            self.sock.shutdown(SHUT_RDWR)


class AriLab:
    def __init__(self, *, media: str = "audiosocket", timeout: float = 1.0, **options: Any) -> None:
        self.asterisk = PretendAri("agent", "agentsecret")
        self.found: list[Found] = []
        self.takes_lines = True
        self.server = StreamServer(("127.0.0.1", 0), self._line)
        self._options = {"media": media, "timeout": timeout, **options}

    def __enter__(self) -> AriLab:
        self.asterisk.__enter__()
        self.server.start()
        options = dict(self._options)
        self.client = AriClient(
            self.asterisk.url,
            "esl_agent",
            "agent",
            options.pop("password", "agentsecret"),
            timeout=options.pop("timeout"),
            ping=options.pop("ping", 15.0),
        )
        self.calls = AriCalls(
            self.client,
            media_address=options.pop("media_address", f"127.0.0.1:{self.server.server_port}"),
            websocket_client="esl_agent",
            format="slin24",
            transfer_context="ai-transfer",
            **options,
        )
        self.calls.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.calls.stop()
        self.server.stop(timeout=0.1)
        self.asterisk.__exit__()

    def connected(self) -> AriLab:
        assert wait_for(lambda: self.asterisk.allowed is not None, PATIENCE)
        return self

    def talking(self, *args: str, **options: Any) -> tuple[PretendChannel, Found]:
        """A caller who talks with us."""
        channel = self.asterisk.call(args=args or ("4930123",), **options)
        mine: list[Found] = []

        def is_known() -> bool:
            mine[:] = [each for each in self.found if each.caller.channel == channel.id]
            return bool(mine)

        assert self.until(is_known), "he talks with us"
        return channel, mine[0]

    def until(self, condition: Callable[[], bool]) -> bool:
        return wait_for(condition, PATIENCE)

    def is_clean(self) -> bool:
        """Whether nothing is left of any call, in Asterisk and here."""
        calls = self.calls
        return self.asterisk.is_clean and not (calls.calls or calls.outgoing or calls._by_channel or calls._lines)

    def _line(self, sock: Any, address: Any) -> None:
        found = Found(str(uuid.UUID(bytes=sock.recv(19)[3:])), sock)
        self.found.append(found)
        try:
            if not self.takes_lines:
                return
            self.take(found, found.line)
            while data := sock.recv(4096):
                if data.startswith(b"\x03\x00\x01"):
                    found.digits += data[3:].decode()
        except OSError:
            return
        finally:
            found.is_ended = True
            sock.close()

    def take(self, found: Found, line: str) -> None:
        answer = self.calls.find(line, PATIENCE)
        if answer is not None:
            found.caller, found.control = answer
            found.is_known = True
            answer[1].watch(found.causes.append)


class Told:
    """What ``done`` was told."""

    def __init__(self) -> None:
        self.all: list[LegError | None] = []

    def __call__(self, error: LegError | None) -> None:
        self.all.append(error)

    def wait(self) -> LegError | None:
        assert wait_for(lambda: bool(self.all), PATIENCE)
        gevent.sleep(0)
        assert len(self.all) == 1, "told once"
        return self.all[0]
