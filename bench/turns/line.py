"""A scripted call: who says what when, over which line. Built from a Script and its seed; the same every time."""

from __future__ import annotations

import audioop
from dataclasses import dataclass, field

import numpy as np

from bench.turns import sounds
from bench.turns.speech import LEVEL, Speech, Word, band, one_after_another, said, texts, with_pause
from esl_agent.audio.pcm import FRAME_SECONDS

#: The agent's voice: these recordings, one after another. The caller says others.
AGENT = (
    "vm-rec-busy", "priv-introsaved", "agent-newlocation", "followme-status", "invalid", "conf-invalid", "vm-whichbox",
    "demo-nomatch", "conf-onlyone", "dir-nomore",
)  # fmt: skip
SHORT_SENTENCES = ("activated", "vm-goodbye", "hello-world", "vm-isunavail")
BACKCHANNELS = (
    *(f"{word}-{voice}" for word in ("mm-hm", "uh-huh", "yeah", "okay", "right") for voice in ("rms", "slt")),
    "digits-oh",
)
YES_NO = tuple(f"{word}-{voice}" for word in ("yes", "no", "yes-please") for voice in ("rms", "slt"))
#: A quiet line's noise, always there; back-channels are said more softly than sentences. dBFS.
QUIET, SOFT = -65.0, -27.0
#: The caller first speaks after this, and again so long after the last thing, in seconds.
FIRST, AGAIN = {"over": 3.0, "turns": 2.5}, {"over": 4.5, "turns": 5.0}


@dataclass(frozen=True, slots=True)
class Script:
    """What a call is made of. ``kind`` "over": the agent talks all the time and ``item`` comes over it ``count``
    times; "turns": the caller speaks into the agent's silence. ``row``: its line in the table."""

    row: str
    kind: str
    item: str
    count: int = 6
    seed: int = 0
    rate: int = 8000
    noise: str = ""
    snr: float = 0.0
    echo: float | None = None
    delay: float = 0.0
    seconds: float = 0.0
    question: str = "How can I help you?"
    partials: bool = True


@dataclass(frozen=True, slots=True)
class Item:
    """Something the caller's side does. Seconds into the call; ``end`` is the last loud sample."""

    kind: str
    name: str
    onset: float
    end: float


@dataclass(slots=True)
class Call:
    """``line``: all that reaches us but the agent's echo, float samples."""

    script: Script
    line: np.ndarray
    items: list[Item] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)

    @property
    def frames(self) -> int:
        return len(self.line) // round(self.script.rate * FRAME_SECONDS)


def build(script: Script) -> Call:
    random = np.random.default_rng((script.seed, sum(script.row.encode())))
    call = Call(script, np.zeros(0))
    pieces: list[tuple[float, np.ndarray]] = []
    at = FIRST[script.kind] + random.uniform(0, 1)
    for number in range(script.count):
        name, speech = _item(script, random, number)
        call.items.append(Item(script.item, name, at, at + speech.seconds))
        call.words += [Word(word.text, at + word.middle, at + word.end) for word in speech.words]
        pieces.append((at, speech.samples))
        at += speech.seconds + AGAIN[script.kind] + random.uniform(0, 1.5)
    seconds = max(script.seconds, at)
    rate = script.rate
    call.line = sounds.noise("white", rate, seconds, QUIET, script.seed)
    if script.noise:
        call.line += sounds.noise(script.noise, rate, seconds, LEVEL - script.snr, script.seed + 1)
    for start, samples in pieces:
        first = round(start * rate)
        call.line[first : first + len(samples)] += samples[: len(call.line) - first]
    return call


def sentences() -> list[str]:
    """What callers say: every recording of several words that the agent does not use."""
    return [
        name for name, text in texts().items() if name not in AGENT and not name.startswith("yes")
        and (len(text.split()) > 2) and not text.startswith("...")
    ]  # fmt: skip


def agent_voice(script: Script, number: int, seconds: float) -> Speech:
    """What the agent says in its clip ``number``: recordings until ``seconds`` are full."""
    known = [name for name in AGENT if name in texts()] or sentences()
    pieces: list[Speech] = []
    length = 0.0
    turn = script.seed + number
    while length < seconds:
        pieces.append(said(known[turn % len(known)], script.rate))
        length += pieces[-1].seconds + 0.25
        turn += 1
    return one_after_another(pieces, [0.25] * (len(pieces) - 1))


def echo_of(samples: np.ndarray, script: Script) -> np.ndarray:
    """The echo of ``samples``, undelayed: a hybrid or a handset smears it over some 8 ms."""
    assert script.echo is not None
    taps = round(0.008 * script.rate)
    random = np.random.default_rng(script.seed)
    room = random.normal(size=taps) * np.exp(-np.arange(taps) / (taps / 4))
    room[0] = 1.0
    smeared = band(np.convolve(samples, room)[: len(samples)], script.rate)
    power = np.sqrt(np.mean(samples**2) / np.mean(smeared**2))
    return np.asarray(smeared * power * 10 ** (script.echo / 20))


def on_the_wire(samples: np.ndarray, rate: int) -> bytes:
    """PCM16 as it reaches us: through mu-law where the line is narrow-band."""
    pcm = np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()
    return audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2) if rate == 8000 else pcm


def _item(script: Script, random: np.random.Generator, number: int) -> tuple[str, Speech]:
    rate = script.rate
    match script.item:
        case "barge-in" | "sentence":
            name = str(random.choice([*sentences(), *(name for name in SHORT_SENTENCES if name in texts())]))
            return name, said(name, rate)
        case "paused":
            name = str(random.choice(sentences()))
            return name, with_pause(said(name, rate), random.uniform(0.3, 1.2))
        case "backchannel":
            name = BACKCHANNELS[(number + script.seed * script.count) % len(BACKCHANNELS)]
            return name, said(name, rate, SOFT)
        case "yes-no":
            name = YES_NO[(number + script.seed) % len(YES_NO)]
            return name, said(name, rate)
        case "number":
            digits = random.choice([name for name in texts() if name.startswith("digits-")], random.integers(4, 9))
            pauses = list(random.uniform(0.3, 1.5, len(digits) - 1))
            return "number", one_after_another([said(str(name), rate) for name in digits], pauses)
        case kind:
            make = {
                "cough": sounds.cough, "click": sounds.clicks, "dtmf": sounds.dtmf, "ring-back": sounds.ring_back,
                "busy": sounds.busy, "beep": sounds.beep,
            }[kind]  # fmt: skip
            return kind, Speech(make(rate, script.seed * 100 + number), rate, ())
