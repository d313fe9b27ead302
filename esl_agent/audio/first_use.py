"""What numpy and soxr load when they are first used: 9 ms from a warm disk, 38 seen, in which every call would wait."""

from __future__ import annotations

from esl_agent.audio.echo import Echo
from esl_agent.audio.pcm import Sound, frame_bytes
from esl_agent.audio.playout import Playout
from esl_agent.audio.resample import LineResampler


def warm() -> None:
    """Use everything once, before there are calls. Takes some milliseconds."""
    rate = 8000
    noise = bytes((7 * at * at + at) % 251 for at in range(2 * rate))
    echo = Echo()
    for sound in (Sound(noise, rate), Sound(noise, 2 * rate)):
        echo.playing(sound, 0.0, 0.0)
        heard = noise[rate : rate + 11 * frame_bytes(rate)]
        frames = [heard[at : at + frame_bytes(rate)] for at in range(0, len(heard), frame_bytes(rate))]
        echo.explains(frames, rate, 0.5 + len(frames) * 0.02)
        echo.covers(frames[0], rate, 0.5)
    playout = Playout(rate)
    playout.add(0, Sound(noise, 2 * rate), 0.1)
    playout.next_frame()
    playout.volume(0.5)
    playout.next_frame()
    playout.clear()
    LineResampler(2 * rate, rate).feed(noise[: frame_bytes(2 * rate)])
