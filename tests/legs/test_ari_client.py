"""The connection to ARI by itself."""

from __future__ import annotations

import logging
import shutil
import subprocess

import gevent
import pytest

from esl_agent.errors import ConfigError
from esl_agent.legs import ari
from esl_agent.legs.ari import MAX_WAITING, WORKERS, AriClient, Lane
from esl_agent.testing.freeswitch import wait_for
from esl_agent.testing.pretend_ari import PretendAri
from esl_agent.testing.pretend_ari_http import Trouble
from esl_agent.testing.web import PretendHttp, Reply
from esl_agent.wire.ari import Request

PATIENCE = 10.0
SECRET = "a-very-secret-password"


class Heard:
    def __init__(self) -> None:
        self.news = []

    def connected(self) -> None:
        self.news.append("connected")

    def lost(self, reason: str) -> None:
        self.news.append(f"lost: {reason}")

    def event(self, event) -> None:
        self.news.append(event.kind)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(ari, "BACK_OFF", (0.005, 0.01))
    monkeypatch.setattr(ari, "REFUSED_SECONDS", 0.01)
    monkeypatch.setattr(ari, "AGAIN", (0.005, 0.005))


@pytest.fixture
def asterisk():
    with PretendAri("agent", SECRET) as asterisk:
        yield asterisk


@pytest.fixture
def client(asterisk):
    made = AriClient(asterisk.url, "esl_agent", "agent", SECRET, timeout=1.0)
    yield made
    made.stop(0.1)


def bridge(name: str, method: str = "POST", **options) -> Request:
    return Request(method, ("bridges", name), **options)


def started(client: AriClient) -> Heard:
    heard = Heard()
    client.start(heard)
    until(lambda: heard.news == ["connected"])
    gevent.sleep(0.02)  # its first request is answered
    return heard


def until(condition) -> None:
    assert wait_for(condition, PATIENCE)


def test_requests_of_one_call_keep_their_order_and_those_of_others_do_not_wait(asterisk, client):
    asterisk.troubles.append(Trouble(lambda each: "slow" in str(each), before=0.05, times=2))
    replies = []
    slow, quick = Lane(), Lane()
    for lane, name in ((slow, "slow1"), (slow, "slow2"), (slow, "after"), (quick, "quick")):
        client.ask(lane, bridge(name), lambda _, name=name: replies.append(name))
    until(lambda: len(replies) == 4)
    assert replies == ["quick", "slow1", "slow2", "after"]


def test_connections_are_kept_and_no_more_than_there_are_workers(asterisk, client):
    replies = []
    for number in range(WORKERS * 4):
        client.ask(Lane(), bridge(f"b{number}"), replies.append)
    until(lambda: len(replies) == WORKERS * 4)
    assert all(each.is_ok for each in replies)
    assert asterisk.connections <= WORKERS


def test_what_waits_has_a_limit(client, asterisk):
    asterisk.troubles.append(Trouble(lambda _: True, before=0.05))
    lane, replies = Lane(), []
    for number in range(MAX_WAITING + 1):
        client.ask(lane, bridge(f"b{number}"), replies.append)
    assert [each.status for each in replies] == [0]
    assert "wait already" in replies[0].message
    client.ask(lane, bridge("b0", "DELETE", is_owed=True), replies.append)
    until(lambda: len(replies) == MAX_WAITING + 2)
    assert "b0" not in asterisk.bridges


def test_an_answer_that_does_not_come_is_not_waited_for(asterisk):
    client = AriClient(asterisk.url, "esl_agent", "agent", SECRET, timeout=0.05)
    asterisk.troubles.append(Trouble(lambda _: True, before=1.0))
    reply = client.send(bridge("x"))
    assert reply.status == 0
    assert not reply.is_ok
    client.stop(0.1)


def test_a_page_of_the_http_server_is_told_by_its_status():
    with PretendHttp() as server:
        page = Reply(b"<h1>Not Found</h1>", 404, "text/html")
        server.route("POST", "/ari/bridges/x", lambda _: page)
        client = AriClient(f"{server.url}/ari", "esl_agent", "agent", SECRET, timeout=PATIENCE)
        reply = client.send(bridge("x"))
        client.stop(0.1)
    assert (reply.status, reply.message) == (404, "Not Found")


