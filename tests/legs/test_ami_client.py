"""Our standing connection to AMI: login, loss, silence, nonsense; against the pretend server."""

from __future__ import annotations

import logging

import gevent
import pytest

from esl_agent.errors import CommandRefused, CommandTimeout, LegClosed, LegError
from esl_agent.legs import ami_link
from esl_agent.legs.ami import AmiClient, pause
from esl_agent.testing.pretend_ami import PretendAmi
from tests.legs.until import until


@pytest.fixture
def server():
    server = PretendAmi().start()
    yield server
    server.stop()
    assert server.complaints == []


@pytest.fixture
def connect(server):
    clients = []

    def connect(start=True, **options):
        options = {"timeout": 1.0, "first_retry": 0.005, "last_retry": 0.02, "refused_retry": 0.02, **options}
        client = AmiClient(*server.address, server.user, options.pop("secret", server.secret), **options)
        clients.append(client)
        if start:
            client.start()
            until(lambda: client.is_connected)
        return client

    yield connect
    for client in clients:
        client.close()


def ask(client, name="Ping", headers=(), **options):
    """What an action brings, or the error."""
    found = []
    client.send(name, headers, found.append, **options)
    until(lambda: found)
    return found[0]


def test_a_login_comes_after_the_banner_and_before_anything_else(server, connect):
    connect()
    assert server.actions[0][0] == ("Action", "Login")
    assert dict(server.actions[0])["Events"] == "off"
    assert server.logins == 1


def test_nothing_is_answered_before_the_login(server, connect):
    sock = gevent.socket.create_connection(server.address)
    sock.sendall(b"Action: Ping\r\nActionID: 1\r\n\r\n")
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(4096)
    assert b"Permission denied" in data
    sock.close()


def test_an_answer_goes_to_the_action_it_belongs_to(server, connect):
    client = connect()
    caller = server.call_in()
    assert ask(client).get("Ping") == "Pong"
    assert ask(client, "Setvar", [("Channel", caller.name), ("Variable", "A"), ("Value", "1")]).response == "Success"
    refused = ask(client, "Hangup", [("Channel", "PJSIP/none"), ("Cause", "16")])
    assert isinstance(refused, CommandRefused)
    assert refused.reply == "No such channel"


def test_a_server_that_sends_byte_by_byte_is_understood(server, connect):
    server.piece = 1
    client = connect()
    assert ask(client).get("Ping") == "Pong"


def test_two_answers_in_one_piece_are_two(server, connect):
    client = connect()
    server.mute.add("Ping")
    found = []
    for _ in range(2):
        client.send("Ping", (), found.append)
    until(lambda: len(server.asked("Ping")) == 2)
    answers = [f"Response: Success\r\nActionID: {each['ActionID']}\r\n\r\n" for each in server.asked("Ping")]
    server.raw("".join(answers).encode())
    until(lambda: len(found) == 2)
    assert [each.response for each in found] == ["Success", "Success"]


def test_a_wrong_secret_is_said_once_without_the_secret_and_tried_again(server, connect, caplog):
    client = connect(start=False, secret="not the one")
    with caplog.at_level(logging.DEBUG):
        client.start()
        until(lambda: server.refusals >= 3)
    said = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "Authentication failed" in said[0]
    assert "manager.conf" in said[0]
    assert not any("not the one" in each.getMessage() for each in caplog.records)
    server.secret = "not the one"
    until(lambda: client.is_connected)
    assert client.trouble == ""


def test_a_secret_with_a_line_break_is_no_action(server, connect, caplog):
    client = connect(start=False, secret="x\r\nAction: Logoff")
    client.start()
    until(lambda: "Secret" in client.trouble)
    assert "Logoff" not in caplog.text


def test_what_is_pending_fails_when_the_connection_is_lost(server, connect):
    client = connect()
    server.mute.add("Ping")
    found = []
    for _ in range(3):
        client.send("Ping", (), found.append)
    until(lambda: len(server.asked("Ping")) == 3)
    server.drop()
    until(lambda: len(found) == 3)
    assert all(isinstance(each, LegClosed) for each in found)
    until(lambda: server.logins == 2)
    server.mute.clear()
    until(lambda: client.is_connected)
    assert ask(client).get("Ping") == "Pong"


def test_a_server_that_is_away_is_tried_until_it_is_back_and_complained_of_once(server, connect, caplog):
    client = connect()
    server.stop()
    until(lambda: not client.is_connected)
    assert isinstance(ask(client), LegClosed)
    until(lambda: "refused" in client.trouble)
    gevent.sleep(0.03)
    assert sum("Connection refused" in each.getMessage() for each in caplog.records) == 1
    server.start()
    until(lambda: client.is_connected)


