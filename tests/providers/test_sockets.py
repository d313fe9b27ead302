"""WebSockets to providers: both directions at once, sockets that wait, and every end as one of our errors."""

from __future__ import annotations

import ssl
from collections.abc import Generator, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.server import StreamServer

from esl_agent.errors import ProviderError
from esl_agent.providers.sockets import ProviderSocket, Sending, SpareSockets, open_socket
from esl_agent.testing.web import FOREVER, PretendWebSocket, drop
from tests.providers.contract_llm import certificate

__all__ = ["certificate"]

KEY = "secret-0123456789"


def echo(connection: Any) -> None:
    for message in connection:
        if message == "crash":
            drop(connection)
        elif message == "bad":
            connection.close(1008, f"bad input {KEY}")
        elif message == "busy":
            connection.close(1013, "try again later")
        elif message == "bye":
            connection.close(1000)
        else:
            connection.send(message)


@pytest.fixture
def pretend() -> Iterator[PretendWebSocket]:
    with PretendWebSocket(echo) as server:
        yield server


def opened(pretend: PretendWebSocket, **options: Any) -> ProviderSocket:
    return open_socket("stt", pretend.url, secrets=(KEY,), **options)


def test_words_come_back_while_sound_still_goes_out(pretend):
    socket = opened(pretend)

    def sound() -> Iterator[str | bytes]:
        for number in range(5):
            yield bytes([number])
            gevent.sleep(0.001)
        yield "bye"

    with Sending(socket, sound()):
        assert list(socket.messages(2.0)) == [bytes([n]) for n in range(5)]


def told(connection: Any) -> None:
    """What came, in short: whoever sends much reads little meanwhile."""
    for message in connection:
        connection.send(short(message))


def secured(certificate: tuple[str, str]) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    return tls


def short(message: str | bytes) -> str:
    return f"{type(message).__name__} {len(message)} {set(message)}"


@pytest.mark.parametrize("is_secured", [False, True])
@pytest.mark.parametrize("size", [960, 8100, 70_000, 6_000_000])
def test_what_the_kernel_takes_at_once_and_what_it_does_not_both_arrive(is_secured, size, certificate):
    with PretendWebSocket(told, **({"ssl": secured(certificate)} if is_secured else {})) as server:
        url = server.url.replace("ws://", "wss://") if is_secured else server.url
        socket = open_socket("stt", url, ca_file=certificate[0] if is_secured else "")
        for message in (bytes([7]) * size, "\u00e4" * size, b"", ""):
            socket.send(message)
            assert socket.receive(5.0) == short(message)
        socket.close()


@pytest.mark.parametrize("is_secured", [False, True])
def test_frames_for_a_service_that_does_not_read_wait_and_then_all_arrive(is_secured, certificate):
    reads = Event()

    def late(connection: Any) -> None:
        reads.wait(5)
        for number in range(5000):
            message = connection.recv(5)
            assert message == f"{number:04}" * 1000, number
        connection.send("all")

    with PretendWebSocket(late, **({"ssl": secured(certificate)} if is_secured else {})) as server:
        url = server.url.replace("ws://", "wss://") if is_secured else server.url
        socket = open_socket("stt", url, ca_file=certificate[0] if is_secured else "")
        sender = gevent.spawn(lambda: [socket.send(f"{number:04}" * 1000) for number in range(5000)])
        gevent.sleep(0.005)
        assert not sender.ready(), "it should not fit into what the kernel keeps"
        reads.set()
        assert socket.receive(10.0) == "all"
        sender.get(timeout=5)
        socket.close()


@pytest.mark.parametrize(
    ("order", "retryable", "blame"),
    [("crash", True, "service"), ("busy", True, "service"), ("bad", False, "request")],
)
def test_an_end_that_is_a_complaint_is_an_error(pretend, order, retryable, blame):
    socket = opened(pretend)
    socket.send(order)
    with pytest.raises(ProviderError) as caught:
        socket.receive(2.0)
    assert (caught.value.retryable, caught.value.blame) == (retryable, blame)
    assert KEY not in str(caught.value)


