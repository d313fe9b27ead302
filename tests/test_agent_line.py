"""The greenlets between a call and its speech-to-speech agent."""

from __future__ import annotations

import gc
import logging
import time
import weakref
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from esl_agent import agent_line, agent_session, agent_voice
from esl_agent.agent_line import AgentLine
from esl_agent.audio.pcm import Sound, SoundFormat, SoundStream
from esl_agent.dialogue.actions import ConnectAgent, Message, ToolCall, ToolSpec
from esl_agent.dialogue.events import (
    AgentClosed,
    AgentConnected,
    AgentResponded,
    AgentResponding,
    AgentSpeaks,
    AgentSpoke,
    AgentText,
    CallerPaused,
    CallerSaid,
    CallerSpeaks,
)
from esl_agent.errors import ProviderError
from esl_agent.providers.accounts import Accounts
from esl_agent.providers.base import (
    CallContext,
    CallerBegan,
    CallerEnded,
    CallerWords,
    ResponseBegan,
    ResponseEnded,
    SoundEnded,
    SoundPart,
    Switched,
    Usage,
    UsagePart,
    Used,
    WordsPart,
)
from esl_agent.testing.agents import CannedAgent, CannedSession

FRAME = b"\x01\x02" * 480
BRIEF = ConnectAgent(1, "You are a shop.", (ToolSpec("look", "Look."),), (Message("user", "hello"),))


class Desk:
    """A call's line, and what came of it."""

    def __init__(
        self,
        *agents: CannedAgent,
        rate: int = 24000,
        streams: bool = True,
        patience: float = 5.0,
        accounts: Accounts | None = None,
        clock: Callable[[], float] = time.monotonic,
        **context: Any,
    ) -> None:
        self.agents = agents or (CannedAgent(),)
        self.posted: list[Any] = []
        self.told: list[Any] = []
        told = CallContext("one", self.told.append, **context)
        self.line = AgentLine(
            self.agents,
            rate,
            self.posted.append,
            told,
            patience=patience,
            streams=streams,
            accounts=accounts or Accounts(),
            clock=clock,
        )

    def connect(self, number: int = 1) -> CannedSession:
        self.line.connect(ConnectAgent(number, BRIEF.instructions, BRIEF.tools, BRIEF.history))
        self.until(lambda: AgentConnected(number) in self.posted)
        return self.agents[0].sessions[-1]

    def until(self, holds: Callable[[], Any]) -> None:
        for _ in range(200):
            if holds():
                return
            gevent.sleep(0.001)
        raise AssertionError(f"never: {self.posted}")

    def of(self, kind: type) -> list[Any]:
        return [each for each in self.posted if type(each) is kind]


