"""A call is handed over, or the agent has it back; whoever is called may say no."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import pytest
from virtual_call import UUID, VirtualCall

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue.events import Answered, HungUp, TransferFailed, Transferred
from esl_agent.errors import LegError, UnsafeText
from esl_agent.legs.freeswitch_leg import FreeSwitchLeg
from esl_agent.legs.transfer import asked, reason_of, twice
from esl_agent.testing.fs_bridge import Callee
from esl_agent.testing.fs_machine import Options
from esl_agent.wire import esl
from esl_agent.wire import esl_commands as commands

BRIEFING = Sound(b"\x10\x00" * 8000, 8000)
DIAL = "{leg_timeout=10}sofia/gateway/pstn/1000"


class Stage:
    def __init__(self, folder: Path, callee: Callee, **options: Any) -> None:
        self.call = VirtualCall(options=Options(callees={"1000": callee}, **options))
        self.folder = folder
        self.posted: list[Any] = []
        self.leg = FreeSwitchLeg(self.call, self.posted.append)  # type: ignore[arg-type]
        self.leg.handover.prepare(folder, "/clips", "%(2000,4000,440,480)")
        self.leg.prepare("json", 10)
        self.leg.answer()
        self.call.after(1.0)
        assert self.posted == [Answered()]
        self.posted.clear()

    def warm(self, briefing: Sound | None = BRIEFING) -> None:
        self.leg.transfer("desk", DIAL, "warm", briefing)

    @property
    def facts(self) -> list[tuple[str, str]]:
        return [(what, detail) for _, what, detail in self.call.machine.facts]


def test_a_blind_transfer_is_reported_when_the_call_has_left_and_then_we_leave(tmp_path):
    stage = Stage(tmp_path, Callee())
    stage.leg.transfer("desk", "1000 XML public", "blind", None)
    assert stage.posted == []
    stage.call.after(0.1)
    assert stage.posted == [Transferred("desk")]
    assert ("transferred", "1000 XML public") in stage.facts
    assert stage.call.exits == 1


def test_the_dialplan_a_call_goes_to_may_expand_its_variables(tmp_path):
    stage = Stage(tmp_path, Callee())
    stage.leg.transfer("desk", "1000 XML public", "blind", None)
    orders = [line.split()[0:2] + line.split()[3:] for line in stage.call.said[-2:]]
    assert orders[0] == ["api", "uuid_setvar", "app_disable_expand_variables", "false"]
    assert orders[1][:2] == ["api", "uuid_transfer"]


def test_the_callers_sound_is_ours_no_more_once_somebody_else_has_the_call(tmp_path):
    for mode, target in (("blind", "1000 XML default"), ("warm", DIAL)):
        stage = Stage(tmp_path, Callee())
        stage.leg.transfer("desk", target, mode, None)  # type: ignore[arg-type]
        assert not [line for line in stage.call.said if "uuid_audio_fork" in line]
        stage.call.after(5.0)
        assert f"api uuid_audio_fork {UUID} stop\n\n" in stage.call.said


def test_a_transferred_call_lives_on_when_we_leave(tmp_path):
    stage = Stage(tmp_path, Callee())
    stage.leg.transfer("desk", "1000 XML default", "blind", None)
    stage.call.after(0.1)
    stage.call.request(commands.exit_())
    stage.call.after(3.0)
    assert stage.call.machine.is_up
    assert stage.posted == [Transferred("desk"), HungUp("BLIND_TRANSFER")]


def test_a_caller_whom_somebody_else_took_away_is_let_go_of_and_not_hung_up_on(tmp_path):
    stage = Stage(tmp_path, Callee())
    stage.call.do(lambda machine: machine.transfer("6000 XML public"))
    stage.call.after(2.5)
    assert (stage.call.exits, stage.posted) == (0, [])
    stage.call.after(1.0)
    assert stage.call.exits == 1
    assert f"api uuid_audio_fork {UUID} stop\n\n" in stage.call.said
    stage.call.request(commands.exit_())
    stage.call.after(3.0)
    assert stage.call.machine.is_up
    assert stage.posted == [HungUp("BLIND_TRANSFER")]


def test_a_caller_who_hung_up_was_not_taken_away(tmp_path, caplog):
    stage = Stage(tmp_path, Callee())
    stage.call.do(lambda machine: machine.caller_hangs_up(stage.call.now))
    stage.call.after(5.0)
    assert "taken away" not in caplog.text


def test_a_blind_transfer_that_freeswitch_refuses_leaves_the_agent_with_the_caller(tmp_path):
    stage = Stage(tmp_path, Callee())
    stage.call.machine.refuse("api uuid_transfer", "-ERR no")
    stage.leg.transfer("desk", "1000 XML default", "blind", None)
    stage.call.after(2.0)
    assert stage.posted == [TransferFailed("desk", "refused")]
    assert stage.call.exits == 0
    assert stage.call.machine.channel.variables["app_disable_expand_variables"] == "true"


def test_a_lost_event_does_not_lose_a_blind_transfer(tmp_path):
    stage = Stage(tmp_path, Callee())
    stage.call.machine.lose_events("CHANNEL_UNPARK")
    stage.leg.transfer("desk", "1000 XML default", "blind", None)
    stage.call.after(2.0)
    assert stage.posted == [Transferred("desk")]


def test_who_answers_hears_the_briefing_and_accepts(tmp_path):
    stage = Stage(tmp_path, Callee("accepts", rings=2.0, decides=3.0, talks=60.0))
    stage.warm()
    stage.call.after(4.0)
    assert stage.posted == []
    [(_, heard)] = [fact for fact in stage.facts if fact[0] == "callee hears"]
    assert f"/clips/briefing-{UUID}-1.wav" in heard
    stage.call.after(1.5)
    assert stage.posted == [Transferred("desk")]
    stage.call.after(60.0)
    assert stage.posted == [Transferred("desk"), HungUp("NORMAL_CLEARING")]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("callee", "reason"),
    [
        (Callee("declines"), "declined"),
        (Callee("busy"), "busy"),
        (Callee("no_answer"), "no_answer"),
        (Callee("accepts", rings=11.0), "no_answer"),
        (Callee("unreachable"), "unreachable"),
    ],
)
def test_when_nobody_takes_the_call_the_agent_has_the_caller_back(tmp_path, callee, reason):
    stage = Stage(tmp_path, callee)
    stage.warm()
    stage.call.after(30.0)
    assert stage.posted == [TransferFailed("desk", reason)]
    assert stage.call.machine.is_up
    assert list(tmp_path.iterdir()) == []
    stage.leg.transfer("desk", "1000 XML default", "blind", None)
    stage.call.after(1.0)
    assert stage.posted[1:] == [Transferred("desk")]


def test_the_caller_hears_ringing_also_while_one_who_picked_up_at_once_is_briefed(tmp_path):
    stage = Stage(tmp_path, Callee())
    stage.warm()
    stage.call.after(0.1)
    variables = stage.call.machine.channel.variables
    assert (variables["ringback"], variables["instant_ringback"]) == ("%(2000,4000,440,480)", "true")


def test_without_a_briefing_whoever_answers_is_connected_at_once(tmp_path):
    stage = Stage(tmp_path, Callee("accepts", rings=2.0, decides=9.0))
    stage.warm(None)
    stage.call.after(2.1)
    assert stage.posted == [Transferred("desk")]
    assert "group_confirm" not in stage.call.said[-2]


def test_a_caller_who_hangs_up_while_it_rings_is_gone_and_nothing_else(tmp_path):
    stage = Stage(tmp_path, Callee("no_answer"))
    stage.warm()
    stage.call.after(2.0)
    stage.call.do(lambda machine: machine.caller_hangs_up(stage.call.now))
    stage.call.after(5.0)
    assert stage.posted == [HungUp("NORMAL_CLEARING")]
    assert list(tmp_path.iterdir()) == []


def test_an_event_socket_that_breaks_while_it_rings_is_a_hang_up(tmp_path):
    stage = Stage(tmp_path, Callee("no_answer"))
    stage.warm()
    stage.call.after(2.0)
    stage.call.do(lambda machine: machine.reset())
    assert stage.posted == [HungUp("LEG_CLOSED")]


def test_a_bridge_whose_end_is_never_told_ends_all_the_same(tmp_path):
    stage = Stage(tmp_path, Callee("busy"))
    stage.call.machine.lose_events("CHANNEL_EXECUTE_COMPLETE")
    stage.warm()
    stage.call.after(600.0)
    assert stage.posted == []
    stage.call.after(10.0)
    assert stage.posted == [TransferFailed("desk", "no_answer")]


def test_one_transfer_at_a_time(tmp_path):
    stage = Stage(tmp_path, Callee("no_answer"))
    stage.warm()
    stage.leg.transfer("other", "1001 XML default", "blind", None)
    assert stage.posted == [TransferFailed("other", "refused")]
    assert not [fact for fact in stage.facts if fact[0] == "transferred"]


def test_a_bridge_that_freeswitch_refuses_is_a_refused_transfer(tmp_path):
    stage = Stage(tmp_path, Callee())
    stage.call.machine.refuse("sendmsg", "-ERR no")
    stage.warm()
    assert stage.posted == [TransferFailed("desk", "refused")]


def test_a_briefing_that_cannot_be_written_is_a_refused_transfer(tmp_path):
    stage = Stage(tmp_path / "gone", Callee())
    stage.warm()
    assert stage.posted == [TransferFailed("desk", "refused")]
    stage.warm(None)
    stage.call.after(2.0)
    assert stage.posted[1:] == [Transferred("desk")]


def test_an_announcement_of_the_network_is_no_answer(tmp_path):
    stage = Stage(tmp_path, Callee())
    stage.warm()
    assert "ignore_early_media=true" in stage.call.said[-1]


def test_the_briefing_is_heard_twice_with_time_to_put_the_phone_to_ones_ear(tmp_path):
    stage = Stage(tmp_path, Callee("no_answer"))
    stage.warm()
    [path] = tmp_path.iterdir()
    with wave.open(str(path)) as file:
        assert file.getframerate() == 8000
        assert file.getnframes() == round((0.4 + 1.0 + 2.0 + 1.0) * 8000)
    assert twice(BRIEFING).pcm.count(BRIEFING.pcm) == 2


def test_a_key_other_than_one_declines_by_words_freeswitch_keeps_together():
    """``\\\\\\'`` becomes ``\\'`` at the comma, ``'`` at the equals sign, and the blank stays (measured)."""
    text = asked("/clips/briefing-1.wav")
    assert text.endswith(r"\\\'hangup:CALL_REJECTED inline\\\'")
    assert text.split()[:7] == ["play_and_get_digits", "1", "1", "1", "8000", "none", "/clips/briefing-1.wav"]


