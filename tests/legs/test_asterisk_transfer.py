"""A call of Asterisk's is handed over warm: who is rung, what they hear and press, and what the caller has of it."""

from __future__ import annotations

import gc
import itertools
import uuid
import weakref
from typing import Any

import pytest
from virtual_line import Frames, Ticks

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue.events import HungUp, PlaybackBegan, Played, TransferFailed, Transferred
from esl_agent.dialogue.handing import DECIDES, NEWS
from esl_agent.errors import CommandRefused, LegError
from esl_agent.legs import asterisk_transfer, briefings
from esl_agent.legs.ami_originate import GRACE
from esl_agent.legs.asterisk import AsteriskLeg, Caller, Done, NoControl
from esl_agent.legs.asterisk_transfer import WarmTransfer, target_of
from esl_agent.legs.briefings import Briefings, is_briefing, new_line
from esl_agent.legs.outbound import CalleeAnswered, CallFailed, EarlyMediaBegan, OnNews, Rang
from esl_agent.legs.ring_back import RingBack
from esl_agent.legs.transfer import DECIDES_SECONDS, twice
from esl_agent.wire.audiosocket_sound import LineSound
from tests.legs.test_asterisk_leg import ScriptedControl, ScriptedLine
from tests.legs.until import until

BRIEFING = Sound(b"\x10\x00" * 800, 8000)
DIAL = "{leg_timeout=10}PJSIP/1002"


class ScriptedCallee:
    def __init__(self, on_news: OnNews) -> None:
        self.tell = on_news
        self.did: list[str] = []
        self.connecting: Done | None = None

    def connect(self, done: Done) -> None:
        self.did.append("connect")
        self.connecting = done

    def hang_up(self) -> None:
        self.did.append("hang_up")


class RingingControl(ScriptedControl):
    def __init__(self) -> None:
        super().__init__()
        self.rung: list[tuple[str, str, float]] = []
        self.callees: list[ScriptedCallee] = []
        self.refusal: LegError | None = None

    def ring(self, endpoint: str, line: str, seconds: float, on_news: OnNews) -> ScriptedCallee:
        if self.refusal is not None:
            raise self.refusal
        self.rung.append((endpoint, line, seconds))
        self.callees.append(ScriptedCallee(on_news))
        return self.callees[-1]


class CalleesLine(Frames):
    """The line that whoever answers has with us."""

    def __init__(self, name: str) -> None:
        super().__init__(LineSound())
        self.id = name
        self.on_digit: Any = None
        self.on_end: Any = None


class RingingMedia:
    """The caller's sound: what is played and cleared, and what it tells of it."""

    def __init__(self, post: Any) -> None:
        self.post = post
        self.did: list[str] = []
        self.clips: list[Any] = []

    def play(self, clip: Any) -> None:
        self.did.append("play")
        self.clips.append(clip)

    def clear(self) -> None:
        self.did.append("clear")


class OpenGate:
    """Where the callee's line comes in."""

    def __init__(self) -> None:
        self.awaited: set[str] = set()

    def await_line(self, uuid: str) -> None:
        self.awaited.add(uuid)

    def forget_line(self, uuid: str) -> None:
        self.awaited.discard(uuid)


class Stage:
    """A call whose caller is to be handed over, and somebody to be rung."""

    def __init__(self, control: Any = None) -> None:
        self.ticks = Ticks()
        self.gate = OpenGate()
        self.briefings = Briefings(self.ticks, self.gate)
        self.control = control or RingingControl()
        self.posted: list[Any] = []
        self.leg = AsteriskLeg(ScriptedLine(), Caller("PJSIP/1001-1"), self.control, self.posted.append)
        ring = RingBack(self.posted.append)
        self.media = RingingMedia(ring.post)
        ring.media = self.media  # type: ignore[assignment]
        self.leg.warm = WarmTransfer("a-call", self.control, self.briefings, ring)
        self.line: Any = None

    def warm(self, dial: str = DIAL, briefing: Sound | None = BRIEFING) -> None:
        self.leg.transfer("desk", dial, "warm", briefing)

    @property
    def callee(self) -> ScriptedCallee:
        return self.control.callees[-1]

    def tell(self, *news: Any) -> None:
        for each in news:
            self.callee.tell(each)

    def answer(self) -> None:
        """The callee answers, and their line comes."""
        self.tell(Rang(), CalleeAnswered("PJSIP/1002-1"))
        self.line_comes()

    def line_comes(self) -> None:
        self.line = CalleesLine(self.control.rung[-1][1])
        self.briefings._awaited[self.line.id].line_came(self.line)

    def briefed(self) -> Stage:
        self.warm()
        self.answer()
        return self

    def frames(self, count: int) -> None:
        for _ in range(count):
            for tick in list(self.ticks.ticks.values()):
                tick()


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.leg.close()
    stage.briefings.close()
    assert stage.briefings._awaited == {}
    assert stage.ticks.ticks == {}, "nothing is played to nobody"


