"""Callers of the Stasis application, over a pretend Asterisk."""

from __future__ import annotations

import gc
import random
import weakref

import gevent
import pytest
from ari_lab import AriLab, Found, Told

from esl_agent.errors import CommandRefused, CommandTimeout, LegClosed
from esl_agent.legs import ari, ari_call, ari_calls, ari_sweep
from esl_agent.testing.pretend_ari import PretendChannel
from esl_agent.testing.pretend_ari_http import Trouble


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(ari_sweep, "GRACE", 0.01)
    monkeypatch.setattr(ari_sweep, "AGAIN", 0.01)
    monkeypatch.setattr(ari, "AGAIN", (0.01, 0.01))
    monkeypatch.setattr(ari, "BACK_OFF", (0.01, 0.02))


@pytest.fixture
def lab():
    with AriLab() as lab:
        yield lab.connected()


def posted(lab: AriLab) -> list[str]:
    """What was asked for, without ids."""
    ours = ("esl-agent.", "1795197521.")
    posts = [each.path for each in lab.asterisk.asked if each.method == "POST"]
    return [" ".join(word for word in path if not word.startswith(ours)) for path in posts]


def to(path: str, method: str = ""):
    return lambda each: path in str(each) and each.method.startswith(method)


def test_a_caller_is_answered_when_our_server_has_his_sound(lab):
    channel, found = lab.talking("4930123", number="4930555")
    assert (found.caller.did, found.caller.number, found.caller.channel) == ("4930123", "4930555", channel.id)
    assert channel.state == "Up"
    (bridged,) = lab.asterisk.bridges.values()
    assert bridged[-1] == channel.id
    steps = ["bridges", "channels externalMedia", "bridges addChannel", "channels answer", "bridges addChannel"]
    assert posted(lab) == steps
    (media,) = lab.asterisk.asked_for("externalMedia")
    assert media.of("data") == found.line
    assert media.of("format") == "slin24"
    assert "agentsecret" not in "".join(each.target for each in lab.asterisk.asked)


def test_a_caller_who_is_up_is_not_answered_again(lab):
    lab.talking(state="Up")
    assert not lab.asterisk.asked_for("/answer")


def test_an_asterisk_that_forgets_to_put_the_caller_into_the_bridge_is_reminded(lab, monkeypatch):
    monkeypatch.setattr(ari_call, "REMIND_SECONDS", 0.02)
    lab.asterisk.troubles.append(Trouble(lambda each: each.of("channel").startswith("1795197521."), before=0.3))
    channel, _ = lab.talking()
    assert channel.state == "Up"
    reminded = len(lab.asterisk.asked_for("/answer"))
    assert reminded > 1
    gevent.sleep(0.1)
    assert len(lab.asterisk.asked_for("/answer")) == reminded, "who talks with us is not spoken of any more"


def test_the_did_is_the_argument_or_the_variable_or_the_extension(lab):
    assert lab.talking("4930123", variables={"ESL_AGENT_DID": "1"})[1].caller.did == "4930123"
    assert lab.talking("CUSTOMER=Ann", variables={"ESL_AGENT_DID": "4930999"})[1].caller.did == "4930999"
    _, found = lab.talking("CUSTOMER=Ann", exten="5004")
    assert found.caller.did == "5004"
    assert found.caller.variables == {"CUSTOMER": "Ann"}


def test_variables_that_calls_want_are_asked_for():
    wanted = ["NOTHING"]
    with AriLab(variables=lambda: tuple(wanted)) as lab:
        lab.connected()
        wanted.append("CUSTOMER")  # by a prompt that was reloaded
        _, found = lab.talking(variables={"CUSTOMER": 'Ann "x"\r\n'})
        assert found.caller.variables == {"CUSTOMER": 'Ann "x"\r\n'}


def test_a_stranger_who_connects_with_a_line_of_his_own_is_nobody(lab):
    assert lab.calls.find("00000000-0000-0000-0000-000000000000", 0.0) is None