def test_a_refused_handshake_tells_what_the_server_said(pretend):
    pretend.refuse = (401, f'{{"err_code":"INVALID_AUTH","err_msg":"no {KEY}"}}'.encode())
    with pytest.raises(ProviderError, match="401 INVALID_AUTH") as caught:
        opened(pretend)
    assert (caught.value.retryable, caught.value.blame) == (False, "setup")
    assert KEY not in str(caught.value)
    pretend.refuse = (429, b"busy")
    with pytest.raises(ProviderError) as caught:
        opened(pretend)
    assert caught.value.retryable


def test_a_server_that_never_answers_is_given_up(pretend):
    pretend.before = FOREVER
    with pytest.raises(ProviderError) as caught:
        opened(pretend, timeout=0.05)
    assert caught.value.retryable
    pretend.before = 0.0


def test_a_message_that_never_comes_is_given_up(pretend):
    with pytest.raises(ProviderError, match="no message"):
        opened(pretend).receive(0.02)


def test_a_source_that_fails_ends_the_wait_for_answers(pretend):
    socket = opened(pretend)

    def sound() -> Iterator[str | bytes]:
        yield "one"
        raise ProviderError("stt", "the sound broke")

    with pytest.raises(ProviderError, match="the sound broke"), Sending(socket, sound()):
        list(socket.messages(2.0))


def test_a_socket_given_back_is_taken_again_and_one_that_waits_too_long_is_closed(pretend):
    spare = SpareSockets(lambda: opened(pretend), max_idle=0.05, keep_alive="ping", every=0.02)
    first, has_waited = spare.take()
    assert not has_waited
    spare.give_back(first)
    assert spare.take() == (first, True)
    spare.give_back(first)
    gevent.sleep(0.15)
    assert pretend.open_connections == 0
    second, has_waited = spare.take()
    assert not has_waited
    second.close()
    assert pretend.connections == 2


def test_a_call_that_begins_finds_a_socket_ready(pretend):
    spare = SpareSockets(lambda: opened(pretend), max_idle=5.0)
    spare.warm()
    gevent.sleep(0.05)
    socket, has_waited = spare.take()
    assert has_waited
    socket.send("hello")
    assert socket.receive(1.0) == "hello"
    socket.close()
    spare.close()


def test_a_waiting_socket_that_the_server_closed_meanwhile_is_not_taken(pretend):
    spare = SpareSockets(lambda: opened(pretend), max_idle=5.0)
    socket, _ = spare.take()
    socket.send("bye")
    spare.give_back(socket)
    with gevent.Timeout(2.0):
        while socket.is_open:
            gevent.sleep(0.001)
    again, has_waited = spare.take()
    assert (again is not socket, has_waited) == (True, False)
    again.close()


def test_a_socket_whose_other_side_reads_nothing_closes_all_the_same():
    is_over = Event()
    with PretendWebSocket(lambda connection: is_over.wait(), close_timeout=0.2) as server:
        socket = opened(server)
        with Sending(socket, iter([bytes(2**20)] * 64)), gevent.Timeout(5.0):
            gevent.sleep(0.05)
            socket.close()
        assert not socket.is_open
        is_over.set()


def test_who_is_killed_while_a_handshake_is_awaited_leaves_no_socket_behind():
    began, ended = Event(), Event()

    def silent(connection: Any, address: Any) -> None:
        began.set()
        while connection.recv(65536):
            pass
        ended.set()

    server = StreamServer(("127.0.0.1", 0), silent)
    server.start()
    worker = gevent.spawn(open_socket, "stt", f"ws://127.0.0.1:{server.server_port}", timeout=FOREVER)
    assert began.wait(5.0)
    worker.kill(timeout=5.0)
    assert ended.wait(5.0)
    server.stop()


def test_a_socket_that_died_waiting_is_replaced_and_a_refusal_is_not_asked_for_twice(pretend):
    spare = SpareSockets(lambda: opened(pretend), max_idle=5.0)

    def said(socket: ProviderSocket, message: str, status: int = 0) -> Generator[Any, None, None]:
        try:
            if status:
                raise ProviderError("tts", "no", status=status)
            socket.send(message)
            yield socket.receive(2.0)
        finally:
            socket.close()

    first, _ = spare.take()
    first.send("crash")
    spare.give_back(first)
    assert list(spare.used(lambda socket: said(socket, "hello"))) == ["hello"]
    assert pretend.connections == 2
    spare.give_back(spare.take()[0])
    with pytest.raises(ProviderError, match="no"):
        list(spare.used(lambda socket: said(socket, "hello", status=402)))
    assert pretend.connections == 3