def test_whom_the_destination_names_is_rung_for_its_seconds(stage):
    stage.warm("{leg_timeout=7}PJSIP/4930123@trunk")
    ((endpoint, line, seconds),) = stage.control.rung
    assert (endpoint, seconds) == ("PJSIP/4930123@trunk", 7.0)
    assert is_briefing(line)
    assert stage.posted == []


@pytest.mark.parametrize(
    "dial",
    [
        "user/1000", "sofia/gateway/pstn/+4930", "{leg_timeout=25}user/1000", "{a=b}PJSIP/1", "[a=b]PJSIP/1",
        "PJSIP/1,PJSIP/2",
        "PJSIP/1&PJSIP/2", "PJSIP/1|PJSIP/2", "PJSIP", "PJSIP/", "pjsip/1", "1000", "PJSIP/a/b", "PJSIP/1\r\nAction: x",
        "PJSIP/${X}", "PJSIP/1 XML default", "Local/100@default", "AudioSocket/1.2.3.4:5", "WebSocket/x", "PJSIP/1\n",
        "",
    ],
)  # fmt: skip
def test_what_asterisk_does_not_dial_is_refused_with_what_to_write(stage, dial, caplog):
    stage.warm(dial)
    assert stage.posted == [TransferFailed("desk", "refused")]
    assert stage.control.rung == []
    assert "PJSIP/1002" in caplog.text
    assert "\n" not in caplog.records[-1].getMessage()


def test_a_target_without_seconds_rings_as_long_as_destinations_do():
    assert target_of("PJSIP/1002").seconds == 25.0


def test_the_caller_hears_it_ring_again_and_again_and_then_nothing_of_it(stage):
    stage.warm()
    assert stage.media.did == ["play"]
    (clip,) = stage.media.clips
    stage.media.post(PlaybackBegan(clip.turn, clip.number))
    stage.media.post(Played(clip.turn, clip.number, clip.audio.seconds))
    assert stage.media.did == ["play", "play"]
    stage.tell(CallFailed("busy"))
    stage.media.post(Played(clip.turn, clip.number + 1, 1.0))
    assert stage.media.did == ["play", "play", "clear"]
    assert stage.posted == [TransferFailed("desk", "busy")], "the call is told nothing of our tone"


def test_whoever_answers_hears_the_briefing_twice(stage):
    stage.briefed()
    stage.frames(300)
    heard = b"".join(stage.line.sent)
    loud = [place for place in range(0, len(heard) - 320, 320) if any(heard[place : place + 320])]
    parts = sum(b - a > 320 for a, b in itertools.pairwise(loud)) + 1
    assert parts == 2
    assert stage.callee.did == []


def test_nothing_is_said_before_both_the_answer_and_the_line_are_there(stage):
    stage.warm()
    stage.tell(Rang(), EarlyMediaBegan())
    stage.line_comes()
    stage.frames(5)
    assert stage.line.sent == []
    stage.tell(CalleeAnswered("PJSIP/1002-1"))
    stage.frames(5)
    assert stage.line.sent != []


def test_key_1_connects_caller_and_callee_and_the_call_ends_with_its_caller(stage):
    stage.briefed()
    stage.line.on_digit("1")
    assert stage.callee.did == ["connect"]
    stage.leg.ended()
    stage.line.on_end()
    assert stage.posted == [], "its line ends before Asterisk has said so"
    stage.callee.connecting(None)
    assert stage.posted == [Transferred("desk")]
    assert stage.callee.did == ["connect"]
    stage.control.hung_up(16)
    assert stage.posted == [Transferred("desk"), HungUp("NORMAL_CLEARING")]


def test_the_end_of_the_line_after_the_news_ends_no_call(stage):
    stage.briefed()
    stage.line.on_digit("1")
    stage.callee.connecting(None)
    stage.leg.ended()
    assert stage.posted == [Transferred("desk")]


