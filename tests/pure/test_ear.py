"""What the ear takes for the caller's voice, and what for the agent's own echo, a tone or a noise."""

from __future__ import annotations

import audioop
from collections.abc import Iterable

import numpy as np
import pytest
import soxr

from esl_agent.audio.pcm import Reframer, Sound, SoundStream
from esl_agent.audio.tones import tonal
from esl_agent.audio.vad import VadSettings, VoiceDetector
from esl_agent.dialogue.ear import Ear
from esl_agent.dialogue.endpointing import Change
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.testing.caller import recording
from esl_agent.testing.line import line_noise, resample, telephone, trim

RECORDINGS = (
    "digits-1", "digits-2", "digits-3", "feature-not-avail-line", "hello-world", "info-about-last-call",
    "number-not-answering", "please-try-call-later", "queue-thankyou", "something-terribly-wrong", "tt-weasels",
    "vm-goodbye", "vm-savefolder", "vm-whichbox",
)  # fmt: skip
AGENT = ("vm-whichbox", "vm-savefolder", "number-not-answering")
BEGAN = 1.0


def said(name: str, rate: int = 8000) -> np.ndarray:
    return np.frombuffer(telephone(trim(recording(name)), rate).pcm, "<i2").astype(np.float64)


def agent(rate: int = 8000) -> np.ndarray:
    return np.concatenate([said(name, rate) for name in AGENT])


def sound(samples: np.ndarray, rate: int = 8000) -> Sound:
    return Sound(np.clip(samples, -32768, 32767).astype("<i2").tobytes(), rate)


class Line:
    """``seconds`` of a quiet line on which things are said."""

    def __init__(self, seconds: float, rate: int = 8000) -> None:
        self.rate = rate
        self.samples = np.frombuffer(line_noise(rate, -65.0, 1, seconds), "<i2").astype(np.float64)

    def add(self, at: float, samples: np.ndarray, level: float = 0.0) -> Line:
        first = round(at * self.rate)
        samples = samples[: len(self.samples) - first] * 10 ** (level / 20)
        self.samples[first : first + len(samples)] += samples
        return self

    def frames(self) -> list[bytes]:
        pcm = np.clip(self.samples, -32768, 32767).astype("<i2").tobytes()
        if self.rate == 8000:
            pcm = audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2)
        return Reframer(self.rate).feed(pcm)


class TrunkAtSlin24(Line):
    """A telephone call of 8 kHz as Asterisk brings it with ``c(slin24)``."""

    def frames(self) -> list[bytes]:
        telephone_band = np.frombuffer(b"".join(super().frames()), "<i2")
        self.rate = 24000
        return Reframer(24000).feed(soxr.resample(telephone_band, 8000, 24000).tobytes())


def begins(line: Line, played: Iterable[tuple[Sound | SoundStream, float, float]] = ()) -> list[float]:
    """When utterances begin, while the agent is heard as ``played`` says: sound, from where, since when."""
    ear = Ear(CascadeSettings(), VoiceDetector)
    frames = line.frames()
    ear.open(line.rate, 0.0)
    due = list(played)
    found = []
    for number, frame in enumerate(frames):
        now = (number + 1) * 0.02
        while due and due[0][2] <= now:
            ear.playing(*due.pop(0))
        if ear.hear(frame, now, over_agent=True) is Change.BEGAN:
            found.append(now)
    return found


@pytest.mark.parametrize(("rate", "agents_rate"), [(8000, 8000), (8000, 22050), (16000, 24000), (24000, 24000)])
@pytest.mark.parametrize(("level", "delay"), [(-20, 0.02), (-20, 0.3), (-18, 0.15), (-12, 0.08)])
def test_the_agents_echo_is_not_the_caller(rate, agents_rate, level, delay):
    line = Line(10, rate).add(BEGAN + delay, agent(rate), level)
    voice = resample(sound(agent(rate), rate), agents_rate)
    assert begins(line), "without knowing what was played it sounds like a caller"
    assert begins(line, [(voice, 0.0, BEGAN)]) == []


@pytest.mark.parametrize("error", [-0.09, 0.09])
def test_when_the_sound_began_need_not_be_known_exactly(error):
    line = Line(10).add(BEGAN + 0.12, agent(), -18)
    assert begins(line, [(sound(agent()), 0.0, BEGAN + error)]) == []


def test_the_echo_of_a_sound_resumed_in_its_middle_is_known():
    line = Line(10).add(BEGAN + 0.12, agent()[8000:], -18)
    assert begins(line, [(sound(agent()), 1.0, BEGAN)]) == []