@pytest.mark.parametrize("path", ["/my clips/a.wav", "/a,b.wav", "/a'b.wav", "/a}b.wav", "/${x}.wav"])
def test_a_path_that_would_mean_something_in_a_dial_string_is_refused(path):
    with pytest.raises(UnsafeText):
        asked(path)


@pytest.mark.parametrize("value", ["a,b=c", "a}", "'x'", "${a}", "x\ny", "a=b"])
def test_a_variable_of_a_dial_string_cannot_become_another(value):
    with pytest.raises(UnsafeText):
        commands.dial_string({"x": value}, "user/1000")


def captured(name: str) -> list[esl.Event]:
    path = Path(__file__).parent.parent / "corpus" / "esl" / name
    return [frame for frame in esl.Parser().feed(path.read_bytes()) if isinstance(frame, esl.Event)]


def test_a_real_callee_who_pressed_two_has_declined():
    [ended] = captured("plain_bridge_declined.bin")
    assert ended.headers["variable_originate_disposition"] == "CALL_REJECTED"
    assert ended.headers["variable_esl_agent_transfer_answered"] == "true"
    assert reason_of(ended) == "declined"
    assert f"group_confirm_file={asked('/clips/briefing-1.wav')}," in ended.headers["Application-Data"]


def test_a_real_callee_who_pressed_one_has_the_call(tmp_path):
    stage = Stage(tmp_path, Callee("no_answer"))
    stage.warm()
    bridged, ended = captured("plain_bridge_accepted.bin")
    stage.leg.handover.on_event(bridged)
    stage.leg.handover.on_event(ended)
    assert stage.posted == [Transferred("desk")]


