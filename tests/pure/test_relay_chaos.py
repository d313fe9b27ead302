"""The mad world around a relay judges by what happened: schedules in which it once did not."""

from __future__ import annotations

from esl_agent.dialogue import actions as act
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.relay_settings import RelaySettings
from esl_agent.dialogue.settings import CascadeSettings, Phrases, SilenceSettings
from tests.pure.relay_chaos import RelayChaos


def speaking() -> RelayChaos:
    """The agent has begun to answer, while another session is being connected."""
    config = CascadeSettings(phrases=Phrases(greeting=""), silence=SilenceSettings(prompt_after=120.0))
    world = RelayChaos(config, RelaySettings(session=30.0))
    world.answer()
    world.connected(1)
    world.listen_on(31.0)
    assert world.sessions == {1: "connected", 2: "connecting"}
    world.caller("speaks")
    world.caller("pauses")
    world.begin()
    assert world.reply is not None
    world.piece(world.reply, 1, 1.0)
    return world


def test_a_response_goes_on_when_a_session_that_was_to_take_over_is_closed_instead():
    world = speaking()
    world.connected(2)
    assert world.sessions == {1: "connected", 2: "closed"}
    assert world.reply is not None
    world.caller("speaks")
    assert world.last(act.CancelReply) == act.CancelReply(1, "r1")
    world.check()


def test_what_another_session_calls_by_the_same_name_is_another_item():
    world = speaking()
    item = world.items["r1i0"]
    world.listen_on(0.5)
    world.caller("speaks")
    assert world.reply is not None
    length = item.length
    world.late(2, "r1", 0)
    assert (item.length, item.is_cut) == (length, False)
    world.late(2, "r1", 1)
    world.late(1, "r1", 1)
    world.report()
    world.responded("cancelled")
    assert world.last(act.ForgetReply) == act.ForgetReply(1, "r1i1")
    world.check()


def test_a_response_is_over_with_the_session_that_made_it():
    world = speaking()
    assert world.phase is Phase.SPEAKING
    world.step("digit", 0, 0.0)
    world.report()
    assert world.phase is Phase.LISTENING
    world.connected(2)
    assert world.sessions == {1: "closed", 2: "connected"}
    assert world.reply is None
    world.tick()
    assert world.last(act.AskAgent).session == 2