def test_the_echo_of_a_sound_that_still_grows_is_known():
    stream = SoundStream(8000)
    stream.append(sound(agent()).pcm)
    line = Line(10).add(BEGAN + 0.12, agent(), -18)
    assert begins(line, [(stream, 0.0, BEGAN)]) == []


def test_the_echo_of_one_clip_after_another_is_known():
    first, second = said("vm-whichbox"), said("vm-savefolder")
    then = BEGAN + len(first) / 8000
    line = Line(10).add(BEGAN + 0.2, np.concatenate([first, second]), -18)
    assert begins(line, [(sound(first), 0.0, BEGAN), (sound(second), 0.0, then + 0.05)]) == []


@pytest.mark.parametrize("level", [-15, -20, -30])
@pytest.mark.parametrize("name", ["something-terribly-wrong", "tt-weasels", "please-try-call-later"])
def test_a_caller_who_speaks_over_the_echo_is_heard(level, name):
    line = Line(10).add(BEGAN + 0.12, agent(), level).add(3.0, said(name))
    found = begins(line, [(sound(agent()), 0.0, BEGAN)])
    assert len(found) == 1
    assert 3.0 < found[0] < (3.65 if level > -20 else 3.45)


def test_a_caller_is_heard_over_an_agent_who_has_no_echo():
    found = begins(Line(10).add(3.0, said("tt-weasels")), [(sound(agent()), 0.0, BEGAN)])
    assert len(found) == 1
    assert 3.0 < found[0] < 3.25


def test_long_after_the_agents_sound_the_same_words_are_the_callers():
    ear = Ear(CascadeSettings(), VoiceDetector)
    ear.open(8000, 0.0)
    ear.playing(sound(agent()), 0.0, 0.1)
    ear.silent(1.0)
    changes = [
        ear.hear(frame, (number + 1) * 0.02, over_agent=False)
        for number, frame in enumerate(Line(6).add(2.0, agent(), -6).frames())
    ]
    assert Change.BEGAN in changes


def tone(seconds: float, *hertz: float) -> np.ndarray:
    time = np.arange(round(8000 * seconds)) / 8000
    return np.sum([3000 * np.sin(2 * np.pi * each * time) for each in hertz], axis=0)


TONES = {
    "a key, long": tone(0.5, 770, 1336),
    "keys": np.concatenate([tone(0.1, 697, 1209), np.zeros(640), tone(0.1, 852, 1477), np.zeros(640)] * 3),
    "ring-back": tone(2.0, 440, 480),
    "busy": np.concatenate([tone(0.5, 480, 620), np.zeros(4000)] * 3),
    "European busy": np.concatenate([tone(0.48, 425), np.zeros(3840)] * 3),
    "a beep": tone(0.4, 1000),
}


@pytest.mark.parametrize("name", TONES)
def test_a_tone_is_not_the_caller(name):
    line = Line(6).add(2.0, TONES[name])
    detector = VoiceDetector(VadSettings(), 8000)
    assert sum(detector.is_voiced(frame) for frame in line.frames()) > 3, "webrtcvad takes it for speech"
    assert begins(line) == []


@pytest.mark.parametrize("name", TONES)
def test_a_tone_of_the_trunk_is_not_the_caller_at_24_khz_either(name):
    assert begins(TrunkAtSlin24(6).add(2.0, TONES[name])) == []


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_word_over_a_trunk_is_heard_at_24_khz(name):
    assert len(begins(TrunkAtSlin24(5).add(2.0, said(name)))) >= 1


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_word_is_no_tone(name):
    assert len(begins(Line(5).add(2.0, said(name)))) >= 1


def test_few_stretches_of_speech_look_like_a_tone():
    doubted = total = 0
    for name in RECORDINGS:
        frames = Line(5).add(1.0, said(name)).frames()
        detector = VoiceDetector(VadSettings(), 8000)
        voiced = [detector.is_voiced(frame) for frame in frames]
        for place in range(0, len(frames) - 11, 5):
            if sum(voiced[place : place + 11]) >= 6:
                total += 1
                doubted += any(tonal(frames[place : place + 11], voiced[place : place + 11], 8000))
    assert total > 100
    assert doubted / total < 0.1


def test_clicks_are_not_the_caller():
    click = np.random.default_rng(1).normal(size=24) * 8000
    line = Line(6)
    for at in (2.0, 2.06, 2.19, 3.0, 3.4):
        line.add(at, click)
    assert begins(line) == []
