"""Sessions of a realtime agent end before a call does: another one takes over, and the caller does not notice."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from service import GREETING, SPEECH, Traces
from test_realtime_agent import ANSWER, LONG, Calls

from esl_agent.testing.caller import Say, Wait
from esl_agent.testing.pretend_realtime import KEY, Persona, PretendRealtime

pytestmark = pytest.mark.system


@pytest.fixture
def hours() -> list[float]:
    """What is added to the service's clock."""
    return [0.0]


@pytest.fixture
def peer(hours: list[float]) -> Iterator[PretendRealtime]:
    with PretendRealtime(Persona(GREETING, (ANSWER, LONG)), clock=lambda: time.monotonic() + 3600 * hours[0]) as server:
        yield server


@pytest.fixture
def service(tmp_path: Path, peer: PretendRealtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    monkeypatch.setenv("REALTIME_KEY", KEY)
    traces = Traces()
    made = Calls(tmp_path, peer, "unicast", 0.0)
    yield made
    made.close()
    traces.assert_nothing_was_left()


def grow_old_after(service: Calls, seconds: float) -> None:
    """Sessions are replaced sooner than any setting allows."""
    reception = service.server.reception
    config = reception.lineup.config
    [did] = config.dids
    relay = dataclasses.replace(did.settings.relay, session=seconds)
    did = dataclasses.replace(did, settings=dataclasses.replace(did.settings, relay=relay))
    reception.lineup = dataclasses.replace(
        reception.lineup, config=dataclasses.replace(config, dids=(did,), _exact={"5000": did})
    )


def test_a_session_that_grows_old_is_replaced_in_a_pause_with_what_was_said(service: Calls) -> None:
    grow_old_after(service, 1.0)
    call = service.call(Say(SPEECH, pause=0.2), Wait(1.5), Say(SPEECH, pause=0.2))
    service.until(call, "turn", 3)
    assert service.agent_said(call)[:2] == [GREETING, ANSWER], service.story(call)
    assert len(service.peer.sessions) > 1
    items = [event["item"] for event in service.told(1, "conversation.item.create")]
    said = [part["text"].strip() for item in items for part in item["content"]]
    assert said[0] == GREETING
    assert not service.note(call, "agent_closed")
    call.hang_up()
    assert call.wait(8.0)
    assert [session.errors for session in service.peer.sessions] == [[]] * len(service.peer.sessions)


def test_a_session_that_expires_is_replaced_and_the_caller_is_answered(service: Calls, hours: list[float]) -> None:
    call = service.call(Wait(3.0), Say(SPEECH, pause=0.2))
    service.until(call, "turn", 1)
    hours[0] = 1.0
    service.until(call, "agent_closed", 1)
    assert service.note(call, "agent_closed")[0]["expired"]
    service.until(call, "turn", 2)
    assert len(service.peer.sessions) == 2
    assert service.agent_said(call)[0] == GREETING
    call.hang_up()
    assert call.wait(8.0)