def test_each_line_is_found_once(lab):
    _, found = lab.talking()
    assert lab.calls.find(found.line, 0.0) is None


# Every way out frees bridge and media


def test_a_caller_who_hangs_up_leaves_nothing_behind(lab):
    channel, found = lab.talking()
    lab.asterisk.hang_up(channel.id)
    assert lab.until(lambda: lab.is_clean() and found.is_ended)
    assert found.causes == [16]
    assert not channel.went_to


def test_the_cause_of_a_hang_up_is_told(lab):
    channel, found = lab.talking()
    lab.asterisk.hang_up(channel.id, cause=34)
    assert lab.until(lambda: found.causes == [34])


def test_our_hang_up_has_its_cause_and_leaves_nothing_behind(lab):
    channel, found = lab.talking()
    done = Told()
    found.control.hang_up(17, done)
    assert done.wait() is None
    assert lab.until(lambda: lab.is_clean() and found.is_ended)
    assert (channel.hung_up, found.causes) == (17, [17])


@pytest.mark.parametrize("status", [400, 500])
def test_a_caller_whose_sound_cannot_be_had_goes_on_in_the_dialplan_unanswered(lab, status):
    lab.asterisk.troubles.append(Trouble(to("externalMedia"), status=status))
    channel = lab.asterisk.call()
    assert lab.until(lambda: channel.went_to == "here" and lab.is_clean())
    assert channel.state == "Ring"


def test_without_our_server_a_caller_goes_on_in_the_dialplan():
    with AriLab(media_address="127.0.0.1:9") as lab:
        channel = lab.connected().asterisk.call()
        assert lab.until(lambda: channel.went_to == "here" and lab.is_clean())


def test_a_caller_whose_line_our_server_refuses_goes_on_in_the_dialplan_unanswered(lab):
    lab.takes_lines = False
    channel = lab.asterisk.call()
    assert lab.until(lambda: channel.went_to == "here" and lab.is_clean())
    assert channel.state == "Ring"


def test_a_caller_whose_line_goes_elsewhere_does_not_wait_for_ever(lab, monkeypatch):
    monkeypatch.setattr(ari_call, "SETUP_SECONDS", 0.05)
    monkeypatch.setattr(lab.calls, "find", lambda *_: None)
    channel = lab.asterisk.call()
    assert lab.until(lambda: channel.went_to == "here" and lab.is_clean())


def test_a_caller_whose_sound_dies_goes_on_in_the_dialplan(lab):
    channel, found = lab.talking()
    found.die()
    assert lab.until(lambda: channel.went_to == "here" and lab.is_clean())
    assert found.causes == [16]


def test_a_call_that_we_let_go_goes_on_in_the_dialplan(lab):
    channel, found = lab.talking()
    found.control.close()
    found.control.close()
    assert lab.until(lambda: channel.went_to == "here" and lab.is_clean() and found.is_ended)
    assert found.causes == []


def test_when_we_stop_callers_go_on_in_the_dialplan_and_nothing_is_left():
    with AriLab() as lab:
        channels = [lab.connected().talking()[0] for _ in range(3)]
        lab.calls.stop()
        assert [each.went_to for each in channels] == ["here"] * 3
        assert lab.is_clean()


def test_who_is_not_admitted_goes_on_in_the_dialplan_at_once(lab):
    lab.calls.turn_away()
    channel = lab.asterisk.call()
    assert lab.until(lambda: channel.went_to == "here")
    assert not lab.asterisk.asked_for("bridges/")


def test_a_flood_of_callers_goes_on_in_the_dialplan(lab, monkeypatch):
    monkeypatch.setattr(ari_calls, "MAX_STARTING", 2)
    channels = [lab.asterisk.call() for _ in range(4)]
    assert lab.until(lambda: sum(each.is_known for each in lab.found) == 2)
    assert lab.until(lambda: [each.went_to for each in channels] == ["", "", "here", "here"])
    assert lab.talking()