# Connecting


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that failed is tried again sooner."""
    monkeypatch.setattr(agent_line, "AGAIN_SECONDS", 0.01)


def test_an_agent_is_told_everything_when_it_is_connected() -> None:
    session = Desk().connect()
    assert session.brief.instructions == BRIEF.instructions
    assert session.brief.tools == BRIEF.tools
    assert session.brief.history == BRIEF.history
    assert session.brief.interruptible
    assert session.brief.sound == SoundFormat("pcm", 24000)


def test_nothing_waits_for_an_agent_that_takes_its_time() -> None:
    desk = Desk(CannedAgent(3600.0))
    desk.line.connect(BRIEF)
    gevent.sleep(0.002)
    desk.line.send_audio(1, FRAME)
    desk.line.ask(1, "")
    desk.line.close()
    gevent.sleep(0.002)
    assert desk.posted == []
    assert desk.agents[0].sessions == []


def test_an_agent_that_is_not_there_in_time_is_given_up_and_the_next_one_asked() -> None:
    first, second = CannedAgent(3600.0, name="first"), CannedAgent(name="second")
    desk = Desk(first, second, patience=0.02)
    for number in (1, 2):
        desk.line.connect(ConnectAgent(number, ""))
        desk.until(lambda number=number: AgentConnected(number) in desk.posted)
    assert (first.asked, second.asked) == (1, 2)
    [switched] = desk.told
    assert isinstance(switched, Switched)
    assert (switched.stage, switched.before, switched.after) == ("agent", "first", "second")


def test_an_agent_that_failed_the_call_comes_behind_the_others_and_is_not_forgotten() -> None:
    def away() -> ProviderError:
        return ProviderError("agent", "away", retryable=True)

    first, second = CannedAgent(away(), name="first"), CannedAgent(away(), away(), name="second")
    desk = Desk(first, second)
    desk.line.connect(BRIEF)
    desk.until(lambda: desk.of(AgentClosed))
    desk.line.connect(ConnectAgent(2, ""))
    desk.until(lambda: AgentConnected(2) in desk.posted)
    assert (first.asked, second.asked, len(first.sessions)) == (2, 1, 1)


def test_an_agent_that_refuses_at_once_is_not_tried_again_in_the_same_moment() -> None:
    """A service that starts anew refuses within a millisecond; two tries in two would end the call."""
    refused = [ProviderError("agent", "connection refused", retryable=True) for _ in range(2)]
    only, now = CannedAgent(*refused), [100.0]
    desk = Desk(only, patience=0.2, clock=lambda: now[0])
    desk.line.connect(BRIEF)
    desk.until(lambda: len(desk.of(AgentClosed)) == 1)
    desk.line.connect(ConnectAgent(2, ""))
    gevent.sleep(0.002)
    assert only.asked == 1
    desk.until(lambda: len(desk.of(AgentClosed)) == 2)
    assert only.asked == 2
    now[0] += 1.0
    desk.line.connect(ConnectAgent(3, ""))
    gevent.sleep(0.0)
    gevent.sleep(0.0)
    assert AgentConnected(3) in desk.posted, "a break of the line may be long ago"


def test_whose_setup_is_at_fault_is_asked_once_on_a_call_and_the_next_one_at_once() -> None:
    first = CannedAgent(ProviderError("agent", "no such key", blame="setup"), name="first")
    second = CannedAgent(name="second")
    desk = Desk(first, second)
    for number in (1, 2):
        desk.line.connect(ConnectAgent(number, ""))
        desk.until(lambda number=number: AgentConnected(number) in desk.posted)
    assert (first.asked, second.asked) == (1, 2)


def test_an_agent_that_may_serve_no_more_is_followed_by_the_next_one() -> None:
    first, second = CannedAgent(name="first"), CannedAgent(name="second")
    desk = Desk(first, second)
    desk.connect().say(ProviderError("agent", "insufficient_quota", blame="setup"))
    desk.until(lambda: desk.of(AgentClosed))
    assert desk.of(AgentClosed) == [AgentClosed(1, "agent: insufficient_quota", retryable=True)]
    desk.line.connect(ConnectAgent(2, ""))
    desk.until(lambda: AgentConnected(2) in desk.posted)
    assert (first.asked, second.asked) == (1, 1)
    second.sessions[-1].say(ProviderError("agent", "closed with 1008", blame="request"))
    desk.until(lambda: len(desk.of(AgentClosed)) == 2)
    assert not desk.of(AgentClosed)[-1].retryable


def test_an_agent_that_may_serve_no_more_and_is_the_only_one_is_not_asked_again() -> None:
    desk = Desk()
    desk.connect().say(ProviderError("agent", "insufficient_quota", blame="setup"))
    desk.until(lambda: desk.of(AgentClosed))
    assert not desk.of(AgentClosed)[0].retryable


def test_where_nobody_can_be_connected_one_closed_is_owed_and_says_why() -> None:
    away, refused = ProviderError("agent", "away", retryable=True), ProviderError("agent", "no key", blame="setup")
    desk = Desk(CannedAgent(away, name="first"), CannedAgent(refused, name="second"))
    desk.line.connect(BRIEF)
    desk.until(lambda: desk.posted)
    gevent.sleep(0.005)
    assert desk.posted == [AgentClosed(1, "agent: no key", retryable=True)]


def test_all_attempts_together_end_in_time() -> None:
    desk = Desk(*(CannedAgent(3600.0, name=f"{n}") for n in range(5)), patience=0.03)
    desk.line.connect(BRIEF)
    desk.until(lambda: desk.posted)
    [closed] = desk.posted
    assert closed.retryable
    assert [agent.asked for agent in desk.agents] == [1] * 5


def test_an_agent_that_fails_call_after_call_is_asked_last_for_a_while() -> None:
    accounts = Accounts()
    down = CannedAgent(*(ProviderError("agent", "down", retryable=True) for _ in range(99)), name="down")
    second = CannedAgent(name="second")
    for number in range(9):
        desk = Desk(down, second, accounts=accounts)
        desk.line.connect(BRIEF)
        desk.until(lambda number=number: len(second.sessions) == number + 1)
        desk.line.close()
    assert 0 < down.asked < 9


@pytest.mark.parametrize("how", ["closed", "dead", "killed while it connected", "refused"])
def test_an_account_has_only_so_many_sessions_and_each_gives_back_its_place(how: str) -> None:
    accounts, plan = Accounts(), {"killed while it connected": 3600.0, "refused": ProviderError("agent", "no")}
    only = CannedAgent(*([plan[how]] if how in plan else []), at_once=1)
    first, other = Desk(only, accounts=accounts), CannedAgent(name="other")
    first.line.connect(BRIEF)
    first.until(lambda: only.asked)
    if how == "closed":
        second = Desk(only, other, accounts=accounts, patience=0.02)
        second.line.connect(BRIEF)
        second.until(lambda: other.sessions)
        second.line.close()
    if how == "dead":
        only.sessions[0].say(ProviderError("agent", "gone"))
        first.until(lambda: first.of(AgentClosed))
    elif how != "refused":
        first.line.close()
    gevent.sleep(0.002)
    third = Desk(only, accounts=accounts)
    third.connect()
    assert third.agents[0].sessions


def test_a_budget_says_who_is_asked() -> None:
    dear, cheap = CannedAgent(name="dear"), CannedAgent(name="cheap")
    desk = Desk(dear, cheap, affordable=lambda stage, names: tuple(n for n in names if n != "dear"))
    desk.line.connect(BRIEF)
    desk.until(lambda: cheap.sessions)
    assert dear.asked == 0


def test_a_providers_bug_ends_the_session_and_not_the_call(caplog: pytest.LogCaptureFixture) -> None:
    def broken(session: CannedSession) -> None:
        raise RuntimeError("a bug")

    desk = Desk(CannedAgent(broken))
    with caplog.at_level(logging.CRITICAL):
        desk.line.connect(BRIEF)
        desk.until(lambda: desk.posted)
    assert desk.posted == [AgentClosed(1, "agent: RuntimeError")]


# What the agent does


def test_what_an_agent_does_is_told_in_order() -> None:
    desk = Desk()
    session = desk.connect()
    call = ToolCall("c", "look", {})
    session.say(
        CallerBegan("u"),
        CallerEnded("u"),
        ResponseBegan("r"),
        WordsPart("r", "i", "hello"),
        CallerWords("u", "hi"),
        ResponseEnded("r", calls=(call,)),
    )
    desk.until(lambda: desk.of(AgentResponded))
    assert desk.posted == [
        AgentConnected(1),
        CallerSpeaks(1, "u"),
        CallerPaused(1, "u"),
        AgentResponding(1, "r"),
        AgentText(1, "r", "i", "hello"),
        CallerSaid(1, "u", "hi"),
        AgentResponded(1, "r", "completed", (call,)),
    ]


def test_sound_grows_in_one_stream_where_the_leg_streams() -> None:
    desk = Desk()
    session = desk.connect()
    session.say(ResponseBegan("r"), SoundPart("r", "i", b"\1\0\2"))
    desk.until(lambda: desk.of(AgentSpeaks))
    session.say(SoundPart("r", "i", b"\0" + FRAME), SoundEnded("r", "i"), ResponseEnded("r"))
    desk.until(lambda: desk.of(AgentResponded))
    [speaks] = desk.of(AgentSpeaks)
    assert isinstance(speaks.audio, SoundStream)
    assert (speaks.response, speaks.item, speaks.part, speaks.at) == ("r", "i", 0, 0.0)
    assert bytes(speaks.audio.pcm) == b"\1\0\2\0" + FRAME
    assert speaks.audio.is_ended
    assert desk.of(AgentSpoke) == [AgentSpoke(1, "r", "i")]


def test_sound_comes_in_parts_where_the_leg_plays_whole_sounds() -> None:
    desk = Desk(streams=False)
    session = desk.connect()
    session.say(ResponseBegan("r"), *[SoundPart("r", "i", FRAME)] * 200, SoundEnded("r", "i"), ResponseEnded("r"))
    desk.until(lambda: desk.of(AgentResponded))
    parts = desk.of(AgentSpeaks)
    assert [part.part for part in parts] == [0, 1, 2, 3]
    assert [round(part.audio.seconds, 2) for part in parts] == [0.4, 1.5, 1.5, 0.6]
    assert [round(part.at, 2) for part in parts] == [0.0, 0.4, 1.9, 3.4]
    assert all(isinstance(part.audio, Sound) for part in parts)
    assert b"".join(part.audio.pcm for part in parts) == FRAME * 200
    assert desk.posted.index(AgentSpoke(1, "r", "i")) > desk.posted.index(parts[-1])


@pytest.mark.parametrize("streams", [True, False])
def test_an_item_that_was_cut_off_by_its_response_ends_too_and_what_comes_late_is_dropped(streams: bool) -> None:
    desk = Desk(streams=streams)
    session = desk.connect()
    session.say(ResponseBegan("r"), SoundPart("r", "i", FRAME), ResponseEnded("r", "cancelled"))
    session.say(SoundPart("r", "i", FRAME), SoundEnded("r", "i"), CallerBegan("u"))
    desk.until(lambda: desk.of(CallerSpeaks))
    [speaks] = desk.of(AgentSpeaks)
    assert bytes(speaks.audio.pcm) == FRAME
    assert desk.posted[-3:] == [AgentSpoke(1, "r", "i"), AgentResponded(1, "r", "cancelled"), CallerSpeaks(1, "u")]


def test_an_item_without_end_is_cut(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(agent_voice, "MAX_ITEM_SECONDS", 0.05)
    desk = Desk()
    session = desk.connect()
    session.say(ResponseBegan("r"), *[SoundPart("r", "i", FRAME)] * 10, ResponseEnded("r"))
    desk.until(lambda: desk.of(AgentResponded))
    [speaks] = desk.of(AgentSpeaks)
    assert speaks.audio.seconds == pytest.approx(0.05)
    assert len([r for r in caplog.records if "cut" in r.message]) == 1


def test_sound_that_comes_after_its_response_however_often_is_no_fault() -> None:
    desk = Desk()
    session = desk.connect()
    for n in range(2 * agent_voice.MAX_ITEMS):
        session.say(ResponseBegan(f"r{n}"), SoundPart(f"r{n}", f"i{n}", FRAME), ResponseEnded(f"r{n}", "cancelled"))
        session.say(ResponseBegan(f"s{n}"), SoundPart(f"r{n}", f"i{n}", FRAME), ResponseEnded(f"s{n}"))
    session.say(CallerBegan("u"))
    desk.until(lambda: desk.of(CallerSpeaks) or desk.of(AgentClosed))
    assert desk.of(AgentClosed) == []
    assert [each.audio.is_ended for each in desk.of(AgentSpeaks)].count(False) == 1  # which may yet go on


def test_an_agent_with_ever_more_items_is_a_fault() -> None:
    desk = Desk()
    session = desk.connect()
    session.say(ResponseBegan("r"), *(SoundPart("r", f"{n}", FRAME) for n in range(agent_voice.MAX_ITEMS + 1)))
    desk.until(lambda: desk.of(AgentClosed))
    assert all(each.audio.is_ended for each in desk.of(AgentSpeaks))


def test_g711_comes_out_as_pcm_of_its_own_rate() -> None:
    desk = Desk(rate=8000)
    session = desk.connect()
    assert session.brief.sound == SoundFormat("ulaw", 8000)
    session.say(ResponseBegan("r"), SoundPart("r", "i", b"\xff" * 160))
    desk.until(lambda: desk.of(AgentSpeaks))
    [speaks] = desk.of(AgentSpeaks)
    assert (speaks.audio.rate, len(speaks.audio.pcm)) == (8000, 320)
    desk.line.send_audio(1, bytes(320))
    desk.until(lambda: session.heard)
    assert session.heard == b"\xff" * 160


# What it is told


def test_orders_arrive_in_order() -> None:
    desk = Desk()
    session = desk.connect()
    desk.line.tell(1, "12#")
    desk.line.truncate(1, "i", 1.5)
    desk.line.forget(1, "j")
    desk.line.cancel(1, "r")
    desk.line.return_tools(1, (("c", "found"),))
    desk.line.ask(1, "Say goodbye.", is_last=True)
    desk.until(lambda: len(session.told) == 6)
    assert session.told == [
        ("tell", "12#"),
        ("truncate", "i", 1.5),
        ("forget", "j"),
        ("cancel", "r"),
        ("return_tools", (("c", "found"),)),
        ("respond", "Say goodbye.", "last"),
    ]


def test_the_callers_frames_pass_untouched_at_24_khz_and_those_before_the_connection_are_gone() -> None:
    desk = Desk(CannedAgent(0.003))
    desk.line.connect(BRIEF)
    gevent.sleep(0.001)
    desk.line.send_audio(1, b"\7\7" * 480)
    desk.until(lambda: desk.of(AgentConnected))
    for _ in range(3):
        desk.line.send_audio(1, FRAME)
    [session] = desk.agents[0].sessions
    desk.until(lambda: session.heard == FRAME * 3)


def test_a_line_that_turns_out_to_have_another_rate_is_resampled_into_the_session() -> None:
    desk = Desk(rate=24000)
    session = desk.connect()
    desk.line.line_has(8000)
    for _ in range(50):
        desk.line.send_audio(1, bytes(320))
    desk.until(lambda: len(session.heard) >= 40000)
    assert len(session.heard) == 48000


def test_a_service_that_takes_nothing_loses_old_sound_and_no_order_and_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(agent_session, "SEND_SECONDS", 0.02)
    monkeypatch.setattr(agent_session, "LOOK_SECONDS", 0.005)
    desk = Desk()
    session = desk.connect()
    session.stalls = True
    for _ in range(agent_session.SOUND_LIMIT + 30):
        desk.line.send_audio(1, FRAME)
    desk.until(lambda: desk.of(AgentClosed))
    [closed] = desk.of(AgentClosed)
    assert closed.retryable
    assert "takes nothing" in closed.error
    assert any("30 frames came too late" in record.message for record in caplog.records)
    desk.until(lambda: session.closed == 1)


def test_a_service_that_is_told_ever_more_and_takes_none_of_it_is_given_up() -> None:
    desk = Desk()
    session = desk.connect()
    session.stalls = True
    for _ in range(agent_session.CONTROL_LIMIT + 2):
        desk.line.tell(1, "1")
    assert len(desk.of(AgentClosed)) == 1
    desk.until(lambda: session.closed == 1)


# How sessions end


@pytest.mark.parametrize("streams", [True, False])
def test_a_peer_that_dies_mid_word_leaves_its_words_and_one_closed(streams: bool) -> None:
    desk = Desk(streams=streams)
    session = desk.connect()
    session.say(ResponseBegan("r"), SoundPart("r", "i", FRAME), ProviderError("agent", "gone", retryable=True))
    desk.until(lambda: desk.of(AgentClosed))
    [speaks] = desk.of(AgentSpeaks)
    assert bytes(speaks.audio.pcm) == FRAME
    assert not streams or speaks.audio.is_ended
    assert desk.posted[-2:] == [AgentSpoke(1, "r", "i"), AgentClosed(1, "agent: gone", retryable=True)]
    desk.until(lambda: session.closed == 1)
    desk.line.send_audio(1, FRAME)
    desk.line.tell(1, "1")
    gevent.sleep(0.003)
    assert session.told == []


def test_a_session_that_has_grown_too_old_says_so() -> None:
    desk = Desk()
    desk.connect().say(ProviderError("agent", "too old", code="session_expired"))
    desk.until(lambda: desk.of(AgentClosed))
    assert desk.posted[-1] == AgentClosed(1, "agent: too old", retryable=True, expired=True)


def test_a_session_that_just_ends_may_be_tried_again() -> None:
    desk = Desk()
    desk.connect().say(None)
    desk.until(lambda: desk.of(AgentClosed))
    assert desk.posted[-1].retryable


@pytest.mark.parametrize("streams", [True, False])
def test_a_session_that_we_close_tells_nothing_any_more(streams: bool) -> None:
    desk = Desk(streams=streams)
    session = desk.connect()
    session.say(ResponseBegan("r"), SoundPart("r", "i", FRAME))
    desk.until(lambda: desk.of(AgentResponding))
    before = list(desk.posted)
    desk.line.close_session(1)
    session.say(SoundPart("r", "j", FRAME), ProviderError("agent", "gone"))
    desk.until(lambda: session.closed == 1)
    gevent.sleep(0.003)
    assert desk.posted == before
    assert all(each.audio.is_ended for each in desk.of(AgentSpeaks) if streams)


def test_one_session_takes_over_while_the_other_still_speaks() -> None:
    desk = Desk()
    first, second = desk.connect(1), desk.connect(2)
    first.say(ResponseBegan("r"))
    desk.line.send_audio(2, FRAME)
    desk.until(lambda: desk.of(AgentResponding) and second.heard)
    assert desk.posted[-1] == AgentResponding(1, "r")
    assert not first.closed
    third = desk.connect(3)
    desk.until(lambda: first.closed == 1)
    assert not second.closed
    assert not third.closed


# What it costs


def test_what_was_used_is_told_and_who_used_it() -> None:
    desk = Desk()
    usage, other = Usage(input_tokens=9, audio_input_tokens=5, output_tokens=4), Usage(seconds=1.5)
    desk.connect().say(ResponseBegan("r"), UsagePart(usage), ResponseEnded("r"), UsagePart(other, "transcriber"))
    desk.until(lambda: len(desk.told) == 2)
    assert desk.told == [Used("agent", "canned", usage), Used("agent", "transcriber", other)]


@pytest.mark.parametrize("how", ["killed", "dead"])
def test_a_response_that_nobody_counted_is_estimated_from_its_sound(how: str) -> None:
    desk = Desk()
    session = desk.connect()
    session.say(ResponseBegan("q"), SoundPart("q", "h", FRAME * 500), UsagePart(Usage(output_tokens=1)))
    session.say(ResponseEnded("q"), ResponseBegan("r"), SoundPart("r", "i", FRAME * 100))
    desk.until(lambda: len(desk.of(AgentSpeaks)) == 2)
    if how == "killed":
        desk.line.close()
        gevent.sleep(0)
    else:
        session.say(ProviderError("agent", "gone"))
        desk.until(lambda: desk.of(AgentClosed))
    estimate = Usage(output_tokens=40, audio_output_tokens=40, is_estimate=True)
    assert desk.told == [Used("agent", "canned", Usage(output_tokens=1)), Used("agent", "canned", estimate)]


# What is left


@pytest.mark.parametrize("when", ["before it began", "connecting", "speaking", "dead"])
def test_a_line_that_was_closed_is_freed_without_the_collector(when: str) -> None:
    desk = Desk(CannedAgent(3600.0 if when == "connecting" else 0.0))
    if when == "before it began":
        pass
    elif when == "connecting":
        desk.line.connect(BRIEF)
        gevent.sleep(0.001)
    else:
        session = desk.connect()
        session.say(ResponseBegan("r"), SoundPart("r", "i", FRAME))
        desk.line.send_audio(1, FRAME)
        if when == "dead":
            session.say(ProviderError("agent", "gone"))
            desk.until(lambda: desk.of(AgentClosed))
        del session
    gevent.sleep(0.002)
    gc.collect()
    gc.disable()
    try:
        if when == "before it began":
            desk.line.connect(BRIEF)
        line, sessions = desk.line, list(desk.line._sessions.values())
        left = [weakref.ref(line), *(weakref.ref(each) for each in sessions)]
        line.close()
        del line, sessions
        desk.line = None  # type: ignore[assignment]
        gevent.sleep(0.003)
        assert [each() for each in left] == [None] * len(left)
    finally:
        gc.enable()