def test_a_line_that_proves_dead_when_its_ring_back_stops_ends_no_call(stage):
    stage.media.clear = stage.leg.ended
    stage.briefed()
    stage.line.on_digit("1")
    stage.callee.connecting(None)
    assert stage.posted == [Transferred("desk")]


def test_without_a_briefing_who_answers_is_connected_at_once(stage):
    stage.warm(briefing=None)
    stage.answer()
    assert stage.callee.did == ["connect"]


def test_who_was_handed_over_and_has_hung_up_already_has_hung_up(stage):
    stage.briefed()
    stage.line.on_digit("1")
    stage.control.hung_up(19)
    stage.callee.connecting(None)
    assert stage.posted == [Transferred("desk"), HungUp("NO_ANSWER")]


@pytest.mark.parametrize("key", ["2", "0", "*", "#", "A"])
def test_any_other_key_declines(stage, key):
    stage.briefed()
    stage.line.on_digit(key)
    assert stage.posted == [TransferFailed("desk", "declined")]
    assert stage.callee.did == ["hang_up"]
    stage.line.on_digit("1")
    assert stage.callee.did == ["hang_up"]


def test_whoever_hangs_up_in_the_briefing_declines(stage):
    stage.briefed()
    stage.line.on_end()
    assert stage.posted == [TransferFailed("desk", "declined")]


def test_whoever_does_not_decide_declines(stage, monkeypatch):
    monkeypatch.setattr(asterisk_transfer, "DECIDES_SECONDS", -100.0)
    stage.briefed()
    until(lambda: stage.posted)
    assert stage.posted == [TransferFailed("desk", "declined")]
    assert stage.callee.did == ["hang_up"]


def test_an_answer_whose_line_never_comes_is_nobodys(stage, monkeypatch):
    monkeypatch.setattr(asterisk_transfer, "LINE_SECONDS", 0.001)
    stage.warm()
    stage.tell(CalleeAnswered("PJSIP/1002-1"))
    until(lambda: stage.posted)
    assert stage.posted == [TransferFailed("desk", "unreachable")]
    assert stage.callee.did == ["hang_up"]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("busy", "busy"), ("declined", "declined"), ("no_answer", "no_answer"), ("unreachable", "unreachable"),
        ("unknown_number", "unreachable"), ("congestion", "unreachable"), ("rejected", "unreachable"),
        ("failed", "unreachable"),
    ],
)  # fmt: skip
def test_why_nobody_took_it_is_told_in_the_dialogues_words(stage, reason, told):
    stage.warm()
    stage.tell(CallFailed(reason))
    assert stage.posted == [TransferFailed("desk", told)]


def test_where_the_two_cannot_be_connected_the_agent_has_the_caller(stage):
    stage.briefed()
    stage.line.on_digit("1")
    stage.callee.connecting(CommandRefused("Bridge", "Channel2 does not exists"))
    assert stage.posted == [TransferFailed("desk", "unreachable")]
    assert stage.callee.did == ["connect", "hang_up"]


def test_two_who_are_never_connected_are_not_waited_for(stage, monkeypatch):
    monkeypatch.setattr(asterisk_transfer, "CONNECT_SECONDS", 0.001)
    stage.briefed()
    stage.line.on_digit("1")
    until(lambda: stage.posted)
    assert stage.posted == [TransferFailed("desk", "unreachable")]
    stage.callee.connecting(None)
    assert len(stage.posted) == 1


@pytest.mark.parametrize("when", ["it rings", "the briefing"])
@pytest.mark.parametrize("how", ["the line ends", "the channel ends"])
def test_a_caller_who_hangs_up_is_rung_for_no_more(stage, when, how):
    stage.warm() if when == "it rings" else stage.briefed()
    if how == "the channel ends":
        stage.control.hung_up(16)
        assert stage.callee.did == ["hang_up"]
    stage.leg.ended()
    assert stage.callee.did == ["hang_up"]
    assert stage.posted == [HungUp("NORMAL_CLEARING")]
    stage.tell(CallFailed("cancelled"))
    assert stage.posted == [HungUp("NORMAL_CLEARING")]


