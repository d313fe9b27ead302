"""The pretend caller behaves like a person: at virtual time, frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.audio.pcm import Sound, rms
from esl_agent.testing.caller import (
    BargeIn,
    GetThrough,
    HangUp,
    Over,
    Press,
    PretendCaller,
    Say,
    SayNow,
    Wait,
    recorded_text,
    recording,
)
from esl_agent.testing.line import LiveRate, line_noise, resample, telephone, trim

LOUD = b"\x00\x10" * 160
SILENT = b""
WORD = Sound(b"\x00\x20\x00\xe0" * 1600, 8000)
"""0.4 s."""


def tone(pitch: float, rate: int, seconds: float = 1.0) -> Sound:
    time = np.arange(int(rate * seconds)) / rate
    return Sound((np.sin(2 * np.pi * pitch * time) * 8000).astype("<i2").tobytes(), rate)


def converse(caller: PretendCaller, agent_speaks: list[tuple[float, float]], seconds: float) -> list[bytes]:
    """What the caller says, frame by frame, to an agent that speaks between the given times."""
    frames = []
    for number in range(int(seconds * 50)):
        now = number / 50
        speaks = any(began <= now + 1e-9 < ended for began, ended in agent_speaks)
        frames.append(caller.next_frame(LOUD if speaks else SILENT, now))
    return frames


def test_a_caller_speaks_after_the_agent_and_a_pause() -> None:
    caller = PretendCaller([Say(WORD, pause=0.6)], phone_line=False)
    converse(caller, [(1.0, 2.0)], 5.0)
    assert caller.spoken[0].began == pytest.approx(1.98 + 0.6)
    assert caller.spoken[0].ended - caller.spoken[0].began == pytest.approx(0.4)


def test_a_caller_does_not_speak_before_the_agent_has() -> None:
    caller = PretendCaller([Say(WORD)])
    converse(caller, [], 20.0)
    assert caller.spoken == []


def test_a_breath_of_the_agent_does_not_give_the_floor_away() -> None:
    caller = PretendCaller([Say(WORD, pause=0.6)])
    converse(caller, [(1.0, 2.0), (2.4, 3.0)], 5.0)
    assert caller.spoken[0].began == pytest.approx(2.98 + 0.6)


def test_barge_in_comes_so_long_after_the_agent_began() -> None:
    caller = PretendCaller([BargeIn(WORD, after=1.6)])
    converse(caller, [(1.0, 1.5), (1.7, 5.0)], 5.0)
    assert caller.spoken[0].began == pytest.approx(2.6)


def test_the_next_word_waits_for_the_agent_to_speak_again() -> None:
    caller = PretendCaller([Say(WORD, pause=0.2), Say(WORD, pause=0.2)])
    converse(caller, [(0.0, 1.0)], 5.0)
    assert len(caller.spoken) == 1
    caller = PretendCaller([Say(WORD, pause=0.2), Say(WORD, pause=0.2)])
    converse(caller, [(0.0, 1.0), (3.0, 4.0)], 6.0)
    assert [round(spoken.began, 2) for spoken in caller.spoken] == [1.18, 4.18]


def test_what_the_recording_holds_is_what_was_spoken_to_the_sample() -> None:
    caller = PretendCaller([Wait(0.5), SayNow(WORD)], phone_line=False, noise=None)
    pcm = b"".join(converse(caller, [], 2.0))
    began = round(caller.spoken[0].began * 8000) * 2
    assert pcm[began : began + len(WORD.pcm)] == WORD.pcm
    assert not any(pcm[:began])
    assert not any(pcm[began + len(WORD.pcm) :])
    assert caller.spoken[0].ended == pytest.approx(caller.spoken[0].began + WORD.seconds)


def test_between_words_the_line_hisses_at_comfort_level_and_repeatably() -> None:
    frames = converse(PretendCaller([], noise=-65.0, seed=7), [], 4.0)
    level = 20 * np.log10(rms(b"".join(frames)) / 32768)
    assert level == pytest.approx(-65, abs=1)
    assert frames == converse(PretendCaller([], noise=-65.0, seed=7), [], 4.0)
    assert frames != converse(PretendCaller([], noise=-65.0, seed=8), [], 4.0)


def test_keys_and_hang_up_come_in_order_and_once() -> None:
    caller = PretendCaller([Press("5"), Wait(0.1), Press("#"), HangUp()])
    converse(caller, [], 1.0)
    assert caller.take_deeds() == [Press("5"), Press("#"), HangUp()]
    assert caller.take_deeds() == []
    assert caller.is_finished


def test_a_caller_presses_no_key_before_somebody_answers() -> None:
    caller = PretendCaller([Press("5"), HangUp()])
    caller.is_connected = False
    converse(caller, [], 1.0)
    assert caller.take_deeds() == []
    caller.is_connected = True
    converse(caller, [], 0.1)
    assert caller.take_deeds() == [Press("5"), HangUp()]


def test_a_caller_who_waits_in_vain_hangs_up() -> None:
    caller = PretendCaller([Say(WORD)], patience=3.0)
    converse(caller, [], 2.9)
    assert caller.take_deeds() == []
    converse(caller, [], 4.0)
    assert caller.take_deeds() == [HangUp()]


def test_shipped_recordings_have_texts_and_are_found_by_name() -> None:
    assert recorded_text("tt-weasels") == "Weasels have eaten our phone system"
    assert recording("tt-weasels").rate == 16000
    with pytest.raises(FileNotFoundError):
        recording("no-such-recording")


def test_a_narrow_line_takes_what_no_telephone_carries() -> None:
    def through(pitch: float) -> float:
        return rms(telephone(tone(pitch, 16000), 8000).pcm) / rms(tone(pitch, 16000).pcm)

    assert through(1000) == pytest.approx(1.0, abs=0.05)
    assert through(60) < 0.1
    assert through(5000) < 0.05


def test_a_wide_line_keeps_what_is_above_4_khz() -> None:
    assert rms(telephone(tone(5000, 16000), 16000).pcm) == pytest.approx(rms(tone(5000, 16000).pcm), rel=0.05)


def test_trimming_removes_silence_and_nothing_else() -> None:
    sound = Sound(bytes(320 * 20) + WORD.pcm + bytes(320 * 30), 8000)
    assert trim(sound).pcm == WORD.pcm
    assert trim(Sound(bytes(3200), 8000)).pcm == bytes(3200)


@pytest.mark.parametrize(("rate_in", "rate_out"), [(8000, 16000), (8000, 24000), (16000, 8000), (8000, 8000)])
def test_live_frames_change_rate_without_seams_or_much_delay(rate_in: int, rate_out: int) -> None:
    live = LiveRate(rate_in, rate_out)
    pcm, size = tone(1000, rate_in).pcm, rate_in // 25
    frames = [live.frame(pcm[i : i + size]) for i in range(0, len(pcm), size)]
    assert {len(frame) for frame in frames} == {rate_out // 25}
    got = np.frombuffer(b"".join(frames), "<i2").astype(float)
    wanted = np.frombuffer(tone(1000, rate_out).pcm, "<i2").astype(float)
    delay = min(range(rate_out // 250), key=lambda d: float(np.abs(got[500 + d : 4500 + d] - wanted[500:4500]).sum()))
    assert delay <= rate_out * 0.0025
    assert np.abs(got[500 + delay : 4500 + delay] - wanted[500:4500]).max() < 400


def test_rates_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="11025"):
        LiveRate(8000, 11025)


def test_noise_and_resampling_keep_lengths() -> None:
    assert len(line_noise(8000, -65, 1, 2.0)) == 32000
    assert resample(tone(440, 24000), 8000).seconds == pytest.approx(1.0, abs=0.01)


@given(st.lists(st.booleans(), max_size=400))
def test_every_frame_is_20_ms_whatever_the_agent_does(speaks: list[bool]) -> None:
    caller = PretendCaller([Say(WORD, pause=0.1), BargeIn(WORD, after=0.1), Say(WORD), HangUp()], phone_line=False)
    for number, loud in enumerate(speaks):
        assert len(caller.next_frame(LOUD if loud else SILENT, number / 50)) == 320
    assert all(a.ended <= b.began for a, b in zip(caller.spoken, caller.spoken[1:], strict=False))


def ringing(seconds: float) -> list[bytes]:
    pcm = Sound(
        (np.sin(2 * np.pi * 440 * np.arange(int(8000 * seconds)) / 8000) * 4000).astype("<i2").tobytes(), 8000
    ).pcm
    return [pcm[i : i + 320] for i in range(0, len(pcm), 320)]


def test_a_murmur_comes_over_the_agent_and_the_next_one_does_not_wait_for_an_answer() -> None:
    caller = PretendCaller([Over(WORD, after=1.0), Over(WORD, after=0.5)], phone_line=False, noise=None)
    frames = converse(caller, [(1.0, 9.0)], 9.0)
    assert [round(spoken.began, 2) for spoken in caller.spoken] == [2.0, 2.9]
    assert [spoken.purpose for spoken in caller.spoken] == ["over", "over"]
    assert rms(frames[100]) == pytest.approx(rms(WORD.pcm[:320]) / 2, rel=0.02)


def test_after_a_pause_of_the_agent_the_seconds_count_anew() -> None:
    caller = PretendCaller([Over(WORD, after=1.0), BargeIn(WORD, after=1.0)], phone_line=False)
    converse(caller, [(1.0, 2.1), (3.5, 9.0)], 9.0)
    assert [round(spoken.began, 2) for spoken in caller.spoken] == [2.0, 4.5]


def test_a_caller_who_is_put_through_waits_for_a_voice_behind_the_ringing() -> None:
    caller = PretendCaller([GetThrough(), SayNow(WORD)], phone_line=False)
    said = telephone(trim(recording("hello-world")), 8000).pcm
    person = [said[i : i + 320] for i in range(0, len(said), 320)]
    vowel = [tone(250, 8000, 0.12).pcm[i : i + 320] for i in range(0, 1920, 320)]
    agent = [*person[:20], *vowel, *person[:24]]
    heard = [*agent, *[SILENT] * 50, *ringing(1.0), *[SILENT] * 100, *ringing(1.0), *person, *[SILENT] * 50]
    for number, frame in enumerate(heard):
        caller.next_frame(frame, number / 50)
    assert caller.spoken[0].began == pytest.approx(6.2, abs=0.2)


def test_recordings_are_joined_and_a_cough_says_that_it_is_none() -> None:
    parts = [trim(recording(name)).seconds for name in ("vm-theperson", "digits-2")]
    assert recording("vm-theperson+digits-2").seconds == pytest.approx(sum(parts) + 0.1, abs=0.01)
    assert recorded_text("vm-theperson+digits-2") == "The person at extension two"
    assert recorded_text("cough") == "[cough, synthetic]"
    assert recording("cough") == recording("cough")
    with pytest.raises(KeyError):
        recorded_text("no-such-recording")
