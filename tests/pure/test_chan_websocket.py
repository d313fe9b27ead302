"""chan_websocket's text messages: every line that a real Asterisk 22.10.1 sent, and what nobody should send."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.audio.pcm import SoundFormat
from esl_agent.errors import WireError
from esl_agent.wire import chan_websocket as wire
from esl_agent.wire.chan_websocket import Command

START = (
    '{"event":"MEDIA_START","connection_id":"agentws","channel":"WebSocket/agentws/0x7f321401ca50",'
    '"channel_id":"1795197266.119","format":"slin24","optimal_frame_size":960,"ptime":20,"channel_variables":'
    '{"DIALEDPEERNUMBER":"agentws/c(slin24)f(json)","MEDIA_WEBSOCKET_CONNECTION_ID":"agentws",'
    '"MEDIA_WEBSOCKET_OPTIMAL_FRAME_SIZE":"960","__CALLID":"66dd5cda-7a41-40b3-9bc3-f77de5d81f93"}}'
)
PLAIN_START = (
    "MEDIA_START connection_id:agentws channel:WebSocket/agentws/0x7f320c01b500 channel_id:1795197262.117 "
    "format:slin24 optimal_frame_size:960 ptime:20"
)


def test_the_start_of_a_real_call_names_its_channel_its_sound_and_its_variables():
    found = wire.parse(START)
    assert isinstance(found, wire.MediaStart)
    assert (found.channel, found.channel_id) == ("WebSocket/agentws/0x7f321401ca50", "1795197266.119")
    assert (found.format, found.optimal_frame_size, found.ptime, found.is_json) == ("slin24", 960, 20, True)
    assert found.variables["__CALLID"] == "66dd5cda-7a41-40b3-9bc3-f77de5d81f93"
    assert wire.sound_format(found) == SoundFormat("pcm", 24000)


def test_a_start_in_plain_words_says_the_same_without_variables():
    assert wire.parse(PLAIN_START) == wire.MediaStart(
        "WebSocket/agentws/0x7f320c01b500", "1795197262.117", "slin24", 960, 20, "agentws", {}, is_json=False
    )


def test_the_first_versions_tell_neither_uniqueid_nor_ptime_and_are_understood():
    """As chan_websocket.c wrote it when it came (20.16, 22.6)."""
    found = wire.parse(
        "MEDIA_START connection_id:a channel:WebSocket/agentws/0x7f320c01b500 format:slin16 optimal_frame_size:640"
    )
    assert isinstance(found, wire.MediaStart)
    assert found.channel_id == found.channel == "WebSocket/agentws/0x7f320c01b500"
    assert wire.sound_format(found) == SoundFormat("pcm", 16000)


@pytest.mark.parametrize("digit", ["f", "e", "x", "!", " "])
def test_the_tone_of_a_fax_machine_is_no_key_and_no_reason_to_end_the_call(digit):
    assert wire.parse(json.dumps({"event": "DTMF_END", "digit": digit})) is None


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ('{"event":"DTMF_END","channel_id":"1795197266.119","digit":"7"}', wire.DigitEnded("7")),
        ("DTMF_END digit:7 channel_id:1795197262.117", wire.DigitEnded("7")),
        ("DTMF_END digit:# channel_id:1795197262.117", wire.DigitEnded("#")),
        (
            '{"event":"STATUS","channel_id":"1795197336.127","queue_length":449,"xon_level":800,"xoff_level":900,'
            '"queue_full":false,"bulk_media":false,"media_paused":false}',
            wire.Status(449, False, False, False),
        ),
        (
            "STATUS channel_id:1795197262.117 queue_length:100 xon_level:800 xoff_level:900 queue_full:false "
            "bulk_media:true media_paused:false",
            wire.Status(100, False, True, False),
        ),
        (
            '{"event":"MEDIA_BUFFERING_COMPLETED","channel_id":"1795197266.119","correlation_id":"utt-1"}',
            wire.BufferingCompleted("utt-1"),
        ),
        ("MEDIA_BUFFERING_COMPLETED utt-1", wire.BufferingCompleted("utt-1")),
        (
            '{"event":"MEDIA_MARK_PROCESSED","channel_id":"1795197266.119","correlation_id":"m-1"}',
            wire.MarkProcessed("m-1"),
        ),
        ("MEDIA_MARK_PROCESSED m-1", wire.MarkProcessed("m-1")),
        ('{"event":"QUEUE_DRAINED","channel_id":"1795197266.119"}', wire.QueueDrained()),
        ("QUEUE_DRAINED", wire.QueueDrained()),
        ('{"event":"MEDIA_XOFF","channel_id":"1795197341.129"}', wire.Xoff()),
        ("MEDIA_XON", wire.Xon()),
        (
            '{"event":"ERROR","channel_id":"1795197377.137","error_text":"Unable to parse JSON command"}',
            wire.Failed("Unable to parse JSON command"),
        ),
        (
            "ERROR channel_id:1795197262.117 error_text:SET_MEDIA_DIRECTION only supports JSON format.\n",
            wire.Failed("SET_MEDIA_DIRECTION only supports JSON format."),
        ),
        ('{"event":"SOMETHING_NEW","channel_id":"1"}', None),
        ("SOMETHING_NEW channel_id:1", None),
    ],
)
def test_what_a_real_asterisk_sent_is_understood(line, event):
    assert wire.parse(line) == event


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{",
        "{}",
        '{"event":7}',
        '{"event":"MEDIA_START"}',
        START.replace("960,", '"many",'),
        START.replace("960,", "70000,"),
        START.replace("0x7f321401ca50", "0x7f\\r\\nAction: Originate"),
        START.replace("1795197266.119", "1" * 300),
        '{"event":"DTMF_END","digit":"77"}',
        '{"event":"DTMF_END","digit":""}',
        '{"event":"MEDIA_MARK_PROCESSED","correlation_id":7}',
        '{"event":' * 2000,
        "MEDIA_XON" + " x:y" * 20000,
    ],
)
def test_what_is_no_event_is_refused(text):
    with pytest.raises(WireError):
        wire.parse(text)


@given(st.text())
def test_any_text_is_an_event_or_refused(text):
    for each in (text, "{" + text, f"MEDIA_START {text}", f"ERROR error_text:{text}"):
        try:
            found = wire.parse(each)
        except WireError:
            continue
        assert found is None or not isinstance(found, wire.Failed) or found.text.isprintable() or "\n" not in found.text


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=5))
def test_channel_variables_of_any_name_and_value_come_through_as_text(variables):
    start = json.dumps({**json.loads(START), "channel_variables": variables})
    found = wire.parse(start)
    assert isinstance(found, wire.MediaStart)
    assert found.variables == {name: value for name, value in variables.items() if isinstance(value, str)}


def test_a_flood_of_channel_variables_has_an_end():
    start = {**json.loads(START), "channel_variables": {f"V{at}": "x" * 30 for at in range(1000)}}
    found = wire.parse(json.dumps(start))
    assert isinstance(found, wire.MediaStart)
    assert len(found.variables) == wire.MAX_VARIABLES


@given(
    st.sampled_from(Command),
    st.booleans(),
    st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=40),
)
def test_no_command_is_longer_than_asterisk_reads(what, is_json, correlation_id):
    has_id = what in (Command.MARK_MEDIA, Command.STOP_MEDIA_BUFFERING)
    said = wire.command(what, is_json, correlation_id if has_id else "")
    assert len(said.encode()) <= wire.MAX_COMMAND_BYTES
    if is_json:
        assert json.loads(said) == {"command": what.value} | ({"correlation_id": correlation_id} if has_id else {})
    else:
        assert said.split() == [what.value] + [correlation_id] * has_id


@given(st.sampled_from(Command), st.booleans(), st.text(min_size=1))
def test_an_id_that_would_change_the_command_is_never_sent(what, is_json, text):
    try:
        said = wire.command(what, is_json, text)
    except ValueError:
        return
    assert text in said
    assert text.replace("-", "a").isalnum()
    assert text.isascii()


@pytest.mark.parametrize(
    ("format", "size", "sound"),
    [
        ("slin", 320, SoundFormat("pcm", 8000)),
        ("slin16", 640, SoundFormat("pcm", 16000)),
        ("slin48", 1920, SoundFormat("pcm", 48000)),
        ("ulaw", 160, SoundFormat("ulaw", 8000)),
        ("alaw", 160, SoundFormat("alaw", 8000)),
    ],
)
def test_the_format_says_how_the_sound_is_written(format, size, sound):
    assert wire.sound_format(wire.MediaStart("c", "1", format, size)) == sound


@pytest.mark.parametrize(("format", "size", "ptime"), [("opus", 0, 20), ("slin24", 0, 20), ("slin", 480, 30)])
def test_a_format_that_is_no_sound_for_us_is_refused_with_what_to_mend(format, size, ptime):
    with pytest.raises(WireError):
        wire.sound_format(wire.MediaStart("c", "1", format, size, ptime))