def test_a_caller_who_hangs_up_while_they_are_connected_has_hung_up(stage):
    stage.briefed()
    stage.line.on_digit("1")
    stage.control.hung_up(16)
    stage.leg.ended()
    stage.callee.connecting(LegError("the caller has hung up"))
    assert stage.posted == [TransferFailed("desk", "unreachable"), HungUp("NORMAL_CLEARING")]
    assert stage.callee.did == ["connect", "hang_up"]


def test_a_call_that_is_let_go_of_rings_for_nobody(stage):
    stage.warm()
    stage.leg.close()
    assert stage.callee.did == ["hang_up"]
    assert stage.posted == []


def test_after_a_transfer_that_nobody_took_another_may_be_tried(stage):
    stage.warm()
    stage.tell(CallFailed("busy"))
    stage.briefed()
    stage.line.on_digit("1")
    stage.callee.connecting(None)
    assert stage.posted == [TransferFailed("desk", "busy"), Transferred("desk")]


def test_a_second_transfer_meanwhile_is_refused(stage):
    stage.warm()
    stage.leg.transfer("shop", DIAL, "warm", None)
    assert stage.posted == [TransferFailed("shop", "refused")]
    assert len(stage.control.rung) == 1


@pytest.mark.parametrize("mode", ["warm", "blind"])
def test_where_asterisk_is_not_controlled_every_transfer_is_refused_and_the_log_says_why(mode, caplog):
    stage = Stage(NoControl())
    stage.leg.transfer("desk", DIAL if mode == "warm" else "1000 XML default", mode, BRIEFING)
    assert stage.posted == [TransferFailed("desk", "refused")]
    assert "asterisk.ami" in caplog.text
    stage.leg.close()


def test_a_leg_that_nobody_taught_it_refuses_a_warm_transfer():
    posted: list[Any] = []
    leg = AsteriskLeg(ScriptedLine(), Caller(), RingingControl(), posted.append)
    leg.transfer("desk", DIAL, "warm", None)
    assert posted == [TransferFailed("desk", "refused")]


# Lines of briefings


def test_a_briefings_line_is_told_from_a_callers():
    lines = {new_line() for _ in range(100)}
    assert len(lines) == 100
    assert all(is_briefing(line) and str(uuid.UUID(line)) == line and uuid.UUID(line).version == 8 for line in lines)
    assert not any(is_briefing(str(uuid.uuid4())) for _ in range(100))
    assert not is_briefing("")
    assert not is_briefing("62726965-")


def test_a_line_that_nobody_awaits_any_more_is_no_call(stage):
    assert stage.briefings.came(CalleesLine(new_line()))
    assert not stage.briefings.came(CalleesLine(str(uuid.uuid4())))


def test_the_gate_awaits_the_callees_line_until_the_transfer_is_over(stage):
    stage.warm()
    assert stage.gate.awaited == {stage.control.rung[-1][1]}
    stage.tell(CallFailed("busy", 17, 486))
    assert stage.gate.awaited == set()


def test_a_line_is_held_until_it_is_done_with(stage, monkeypatch):
    monkeypatch.setattr(briefings, "MAX_SECONDS", 2.0)
    stage.warm()
    stage.tell(CalleeAnswered("PJSIP/1002-1"))
    line = CalleesLine(stage.control.rung[-1][1])
    stage.briefings.deadlines.after(0.002, lambda: line.on_digit("2"))
    assert stage.briefings.came(line)
    assert stage.posted == [TransferFailed("desk", "declined")]


def test_a_call_that_was_handed_over_is_freed_without_the_collector():
    stage = Stage()
    stage.briefed()
    stage.line.on_digit("1")
    stage.callee.connecting(None)
    gone = [weakref.ref(stage.leg), weakref.ref(stage.leg.warm), weakref.ref(stage.media)]
    stage.leg.close()
    stage.control.hung_up = None
    stage.briefings.close()
    gc.disable()
    try:
        del stage
        assert [each() for each in gone] == [None, None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("seconds", [0.0, 1.0, 30.0])
def test_the_dialogue_waits_as_long_as_the_longest_transfer(seconds):
    """While it still rings the caller hears that, and the agent would speak behind it."""
    sound = Sound(bytes(round(seconds * 8000) * 2), 8000)
    ours = GRACE + asterisk_transfer.LINE_SECONDS + twice(sound).seconds + DECIDES_SECONDS
    assert ours + asterisk_transfer.CONNECT_SECONDS < 2 * seconds + DECIDES + NEWS
