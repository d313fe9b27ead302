"""Clips that are played while they are still being made."""

from __future__ import annotations

from esl_agent.audio.pcm import SoundStream
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import LimitSettings
from tests.pure.test_cascade import replying
from tests.pure.world import RATE, VOICED, World, sound


def begun(seconds: float = 0.1) -> SoundStream:
    stream = SoundStream(RATE)
    stream.append(bytes(int(RATE * seconds) * 2))
    return stream


def streaming(text: str) -> tuple[World, int, SoundStream]:
    """The first clip of a reply has begun to be sound."""
    it = replying(text, streams=True, limits=LimitSettings(tts=2.0, retries=1))
    turn, stream = it.last(act.AskModel).turn, begun()
    it.post(ev.Synthesised(turn, 0, stream))
    return it, turn, stream


def test_a_clip_is_played_as_soon_as_it_begins_to_be_sound():
    it, turn, stream = streaming("One is here. Two is here.")
    assert it.last(act.Play) == act.Play(turn, 0, stream)


def test_the_next_clause_is_synthesised_when_the_first_is_whole():
    it, turn, stream = streaming("One is here. Two is here.")
    assert it.last(act.Synthesise).clip == 0
    stream.end()
    it.post(ev.SynthesisEnded(turn, 0))
    assert it.last(act.Synthesise).clip == 1


def test_history_is_cut_by_the_length_a_stream_turned_out_to_have():
    it, turn, stream = streaming("One two three four.")
    stream.append(bytes(int(RATE * 3.9) * 2))
    stream.end()
    it.post(ev.SynthesisEnded(turn, 0))
    it.frames(VOICED, 0.8)
    it.post(ev.Played(turn, 0, 2.0))
    assert it.dialogue.transcript.agent_text(turn) == "One two"


def test_a_stream_that_is_cut_before_its_length_is_known_counts_by_its_text():
    it, turn, _ = streaming("One two three four.")
    it.frames(VOICED, 0.8)
    it.post(ev.Played(turn, 0, 0.06 * 10))
    assert it.dialogue.transcript.agent_text(turn) == "One two"


def test_a_stream_goes_on_where_it_was_cut_also_when_it_grew_meanwhile():
    it, turn, stream = streaming("One two three four.")
    it.frames(VOICED, 0.2)
    it.post(ev.Played(turn, 0, 0.08))
    stream.append(bytes(RATE * 2))
    it.post(ev.Transcribed(it.last(act.OpenUtterance).utterance, "mhm", final=False))
    while it.phase is Phase.YIELDING:
        it.tick()
    assert it.last(act.Play) == act.Play(turn, 0, stream, 0.08)


def test_a_stream_that_does_not_grow_is_a_failure_of_the_voice():
    it, turn, stream = streaming("One is here.")
    it.now += 1.5
    stream.append(bytes(160))
    it.tick()
    assert it.all(act.AbandonTurn) == []
    it.tick()
    assert it.last(act.AbandonTurn).turn == turn
    assert "technical problem" in it.last(act.Synthesise).text


def test_a_slow_stream_is_not_mistaken_for_a_lost_clip():
    it, turn, stream = streaming("One is here.")
    for _ in range(10):
        it.now += 1.5
        stream.append(bytes(RATE))
        it.post(ev.Tick())
    stream.end()
    it.post(ev.SynthesisEnded(turn, 0))
    assert it.all(act.AbandonTurn) == []
    it.post(ev.Played(turn, 0, stream.seconds))
    assert it.phase is Phase.LISTENING


def test_a_voice_that_fails_midway_is_not_asked_again_for_what_was_heard():
    it, turn, stream = streaming("One two three four.")
    stream.end()
    it.post(ev.ProviderFailed("tts", turn, "gone", retryable=True, clip=0))
    assert len([s for s in it.all(act.Synthesise) if s.turn == turn]) == 1
    it.post(ev.Played(turn, 0, 0.06 * 10))
    assert it.dialogue.transcript.agent_text(turn) == "One two"
    assert "technical problem" in it.last(act.Synthesise).text


def test_a_clip_from_the_cache_is_whole_at_once():
    it = replying("One is here. Two is here.", streams=True)
    turn = it.last(act.AskModel).turn
    it.post(ev.Synthesised(turn, 0, sound(1.0)))
    assert it.last(act.Synthesise).clip == 1