def test_a_caller_who_hangs_up_while_his_sound_is_made_leaves_nothing_behind(lab):
    lab.asterisk.troubles.append(Trouble(to("externalMedia"), after=0.05))
    channel = lab.asterisk.call()
    assert lab.until(lambda: len(lab.asterisk.channels) == 2)
    lab.asterisk.hang_up(channel.id)
    assert lab.until(lab.is_clean)
    assert not lab.asterisk.asked_for("/answer")


def test_what_asterisk_fails_to_delete_is_tried_again_and_then_swept_up(lab):
    channel, _ = lab.talking()
    lab.asterisk.troubles.append(Trouble(to("/bridges/", "DELETE"), status=500, times=4))
    lab.asterisk.hang_up(channel.id)
    assert lab.until(lab.is_clean)
    assert len(lab.asterisk.asked_for("DELETE /bridges/")) == 5


def test_sound_that_comes_after_its_call_has_ended_is_deleted(lab):
    media = PretendChannel("esl-agent.esl_agent.m.x", "AudioSocket/x", "Up", is_made_here=True)
    lab.asterisk.enter(media)
    assert lab.until(lambda: not lab.asterisk.channels)


# Commands


def test_a_transfer_sends_the_caller_to_the_extension_and_ends_our_line(lab):
    channel, found = lab.talking()
    done = Told()
    found.control.redirect("800", done)
    assert done.wait() is None
    assert channel.went_to == "ai-transfer,800,1"
    assert lab.until(lambda: lab.is_clean() and found.is_ended)
    assert found.causes == []


def test_a_transfer_to_an_extension_that_is_not_there_keeps_the_call(lab):
    channel, found = lab.talking()
    done = Told()
    found.control.redirect("801", done)
    assert "no extension 801" in str(done.wait())
    assert not found.is_ended
    assert channel.id in lab.asterisk.channels
    again = Told()
    found.control.redirect("800", again)
    assert again.wait() is None


def test_a_refused_transfer_keeps_the_call(lab):
    channel, found = lab.talking()
    lab.asterisk.troubles.append(Trouble(to("/continue"), status=500))
    done = Told()
    found.control.redirect("800", done)
    assert isinstance(done.wait(), CommandRefused)
    assert channel.id in lab.asterisk.channels
    assert not found.is_ended


def test_a_transfer_whose_event_comes_before_its_reply_succeeds_once(lab):
    _channel, found = lab.talking()
    lab.asterisk.troubles.append(Trouble(to("/continue"), after=0.05))
    done = Told()
    found.control.redirect("800", done)
    assert done.wait() is None
    assert lab.until(lab.is_clean)
    assert len(done.all) == 1


def test_who_hangs_up_while_being_transferred_is_not_transferred(lab):
    channel, found = lab.talking()
    lab.asterisk.troubles.append(Trouble(to("/variable", "GET"), before=0.05))
    done = Told()
    found.control.redirect("800", done)
    lab.asterisk.hang_up(channel.id)
    assert "hung up" in str(done.wait())
    assert lab.until(lambda: lab.is_clean() and found.causes == [16])


@pytest.mark.parametrize("number", ["", "8 00", "800,1", "800)", "8\r\n00", "../x", "x" * 65, "${X}"])
def test_what_is_no_extension_is_not_asked_for(lab, number):
    _, found = lab.talking()
    done = Told()
    found.control.redirect(number, done)
    assert done.wait() is not None
    assert not lab.asterisk.asked_for("/variable")


def test_keys_variables_and_announcements_reach_the_caller(lab):
    channel, found = lab.talking()
    value = "a&b=c #%41\r\nX: ü${EXTEN}"
    dones = [Told(), Told()]
    found.control.send_digits("12w#", dones[0])
    found.control.set_variable("LEFT", value, dones[1])
    found.control.announce("esl_agent::refused", {"reason": value})
    assert [each.wait() for each in dones] == [None, None]
    assert (channel.digits, channel.variables["LEFT"]) == ("12w#", "a&b=c #%41 X: ü(EXTEN}")
    assert lab.until(lambda: lab.asterisk.user_events == [("esl_agent::refused", {"reason": value})])