def test_a_request_that_waited_too_long_is_not_sent_but_one_that_frees_is(asterisk):
    client = AriClient(asterisk.url, "esl_agent", "agent", SECRET, timeout=0.3)
    started(client)
    asterisk.troubles.append(Trouble(lambda _: True, before=60.0))
    lane, replies = Lane(), []
    client.ask(lane, bridge("first"), replies.append)
    client.ask(lane, bridge("late"), replies.append)
    client.ask(lane, bridge("late", "DELETE", is_owed=True), replies.append)
    until(lambda: len(replies) == 3)
    assert not asterisk.asked_for("POST /bridges/late")
    assert asterisk.asked_for("DELETE /bridges/late")
    assert [each.status for each in replies] == [0, 0, 404]
    client.stop(0.1)


@pytest.mark.parametrize("trouble", [{"status": 500}, {"drops": True}, {"status": 503}])
def test_what_is_owed_is_sent_again(asterisk, client, trouble):
    started(client)
    asterisk.bridges["x"] = []
    asterisk.troubles.append(Trouble(lambda _: True, times=2, **trouble))
    replies = []
    client.ask(Lane(), bridge("x", "DELETE", is_owed=True), replies.append)
    until(lambda: bool(replies))
    assert "x" not in asterisk.bridges
    assert replies[0].is_ok or replies[0].is_gone


def test_an_asterisk_that_is_away_is_not_asked_until_it_is_back(asterisk, client):
    heard, replies = started(client), []
    asterisk.refuse_events = 1_000_000
    asterisk.drop_events()
    until(lambda: len(heard.news) == 2)
    asterisk.troubles.append(Trouble(lambda _: True, drops=True))
    client.ask(Lane(), bridge("x"), replies.append)
    until(lambda: len(replies) == 1)
    before = len(asterisk.asked)
    for number in range(100):
        client.ask(Lane(), bridge(f"b{number}", "DELETE", is_owed=True), replies.append)
    until(lambda: len(replies) == 101)
    assert {each.status for each in replies} == {0}
    assert len(asterisk.asked) == before
    asterisk.refuse_events = 0
    until(lambda: heard.news[-1] == "connected")
    client.ask(Lane(), bridge("y"), replies.append)
    until(lambda: len(replies) == 102)
    assert replies[-1].is_ok


def test_one_call_whose_answer_is_a_mistake_of_ours_stops_no_other(asterisk, client, caplog):
    replies = []
    client.ask(Lane(), bridge("x"), lambda _: 1 / 0)
    client.ask(Lane(), bridge("y"), replies.append)
    until(lambda: bool(replies))
    assert "could not be used" in caplog.text


def test_a_wrong_password_is_told_without_it_and_tried_again(asterisk, caplog):
    client = AriClient(asterisk.url, "esl_agent", "agent", "another-secret", timeout=1.0)
    heard = Heard()
    with caplog.at_level(logging.DEBUG):
        client.start(heard)
        until(lambda: asterisk.handshakes >= 3)
        assert client.send(bridge("x")).status == 401
    client.stop(0.1)
    assert [each.levelname for each in caplog.records if "ari.conf" in each.message] == ["ERROR"], "said once"
    assert "another-secret" not in caplog.text
    assert heard.news == []


def test_a_user_whom_asterisk_does_not_know_is_rarely_tried(asterisk, monkeypatch):
    """Each try is a line in its log, of which fail2ban counts some and shuts us out."""
    monkeypatch.setattr(ari, "REFUSED_SECONDS", 3600.0)
    client = AriClient(asterisk.url, "esl_agent", "agent", "another-secret", timeout=1.0)
    client.start(Heard())
    until(lambda: bool(asterisk.handshakes))
    gevent.sleep(0.05)
    assert asterisk.handshakes == 1
    client.stop(0.1)


def test_an_asterisk_that_is_away_for_long_is_complained_of_once(asterisk, client, caplog):
    caplog.set_level(logging.INFO)
    heard = started(client)
    asterisk.refuse_events = 6
    asterisk.drop_events()
    until(lambda: heard.news.count("connected") == 2)
    told = [each.message for each in caplog.records if "tried again" in each.message]
    assert len(told) == 2, "that it was lost, and that it does not come back"
    assert "503" in told[1]


