"""The pretend chan_websocket does what a real one was seen to do (Asterisk 22.10.1)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from esl_agent.testing.pretend_chan_websocket import FarChannel
from esl_agent.wire import chan_websocket as wire
from esl_agent.wire.chan_websocket import Command

FRAME = bytes(960)


def channel(**options: object) -> FarChannel:
    made = FarChannel(**options)  # type: ignore[arg-type]
    made.events.clear()
    return made


def ask(far: FarChannel, what: Command, correlation_id: str = "") -> None:
    far.receive(wire.command(what, True, correlation_id))


def told(far: FarChannel) -> list[wire.Event | None]:
    events, far.events = far.events, []
    return [wire.parse(each) for each in events]


def heard(far: FarChannel, ticks: int) -> int:
    return sum(bool(far.tick()) for _ in range(ticks))


def test_thirty_seconds_at_once_are_heard_for_twenty():
    far = channel()
    for _ in range(1500):
        far.receive(FRAME)
    assert told(far) == [wire.Xoff()]
    assert heard(far, 201) == 201
    assert told(far) == []
    assert heard(far, 1) == 1
    assert told(far) == [wire.Xon()]
    assert heard(far, 2000) == 798
    assert far.lost == 500 * 960


def test_outside_of_buffering_what_is_no_whole_frame_is_lost():
    far = channel()
    for _ in range(50):
        far.receive(bytes(1000))
    for _ in range(50):
        far.receive(bytes(500))
    assert heard(far, 200) == 50


def test_in_buffering_any_pieces_will_do():
    far = channel()
    ask(far, Command.START_MEDIA_BUFFERING)
    for _ in range(96):
        far.receive(bytes(100))
    ask(far, Command.STOP_MEDIA_BUFFERING, "utt-1")
    assert heard(far, 10) == 10
    assert told(far) == []
    assert heard(far, 1) == 0
    assert told(far) == [wire.BufferingCompleted("utt-1")]


def test_a_flush_throws_away_frames_marks_and_buffering():
    far = channel()
    ask(far, Command.START_MEDIA_BUFFERING)
    far.receive(bytes(2000))
    ask(far, Command.MARK_MEDIA, "m-1")
    ask(far, Command.REPORT_QUEUE_DRAINED)
    ask(far, Command.FLUSH_MEDIA)
    ask(far, Command.GET_STATUS)
    assert told(far) == [wire.Status(0, False, False, False)]
    assert heard(far, 5) == 0
    assert told(far) == [wire.QueueDrained()]


def test_a_message_that_is_too_long_ends_the_call_and_a_command_that_is_too_long_is_nothing():
    far = channel()
    far.receive('{"command":"MARK_MEDIA","correlation_id":"' + "y" * 90 + '"}')
    far.receive("no json")
    far.receive('{"command":"BOGUS"}')
    assert told(far) == [wire.Failed("Unable to parse JSON command")]
    assert len(far.ignored) == 2
    far.receive(bytes(65280))
    assert far.closed is None
    far.receive(bytes(66240))
    assert far.closed == 1009


def test_a_pause_keeps_what_is_queued():
    far = channel()
    far.receive(FRAME * 5)
    ask(far, Command.PAUSE_MEDIA)
    assert heard(far, 10) == 0
    ask(far, Command.CONTINUE_MEDIA)
    assert heard(far, 10) == 5


@given(st.lists(st.booleans(), max_size=60))
def test_a_mark_is_told_when_all_before_it_has_left(frames):
    far, expected, sent = channel(), {}, 0
    for number, is_frame in enumerate(frames):
        if is_frame:
            far.receive(FRAME)
            sent += 1
        else:
            ask(far, Command.MARK_MEDIA, str(number))
            expected[str(number)] = sent
    for tick in range(sent + 1):
        far.tick()
        for event in told(far):
            assert isinstance(event, wire.MarkProcessed)
            assert expected.pop(event.correlation_id) == tick
    assert not expected
