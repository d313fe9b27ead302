"""Which format a line and a speech-to-speech agent have in common."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.audio import agent_sound, g711, playout
from esl_agent.audio.agent_sound import FromAgent, ToAgent, chosen
from esl_agent.audio.pcm import SoundFormat, SoundStream

PCM, ULAW, ALAW = SoundFormat(), SoundFormat("ulaw", 8000), SoundFormat("alaw", 8000)
ALL = (PCM, ULAW, ALAW)


def test_a_telephone_line_gets_g711_of_the_law_that_was_asked_for() -> None:
    assert chosen(ALL, 8000) == ULAW
    assert chosen(ALL, 8000, "alaw") == ALAW
    assert chosen((PCM, ALAW), 8000) == ALAW


def test_a_line_of_24_khz_gets_pcm_and_so_does_every_line_between() -> None:
    assert chosen(ALL, 24000) == PCM
    assert chosen(ALL, 16000) == PCM
    assert chosen((PCM,), 8000) == PCM
    assert chosen((SoundFormat("pcm", 16000), PCM), 24000) == PCM
    assert chosen((SoundFormat("pcm", 16000), PCM), 16000) == SoundFormat("pcm", 16000)
    assert chosen((ULAW,), 24000) == ULAW


def test_nothing_is_resampled_where_line_and_agent_both_have_24_khz(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> None:
        raise AssertionError("a resampler was made")

    monkeypatch.setattr("esl_agent.audio.resample.VoiceResampler.__init__", forbidden)
    monkeypatch.setattr("esl_agent.audio.resample.LineResampler.__init__", forbidden)
    sound = chosen(ALL, 24000)
    frame = bytes(range(240)) * 4
    to_agent = ToAgent(24000, sound)
    assert to_agent.is_passthrough
    assert to_agent.feed(frame) is frame
    stream = SoundStream(sound.rate)
    piece = FromAgent(sound).feed(frame)
    assert piece is frame
    stream.append(piece)
    stream.end()
    line = playout.Playout(24000)
    line.add("item", stream)
    assert line.next_frame()[0] == frame
    with pytest.raises(AssertionError, match="a resampler was made"):
        agent_sound.ToAgent(16000, sound)
    with pytest.raises(AssertionError, match="a resampler was made"):
        playout.Playout(8000).add("item", stream)


@pytest.mark.parametrize(("sound", "law"), [(ULAW, "PCMU"), (ALAW, "PCMA")])
def test_what_came_over_a_telephone_line_is_companded_again_without_a_loss(sound: SoundFormat, law: str) -> None:
    heard = g711.LAWS[law].decode(bytes(range(256)))
    assert not ToAgent(8000, sound).is_passthrough
    sent = ToAgent(8000, sound).feed(heard)
    assert len(sent) == 256
    assert FromAgent(sound).feed(sent) == heard


@pytest.mark.parametrize(("rate", "sound"), [(16000, PCM), (8000, PCM), (24000, ULAW), (16000, ULAW)])
def test_a_second_of_another_rate_stays_a_second(rate: int, sound: SoundFormat) -> None:
    to_agent, sent = ToAgent(rate, sound), 0
    for _ in range(100):
        sent += len(to_agent.feed(bytes(rate // 25)))
    assert sent / sound.bytes_per_second == pytest.approx(2.0, abs=0.1)


@given(st.lists(st.binary(max_size=9), max_size=20))
def test_pieces_of_any_length_become_the_same_samples(pieces: list[bytes]) -> None:
    voice, whole = FromAgent(PCM), b"".join(pieces)
    made = [voice.feed(piece) for piece in pieces]
    assert all(len(piece) % 2 == 0 for piece in made)
    assert b"".join(made) == whole[: len(whole) // 2 * 2]
