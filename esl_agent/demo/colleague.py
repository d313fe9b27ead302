"""Whom the demo's agent puts its caller through to, and what the pretend FreeSWITCH tells of that."""

from __future__ import annotations

import wave
from pathlib import Path

from esl_agent.audio.pcm import Sound
from esl_agent.demo.narrator import Narrator
from esl_agent.demo.story import Handover
from esl_agent.testing.caller import PretendCaller, recorded_text, recording
from esl_agent.testing.fs_bridge import Callee
from esl_agent.testing.fs_call import PretendCall
from esl_agent.testing.line import telephone, trim

#: The extension that conf/dids/demo.yaml calls, and what is said there, by its recording's name.
COLLEAGUE = "1002"
WORDS = "sorry-youre-having-problems"
#: Seconds until the colleague answers, and from then to the key: time to hear what it is about.
RINGS, LISTENS = 1.5, 9.5
#: A moment to lift the handset.
_BEFORE_WORDS = 0.3


def colleague(rate: int) -> Callee:
    words = telephone(trim(recording(WORDS)), rate)
    says = Sound(bytes(round(_BEFORE_WORDS * rate) * 2) + words.pcm, rate)
    return Callee(rings=RINGS, decides=LISTENS, says=says)


class SwitchTold:
    """Prints what happens at the switch and between the two people, of which the agent knows nothing."""

    def __init__(self, call: PretendCall, caller: PretendCaller, narrator: Narrator) -> None:
        self._call = call
        self._caller = caller
        self._narrator = narrator
        self._told = 0
        self._heard_by_colleague: int | None = None

    def tell_news(self) -> None:
        """Print what happened since the last time."""
        facts = self._call.facts
        for at, what, detail in facts[self._told :]:
            match what:
                case "calls":
                    self._line(at, "", f"** telephone {detail} rings **")
                case "callee answers":
                    self._line(at, "", "** a colleague answers, and hears what the caller does not **")
                    self._line(at, "agent", self._narrator.briefing)
                case "bridged":
                    self._line(at, "", "** the colleague presses 1 and has the caller; the agent is out of it **")
                    self._line(at, "colleague", recorded_text(WORDS))
                    self._heard_by_colleague = len(self._caller.spoken)
                case "nobody took the call":
                    self._line(at, "", f"** nobody took the call: {detail} **")
        self._told = len(facts)
        while self._heard_by_colleague is not None and self._heard_by_colleague < len(self._caller.spoken):
            said = self._caller.spoken[self._heard_by_colleague]
            self._line(said.began - self._call.started_at, "caller", f"{recorded_text(said.what)}  (to the colleague)")
            self._heard_by_colleague += 1

    def _line(self, at: float, who: str, text: str) -> None:
        self._narrator.line(self._call.started_at + at - self._narrator.began, who, text)


def handover_of(call: PretendCall) -> Handover | None:
    """What became of the last attempt to put the caller through, in seconds of the recording."""
    times: dict[str, float] = {}
    who = ""
    for at, what, detail in call.facts:
        if what == "calls":
            times.clear()
            who = detail
        times[what] = at - call.frame_times[0]
    if "calls" not in times:
        return None
    callee = call.machine.options.callees.get(who, Callee("unreachable"))
    return Handover(
        who,
        times["calls"],
        times.get("callee answers"),
        times.get("bridged"),
        call.machine.bridges.briefing,
        callee.says,
    )


def save(handover: Handover, path: Path) -> None:
    """What the colleague heard before the key was pressed, as a WAV."""
    if handover.briefing is None or handover.answered is None or handover.decided is None:
        return
    rate = handover.briefing.rate
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(handover.briefing.pcm[: round((handover.decided - handover.answered) * rate) * 2])
