"""Names of servers are looked up where nobody else waits."""

from __future__ import annotations

import _socket
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from gevent import get_hub, monkey

from esl_agent import lookups

Lock = monkey.get_original("_thread", "allocate_lock")


class DeadNameServer:
    """``_socket.getaddrinfo`` that answers nobody but localhost until ``answers``."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.waiting: list[gevent.Greenlet] = []
        self._silent = Lock()
        self._silent.acquire()
        self._real = _socket.getaddrinfo

    def __call__(self, host: str, *more: Any) -> Any:
        if more[-1:] == (socket.AI_NUMERICHOST,) or host == "localhost":
            return self._real(host, *more)
        self.asked.append(host)
        with self._silent:
            raise socket.gaierror(socket.EAI_AGAIN, "no name server")

    def answers(self) -> None:
        if self._silent.locked():
            self._silent.release()


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeadNameServer]:
    server = DeadNameServer()
    monkeypatch.setattr(_socket, "getaddrinfo", server)
    yield server
    server.answers()
    gevent.joinall(server.waiting, timeout=5.0)


@contextmanager
def within(seconds: float = 5.0) -> Iterator[None]:
    with gevent.Timeout(seconds, AssertionError("it waits for a name server")):
        yield


def look_up(dead: DeadNameServer, name: str) -> gevent.Greenlet:
    def run() -> None:
        with pytest.raises(OSError):
            socket.getaddrinfo(name, 443, 0, socket.SOCK_STREAM)

    dead.waiting.append(gevent.spawn(run))
    return dead.waiting[-1]


def test_files_are_written_while_a_name_server_is_silent(dead: DeadNameServer) -> None:
    for number in range(40):
        look_up(dead, f"host-{number}.invalid")
    gevent.sleep(0.01)
    with within():
        assert get_hub().threadpool.apply(lambda: "written") == "written"


def test_all_who_ask_for_the_same_name_wait_for_one_answer(dead: DeadNameServer) -> None:
    for _ in range(40):
        look_up(dead, "voice.invalid")
    gevent.sleep(0.01)
    with within():
        assert socket.getaddrinfo("localhost", 80, socket.AF_INET, socket.SOCK_STREAM)[0][4] == ("127.0.0.1", 80)
    assert dead.asked == ["voice.invalid"]


def test_an_address_is_not_looked_up(dead: DeadNameServer) -> None:
    for number in range(40):
        look_up(dead, f"host-{number}.invalid")
    gevent.sleep(0.01)
    with within():
        assert socket.getaddrinfo("192.0.2.1", 80, 0, socket.SOCK_STREAM)[0][4] == ("192.0.2.1", 80)
        assert socket.getaddrinfo("::1", "80", 0, socket.SOCK_STREAM)[0][4][:2] == ("::1", 80)


def test_whoever_is_stopped_while_waiting_leaves_the_others_their_answer(dead: DeadNameServer) -> None:
    first, second = look_up(dead, "voice.invalid"), look_up(dead, "voice.invalid")
    gevent.sleep(0.01)
    with within():
        first.kill()
    dead.answers()
    with within():
        second.join()
    assert second.successful()


def test_each_request_after_an_answer_is_a_new_one() -> None:
    with within():
        for _ in range(2):
            assert socket.getaddrinfo("localhost", None, socket.AF_INET)
            with pytest.raises(OSError):
                socket.getaddrinfo("no-such-host.invalid", 80)
            with pytest.raises(UnicodeError):
                socket.getaddrinfo("a" * 100, 80)


def test_the_tests_look_names_up_as_the_product_does() -> None:
    assert isinstance(get_hub().resolver, lookups.Resolver)