def test_an_asterisk_that_lets_us_in_and_throws_us_out_is_asked_more_and_more_rarely(asterisk, client, monkeypatch):
    tries = []
    monkeypatch.setattr(ari, "BACK_OFF", (0.001, 3600.0))
    monkeypatch.setattr(ari, "pause", lambda number, *_: tries.append(number) or 0.001)
    heard = started(client)
    for lost in range(1, 4):
        asterisk.drop_events()
        until(lambda lost=lost: heard.news.count("connected") == lost + 1)
    monkeypatch.setattr(ari, "BACK_OFF", (0.0, 0.0))
    asterisk.drop_events()
    until(lambda: heard.news.count("connected") == 5)
    assert tries == [0, 1, 2, 0], "the last connection had held"


def test_no_secret_is_told_when_asterisk_is_not_there(caplog):
    client = AriClient(f"http://agent:{SECRET}@127.0.0.1:9", "esl_agent", "agent", SECRET, timeout=0.2)
    with caplog.at_level(logging.DEBUG):
        client.start(Heard())
        until(lambda: "ari: " in caplog.text)
        reply = client.send(bridge("x"))
    client.stop(0.1)
    assert (reply.status, reply.message) == (0, "Connection refused")
    assert SECRET not in caplog.text + str(reply)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:80880", "http://:8088", "http://[::1:8088", "http://a:b", "http://x:0"]
)
def test_an_address_that_can_be_none_is_said_before_the_service_starts(url):
    """Not by a connection that is never made, and never tried again."""
    with pytest.raises(ConfigError, match="asterisk: ari: url"):
        AriClient(url, "esl_agent", "u", "p", timeout=1.0)


def test_a_lost_connection_is_told_and_made_again(asterisk, client):
    heard = started(client)
    asterisk.refuse_events = 2
    asterisk.drop_events()
    until(lambda: heard.news[-1] == "connected" and len(heard.news) == 3)
    assert heard.news[1].startswith("lost: ")
    assert asterisk.handshakes == 4


def test_a_silent_connection_is_given_up(asterisk):
    client = AriClient(asterisk.url, "esl_agent", "agent", SECRET, timeout=10.0, ping=0.1)
    heard = Heard()
    client.start(heard)
    until(lambda: asterisk.pings > 1)
    assert heard.news == ["connected"], "pings are answered"
    asterisk.is_deaf = True
    until(lambda: any("not even an answer to a ping" in each for each in heard.news))
    client.stop(0.1)


def test_a_message_in_pieces_and_one_that_is_too_long(asterisk, client):
    heard = started(client)
    sock, protocol = asterisk._events
    text = b'{"type":"StasisEnd","channel":{"id":"1"}}'
    protocol.send_text(text[:10], fin=False)
    protocol.send_continuation(text[10:], fin=True)
    asterisk._flush(sock, protocol)
    until(lambda: heard.news[-1] == "StasisEnd")
    asterisk.say(" " * 1_000_000)
    until(lambda: heard.news.count("connected") == 2)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    directory = tmp_path_factory.mktemp("certificate")
    files = str(directory / "certificate.pem"), str(directory / "key.pem")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [*made, *named, "-keyout", files[1], "-out", files[0]]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return files


def test_an_asterisk_with_a_certificate_of_its_own_is_trusted_where_it_is_named(certificate):
    with PretendAri("agent", SECRET, tls=certificate) as asterisk:
        client = AriClient(asterisk.url, "esl_agent", "agent", SECRET, timeout=1.0, ca_file=certificate[0])
        heard = Heard()
        client.start(heard)
        until(lambda: heard.news == ["connected"])
        assert client.send(bridge("x")).is_ok
        client.stop(0.1)


def test_a_server_nobody_vouches_for_is_told_nothing(certificate, caplog):
    with PretendAri("agent", SECRET, tls=certificate) as asterisk:
        client = AriClient(asterisk.url, "esl_agent", "agent", SECRET, timeout=1.0)
        heard = Heard()
        client.start(heard)
        until(lambda: "certificate" in caplog.text)
        assert client.send(bridge("x")).status == 0
        client.stop(0.1)
        assert (asterisk.asked, asterisk.handshakes, heard.news) == ([], 0, [])


def test_who_takes_our_application_keeps_it(asterisk, client, monkeypatch):
    monkeypatch.setattr(ari, "REPLACED_SECONDS", 3600.0)
    heard = started(client)
    asterisk.say('{"type":"ApplicationReplaced","application":"esl_agent"}')
    asterisk.drop_events()
    until(lambda: len(heard.news) == 2)
    gevent.sleep(0.05)
    assert asterisk.handshakes == 1