def test_what_is_no_key_and_no_variable_is_refused(lab):
    _, found = lab.talking()
    dones = [Told(), Told()]
    found.control.send_digits("1&x", dones[0])
    found.control.set_variable("SHELL(x)", "y", dones[1])
    assert all(each.wait() is not None for each in dones)


def test_commands_after_the_end_are_told_so(lab):
    channel, found = lab.talking()
    lab.asterisk.hang_up(channel.id)
    assert lab.until(lab.is_clean)
    for command in (
        lambda done: found.control.redirect("800", done),
        lambda done: found.control.send_digits("1", done),
    ):
        done = Told()
        command(done)
        assert done.wait() is not None


def test_a_command_that_is_not_answered_is_told_so():
    with AriLab(timeout=0.5) as lab:
        _, found = lab.connected().talking()
        lab.asterisk.troubles.append(Trouble(to("/dtmf"), before=60.0))
        done = Told()
        found.control.send_digits("1", done)
        assert isinstance(done.wait(), CommandTimeout)


def test_a_key_counts_once_and_comes_with_the_sound(lab):
    channel, found = lab.talking()
    lab.asterisk.allowed = None  # an Asterisk that knows no filters tells of everything
    lab.asterisk.press(channel.id, "5")
    assert lab.until(lambda: found.digits == "5")
    gevent.sleep(0.01)
    assert found.digits == "5"


# The connection to ARI


def test_a_caller_who_hangs_up_while_events_are_lost_leaves_nothing_behind(lab):
    channel, found = lab.talking()
    lab.asterisk.refuse_events = 3
    lab.asterisk.drop_events()
    lab.asterisk.hang_up(channel.id)
    assert lab.until(lambda: lab.is_clean() and found.is_ended)
    assert found.causes == [16]


def test_a_call_outlives_a_lost_connection(lab):
    channel, found = lab.talking()
    lab.asterisk.drop_events()
    assert lab.until(lambda: lab.asterisk.handshakes == 2 and lab.client.is_connected)
    gevent.sleep(0.05)
    assert not found.is_ended
    lab.asterisk.hang_up(channel.id)
    assert lab.until(lambda: lab.is_clean() and found.is_ended)


def test_sound_that_dies_while_events_are_lost_is_noticed(lab):
    channel, found = lab.talking()
    lab.asterisk.refuse_events = 3
    lab.asterisk.drop_events()
    found.die()
    assert lab.until(lambda: channel.went_to == "here" and lab.is_clean())


def test_the_beginning_of_sound_that_was_missed_is_noticed(lab):
    lab.asterisk.held = []
    channel = lab.asterisk.call()
    lab.asterisk.release()
    lab.asterisk.held = []
    assert lab.until(lambda: len(lab.asterisk.channels) == 2)
    lab.asterisk.drop_events()
    lab.asterisk.held = None
    assert lab.until(lambda: bool(lab.found) and lab.found[-1].is_known)
    assert channel.state == "Up"


def test_what_a_crash_left_behind_is_swept_up_at_the_next_connection():
    with AriLab() as lab:
        lab.connected()
        lab.asterisk.held = []  # as if somebody else had these calls
        caller = lab.asterisk.call()
        lab.asterisk.held = None
        stranger = PretendChannel("1795197521.99", "PJSIP/trunk-9", "Up")
        lab.asterisk.channels[stranger.id] = stranger
        media = PretendChannel("esl-agent.esl_agent.m.old", "AudioSocket/x", "Up")
        other = PretendChannel("esl-agent.other.m.old", "AudioSocket/x", "Up")
        lab.asterisk.channels |= {media.id: media, other.id: other}
        lab.asterisk.bridges |= {"esl-agent.esl_agent.b.old": [], "esl-agent.other.b.old": [], "theirs": []}
        lab.asterisk.drop_events()
        assert lab.until(lambda: set(lab.asterisk.channels) == {stranger.id, other.id})
        assert caller.went_to == "here"
        assert lab.until(lambda: set(lab.asterisk.bridges) == {"esl-agent.other.b.old", "theirs"})
        lab.asterisk.channels.clear()
        lab.asterisk.bridges.clear()


