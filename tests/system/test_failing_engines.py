"""A DID's list of engines, on the telephone: what a switch leaves behind, and what a call's end does to its engines."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from service import APOLOGY, GREETING, SPEECH, Service, Traces, until

from esl_agent.dialogue.settings import LimitSettings
from esl_agent.providers.accounts import Accounts
from esl_agent.providers.base import CallContext, Identity
from esl_agent.providers.resilience_settings import (
    ModelPatience,
    RecogniserPatience,
    ResilienceSettings,
    VoicePatience,
)
from esl_agent.providers.resilient import resilient
from esl_agent.testing.caller import Say
from esl_agent.testing.fs_call import PretendCall
from esl_agent.testing.providers import GOODBYE, CannedLlm, CannedStt, ToneTts, Trouble

pytestmark = pytest.mark.system

SETTINGS = ResilienceSettings(
    RecogniserPatience(first=0.2), ModelPatience(first=0.2, between=0.2), VoicePatience(first=0.2, between=0.2)
)
LIMITS = LimitSettings(stt=0.5, llm=0.5, tts=0.5)
DEATHS = {
    "refuses": Trouble(fail=99),
    "stalls": Trouble(never=True),
    "dies midway": Trouble(dies_after=1),
    "stalls midway": Trouble(stalls_after=1),
    "talks nonsense": Trouble(rots_after=0),
}


@pytest.fixture
def service(tmp_path):
    traces = Traces()
    made = Service(tmp_path, max_calls=30)
    yield made
    made.close()
    traces.assert_nothing_was_left()


def named(engine: Any, name: str) -> Any:
    engine.identity = Identity(name)
    return engine


def engines(stage: str, trouble: Trouble) -> dict[str, Any]:
    """Two of each; the first one of ``stage`` is in trouble."""

    def pair(of: str, make: Any) -> list[Any]:
        return [named(make(trouble if of == stage else Trouble()), "first"), named(make(Trouble()), "second")]

    made = resilient(
        pair("stt", lambda t: CannedStt(["hello there"], partials=True, trouble=t, sleep=gevent.sleep)),
        pair("llm", lambda t: CannedLlm([GOODBYE], trouble=t, sleep=gevent.sleep)),
        pair("tts", lambda t: ToneTts(8000, per_character=0.1, trouble=t, sleep=gevent.sleep)),
        SETTINGS,
        LIMITS,
        Accounts(),
    )
    return {"stt": made.stt, "llm": made.llm, "tts": made.tts}


def test_a_caller_notices_nothing_of_an_engine_that_dies_and_the_operator_everything(service: Service) -> None:
    calls: dict[tuple[str, str], PretendCall] = {}
    dids = [f"{5100 + number}" for number in range(8)]
    for stage in ("stt", "llm", "tts"):
        for number, (how, trouble) in enumerate(DEATHS.items()):
            if (stage, how) in (("llm", "dies midway"), ("llm", "stalls midway")):
                continue  # its words are being spoken by then
            service.serve(dids[number], **engines(stage, trouble))
            calls[stage, how] = service.call(Say(SPEECH, pause=0.2), did=dids[number], keep_wire=True)
        for (which, how), call in calls.items():
            if which == stage:
                assert call.wait(8.0), (stage, how, service.story(call))
    for (stage, how), call in calls.items():
        assert service.said(call) == [GREETING, "Goodbye."], (stage, how, service.story(call))
        assert APOLOGY not in service.said(call)
        (switched,) = service.note(call, "switched")
        assert (switched["stage"], switched["before"], switched["after"]) == (stage, "first", "second")
        assert {"stt", "llm", "tts"} >= {note["stage"] for note in service.note(call, "used")} >= {stage}
        assert b"Event-Subclass: esl_agent::engine\n" in b"".join(each for _, way, each in call.wire if way == "<")
    until(lambda: not service.server.reception._engines)


class Owned(CannedLlm):
    """A model of which each call has one of its own; ``over``: those of the calls that have ended, in order."""

    def __init__(self, over: list[int]) -> None:
        super().__init__(["one moment"], sleep=gevent.sleep)
        self.over, self.calls = over, 0

    def for_call(self, context: CallContext) -> Any:
        self.calls += 1
        return OwnedByACall(self.over, self.calls)


class OwnedByACall(CannedLlm):
    def __init__(self, over: list[int], number: int) -> None:
        super().__init__(["one moment"], sleep=gevent.sleep)
        self.over, self.number = over, number

    def close(self) -> None:
        self.over.append(self.number)


def test_a_call_that_comes_again_while_it_still_ends_keeps_its_own_engines(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dialplan may send a call to its socket twice: the second one begins before all of the first is cleaned up."""
    monkeypatch.setattr("esl_agent.testing.freeswitch.uuid.uuid4", lambda: "one-and-the-same")
    over: list[int] = []
    service.serve("5100", llm=Owned(over))
    first = service.call(did="5100")
    until(lambda: len(service.server.reception._greenlets) == 1)
    second = service.call(did="5100")
    until(lambda: len(service.server.reception._greenlets) == 2)
    first.hang_up()
    until(lambda: over)
    assert over == [1]
    assert list(service.server.reception.calls) == ["one-and-the-same"]
    second.hang_up()
    until(lambda: over == [1, 2])


def test_engines_that_cannot_be_bound_to_a_call_end_it_and_leave_nothing(service: Service) -> None:
    class Broken(CannedLlm):
        def for_call(self, context: CallContext) -> Any:
            raise KeyError("no such session")

    over: list[int] = []
    service.serve("5100", llm=Broken(["x"]), stt=Owned(over))
    call = service.call(did="5100")
    until(lambda: service.server.freeswitch.listener.failed_applications == 1)
    service.server.freeswitch.listener.failed_applications = 0
    assert over == [1]
    call.hang_up()