def test_each_login_is_told(server, connect):
    client = connect(start=False)
    told = []
    client.on_connected(lambda: told.append(client.is_connected))
    client.start()
    until(lambda: told)
    server.drop()
    until(lambda: len(told) == 2)
    assert told == [True, True]


def test_a_sign_of_asterisk_makes_the_next_try_come_now(server, connect):
    """After a restart of Asterisk the first call is not without its caller until the next try is due."""
    client = connect(first_retry=60.0, last_retry=60.0)
    server.stop()
    until(lambda: "closed" in client.trouble)
    assert not client.wait_connected(1.0)
    assert "refused" in client.trouble
    server.start()
    assert client.wait_connected(1.0)
    assert client.wait_connected(0.0)


def test_a_login_that_was_refused_is_not_tried_more_often_for_every_call(server, connect):
    client = connect(start=False, secret="not the one", refused_retry=60.0)
    assert not client.wait_connected(1.0)
    client.start()
    until(lambda: server.refusals)
    until(lambda: "refused" in client.trouble)
    assert not client.wait_connected(60.0)
    assert server.refusals == 1


def test_tries_become_rarer_up_to_a_limit_and_are_never_quite_regular():
    waits = [pause(tries, 0.5, 30.0) for tries in range(200)]
    assert all(0.25 * 2**tries <= wait <= 0.5 * 2**tries for tries, wait in enumerate(waits[:6]))
    assert all(15 <= wait <= 30 for wait in waits[7:])
    assert len(set(waits)) == len(waits)


def test_a_server_that_never_greets_is_given_up(server, connect):
    server.greets = False
    client = connect(start=False, timeout=0.02)
    client.start()
    until(lambda: server.connections >= 2)
    assert not client.is_connected
    assert "banner" in client.trouble


def test_a_server_that_is_no_asterisk_is_named(server, connect):
    server.greets = False
    client = connect(start=False)
    client.start()
    until(lambda: server.sessions)
    server.raw(b"220 mail.example.org ESMTP\r\n")
    until(lambda: "no Asterisk" in client.trouble)


def test_an_action_without_an_answer_ends_by_its_deadline_and_its_late_answer_is_nobodys(server, connect):
    client = connect()
    server.mute.add("Ping")
    answer = ask(client, timeout=0.01)
    assert isinstance(answer, CommandTimeout)
    server.raw(f"Response: Success\r\nActionID: {server.asked('Ping')[0]['ActionID']}\r\n\r\n".encode())
    server.mute.clear()
    assert ask(client).get("Ping") == "Pong"


def test_a_peer_that_is_quiet_is_asked_and_kept(server, connect):
    client = connect(ping_after=0.01)
    until(lambda: len(server.asked("Ping")) >= 3)
    assert server.logins == 1
    assert client.is_connected


def test_a_peer_that_answers_no_more_is_dropped_and_tried_again(server, connect):
    client = connect(ping_after=0.01, timeout=0.03)
    server.mute.add("Ping")
    until(lambda: server.logins >= 2)
    server.mute.clear()
    until(lambda: client.is_connected)


def test_garbage_ends_the_connection_and_a_new_one_is_made(server, connect, caplog):
    client = connect()
    server.raw(b"\xff\xfe" * 300_000)
    until(lambda: server.logins == 2)
    until(lambda: client.is_connected)
    assert "a line of more than" in caplog.text
    assert "Traceback" not in caplog.text


def test_half_a_message_at_the_end_is_no_message(server, connect):
    client = connect(start=False)
    heard = []
    client.on_event("Hangup", heard.append)
    client.start()
    until(lambda: client.is_connected)
    server.raw(b"Event: Hangup\r\nChannel: PJSIP/1")
    server.drop()
    until(lambda: server.logins == 2)
    assert heard == []


def test_only_what_is_subscribed_to_is_sent(server, connect):
    client = connect(start=False)
    heard = []
    client.on_event("DialBegin", heard.append)
    client.on_event("Newexten", heard.append, header="Application", value="AudioSocket")
    client.start()
    until(lambda: client.is_connected)
    assert client.is_filtered
    caller = server.call_in()
    server.dial(caller, "AudioSocket/127.0.0.1:9092-6517abaa-99bc-4044-9edc-31d26f4a00a7")
    server.run_app(caller, "6517abaa-99bc-4044-9edc-31d26f4a00a7")
    until(lambda: len(heard) == 2)
    assert [dict(each)["Event"] for each in server.sessions[0].events] == ["DialBegin", "Newexten"]