def test_calls_that_end_while_asterisk_is_away_are_swept_up_when_it_is_back(lab):
    calls = [lab.talking() for _ in range(3)]
    lab.asterisk.refuse_events = 1_000_000
    lab.asterisk.drop_events()
    assert lab.until(lambda: not lab.client.is_connected)
    lab.asterisk.troubles.append(Trouble(lambda _: True, drops=True, status=500))
    for _, found in calls:
        found.control.close()
    assert lab.until(lambda: not lab.calls.calls)
    lab.asterisk.refuse_events = 0
    assert lab.until(lab.is_clean)
    assert [each.went_to for each, _ in calls] == ["here"] * 3


def test_nobody_is_swept_up_who_talks_with_us(lab):
    channel, found = lab.talking()
    lab.calls._sweep.soon()
    assert lab.until(lambda: lab.calls._sweep._running.dead)
    assert channel.id in lab.asterisk.channels
    assert not found.is_ended


@pytest.mark.parametrize(
    "text",
    ["garbage", "{}", b"\xff\xfe", "[1]", '{"type":"StasisStart"}', '{"type":"Novelty","channel":{"id":"x"}}', ""],
)
def test_garbage_among_the_events_harms_nobody(lab, text):
    _, found = lab.talking()
    lab.asterisk.say(text)
    assert lab.talking()[1] is not found
    assert not found.is_ended
    assert lab.asterisk.handshakes == 1


def test_events_in_any_order_leave_nothing_behind(lab):
    for seed in range(8):
        channel, found = lab.talking()
        lab.asterisk.held = []
        lab.asterisk.hang_up(channel.id)
        found.die()
        assert lab.until(lambda: len(lab.asterisk.held) >= 3)

        def shuffled(events, seed=seed):
            return random.Random(seed).sample(events, len(events))

        lab.asterisk.release(shuffled)
        assert lab.until(lab.is_clean)
        assert found.causes == [16]


def test_events_that_come_twice_change_nothing(lab):
    lab.asterisk.held = []
    channel = lab.asterisk.call()
    lab.asterisk.release()
    assert lab.until(lambda: bool(lab.found) and lab.found[-1].is_known)
    lab.asterisk.held = []
    lab.asterisk.hang_up(channel.id)
    lab.asterisk.release(lambda events: events * 2)
    assert lab.until(lab.is_clean)
    assert lab.found[-1].causes == [16]


def test_a_caller_who_comes_back_is_a_new_call(lab):
    channel, found = lab.talking()
    found.control.close()
    assert lab.until(lambda: channel.went_to == "here")
    lab.asterisk.enter(channel, ("4930124",))
    assert lab.until(lambda: lab.found[-1].is_known and lab.found[-1] is not found)
    assert lab.found[-1].caller.did == "4930124"
    lab.asterisk.hang_up(channel.id)
    assert lab.until(lab.is_clean)


def test_a_slow_asterisk_serves_two_callers_at_once(lab):
    lab.asterisk.troubles.append(Trouble(lambda _: True, before=0.005, after=0.005, times=100))
    channels = [lab.asterisk.call(args=(did,)) for did in ("1", "2", "3", "4")]
    assert lab.until(lambda: sum(each.is_known for each in lab.found) == 4)
    assert {(each.caller.did, each.caller.channel) for each in lab.found} == {
        (str(number), each.id) for number, each in enumerate(channels, 1)
    }
    lab.asterisk.hang_up(channels[0].id)
    assert lab.until(lambda: len(lab.calls.calls) == 3)
    assert len(lab.asterisk.bridges) == 3


