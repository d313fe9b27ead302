"""What a service says of a request may quote it: nobody's words get into a log that way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from esl_agent.errors import ProviderError
from esl_agent.providers.http import HttpServer
from esl_agent.providers.quotes import shape, texts_of, told, unquoted
from esl_agent.testing.web import FOREVER, Fault, PretendHttp, Reply

SECRET = "My name is Ada Lovelace and my card ends in 4711"
BODY = {"model": "gpt-x", "messages": [{"role": "user", "content": SECRET}, {"role": "user", "content": "Ja."}]}


@pytest.fixture
def pretend() -> Iterator[PretendHttp]:
    with PretendHttp() as server:
        server.route("POST", "/json", lambda request: Reply.json({}))
        yield server


@pytest.mark.parametrize(
    "message",
    [
        SECRET,
        f"invalid content: '{SECRET}'",
        SECRET[11:30] + " is too long",
        SECRET.upper(),
        json.dumps(SECRET),
        "value 'Ja.' is not a valid list",
    ],
)
def test_a_message_says_nothing_that_was_sent(message: str) -> None:
    shown = unquoted(message, texts_of(BODY))
    assert not {"Lovelace", "LOVELACE", "4711", "Ja."} & set(shown.replace("'", " ").replace('"', " ").split()), shown


def test_what_is_said_beside_a_quotation_stays() -> None:
    assert unquoted("'Ada Lovelace and my' is too long, card ends in 4711 too", [SECRET]) == (
        "'[...]' is too long, [...] too"
    )


def test_a_message_about_the_request_stays_readable() -> None:
    for message in ("The model `gpt-x` does not exist", "Rate limit reached for gpt-x", "messages: too long"):
        assert unquoted(message, texts_of(BODY)) == message


def test_the_words_of_one_field_are_sent_words_and_settings_are_not() -> None:
    assert texts_of({"text": "Ja", "voice": "alloy"}) == ["Ja"]
    assert texts_of({"model_id": "x", "transcript": "Guten Tag", "voice": {"id": "v"}}) == ["Guten Tag", "v"]
    assert texts_of(b"sound", None, 5) == []


def test_a_body_of_unknown_shape_is_described_and_not_shown() -> None:
    assert told(json.dumps({"input": {"text": SECRET}, "ok": False})) == ("", "an object with input, ok")
    assert told(json.dumps([[SECRET]])) == ("", "a list of 1")
    assert shape(SECRET) == f"text of {len(SECRET)} characters"
    assert shape({SECRET: 1}) == "an object with 1 key"


def error(server: HttpServer, **more: Any) -> str:
    with pytest.raises(ProviderError) as raised, server.ask("POST", "json", **more) as answer:
        answer.json()
    return str(raised.value)


@pytest.mark.parametrize(
    "reply",
    [
        Reply.json({"error": {"message": f"bad request: {SECRET}", "code": "bad"}}, 400),
        Reply.json({"detail": [{"loc": ["body"], "msg": "wrong", "input": BODY}]}, 422),
        Reply.json({"request": BODY}, 400),
        Reply(f"cannot parse {json.dumps(BODY)}".encode(), 400, "text/plain"),
        Reply(SECRET.encode(), 200, "text/plain"),
        Reply(SECRET.encode(), 200, "application/json"),
    ],
)
def test_no_answer_brings_the_callers_words_into_an_error(pretend: PretendHttp, reply: Reply) -> None:
    pretend.faults = [Fault(instead=reply)]
    server = HttpServer("llm", pretend.url)
    assert "Lovelace" not in (told := error(server, json=BODY, expect="application/json")), told


def test_no_broken_connection_does_either(pretend: PretendHttp) -> None:
    for server in (HttpServer("tts", "http://127.0.0.1:9"), HttpServer("tts", pretend.url, read_timeout=0.05)):
        pretend.faults = [Fault(before=FOREVER)]
        assert "Lovelace" not in (told := error(server, params={"text": SECRET})), told
