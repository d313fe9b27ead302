"""One call to the demo's number for ``bench.ear --call``, with the real engines, over the real wire."""

from __future__ import annotations

import io
import json
import tempfile
import wave
from pathlib import Path
from typing import Any

from bench.hearing import Heard, listen
from esl_agent.audio.pcm import Sound
from esl_agent.demo import show
from esl_agent.testing.caller import BargeIn, HangUp, Say, Step, Wait, recording
from esl_agent.testing.line import telephone, trim

CONF = Path(__file__).resolve().parent.parent / "conf"
SENTENCES = ("something-terribly-wrong", "tt-weasels", "number-not-answering", "info-about-last-call")
#: The sentence said over the agent.
CUTS_IN = "number-not-answering"
#: Where a sentence is cut: what is this many dB below its peak fades out, and when that ends is a matter of opinion.
SHARP = 25.0
#: Seconds after the last sentence at which the caller hangs up.
HEARD_OUT = 4.0


def place(natural: bool) -> tuple[Heard, dict[str, Any], str]:
    """What was heard of the call, its journal's record, and what was done. The sentences' edges are cut sharp, so that
    there is one truth about when they end; ``natural`` ones fade out."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        told = io.StringIO()
        script = [_step(each, directory, natural) for each in SENTENCES]
        show.run(CONF, directory, told, [*script, Wait(HEARD_OUT), HangUp()], answers=1)
        heard = listen(directory / "call.wav")
        record = json.loads((directory / "record.json").read_text())
    edges = "as recorded" if natural else f"cut {SHARP:g} dB below their peaks on the line"
    return heard, record, f"A call to {show.NUMBER}, engines as in conf/; {len(SENTENCES)} sentences, {edges}."


def _step(name: str, directory: Path, natural: bool) -> Step:
    sound = recording(name) if natural else trim(telephone(recording(name), show.CODEC_RATE), below_peak=SHARP)
    path = directory / f"{name}.wav"
    _write(path, sound)
    return BargeIn(path, after=4.0) if name == CUTS_IN else Say(path)


def _write(path: Path, sound: Sound) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate)
        file.writeframes(sound.pcm)