def test_what_a_cause_means_to_the_caller():
    def ended(disposition: str, answered: str = "false") -> esl.Event:
        headers = {"variable_originate_disposition": disposition, "variable_esl_agent_transfer_answered": answered}
        return esl.Event("CHANNEL_EXECUTE_COMPLETE", "", headers)

    assert reason_of(ended("USER_BUSY")) == "busy"
    assert reason_of(ended("ALLOTTED_TIMEOUT")) == "no_answer"
    assert reason_of(ended("ALLOTTED_TIMEOUT", "true")) == "declined"
    assert reason_of(ended("CALL_REJECTED")) == "declined"
    assert reason_of(ended("GATEWAY_DOWN")) == "unreachable"


def test_keys_are_pressed_towards_the_caller(tmp_path):
    stage = Stage(tmp_path, Callee())
    stage.leg.send_digits("12w#")
    assert ("sent digits", "12w#") in stage.facts


def test_a_variable_gets_a_safe_value_and_only_a_name_that_is_one(tmp_path):
    stage = Stage(tmp_path, Callee())
    stage.leg.set_variable("agent_ticket", "4711 ${system(id)}\n")
    assert stage.call.machine.channel.variables["agent_ticket"] == "4711 $(system(id)}"
    for name in ("", "a b", "a=b", "a\nb", "ünicode"):
        with pytest.raises(LegError):
            stage.leg.set_variable(name, "x")