def test_an_asterisk_without_match_criteria_gets_regular_expressions(server, connect):
    server.has_criteria = False
    client = connect(start=False)
    heard = []
    client.on_event("Newexten", heard.append, header="Application", value="AudioSocket")
    client.start()
    until(lambda: client.is_connected)
    assert client.is_filtered
    assert server.asked("Filter")[-1]["Filter"] == "^Event: Newexten[^A-Za-z].*Application: AudioSocket"
    server.run_app(server.call_in(), "6517abaa-99bc-4044-9edc-31d26f4a00a7")
    until(lambda: heard)
    assert len(server.sessions[0].events) == 1


def test_a_user_that_may_not_filter_hears_what_it_may_and_passes_over_the_rest(server, connect):
    server.may_filter = False
    client = connect(start=False)
    heard = []
    client.on_event("DialBegin", heard.append)
    client.on_event("Newexten", heard.append, header="Application", value="AudioSocket")
    client.start()
    until(lambda: client.is_connected)
    assert not client.is_filtered
    caller = server.call_in()
    server.emit([("Event", "Newexten"), ("Application", "NoOp"), ("AppData", "")])
    server.dial(caller, "AudioSocket/127.0.0.1:9092-6517abaa-99bc-4044-9edc-31d26f4a00a7")
    until(lambda: heard)
    assert [each.event for each in heard] == ["DialBegin"]
    assert len(server.sessions[0].events) > 4


def test_a_subscriber_that_fails_harms_nobody_else(server, connect):
    client = connect(start=False)
    heard = []
    client.on_event("DialBegin", lambda event: 1 / 0)
    client.on_event("DialBegin", heard.append)
    client.start()
    until(lambda: client.is_connected)
    server.dial(server.call_in(), "AudioSocket/127.0.0.1:9092-6517abaa-99bc-4044-9edc-31d26f4a00a7")
    until(lambda: heard)
    assert client.is_connected


def test_text_that_cannot_be_sent_fails_alone(server, connect):
    client = connect()
    answer = ask(client, "Setvar", [("Value", "a\r\nAction: Logoff")])
    assert isinstance(answer, LegError)
    assert ask(client).get("Ping") == "Pong"
    assert not server.asked("Logoff")


def test_there_is_a_most_of_actions_under_way(server, connect, monkeypatch):
    monkeypatch.setattr(ami_link, "MAX_OUTSTANDING", 5)
    client = connect()
    server.mute.add("Ping")
    found = []
    for _ in range(6):
        client.send("Ping", (), found.append)
    assert len(found) == 1
    assert "owes 5 answers" in str(found[0])


def test_a_peer_that_does_not_read_costs_no_more_than_a_limit(server, connect, monkeypatch):
    monkeypatch.setattr(ami_link, "MAX_UNSENT_BYTES", 2000)
    client = connect()
    client._link._outgoing._unsent.append(b"")  # as while the peer's window is full
    found = []
    for _ in range(6):
        client.send("Setvar", [("Value", "x" * 900)], found.append)
    assert sum(isinstance(each, LegError) and "does not read" in str(each) for each in found) >= 3


def test_a_list_is_one_answer(server, connect):
    client = connect()
    callers = [server.call_in() for _ in range(3)]
    found = []
    client.gather("Status", [], found.append)
    until(lambda: found)
    assert [each.get("Channel") for each in found[0][1:]] == [each.name for each in callers]


def test_a_list_without_end_is_given_up(server, connect, monkeypatch):
    monkeypatch.setattr(ami_link, "MAX_LISTED", 4)
    client = connect()
    for _ in range(9):
        server.call_in()
    found = []
    client.gather("Status", [], found.append)
    until(lambda: found)
    assert isinstance(found[0], LegError)
    assert ask(client).get("Ping") == "Pong"


def test_an_event_that_a_channel_variable_forges_is_passed_over(server, connect, caplog):
    client = connect(start=False)
    heard = []
    client.on_event("Hangup", heard.append)
    client.start()
    until(lambda: client.is_connected)
    caller = server.call_in(EVIL="a\r\n\r\nEvent: Hangup\r\nChannel: PJSIP/another\r\nCause: 16\r\n\r\nEvent: Hangup")
    found = []
    client.gather("Status", [("Channel", caller.name), ("AllVariables", "true")], found.append)
    until(lambda: found)
    assert heard == []
    assert found[0][1].get("Channel") == caller.name
    assert "line break" in caplog.text
    server.hang_up(caller.name)
    until(lambda: heard)
    assert heard[0].get("Channel") == caller.name


def test_closing_ends_everything_and_is_said_to_those_who_wait(server, connect):
    client = connect()
    server.mute.add("Ping")
    found = []
    client.send("Ping", (), found.append)
    client.close()
    client.close()
    assert isinstance(found[0], LegClosed)
    assert isinstance(ask(client), LegClosed)
    until(lambda: not server.sessions)