def test_a_caller_who_comes_back_unannounced_is_a_new_call(lab):
    channel, found = lab.talking()
    lab.asterisk.allowed = lab.asterisk.allowed - {"StasisEnd"}  # as if it had been lost
    found.is_known = False
    lab.asterisk.enter(channel, ("4930124",))
    assert lab.until(lambda: lab.found[-1].is_known)
    assert lab.until(lambda: found.is_ended and found.causes == [16])
    assert len(lab.calls.calls) == 1
    assert lab.found[-1].caller.did == "4930124"


def test_the_line_of_a_call_that_has_ended_is_not_taken_for_a_strangers(lab, monkeypatch):
    find = lab.calls.find
    monkeypatch.setattr(lab.calls, "find", lambda *_: None)
    channel = lab.asterisk.call()
    assert lab.until(lambda: len(lab.found) == 1)
    lab.asterisk.hang_up(channel.id)
    assert lab.until(lab.is_clean)
    with pytest.raises(LegClosed):
        find(lab.found[0].line, 0.0)


def test_who_hangs_up_while_the_line_is_looked_up_is_not_taken(lab, monkeypatch):
    errors = []

    def take(found, line):
        try:
            lab.calls.find(line, 1.0)
        except LegClosed as error:
            errors.append(error)

    monkeypatch.setattr(lab, "take", take)
    lab.asterisk.troubles.append(Trouble(to("/answer"), before=0.05))
    channel = lab.asterisk.call()
    assert lab.until(lambda: bool(lab.asterisk.asked_for("/answer")))
    lab.asterisk.hang_up(channel.id)
    assert lab.until(lambda: len(errors) == 1 and lab.is_clean())


def test_a_connection_that_drops_instead_of_replying_frees_the_call(lab):
    lab.asterisk.troubles.append(Trouble(to("externalMedia"), drops=True))
    channel = lab.asterisk.call()
    assert lab.until(lambda: channel.went_to == "here" and lab.is_clean())


# chan_websocket


def test_a_websocket_line_is_found_by_its_channel_whenever_it_comes():
    with AriLab(media="websocket") as lab:
        lab.connected()

        def connect(media: PretendChannel) -> None:
            found = Found(media.name, None)
            lab.found.append(found)
            gevent.spawn(lab.take, found, media.id)

        lab.asterisk.on_websocket = connect
        channel, found = lab.talking()
        assert found.caller.channel == channel.id
        (asked_for,) = lab.asterisk.asked_for("externalMedia")
        assert asked_for.of("transport_data") == "f(json)"
        assert asked_for.body["variables"]["ESL_AGENT_CALL"] in lab.calls.calls
        (media,) = [each for each in lab.asterisk.channels.values() if each.is_made_here]
        lab.asterisk.hang_up(media.id)
        assert lab.until(lambda: channel.went_to == "here" and lab.is_clean())


def test_a_websocket_line_may_be_faster_than_the_news_of_its_channel():
    with AriLab(media="websocket") as lab:
        lab.connected()
        lab.asterisk.on_websocket = lambda media: gevent.spawn(lab.take, lab.found[0], media.id)
        lab.found.append(Found("", None))
        lab.asterisk.held = []
        channel = lab.asterisk.call()
        lab.asterisk.release()
        lab.asterisk.held = []
        assert lab.until(lambda: len(lab.asterisk.channels) == 2)
        gevent.sleep(0.01)
        assert not lab.found[0].is_known
        lab.asterisk.release()
        assert lab.until(lambda: lab.found[0].is_known)
        assert lab.found[0].caller.channel == channel.id


def test_a_call_that_ended_is_freed_without_the_collector(lab):
    gc.disable()
    try:
        channel, found = lab.talking()
        call = weakref.ref(found.control)
        lab.asterisk.hang_up(channel.id)
        assert lab.until(lambda: lab.is_clean() and found.is_ended)
        found.control.close()
        lab.found.clear()
        found.control = None
        gevent.sleep(0.02)
        assert call() is None
    finally:
        gc.enable()
