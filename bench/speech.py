"""What the callers of a benchmark say: recordings over a telephone line, again and again, with known onsets."""

from __future__ import annotations

from dataclasses import dataclass

from esl_agent.audio.pcm import FRAME_SECONDS, frame_bytes
from esl_agent.audio.vad import VadSettings, VoiceDetector
from esl_agent.testing.caller import recording
from esl_agent.testing.fork_client import PreparedAudio
from esl_agent.testing.line import line_noise, telephone, trim

#: Said into the agent's silence, and over the agent, by one kind of caller each.
PAIRS = (
    ("something-terribly-wrong", "number-not-answering"),
    ("tt-weasels", "queue-thankyou"),
    ("info-about-last-call", "please-try-call-later"),
    ("number-not-answering", "something-terribly-wrong"),
    ("feature-not-avail-line", "info-about-last-call"),
)
#: Seconds of quiet before the first, between both, and after the second. 0.7 s after the first the agent takes its
#: turn, so the second comes while it speaks; after the second there is time to hear the answer out.
QUIET = (2.5, 2.6, 4.5)
#: The noise of the line in dBFS.
NOISE = -65.0


@dataclass(frozen=True, slots=True)
class Talk:
    """One kind of caller. ``onsets``: for each thing said, the number of its first frame within the pattern, and of
    the first frame that the VAD calls voiced."""

    audio: PreparedAudio
    onsets: tuple[tuple[int, int], ...]

    @property
    def frames(self) -> int:
        return len(self.audio.frames)


def talks(rate: int) -> list[Talk]:
    """Every kind of caller, at ``rate`` samples a second."""
    return [_talk(pair, rate, seed) for seed, pair in enumerate(PAIRS)]


def _talk(pair: tuple[str, str], rate: int, seed: int) -> Talk:
    size = frame_bytes(rate)
    noise = line_noise(rate, NOISE, seed, seconds=max(QUIET))
    frames: list[bytes] = []
    begins: list[int] = []
    for quiet, name in zip(QUIET, (*pair, ""), strict=True):
        frames += [noise[i * size : (i + 1) * size] for i in range(round(quiet / FRAME_SECONDS))]
        if name:
            begins.append(len(frames))
            pcm = telephone(trim(recording(name)), rate).pcm
            frames += [pcm[i : i + size].ljust(size, b"\0") for i in range(0, len(pcm), size)]
    detector = VoiceDetector(VadSettings(), rate)
    voiced = [detector.is_voiced(frame) for frame in frames]
    return Talk(PreparedAudio(frames), tuple((begin, voiced.index(True, begin)) for begin in begins))
