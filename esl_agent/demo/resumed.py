"""Did the agent go on where it had stopped? Found by looking up the recording in the sound it was made from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from esl_agent.demo.story import Pause
from esl_agent.demo.voice import AUDIBLE, STEP, Samples, Voice, levels_of

#: Seconds of sound on either side of a pause that are looked up.
_LOOKED_UP = 0.15
#: Two stretches of sound are the same from this correlation on; other words of the same voice stay below 0.7.
_SAME = 0.9
#: From this one it is in there, with something else at the same time.
_AMONG_OTHERS = 0.3
#: So many seconds may be missing or said twice: nobody hears it.
UNHEARD = 0.1


@dataclass(frozen=True, slots=True)
class Joint:
    """How the agent's silence lies in what it was saying."""

    began: float
    ended: float
    missing: float | None
    """Seconds of speech that were never heard, negative if they were heard twice; None if it cannot be told."""
    is_within_clip: bool = True
    """False: the clip was heard to its end before."""

    @property
    def silence(self) -> float:
        """Seconds in which it was not heard."""
        return self.ended - self.began

    @property
    def is_seamless(self) -> bool:
        return self.missing is None or abs(self.missing) <= UNHEARD


def joint(agent: Voice, pause: Pause, clips: Mapping[int, Samples]) -> Joint | None:
    """Where the agent stopped and went on. None if it never fell silent. ``clips``: the turn's, whole, by number."""
    stopped = agent.silent_from(pause.began)
    went_on = agent.first_heard(stopped)
    if went_on is None or stopped > pause.ended:
        return None
    if pause.clip not in clips or not pause.is_within_clip:
        return Joint(stopped, went_on, None, pause.is_within_clip)
    whole = np.concatenate([clips[number] for number in range(pause.clip - 1, pause.clip + 2) if number in clips])
    rate = agent.rate
    size = round(_LOOKED_UP * rate)
    until = _place(whole, agent.samples[round(stopped * rate) - size : round(stopped * rate)])
    onwards = _place(whole, agent.samples[round(went_on * rate) : round(went_on * rate) + size])
    if until is None or onwards is None:
        return Joint(stopped, went_on, None)
    until += size
    if onwards < until:
        return Joint(stopped, went_on, (onwards - until) / rate)
    unheard = levels_of(whole[until:onwards], rate)
    return Joint(stopped, went_on, float((unheard >= AUDIBLE).sum() * STEP))


def _place(whole: Samples, part: Samples, least: float = _SAME) -> int | None:
    """The sample of ``whole`` at which ``part`` begins; None if it is not there."""
    if not 0 < len(part) <= len(whole):
        return None
    products = np.correlate(whole, part, mode="valid")
    sums = np.concatenate(([0.0], np.cumsum(whole**2)))
    energies = sums[len(part) :] - sums[: -len(part)]
    alike = products / np.sqrt(np.maximum(energies * (part**2).sum(), 1.0))
    best = int(alike.argmax())
    return best if alike[best] >= least else None


def only(agent: Voice, expected: Samples, after: float) -> float:
    """Seconds in which anything but ``expected`` is heard from ``after`` on; ``expected`` may begin a little later."""
    rest = agent.samples[round(after * agent.rate) :].copy()
    at = _place(rest, expected, _AMONG_OTHERS)
    if at is not None:
        rest[at : at + len(expected)] -= expected
    return float((levels_of(rest, agent.rate) >= AUDIBLE).sum() * STEP)
