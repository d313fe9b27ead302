"""The laws of turn taking with a speech-to-speech agent, as properties: whatever the world does, and however late."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.destinations import DestinationSettings
from esl_agent.dialogue.digits import DtmfSettings
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.relay_settings import RelaySettings
from esl_agent.dialogue.settings import BargeInSettings, CascadeSettings, LastResortSettings, LimitSettings, Phrases
from esl_agent.dialogue.tool_settings import BUILTINS, HttpToolSettings, ToolsSettings
from tests.pure.relay_chaos import RelayChaos

STEPS = (
    "speaks", "pauses", "said", "responds", "piece", "spoke", "completed", "failed", "incomplete", "cancelled", "calls",
    "late", "old", "foreign", "connected", "breaks", "report", "cut", "tick", "tool_back", "voice", "tts_fails",
    "taken", "not_taken", "digit", "frame", "media_lost", "media_back", "drain", "spent",
)  # fmt: skip
PEOPLE = {
    "desk": DestinationSettings(number="1000", say="To the desk."),
    "sales": DestinationSettings(dial="user/1010", mode="warm", briefing="A call."),
}
#: Nothing else is said in these words.
WAIT = ("Let me see.",)
TOOLS = ToolsSettings(
    builtin=BUILTINS,
    http={"order": HttpToolSettings("x", "https://a.example/", say_meanwhile="I look.")},
    max_per_turn=3,
)
#: More than half of the steps do what a healthy world would do next, so that schedules get deep into a call.
steps = st.one_of(
    st.just("go"), st.just("go"), st.just("go"), st.sampled_from(["speaks", "pauses", "report"]), st.sampled_from(STEPS)
)
worlds = st.lists(st.tuples(steps, st.integers(0, 7), st.floats(0.0, 3.0)), min_size=5, max_size=60)
#: The caller talks over everything.
OVER = ("go", "go", "go", "piece", "speaks", "speaks", "pauses", "report", "late", "old", "cut", "cancelled", "said")
talked_over = st.lists(
    st.tuples(st.sampled_from(OVER), st.integers(0, 7), st.floats(0.0, 1.0)), min_size=10, max_size=50
)
#: Connections break, responses fail.
FAILURES = ("go", "go", "go", "go", "breaks", "failed", "connected", "tick", "tts_fails", "speaks", "old", "piece")
failing = st.lists(
    st.tuples(st.sampled_from(FAILURES), st.integers(0, 7), st.floats(0.0, 2.0)), min_size=8, max_size=50
)
#: The agent has much to do beside talking.
DUTIES = ("go", "go", "go", "calls", "calls", "tool_back", "taken", "not_taken", "digit", "speaks", "tick", "breaks")
at_work = st.lists(st.tuples(st.sampled_from(DUTIES), st.integers(0, 7), st.floats(0.0, 2.0)), min_size=8, max_size=50)
#: Everything takes its time.
SLOW = ("go", "go", "go", "calls", "tick", "tick", "voice", "tts_fails", "speaks", "pauses", "tool_back", "piece")
slow = st.lists(st.tuples(st.sampled_from(SLOW), st.integers(0, 7), st.floats(0.0, 2.0)), min_size=8, max_size=50)
schedules = st.one_of(worlds, talked_over, failing, at_work, slow)
configs = st.builds(
    CascadeSettings,
    phrases=st.sampled_from(
        [Phrases(filler=WAIT), Phrases(filler=WAIT, greeting=""), Phrases(filler=WAIT, still_there=(), apology="")]
    ),
    barge_in=st.builds(
        BargeInSettings,
        enabled=st.sampled_from([True, True, True, False]),
        greeting=st.booleans(),
        uninterruptible=st.sampled_from([(), ("greeting", "apology")]),
    ),
    dtmf=st.builds(DtmfSettings, barge_in=st.booleans()),
    destinations=st.just(PEOPLE),
    tools=st.sampled_from([TOOLS, TOOLS, ToolsSettings(builtin=())]),
    last_resort=st.sampled_from([LastResortSettings(), LastResortSettings(transfer="sales")]),
    limits=st.builds(
        LimitSettings,
        retries=st.integers(0, 2),
        failures=st.integers(1, 3),
        call=st.sampled_from([60.0, 600.0]),
        warn=st.sampled_from([0.0, 55.0]),
    ),
)
relays = st.builds(
    RelaySettings,
    greeting=st.sampled_from(["agent", "voice"]),
    session=st.sampled_from([30.0, 3300.0]),
    reconnects=st.integers(0, 2),
)
lines = st.tuples(st.booleans(), st.sampled_from([0, 3, 6, 9, 12, 15]))
"""Whether the leg streams, and how many steps go well before the schedule begins."""


def chaos(config: CascadeSettings, relay: RelaySettings, schedule: list, line: tuple[bool, int]) -> RelayChaos:
    streams, opening = line
    world = RelayChaos(config, relay, streams=streams)
    world.answer()
    for _ in range(opening):
        world.go(6)
        world.check()
    world.run(schedule)
    return world


def end(world: RelayChaos) -> None:
    """Nothing happens any more."""
    for _ in range(300):
        if world.phase is Phase.OVER:
            break
        world.tick()
        world.check()
    assert world.phase is Phase.OVER


@settings(max_examples=100)
@given(configs, relays, worlds)
def test_no_agent_is_connected_before_answered_nor_after_the_call_has_left_us(config, relay, schedule):
    world = RelayChaos(config, relay)
    for step, pick, seconds in schedule:
        world.step(step, pick, seconds)
    assert world.all(act.ConnectAgent) == []
    assert world.all(act.SendToAgent) == []


@settings(max_examples=400)
@given(configs, relays, st.one_of(talked_over, worlds), lines)
def test_sound_that_comes_late_is_never_heard(config, relay, schedule, line):
    chaos(config, relay, schedule, line)


@settings(max_examples=200)
@given(configs, relays, schedules, lines)
def test_at_most_one_turn_sounds_and_parts_play_in_order_each_once(config, relay, schedule, line):
    world = chaos(config, relay, schedule, line)
    measured = [each.turn for each in world.all(act.Measured)]
    assert len(measured) == len(set(measured)), "measured twice"


@settings(max_examples=300)
@given(configs, relays, talked_over, lines)
def test_what_is_truncated_was_heard_in_part(config, relay, schedule, line):
    chaos(config, relay, schedule, line)


@settings(max_examples=300)
@given(configs, relays, schedules, lines)
def test_no_response_is_asked_for_while_one_is_under_way_or_awaited(config, relay, schedule, line):
    chaos(config, relay, schedule, line)


@settings(max_examples=300)
@given(configs, relays, schedules, lines)
def test_every_phase_but_over_has_a_deadline_and_a_tick_at_it_moves_it(config, relay, schedule, line):
    world = chaos(config, relay, schedule, line)
    for _ in range(30):
        if world.phase is Phase.OVER:
            return
        world.tick()
        after = world.dialogue.next_deadline
        assert after is None or after > world.now, f"a tick at the deadline left it where it was, in {world.phase}"


@settings(max_examples=200)
@given(configs, relays, schedules, schedules, lines)
def test_after_hung_up_the_machine_returns_nothing_for_ever(config, relay, before, after, line):
    world = chaos(config, relay, before, line)
    world.post(ev.HungUp("NORMAL_CLEARING"))
    world.check()
    assert world.phase is Phase.OVER
    ordered = len(world.log)
    for step, pick, seconds in after:
        world.step(step, pick, seconds)
    assert len(world.log) == ordered


@settings(max_examples=200)
@given(configs, relays, schedules, lines)
def test_a_silent_world_ends_in_over(config, relay, schedule, line):
    world = chaos(config, relay, schedule, line)
    end(world)
    assert len(world.all(act.HangUp)) == 1


@settings(max_examples=300)
@given(configs, relays, schedules, lines)
def test_a_call_is_hung_up_or_handed_over_only_after_its_last_words_or_their_wait(config, relay, schedule, line):
    end(chaos(config, relay, schedule, line))


@settings(max_examples=300)
@given(configs, relays, schedules, lines)
def test_history_holds_what_the_caller_heard(config, relay, schedule, line):
    chaos(config, relay, schedule, line)


@settings(max_examples=300)
@given(configs, relays, at_work, lines)
def test_each_call_of_a_tool_is_answered_at_most_once_all_of_a_response_together(config, relay, schedule, line):
    chaos(config, relay, schedule, line)


@settings(max_examples=200)
@given(configs, relays, slow, lines)
def test_a_filler_is_said_while_nobody_speaks_and_something_is_awaited(config, relay, schedule, line):
    chaos(config, relay, schedule, line)


@settings(max_examples=300)
@given(configs, relays, st.one_of(failing, worlds), lines)
def test_the_callers_sound_goes_to_a_connected_session_only(config, relay, schedule, line):
    world = chaos(config, relay, schedule, line)
    world.post(ev.Audio(bytes(320)))
